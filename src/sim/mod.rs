//! The simulator: the production engine in a made-up world, under a seed and a virtual clock.
//!
//! ```text
//!   client.rs --.                                          .-- backend.rs, answer.rs
//!   client.rs ---+-- net.rs: wires.rs -- ENGINE -- wires ---+-- backend.rs
//!   client.rs --'          ^               |               '-- backend.rs, nature.rs
//!        |                 |            summaries                  |
//!        |             world.rs: turns, time, fate                 |
//!        '------ what I got --> oracle.rs, judge.rs <-- what I did '
//! ```
//!
//! - `cargo test sim` plays the seeds 0 to 399, one world twice, and worlds of tunnels.
//! - `SIM_SEED=17 cargo test sim::one -- --nocapture` plays one world and prints every step.
//! - `SIM_FROM=300 SIM_COUNT=20000 cargo test --release sim::many -- --ignored --nocapture` plays
//!   as many as you like (100 000 from 0, if nothing is said).
//!
//! What is modelled, what each oracle judges and what is left out: `docs/simulation.md`.

mod dice;
mod net;
pub(crate) mod stage;
mod travel;
mod wires;

// The worlds themselves. Fuzzing needs the network alone, and brings its own peers.
#[cfg(test)]
mod answer;
#[cfg(test)]
mod backend;
#[cfg(test)]
mod cast;
#[cfg(test)]
mod check;
#[cfg(test)]
mod client;
#[cfg(test)]
mod judge;
#[cfg(test)]
mod message;
#[cfg(test)]
mod nature;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod tunnels;
#[cfg(test)]
mod world;

#[cfg(test)]
use {
    std::collections::BTreeMap,
    std::panic::{AssertUnwindSafe, catch_unwind},
    world::{Report, play},
};

/// What every sweep must have seen: a simulator that no longer gets there proves nothing.
#[cfg(test)]
const MUST_HAPPEN: [&str; 34] = [
    "whole answers",
    "early answers",
    "moves through pipes",
    "interim answers",
    "connections kept",
    "unknown services",
    "broken off by the client",
    "closed as a request arrived",
    "deaths",
    "drains",
    "misdeeds",
    "failed, spoiled",
    "repeated requests",
    "summaries with more than one attempt",
    // Waiting, racing, proving, continuing.
    "waits",
    "waited in vain",
    "turned away, room full",
    "returns",
    "registry emptied or refilled",
    "hedges",
    "failed, all full",
    "ejections",
    "rests asked for",
    "resumed answers",
    "wrong rests",
    "sheds",
    "busy answers passed on",
    // What the registry is told.
    "bad-response",
    "closed",
    "no-answer",
    "refused",
    "reset",
    "timeout",
    "unreachable",
];

/// Plays a world; a panic of the engine is a failure like any other.
#[cfg(test)]
fn try_to_play(seed: u64, loud: bool) -> Report {
    catch_unwind(AssertUnwindSafe(|| play(seed, loud))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        let failure = format!("[panic] {}", text.unwrap_or_default());
        Report { hash: 0, turns: 0, tally: BTreeMap::new(), failure: Some(failure) }
    })
}

/// Plays `count` worlds from seed `from` on; panics with all failures, one line each.
#[cfg(test)]
fn sweep(from: u64, count: u64) -> BTreeMap<&'static str, u64> {
    let mut tally: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut failures = Vec::new();
    for seed in from..from + count {
        let report = try_to_play(seed, false);
        for (what, n) in report.tally {
            *tally.entry(what).or_default() += n;
        }
        *tally.entry("turns").or_default() += report.turns;
        failures.extend(report.failure.map(|failure| format!("SIM_SEED={seed}  {failure}")));
        if failures.len() >= 20 {
            break;
        }
    }
    println!("{count} worlds from seed {from}: {tally:#?}");
    assert!(failures.is_empty(), "failed worlds:\n{}", failures.join("\n"));
    tally
}

#[cfg(test)]
fn number_from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn four_hundred_worlds() {
    if number_from_env("SIM_SEED").is_some() {
        return;
    }
    let tally = sweep(0, 400);
    for what in MUST_HAPPEN {
        assert!(tally.contains_key(what), "no world had: {what}");
    }
}

#[test]
#[ignore = "long: SIM_FROM and SIM_COUNT say which"]
fn many_worlds() {
    sweep(
        number_from_env("SIM_FROM").unwrap_or(0),
        number_from_env("SIM_COUNT").unwrap_or(100_000),
    );
}

/// With `SIM_SEED`: this world, in full.
#[test]
fn one_world() {
    let Some(seed) = number_from_env("SIM_SEED") else { return };
    let report = play(seed, true);
    println!("{report:#?}");
    assert_eq!(report.failure, None);
}

/// Oracle 10.
#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 7, 42] {
        let (first, second) = (try_to_play(seed, false), try_to_play(seed, false));
        assert_eq!(first.hash, second.hash, "SIM_SEED={seed}");
        assert_eq!(first.turns, second.turns, "SIM_SEED={seed}");
    }
}
