//! B6.4: names, by a real dnsmasq, in namespaces of their own so that no file and no port of the
//! machine is touched: each test starts itself again inside of them. Where that is not permitted,
//! or dnsmasq or iproute2 is not installed, one line says that it was skipped.

use std::net::{TcpListener, ToSocketAddrs as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Pointsman, Process, TempDir, binary, eventually, notice};
use crate::wire::Wire;

/// Says to the program that it runs inside.
const INSIDE: &str = "POINTSMAN_TEST_IN_NAMESPACES";
const PORT: u16 = 8080;

/// Runs `body` with a name server of its own, in a process of its own.
fn privately(test: &str, body: fn(&Nameserver)) {
    if std::env::var_os(INSIDE).is_some() {
        return body(&Nameserver::start());
    }
    let Some(mut inside) = namespaces() else { return };
    let test = format!("names::{test}");
    inside.arg(std::env::current_exe().unwrap()).args(["--exact", &test, "--nocapture"]);
    let output = inside.env(INSIDE, "1").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    assert!(String::from_utf8_lossy(&said).contains("1 passed"), "{test} was not found");
}

/// unshare(1) with new mounts and a new network: as root, or as root of a user namespace.
fn namespaces() -> Option<Command> {
    let quiet = |command: &mut Command| {
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if !quiet(Command::new("dnsmasq").arg("--version")) {
        notice("skipped: dnsmasq is not installed");
        return None;
    }
    for options in ["-mn", "-rmn"] {
        let mut probe = Command::new("unshare");
        probe.args([options, "sh", "-c", "ip link set lo up && mount --bind /etc /etc"]);
        if quiet(&mut probe) {
            let mut command = Command::new("unshare");
            command.arg(options);
            return Some(command);
        }
    }
    notice("skipped: namespaces are not permitted, or iproute2 is not installed");
    None
}

fn succeed(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().unwrap();
    assert!(status.success(), "{program} {args:?}");
}

/// dnsmasq on 127.0.0.1:53, which knows `.test`, and all of this process asks it.
struct Nameserver {
    process: Process,
    dir: TempDir,
}

impl Nameserver {
    fn start() -> Nameserver {
        let dir = TempDir::new("names");
        succeed("ip", &["link", "set", "lo", "up"]);
        for (file, content) in [
            ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:2\n"),
            ("nsswitch.conf", "hosts: files dns\n"),
            ("hosts", "127.0.0.1 localhost\n"),
        ] {
            let (ours, theirs) = (dir.write(file, content), format!("/etc/{file}"));
            if std::fs::exists(&theirs).unwrap() {
                succeed("mount", &["--bind", &ours.display().to_string(), &theirs]);
            }
        }
        let known = dir.write("known", "127.0.0.99 ready.test\n").display().to_string();
        let mut command = Command::new("dnsmasq");
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="]);
        command.args(["--no-resolv", "--no-hosts", "--local=/test/", "--user=root"]);
        command.args(["--listen-address=127.0.0.1", "--bind-interfaces", "--log-facility=-"]);
        command.arg(format!("--addn-hosts={known}"));
        let process = Process::spawn(command.stderr(Stdio::null()));
        eventually("the name server answers", || ("ready.test", 1).to_socket_addrs().is_ok());
        Nameserver { process, dir }
    }

    /// From now on `name` has these addresses; without one, there is no such name.
    fn knows(&self, name: &str, addresses: &[&str]) {
        let lines = addresses.iter().map(|address| format!("{address} {name}\n"));
        self.dir.write("known", lines.collect::<String>());
        self.signal("HUP");
        let found = |list: Vec<std::net::SocketAddr>| {
            let mut found: Vec<_> = list.iter().map(|addr| addr.ip().to_string()).collect();
            found.sort();
            found.dedup();
            found
        };
        eventually("the name server has read it", || {
            let now = (name, 1).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
            found(now) == addresses
        });
    }

    fn signal(&self, signal: &str) {
        succeed("kill", &["-s", signal, &self.process.pid().to_string()]);
    }
}

/// An origin on each of these addresses, which answers with its address.
fn origins(addresses: &[&'static str]) {
    for &address in addresses {
        let listener = TcpListener::bind((address, PORT)).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut wire = Wire::tcp(stream);
                    while wire.request().is_ok() {
                        let head = format!("Content-Length: {}\r\n\r\n", address.len());
                        wire.send(format!("HTTP/1.1 200 OK\r\n{head}{address}"));
                    }
                });
            }
        });
    }
}

/// Who answers the next 40 requests, sorted; each must be answered, and at once.
fn answering(proxy: &Pointsman) -> Vec<String> {
    let mut client = proxy.client();
    let mut seen = Vec::new();
    for _ in 0..40 {
        let begun = Instant::now();
        let answer = client.get("/");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        seen.push(answer.text());
    }
    seen.sort();
    seen.dedup();
    seen
}

