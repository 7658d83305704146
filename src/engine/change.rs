//! What other threads change while the engine runs: limits, times, and how endpoints are chosen.
//!
//! A change holds for everything that begins after it; a deadline that was set stays as it was.
//! This file moves no bytes.

use crate::config::Config;
use crate::net::Net;

use super::Engine;
use super::desk::{Balancing, Desk};

impl<N: Net> Engine<N> {
    /// Takes `config` over, but for what cannot change while it runs.
    pub(super) fn configure(&mut self, mut config: Config) {
        config.keep_fixed(&self.desk.config);
        let (each, all) = (config.idle_per_endpoint, config.idle_total);
        self.desk.peers.configure(each, all, config.slow_start);
        self.desk.config = config;
    }
}

impl Desk {
    /// Every service gets another balancer, and so do services that are yet to come.
    pub(super) fn rebalance(&mut self, balancing: Balancing) {
        self.services.rebalance(|name| balancing(name));
        self.balancing = balancing;
    }
}
