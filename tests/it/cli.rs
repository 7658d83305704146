//! B1: what the program makes of its arguments.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};

use crate::article::answered_by;
use crate::harness::{Origin, Pointsman, Process, TempDir, binary, eventually, listening, notice};
use crate::wire::Wire;

/// Runs the program to its end.
fn run(args: &[&str]) -> Output {
    Command::new(binary()).args(args).env_remove("RUST_LOG").stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// B1.1: nothing to do: the usage on standard error, exit 2.
#[test]
fn b1_1_without_arguments() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(text(&output.stderr).to_lowercase().contains("usage"), "{}", text(&output.stderr));
}

/// B1.4: help and version on standard output, exit 0.
#[test]
fn b1_4_help_and_version() {
    for option in ["-h", "--help"] {
        let output = run(&[option]);
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
        for word in ["--listen", "--balance", "--check", "--max-connections", "--demo", "9090"] {
            assert!(text(&output.stdout).contains(word), "{word} is missing");
        }
    }
    for option in ["-V", "--version"] {
        let output = run(&[option]);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(text(&output.stdout), concat!("pointsman ", env!("CARGO_PKG_VERSION"), "\n"));
    }
}

/// B1.5: a wrong argument is one clear line that names it, exit 2.
#[test]
fn b1_5_wrong_arguments() {
    let good = "s/v1=127.0.0.1:1";
    let table: [(&[&str], &str); 18] = [
        (&["--nonsense", good], "nonsense"),
        (&["--max-connection", "5", good], "max-connections"),
        (&["-l", "nowhere", good], "nowhere"),
        (&["-l", "127.0.0.1:99999", good], "99999"),
        (&["--listen"], "listen"),
        (&["--balance", "magic", good], "magic"),
        (&["--connect", "soon", good], "soon"),
        (&["--max-connections", "-1", good], "-1"),
        (&["--max-connections", "0", good], "max-connections"),
        (&["--forwarded", "maybe", good], "maybe"),
        (&["--trusted", "10.0.0.0/99", good], "10.0.0.0/99"),
        (&["just-a-word"], "just-a-word"),
        (&["s=127.0.0.1:1"], "s=127.0.0.1:1"),
        (&["s/v1="], "s/v1="),
        (&["s/v1=127.0.0.1"], "127.0.0.1"),
        (&["s/v1=https://127.0.0.1:1"], "https"),
        (&["s/v1=127.0.0.1:1;weight=x"], "weight"),
        (&["s/v1=no-such-host.invalid:80"], "no-such-host.invalid"),
    ];
    for (args, named) in table {
        let output = run(args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
        assert!(said.contains(named), "{args:?}: {said}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

/// B1.5: a port in use: exit 1 with the address.
#[test]
fn b1_5_a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let output = run(&["-l", &addr, "--max-connections", "100", "s/v1=127.0.0.1:1"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&addr) && said.contains("in use"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// B1.4, B8.3: `--check` prints the memory ceiling and serves nothing: exit 0, or 2 for an error.
#[test]
fn b1_4_check() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let output = run(&["--check", "-l", &addr, "--memory", "8MiB", "s/v1=127.0.0.1:1,127.0.0.1:2"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for word in ["s/v1", "127.0.0.1:2", "8 MiB", "connections"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let output = run(&["--check", "s/v1=127.0.0.1:x"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
}

/// B1.4: several listeners, of all kinds; B1.3: an endpoint behind a Unix socket.
#[test]
fn b1_3_unix_sockets_on_both_sides() {
    let dir = TempDir::new("unix");
    let (front, back) = (dir.path("front.sock"), dir.path("back.sock"));
    let listener = UnixListener::bind(&back).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut wire = Wire::new(stream);
                while let Ok(request) = wire.request() {
                    let seen = request.head_text();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.len());
                    wire.send(head + &seen);
                }
            });
        }
    });
    let listen = format!("unix:{}", front.display());
    let route = format!("s/v1=unix:{}", back.display());
    let proxy = Pointsman::start(&["-l", &listen, "--forwarded", "append", &route]);

    let seen = proxy.client().get("/s/v1/tcp").text();
    assert!(
        seen.starts_with("GET /tcp HTTP/1.1\r\n") && seen.contains("\r\nHost: t\r\n"),
        "{seen}"
    );
    assert!(seen.contains("X-Forwarded-For: 127.0.0.1\r\n"), "{seen}");
    let mut client = Wire::unix(&front);
    for _ in 0..3 {
        let request = "GET /s/v1/unix HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
        let seen = client.ask(request).text();
        // A peer without an address adds nothing (peers.md (b) 12).
        assert!(seen.starts_with("GET /unix HTTP/1.1\r\n"), "{seen}");
        assert!(seen.contains("X-Forwarded-For: 192.0.2.1\r\n"), "{seen}");
    }
}

/// B1.4: IPv6, if the machine has it.
#[test]
fn b1_4_ipv6_on_both_sides() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        notice("skipped: this machine has no IPv6 loopback");
        return;
    };
    let back = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut wire = Wire::tcp(stream);
            while let Ok(request) = wire.request() {
                let from = request.field("X-Forwarded-For").unwrap_or_default();
                wire.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{from}",
                    from.len()
                ));
            }
        }
    });
    let proxy = Pointsman::start(&["-l", "[::1]:0", &format!("*={back}")]);
    let second = "pointsman listening on [::1]:";
    eventually("the second listener", || proxy.log().contains(second));
    let log = proxy.log();
    let addr = log
        .lines()
        .find_map(|l| l.split_once("pointsman listening on ").filter(|p| p.1.starts_with('[')));
    let addr: SocketAddr = addr.and_then(|p| p.1.trim().parse().ok()).expect("an address");
    assert_eq!(Wire::connect(addr).get("/").text(), "::1");
}

