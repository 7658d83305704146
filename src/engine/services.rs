//! What the engine knows of each service: the registry's latest snapshot, the endpoints in it, and
//! the balancer that chooses among them.
//!
//! The registry is asked for every request; only when it hands out another snapshot than last time
//! is anything worked out anew. This file does not know connections.

use std::collections::HashMap;
use std::sync::Arc;

use crate::balance::{Balancer, Choice, Load};
use crate::keys::Key;
use crate::registry::Snapshot;
use crate::rng::Rng;

use super::peers::Peers;

/// The name of a service inside one engine.
pub(crate) type ServiceId = usize;

/// The state of one service.
pub(crate) struct Service {
    pub(crate) name: Box<str>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) balancer: Box<dyn Balancer>,
    /// Of every endpoint of the snapshot, in its order.
    peers: Vec<Key>,
}

/// All services that a request has been routed to.
#[derive(Default)]
pub(crate) struct Services {
    by_name: HashMap<Box<str>, ServiceId>,
    all: Vec<Service>,
}

/// What a balancer sees of the endpoints.
struct View<'a> {
    keys: &'a [Key],
    peers: &'a Peers,
    tried: &'a [Key],
}

impl Load for View<'_> {
    fn in_flight(&self, index: usize) -> u32 {
        let peer = self.keys.get(index).and_then(|key| self.peers.get(*key));
        peer.map_or(0, |peer| peer.in_flight)
    }

    fn open(&self, index: usize) -> bool {
        self.keys.get(index).is_some_and(|key| !self.tried.contains(key))
    }
}

impl Services {
    /// The state of a service.
    pub(crate) fn get(&self, id: ServiceId) -> Option<&Service> {
        self.all.get(id)
    }

    /// The service called `name`, brought up to `snapshot`. `closed` gets the idle connections of
    /// endpoints that nobody names any more.
    pub(crate) fn enter(
        &mut self,
        name: &str,
        snapshot: &Arc<Snapshot>,
        peers: &mut Peers,
        closed: &mut Vec<Key>,
        balancer: impl FnOnce(&str) -> Box<dyn Balancer>,
    ) -> ServiceId {
        let id = match self.by_name.get(name) {
            Some(&id) => id,
            None => {
                let id = self.all.len();
                self.all.push(Service {
                    name: name.into(),
                    snapshot: Arc::new(Snapshot::new(Vec::new())),
                    balancer: balancer(name),
                    peers: Vec::new(),
                });
                self.by_name.insert(name.into(), id);
                id
            }
        };
        self.refresh(id, snapshot, peers, closed);
        id
    }

    /// Brings a service up to `snapshot`.
    pub(crate) fn refresh(
        &mut self,
        id: ServiceId,
        snapshot: &Arc<Snapshot>,
        peers: &mut Peers,
        closed: &mut Vec<Key>,
    ) {
        let Some(service) = self.all.get_mut(id) else { return };
        if Arc::ptr_eq(&service.snapshot, snapshot) {
            return;
        }
        let adopted = snapshot.endpoints().iter().map(|endpoint| peers.adopt(endpoint)).collect();
        let old = std::mem::replace(&mut service.peers, adopted);
        service.snapshot = Arc::clone(snapshot);
        for key in old {
            peers.disown(key, closed);
        }
    }

    /// Brings the service called `name` up to `snapshot`, if a request has ever asked for it.
    pub(crate) fn refresh_known(
        &mut self,
        name: &str,
        snapshot: &Arc<Snapshot>,
        peers: &mut Peers,
        closed: &mut Vec<Key>,
    ) {
        if let Some(&id) = self.by_name.get(name) {
            self.refresh(id, snapshot, peers, closed);
        }
    }

    /// An endpoint for a request that has `tried` some already; `key` is what hashing goes by.
    pub(crate) fn choose(
        &mut self,
        id: ServiceId,
        peers: &Peers,
        tried: &[Key],
        key: u64,
        rng: &mut Rng,
    ) -> Option<Key> {
        let service = self.all.get_mut(id)?;
        let view = View { keys: &service.peers, peers, tried };
        let choice = Choice::new(&service.snapshot, &view, key);
        // A balancer that answers nonsense must not lose the request.
        let picked = service.balancer.pick(&choice, rng).filter(|&index| view.open(index));
        let index = picked.or_else(|| (0..view.keys.len()).find(|&index| view.open(index)))?;
        service.peers.get(index).copied()
    }
}
