//! The matrix of lost requests, as a program: `cargo run --release --example chaos`.
//!
//! It starts pointsman and, where they are installed, nginx, HAProxy and Caddy, each in front of
//! backends of its own, and does to them what happens in real life. Then it counts: requests lost,
//! unsafe requests executed twice, requests that took longer than a second. It exits with 1 if
//! another proxy did better than pointsman anywhere. `docs/no-request-is-lost.md` has the result.
//!
//! ```text
//!   main      which scenarios, which proxies, in which order
//!   moments   s1-s5    an endpoint refuses, dies, swallows
//!   shapes    s6-s10   cut answers, early refusals, events, interim answers
//!   trouble   the same under load;  load: the clients
//!   stage     a proxy and its backends;  proxies: how each is configured
//!   backend   this program in another role;  script: how it behaves;  ledger: what it saw
//!   tally     what a row counts;  table: how it is shown
//!   client, http, process, options
//! ```

// An experiment has a clock and threads; the library has neither.
#![allow(clippy::disallowed_methods, reason = "an example, not the library")]

mod backend;
mod client;
mod http;
mod ledger;
mod load;
mod moments;
mod options;
mod process;
mod proxies;
mod script;
mod shapes;
mod stage;
mod table;
mod tally;
mod trouble;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use load::Pace;
use options::{Options, USAGE};
use process::Workshop;
use proxies::Kind;
use stage::Stage;
use table::{Row, Table};

type Run = fn(&Stage<'_>) -> io::Result<Vec<Row>>;

/// What happens, and the names by which `--only` finds it.
type Scenario = (&'static [&'static str], Run);

const MOMENTS: &[Scenario] = &[
    (&["s1"], moments::refused),
    (&["s2", "s2-get", "s2-post"], moments::dropped),
    (&["s3", "s3-get", "s3-post"], moments::stale),
    (&["s4", "s4-wait", "s4-after"], moments::both_down),
    (&["s5"], moments::black_hole),
];

const SHAPES: &[Scenario] = &[
    (&["s6", "s6-length", "s6-chunked", "s6-close"], shapes::cut),
    (&["s7"], shapes::early_refusal),
    (&["s8", "s8-upload", "s8-download", "s8-wait", "s8-half"], shapes::client_gone),
    (&["s9"], shapes::events),
    (&["s10", "s10-hints", "s10-expect"], shapes::interim),
];

const LOAD: &[Scenario] = &[
    (&["load", "kill"], trouble::kill),
    (&["load", "kill-2ms"], trouble::kill_slow),
    (&["load", "hang"], trouble::hang),
    (&["load", "close-0"], trouble::close_at_once),
    (&["load", "close-1ms"], trouble::close_soon),
    (&["load", "reset"], trouble::reset_inside),
    (&["load", "only-one"], trouble::only_one),
    (&["load", "reload"], trouble::reload),
];

const PACE: Pace = Pace { per_second: 800, seconds: 7, clients: 32 };
const QUICK_PACE: Pace = Pace { per_second: 500, seconds: 4, clients: 20 };
/// How many proxies are under load at the same time.
const LANES: usize = 2;
/// Nothing new is begun after this.
const LAST_CALL: Duration = Duration::from_secs(330);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some((role, rest)) = args.split_first() {
        if role == "backend" {
            return backend::main(rest);
        }
    }
    let options = match Options::parse(&args) {
        Ok(options) if options.help => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(options) => options,
        Err(error) => {
            eprintln!("chaos: {error}");
            return ExitCode::from(2);
        }
    };
    match experiment(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::from(2)
        }
    }
}

