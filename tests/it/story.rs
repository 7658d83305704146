//! The article's story, a test for each step, from one fixed host to parts of one's own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use pointsman::{
    Balancer, Choice, Endpoint, Failure, Handle, MemoryRegistry, Ms, NoRoute, Proxy, Registry,
    RequestHead, Rng, Route, Router, Snapshot,
};

use crate::article::answered_by;
use crate::harness::{Origin, Pointsman, Refusing, eventually};
use crate::wire::Wire;

/// A proxy of the library on a thread of its own, stopped and joined on drop.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    pub(crate) addr: std::net::SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(build: impl FnOnce() -> Proxy + Send + 'static) -> Running {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut proxy = build();
            let addr = proxy.addresses()[0].to_string();
            sender.send((proxy.handle(), addr)).unwrap();
            proxy.run().expect("run");
        });
        let (handle, addr) = receiver.recv().expect("built");
        Running { handle, addr: addr.parse().expect("an address"), thread: Some(thread) }
    }

    pub(crate) fn client(&self) -> Wire {
        Wire::connect(self.addr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        let ended = self.thread.take().expect("once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the proxy's thread panicked");
    }
}

/// Step 1: one host (B1.2, the catch-all): nothing is cut from the target.
#[test]
fn step_1_a_single_host() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let answer = proxy.client().get("/any/where/at/all?q=1");
    assert_eq!(answered_by(&answer), origin.addr.port());
    assert_eq!(origin.last().target(), "/any/where/at/all?q=1");
}

/// Step 2: several hosts at random (B3.1, per request).
#[test]
fn step_2_several_hosts_at_random() {
    let origins = [Origin::polite(), Origin::polite(), Origin::polite()];
    let addrs: Vec<_> = origins.iter().map(|o| o.addr).collect();
    let proxy = Pointsman::service(&addrs, &[]);
    let (mut client, mut share) = (proxy.client(), HashMap::<u16, u32>::new());
    for _ in 0..300 {
        *share.entry(answered_by(&client.get("/s/v1/x"))).or_default() += 1;
    }
    // 100 each is expected; 50 is six standard deviations off.
    assert!(share.len() == 3 && share.values().all(|n| *n >= 50), "{share:?}");
}

