//! One run of the suite: where, how long, how often.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::Invocation;
use crate::peers::Peer;
use crate::scenarios::Scenario;
use crate::stage::{Places, Stage, place_for};

pub(crate) struct Session<'a> {
    pub(crate) workshop: &'a Path,
    pub(crate) last_core: usize,
    pub(crate) rounds: usize,
    /// Of one round.
    pub(crate) seconds: f64,
    pub(crate) quick: bool,
}

impl Session<'_> {
    /// A round begins with so much that is not counted.
    pub(crate) fn warm_seconds(&self, scenario: &Scenario) -> f64 {
        // Thousands of connections, or endpoints, take a while until all have been used.
        let many = scenario.shape.connections + scenario.behind.endpoints > 512;
        let slow = many || scenario.behind.dead;
        self.seconds * if slow { 0.5 } else { 0.1 }
    }

    pub(crate) fn dir(&self, scenario: &Scenario, peer: &Peer, what: &str) -> PathBuf {
        place_for(self.workshop, scenario.name, peer, what)
    }

    /// A stage for each proxy, all at the same time: who has no orders, sleeps.
    pub(crate) fn stages<'p>(
        &self,
        scenario: &Scenario,
        peers: &[&'p Peer],
        places: Places,
        what: &str,
    ) -> io::Result<Vec<(&'p Peer, Stage)>> {
        let mut stages = Vec::new();
        for &peer in peers {
            stages.push((peer, self.stage(scenario, peer, places, what, &|_| {})?));
        }
        Ok(stages)
    }

    pub(crate) fn stage(
        &self,
        scenario: &Scenario,
        peer: &Peer,
        places: Places,
        what: &str,
        wrap: &dyn Fn(&mut Invocation),
    ) -> io::Result<Stage> {
        let dir = self.dir(scenario, peer, what);
        Stage::build(peer, &scenario.shape, scenario.behind, places, &dir, wrap)
    }
}
