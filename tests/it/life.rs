//! B9.1: the end of a process, new settings, and a new process on the same sockets, each under
//! load and with a download in flight: no request fails, no connection is reset.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::{Backend, Origin, TempDir, binary, eventually, listening, stable_port};
use crate::wire::{Broken, End, Wire};

/// The program, and whoever has taken its place.
pub(crate) struct Daemon {
    first: Child,
    /// Who serves now.
    pub(crate) pid: u32,
    pub(crate) addr: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Daemon {
    pub(crate) fn start(args: &[&str]) -> Daemon {
        Daemon::launch(Command::new(binary()).args(["-l", "127.0.0.1:0"]).args(args))
    }

    pub(crate) fn launch(command: &mut Command) -> Daemon {
        command.env_remove("RUST_LOG").stdin(Stdio::null()).stderr(Stdio::piped());
        let mut first = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let errors = first.stderr.take().expect("piped");
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            use std::io::BufRead as _;
            for line in std::io::BufReader::new(errors).lines().map_while(Result::ok) {
                *kept.lock().unwrap() += &(line + "\n");
            }
        });
        eventually("it listens", || listening(&log.lock().unwrap()).is_some());
        let addr = listening(&log.lock().unwrap()).expect("waited for");
        Daemon { pid: first.id(), first, addr, log }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// How often the log has said this.
    pub(crate) fn said(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid, name);
    }

    /// Sends a signal, and waits until the log says this once more.
    pub(crate) fn signal_until(&self, name: &str, text: &str) {
        let before = self.said(text);
        self.signal(name);
        eventually(text, || self.said(text) > before);
    }

    /// How the first process ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the process ends", || {
            status = self.first.try_wait().unwrap();
            status.is_some()
        });
        status.expect("waited for")
    }

    /// An upgrade, until the new process serves.
    pub(crate) fn upgrade(&mut self) {
        self.signal_until("USR2", "serves");
        let log = self.log();
        let line = log.lines().rev().find(|l| l.ends_with("serves")).expect("said");
        self.pid = line.split_whitespace().rev().nth(1).and_then(|pid| pid.parse().ok()).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.first.kill();
        let _ = self.first.wait();
        if self.pid != self.first.id() {
            signal(self.pid, "KILL");
        }
        if std::thread::panicking() {
            eprintln!("--- the program's log ---\n{}", self.log());
        }
    }
}

/// There is no safe system call for it in std.
fn signal(pid: u32, name: &str) {
    let _ = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
}

pub(crate) fn alive(pid: u32) -> bool {
    // A process that has ended and was not waited for still has a directory.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// About a thousand requests a second: one half on connections that are kept, the other half on
/// new ones.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    const THREADS: usize = 8;
    const PAUSE: Duration = Duration::from_millis(7);

    /// `mortal` is whether the proxy is to end: then a refused connection is the end, too.
    pub(crate) fn start(addr: SocketAddr, mortal: bool) -> Load {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..Load::THREADS).map(|n| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            let keep = n % 2 == 0;
            std::thread::spawn(move || run(addr, keep, mortal, &stop, &answered))
        });
        let threads = threads.collect();
        Load { stop, answered, threads }
    }

    /// Waits until so many more are answered.
    pub(crate) fn more(&self, n: usize) {
        let goal = self.answered.load(Ordering::SeqCst) + n;
        eventually("requests are answered", || {
            self.answered.load(Ordering::SeqCst) >= goal
                || self.threads.iter().any(JoinHandle::is_finished)
        });
    }

    /// Everything that went wrong.
    pub(crate) fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().flat_map(|thread| thread.join().expect("a client")).collect()
    }
}