/// Step 3: upstream connections are shared by all clients and kept until their end (B6.1, B6.3).
#[test]
fn step_3_persistent_connections_until_eof() {
    let count = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&count);
    // Three answers on each connection, then the end, unannounced.
    let origin = Origin::scripted(move |wire| {
        seen.fetch_add(1, Ordering::SeqCst);
        for _ in 0..3 {
            if wire.request().is_err() {
                return;
            }
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    for _ in 0..9 {
        let answer = proxy.client().get("/");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    }
    assert_eq!(count.load(Ordering::SeqCst), 3, "nine requests, three on each connection");
}

/// Step 4: the service is the first two segments of the path, and is cut off (B2.1).
#[test]
fn step_4_routing_by_name_and_version() {
    let (one, two) = (Origin::polite(), Origin::polite());
    let (first, second) = (format!("n/v1={}", one.addr), format!("n/v2={}", two.addr));
    let proxy = Pointsman::start(&[&first, &second]);
    let mut client = proxy.client();
    assert_eq!(answered_by(&client.get("/n/v1/a")), one.addr.port());
    assert_eq!(answered_by(&client.get("/n/v2/b?c")), two.addr.port());
    assert_eq!((one.last().target(), two.last().target()), ("/a".into(), "/b?c".into()));
    assert_eq!(client.get("/n/v3/a").status(), 404);
}

/// Step 5: the registry changes while the proxy runs, and the next request sees it (B3.4, B10.1).
#[test]
fn step_5_the_registry_through_a_handle() {
    let (one, two) = (Origin::polite(), Origin::polite());
    let proxy = Running::start(|| {
        let listen = "127.0.0.1:0".parse().expect("listen");
        Proxy::builder().listen(listen).registry(MemoryRegistry::default()).build().expect("build")
    });
    let (mut client, handle) = (proxy.client(), proxy.handle.clone());
    assert_eq!(client.get("/s/v1/x").status(), 404);

    handle.add("s/v1", Endpoint::tcp(one.addr));
    eventually("the first endpoint answers", || client.get("/s/v1/x").status() == 200);
    handle.add("s/v1", Endpoint::tcp(two.addr));
    eventually("the second gets requests", || {
        answered_by(&client.get("/s/v1/x")) == two.addr.port()
    });
    handle.delete("s/v1", &Endpoint::tcp(one.addr));
    eventually("only the second gets requests", || {
        (0..20).all(|_| answered_by(&client.get("/s/v1/x")) == two.addr.port())
    });

    // A service that is known and has nobody is another thing than an unknown one (B2.3).
    handle.delete("s/v1", &Endpoint::tcp(two.addr));
    eventually("nobody is left", || client.get("/s/v1/x").status() == 503);
    assert!(client.get("/s/v1/x").field("Retry-After").is_some());
}

/// Step 6: a dial that fails is tried on another endpoint, for every method and size (B4.1).
#[test]
fn step_6_a_refused_dial_is_tried_elsewhere() {
    let (refusing, origin) = (Refusing::new(), Origin::polite());
    let proxy = Pointsman::service(&[refusing.addr, origin.addr], &[]);
    let (mut client, big) = (proxy.client(), vec![b'b'; 1 << 20]);
    for n in 0..40 {
        assert_eq!(client.get("/s/v1/x").status(), 200, "GET {n}");
        assert_eq!(client.post("/s/v1/x", b"small").status(), 200, "POST {n}");
    }
    for n in 0..8 {
        let answer = client.post("/s/v1/x", &big);
        assert_eq!(answer.status(), 200, "large POST {n}: {}", answer.text());
    }
    let lengths: Vec<usize> = origin.requests().iter().map(|r| r.body.len()).collect();
    assert_eq!(lengths.iter().filter(|n| **n == big.len()).count(), 8, "each delivered once");
    assert_eq!(lengths.len(), 88);
}

/// A registry of one's own: two names for one service, and a count of what failed (B10.2).
struct Names {
    inner: MemoryRegistry,
    failures: Arc<AtomicU32>,
}

impl Registry for Names {
    fn lookup(&mut self, service: &str) -> Option<&Arc<Snapshot>> {
        self.inner.lookup(if service == "alias/v1" { "s/v1" } else { service })
    }

    fn add(&mut self, service: &str, endpoint: Endpoint) -> bool {
        self.inner.add(service, endpoint)
    }

    fn delete(&mut self, service: &str, endpoint: &Endpoint) -> bool {
        self.inner.delete(service, endpoint)
    }

    fn failure(&mut self, service: &str, _: &Endpoint, why: Failure, _: Ms) {
        assert_eq!((service, why.word()), ("alias/v1", Failure::Refused.word()));
        self.failures.fetch_add(1, Ordering::SeqCst);
    }
}

/// Always the first endpoint that is open.
struct First;

impl Balancer for First {
    fn key(&self, _: &RequestHead<'_>, client: Option<IpAddr>) -> u64 {
        u64::from(client.is_some())
    }

    fn pick(&mut self, choice: &Choice<'_>, _: &mut Rng) -> Option<usize> {
        (0..choice.len()).find(|i| choice.open(*i))
    }
}

/// The service comes from a field instead of the path.
struct ByField;

impl Router for ByField {
    fn route<'a>(&'a mut self, head: &RequestHead<'a>) -> Result<Route<'a>, NoRoute> {
        let service = head.field("Service").and_then(|s| std::str::from_utf8(s).ok());
        service.map(|service| Route { service, rest: head.path() }).ok_or(NoRoute::NotFound)
    }
}

/// Step 7: registry, balancer and router are the embedder's own (B2.5, B10.2).
#[test]
fn step_7_own_registry_balancer_and_router() {
    let (refusing, one, two) = (Refusing::new(), Origin::polite(), Origin::polite());
    let failures = Arc::new(AtomicU32::new(0));
    let mut registry = Names { inner: MemoryRegistry::default(), failures: Arc::clone(&failures) };
    for addr in [refusing.addr, one.addr, two.addr] {
        registry.add("s/v1", Endpoint::tcp(addr));
    }
    let proxy = Running::start(move || {
        let builder = Proxy::builder().listen("127.0.0.1:0".parse().expect("listen"));
        let builder = builder.registry(registry).router(ByField).balancer(|_| Box::new(First));
        builder.build().expect("build")
    });
    let mut client = proxy.client();
    let request = "GET /no/cut?x HTTP/1.1\r\nHost: t\r\nService: alias/v1\r\n\r\n";
    assert_eq!(answered_by(&client.ask(request)), one.addr.port());
    assert_eq!(one.last().target(), "/no/cut?x");
    assert_eq!(failures.load(Ordering::SeqCst), 1, "the first choice refused");
    assert_eq!(two.connections(), 0);
    assert_eq!(client.get("/s/v1/x").status(), 404, "no field, no service");
}

/// An answer that ends with the connection is passed on whole, and its end is an end (B7.2).
#[test]
fn an_answer_until_eof_reaches_the_client_whole() {
    let origin = Origin::scripted(|wire| {
        if wire.request().is_ok() {
            wire.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    let answer = client.get("/");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "until the end"));
}
