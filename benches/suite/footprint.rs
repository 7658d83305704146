//! What a proxy takes when it does nothing: its file, a start, memory, idle clients.

use std::fs;
use std::io;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::{Setting, invocation};
use crate::peers::{Peer, Program};
use crate::process::{Place, Role, Running, free_port, resident, sleeps};
use crate::results::Results;
use crate::scenarios::{IDLE_CLIENTS, Scenario};
use crate::session::Session;
use crate::shape::Shape;
use crate::stage::{Places, await_answer, origin};

const SETTLE: Duration = Duration::from_millis(500);
/// After so long ours has given up the connections to the origin that it kept (`upstream-idle`,
/// 4 s), and wakes up for that; the others keep theirs for longer than is watched.
const POOLS: Duration = Duration::from_secs(6);
const WATCH: Duration = Duration::from_secs(4);
const QUICK_WATCH: Duration = Duration::from_secs(1);
const STARTS: usize = 10;
/// Descriptors that are not for idle clients. A proxy may want two for each client.
const SPARE: usize = 1_000;

pub(crate) fn starts(
    session: &Session<'_>,
    scenario: &Scenario,
    peers: &[&Peer],
    results: &mut Results,
) -> io::Result<()> {
    let times = if session.quick { 3 } else { STARTS };
    for peer in peers {
        let dir = session.dir(scenario, peer, "start");
        fs::create_dir_all(&dir)?;
        let log = dir.join("log");
        let (_origin, backends) = origin(scenario.behind, Place::Anywhere, &log)?;
        let (mut millis, mut rss, mut pss) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..times {
            let port = free_port()?;
            let setting = Setting {
                dir: &dir,
                port,
                backends: &backends,
                services: 1,
                connections: 64,
                inflight: 64,
                dead: false,
            };
            let invocation = invocation(peer, &setting)?;
            let mut command = Command::new(&invocation.program);
            command.args(&invocation.args);
            command.envs(invocation.env.iter().map(|(name, value)| (name, value)));
            let begun = Instant::now();
            let mut running = Running::start(&mut command, &log)?;
            await_answer(port, &mut running)?;
            millis.push(begun.elapsed().as_secs_f64() * 1e3);
            thread::sleep(SETTLE / 2);
            rss.push(resident(running.id(), "Rss") as f64);
            pss.push(resident(running.id(), "Pss") as f64);
        }
        results.add(scenario.name, &peer.name, "first_ms", &millis);
        results.add(scenario.name, &peer.name, "rss", &rss);
        results.add(scenario.name, &peer.name, "pss", &pss);
        let size = fs::metadata(&peer.path)?.len() as f64;
        results.add(scenario.name, &peer.name, "file", &[size]);
        if peer.program == Program::Pointsman {
            if let Some(crates) = crates() {
                results.add(scenario.name, &peer.name, "crates", &[crates]);
            }
        }
    }
    Ok(())
}

/// Crates beside our own in the program.
fn crates() -> Option<f64> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["tree", "--offline", "-e", "normal", "--prefix", "none"]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut lines: Vec<&str> = text.lines().map(|l| l.trim_end_matches(" (*)")).collect();
    lines.sort_unstable();
    lines.dedup();
    (lines.len() > 1).then_some(lines.len() as f64 - 1.0)
}

/// First 64 clients work, so that all is warm; then come the others, each with one request.
pub(crate) fn idle(
    session: &Session<'_>,
    scenario: &Scenario,
    peers: &[&Peer],
    results: &mut Results,
) -> io::Result<()> {
    let clients = IDLE_CLIENTS.min(descriptors().saturating_sub(SPARE) / 2);
    let core = session.last_core;
    let places = Places { proxy: Place::Batch(core), rest: Place::Batch(core) };
    for peer in peers {
        let many = Scenario {
            shape: Shape { connections: clients + 64, ..scenario.shape.clone() },
            ..*scenario
        };
        // The proxy is configured for all of them.
        let mut stage = session.stage(&many, peer, places, "idle", &|_| {})?;
        let Some(pid) = stage.pid() else { continue };
        let log = session.dir(scenario, peer, "idle").join("log");
        let shape = Shape { port: stage.port, ..scenario.shape.clone() };
        let args = [vec!["load".to_owned()], shape.args()].concat();
        let mut workers = Role::start(places.rest, &args, &log)?;
        workers.ask("run 0.5")?;
        thread::sleep(SETTLE);
        let before = resident(pid, "Rss");
        let reply = stage.ask(&format!("count {clients}"))?;
        thread::sleep(SETTLE);
        let each = (resident(pid, "Rss") as f64 - before as f64) / clients as f64;
        results.add(scenario.name, &peer.name, "idle_clients", &[clients as f64]);
        results.add(scenario.name, &peer.name, "idle_bytes", &[each]);
        if reply.lost > 0 {
            results.add(scenario.name, &peer.name, "lost", &[reply.lost as f64]);
        }
        thread::sleep(POOLS);
        let watch = if session.quick { QUICK_WATCH } else { WATCH };
        let asleep = sleeps(pid);
        thread::sleep(watch);
        let wakes = (sleeps(pid) - asleep) as f64 / watch.as_secs_f64();
        results.add(scenario.name, &peer.name, "idle_wakes", &[wakes]);
    }
    Ok(())
}

/// How many this user may have.
fn descriptors() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    line.and_then(|l| l.split_whitespace().nth(4)?.parse().ok()).unwrap_or(1024)
}