fn run(
    addr: SocketAddr,
    keep: bool,
    mortal: bool,
    stop: &AtomicBool,
    answered: &AtomicUsize,
) -> Vec<String> {
    let (mut kept, mut wrong) = (None, Vec::new());
    let close = if keep { "" } else { "Connection: close\r\n" };
    let request = format!("GET /x HTTP/1.1\r\nHost: t\r\n{close}\r\n");
    while !stop.load(Ordering::SeqCst) {
        let mut wire = match kept.take() {
            Some(wire) => wire,
            None => match TcpStream::connect(addr) {
                Ok(stream) => Wire::tcp(stream),
                Err(_) if mortal => break,
                Err(error) => {
                    wrong.push(format!("connect: {error}"));
                    break;
                }
            },
        };
        match wire
            .try_send(&request)
            .map_err(|e| e.to_string())
            .and_then(|()| wire.try_answer("GET").map_err(|broken| format!("{broken:?}")))
        {
            Ok(answer) if answer.status() == 200 => {
                answered.fetch_add(1, Ordering::SeqCst);
                if !answer.says("Connection", "close") {
                    kept = Some(wire);
                }
            }
            Ok(answer) => wrong.push(answer.head_text()),
            Err(why) => wrong.push(format!("kept {keep}: {why}")),
        }
        std::thread::sleep(Load::PAUSE);
    }
    wrong
}

/// Far more than all the buffers on its way hold.
const DOWNLOAD: usize = 40_000_000;

/// A download that is in flight: its head is here, and nobody reads on.
pub(crate) fn download(addr: SocketAddr) -> Wire {
    let mut wire = Wire::connect(addr);
    wire.send(format!("GET /bytes/{DOWNLOAD} HTTP/1.1\r\nHost: t\r\n\r\n"));
    assert_eq!(wire.head().expect("a head").status(), 200);
    wire
}

pub(crate) fn assert_whole(mut download: Wire) {
    assert_eq!(download.take(DOWNLOAD).map(|bytes| bytes.len()), Ok(DOWNLOAD));
}

/// SIGTERM: everything that was let in is answered, and the program says that all is well.
#[test]
fn b9_1_sigterm_loses_nothing() {
    let backend = Backend::start(stable_port());
    for round in 0..10 {
        let mut daemon = Daemon::start(&[&format!("*={}", backend.addr)]);
        let load = Load::start(daemon.addr, true);
        let download = download(daemon.addr);
        load.more(100);
        daemon.signal_until("TERM", "draining");
        assert_whole(download);
        assert_eq!(daemon.ended().code(), Some(0), "round {round}");
        assert_eq!(load.end(), [""; 0], "round {round}");
    }
}

/// An idle client has a second, an answer says close, and nobody new is let in.
#[test]
fn b9_1_what_a_drain_looks_like() {
    let origin = Origin::polite();
    let mut daemon = Daemon::start(&[&format!("*={}", origin.addr)]);
    let (mut idle, mut racing) = (Wire::connect(daemon.addr), Wire::connect(daemon.addr));
    assert!(!idle.get("/").says("Connection", "close"));
    assert!(!racing.get("/").says("Connection", "close"));
    let begun = Instant::now();
    daemon.signal_until("INT", "draining");
    let answer = racing.get("/");
    assert_eq!((answer.status(), answer.says("Connection", "close")), (200, true));
    assert_eq!(racing.end(), End::Fin);
    assert_eq!(idle.end(), End::Fin);
    let waited = begun.elapsed();
    assert!((900..5_000).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!(daemon.ended().code(), Some(0));
    assert!(TcpStream::connect(daemon.addr).is_err());
}

/// The time is over, or a second signal comes: what is left is cut, counted and told.
#[test]
fn b9_1_what_is_left_is_cut() {
    let silent = Origin::scripted(|wire| {
        let _ = wire.request();
        let _ = wire.rest();
    });
    for (args, signals, within) in
        [(vec!["--drain", "300ms"], 1, 250..5_000), (vec![], 2, 0..5_000)]
    {
        let mut daemon =
            Daemon::start(&[&[format!("*={}", silent.addr).as_str()], &*args].concat());
        let mut client = Wire::connect(daemon.addr);
        let before = silent.connections();
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        eventually("the request arrives", || silent.connections() > before);
        let begun = Instant::now();
        daemon.signal_until("TERM", "draining");
        if signals == 2 {
            daemon.signal_until("TERM", "at once");
        }
        assert!(matches!(client.try_answer("GET"), Err(Broken::Before(End::Reset))));
        assert_eq!(daemon.ended().code(), Some(1), "{signals}");
        let waited = begun.elapsed();
        assert!(within.contains(&waited.as_millis()), "{waited:?}");
        eventually("it is told", || daemon.said("1 requests were cut") == 1);
    }
}

/// A tunnel goes on while the program drains; what is left of it at the end is cut and counted.
#[test]
fn b9_1_tunnels_are_drained() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.head();
        wire.send("HTTP/1.1 101 Sure\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
        while let Ok(byte) = wire.take(1) {
            wire.send(byte);
        }
    });
    for (goes, code) in [(true, 0), (false, 1)] {
        let mut daemon = Daemon::start(&[&format!("*={}", origin.addr), "--drain", "800ms"]);
        let mut client = Wire::connect(daemon.addr);
        client.send("GET / HTTP/1.1\r\nHost: t\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n");
        assert_eq!(client.answer("GET").status(), 101);
        daemon.signal_until("TERM", "draining");
        client.send("x");
        assert_eq!(client.take(1).expect("it goes on"), b"x");
        if goes {
            client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
        assert_eq!(client.end(), if goes { End::Fin } else { End::Reset });
        assert_eq!(daemon.ended().code(), Some(code));
    }
}

