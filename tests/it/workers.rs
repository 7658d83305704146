//! B9.5: several workers on one socket. All of them serve, all of them hear of what changes, and
//! together they stay within what one may have; nothing is lost when they end or become more.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use pointsman::{
    Config, Decision, Edit, Endpoint, Handle, Hooks, MemoryRegistry, Proxy, Registry as _,
    RequestHead, Stats, Workers,
};

use crate::harness::{Backend, Origin, Pointsman, TempDir, binary, eventually, stable_port};
use crate::life::{Daemon, Load, alive, assert_whole, download};
use crate::wire::{Broken, End, Wire};

/// The threads of a process that serve clients.
fn threads(pid: u32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("worker ")).count()
}

/// How many descriptors each worker of a process watches, the fewest first.
fn watched(pid: u32) -> Vec<usize> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    // A worker has two descriptors of its epoll, which say the same.
    let epolls: BTreeSet<BTreeSet<String>> = descriptors
        .filter(|entry| {
            let link = std::fs::read_link(entry.path()).unwrap_or_default();
            link.to_string_lossy().contains("eventpoll")
        })
        .map(|entry| {
            let number = entry.file_name().into_string().unwrap();
            let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}"));
            let info = info.unwrap_or_default();
            let lines = info.lines().filter(|line| line.starts_with("tfd"));
            lines.map(|l| l.split_whitespace().nth(1).unwrap().to_owned()).collect()
        })
        .collect();
    let mut counts: Vec<usize> = epolls.iter().map(BTreeSet::len).collect();
    counts.sort_unstable();
    counts
}

