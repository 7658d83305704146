//! Settings and backends: what kind of world it is.
//!
//! Most worlds are a mixture of everything. The others are made for one thing, so that a strict
//! oracle can judge it without many excuses.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

use super::dice::Dice;
use super::nature::Nature;
use super::plan::Post;
use super::wires::Door;
use crate::config::{Config, ReuseUnsafe};
use crate::endpoint::Endpoint;

/// What a world is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Everything at once.
    Mixed,
    /// One door hangs, the other endpoints are well (`B4.2`).
    Hang,
    /// One endpoint, which dies and comes back, within the patience of clients or not (`B4.5`).
    Lone,
    /// All endpoints leave the registry together, and return (`B4.5`).
    Emptied,
    /// Large answers that break off (`B4.6`).
    Resume,
    /// Few repeats are allowed (`B4.7`).
    Budget,
}

impl Kind {
    pub(super) fn roll(dice: &mut Dice) -> Kind {
        match dice.below(100) {
            0..=54 => Kind::Mixed,
            55..=63 => Kind::Hang,
            64..=73 => Kind::Lone,
            74..=80 => Kind::Emptied,
            81..=92 => Kind::Resume,
            _ => Kind::Budget,
        }
    }

    /// How many percent of all GETs have a large answer.
    pub(super) fn large_answers(self) -> usize {
        match self {
            Kind::Resume => 80,
            Kind::Mixed => 8,
            _ => 0,
        }
    }
}

pub(super) fn settings(dice: &mut Dice, kind: Kind, crowded: bool) -> Config {
    let buffer_bytes = dice.pick(&[4096, 4096, 4096, 8192, 16_384]);
    let reuse = [ReuseUnsafe::Fresh, ReuseUnsafe::Fresh, ReuseUnsafe::Auto, ReuseUnsafe::Always];
    let mut config = Config {
        buffer_bytes,
        max_head_bytes: buffer_bytes / 2,
        max_target_bytes: buffer_bytes / 4,
        head_ms: dice.between(4_000, 10_000) as u64,
        body_idle_ms: dice.between(3_000, 6_000) as u64,
        connect_ms: dice.between(500, 1_000) as u64,
        first_byte_ms: dice.between(8_000, 12_000) as u64,
        response_idle_ms: dice.between(3_000, 6_000) as u64,
        client_idle_ms: dice.between(3_000, 6_000) as u64,
        write_stall_ms: dice.between(3_000, 6_000) as u64,
        // Long enough for the slowest reader: who is cut off by it was not wronged.
        linger_ms: dice.between(3_000, 5_000) as u64,
        upstream_idle_ms: dice.between(50, 4_000) as u64,
        idle_per_endpoint: dice.pick(&[1, 2, 32]),
        reuse_unsafe: dice.pick(&reuse),
        // Most worlds are crueller than any budget: what it refuses would look like a loss.
        retry_percent: 1000,
        retry_per_second: 1000,
        hedge_ms: dice.pick(&[50, 250, 250]),
        slow_start: dice.chance(60),
        max_inflight: dice.pick(&[0, 0, 0, 0, 1, 2, 4]),
        eject_ms: dice.pick(&[200, 1_000, 1_000]),
        resume: dice.chance(90),
        wait_requests: dice.pick(&[1_024, 1_024, 1_024, 1_024, 2, 1, 0]),
        ..Config::default()
    };
    if dice.chance(25) {
        config.retry_status = vec![502, 503, 504];
    }
    match kind {
        Kind::Mixed => {}
        Kind::Hang => {
            (config.slow_start, config.max_inflight, config.wait_requests) = (false, 0, 1_024);
        }
        Kind::Lone | Kind::Emptied => config.wait_ms = dice.pick(&[300, 1_000, 1_000, 5_000]),
        Kind::Resume => {
            config.wait_requests = 1_024;
            config.eject_failures = dice.pick(&[0, 0, 3]);
        }
        Kind::Budget => {
            config.retry_percent = dice.pick(&[0, 20, 20]);
            config.retry_per_second = dice.pick(&[0, 0, 1, 10]);
        }
    }
    if crowded && dice.chance(50) {
        config.memory_bytes = buffer_bytes * 5;
    } else if crowded {
        config.max_connections = 2;
    }
    config
}

/// One to four backends. Mostly each service has an anchor: one that is always well. A wild
/// world has none, and a healthy one nothing else.
pub(super) fn posts(dice: &mut Dice, kind: Kind, config: &Config, services: usize) -> Vec<Post> {
    let count = match kind {
        Kind::Mixed => dice.between(services, 4),
        Kind::Lone => 1,
        Kind::Emptied => dice.between(1, 3),
        Kind::Hang => dice.between(3, 4),
        Kind::Budget | Kind::Resume => dice.between(2, 4),
    };
    let mood = dice.below(100);
    let commuting = dice.chance(25);
    let mut posts: Vec<Post> = (0..count)
        .map(|n| {
            let anchor = n < services;
            let healthy = mood < 50 || (mood < 90 && anchor);
            let mut nature = match kind {
                Kind::Mixed if !healthy => Nature::wild(dice),
                _ => Nature::steady(dice),
            };
            suit(&mut nature, kind, n, config, dice);
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9_000 + n as u16));
            let mut endpoint = Endpoint::tcp(address).with_weight(dice.pick(&[1, 1, 1, 3]));
            if dice.chance(15) {
                endpoint = endpoint.with_base("/base");
            }
            let mixed = kind == Kind::Mixed && commuting && (!anchor || mood >= 90);
            let commuter = kind == Kind::Emptied || (mixed && dice.chance(70));
            Post { service: n % services, endpoint, nature, commuter }
        })
        .collect();
    dice.shuffle(&mut posts);
    posts
}

/// Makes backend number `n` fit for a world that is about one thing.
fn suit(nature: &mut Nature, kind: Kind, n: usize, config: &Config, dice: &mut Dice) {
    if kind == Kind::Hang {
        // What is measured is the proxy.
        nature.think_ms = 0;
    }
    match kind {
        Kind::Mixed | Kind::Emptied => {}
        Kind::Hang if n == 0 => nature.door = Door::Hangs,
        // The last one is always well.
        Kind::Hang if n == 1 && dice.chance(30) => {
            let refused = ErrorKind::ConnectionRefused;
            nature.door = dice.pick(&[Door::Shut(refused), Door::ShutLater(refused)]);
        }
        Kind::Hang => {}
        Kind::Lone => {
            nature.mortal = true;
            nature.outage_ms = [20, 2 * config.wait_ms as usize];
        }
        Kind::Resume => {
            // The first one is an anchor, mostly.
            if n > 0 || dice.chance(15) {
                (nature.misdeed, nature.cuts) = (dice.pick(&[30, 60, 90]), true);
            }
            nature.lies = dice.pick(&[0, 0, 30, 100]);
        }
        Kind::Budget => nature.misdeed = if n == 0 { 0 } else { 60 },
    }
    if !config.retry_status.is_empty() && n > 0 && kind != Kind::Hang {
        nature.sheds = dice.pick(&[0, 20, 60]);
    }
}