/// SIGUSR2, ten times: the new one serves on the same socket, the old one goes.
#[test]
fn b9_1_sigusr2_loses_nothing() {
    let backend = Backend::start(stable_port());
    let mut daemon = Daemon::start(&[&format!("*={}", backend.addr)]);
    let load = Load::start(daemon.addr, false);
    for round in 0..10 {
        let download = download(daemon.addr);
        load.more(50);
        let old = daemon.pid;
        daemon.upgrade();
        assert_ne!(daemon.pid, old);
        load.more(50);
        assert!(alive(old), "round {round}: it has a download to end");
        assert_whole(download);
        if round == 0 {
            assert_eq!(daemon.ended().code(), Some(0));
        }
        eventually("the old process is gone", || !alive(old));
    }
    assert_eq!(load.end(), [""; 0]);
}

/// SIGHUP, ten times: the endpoints of the file change places, and nothing is cut.
#[test]
fn b9_1_sighup_loses_nothing() {
    let backends = [Backend::start(stable_port()), Backend::start(stable_port())];
    let dir = TempDir::new("life");
    let write = |n: usize, more: &str| {
        let services = format!("[services.\"*\"]\nendpoints = [\"{}\"]\n", backends[n].addr);
        dir.write("p.toml", format!("{more}\n{services}"))
    };
    let file = write(0, "");
    let daemon = Daemon::start(&["--config", file.to_str().expect("UTF-8")]);
    let served = || Wire::connect(daemon.addr).get("/").text();
    let load = Load::start(daemon.addr, false);
    for round in 1..=10 {
        let download = download(daemon.addr);
        load.more(50);
        write(round % 2, if round % 2 == 0 { "" } else { "balance = \"p2c\"\nconnect = \"2s\"" });
        daemon.signal_until("HUP", "reload: done");
        let port = backends[round % 2].addr.port().to_string();
        eventually("the other one serves", || served().starts_with(&port));
        load.more(50);
        assert_whole(download);
    }

    // What is wrong changes nothing, and is one line.
    for (more, why) in [
        ("connect = \"soon\"", "soon"),
        ("listen = [\"127.0.0.1:1\"]\nthis is no TOML", "p.toml"),
        ("memory = \"1KiB\"", "memory"),
    ] {
        let before = daemon.said("reload: nothing is changed: ");
        write(1, more);
        daemon.signal_until("HUP", "reload: nothing is changed: ");
        let log = daemon.log();
        let lines: Vec<_> = log.lines().filter(|l| l.contains("nothing is changed")).collect();
        assert!(lines.len() == before + 1 && lines[before].contains(why), "{lines:?}");
        assert!(served().starts_with(&backends[0].addr.port().to_string()), "{more}");
    }
    // What cannot change is told; all else is changed.
    write(1, "memory = \"32MiB\"");
    daemon.signal_until("HUP", "to change memory");
    let port = backends[1].addr.port().to_string();
    eventually("the rest is changed", || served().starts_with(&port));
    assert_eq!(load.end(), [""; 0]);
}

