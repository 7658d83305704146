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

/// Requests under strace, and so many before anything is counted.
const TRACED: u64 = 6_400;
const QUICK_TRACED: u64 = 1_280;
/// Of those, so many for each endpoint.
const WARM_EACH: u64 = 64;
/// Requests under callgrind.
const COUNTED: u64 = 6_400;
const QUICK_COUNTED: u64 = 1_280;
const PATIENCE: Duration = Duration::from_secs(20);
/// A call that is rarer is left to the sum.
const RARE: f64 = 0.005;

/// Requests before anything is counted: every endpoint gets as many connections as it will need.
fn before(session: &Session<'_>, scenario: &Scenario) -> u64 {
    let each = WARM_EACH * scenario.behind.endpoints as u64;
    if session.quick { QUICK_TRACED } else { TRACED.max(each) }
}

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
        stage.ask(&format!("count {}", before(session, scenario)))?;
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
    let (Some(valgrind), Some(vgdb)) = (find("valgrind"), find("vgdb")) else { return Ok(()) };
    let can = |peer: &&&Peer| {
        matches!(peer.program, Program::Pointsman | Program::Nginx | Program::Haproxy)
    };
    let count = if session.quick { QUICK_COUNTED } else { COUNTED };
    for peer in peers.iter().filter(can) {
        let out = session.dir(scenario, peer, "callgrind").join("out");
        let wrap = |invocation: &mut Invocation| below_callgrind(invocation, peer, &valgrind, &out);
        let mut stage = session.stage(scenario, peer, turns(session), "callgrind", &wrap)?;
        let Some(pid) = stage.pid() else { continue };
        stage.ask(&format!("count {}", before(session, scenario)))?;
        tell(&vgdb, pid, "zero")?;
        let reply = stage.ask(&format!("count {count}"))?;
        tell(&vgdb, pid, "dump")?;
        if reply.lost == 0 {
            let each = total(&out.with_extension("1"))? / count as f64;
            results.add(scenario.name, &peer.name, "instructions", &[each]);
        }
    }
    Ok(())
}

fn below_callgrind(invocation: &mut Invocation, peer: &Peer, valgrind: &Path, out: &Path) {
    let program = std::mem::replace(&mut invocation.program, valgrind.to_path_buf());
    let mut args = vec![
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", out.display()),
        program.display().to_string(),
    ];
    args.append(&mut invocation.args);
    // The worker must be the process that was started.
    if peer.program == Program::Nginx {
        args.extend(["-g".to_owned(), "master_process off;".to_owned()]);
    }
    invocation.args = args;
}

/// An order to callgrind: its counters to zero, or into a file.
fn tell(vgdb: &Path, pid: u32, order: &str) -> io::Result<()> {
    let output = Command::new(vgdb).arg(format!("--pid={pid}")).arg(order).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("vgdb {order}: {said}")))
}

fn total(file: &Path) -> io::Result<f64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals:"));
    let total = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    total.ok_or_else(|| io::Error::other("callgrind says nothing"))
}
