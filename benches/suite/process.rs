//! Child processes on a core of their own or a shared one, and what /proc says about them.
//!
//! It knows nothing of proxies or load.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// More is asked for nowhere; who may not have so many gets what is allowed.
const DESCRIPTORS: usize = 65_536;
const POLL: Duration = Duration::from_millis(5);

/// Where a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Wherever the kernel likes.
    Anywhere,
    /// On this core, as a batch task: it never interrupts the others there, it takes turns.
    Batch(usize),
    /// On this core.
    Core(usize),
}

/// As many descriptors as this user may have, then the place, then the program itself: `exec` all
/// along, so that the child's id is the program's.
pub(crate) fn placed(place: Place, program: &Path, args: &[String]) -> Command {
    let mut command = Command::new("sh");
    let line =
        format!("ulimit -n {DESCRIPTORS} 2>/dev/null || ulimit -n \"$(ulimit -Hn)\"; exec \"$@\"");
    command.args(["-c", &line, "sh"]);
    match place {
        Place::Anywhere => {}
        Place::Core(core) => {
            command.args(["taskset", "-c", &core.to_string()]);
        }
        Place::Batch(core) => {
            command.args(["taskset", "-c", &core.to_string(), "chrt", "-b", "0"]);
        }
    }
    command.arg(program).args(args);
    command
}

/// A child process. It and its children are ended, by their ids, when this is dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// With its output at the end of a file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> io::Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let err = out.try_clone()?;
        let child = command.stdout(out).stderr(err).stdin(Stdio::null()).spawn()?;
        Ok(Self { child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// `name` is `TERM`, `INT` and the like.
    pub(crate) fn signal(&self, name: &str) -> io::Result<()> {
        kill(name, &[self.child.id()])
    }

    /// Waits for it to end by itself.
    pub(crate) fn await_end(&mut self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while !self.has_ended() {
            if Instant::now() > until {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        // A master that is killed before its workers cannot start new ones.
        let family = family(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = kill("KILL", family.get(1..).unwrap_or_default());
    }
}

fn kill(name: &str, pids: &[u32]) -> io::Result<()> {
    if pids.is_empty() {
        return Ok(());
    }
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let line = format!("kill -{name} {}", pids.join(" "));
    Command::new("sh").args(["-c", &line]).stderr(Stdio::null()).status().map(drop)
}

/// This program in another role: lines in, lines out.
pub(crate) struct Role {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Role {
    pub(crate) fn start(place: Place, args: &[String], log: &Path) -> io::Result<Self> {
        let err = File::options().create(true).append(true).open(log)?;
        let mut command = placed(place, &std::env::current_exe()?, args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(err);
        let mut child = command.spawn()?;
        let none = || io::Error::other("no pipe");
        let orders = child.stdin.take().ok_or_else(none)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(none)?);
        Ok(Self { child, orders, answers })
    }

    pub(crate) fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::Error::other("a role ended before its time"));
        }
        Ok(line)
    }

    pub(crate) fn ask(&mut self, order: &str) -> io::Result<String> {
        self.orders.write_all(format!("{order}\n").as_bytes())?;
        self.line()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process and all that came out of it.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while next < all.len() {
        for task in tasks(all[next]) {
            let text = fs::read_to_string(task.join("children")).unwrap_or_default();
            all.extend(text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        next += 1;
    }
    all
}

fn tasks(pid: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"));
    entries.map(|e| e.flatten().map(|e| e.path()).collect()).unwrap_or_default()
}

/// Nanoseconds on a core so far, of all threads of the family.
pub(crate) fn cpu_nanos(pid: u32) -> u64 {
    let first = |task: &PathBuf| {
        let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    family(pid).into_iter().flat_map(tasks).map(|task| first(&task)).sum()
}

/// How often the family went to sleep so far.
pub(crate) fn sleeps(pid: u32) -> u64 {
    let of = |task: PathBuf| number(&task.join("status"), "voluntary_ctxt_switches:");
    family(pid).into_iter().flat_map(tasks).map(of).sum()
}

/// Resident bytes of the family, `Rss` or `Pss`.
pub(crate) fn resident(pid: u32, kind: &str) -> u64 {
    let name = format!("{kind}:");
    let of = |pid| 1024 * number(Path::new(&format!("/proc/{pid}/smaps_rollup")), &name);
    family(pid).into_iter().map(of).sum()
}

fn number(file: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A port that nothing listens on, from the kernel.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A directory of this run, removed at its end unless it is to be kept.
pub(crate) struct Workshop {
    pub(crate) path: PathBuf,
    pub(crate) keep: bool,
}

impl Workshop {
    pub(crate) fn create(keep: bool) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("pointsman-suite-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self { path, keep })
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if self.keep {
            println!("kept: {}", self.path.display());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
