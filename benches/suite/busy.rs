//! Mode A: load, origin and proxy take turns on one core, as batch tasks.
//!
//! The core is never idle while requests are under way, so every proxy finds full batches of work,
//! whatever its speed. What counts is the proxy's own CPU time, as the scheduler has counted it,
//! over the number of requests. Rounds alternate between the proxies.

use std::io;
use std::time::Duration;

use crate::peers::Peer;
use crate::process::{Place, cpu_nanos};
use crate::results::Results;
use crate::scenarios::Scenario;
use crate::session::Session;
use crate::stage::{Places, Stage, get};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
/// From here on bytes are what a request costs, not the request.
const LONG: u64 = 1 << 20;
/// Enough that each of two endpoints gets one.
const GETS: usize = 16;
const IDLE: Duration = Duration::from_millis(1_300);

#[derive(Default)]
struct Rounds {
    micros: Vec<f64>,
    per_gib: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    lost: u64,
    requests: u64,
}

pub(crate) fn measure(
    session: &Session<'_>,
    scenario: &Scenario,
    peers: &[&Peer],
    results: &mut Results,
) -> io::Result<()> {
    let core = session.last_core;
    let places = Places { proxy: Place::Batch(core), rest: Place::Batch(core) };
    let mut stages = session.stages(scenario, peers, places, "busy")?;
    let mut all: Vec<Rounds> = stages.iter().map(|_| Rounds::default()).collect();
    if scenario.shape.body > 0 {
        show_life(&stages)?;
    }
    for (_, stage) in &mut stages {
        stage.ask(&format!("run {}", 2.0 * session.warm_seconds(scenario)))?;
    }
    for _ in 0..session.rounds {
        for ((_, stage), rounds) in stages.iter_mut().zip(&mut all) {
            round(session, scenario, stage, rounds)?;
        }
    }
    for ((peer, _), rounds) in stages.iter().zip(&all) {
        let name = peer.name.as_str();
        results.add(scenario.name, name, "cpu_us", &rounds.micros);
        results.add(scenario.name, name, "cpu_s_gib", &rounds.per_gib);
        results.add(scenario.name, name, "p50_us", &rounds.p50);
        results.add(scenario.name, name, "p99_us", &rounds.p99);
        if rounds.lost > 0 {
            let share = 1e6 * rounds.lost as f64 / rounds.requests.max(1) as f64;
            results.add(scenario.name, name, "lost_per_million", &[share]);
        }
    }
    added(scenario, peers, results);
    Ok(())
}

/// pointsman puts a POST on a used connection only after one of that endpoint has been idle for a
/// second and was alive when it was used again, by a request that could be repeated.
fn show_life(stages: &[(&Peer, Stage)]) -> io::Result<()> {
    for pause in [IDLE, Duration::ZERO] {
        for (_, stage) in stages {
            for _ in 0..GETS {
                get(stage.port)?;
            }
        }
        std::thread::sleep(pause);
    }
    Ok(())
}

/// What a proxy adds to the time of a request without one.
fn added(scenario: &Scenario, peers: &[&Peer], results: &mut Results) {
    let Some(direct) = results.get(scenario.name, "direct", "p50_us") else { return };
    for peer in peers.iter().filter(|peer| peer.name != "direct") {
        if let Some(p50) = results.get(scenario.name, &peer.name, "p50_us") {
            let added = p50.median - direct.median;
            results.add(scenario.name, &peer.name, "added_us", &[added]);
        }
    }
}

fn round(
    session: &Session<'_>,
    scenario: &Scenario,
    stage: &mut Stage,
    rounds: &mut Rounds,
) -> io::Result<()> {
    stage.ask(&format!("run {}", session.warm_seconds(scenario)))?;
    let pid = stage.pid();
    let before = pid.map(cpu_nanos);
    let reply = stage.ask(&format!("run {}", session.seconds))?;
    let after = pid.map(cpu_nanos);
    let requests = reply.requests.max(1) as f64;
    rounds.requests += reply.requests;
    rounds.lost += reply.lost;
    if scenario.shape.connections == 1 {
        rounds.p50.push(reply.p50 as f64 / 1e3);
        rounds.p99.push(reply.p99 as f64 / 1e3);
    }
    let (Some(before), Some(after)) = (before, after) else { return Ok(()) };
    let nanos = (after - before) as f64 / requests;
    let moved = scenario.shape.moved();
    if moved >= LONG {
        rounds.per_gib.push(nanos / 1e9 * GIB / moved as f64);
    } else {
        rounds.micros.push(nanos / 1e3);
    }
    Ok(())
}
