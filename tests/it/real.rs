//! Real parts around the proxy: nginx, Python's and Node's servers, curl. What is not installed
//! is skipped, with one line that says so; `.ci/run` installs them all.

use std::net::TcpStream;
use std::process::{Command, Output, Stdio};

use crate::harness::{Origin, Pointsman, Process, TempDir, eventually, notice, stable_port};
use crate::wire::checksum;

/// Whether `program` can be started; says so in one line if not.
pub(crate) fn installed(program: &str, ask: &str) -> bool {
    let quiet = Command::new(program).arg(ask).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if quiet.is_err() {
        notice(&format!("skipped: {program} is not installed"));
    }
    quiet.is_ok()
}

pub(crate) fn wait_for(port: u16) {
    eventually("the server accepts", || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

/// Bytes in which every shift shows.
fn content(n: usize) -> Vec<u8> {
    crate::wire::Pattern::new().next(n.min(60_000)).iter().copied().cycle().take(n).collect()
}

/// curl without the user's configuration; its answer is on standard output.
fn curl(args: &[&str]) -> Output {
    let output =
        Command::new("curl").args(["-q", "-sS", "--max-time", "60"]).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn curl_text(args: &[&str]) -> String {
    String::from_utf8_lossy(&curl(args).stdout).into_owned()
}

/// nginx with a configuration and a prefix of its own, in the foreground.
fn nginx(dir: &TempDir, port: u16) -> Process {
    let root = dir.path("").display().to_string();
    dir.write(
        "nginx.conf",
        format!(
            "daemon off; master_process off; worker_processes 1; pid {root}nginx.pid;\n\
             error_log {root}error.log; events {{ worker_connections 256; }}\n\
             http {{ access_log off; default_type text/plain; keepalive_timeout 5s;\n\
             client_body_temp_path {root}t1; proxy_temp_path {root}t2;\n\
             fastcgi_temp_path {root}t3;\n\
             uwsgi_temp_path {root}t4; scgi_temp_path {root}t5; client_max_body_size 1m;\n\
             server {{ listen 127.0.0.1:{port}; root {root}www;\n\
             location /hello {{ return 200 \"$request_method $request_uri $http_host\\n\"; }}\n\
             location /moved {{ return 302 /hello; }} }} }}\n"
        ),
    );
    std::fs::create_dir_all(dir.path("www")).unwrap();
    dir.write("www/large", content(20_000_000));
    let mut command = Command::new("nginx");
    command.args(["-p", &root, "-c", &dir.path("nginx.conf").display().to_string()]);
    let process =
        Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    wait_for(port);
    process
}

/// B6, B7 with nginx: keep-alive, ranges, conditions, redirects, errors, a large download, an
/// upload that it refuses early.
#[test]
fn b7_nginx_and_curl() {
    if !installed("nginx", "-v") || !installed("curl", "--version") {
        return;
    }
    let (dir, port) = (TempDir::new("nginx"), stable_port());
    let _nginx = nginx(&dir, port);
    let proxy = Pointsman::start(&[&format!("web/v1=127.0.0.1:{port}")]);
    let url = |rest: &str| format!("http://{}/web/v1{rest}", proxy.addr);

    let hello = url("/hello?a=%20b");
    let seen = curl_text(&[&hello, &hello, &hello, "-w", "%{num_connects}\n"]);
    let line = format!("GET /hello?a=%20b {}\n", proxy.addr);
    assert_eq!(seen, format!("{line}1\n{line}0\n{line}0\n"), "three over one connection");

    let whole = content(20_000_000);
    let large = url("/large");
    assert_eq!(checksum(&curl(&[&large]).stdout), checksum(&whole), "a large download");
    let part = curl(&["-r", "1000000-1999999", &large]);
    assert!(part.stdout == whole[1_000_000..2_000_000], "a range");
    let status =
        |args: &[&str]| curl_text(&[args, &["-o", "/dev/null", "-w", "%{http_code}"]].concat());
    assert_eq!(status(&["-r", "30000000-", &large]), "416");
    assert_eq!(status(&["-I", &large]), "200", "HEAD");
    let tag = curl_text(&["-o", "/dev/null", "-w", "%header{etag}", &large]);
    assert_eq!(status(&["-H", &format!("If-None-Match: {tag}"), &large]), "304", "{tag}");
    assert_eq!(status(&[&url("/moved")]), "302");
    assert_eq!(status(&[&url("/none")]), "404");
    assert_eq!(status(&["-0", &hello]), "200", "HTTP/1.0");

    // Above client_max_body_size: nginx answers while curl still uploads.
    let upload = dir.write("upload", &whole).display().to_string();
    assert_eq!(status(&["-T", &upload, &large]), "413");
    assert_eq!(status(&["-H", "Expect:", "-T", &upload, &large]), "413");
}

/// B7 with curl alone: uploads with a length, with chunks and with Expect, HTTP/1.0, methods.
#[test]
fn b7_curl_uploads() {
    if !installed("curl", "--version") {
        return;
    }
    let (dir, origin) = (TempDir::new("curl"), Origin::polite());
    let proxy = Pointsman::service(&[origin.addr], &[]);
    let url = format!("http://{}/s/v1/up", proxy.addr);
    let body = content(3_000_000);
    let file = dir.write("body", &body).display().to_string();
    let data = format!("@{file}");
    let table: [(&str, &[&str]); 6] = [
        ("PUT", &["-T", &file]),
        ("PUT", &["-T", &file, "-H", "Transfer-Encoding: chunked"]),
        ("POST", &["--data-binary", &data]),
        ("POST", &["--data-binary", &data, "-H", "Expect: 100-continue"]),
        ("POST", &["--data-binary", &data, "-H", "Transfer-Encoding: chunked"]),
        ("POST", &["-0", "--data-binary", &data, "-H", "Expect:"]),
    ];
    for (method, args) in table {
        let seen = curl_text(&[args, &[&url]].concat());
        let expected =
            format!("{} {method} /up {} {:016x}\n", origin.port(), body.len(), checksum(&body));
        assert_eq!(seen, expected, "{method} {args:?}");
    }
    let seen = curl_text(&["-X", "DELETE", &url]);
    assert!(seen.contains(" DELETE /up 0 "), "{seen}");
}

/// B7 with Python's http.server: HTTP/1.0 answers, each on a connection of its own.
#[test]
fn b7_python() {
    if !installed("python3", "-V") {
        return;
    }
    let (dir, port) = (TempDir::new("python"), stable_port());
    let body = content(1_000_000);
    dir.write("file", &body);
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1", "--directory"]);
    command.arg(dir.path("")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _python = Process::spawn(&mut command);
    wait_for(port);
    let proxy = Pointsman::start(&[&format!("py/v1=127.0.0.1:{port}")]);
    let mut client = proxy.client();
    for _ in 0..3 {
        let answer = client.get("/py/v1/file");
        assert_eq!(answer.status(), 200);
        assert!(answer.head_text().starts_with("HTTP/1.1 "), "{}", answer.head_text());
        assert!(answer.body == body);
    }
    assert_eq!(client.get("/py/v1/none").status(), 404);
}

const NODE: &str =
    "require('http').createServer((q, s) => { let n = 0; q.on('data', d => n += d.length);
  q.on('end', () => { s.setHeader('X-From', 'node'); s.write(q.method + ' ' + q.url + ' ');
  setTimeout(() => s.end(n + '\\n'), 5); }); }).listen(+process.argv[1], '127.0.0.1');";

/// B6.2, B7 with Node: chunked answers, kept connections, `Keep-Alive: timeout=5`.
#[test]
fn b7_node() {
    if !installed("node", "--version") {
        return;
    }
    let port = stable_port();
    let mut command = Command::new("node");
    command.args(["-e", NODE, &port.to_string()]).stdin(Stdio::null());
    let _node = Process::spawn(&mut command);
    wait_for(port);
    let proxy = Pointsman::start(&[&format!("js/v1=127.0.0.1:{port}")]);
    let mut client = proxy.client();
    let body = content(200_000);
    for n in 0..20 {
        let answer = client.get(&format!("/js/v1/get/{n}"));
        assert_eq!(answer.text(), format!("GET /get/{n} 0\n"));
        assert_eq!(
            (answer.field("X-From"), answer.field("Keep-Alive")),
            (Some("node".into()), None)
        );
        let answer = client.post(&format!("/js/v1/post/{n}"), &body);
        assert_eq!(answer.text(), format!("POST /post/{n} 200000\n"));
    }
}

/// B4.6 with nginx: four replicas of one file, three of them killed while curl downloads it: it
/// arrives whole, whichever of them had it.
#[test]
fn b4_6_nginx_replicas_are_killed_in_a_download() {
    if !installed("nginx", "-v") || !installed("curl", "--version") {
        return;
    }
    let dirs: Vec<_> = (0..4).map(|n| TempDir::new(&format!("replica{n}"))).collect();
    let ports: Vec<_> = (0..4).map(|_| stable_port()).collect();
    let mut replicas: Vec<_> =
        dirs.iter().zip(&ports).map(|(dir, port)| nginx(dir, *port)).collect();
    for dir in &dirs[1..] {
        // nginx makes the entity tag of size and time: it must be the same file.
        std::fs::remove_file(dir.path("www/large")).unwrap();
        std::fs::hard_link(dirs[0].path("www/large"), dir.path("www/large")).unwrap();
    }
    let endpoints: Vec<_> = ports.iter().map(|port| ([127, 0, 0, 1], *port).into()).collect();
    let proxy = Pointsman::service(&endpoints, &[]);
    let url = format!("http://{}/s/v1/large", proxy.addr);
    let download = std::thread::spawn(move || curl(&["--limit-rate", "8M", &url]).stdout);
    for replica in replicas.iter_mut().take(3) {
        std::thread::sleep(std::time::Duration::from_millis(600));
        replica.kill();
    }
    let got = download.join().expect("curl ends well");
    assert_eq!(checksum(&got), checksum(&content(20_000_000)));
}
