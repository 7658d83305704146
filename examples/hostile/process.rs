//! The proxy as a process: how it is started, what it says its memory is bounded by, and what the
//! kernel says it uses. It does not know what is done to it.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::origin::Origin;

/// How long it may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many files this process and its children may have open: the soft limit, raised to the hard
/// one by prlimit(1), because the system call would need unsafe code.
pub(crate) fn open_files() -> u64 {
    let read = |column: usize| {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let line = limits.lines().find(|line| line.starts_with("Max open files"));
        line.and_then(|line| line.split_whitespace().nth(column)?.parse().ok()).unwrap_or(1_024)
    };
    let (soft, hard): (u64, u64) = (read(3), read(4));
    if soft < hard {
        let mut raise = Command::new("prlimit");
        raise.args(["--pid", &std::process::id().to_string(), &format!("--nofile={hard}:{hard}")]);
        let _ = raise.stderr(Stdio::null()).status();
    }
    read(3)
}

/// A running proxy, killed by its id when this is dropped.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) addr: SocketAddr,
    /// What `--check` prints as the most memory it will use beside itself.
    pub(crate) ceiling_bytes: u64,
}

impl Proxy {
    /// In front of two services: `good/v1` and `evil/v1`. `files` is its limit of descriptors.
    pub(crate) fn start(
        program: &Path,
        good: &Origin,
        evil: &Origin,
        args: &[&str],
        files: Option<u64>,
    ) -> io::Result<Self> {
        let command = || {
            let limit = files.map_or(String::new(), |files| format!("ulimit -n {files}; "));
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{limit}exec \"$0\" \"$@\"")]).arg(program);
            command.args(["-l", "127.0.0.1:0", "--upstream-idle", "1s"]).args(args);
            command.args([&format!("good/v1={}", good.addr), &format!("evil/v1={}", evil.addr)]);
            command.env_remove("RUST_LOG").stdin(Stdio::null());
            command
        };
        let checked = command().arg("--check").stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8_lossy(&checked.stdout).into_owned();
        let ceiling = text.lines().find_map(|line| line.strip_prefix("memory")).and_then(ceiling);
        let ceiling_bytes =
            ceiling.ok_or_else(|| io::Error::other(format!("--check says no ceiling: {text}")))?;
        let mut child = command().stderr(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let errors = child.stderr.take().ok_or_else(|| io::Error::other("no standard error"))?;
        let (say, said) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                if let Some((_, addr)) = line.split_once("pointsman listening on ") {
                    let _ = say.send(addr.trim().parse());
                } else if line.contains("panicked") {
                    eprintln!("{line}");
                }
            }
        });
        let addr = said.recv_timeout(PATIENCE).map_err(|_| io::Error::other("it does not listen"));
        match addr.and_then(|addr| addr.map_err(io::Error::other)) {
            Ok(addr) => Ok(Self { child, addr, ceiling_bytes }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn proc(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
    }

    /// A figure of `/proc/PID/status`, in bytes.
    pub(crate) fn memory_bytes(&self, key: &str) -> io::Result<u64> {
        let status = self.proc("status")?;
        let line = status.lines().find(|line| line.starts_with(key));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.map(|kib| kib * 1_024).ok_or_else(|| io::Error::other(format!("no {key}: it has died")))
    }

    /// Processor time spent so far, in ticks of 10 ms.
    pub(crate) fn ticks(&self) -> io::Result<u64> {
        let stat = self.proc("stat")?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
        Ok(fields.take(2).filter_map(|field| field.parse::<u64>().ok()).sum())
    }

    /// Ticks spent in the next second.
    pub(crate) fn ticks_of_a_second(&self) -> io::Result<u64> {
        let before = self.ticks()?;
        thread::sleep(Duration::from_secs(1));
        Ok(self.ticks()? - before)
    }

    pub(crate) fn descriptors(&self) -> io::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Waits until it holds no more descriptors than this; gives how many it holds.
    pub(crate) fn await_descriptors(&self, most: usize, patience: Duration) -> io::Result<usize> {
        let until = Instant::now() + patience;
        loop {
            let now = self.descriptors()?;
            if now <= most || Instant::now() > until {
                return Ok(now);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sum at the end of `max 16 connections x 512 B + 64 MiB of buffers = 64.0 MiB`.
fn ceiling(line: &str) -> Option<u64> {
    let mut words = line.rsplit_once('=')?.1.split_whitespace();
    let number: f64 = words.next()?.replace(',', "").parse().ok()?;
    let unit = match words.next()? {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some((number * unit) as u64)
}
