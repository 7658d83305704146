//! What the simulator may look at although nobody on earth could: who waits where, and how many
//! requests each endpoint works on. It changes nothing.

use std::net::IpAddr;

use crate::endpoint::Endpoint;
use crate::net::Net;

use super::Engine;
use super::client::{Phase, Stage};

impl<N: Net> Engine<N> {
    /// Of every service, whose requests stand in its waiting room, in order; `None` is a place
    /// that is kept for nobody.
    pub(crate) fn glance_at_rooms(&self) -> Vec<(String, Vec<Option<IpAddr>>)> {
        let who = |key: &crate::keys::Key| {
            let client = self.clients.get(*key)?;
            match &client.stage {
                Stage::Busy(work) if matches!(work.phase, Phase::Waiting(_)) => client.address,
                _ => None,
            }
        };
        let rooms = self.rooms.iter();
        let named = rooms.map(|(&id, room)| {
            let name = self.desk.services.get(id).map_or(String::new(), |s| s.name.to_string());
            (name, room.queue().map(who).collect())
        });
        named.collect()
    }

    /// How many connections exchanges hold to each endpoint, how many of their requests are still
    /// coming, and how many have ceased to so far because they were whole.
    pub(crate) fn glance_at_peers(&self) -> Vec<(Endpoint, u32, u32, u64)> {
        let all = self.desk.peers.all();
        all.map(|peer| (peer.endpoint.clone(), peer.in_flight, peer.coming, peer.came)).collect()
    }
}