/// B1.3: base path and fixed query.
#[test]
fn b1_3_base_path_and_fixed_query() {
    let origin = Origin::polite();
    let table = [
        ("", "/s/v1/b", "/b"),
        ("/", "/s/v1/b", "/b"),
        ("/a/", "/s/v1/b", "/a/b"),
        ("/a", "/s/v1/b", "/a/b"),
        ("/a", "/s/v1", "/a/"),
        ("/a", "/s/v1/", "/a/"),
        ("/a%2Fb", "/s/v1/c", "/a%2Fb/c"),
        ("/a%2Fb/", "/s/v1/c%2Fd", "/a%2Fb/c%2Fd"),
        ("/a?k=v", "/s/v1/b", "/a/b?k=v"),
        ("/a?k=v", "/s/v1/b?us=er;x", "/a/b?k=v&us=er;x"),
        ("?k=v", "/s/v1/b?us=er", "/b?k=v&us=er"),
        ("?k=v", "/s/v1?us=er", "/?k=v&us=er"),
        ("/a", "/s/v1/b?us=er", "/a/b?us=er"),
    ];
    for (url, target, expected) in table {
        let route = format!("s/v1=http://{}{url}", origin.addr);
        let proxy = Pointsman::start(&[&route]);
        assert_eq!(proxy.client().get(target).status(), 200, "{url} {target}");
        assert_eq!(origin.last().target(), expected, "{url} {target}");
    }
}

/// B1.3, B3.1: every balancer respects weights: three to one.
#[test]
fn b1_3_weights() {
    for balance in ["random", "round-robin", "p2c", "least"] {
        let (heavy, light) = (Origin::polite(), Origin::polite());
        let route = format!("s/v1={};weight=3,{}", heavy.addr, light.addr);
        let proxy = Pointsman::start(&[&route, "--balance", balance]);
        let mut client = proxy.client();
        for _ in 0..400 {
            assert_eq!(client.get("/s/v1/x").status(), 200);
        }
        let share = heavy.requests().len();
        // 300 is expected; 240 is seven standard deviations off, and exact for round robin.
        let range = if balance == "round-robin" { 300..=300 } else { 240..=360 };
        assert!(range.contains(&share), "{balance}: {share} of 400");
        assert_eq!(share + light.requests().len(), 400);
    }
}

/// B3.1: hashing by client or by a field sticks to one endpoint and spreads over all.
#[test]
fn b3_1_hash() {
    let origins = [Origin::polite(), Origin::polite(), Origin::polite()];
    let addrs: Vec<SocketAddr> = origins.iter().map(|o| o.addr).collect();
    let proxy = Pointsman::service(&addrs, &["--balance", "hash"]);
    let first = answered_by(&proxy.client().get("/s/v1/x"));
    assert!((0..20).all(|_| answered_by(&proxy.client().get("/s/v1/x")) == first));

    let proxy = Pointsman::service(&addrs, &["--balance", "hash:X-User"]);
    let mut client = proxy.client();
    let mut ask = |user: u32| {
        answered_by(
            &client.ask(format!("GET /s/v1/x HTTP/1.1\r\nHost: t\r\nX-User: {user}\r\n\r\n")),
        )
    };
    let mut seen: Vec<u16> = (0..60).map(&mut ask).collect();
    let again: Vec<u16> = (0..60).map(&mut ask).collect();
    assert_eq!(seen, again);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 3, "60 users on all three endpoints");
}

/// B1.1: `--demo` needs nothing else; its backends answer with their own port and the target.
#[test]
fn b1_1_demo() {
    // Its ports are fixed: where they are taken, the program must say so and exit with 1.
    let mut command = Command::new(binary());
    command.args(["--demo", "-l", "127.0.0.1:0"]).env_remove("RUST_LOG").stdin(Stdio::null());
    let dir = TempDir::new("demo");
    let log = dir.path("log");
    command.stderr(std::fs::File::create(&log).unwrap());
    let taken = [9091, 9092].iter().any(|p| TcpListener::bind(("127.0.0.1", *p)).is_err());
    if taken {
        let status = command.status().unwrap();
        assert_eq!(status.code(), Some(1));
        return;
    }
    let _process = Process::spawn(&mut command);
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("the demo listens", || listening(&read()).is_some());
    let mut client = Wire::connect(listening(&read()).expect("waited for"));
    let texts: Vec<String> = (0..60).map(|_| client.get("/serviceone/v1/try?me").text()).collect();
    assert!(texts.iter().all(|t| t.contains("/try?me")), "{:?}", texts[0]);
    for port in ["9091", "9092"] {
        assert!(texts.iter().any(|t| t.contains(port)), "{port} never answered: {:?}", texts[0]);
    }
}

/// B1.6: logs go to standard error and obey RUST_LOG; standard output stays empty.
#[test]
fn b1_6_logs() {
    let dir = TempDir::new("log");
    let (out, err) = (dir.path("out"), dir.path("err"));
    let mut command = Command::new(binary());
    command.args(["-l", "127.0.0.1:0", "s/v1=127.0.0.1:1"]).env("RUST_LOG", "off");
    command
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(std::fs::File::create(&err).unwrap());
    let process = Process::spawn(&mut command);
    // Standard streams, epoll, waker and listener: it serves.
    let open = format!("/proc/{}/fd", process.pid());
    eventually("it listens", || std::fs::read_dir(&open).map_or(0, Iterator::count) >= 6);
    assert_eq!(std::fs::read(&err).unwrap(), b"", "RUST_LOG=off");
    assert_eq!(std::fs::read(&out).unwrap(), b"");
}