/// True if nobody did better than pointsman.
fn experiment(options: &Options) -> io::Result<bool> {
    let pointsman = build()?;
    let wanted = |kind: &Kind| options.proxies.is_empty() || options.proxies.contains(kind);
    let mut kinds = Vec::new();
    let mut versions = Vec::new();
    for kind in Kind::ALL.into_iter().filter(wanted) {
        match kind.version(&pointsman) {
            Some(version) => {
                versions.push(format!("{} {version}", kind.name()));
                kinds.push(kind);
            }
            None => eprintln!("{}: not installed, left out", kind.name()),
        }
    }
    let pace = if options.quick { QUICK_PACE } else { PACE };
    let workshop = Workshop::create(options.keep)?;
    let world = World { pointsman, workshop: &workshop, pace, kinds, started: Instant::now() };
    let Pace { per_second, seconds, clients } = pace;
    let under =
        format!("Under load: {per_second} requests a second, {seconds} s, {clients} clients");
    let groups = [
        ("An endpoint refuses, dies, swallows", MOMENTS, world.kinds.len()),
        ("What happens to answers and uploads", SHAPES, world.kinds.len()),
        (under.as_str(), LOAD, LANES),
    ];
    let mut text = format!("Versions: {}.\n", versions.join(", "));
    let mut worse = Vec::new();
    for (title, scenarios, lanes) in groups {
        let table = world.table(title, scenarios, lanes, options)?;
        if !table.is_empty() {
            text.push_str(&format!("\n{}", table.markdown()));
        }
        worse.extend(table.not_best(Kind::Pointsman));
    }
    println!("\n{text}\n{:.0} s", world.started.elapsed().as_secs_f64());
    for line in &worse {
        println!("not best: {line}");
    }
    if options.keep {
        println!("kept: {}", workshop.path().display());
    }
    if let Some(file) = &options.markdown {
        std::fs::write(file, text)?;
    }
    Ok(worse.is_empty())
}

/// The release binary next to this one, brought up to date.
fn build() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let release = own.parent().and_then(Path::parent);
    let release = release.filter(|dir| dir.ends_with("release"));
    let dir = release.ok_or_else(|| io::Error::other("run it with --release"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--quiet", "--bin", "pointsman", "--target-dir"]);
    command.arg(dir.parent().unwrap_or(dir)).current_dir(env!("CARGO_MANIFEST_DIR"));
    let program = dir.join("pointsman");
    match command.status() {
        Ok(status) if status.success() => Ok(program),
        _ if program.exists() => Ok(program),
        _ => Err(io::Error::other("cargo build --release failed")),
    }
}

struct World<'a> {
    pointsman: PathBuf,
    workshop: &'a Workshop,
    pace: Pace,
    kinds: Vec<Kind>,
    started: Instant,
}

impl World<'_> {
    fn table(
        &self,
        title: &str,
        scenarios: &[Scenario],
        lanes: usize,
        options: &Options,
    ) -> io::Result<Table> {
        let mut table = Table::new(title, &self.kinds);
        for (names, run) in scenarios {
            if !options.wants(names) {
                continue;
            }
            if self.started.elapsed() > LAST_CALL {
                eprintln!("{names:?}: left out, it took too long already");
                continue;
            }
            let mut by_kind = Vec::new();
            for lane in self.kinds.chunks(lanes.max(1)) {
                by_kind.extend(self.run(*run, lane)?);
            }
            table.add(&by_kind);
        }
        Ok(table)
    }

    /// One scenario with several proxies at the same time.
    fn run(&self, run: Run, kinds: &[Kind]) -> io::Result<Vec<Vec<Row>>> {
        let stage = |kind: Kind| Stage {
            kind,
            pointsman: &self.pointsman,
            workshop: self.workshop.path(),
            pace: self.pace,
        };
        thread::scope(|scope| {
            let running: Vec<_> = kinds
                .iter()
                .map(|kind| {
                    let stage = stage(*kind);
                    scope.spawn(move || run(&stage))
                })
                .collect();
            let ended = || io::Error::other("a scenario panicked");
            running.into_iter().map(|thread| thread.join().map_err(|_| ended())?).collect()
        })
    }
}
