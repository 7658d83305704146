//! Which endpoints answer for which service: the trait an embedder replaces, and the one in
//! memory that comes with us.
//!
//! A lookup hands out an immutable [`Snapshot`]. Adding and deleting put a new snapshot in its
//! place; a request that holds the old one keeps seeing what it saw. This file knows neither how an
//! endpoint is chosen nor how it is reached.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::endpoint::{Endpoint, Failure};
use crate::hash::{NameHash, StableHash, mix};
use crate::time::Ms;

/// The endpoints of one service at one moment, with what choosing among them needs to know.
#[derive(Clone, Debug)]
pub struct Snapshot {
    endpoints: Box<[Endpoint]>,
    /// Where the share of each endpoint ends on the line `0..total`; empty if all are equal.
    ends: Box<[u64]>,
    /// The stable hash of each endpoint's text, for rendezvous.
    hashes: Box<[u64]>,
    total_weight: u64,
    /// The weight of each endpoint when all are equal; never 0.
    each: u64,
    all_plain: bool,
    fingerprint: u64,
}

impl Snapshot {
    /// The snapshot of `endpoints`, in that order. Costs O(n) once, so that a pick costs less.
    pub fn new(endpoints: Vec<Endpoint>) -> Snapshot {
        let weight = |endpoint: &Endpoint| u64::from(endpoint.weight());
        let uniform =
            endpoints.windows(2).all(|pair| pair.first().map(weight) == pair.last().map(weight));
        let mut total_weight = 0;
        let mut fingerprint = endpoints.len() as u64;
        let mut ends = Vec::with_capacity(if uniform { 0 } else { endpoints.len() });
        let mut hashes = Vec::with_capacity(endpoints.len());
        for endpoint in &endpoints {
            let hash = text_hash(endpoint);
            hashes.push(hash);
            fingerprint = mix(fingerprint ^ mix(hash ^ weight(endpoint)));
            total_weight += weight(endpoint);
            if !uniform {
                ends.push(total_weight);
            }
        }
        Snapshot {
            ends: ends.into(),
            hashes: hashes.into(),
            total_weight,
            each: (total_weight / endpoints.len().max(1) as u64).max(1),
            all_plain: endpoints.iter().all(Endpoint::is_plain),
            fingerprint,
            endpoints: endpoints.into(),
        }
    }

    /// All endpoints, in the order in which they were given.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether the service has nobody who answers.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Whether all weights are equal; also when there are none.
    pub fn uniform(&self) -> bool {
        self.ends.is_empty()
    }

    /// The sum of all weights; 0 only if there is no endpoint.
    pub fn total_weight(&self) -> u64 {
        self.total_weight
    }

    /// The index of the endpoint that owns point `n` of `0..total_weight()`, each owning as many
    /// points as it weighs: O(1) if the weights are equal, O(log n) otherwise. Beyond the end it
    /// is the last; 0 if there is none.
    pub fn at_weight(&self, n: u64) -> usize {
        let index = if self.uniform() {
            (if self.each == 1 { n } else { n / self.each }) as usize
        } else {
            self.at_unequal_weight(n)
        };
        index.min(self.len().saturating_sub(1))
    }

    #[inline(never)]
    fn at_unequal_weight(&self, n: u64) -> usize {
        self.ends.partition_point(|end| *end <= n)
    }

    /// Whether no endpoint has a base path or a fixed query: a request looks the same for all.
    pub fn all_plain(&self) -> bool {
        self.all_plain
    }

    /// The first point of `0..total_weight()` that endpoint `index` owns.
    pub(crate) fn weight_before(&self, index: usize) -> u64 {
        if self.uniform() {
            return index as u64 * self.each;
        }
        index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0)
    }

    /// The hash of each endpoint's text (address, base, query), the same for ever.
    pub(crate) fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// A number by which a balancer tells that its state is about other endpoints or weights.
    ///
    /// Of the content and not of the allocation: addresses in memory are used again.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

fn text_hash(endpoint: &Endpoint) -> u64 {
    let mut hash = StableHash::new();
    // Writing into a hash cannot fail.
    let _ = write!(hash, "{endpoint}");
    hash.finish()
}

/// Who answers for a service. Called on the proxy's own thread only, so nothing needs a lock.
pub trait Registry: Send {
    /// The endpoints of `service` (`name/version`, or `*`).
    ///
    /// `None`: the service is unknown (404). An empty snapshot: it is known and nobody is there
    /// (503).
    fn lookup(&mut self, service: &str) -> Option<&Arc<Snapshot>>;

