//! One proxy in one scenario: backends that can be killed and started again, and the proxy in front
//! of them. Everything ends when the scene is dropped.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Client, Expected, Verdict};
use crate::ledger::Records;
use crate::load::Pace;
use crate::process::{Running, await_port, free_port};
use crate::proxies::{Kind, Proxy};
use crate::script::Script;
use crate::tally::{Excuse, Kill, Tally};

/// How long a client of the small scenarios waits for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A backend: its port stays the same however often it dies.
pub(crate) struct Backend {
    pub(crate) port: u16,
    script: Script,
    dir: PathBuf,
    running: Option<Running>,
}

impl Backend {
    /// Starts the process and waits until it listens.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("backend").arg(self.port.to_string()).arg(self.script.to_string());
        command.arg(ledger_path(&self.dir));
        self.running = Some(Running::start(&mut command, &self.dir.join("backend.log"))?);
        await_port(self.port, Duration::from_secs(5))
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Kill {
        let begun = Instant::now();
        if let Some(mut running) = self.running.take() {
            running.kill();
        }
        (begun, Instant::now())
    }

    pub(crate) fn signal(&self, name: &str) -> io::Result<()> {
        self.running.as_ref().map_or(Ok(()), |running| running.signal(name))
    }
}

/// What every scene of a proxy needs.
pub(crate) struct Stage<'a> {
    pub(crate) kind: Kind,
    pub(crate) pointsman: &'a Path,
    pub(crate) workshop: &'a Path,
    pub(crate) pace: Pace,
}

static SCENES: AtomicU32 = AtomicU32::new(0);

impl Stage<'_> {
    /// Backends with these scripts, and the proxy in front of them.
    pub(crate) fn open(&self, scripts: &[Script]) -> io::Result<Scene> {
        self.open_with(scripts, &[])
    }

    /// The same, with ports of other making as endpoints in front.
    pub(crate) fn open_with(&self, scripts: &[Script], others: &[u16]) -> io::Result<Scene> {
        let number = SCENES.fetch_add(1, Ordering::Relaxed);
        let dir = self.workshop.join(format!("{}-{number}", self.kind.name()));
        fs::create_dir_all(&dir)?;
        let mut backends = Vec::new();
        for script in scripts {
            let (script, dir) = (*script, dir.clone());
            backends.push(Backend { port: free_port()?, script, dir, running: None });
        }
        for backend in &mut backends {
            backend.start()?;
        }
        let mut ports = others.to_vec();
        ports.extend(backends.iter().map(|backend| backend.port));
        let proxy = Proxy::start(self.kind, self.pointsman, &dir, &ports)?;
        Ok(Scene { proxy, backends, dir })
    }
}

pub(crate) struct Scene {
    // Before the backends: it ends first.
    pub(crate) proxy: Proxy,
    pub(crate) backends: Vec<Backend>,
    dir: PathBuf,
}

fn ledger_path(dir: &Path) -> PathBuf {
    dir.join("ledger")
}

impl Scene {
    pub(crate) fn records(&self) -> Records {
        Records::read(&ledger_path(&self.dir))
    }

    pub(crate) fn client(&self, patience: Duration) -> Client {
        Client::new(self.proxy.port, patience, Expected::Id)
    }

    /// So many requests, one after the other, on one kept connection.
    pub(crate) fn ask(&self, count: u32, is_post: bool, patience: Duration) -> Vec<Verdict> {
        let mut client = self.client(patience);
        let letter = if is_post { 'p' } else { 'g' };
        (0..count).map(|n| client.ask(is_post, &format!("{letter}{n}"))).collect()
    }

    pub(crate) fn tally(&self, verdicts: &[Verdict], excuse: &Excuse<'_>) -> Tally {
        let mut tally = Tally::of(verdicts, &self.records(), excuse);
        tally.note_deliveries(verdicts, &self.records());
        tally
    }
}
