//! Mode C, what noise cannot touch: system calls and instructions for each request.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Invocation;
use crate::peers::{Peer, Program, find};
use crate::process::{Place, Running, family};
use crate::results::Results;
use crate::scenarios::Scenario;
use crate::session::Session;
use crate::stage::Places;

/// Requests under strace, and before it.
const TRACED: u64 = 6_400;
const QUICK_TRACED: u64 = 1_920;
const BEFORE: u64 = 3_200;
/// Requests under callgrind, in two runs. The difference has no start and no end in it.
const SHORT: u64 = 1_000;
const LONGER: u64 = 6_000;
const QUICK_LONGER: u64 = 3_000;
const PATIENCE: Duration = Duration::from_secs(20);
/// A call that is rarer is left to the sum.
const RARE: f64 = 0.005;

fn turns(session: &Session<'_>) -> Places {
    let core = session.last_core;
    Places { proxy: Place::Batch(core), rest: Place::Batch(core) }
}

pub(crate) fn syscalls(
    session: &Session<'_>,
    scenario: &Scenario,
    peers: &[&Peer],
    results: &mut Results,
) -> io::Result<()> {
    let Some(strace) = find("strace") else { return Ok(()) };
    let count = if session.quick { QUICK_TRACED } else { TRACED };
    for peer in peers.iter().filter(|peer| peer.program != Program::Direct) {
        let mut stage = session.stage(scenario, peer, turns(session), "strace", &|_| {})?;
        let Some(pid) = stage.pid() else { continue };
        stage.ask(&format!("count {BEFORE}"))?;
        let dir = session.dir(scenario, peer, "strace");
        let (counts, log) = (dir.join("counts"), dir.join("strace.log"));
        let mut command = Command::new(&strace);
        command.args(["-f", "-c", "-U", "name,calls", "-o"]).arg(&counts);
        for pid in family(pid) {
            command.args(["-p", &pid.to_string()]);
        }
        let mut tracer = Running::start(&mut command, &log)?;
        await_text(&log, "attached", &mut tracer)?;
        stage.ask(&format!("count {count}"))?;
        tracer.signal("INT")?;
        tracer.await_end(PATIENCE);
        let mut sum = 0.0;
        for (name, calls) in read_counts(&counts) {
            let each = calls / count as f64;
            sum += each;
            if each >= RARE {
                results.add(scenario.name, &peer.name, &format!("sys:{name}"), &[each]);
            }
        }
        results.add(scenario.name, &peer.name, "syscalls", &[sum]);
    }
    Ok(())
}

fn await_text(file: &Path, text: &str, running: &mut Running) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    while !fs::read_to_string(file).unwrap_or_default().contains(text) {
        if running.has_ended() || Instant::now() > until {
            let said = fs::read_to_string(file).unwrap_or_default();
            return Err(io::Error::other(format!("it does not start: {said}")));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn read_counts(file: &Path) -> Vec<(String, f64)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let row = |line: &str| {
        let (name, calls) = line.trim().split_once(char::is_whitespace)?;
        let calls = calls.trim().parse().ok()?;
        (name != "total").then(|| (name.to_owned(), calls))
    };
    text.lines().filter_map(row).collect()
}

/// Of those that callgrind can run; a program in Go is none of them.
pub(crate) fn instructions(
    session: &Session<'_>,
    scenario: &Scenario,
    peers: &[&Peer],
    results: &mut Results,
) -> io::Result<()> {
    let Some(valgrind) = find("valgrind") else { return Ok(()) };
    let can = |peer: &&&Peer| {
        matches!(peer.program, Program::Pointsman | Program::Nginx | Program::Haproxy)
    };
    let longer = if session.quick { QUICK_LONGER } else { LONGER };
    for peer in peers.iter().filter(can) {
        let run = |count| collected(session, scenario, peer, &valgrind, count);
        let (few, many) = (run(SHORT)?, run(longer)?);
        let each = (many as f64 - few as f64) / (longer - SHORT) as f64;
        results.add(scenario.name, &peer.name, "instructions", &[each]);
    }
    Ok(())
}

/// Instructions of a whole life with so many requests in it.
fn collected(
    session: &Session<'_>,
    scenario: &Scenario,
    peer: &Peer,
    valgrind: &Path,
    count: u64,
) -> io::Result<u64> {
    let dir = session.dir(scenario, peer, "callgrind");
    let out = dir.join(format!("callgrind.{count}"));
    let wrap = |invocation: &mut Invocation| {
        let program = std::mem::replace(&mut invocation.program, valgrind.to_path_buf());
        let mut args = vec![
            "--tool=callgrind".to_owned(),
            format!("--callgrind-out-file={}", out.display()),
            program.display().to_string(),
        ];
        args.append(&mut invocation.args);
        if peer.program == Program::Nginx {
            args.extend(["-g".to_owned(), "master_process off;".to_owned()]);
        }
        invocation.args = args;
    };
    let mut stage = session.stage(scenario, peer, turns(session), "callgrind", &wrap)?;
    stage.ask(&format!("count {count}"))?;
    let running = stage.proxy.as_mut().ok_or_else(|| io::Error::other("no proxy"))?;
    running.signal("TERM")?;
    running.await_end(PATIENCE);
    let text = fs::read_to_string(&out).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")));
    let total = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    total.ok_or_else(|| io::Error::other(format!("{}: callgrind says nothing", peer.name)))
}
