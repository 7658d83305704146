//! B6: how many upstream connections are kept, for how long, and what removes one.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use pointsman::{Endpoint, MemoryRegistry, Proxy, Registry};

use crate::harness::{Origin, Pointsman, eventually};
use crate::story::Running;
use crate::wire::PATIENCE;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An origin that answers with these bytes, and tells when each connection has ended and how
/// long after its last answer.
fn telling(answer: &'static str) -> (Origin, Receiver<Duration>) {
    let (told, heard) = channel();
    let told = Mutex::new(told);
    let origin = Origin::scripted(move |wire| {
        let mut last = Instant::now();
        while wire.request().is_ok() {
            wire.send(answer);
            last = Instant::now();
        }
        let _ = told.lock().unwrap().send(last.elapsed());
    });
    (origin, heard)
}

/// B6.1: at most so many idle connections for each endpoint are kept; one pool for all clients.
#[test]
fn b6_1_idle_connections_are_bounded() {
    let together = Arc::new(Barrier::new(8));
    let origin = Origin::scripted(move |wire| {
        let first = wire.request();
        together.wait();
        if first.is_ok() {
            wire.send(OK);
        }
        while wire.request().is_ok() {
            wire.send(OK);
        }
    });
    let proxy = Pointsman::before(origin.addr, &["--idle-per-endpoint", "3"]);
    let before = proxy.descriptors();
    // Eight requests at once need eight connections: the origin answers only when all are there.
    let mut clients: Vec<_> = (0..8).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.answer("GET").status(), 200);
    }
    eventually("three are kept", || proxy.descriptors() == before + 8 + 3);
    for client in &mut clients {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(origin.connections(), 8, "all eight clients use the three");
}

/// B6.2: an idle connection is closed when its time is up.
#[test]
fn b6_2_idle_connections_are_closed() {
    let (origin, heard) = telling(OK);
    let proxy = Pointsman::before(origin.addr, &["--upstream-idle", "300ms"]);
    assert_eq!(proxy.client().get("/").status(), 200);
    let idle = heard.recv_timeout(PATIENCE).expect("it ends");
    assert!(idle >= Duration::from_millis(250), "{idle:?}");
}

/// B6.2: an endpoint that announces its own limit is left a second before that.
#[test]
fn b6_2_an_announced_limit_is_kept() {
    let (origin, heard) =
        telling("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2, max=9\r\nContent-Length: 2\r\n\r\nok");
    let proxy = Pointsman::before(origin.addr, &["--upstream-idle", "20s"]);
    assert_eq!(proxy.client().get("/").status(), 200);
    let idle = heard.recv_timeout(PATIENCE).expect("it ends");
    assert!(idle < Duration::from_secs(10), "{idle:?}: by the announced limit, not by ours");
}

/// B6.3: the end of an idle connection removes it at once.
#[test]
fn b6_3_an_end_removes_an_idle_connection() {
    for reset in [false, true] {
        let origin = Origin::scripted(move |wire| {
            let _ = wire.request();
            wire.send(OK);
            std::thread::sleep(Duration::from_millis(100));
            if reset {
                wire.reset_on_close();
            }
        });
        let proxy = Pointsman::before(origin.addr, &[]);
        let before = proxy.descriptors();
        let mut client = proxy.client();
        assert_eq!(client.get("/").status(), 200);
        eventually("only the client is left", || proxy.descriptors() == before + 1);
        assert_eq!(client.get("/").status(), 200);
    }
}

/// B3.4: deleting an endpoint ends its idle connections, and no exchange of another endpoint.
#[test]
fn b3_4_deleting_an_endpoint_ends_its_idle_connections() {
    let (one, one_ended) = telling(OK);
    let (two, two_ended) = telling(OK);
    let addrs = [one.addr, two.addr];
    let proxy = Running::start(move || {
        let mut registry = MemoryRegistry::default();
        registry.add("a/v1", Endpoint::tcp(addrs[0]));
        registry.add("b/v1", Endpoint::tcp(addrs[1]));
        let listen = "127.0.0.1:0".parse().expect("listen");
        Proxy::builder().listen(listen).registry(registry).build().expect("build")
    });
    let mut client = proxy.client();
    assert_eq!(client.get("/a/v1/x").status(), 200);
    assert_eq!(client.get("/b/v1/x").status(), 200);
    proxy.handle.delete("a/v1", &Endpoint::tcp(one.addr));
    // Its own idle limit is 4 s: the end has to come far earlier to be the deletion's.
    let idle = one_ended.recv_timeout(PATIENCE).expect("it ends");
    assert!(idle < Duration::from_secs(3), "{idle:?}");
    assert!(two_ended.try_recv().is_err(), "the other endpoint's connection stays");
    assert_eq!(client.get("/b/v1/x").status(), 200);
    assert_eq!((client.get("/a/v1/x").status(), two.connections()), (503, 1));
}