    /// A number that changes whenever [`lookup`](Registry::lookup) may answer other than before;
    /// `None`, which it is unless overridden: nobody counts. As long as it stays the same, a
    /// service that was found is not looked up again: 110 instructions less for each request.
    fn version(&self) -> Option<u64> {
        None
    }

    /// Adds `endpoint` to `service`, which is known from then on.
    ///
    /// `false`: an equal one was there already; then nothing changes except that a new weight is
    /// taken.
    fn add(&mut self, service: &str, endpoint: Endpoint) -> bool;

    /// Takes `endpoint` out of `service`, which stays known. `false`: it was not there.
    fn delete(&mut self, service: &str, endpoint: &Endpoint) -> bool;

    /// `endpoint` has failed a request of `service`: told once for each attempt.
    fn failure(&mut self, service: &str, endpoint: &Endpoint, why: Failure, now: Ms) {
        let _ = (service, endpoint, why, now);
    }

    /// `endpoint` has answered a request of `service`, whatever the status.
    fn success(&mut self, service: &str, endpoint: &Endpoint, now: Ms) {
        let _ = (service, endpoint, now);
    }
}

/// A registry that is a map in memory. A clone is a registry of its own.
#[derive(Clone, Debug, Default)]
pub struct MemoryRegistry {
    services: HashMap<String, Arc<Snapshot>, NameHash>,
    /// How often anything has changed.
    changes: u64,
}

impl MemoryRegistry {
    /// A registry that knows no service.
    pub fn new() -> MemoryRegistry {
        MemoryRegistry::default()
    }
}

impl Registry for MemoryRegistry {
    fn lookup(&mut self, service: &str) -> Option<&Arc<Snapshot>> {
        self.services.get(service)
    }

    fn version(&self) -> Option<u64> {
        Some(self.changes)
    }

    fn add(&mut self, service: &str, endpoint: Endpoint) -> bool {
        let Some(snapshot) = self.services.get_mut(service) else {
            self.changes += 1;
            let snapshot = Arc::new(Snapshot::new(vec![endpoint]));
            self.services.insert(service.to_owned(), snapshot);
            return true;
        };
        let mut endpoints = snapshot.endpoints().to_vec();
        let known = endpoints.iter_mut().find(|known| **known == endpoint);
        let added = known.is_none();
        match known {
            Some(known) if known.weight() == endpoint.weight() => return false,
            Some(known) => *known = known.clone().with_weight(endpoint.weight()),
            None => endpoints.push(endpoint),
        }
        self.changes += 1;
        *snapshot = Arc::new(Snapshot::new(endpoints));
        added
    }

