//! One siege from its beginning to its end: a fresh proxy, well-behaved clients, besiegers, and
//! then a look at what is left. It does not know what the besiegers do.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::crowd::{Tally, told};
use crate::origin::Origin;
use crate::probe::Probe;
use crate::process::Proxy;
use crate::table::Row;
use crate::wire::{connect, read_answer};

/// Before the besiegers come, and after they went: the well-behaved are measured then, too.
const LEAD: Duration = Duration::from_millis(300);
/// How long it may take until everything is given back: lingering and idle pools are 1 s each.
const SETTLE: Duration = Duration::from_secs(8);

/// What there is to know of a siege before it begins.
pub(crate) struct Siege {
    pub(crate) name: &'static str,
    /// In one line, for those who read along.
    pub(crate) title: &'static str,
    /// Arguments of the proxy beside its services.
    pub(crate) args: &'static [&'static str],
    /// Its limit of descriptors, if that is not ours.
    pub(crate) files: Option<u64>,
    /// Whether well-behaved clients come with new connections, too: not where none are left.
    pub(crate) fresh: bool,
    /// Whether their times are judged: not where they have to wait for their turn.
    pub(crate) timed: bool,
    /// Whether it is one of the short form.
    pub(crate) brief: bool,
    pub(crate) run: fn(&Field<'_>) -> io::Result<Report>,
}

impl Siege {
    pub(crate) const fn new(
        name: &'static str,
        title: &'static str,
        run: fn(&Field<'_>) -> io::Result<Report>,
    ) -> Siege {
        let (args, files): (&[&str], _) = (&[], None);
        Siege { name, title, args, files, fresh: true, timed: true, brief: false, run }
    }
}

/// What the besiegers have before them.
pub(crate) struct Field<'a> {
    pub(crate) addr: SocketAddr,
    /// How many files this process may have open.
    pub(crate) files: u64,
    /// How long they go on.
    pub(crate) length: Duration,
    proxy: &'a Proxy,
    probe: &'a Probe,
}

impl Field<'_> {
    /// The ticks of a second in which nobody says anything: the quietest of a few, because what is
    /// on its way must have arrived first. A loop that spins has no quiet one.
    pub(crate) fn still(&self) -> io::Result<u64> {
        self.probe.hushed(|| {
            let mut least = u64::MAX;
            for _ in 0..4 {
                least = least.min(self.proxy.ticks_of_a_second()?);
                if least <= 1 {
                    break;
                }
            }
            Ok(least)
        })
    }
}

/// What the besiegers saw.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) told: Vec<String>,
    pub(crate) wrong: Vec<String>,
    pub(crate) still_ticks: Option<u64>,
}

impl Report {
    /// Tells what came of something, and that nothing else than `expected` may have.
    pub(crate) fn only(&mut self, what: &str, tally: &Tally, expected: &[&str]) {
        let text = format!("{what}: {}", told(tally));
        if tally.is_empty() || tally.keys().any(|key| !expected.contains(&key.as_str())) {
            self.wrong.push(format!("{text}; expected {}", expected.join(", ")));
        }
        self.told.push(text);
    }

    pub(crate) fn tell(&mut self, text: impl Into<String>) {
        self.told.push(text.into());
    }

    pub(crate) fn must(&mut self, holds: bool, otherwise: impl Into<String>) {
        if !holds {
            self.wrong.push(otherwise.into());
        }
    }
}

/// Everything of one siege.
pub(crate) fn lay(siege: &Siege, program: &Path, files: u64, brief: bool) -> io::Result<Row> {
    let (good, evil) = (Origin::open(false)?, Origin::open(true)?);
    let proxy = Proxy::start(program, &good, &evil, siege.args, siege.files)?;
    warm_up(proxy.addr)?;
    proxy.await_descriptors(0, Duration::from_millis(1_300))?;
    let (files_before, memory_before) = (proxy.descriptors()?, proxy.memory_bytes("VmRSS")?);
    let probe = Probe::start(proxy.addr, good.addr, siege.fresh);
    thread::sleep(LEAD);
    let length = Duration::from_millis(if brief { 1_500 } else { 2_000 });
    let field = Field { addr: proxy.addr, files, length, proxy: &proxy, probe: &probe };
    let report = thread::scope(|scope| {
        let besiegers = scope.spawn(|| {
            be_modest();
            (siege.run)(&field)
        });
        besiegers.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")))
    })?;
    thread::sleep(LEAD);
    let (seen, direct) = probe.end();
    let files_after = proxy.await_descriptors(files_before, SETTLE)?;
    let after_ticks = proxy.ticks_of_a_second()?;
    Ok(Row {
        name: siege.name,
        asked: seen.count(),
        p50: seen.quantile(0.5),
        p99: seen.quantile(0.99),
        max: seen.quantile(1.0),
        failed: seen.failed,
        direct_p99: direct.quantile(0.99),
        timed: siege.timed && !brief,
        growth_bytes: proxy.memory_bytes("VmHWM")?.saturating_sub(memory_before),
        ceiling_bytes: proxy.ceiling_bytes,
        still_ticks: report.still_ticks,
        after_ticks,
        files_before,
        files_after,
        told: report.told.join("; "),
        wrong: report.wrong,
    })
}

/// Besiegers stand for other machines: on this one they, and the threads they start, leave the
/// processor to the proxy when it wants it. Nobody is hurt where renice(1) is missing.
pub(crate) fn be_modest() {
    let thread = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    if let Some(id) = thread.file_name() {
        let mut renice = Command::new("renice");
        renice.args(["-n", "19", "-p"]).arg(id).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = renice.status();
    }
}

/// What is loaded and allocated once is there before the first figure is taken.
fn warm_up(addr: SocketAddr) -> io::Result<()> {
    let targets = ["/good/v1/echo/warm", "/evil/v1/echo/warm", "/evil/v1/garbage", "/nobody/v1/x"];
    for (n, target) in targets.iter().cycle().take(40).enumerate() {
        let mut stream = connect(addr, SETTLE)?;
        let end = if n % 8 == 7 { "X y\r\n\r\n" } else { "\r\n" };
        io::Write::write_all(
            &mut stream,
            format!("GET {target} HTTP/1.1\r\nHost: warm\r\n{end}").as_bytes(),
        )?;
        read_answer(&mut stream)?;
    }
    Ok(())
}
