//! What the tests of the balancers share: a snapshot with made-up load.

use std::net::SocketAddr;

use super::{Balance, Choice, Load};
use crate::endpoint::Endpoint;
use crate::registry::Snapshot;
use crate::rng::Rng;

pub(super) struct World {
    pub(super) snapshot: Snapshot,
    pub(super) weights: Vec<u32>,
    pub(super) in_flight: Vec<u32>,
    pub(super) open: Vec<bool>,
}

impl World {
    /// Endpoints 10.0.0.1:1, :2 and so on with these weights: idle, open.
    pub(super) fn new(weights: &[u32]) -> World {
        let endpoint = |(port, weight): (u16, &u32)| {
            Endpoint::tcp(SocketAddr::from(([10, 0, 0, 1], port))).with_weight(*weight)
        };
        World {
            snapshot: Snapshot::new((1..).zip(weights).map(endpoint).collect()),
            weights: weights.to_vec(),
            in_flight: vec![0; weights.len()],
            open: vec![true; weights.len()],
        }
    }

    pub(super) fn open_mask(&mut self, mask: u32) {
        for (index, open) in self.open.iter_mut().enumerate() {
            *open = mask >> index & 1 == 1;
        }
    }

    pub(super) fn choice(&self, key: u64) -> Choice<'_> {
        Choice::new(&self.snapshot, self, key)
    }
}

impl Load for World {
    fn in_flight(&self, index: usize) -> u32 {
        self.in_flight[index]
    }

    fn open(&self, index: usize) -> bool {
        self.open[index]
    }
}

/// How often each endpoint is picked for the keys `1..=picks`.
pub(super) fn shares(balance: &Balance, world: &World, picks: u64) -> Vec<u64> {
    let mut balancer = balance.build();
    let mut rng = Rng::from_seed(11);
    let mut share = vec![0; world.weights.len()];
    for key in 1..=picks {
        if let Some(index) = balancer.pick(&world.choice(key), &mut rng) {
            share[index] += 1;
        }
    }
    share
}
