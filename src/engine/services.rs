//! What the engine knows of each service: the registry's latest snapshot, the endpoints in it, and
//! the balancer that chooses among them.
//!
//! The registry is asked for every request, unless it counts its changes and there was none; only
//! when it hands out another snapshot than last time is anything worked out anew. This file does
//! not know connections.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::balance::{Balancer, Choice, Load};
use crate::hash::NameHash;
use crate::health::{Budget, Rules, Standing};
use crate::keys::Key;
use crate::registry::Snapshot;
use crate::rng::Rng;
use crate::time::Ms;

use super::peers::Peers;

/// The name of a service inside one engine.
pub(crate) type ServiceId = usize;

/// The state of one service.
pub(crate) struct Service {
    pub(crate) name: Box<str>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) balancer: Box<dyn Balancer>,
    pub(crate) budget: Budget,
    /// What the registry counted when this was looked up.
    version: Option<u64>,
    /// Of every endpoint of the snapshot, in its order.
    peers: Vec<Key>,
}

/// All services that a request has been routed to.
#[derive(Default)]
pub(crate) struct Services {
    by_name: HashMap<Box<str>, ServiceId, NameHash>,
    all: Vec<Service>,
    /// The one that the last request was for; the next one mostly is for it too.
    last: ServiceId,
}

/// Whom a request may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// This one.
    Peer(Key),
    /// Nobody now, but one of them has only its hands full.
    Later,
    /// All have failed it, or there are none.
    Nobody,
}

/// How far down a choice goes before it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Only endpoints that nothing speaks against; those that seem to restart if there are none.
    Sound,
    /// Down to the one that failed longest ago (`B5.2`).
    Anyone,
    /// As above, and those that have yet to prove themselves.
    Unproven,
}

/// What a choice goes by, beside the request.
pub(crate) struct Asked<'a> {
    pub(crate) tried: &'a [Key],
    /// What hashing goes by.
    pub(crate) key: u64,
    pub(crate) depth: Depth,
    pub(crate) rules: &'a Rules,
    pub(crate) now: Ms,
}

/// What a balancer sees of the endpoints.
struct View<'a> {
    keys: &'a [Key],
    peers: &'a Peers,
    asked: &'a Asked<'a>,
    /// The worst standing that is good enough.
    worst: Standing,
    /// The last one that was found to be good enough: what a balancer picks, it has asked about.
    found: Cell<Option<usize>>,
}

impl View<'_> {
    fn standing(&self, index: usize) -> Option<Standing> {
        let key = self.keys.get(index)?;
        if self.asked.tried.contains(key) {
            return None;
        }
        let peer = self.peers.get(*key)?;
        Some(peer.health.standing(peer.in_flight, peer.coming, self.asked.rules, self.asked.now))
    }
}

impl Load for View<'_> {
    fn in_flight(&self, index: usize) -> u32 {
        let peer = self.keys.get(index).and_then(|key| self.peers.get(*key));
        peer.map_or(0, |peer| peer.in_flight)
    }

    fn open(&self, index: usize) -> bool {
        if self.found.get() == Some(index) {
            return true;
        }
        let open = self.standing(index).is_some_and(|standing| standing <= self.worst);
        if open {
            self.found.set(Some(index));
        }
        open
    }
}

impl Services {
    /// The state of a service.
    pub(crate) fn get(&self, id: ServiceId) -> Option<&Service> {
        self.all.get(id)
    }

    /// The service called `name`, if it was looked up since the registry counted `version`.
    #[inline]
    pub(crate) fn current(&mut self, name: &str, version: Option<u64>) -> Option<ServiceId> {
        let version = version?;
        if !self.is_last(name) {
            self.last = *self.by_name.get(name)?;
        }
        let service = self.all.get(self.last)?;
        (service.version == Some(version)).then_some(self.last)
    }

    #[inline]
    fn is_last(&self, name: &str) -> bool {
        self.all.get(self.last).is_some_and(|last| *last.name == *name)
    }

    /// The service called `name`, brought up to `snapshot`, which was looked up when the registry
    /// counted `version`. `closed` gets the idle connections of endpoints that nobody names any
    /// more.
    pub(crate) fn enter(
        &mut self,
        name: &str,
        version: Option<u64>,
        snapshot: &Arc<Snapshot>,
        peers: &mut Peers,
        closed: &mut Vec<Key>,
        balancer: impl FnOnce(&str) -> Box<dyn Balancer>,
    ) -> ServiceId {
        if !self.is_last(name) {
            self.last = self.find_or_make(name, balancer);
        }
        if let Some(service) = self.all.get_mut(self.last) {
            service.version = version;
        }
        self.refresh(self.last, snapshot, peers, closed);
        self.last
    }