    fn delete(&mut self, service: &str, endpoint: &Endpoint) -> bool {
        let Some(snapshot) = self.services.get_mut(service) else { return false };
        if !snapshot.endpoints().contains(endpoint) {
            return false;
        }
        self.changes += 1;
        let left = snapshot.endpoints().iter().filter(|known| *known != endpoint).cloned();
        *snapshot = Arc::new(Snapshot::new(left.collect()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn at(port: u16) -> Endpoint {
        Endpoint::tcp(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn weighted(weights: &[u32]) -> Snapshot {
        let ports = 1..;
        Snapshot::new(ports.zip(weights).map(|(port, w)| at(port).with_weight(*w)).collect())
    }

    fn ports(registry: &mut MemoryRegistry, service: &str) -> Option<Vec<String>> {
        let snapshot = registry.lookup(service)?;
        Some(snapshot.endpoints().iter().map(ToString::to_string).collect())
    }

    // B3.1: every endpoint owns as many points as it weighs.
    #[test]
    fn points_belong_to_endpoints_by_weight() {
        for weights in [&[][..], &[1], &[7], &[1, 1, 1], &[5, 5], &[3, 1, 2], &[1_000_000, 1]] {
            let snapshot = weighted(weights);
            let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
            assert_eq!(snapshot.total_weight(), total);
            assert_eq!(snapshot.uniform(), weights.windows(2).all(|w| w[0] == w[1]));
            assert_eq!((snapshot.len(), snapshot.is_empty()), (weights.len(), weights.is_empty()));
            let mut owned = vec![0; weights.len()];
            for n in 0..total {
                let index = snapshot.at_weight(n);
                owned[index] += 1;
                let begin = snapshot.weight_before(index);
                assert!((begin..begin + u64::from(weights[index])).contains(&n));
            }
            assert_eq!(owned, weights);
            assert_eq!(snapshot.at_weight(u64::MAX), weights.len().saturating_sub(1));
        }
    }

    #[test]
    fn a_snapshot_knows_whether_requests_look_alike() {
        assert!(Snapshot::new(vec![at(1), at(2)]).all_plain());
        assert!(!Snapshot::new(vec![at(1), at(2).with_query("x")]).all_plain());
    }

    #[test]
    fn the_fingerprint_is_of_places_weights_and_order() {
        let print = |endpoints: Vec<Endpoint>| Snapshot::new(endpoints).fingerprint();
        let same = print(vec![at(1), at(2)]);
        assert_eq!(same, print(vec![at(1), at(2).with_authority("x")]));
        for other in [
            vec![],
            vec![at(1)],
            vec![at(2), at(1)],
            vec![at(1), at(3)],
            vec![at(1), at(2).with_weight(2)],
            vec![at(1).with_weight(2), at(2).with_weight(2)],
            vec![at(1), at(2).with_base("/b")],
        ] {
            assert_ne!(same, print(other.clone()), "{other:?}");
        }
    }

    // B2.2, B2.3: unknown is not the same as empty.
    #[test]
    fn add_and_delete() {
        let mut registry = MemoryRegistry::new();
        assert_eq!(ports(&mut registry, "s/1"), None);
        assert!(!registry.delete("s/1", &at(1)));
        assert_eq!(ports(&mut registry, "s/1"), None, "a vain delete makes nothing known");

        assert!(registry.add("s/1", at(1)));
        assert!(registry.add("s/1", at(2)));
        assert!(!registry.add("s/1", at(1).with_authority("ignored")), "was there");
        let want = ["127.0.0.1:1", "127.0.0.1:2"].map(str::to_owned).to_vec();
        assert_eq!(ports(&mut registry, "s/1"), Some(want));
        assert_eq!(ports(&mut registry, "s/2"), None);

        assert!(!registry.delete("s/1", &at(3)));
        assert!(registry.delete("s/1", &at(1)));
        assert!(registry.delete("s/1", &at(2)));
        assert_eq!(ports(&mut registry, "s/1"), Some(vec![]));
        assert!(registry.add("s/1", at(2)), "and back");
    }

    #[test]
    fn the_version_is_another_one_after_every_change() {
        let mut registry = MemoryRegistry::new();
        let mut last = registry.version();
        let mut step = |registry: &MemoryRegistry, changed: bool| {
            assert_eq!(registry.version() != last, changed);
            last = registry.version();
        };
        for _ in 0..2 {
            registry.add("s/1", at(1));
            step(&registry, true);
            registry.add("s/1", at(1));
            step(&registry, false);
            registry.add("s/1", at(1).with_weight(3));
            step(&registry, true);
            registry.add("s/2", at(1));
            step(&registry, true);
            registry.delete("s/2", &at(2));
            registry.delete("s/3", &at(1));
            step(&registry, false);
            registry.delete("s/2", &at(1));
            step(&registry, true);
            registry.delete("s/1", &at(1));
            step(&registry, true);
        }
    }

    // B3.3, B3.4: what was looked up never changes; the next lookup sees the change.
    #[test]
    fn an_old_snapshot_stays_as_it_is() {
        let mut registry = MemoryRegistry::new();
        registry.add("s/1", at(1));
        let old = registry.lookup("s/1").map(Arc::clone).unwrap();
        let mut copy = registry.clone();
        assert!(!registry.add("s/1", at(1)));
        assert!(Arc::ptr_eq(&old, registry.lookup("s/1").unwrap()), "no change, no new snapshot");

        assert!(!registry.add("s/1", at(1).with_weight(4).with_authority("x")));
        let new = registry.lookup("s/1").unwrap().endpoints()[0].clone();
        assert_eq!((new.weight(), new.authority()), (4, "127.0.0.1:1"));
        registry.add("s/1", at(2));
        registry.delete("s/1", &at(1));
        assert_eq!((old.len(), old.endpoints()[0].weight()), (1, 1));
        assert_eq!(copy.lookup("s/1").unwrap().len(), 1);
        assert_eq!(registry.lookup("s/1").unwrap().endpoints(), [at(2)]);
    }

    #[test]
    fn reports_need_no_answer() {
        let mut registry = MemoryRegistry::new();
        registry.add("s/1", at(1));
        registry.failure("s/1", &at(1), Failure::Refused, Ms(1));
        registry.success("s/1", &at(1), Ms(2));
        assert_eq!(registry.lookup("s/1").unwrap().len(), 1);
    }
}
