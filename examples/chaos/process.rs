//! Child processes that end with us, ports that nobody else takes, and a directory for all of it.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Below what the kernel gives to connections: a port must still be free when its owner restarts.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_000;
const END_PATIENCE: Duration = Duration::from_millis(1_500);
const POLL: Duration = Duration::from_millis(5);

static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// A port that nothing listens on.
pub(crate) fn free_port() -> io::Result<u16> {
    for _ in 0..PORTS {
        let step = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        // Two runs at the same time start in different places.
        let start = std::process::id().wrapping_mul(97) % u32::from(PORTS);
        let offset = (u32::from(step) + start) % u32::from(PORTS);
        let port = FIRST_PORT + u16::try_from(offset).unwrap_or(0);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("no free port"))
}

/// Waits until something accepts connections.
pub(crate) fn await_port(port: u16, patience: Duration) -> io::Result<()> {
    let until = Instant::now() + patience;
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// A child process. It is ended, by its own id, when this is dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts it with its output in a file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> io::Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let err = out.try_clone()?;
        let child = command.stdout(out).stderr(err).stdin(Stdio::piped()).spawn()?;
        Ok(Self { child })
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// `STOP`, `CONT`, `HUP`, `TERM`. The shell's own `kill` is the one that is always there.
    pub(crate) fn signal(&self, name: &str) -> io::Result<()> {
        let line = format!("kill -{name} {}", self.child.id());
        Command::new("sh").args(["-c", &line]).stderr(Stdio::null()).status().map(drop)
    }

    /// SIGKILL, and wait for it: the kernel has closed its sockets when this returns.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, which lets a master end its workers; SIGKILL for who does not listen.
    pub(crate) fn end(&mut self) {
        if self.has_ended() {
            return;
        }
        let _ = self.signal("TERM");
        let until = Instant::now() + END_PATIENCE;
        while !self.has_ended() && Instant::now() < until {
            thread::sleep(POLL);
        }
        self.kill();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// A directory of this run, removed at its end unless it is to be kept.
pub(crate) struct Workshop {
    path: PathBuf,
    keep: bool,
}

impl Workshop {
    pub(crate) fn create(keep: bool) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("pointsman-chaos-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self { path, keep })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