/// Each worker has its part of the clients, and asks endpoints by itself.
#[test]
fn b9_5_all_workers_serve() {
    let origin = Origin::polite();
    let daemon = Daemon::start(&[&format!("s/v1={}", origin.addr), "--workers", "3"]);
    eventually("three workers", || threads(daemon.pid) == 3);
    let at_rest = watched(daemon.pid);
    assert_eq!(at_rest, [3; 3], "a listener, a waker and an alarm");
    // An answer of our own: no connection to an endpoint is among what is watched.
    let mut clients: Vec<Wire> = (0..60).map(|_| Wire::connect(daemon.addr)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/nowhere").status(), 404));
    let watched = watched(daemon.pid);
    assert_eq!(watched.iter().sum::<usize>(), 9 + 60, "{watched:?}");
    assert!(watched[0] >= 3 + 10, "somebody has too few: {watched:?}");
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/s/v1/x").status(), 200));
    assert!(origin.connections() >= 3, "a pool for each");
    drop(clients);
    eventually("all have gone", || self::watched(daemon.pid).iter().sum::<usize>() <= 6 + 60);
}

/// One worker is the default, and then there is no thread for it.
#[test]
fn b9_5_one_worker_is_no_thread() {
    let origin = Origin::polite();
    for args in [&[][..], &["--workers", "1"]] {
        let route = format!("*={}", origin.addr);
        let daemon = Daemon::start(&[&[route.as_str()], args].concat());
        assert_eq!(threads(daemon.pid), 0);
        assert_eq!(Wire::connect(daemon.addr).get("/").status(), 200);
    }
}

/// SIGHUP: whoever serves a client, it is the new endpoint that answers; the number of workers
/// stays and that is told.
#[test]
fn b9_5_a_reload_reaches_all_workers() {
    let (old, new, dir) = (Origin::polite(), Origin::polite(), TempDir::new("workers"));
    let write = |workers: usize, more: &str, origin: &Origin| {
        let addr = origin.addr;
        let service = format!("[services.\"*\"]\nendpoints = [\"{addr}\"]\n");
        dir.write("p.toml", format!("workers = {workers}\n{more}\n{service}"))
    };
    let file = write(2, "", &old);
    let daemon = Daemon::start(&["--config", file.to_str().expect("UTF-8")]);
    let mut clients: Vec<Wire> = (0..20).map(|_| Wire::connect(daemon.addr)).collect();
    let mut all_say = |origin: &Origin| {
        let port = origin.port();
        clients.iter_mut().all(|client| client.get("/").text().starts_with(&port))
    };
    assert!(all_say(&old));
    assert!(watched(daemon.pid).iter().all(|count| *count > 2), "both have clients");
    write(2, "", &new);
    daemon.signal_until("HUP", "reload: done");
    eventually("the new one answers", || all_say(&new));
    write(3, "max-target = '64B'", &old);
    daemon.signal_until("HUP", "takes SIGUSR2 or a restart to change workers");
    eventually("the old one answers", || all_say(&old));
    eventually("two workers", || threads(daemon.pid) == 2);
    let long = format!("/{}", "x".repeat(64));
    let refused = |client: &mut Wire| client.get(&long).status() == 414;
    assert!(clients.iter_mut().all(refused), "the limit holds everywhere");
    // What is too little for the workers that there are changes nothing.
    write(1, "max-connections = 1", &new);
    daemon.signal_until("HUP", "max-connections 1 is too few for 2 workers");
    assert_eq!(Wire::connect(daemon.addr).get("/").text().split(' ').next(), Some(&*old.port()));
}

/// SIGTERM under load: all that was let in is answered, by every worker.
#[test]
fn b9_5_sigterm_loses_nothing() {
    let backend = Backend::start(stable_port());
    for round in 0..5 {
        let mut daemon = Daemon::start(&[&format!("*={}", backend.addr), "--workers", "3"]);
        let load = Load::start(daemon.addr, true);
        let downloads: Vec<Wire> = (0..3).map(|_| download(daemon.addr)).collect();
        load.more(100);
        daemon.signal_until("TERM", "draining");
        downloads.into_iter().for_each(assert_whole);
        assert_eq!(daemon.ended().code(), Some(0), "round {round}");
        assert_eq!(load.end(), [""; 0], "round {round}");
        assert_eq!(daemon.said("panicked"), 0);
    }
}

/// What is cut is counted over all workers; a second signal reaches all of them.
#[test]
fn b9_5_what_is_cut_is_summed() {
    let silent = Origin::scripted(|wire| {
        let _ = wire.request();
        let _ = wire.rest();
    });
    let route = format!("*={}", silent.addr);
    for (args, signals) in [(vec!["--drain", "300ms"], 1), (vec![], 2)] {
        let more = ["--workers", "2", "--slow-start", "off"];
        let mut daemon = Daemon::start(&[&[route.as_str()], &more[..], &args].concat());
        let before = silent.connections();
        let mut clients: Vec<Wire> = (0..20).map(|_| Wire::connect(daemon.addr)).collect();
        clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n"));
        eventually("the requests arrive", || silent.connections() == before + 20);
        assert!(watched(daemon.pid).iter().all(|count| *count > 2), "both have some");
        daemon.signal_until("TERM", "draining");
        if signals == 2 {
            daemon.signal_until("TERM", "at once");
        }
        for client in &mut clients {
            assert!(matches!(client.try_answer("GET"), Err(Broken::Before(End::Reset))));
        }
        assert_eq!(daemon.ended().code(), Some(1));
        eventually("it is told", || daemon.said("20 requests were cut") == 1);
        assert_eq!(daemon.said("panicked"), 0);
    }
}

/// SIGUSR2 under load, the number of workers in the file another one each time: no client is
/// refused or reset.
#[test]
fn b9_5_an_upgrade_changes_the_number() {
    let (backend, dir) = (Backend::start(stable_port()), TempDir::new("workers"));
    let write = |workers: usize| {
        let service = format!("[services.\"*\"]\nendpoints = [\"{}\"]\n", backend.addr);
        dir.write("p.toml", format!("workers = {workers}\n{service}"))
    };
    let file = write(2);
    let mut daemon = Daemon::start(&["-c", file.to_str().expect("UTF-8")]);
    eventually("two workers", || threads(daemon.pid) == 2);
    let load = Load::start(daemon.addr, false);
    for count in [3, 2, 1, 2, 2, 4] {
        write(count);
        let download = download(daemon.addr);
        load.more(100);
        let old = daemon.pid;
        daemon.upgrade();
        let workers = if count > 1 { count } else { 0 };
        eventually("as many as the file says", || threads(daemon.pid) == workers);
        load.more(100);
        assert!(alive(old), "it has a download to end");
        assert_whole(download);
        eventually("the old process is gone", || !alive(old));
    }
    assert_eq!(load.end(), [""; 0]);
    assert_eq!(daemon.said("panicked"), 0);
}

/// The file of a Unix socket lives through an upgrade, and ends with the last worker.
#[test]
fn b9_5_workers_share_a_unix_socket() {
    let (origin, dir) = (Origin::polite(), TempDir::new("workers"));
    let (path, listen) = (dir.path("s"), format!("unix:{}", dir.path("s").display()));
    let route = format!("*={}", origin.addr);
    let mut daemon = Daemon::start(&["-l", &listen, &route, "--workers", "2"]);
    daemon.upgrade();
    daemon.ended();
    eventually("both workers listen", || watched(daemon.pid) == [4, 4]);
    let mut clients: Vec<_> = (0..20).map(|_| Wire::unix(&path)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    assert!(watched(daemon.pid).iter().all(|count| *count > 4), "both have some");
    daemon.signal("TERM");
    eventually("it is gone", || !alive(daemon.pid));
    assert!(!path.exists());
}

/// B8.3: `max-connections` is what all have together, and all of it can be used.
#[test]
fn b9_5_max_connections_holds_in_sum() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &["--workers", "2", "--max-connections", "10"]);
    let mut clients: Vec<Wire> = (0..10).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    let mut waiting: Vec<Wire> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut waiting {
        client.send("GET /late HTTP/1.1\r\nHost: t\r\n\r\n");
    }
    std::thread::sleep(Duration::from_millis(500));
    let late = || origin.requests().iter().filter(|r| r.target() == "/late").count();
    assert_eq!(late(), 0, "nobody is let in");
    for left in 1..=3 {
        drop(clients.pop());
        eventually("one is let in for one that went", || late() == left);
    }
    for client in &mut waiting {
        assert_eq!(client.answer("GET").status(), 200);
    }
}

