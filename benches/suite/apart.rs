//! Mode B: the proxy alone on the last core, load and origin together on the first.
//!
//! First as fast as answers come: requests a second, and how busy the proxy's core was. Where it
//! was not, load and origin were the limit. Then half of that, at times fixed beforehand: the
//! latency counts from the time that was meant, so a pause of the proxy is seen by every request
//! that it holds up. Then the same at a rate that all can keep.

use std::io;

use crate::peers::Peer;
use crate::process::{Place, cpu_nanos};
use crate::results::{Results, Value};
use crate::scenarios::Scenario;
use crate::session::Session;
use crate::stage::{Places, Stage};

/// Requests a second that everybody can serve.
pub(crate) const COMMON_RATE: f64 = 5_000.0;

#[derive(Default)]
struct Rounds {
    rate: Vec<f64>,
    busy: Vec<f64>,
    half: [Vec<f64>; 2],
    common: [Vec<f64>; 2],
}

pub(crate) fn measure(
    session: &Session<'_>,
    scenario: &Scenario,
    peers: &[&Peer],
    results: &mut Results,
) -> io::Result<()> {
    let places = Places { proxy: Place::Core(session.last_core), rest: Place::Core(0) };
    let mut stages = session.stages(scenario, peers, places, "apart")?;
    let mut all: Vec<Rounds> = stages.iter().map(|_| Rounds::default()).collect();
    for _ in 0..session.rounds {
        for ((_, stage), rounds) in stages.iter_mut().zip(&mut all) {
            flat_out(session, scenario, stage, rounds)?;
        }
    }
    for _ in 0..session.rounds {
        for ((_, stage), rounds) in stages.iter_mut().zip(&mut all) {
            let half = Value::of(&rounds.rate).map_or(1.0, |rate| rate.median / 2.0);
            paced(session, stage, half, &mut rounds.half)?;
            paced(session, stage, COMMON_RATE, &mut rounds.common)?;
        }
    }
    for ((peer, _), rounds) in stages.iter().zip(&all) {
        let mut add = |metric, numbers| results.add(scenario.name, &peer.name, metric, numbers);
        add("rate", &rounds.rate);
        add("busy_percent", &rounds.busy);
        add("half_p50_us", &rounds.half[0]);
        add("half_p99_us", &rounds.half[1]);
        add("common_p50_us", &rounds.common[0]);
        add("common_p99_us", &rounds.common[1]);
    }
    Ok(())
}

fn flat_out(
    session: &Session<'_>,
    scenario: &Scenario,
    stage: &mut Stage,
    rounds: &mut Rounds,
) -> io::Result<()> {
    stage.ask(&format!("run {}", session.warm_seconds(scenario)))?;
    let before = stage.pid().map(cpu_nanos);
    let reply = stage.ask(&format!("run {}", session.seconds))?;
    let after = stage.pid().map(cpu_nanos);
    rounds.rate.push(reply.requests as f64 * 1e9 / reply.nanos.max(1) as f64);
    if let (Some(before), Some(after)) = (before, after) {
        rounds.busy.push(100.0 * (after - before) as f64 / reply.nanos.max(1) as f64);
    }
    Ok(())
}

fn paced(
    session: &Session<'_>,
    stage: &mut Stage,
    rate: f64,
    into: &mut [Vec<f64>; 2],
) -> io::Result<()> {
    let reply = stage.ask(&format!("pace {rate} {}", session.seconds))?;
    into[0].push(reply.p50 as f64 / 1e3);
    into[1].push(reply.p99 as f64 / 1e3);
    Ok(())
}
