//! Processes and origins for the tests, each gone when its owner is dropped.
//!
//! Processes are ended by their id, ports come from the kernel, and what a proxy logged is shown
//! when its test fails. This file does not know what is being tested.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::wire::{Broken, Message, PATIENCE, Wire, checksum};

/// Waits until `done` holds; panics with `what` if it never does.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A line on standard error that is seen even if the test passes: the test runner captures only
/// what the print macros write.
pub(crate) fn notice(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// How many files this process, and each of its children, may have open: the soft limit, which
/// is raised to the hard one first, by prlimit(1) because the system call would need unsafe code.
pub(crate) fn open_files() -> u64 {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    let read = |column: usize| {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let line = limits.lines().find(|l| l.starts_with("Max open files"));
        line.and_then(|l| l.split_whitespace().nth(column)?.parse().ok()).unwrap_or(1_024)
    };
    *LIMIT.get_or_init(|| {
        let (soft, hard): (u64, u64) = (read(3), read(4));
        if soft < hard {
            let pid = std::process::id().to_string();
            let mut raise = Command::new("prlimit");
            raise.args(["--pid", &pid, &format!("--nofile={hard}:{hard}")]);
            let _ = raise.stderr(Stdio::null()).status();
        }
        read(3)
    })
}

/// A free port below the range from which the kernel takes ports for clients. A backend that
/// comes back to its port needs one: in that range somebody's client could sit on it meanwhile,
/// and a connect to it while nobody listens could even be answered by itself.
pub(crate) fn stable_port() -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() as usize * 13;
        let port = 20_000 + u16::try_from(n % 12_000).expect("small");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// An address that refuses every connection for as long as this lives: bound, never listening.
pub(crate) struct Refusing {
    _socket: socket2::Socket,
    pub(crate) addr: SocketAddr,
}

impl Refusing {
    pub(crate) fn new() -> Refusing {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().expect("IPv4");
        Refusing { _socket: socket, addr }
    }
}

/// A new directory under the system's place for such, removed on drop.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> TempDir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pm-{name}-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    pub(crate) fn write(&self, file: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(file), content).unwrap();
        self.path(file)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A child process, killed by its id on drop.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Process {
        Process(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")))
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The built program; the examples lie beside it.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_pointsman"))
}

/// A running pointsman process.
pub(crate) struct Pointsman {
    process: Process,
    pub(crate) addr: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Pointsman {
    /// The program with these arguments, listening on a port of the kernel's choice.
    pub(crate) fn start(args: &[&str]) -> Pointsman {
        Pointsman::launch(Command::new(binary()).args(["-l", "127.0.0.1:0"]).args(args))
    }

    /// One service, `s/v1`, with these endpoints.
    pub(crate) fn service(endpoints: &[SocketAddr], more: &[&str]) -> Pointsman {
        let route = format!("s/v1={}", list(endpoints));
        Pointsman::start(&[&[route.as_str()], more].concat())
    }

    /// The catch-all with one endpoint: nothing is cut from the target.
    pub(crate) fn before(endpoint: SocketAddr, more: &[&str]) -> Pointsman {
        let route = format!("*={endpoint}");
        Pointsman::start(&[&[route.as_str()], more].concat())
    }

    /// The same under a limit of descriptors.
    pub(crate) fn limited(descriptors: u64, args: &[&str]) -> Pointsman {
        let shell = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &shell]).arg(binary()).args(["-l", "127.0.0.1:0"]).args(args);
        Pointsman::launch(&mut command)
    }

    fn launch(command: &mut Command) -> Pointsman {
        // Raises the limit that the child inherits.
        open_files();
        command.env_remove("RUST_LOG").stdin(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process::spawn(command);
        let errors = process.0.stderr.take().expect("piped");
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let mut addr = None;
        eventually("a line 'pointsman listening on'", || {
            addr = listening(&log.lock().unwrap());
            let gone = process.0.try_wait().unwrap();
            assert!(addr.is_some() || gone.is_none(), "{gone:?}: {}", log.lock().unwrap());
            addr.is_some()
        });
        Pointsman { process, addr: addr.expect("waited for"), log }
    }

    pub(crate) fn client(&self) -> Wire {
        Wire::connect(self.addr)
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// A figure of `/proc/PID/status`, in bytes: `VmRSS`, `VmHWM`.
    pub(crate) fn memory_bytes(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find(|l| l.starts_with(key)).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap();
        kib * 1024
    }

    /// Processor time spent so far, in ticks of 10 ms.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(self.proc("stat")).unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// From now on it may open no file whose number is not below this.
    pub(crate) fn limit_open_files(&self, below: u64) {
        let (pid, limit) = (self.process.pid().to_string(), format!("--nofile={below}:"));
        let done = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        assert!(done.is_ok_and(|status| status.success()), "prlimit");
    }

    /// How many descriptors it holds now.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// What its descriptors are: `pipe:[1]`, `socket:[2]`, paths.
    pub(crate) fn links(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.proc("fd")).unwrap().flatten();
        let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.map(|link| link.to_string_lossy().into_owned()).collect()
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.process.pid())
    }
}

impl Drop for Pointsman {
    fn drop(&mut self) {
        let ended = self.process.0.try_wait().ok().flatten();
        let log = self.log();
        if std::thread::panicking() {
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!("--- the proxy's log, at most 30 lines ---\n{}", tail.join("\n"));
        } else {
            assert!(ended.is_none(), "the proxy died: {ended:?}\n{log}");
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}

/// The address that a log names as listening.
pub(crate) fn listening(log: &str) -> Option<SocketAddr> {
    let whole = log.rsplit_once('\n')?.0;
    let line = whole.lines().find_map(|l| l.split_once("pointsman listening on "))?;
    line.1.trim().parse().ok()
}

pub(crate) fn list(endpoints: &[SocketAddr]) -> String {
    let texts: Vec<String> = endpoints.iter().map(|e| e.to_string()).collect();
    texts.join(",")
}

/// Plain `cargo test` builds the examples; a run of chosen tests does not, and might find none
/// or an old one.
fn build_origin() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let profile = binary().parent().expect("target/PROFILE/pointsman");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", "origin", "--target-dir"]);
        cargo.arg(profile.parent().expect("target/PROFILE"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(built.is_ok_and(|status| status.success()), "{cargo:?}");
    });
}

/// `examples/origin.rs` as a process of its own.
pub(crate) struct Backend {
    process: Process,
    pub(crate) addr: SocketAddr,
}

impl Backend {
    /// A backend on this port; returns when it accepts.
    pub(crate) fn start(port: u16) -> Backend {
        build_origin();
        let path = binary().with_file_name("examples").join("origin");
        let process =
            Process::spawn(Command::new(path).arg(port.to_string()).stdout(Stdio::null()));
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("the backend accepts", || TcpStream::connect(addr).is_ok());
        Backend { process, addr }
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }
}

/// An origin on threads of the test, a script for each connection.
pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    connections: AtomicUsize,
    requests: Mutex<Vec<Message>>,
}

impl Origin {
    /// Runs `script` for every connection, on a thread of its own.
    pub(crate) fn scripted(script: impl Fn(&mut Wire) + Send + Sync + 'static) -> Origin {
        Origin::run(move |wire, _| script(wire))
    }

    /// Gives the same bytes as answer to every request, and keeps the connection.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Origin {
        let answer = answer.into();
        Origin::run(move |wire, shared| serve(wire, shared, |_| answer.clone()))
    }

    /// A well-behaved HTTP/1.1 origin: answers with its port, the method, the target, and the
    /// length and checksum of the body, as `examples/origin.rs` does.
    pub(crate) fn polite() -> Origin {
        Origin::run(|wire, shared| {
            let port = wire.stream.local_addr().map_or(0, |a| a.port());
            serve(wire, shared, |request| echo(port, request));
        })
    }

    fn run(script: impl Fn(&mut Wire, &Shared) + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (script, theirs) = (Arc::new(script), Arc::clone(&shared));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                theirs.connections.fetch_add(1, Ordering::SeqCst);
                let (script, shared) = (Arc::clone(&script), Arc::clone(&theirs));
                std::thread::spawn(move || script(&mut Wire::tcp(stream), &shared));
            }
        });
        Origin { addr, shared }
    }

    pub(crate) fn port(&self) -> String {
        self.addr.port().to_string()
    }

    /// The requests that came whole, oldest first.
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The last of them.
    pub(crate) fn last(&self) -> Message {
        self.requests().pop().expect("a request")
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

fn serve(wire: &mut Wire, shared: &Shared, answer: impl Fn(&Message) -> Vec<u8>) {
    loop {
        match wire.request() {
            Ok(request) => {
                let bytes = answer(&request);
                shared.requests.lock().unwrap().push(request);
                if wire.try_send(bytes).is_err() {
                    return;
                }
            }
            Err(Broken::Bad(why)) => panic!("the proxy sent a bad request: {why}"),
            Err(_) => return,
        }
    }
}

fn echo(port: u16, request: &Message) -> Vec<u8> {
    let (length, sum) = (request.body.len(), checksum(&request.body));
    let text = format!("{port} {} {} {length} {sum:016x}\n", request.method(), request.target());
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
    let body = if request.method() == "HEAD" { "" } else { text.as_str() };
    format!("{head}{body}").into_bytes()
}
