//! The benchmark suite: `cargo bench --bench suite`. `docs/benchmarks.md` is what it found.
//!
//! ```text
//!   main       which scenarios, which proxies, in which order
//!   scenarios  the table of what is measured;  marks: what was promised
//!   busy       mode A: CPU time, all on one core, taking turns
//!   apart      mode B: throughput and latency, the proxy alone on a core
//!   counts     mode C: system calls and instructions;  footprint: memory, size, start
//!   session    one run;  stage: a proxy with its origin and its load
//!   peers      the proxies;  config: how each is configured
//!   origin, load, shape, wire, browser, histogram    this program in its two other roles
//!   selfcheck  the comparison of messages must be able to say no
//!   results, page, prose, svg                        what becomes of the numbers
//!   process, options
//! ```

// An experiment has a clock; the library has none.
#![allow(clippy::disallowed_methods, reason = "a bench, not the library")]

mod apart;
mod browser;
mod busy;
mod config;
mod counts;
mod footprint;
mod histogram;
mod load;
mod marks;
mod options;
mod origin;
mod page;
mod peers;
mod process;
mod prose;
mod results;
mod scenarios;
mod selfcheck;
mod session;
mod shape;
mod stage;
mod svg;
mod wire;

use std::io;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use options::{Options, USAGE};
use peers::Peer;
use process::Workshop;
use results::Results;
use scenarios::{Ask, Scenario};
use session::Session;

const ROUNDS: usize = 5;
const SECONDS: f64 = 1.0;
const QUICK_SECONDS: f64 = 0.1;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.split_first() {
        Some((role, rest)) if role == "origin" => origin::main(rest),
        Some((role, rest)) if role == "load" => load::main(rest),
        _ => match Options::parse(&args) {
            Ok(options) => suite(&options),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidInput, error)),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("suite: {error}");
            ExitCode::FAILURE
        }
    }
}

fn suite(options: &Options) -> io::Result<()> {
    if options.help {
        print!("{USAGE}");
        return Ok(());
    }
    let scenarios = scenarios::all();
    if options.list {
        list(&scenarios);
        return Ok(());
    }
    if let Some(wrong) =
        options.scenarios.iter().find(|name| !scenarios.iter().any(|s| s.name == **name))
    {
        return Err(io::Error::other(format!("{wrong}: no such scenario; see --list")));
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let file = docs.join("benchmarks/results.tsv");
    if options.page {
        return page::write(&docs, &Results::read(&file));
    }
    selfcheck::run()?;
    if !options.no_install {
        peers::install();
    }
    let workshop = Workshop::create(options.keep)?;
    let pointsman =
        options.pointsman.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_pointsman").into());
    let (peers, missing) = peers::gather(&pointsman, &options.also, &workshop.path);
    if !missing.is_empty() {
        println!("not here: {}", missing.join(", "));
    }
    let session = Session {
        workshop: &workshop.path,
        last_core: std::thread::available_parallelism()?.get() - 1,
        rounds: options.rounds.unwrap_or(if options.quick { 1 } else { ROUNDS }),
        seconds: options.seconds.unwrap_or(if options.quick { QUICK_SECONDS } else { SECONDS }),
        quick: options.quick,
    };
    let mut results = if options.write { Results::read(&file) } else { Results::default() };
    about(&mut results, &session, &peers);
    let begun = Instant::now();
    let mut failures = Vec::new();
    for scenario in scenarios.iter().filter(|s| options.wants_scenario(s.name)) {
        if let Err(error) = run(&session, scenario, &peers, options, &mut results) {
            failures.push(format!("{}: {error}", scenario.name));
            eprintln!("FAILED: {error}");
        }
        if options.write {
            std::fs::create_dir_all(docs.join("benchmarks"))?;
            results.write(&file)?;
            page::write(&docs, &results)?;
        }
    }
    println!("\n{}\n{:.0} s", marks::table(&results), begun.elapsed().as_secs_f64());
    if failures.is_empty() { Ok(()) } else { Err(io::Error::other(failures.join("\n"))) }
}

fn list(scenarios: &[Scenario]) {
    for scenario in scenarios {
        let Scenario { name, about, peers, .. } = scenario;
        println!("{name:13} {about}: {}", peers.join(" "));
    }
}

/// Everything that is asked of a scenario, with everybody who takes part.
fn run(
    session: &Session<'_>,
    scenario: &Scenario,
    peers: &[Peer],
    options: &Options,
    results: &mut Results,
) -> io::Result<()> {
    // A build that is compared with ours takes part wherever ours does.
    let also =
        |peer: &Peer| options.also.iter().any(|(n, _)| peer.name == format!("pointsman-{n}"));
    let here = |peer: &&Peer| scenario.peers.contains(&peer.name.as_str()) || also(peer);
    let taking: Vec<&Peer> =
        peers.iter().filter(here).filter(|peer| options.wants_peer(&peer.name)).collect();
    println!("\n== {}: {}", scenario.name, scenario.about);
    for peer in &taking {
        if options.asks.is_empty() {
            results.forget(scenario.name, &peer.name);
        }
    }
    for ask in scenario.asks {
        let (name, measure): (_, Measure) = match ask {
            Ask::Cpu => ("cpu", busy::measure),
            Ask::Apart => ("apart", apart::measure),
            Ask::Syscalls => ("syscalls", counts::syscalls),
            Ask::Instructions => ("instructions", counts::instructions),
            Ask::Idle => ("idle", footprint::idle),
            Ask::Start => ("start", footprint::starts),
        };
        if options.wants_ask(name) {
            measure(session, scenario, &taking, results)?;
        }
    }
    let day = said("date", &["+%F"]);
    let key = format!("{}{}", page::RUN, scenario.name);
    let how = format!("{day}, {} rounds of {} s", session.rounds, session.seconds);
    results.about.insert(key, how);
    Ok(())
}

type Measure = fn(&Session<'_>, &Scenario, &[&Peer], &mut Results) -> io::Result<()>;

/// What has to be known about the machine and the programs.
fn about(results: &mut Results, session: &Session<'_>, peers: &[Peer]) {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, model)| model);
    let cores = session.last_core + 1;
    let mut know = |key: &str, what: String| results.about.insert(key.to_owned(), what);
    know("machine", format!("{cores} cores, {model}"));
    know("kernel", said("uname", &["-sr"]));
    know("system", system());
    let congestion = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    know("congestion control", congestion.unwrap_or_default().trim().to_owned());
    for peer in peers {
        let version = peer.version();
        if !version.is_empty() && !peer.name.contains('-') {
            println!("{} {version}", peer.name);
            know(&format!("version of {}", peer.name), version);
        }
    }
}

fn system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("unknown").trim_matches('"').to_owned()
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    text.unwrap_or_default()
}
