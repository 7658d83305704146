//! The desk on its own: where a request goes, and where it goes next.

use super::*;
use crate::balance::Balance;
use crate::registry::MemoryRegistry;
use crate::route::PathRouter;

fn at(port: u16) -> Endpoint {
    Endpoint::tcp(([127, 0, 0, 1], port).into())
}

/// A desk at which `service` has the endpoints 1 and 2.
fn desk(service: &str) -> Desk {
    let mut registry = MemoryRegistry::new();
    registry.add(service, at(1));
    registry.add(service, at(2));
    Desk {
        config: Config::default(),
        registry: Box::new(registry),
        router: Box::new(PathRouter::default()),
        balancing: Box::new(|_| Balance::Random.build()),
        hooks: None,
        rng: Rng::from_seed(1),
        services: Services::default(),
        peers: Peers::new(9, 9, false),
        closed: Vec::new(),
        plan: Plan::default(),
        good_host: Default::default(),
        spare: Vec::new(),
        draining: false,
        now: Ms::ZERO,
    }
}

fn receive(desk: &mut Desk, target: &str) -> (Result<Trip, Reason>, String) {
    let mut trip = Trip::default();
    let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let result = match desk.receive(head.as_bytes(), &mut Slots::default(), None, &mut trip) {
        Received::Forward(..) => Ok(trip),
        Received::Refused(reason, _) => Err(reason),
        Received::Partial | Received::Hook(..) => unreachable!("{target}"),
    };
    (result, String::from_utf8_lossy(&desk.plan.prefix).into_owned())
}

fn chosen(desk: &Desk, peer: Option<Key>) -> Option<Endpoint> {
    peer.and_then(|peer| desk.peers.get(peer)).map(|peer| peer.endpoint.clone())
}

/// B1.2, B2.2
#[test]
fn the_catch_all_cuts_nothing_and_lets_nobody_climb() {
    let mut desk = desk("*");
    let (trip, sent) = receive(&mut desk, "/a/b/c");
    assert!(trip.is_ok() && sent.starts_with("GET /a/b/c HTTP/1.1\r\n"), "{sent}");
    for target in ["/..", "/a/b/../../..", "/%2e%2e/x", "/a/../../b"] {
        let refused = receive(&mut desk, target).0.err();
        assert_eq!(refused, Some(Reason::Request(Bad::Target)), "{target}");
    }
}

/// B3.2, B3.4: another attempt sees what the registry says by then.
#[test]
fn another_attempt_goes_by_the_registry_of_its_moment() {
    let mut desk = desk("s/1");
    let (Ok(mut trip), _) = receive(&mut desk, "/s/1") else { unreachable!() };
    let other = if chosen(&desk, trip.peer) == Some(at(1)) { at(2) } else { at(1) };
    desk.failed(&mut trip, Failure::Refused);
    desk.registry.delete("s/1", &other);
    desk.registry.add("s/1", at(3));
    let next = desk.again(&mut trip);
    assert!(matches!(next, Chosen::Peer(_)), "{next:?}");
    assert_eq!(chosen(&desk, trip.peer), Some(at(3)));
    desk.failed(&mut trip, Failure::Refused);
    assert_eq!(desk.again(&mut trip), Chosen::Nobody, "all have failed");
}