    #[inline(never)]
    fn find_or_make(
        &mut self,
        name: &str,
        balancer: impl FnOnce(&str) -> Box<dyn Balancer>,
    ) -> ServiceId {
        if let Some(&id) = self.by_name.get(name) {
            return id;
        }
        let id = self.all.len();
        self.all.push(Service {
            name: name.into(),
            snapshot: Arc::new(Snapshot::new(Vec::new())),
            balancer: balancer(name),
            budget: Budget::default(),
            version: None,
            peers: Vec::new(),
        });
        self.by_name.insert(name.into(), id);
        id
    }

    /// Brings a service up to `snapshot`.
    #[inline]
    pub(crate) fn refresh(
        &mut self,
        id: ServiceId,
        snapshot: &Arc<Snapshot>,
        peers: &mut Peers,
        closed: &mut Vec<Key>,
    ) {
        if self.all.get(id).is_some_and(|service| !Arc::ptr_eq(&service.snapshot, snapshot)) {
            self.replace(id, snapshot, peers, closed);
        }
    }

    #[cold]
    fn replace(
        &mut self,
        id: ServiceId,
        snapshot: &Arc<Snapshot>,
        peers: &mut Peers,
        closed: &mut Vec<Key>,
    ) {
        let Some(service) = self.all.get_mut(id) else { return };
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

    /// Every service gets another balancer.
    pub(crate) fn rebalance(&mut self, make: impl Fn(&str) -> Box<dyn Balancer>) {
        for service in &mut self.all {
            service.balancer = make(&service.name);
        }
    }

    /// As [`Services::get`], to change it.
    pub(crate) fn get_mut(&mut self, id: ServiceId) -> Option<&mut Service> {
        self.all.get_mut(id)
    }

    /// An endpoint for a request.
    pub(crate) fn choose(
        &mut self,
        id: ServiceId,
        peers: &Peers,
        asked: &Asked<'_>,
        rng: &mut Rng,
    ) -> Chosen {
        let Some(service) = self.all.get_mut(id) else { return Chosen::Nobody };
        let (keys, found) = (&service.peers, Cell::new(None));
        let mut view = View { keys, peers, asked, worst: Standing::Open, found };
        let tiers: &[Standing] = match asked.depth {
            Depth::Unproven => &[Standing::Open, Standing::Doubtful, Standing::Unproven],
            Depth::Sound | Depth::Anyone => &[Standing::Open, Standing::Doubtful],
        };
        for &tier in tiers {
            view.worst = tier;
            let choice = Choice::new(&service.snapshot, &view, asked.key);
            // A balancer that answers nonsense must not lose the request.
            let picked = service.balancer.pick(&choice, rng).filter(|&index| view.open(index));
            let found = picked.or_else(|| (0..view.keys.len()).find(|&index| view.open(index)));
            if let Some(&key) = found.and_then(|index| view.keys.get(index)) {
                return Chosen::Peer(key);
            }
        }
        view.choose_among_closed()
    }
}

impl View<'_> {
    /// Whom to wait for, or to ask against all odds.
    #[cold]
    fn choose_among_closed(&self) -> Chosen {
        let (keys, depth) = (self.keys, self.asked.depth);
        let untried = || (0..keys.len()).filter_map(|i| Some((i, self.standing(i)?)));
        // One with its hands full is worth waiting for, but not for ever: a scout goes on to those
        // who were set aside.
        let busy = |standing| matches!(standing, Standing::Unproven | Standing::Full);
        let any_busy = untried().any(|(_, standing)| busy(standing));
        if any_busy && depth != Depth::Unproven {
            return Chosen::Later;
        }
        let failed_at = |index: usize| {
            let peer = keys.get(index).and_then(|key| self.peers.get(*key));
            peer.map_or(Ms::ZERO, |peer| peer.health.failed_at())
        };
        let aside = untried().filter(|&(_, standing)| !busy(standing)).map(|(index, _)| index);
        let longest_ago = aside.min_by_key(|&index| failed_at(index));
        match longest_ago.and_then(|index| keys.get(index)) {
            Some(&key) if depth != Depth::Sound => Chosen::Peer(key),
            Some(_) => Chosen::Later,
            None if any_busy => Chosen::Later,
            None => Chosen::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;
    use crate::keys::GenSlab;

    /// Picks this one, open or not.
    struct Always(usize);

    impl Balancer for Always {
        fn pick(&mut self, _: &Choice<'_>, _: &mut Rng) -> Option<usize> {
            Some(self.0)
        }
    }

    fn choose(services: &mut Services, id: ServiceId, peers: &Peers, tried: &[Key]) -> Chosen {
        let rules = Rules {
            eject_failures: 3,
            eject_ms: 1000,
            eject_max_ms: 30_000,
            slow_start: false,
            max_inflight: 0,
        };
        let asked = Asked { tried, key: 0, depth: Depth::Anyone, rules: &rules, now: Ms::ZERO };
        services.choose(id, peers, &asked, &mut Rng::from_seed(1))
    }

    fn snapshot(ports: &[u16]) -> Arc<Snapshot> {
        let endpoint = |port: &u16| Endpoint::tcp(([127, 0, 0, 1], *port).into());
        Arc::new(Snapshot::new(ports.iter().map(endpoint).collect()))
    }

    /// B3.4: who leaves takes its idle connections along, unless another service names it.
    #[test]
    fn idle_connections_go_with_their_endpoint() {
        let (mut services, mut peers) = (Services::default(), Peers::new(9, 9, false));
        let mut closed = Vec::new();
        let always = |_: &str| -> Box<dyn Balancer> { Box::new(Always(0)) };
        let a = services.enter("a/1", None, &snapshot(&[1, 2]), &mut peers, &mut closed, always);
        let b = services.enter("b/1", None, &snapshot(&[1]), &mut peers, &mut closed, always);
        let Chosen::Peer(peer) = choose(&mut services, a, &peers, &[]) else { unreachable!() };
        assert_eq!(choose(&mut services, b, &peers, &[]), Chosen::Peer(peer), "both name it");
        let idle = GenSlab::default().insert(());
        peers.begin(peer, false);
        assert!(peers.park(peer, idle, 1, Ms::ZERO).is_some_and(|parked| parked.surplus.is_none()));
        services.refresh(a, &snapshot(&[2]), &mut peers, &mut closed);
        assert_eq!((closed.len(), peers.idle()), (0, 1));
        services.refresh_known("b/1", &snapshot(&[]), &mut peers, &mut closed);
        assert_eq!((closed, peers.idle()), (vec![idle], 0));
        assert!(peers.get(peer).is_none());
    }

    /// B3.4: nobody is asked again as long as nothing has changed, and everybody once it has.
    #[test]
    fn what_was_looked_up_is_current_until_the_count_changes() {
        let (mut services, mut peers) = (Services::default(), Peers::new(9, 9, false));
        let always = |_: &str| -> Box<dyn Balancer> { Box::new(Always(0)) };
        let mut enter = |services: &mut Services, name, version| {
            services.enter(name, version, &snapshot(&[1]), &mut peers, &mut vec![], always)
        };
        assert_eq!(services.current("a/1", Some(7)), None, "never looked up");
        let a = enter(&mut services, "a/1", Some(7));
        let b = enter(&mut services, "b/1", Some(8));
        let uncounted = enter(&mut services, "c/1", None);
        assert!(a != b && b != uncounted);
        for _ in 0..2 {
            assert_eq!(services.current("a/1", Some(7)), Some(a));
            assert_eq!(services.current("b/1", Some(8)), Some(b));
            assert_eq!(services.current("a/1", Some(8)), None);
            assert_eq!(services.current("b/1", Some(7)), None);
            assert_eq!(services.current("c/1", Some(7)), None);
            assert_eq!(services.current("a/1", None), None);
        }
    }

    /// B3.2, B10.2: a balancer of an embedder may be wrong, the request is not lost for it.
    #[test]
    fn a_balancer_that_answers_nonsense_loses_no_request() {
        for pick in [0, 1, 7] {
            let (mut services, mut peers) = (Services::default(), Peers::new(9, 9, false));
            let mut tried = Vec::new();
            let always = |_: &str| -> Box<dyn Balancer> { Box::new(Always(pick)) };
            let id =
                services.enter("a/1", None, &snapshot(&[1, 2]), &mut peers, &mut vec![], always);
            while let Chosen::Peer(peer) = choose(&mut services, id, &peers, &tried) {
                assert!(!tried.contains(&peer), "{pick}");
                tried.push(peer);
            }
            assert_eq!(tried.len(), 2, "{pick}");
        }
    }
}