/// Other addresses to listen at take a new process: it binds what is new, and what is no longer
/// wanted is emptied before it is closed.
#[test]
fn b9_1_other_listeners_take_an_upgrade() {
    let (origin, dir) = (Origin::polite(), TempDir::new("life"));
    let unix = |name: &str| format!("unix:{}", dir.path(name).display());
    let write = |name: &str| {
        let listen = format!("listen = [\"127.0.0.1:0\", \"{}\"]\n", unix(name));
        let service = format!("[services.\"*\"]\nendpoints = [\"{}\"]\n", origin.addr);
        dir.write("p.toml", listen + &service)
    };
    let file = write("old");
    let mut daemon = Daemon::launch(Command::new(binary()).arg("-c").arg(file));
    write("new");
    daemon.signal_until("HUP", "listen at have changed");
    assert!(dir.path("old").exists() && !dir.path("new").exists());
    daemon.upgrade();
    daemon.ended();
    assert!(!dir.path("old").exists());
    assert_eq!(Wire::unix(&dir.path("new")).get("/").status(), 200);
    assert_eq!(Wire::connect(daemon.addr).get("/").status(), 200);
    // A broken file: the new process says what is wrong, the old one goes on.
    dir.write("p.toml", "no TOML");
    daemon.signal_until("USR2", "exit status: 2");
    assert_eq!(Wire::connect(daemon.addr).get("/").status(), 200);
}

/// The file of a Unix socket lives through an upgrade and ends with the last process.
#[test]
fn b9_1_a_unix_socket_is_handed_on() {
    let (origin, dir) = (Origin::polite(), TempDir::new("life"));
    let (path, listen) = (dir.path("s"), format!("unix:{}", dir.path("s").display()));
    let mut daemon = Daemon::start(&["-l", &listen, &format!("*={}", origin.addr)]);
    for _ in 0..2 {
        daemon.upgrade();
        daemon.ended();
        assert_eq!(Wire::unix(&path).get("/").status(), 200);
    }
    daemon.signal("TERM");
    eventually("it is gone", || !alive(daemon.pid));
    assert!(!path.exists());
}

/// A new binary that dies, or says nothing: the old one goes on and says why.
#[test]
fn b9_1_a_broken_binary_changes_nothing() {
    let (origin, dir) = (Origin::polite(), TempDir::new("life"));
    let program = dir.path("pointsman");
    std::fs::copy(binary(), &program).unwrap();
    let route = format!("*={}", origin.addr);
    let daemon = Daemon::launch(Command::new(&program).args(["-l", "127.0.0.1:0", &route]));
    let mut client = Wire::connect(daemon.addr);
    for (content, why) in [
        ("#!/bin/sh\nexit 7\n", "exit status: 7"),
        ("#!/bin/sh\nexec sleep 60\n", "did not serve within 10s"),
        ("no program at all", "cannot start"),
    ] {
        // A running program cannot be written to, but its name can be given to another file.
        let next = dir.write("next", content);
        std::fs::set_permissions(&next, std::fs::metadata(binary()).unwrap().permissions())
            .unwrap();
        std::fs::rename(&next, &program).unwrap();
        daemon.signal("USR2");
        eventually(why, || daemon.said("going on") > 0 && daemon.said(why) > 0);
        assert_eq!(client.get("/").status(), 200);
        assert_eq!(Wire::connect(daemon.addr).get("/").status(), 200);
    }
    assert!(alive(daemon.pid));
}