/// B1.4, B8.3: `--check` prints how many there are and what each may have; what is too little for
/// all of them is an error that names its place.
#[test]
fn b9_5_check_prints_the_shares() {
    let run = |args: &[&str]| {
        let mut command = Command::new(binary());
        let output = command.args(args).output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let route = "a/v1=127.0.0.1:1";
    let limits = ["--max-connections", "101", "--memory", "33MiB"];
    let (code, said, _) = run(&[&["--check", route, "--workers", "2"][..], &limits].concat());
    assert_eq!(code, Some(0));
    let lines = [
        "memory   max 101 connections x 1 KiB + 33 MiB of buffers = 33.1 MiB",
        "workers  2, and of that for each: max 50 connections x 1 KiB + 16.5 MiB of buffers = \
         16.5 MiB",
    ];
    lines.iter().for_each(|line| assert!(said.lines().any(|l| l == *line), "{line}: {said}"));
    let (_, said, _) = run(&["--check", route]);
    assert!(!said.contains("workers"), "{said}");
    let (code, _, error) = run(&["--check", route, "--workers", "99", "--memory", "33MiB"]);
    assert_eq!(code, Some(2));
    assert!(error.starts_with("pointsman: --workers: for one of 99 workers: memory "), "{error}");
    let dir = TempDir::new("workers");
    let file = |text: &str| {
        let service = "[services.'*']\nendpoints = ['127.0.0.1:1']\n";
        dir.write("p.toml", format!("{text}\n{service}")).display().to_string()
    };
    for (text, said) in [
        ("workers = 2\nmax-inflight = 1", ":1:11: workers: max-inflight 1 is too few for 2 work"),
        ("workers = 0", ":1:11: workers: \"0\": takes a number from 1 to 256"),
        ("workers = [2]", ":1:11: workers: takes a number; this is: array"),
        ("worker = 2", ":1:1: worker: there is no such key; the nearest is workers"),
    ] {
        let file = file(text);
        let (code, _, error) = run(&["--check", "-c", &file]);
        assert_eq!(code, Some(2), "{text}");
        assert!(error.starts_with(&format!("pointsman: {file}{said}")), "{error}");
    }
    let (code, ..) = run(&["--check", "-c", &file("workers = 2"), "--workers", "3"]);
    assert_eq!(code, Some(0));
}

/// A request for /panic is the end of the worker that reads it; one for /hang holds it up.
struct Panics;

impl Hooks for Panics {
    fn request(&mut self, head: &RequestHead<'_>, _: &mut Edit) -> Decision {
        assert_ne!(head.path(), b"/panic", "as the test wants it");
        if head.path() == b"/hang" {
            std::thread::sleep(HANG);
        }
        Decision::Forward
    }
}

/// Less than a client's patience, and far more than a client needs.
const HANG: Duration = Duration::from_secs(6);

/// Two workers of the library before `origin`, on a thread; it ends with what they have counted.
fn library(origin: SocketAddr) -> (SocketAddr, Handle, std::thread::JoinHandle<Stats>) {
    let mut registry = MemoryRegistry::default();
    registry.add("*", Endpoint::tcp(origin));
    let share = Config { slow_start: false, ..Config::default() }.share(2).unwrap();
    let dress = |builder: pointsman::Builder| {
        builder.registry(registry.clone()).config(share.clone()).hooks(Panics).build().unwrap()
    };
    let first = dress(Proxy::builder().listen("127.0.0.1:0".parse().unwrap()));
    let second = dress(Proxy::builder().beside(&first).unwrap());
    let mut workers = Workers::of(first, vec![second]);
    let addr = workers.addresses()[0].to_string().parse().unwrap();
    let handle = workers.handle();
    assert_eq!(workers.sockets().unwrap().len(), 1);
    let thread = std::thread::spawn(move || {
        workers.run().expect("run");
        workers.stats()
    });
    (addr, handle, thread)
}

/// B10.1: one handle speaks to all, and what all have counted is one ledger.
#[test]
fn b9_5_a_handle_speaks_to_all_workers() {
    let (one, other) = (Origin::polite(), Origin::polite());
    let (addr, handle, thread) = library(one.addr);
    let mut clients: Vec<Wire> = (0..20).map(|_| Wire::connect(addr)).collect();
    let mut asked = 0;
    let mut all = |right: &dyn Fn(&mut Wire) -> bool| {
        asked += 2 * clients.len() as u64;
        clients.iter_mut().filter_map(|client| right(client).then_some(())).count() == 20
    };
    let says = |port: String| {
        move |client: &mut Wire| {
            [(); 2].map(|()| client.get("/").text().starts_with(&port)) == [true; 2]
        }
    };
    assert!(all(&says(one.port())));
    handle.add("*", Endpoint::tcp(other.addr));
    handle.delete("*", &Endpoint::tcp(one.addr));
    eventually("everybody asks the other one", || all(&says(other.port())));
    let few = Config { max_connections: 1, ..Config::default() };
    assert!(handle.configure(few).is_err(), "there are two workers");
    handle.configure(Config { max_target_bytes: 64, ..Config::default() }).unwrap();
    handle.balancer(|_| pointsman::Balance::RoundRobin.build());
    handle.add("*", Endpoint::tcp(one.addr));
    eventually("in turn, at every worker", || {
        all(&|client| client.get("/").text() != client.get("/").text())
    });
    let long = format!("/{}", "x".repeat(64));
    let refused =
        |client: &mut Wire| client.get("/").status() == 200 && client.get(&long).status() == 414;
    assert!(all(&refused), "the limit holds everywhere");
    handle.drain(Duration::from_secs(20));
    let stats = thread.join().expect("no panic");
    assert!(stats.balances() && stats.in_progress == 0, "{stats:?}");
    assert_eq!(stats.answered + stats.refused.values().sum::<u64>(), asked, "{stats:?}");
    assert_eq!(stats.stopped(), 0);
    assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
    handle.stop();
}

/// A worker that hangs, in a hook, keeps its own clients waiting and nobody else: the other one
/// takes in all who come, although it has more, and although it never rests.
#[test]
fn b9_5_a_worker_that_hangs_holds_nobody_up() {
    let origin = Origin::polite();
    let (addr, handle, thread) = library(origin.addr);
    let mut hanging = Wire::connect(addr);
    hanging.send("GET /hang HTTP/1.1\r\nHost: t\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    let mut clients: Vec<Wire> = Vec::new();
    for _ in 0..60 {
        clients.push(Wire::connect(addr));
        clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n"));
        clients.iter_mut().for_each(|client| assert_eq!(client.answer("GET").status(), 200));
    }
    assert!(begun.elapsed() < HANG - Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(hanging.answer("GET").status(), 200);
    drop((hanging, clients));
    handle.drain(Duration::from_secs(20));
    assert!(thread.join().expect("no panic").balances());
}

/// A worker that panics takes its clients with it; the others come to their end first.
#[test]
fn b9_5_a_panic_ends_all_well() {
    let (go, goes): (_, Receiver<()>) = channel();
    let goes = Mutex::new(goes);
    let origin = Origin::scripted(move |wire| {
        while wire.request().is_ok() {
            let _ = goes.lock().unwrap().recv_timeout(Duration::from_secs(10));
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let (addr, _handle, thread) = library(origin.addr);
    let mut clients: Vec<Wire> = (0..20).map(|_| Wire::connect(addr)).collect();
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n"));
    eventually("the requests arrive", || origin.connections() == 20);
    let mut deadly = Wire::connect(addr);
    deadly.send("GET /panic HTTP/1.1\r\nHost: t\r\n\r\n");
    assert!(deadly.try_answer("GET").is_err());
    (0..20).for_each(|_| go.send(()).unwrap());
    let answers: Vec<_> = clients.iter_mut().map(|client| client.try_answer("GET")).collect();
    let (whole, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.is_ok());
    assert!(whole.len() >= 5 && lost.len() >= 5, "{} and {}", whole.len(), lost.len());
    for answer in whole.into_iter().flatten() {
        assert!(answer.says("Connection", "close"), "{}", answer.head_text());
    }
    assert!(thread.join().is_err(), "the panic goes on in run()");
}
