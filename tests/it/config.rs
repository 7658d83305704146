//! B1.4, B1.5: the configuration file.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::article::answered_by;
use crate::harness::{Origin, Pointsman, Process, TempDir, binary, eventually};
use crate::wire::Wire;

/// Runs the program to its end.
fn run(args: &[&str]) -> Output {
    Command::new(binary()).args(args).env_remove("RUST_LOG").stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// B1.4: a file says where to listen, what to set, which services there are, and how each of them
/// is balanced (B3.1).
#[test]
fn b1_4_a_file_is_served() {
    let (dir, one, other) = (TempDir::new("config"), Origin::polite(), Origin::polite());
    let (front, one_addr, other_addr) = (path(&dir.path("front")), one.addr, other.addr);
    let file = dir.write(
        "pointsman.toml",
        format!(
            "listen = ['unix:{front}']\nbalance = \"hash:X-User\"\nvia = true\n\
             [services.'s/v1']\nendpoints = [\n  '{one_addr}', # the first\n  '{other_addr}',\n]\n\
             balance = 'round-robin'\n\
             [services.'hashed/v1']\nendpoints = ['http://{one_addr}/b', '{other_addr}']\n"
        ),
    );
    let mut command = Command::new(binary());
    let _process = Process::spawn(command.args(["-c", &path(&file)]).stderr(Stdio::null()));
    eventually("it listens", || std::os::unix::net::UnixStream::connect(&front).is_ok());
    let mut client = Wire::unix(Path::new(&front));
    let ports: Vec<u16> = (0..8).map(|_| answered_by(&client.get("/s/v1/x"))).collect();
    assert!(ports.windows(2).all(|pair| pair[0] != pair[1]), "in turn: {ports:?}");
    assert!(one.last().field("Via").is_some(), "{}", one.last().head_text());
    let request = "GET /hashed/v1/x HTTP/1.1\r\nHost: t\r\nX-User: me\r\n\r\n";
    let first = answered_by(&client.ask(request));
    assert!((0..8).all(|_| answered_by(&client.ask(request)) == first), "by hash");
}

/// B1.4: arguments override the file.
#[test]
fn b1_4_arguments_override_the_file() {
    let (dir, one, other) = (TempDir::new("config"), Origin::polite(), Origin::polite());
    let file = dir.write(
        "pointsman.toml",
        format!(
            "listen = ['192.0.2.1:1']\nvia = true\n[services.'s/v1']\nendpoints = ['{}']\n\
             [services.'t/v1']\nendpoints = ['{}']\n",
            one.addr, one.addr
        ),
    );
    let route = format!("s/v1={}", other.addr);
    let proxy = Pointsman::start(&["--config", &path(&file), "--via", "off", &route]);
    let mut client = proxy.client();
    assert_eq!(answered_by(&client.get("/s/v1/x")), other.addr.port());
    assert_eq!(answered_by(&client.get("/t/v1/x")), one.addr.port());
    assert_eq!(one.last().field("Via"), None);
}

/// B1.5: what is wrong in a file is one line with file, line, column and key, exit 2; for
/// `--check` as for a start.
#[test]
fn b1_5_wrong_files() {
    let dir = TempDir::new("config");
    let service = "[services.'s/v1']\nendpoints = ['127.0.0.1:1']\n";
    for (content, said) in [
        ("conect = '1s'\n", ":1:1: conect: there is no such key; the nearest is connect"),
        ("connect = 1\n", ":1:11: connect: \"1\": a time needs a unit, as in 250ms, 5s, 2m or 1h"),
        ("via = true\nvia = true\n", ":2:1: via: duplicate key"),
        ("buffer = '1GiB'\n", ":1:10: buffer: 1073741824 is too large; at most 16777216"),
        ("listen = ['here']\n", ":1:11: listen: \"here\": "),
        ("[services.'s/v1']\n", ":2:11: 's/v1': duplicate key"),
    ] {
        let file = path(&dir.write("pointsman.toml", format!("{content}{service}")));
        for args in [&["-c", &file][..], &["-c", &file, "--check"]] {
            let output = run(args);
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{content}: {error}");
            assert!(error.starts_with(&format!("pointsman: {file}{said}")), "{content}: {error}");
            assert_eq!((error.lines().count(), output.stdout.len()), (1, 0), "{content}: {error}");
        }
    }
    let missing = path(&dir.path("missing.toml"));
    let empty = path(&dir.write("empty.toml", ""));
    let binary = path(&dir.write("binary.toml", b"via = true\n\xff"));
    for (file, said) in [
        (&missing, ": No such file or directory"),
        (&empty, ": no service: write [services.\"name/version\"]"),
        (&binary, ":2:1: the text is not UTF-8"),
    ] {
        let output = run(&["-c", file]);
        let error = text(&output.stderr);
        assert!(error.starts_with(&format!("pointsman: {file}{said}")), "{error}");
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{error}");
    }
}

/// B1.4: `--check` covers the file; the example that we ship is one that runs.
#[test]
fn b1_4_check_of_the_example() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pointsman.example.toml");
    let output = run(&["--check", "-c", example]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for line in [
        "listen   127.0.0.1:9090",
        "service  * = unix:/run/app.sock",
        "balance  random",
        "balance  p2c for serviceone/v1",
    ] {
        assert!(said.lines().any(|l| l == line), "{line}: {said}");
    }
}
