//! B4.3, B6.2: real servers that close idle connections, and clients that come just then.
//!
//! Each server ends idle connections after its own time T. One client for each gap from 0.9 T to
//! 2.1 T sends GET and POST in turn; each has a base path, and so a pool, of its own. Two more
//! share a pool: one walks through all gaps, one waits at random, half of the time close to T.
//! Nothing may be lost, and the server's own log says how often it executed what.
//!
//! The short form takes 12 seconds; `POINTSMAN_LONG=1` the full minute, and tells the counts.
//! `POINTSMAN_REUSE=always` shows what is lost by who does without B4.3.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Pointsman, Process, TempDir, eventually, notice, stable_port};
use crate::real::{installed, wait_for};
use crate::wire::Wire;

/// Who serves, and how to start it with a log of what it executed, one `METHOD TARGET` a line.
struct Server {
    name: &'static str,
    idle_ms: u64,
    command: fn(&TempDir, u16) -> Option<Command>,
}

const SERVERS: [Server; 7] = [
    Server { name: "node, announced", idle_ms: 5000, command: |d, p| node(d, p, 5000, true) },
    Server { name: "node, silent", idle_ms: 1000, command: |d, p| node(d, p, 1000, false) },
    Server { name: "node, silent, 2 s", idle_ms: 2000, command: |d, p| node(d, p, 2000, false) },
    Server { name: "go", idle_ms: 2000, command: go },
    Server { name: "gunicorn", idle_ms: 2000, command: gunicorn },
    Server { name: "python", idle_ms: 2000, command: python },
    Server { name: "nginx", idle_ms: 2000, command: nginx },
];

/// A field of its own for `Connection` keeps Node from announcing its time.
const NODE: &str = "const [port, log, idle, announced] = process.argv.slice(1);
const fs = require('fs'), file = fs.openSync(log, 'a');
const server = require('http').createServer((q, s) => { q.resume(); q.on('end', () => {
  fs.writeSync(file, q.method + ' ' + q.url + '\\n');
  if (announced != 'true') s.setHeader('Connection', 'keep-alive');
  s.end('ok'); }); });
server.keepAliveTimeout = +idle; server.listen(+port, '127.0.0.1');";

fn node(dir: &TempDir, port: u16, idle_ms: u64, announced: bool) -> Option<Command> {
    let mut command = Command::new("node");
    command.args(["-e", NODE, &port.to_string()]).arg(dir.path("log"));
    command.args([idle_ms.to_string(), announced.to_string()]);
    installed("node", "--version").then_some(command)
}

const GO: &str = r#"package main
import ("io"; "net/http"; "os"; "sync"; "time")
func main() {
	log, _ := os.OpenFile(os.Args[2], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0644)
	var one sync.Mutex
	handle := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		one.Lock()
		log.WriteString(r.Method + " " + r.URL.Path + "\n")
		one.Unlock()
		w.Write([]byte("ok"))
	}
	server := http.Server{Addr: "127.0.0.1:" + os.Args[1], IdleTimeout: 2 * time.Second,
		Handler: http.HandlerFunc(handle)}
	server.ListenAndServe()
}
"#;

fn go(dir: &TempDir, port: u16) -> Option<Command> {
    if !installed("go", "version") {
        return None;
    }
    let source = dir.write("main.go", GO);
    let mut build = Command::new("go");
    build.args(["build", "-o"]).args([dir.path("server"), source]).current_dir(dir.path(""));
    assert!(build.status().unwrap().success(), "{build:?}");
    let mut command = Command::new(dir.path("server"));
    command.arg(port.to_string()).arg(dir.path("log"));
    Some(command)
}