/// B6.4: every address is an endpoint; what comes and goes is followed, and no request is lost
/// meanwhile; when there is no such name, the last addresses stay, and it is said once.
#[test]
fn b6_4_names_are_resolved_again() {
    privately("b6_4_names_are_resolved_again", |names| {
        origins(&["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
        names.knows("app.test", &["127.0.0.2"]);
        let proxy = Pointsman::start(&[&format!("*=app.test:{PORT}"), "--resolve", "50ms"]);
        let (stop, addr) = (Arc::new(AtomicBool::new(false)), proxy.addr);
        let stopped = Arc::clone(&stop);
        let load = std::thread::spawn(move || {
            let (mut client, mut count) = (Wire::connect(addr), 0);
            while !stopped.load(Ordering::SeqCst) {
                let answer = client.get("/load");
                assert_eq!(answer.status(), 200, "lost: {}", answer.text());
                count += 1;
            }
            count
        });
        assert_eq!(answering(&proxy), ["127.0.0.2"]);

        names.knows("app.test", &["127.0.0.2", "127.0.0.3"]);
        eventually("both answer", || answering(&proxy) == ["127.0.0.2", "127.0.0.3"]);
        names.knows("app.test", &["127.0.0.3"]);
        eventually("the first is gone", || proxy.log().contains("127.0.0.2:8080 is gone"));
        eventually("only the second answers", || answering(&proxy) == ["127.0.0.3"]);

        let failing = "app.test: cannot resolve the name";
        names.knows("app.test", &[]);
        eventually("the failure is logged", || proxy.log().contains(failing));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(500) {
            assert_eq!(answering(&proxy), ["127.0.0.3"], "the last good address stays");
        }
        names.knows("app.test", &["127.0.0.4"]);
        eventually("the new one answers", || answering(&proxy) == ["127.0.0.4"]);
        let log = proxy.log();
        assert_eq!(log.matches(failing).count(), 1, "once, not every time: {log}");
        assert_eq!(log.matches("app.test: the name can be resolved again").count(), 1, "{log}");
        stop.store(true, Ordering::SeqCst);
        assert!(load.join().expect("no request was lost") > 40);
    });
}

/// B6.4: a name server that hangs does not matter to the loop: every request is answered at once.
/// When it goes on, its answers count again.
#[test]
fn b6_4_a_name_server_that_hangs() {
    privately("b6_4_a_name_server_that_hangs", |names| {
        origins(&["127.0.0.2", "127.0.0.3"]);
        names.knows("app.test", &["127.0.0.2"]);
        let proxy = Pointsman::start(&[&format!("*=app.test:{PORT}"), "--resolve", "50ms"]);
        assert_eq!(answering(&proxy), ["127.0.0.2"]);
        names.signal("STOP");
        eventually("its silence is logged", || {
            assert_eq!(answering(&proxy), ["127.0.0.2"]);
            proxy.log().contains("app.test: cannot resolve the name, its addresses stay")
        });
        assert_eq!(answering(&proxy), ["127.0.0.2"]);
        names.signal("CONT");
        names.knows("app.test", &["127.0.0.3"]);
        eventually("it is followed again", || answering(&proxy) == ["127.0.0.3"]);
    });
}

/// B1.5, B6.4: before the first request every name must have been resolved; an address is never
/// asked for.
#[test]
fn b1_5_a_name_that_is_unknown_at_the_start() {
    privately("b1_5_a_name_that_is_unknown_at_the_start", |names| {
        let file = names.dir.write(
            "pointsman.toml",
            "[services.\"s/v1\"]\nendpoints = [\"ready.test:1\", \"nosuch.test:1\"]\n",
        );
        let file = file.display().to_string();
        let place = format!("{file}:2:30: services.\"s/v1\".endpoints: nosuch.test:1: cannot");
        for (args, said) in [
            (&["s/v1=nosuch.test:1"][..], "s/v1: nosuch.test:1: cannot resolve the name"),
            (&["--check", "s/v1=ready.test:1,nosuch.test:1"], "nosuch.test:1: cannot resolve"),
            (&["-c", &file], &place),
            (&["-c", &file, "--check"], &place),
        ] {
            let output = Command::new(binary()).args(args).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
            assert!(error.contains(said) && error.lines().count() == 1, "{args:?}: {error}");
        }
        names.signal("STOP");
        origins(&["127.0.0.2"]);
        let proxy = Pointsman::start(&[&format!("*=127.0.0.2:{PORT}"), "--resolve", "10ms"]);
        assert_eq!(answering(&proxy), ["127.0.0.2"]);
        assert!(!proxy.log().contains("resolve"), "{}", proxy.log());
    });
}