const APP: &str = "import os
log = os.open('log', os.O_APPEND | os.O_CREAT | os.O_WRONLY)
def app(env, start):
    env['wsgi.input'].read()
    os.write(log, f\"{env['REQUEST_METHOD']} {env['PATH_INFO']}\\n\".encode())
    start('200 OK', [('Content-Length', '2')])
    return [b'ok']
";

fn gunicorn(dir: &TempDir, port: u16) -> Option<Command> {
    let mut ask = Command::new("python3");
    let asked = ask.args(["-m", "gunicorn", "--version"]).output();
    if !asked.is_ok_and(|asked| asked.status.success()) {
        notice("skipped: gunicorn is not installed");
        return None;
    }
    dir.write("app.py", APP);
    let mut command = Command::new("python3");
    command.args(["-m", "gunicorn", "-k", "gthread", "--threads", "8", "--keep-alive", "2"]);
    command.args(["-b", &format!("127.0.0.1:{port}"), "app:app"]);
    Some(command)
}

const PYTHON: &str = "import http.server, os, sys
log = os.open(sys.argv[2], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, timeout = 'HTTP/1.1', 2
    def do_GET(self):
        self.rfile.read(int(self.headers.get('Content-Length', 0)))
        os.write(log, f'{self.command} {self.path}\\n'.encode())
        self.send_response(200)
        self.send_header('Content-Length', '2')
        self.end_headers()
        self.wfile.write(b'ok')
    do_POST = do_GET
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
Server(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
";

fn python(dir: &TempDir, port: u16) -> Option<Command> {
    let mut command = Command::new("python3");
    command.args(["-c", PYTHON, &port.to_string()]).arg(dir.path("log"));
    installed("python3", "-V").then_some(command)
}

fn nginx(dir: &TempDir, port: u16) -> Option<Command> {
    let root = dir.path("").display().to_string();
    let config = format!(
        "daemon off; master_process off; pid {root}pid; error_log {root}error.log;\n\
         events {{ worker_connections 256; }}\n\
         http {{ log_format executed '$request_method $uri'; access_log {root}log executed;\n\
         client_body_temp_path {root}t1; proxy_temp_path {root}t2; fastcgi_temp_path {root}t3;\n\
         uwsgi_temp_path {root}t4; scgi_temp_path {root}t5; keepalive_timeout 2;\n\
         server {{ listen 127.0.0.1:{port}; return 200 ok; }} }}\n"
    );
    let path = dir.write("nginx.conf", config);
    let mut command = Command::new("nginx");
    command.args(["-p", &root, "-c"]).arg(path);
    installed("nginx", "-v").then_some(command)
}

/// The gaps in hundredths of T.
fn gaps() -> impl Iterator<Item = u64> + Clone {
    (90..=210).step_by(5)
}

/// What one client has seen: targets of the POSTs that were answered, and what went wrong.
#[derive(Default)]
struct Seen {
    gets: usize,
    posts: Vec<String>,
    lost: Vec<String>,
}

/// Sends GET and POST in turn, each so many milliseconds after the last answer as `gap` says.
fn visit(
    addr: std::net::SocketAddr,
    lane: &str,
    until: Instant,
    mut gap: impl FnMut() -> u64,
) -> Seen {
    let (mut seen, mut wire) = (Seen::default(), Wire::connect(addr));
    for n in 0.. {
        let (method, body) = if n % 2 == 0 { ("GET", "") } else { ("POST", "once") };
        let target = format!("/{lane}-{n}");
        let request = format!(
            "{method} /idle{target} HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let sent = wire.try_send(request);
        match wire.try_answer(method) {
            Ok(answer) if sent.is_ok() && answer.status() == 200 && answer.text() == "ok" => {
                if method == "GET" {
                    seen.gets += 1;
                } else {
                    seen.posts.push(target);
                }
            }
            other => {
                let what = other.map(|answer| (answer.status(), answer.text()));
                seen.lost.push(format!("{method} {target}: {what:?}"));
                wire = Wire::connect(addr);
            }
        }
        let pause = Duration::from_millis(gap());
        if Instant::now() + pause >= until {
            break;
        }
        std::thread::sleep(pause);
    }
    seen
}

/// Small, seeded, and good enough for gaps.
fn dice(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x % below
    }
}

/// All clients of one server at once; what they saw.
fn visit_all(proxy: &Pointsman, idle_ms: u64, until: Instant) -> Vec<Seen> {
    let addr = proxy.addr;
    std::thread::scope(|scope| {
        let fixed = gaps().map(|percent| {
            let lane = format!("g{percent}/");
            scope.spawn(move || visit(addr, &lane, until, || idle_ms * percent / 100))
        });
        let mut clients: Vec<_> = fixed.collect();
        let mut walk = gaps().cycle();
        clients.push(scope.spawn(move || {
            visit(addr, "shared/walk", until, || idle_ms * walk.next().unwrap_or(100) / 100)
        }));
        let mut roll = dice(u64::from(addr.port()));
        clients.push(scope.spawn(move || {
            visit(addr, "shared/random", until, || match roll(2) {
                0 => roll(idle_ms * 2),
                _ => idle_ms - 20 + roll(40),
            })
        }));
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

/// Lets the clients loose on one server; gives what is wrong.
fn run(server: &Server, long: bool) -> String {
    let (dir, port) = (TempDir::new("idle"), stable_port());
    let Some(mut command) = (server.command)(&dir, port) else { return String::new() };
    command.current_dir(dir.path("")).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let _process = Process::spawn(&mut command);
    wait_for(port);
    let route = |name: String| format!("idle/{name}=http://127.0.0.1:{port}/{name}");
    let mut routes: Vec<String> = gaps().map(|percent| route(format!("g{percent}"))).collect();
    routes.push(route("shared".into()));
    let mut args: Vec<&str> = routes.iter().map(String::as_str).collect();
    let setting = std::env::var("POINTSMAN_REUSE").unwrap_or_else(|_| "auto".into());
    args.extend(["--reuse-unsafe", &setting]);
    let proxy = Pointsman::start(&args);
    let seconds = if long { 60 } else { 12 };
    let seen = visit_all(&proxy, server.idle_ms, Instant::now() + Duration::from_secs(seconds));
    judge(server, &dir, &seen, long)
}

/// Compares what the clients saw with what the server says it did.
fn judge(server: &Server, dir: &TempDir, seen: &[Seen], long: bool) -> String {
    let posts: Vec<&String> = seen.iter().flat_map(|seen| &seen.posts).collect();
    let mut executed = HashMap::new();
    eventually("the server's log is complete", || {
        let log = std::fs::read_to_string(dir.path("log")).unwrap_or_default();
        executed.clear();
        for target in log.lines().filter_map(|line| line.strip_prefix("POST ")) {
            *executed.entry(target.to_string()).or_insert(0) += 1;
        }
        posts.iter().all(|target| executed.contains_key(*target))
    });
    let twice: Vec<_> = executed.iter().filter(|(_, times)| **times != 1).collect();
    let lost: Vec<_> = seen.iter().flat_map(|seen| &seen.lost).collect();
    if long {
        let gets: usize = seen.iter().map(|seen| seen.gets).sum();
        notice(&format!(
            "{}, idle limit {} ms: {gets} GET and {} POST answered, {} lost, {} POST twice",
            server.name,
            server.idle_ms,
            posts.len(),
            lost.len(),
            twice.len()
        ));
    }
    let mut wrong = String::new();
    for lost in lost {
        let _ = writeln!(wrong, "{}: lost {lost}", server.name);
    }
    for (target, times) in twice {
        let _ = writeln!(wrong, "{}: POST {target} executed {times} times", server.name);
    }
    wrong
}

/// B4.3, B6.2: whenever the client comes, no request is lost and no POST executed twice.
#[test]
fn b6_2_servers_that_close_idle_connections() {
    let long = std::env::var_os("POINTSMAN_LONG").is_some();
    let wrong: String = std::thread::scope(|scope| {
        let runs: Vec<_> =
            SERVERS.iter().map(|server| scope.spawn(move || run(server, long))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "\n{wrong}");
}
