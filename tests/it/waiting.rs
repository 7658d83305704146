//! Endpoints that are away for a while: waiting, hedging, resuming, and health (B4.2, B4.5, B4.6,
//! B4.8, B5), through the real binary.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Backend, Origin, Pointsman, Refusing, eventually, stable_port};
use crate::wire::{Wire, checksum};

/// B4.5: the only endpoint is away for a second; who comes meanwhile waits, GET and POST, and is
/// answered when it is back. Waiting costs no processor time.
#[test]
fn b4_5_requests_wait_for_the_only_endpoint() {
    let mut backend = Backend::start(stable_port());
    let proxy = Pointsman::before(backend.addr, &[]);
    assert_eq!(proxy.client().get("/x").status(), 200);
    backend.kill();
    let clients: Vec<_> = (0..20)
        .map(|n| {
            let addr = proxy.addr;
            std::thread::spawn(move || {
                let mut client = Wire::connect(addr);
                if n % 2 == 0 {
                    client.get("/x").status()
                } else {
                    client.post("/x", b"y").status()
                }
            })
        })
        .collect();
    let before = proxy.ticks();
    std::thread::sleep(Duration::from_millis(1000));
    let spent = proxy.ticks() - before;
    let _back = Backend::start(backend.addr.port());
    for client in clients {
        assert_eq!(client.join().unwrap(), 200);
    }
    // 1 tick is 10 ms: 2 % of a core are 2, and one more may be rounding.
    assert!(spent <= 3, "{spent} ticks of waiting");
}

/// B4.5: patience ends in 503 with Retry-After; a full room in the same at once.
#[test]
fn b4_5_patience_and_room_are_bounded() {
    let nobody = Refusing::new();
    let proxy = Pointsman::before(nobody.addr, &["--wait", "400ms", "--wait-requests", "1"]);
    let mut first = proxy.client();
    let begun = Instant::now();
    first.send("GET /x HTTP/1.1\r\nHost: t\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    let full = proxy.client().get("/x");
    assert_eq!(full.status(), 503, "no room to wait in");
    assert!(begun.elapsed() < Duration::from_millis(400), "at once");
    let answer = first.answer("GET");
    assert_eq!(answer.status(), 503);
    assert!(answer.field("Retry-After").is_some());
    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    assert_eq!(first.get("/x").status(), 503, "the connection lives on");
}

/// B4.5: first in, first out.
#[test]
fn b4_5_the_first_to_wait_is_served_first() {
    let port = stable_port();
    let proxy = Pointsman::before(([127, 0, 0, 1], port).into(), &["--max-inflight", "1"]);
    let mut clients: Vec<_> = (0..6)
        .map(|n| {
            let mut client = proxy.client();
            client.send(format!("GET /{n} HTTP/1.1\r\nHost: t\r\n\r\n"));
            std::thread::sleep(Duration::from_millis(30));
            client
        })
        .collect();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut wire = Wire::tcp(stream);
            while let Ok(request) = wire.request() {
                seen.lock().unwrap().push(request.target());
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        }
    });
    for client in &mut clients {
        assert_eq!(client.answer("GET").status(), 200);
    }
    assert_eq!(*order.lock().unwrap(), ["/0", "/1", "/2", "/3", "/4", "/5"]);
}

/// B4.2, B5.1: an endpoint whose connects hang costs a request about `hedge`, and after three of
/// them nothing.
#[test]
fn b4_2_a_pending_connect_is_joined_by_another() {
    let hole = crate::limits::BlackHole::new();
    let good = Origin::polite();
    let proxy = Pointsman::service(
        &[hole.addr, good.addr],
        &["--connect", "20s", "--hedge", "100ms", "--balance", "round-robin"],
    );
    for n in 0..20 {
        let mut client = proxy.client();
        let status =
            if n % 2 == 0 { client.get("/s/v1/x") } else { client.post("/s/v1/x", b"z") }.status();
        assert_eq!(status, 200, "{n}: twenty seconds were allowed for a connect");
    }
    assert_eq!(good.requests().len(), 20, "each once");
}

/// Serves `body` whole, by range if asked, and dies after a part of it `deaths` times.
fn dying_download(
    body: &Arc<Vec<u8>>,
    etag: &'static str,
    deaths: u32,
) -> (Origin, Arc<AtomicU32>) {
    let (body, left) = (Arc::clone(body), Arc::new(AtomicU32::new(deaths)));
    let died = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&died);
    let origin = Origin::scripted(move |wire| {
        while let Ok(request) = wire.request() {
            let range = request.field("Range").filter(|_| request.says("If-Range", etag));
            let from: usize = range.map_or(0, |range| {
                range.trim_start_matches("bytes=").trim_end_matches('-').parse().expect("a range")
            });
            let (total, rest) = (body.len(), &body[from..]);
            let line = match from {
                0 => "200 OK\r\n".to_owned(),
                _ => format!("206 Part\r\nContent-Range: bytes {from}-{}/{total}\r\n", total - 1),
            };
            let head = format!(
                "HTTP/1.1 {line}ETag: {etag}\r\nAccept-Ranges: bytes\r\nContent-Length: {}\r\n\r\n",
                rest.len()
            );
            let dies =
                left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
            let part = if dies { &rest[..rest.len() / 3] } else { rest };
            if wire.try_send(head).and_then(|()| wire.try_send(part)).is_err() || dies {
                counter.fetch_add(u32::from(dies), Ordering::SeqCst);
                return;
            }
        }
    });
    (origin, died)
}

/// B4.6: a download whose endpoint dies three times arrives whole, from replicas that share an
/// entity tag.
#[test]
fn b4_6_a_broken_download_is_continued() {
    let body: Arc<Vec<u8>> = Arc::new((0..9_000_000u32).map(|n| (n * 7 / 3) as u8).collect());
    let (one, died_one) = dying_download(&body, "\"same\"", 2);
    let (two, died_two) = dying_download(&body, "\"same\"", 1);
    let proxy = Pointsman::service(&[one.addr, two.addr], &["--balance", "round-robin"]);
    let mut client = proxy.client();
    for n in 0..8 {
        let answer = client.get("/s/v1/file");
        assert_eq!(answer.status(), 200);
        assert_eq!(checksum(&answer.body), checksum(&body), "{n}");
    }
    let died = died_one.load(Ordering::SeqCst) + died_two.load(Ordering::SeqCst);
    assert_eq!(died, 3, "it was tried hard enough");
}

/// B4.6: another entity tag, and the answer is cut, never mixed.
#[test]
fn b4_6_another_representation_does_not_continue() {
    let body = Arc::new(vec![b'a'; 3_000_000]);
    let (one, _) = dying_download(&body, "\"one\"", u32::MAX);
    let other = Arc::new(vec![b'b'; 3_000_000]);
    let (two, _) = dying_download(&other, "\"two\"", u32::MAX);
    let proxy = Pointsman::service(&[one.addr, two.addr], &[]);
    for _ in 0..4 {
        let mut client = proxy.client();
        client.send("GET /s/v1/file HTTP/1.1\r\nHost: t\r\n\r\n");
        assert!(client.try_answer("GET").is_err(), "it looks cut");
    }
}

/// B4.8: 503 of one endpoint is tried elsewhere if that is wanted; a POST is passed on.
#[test]
fn b4_8_some_statuses_are_tried_elsewhere() {
    let busy = Origin::answering("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
    let good = Origin::polite();
    let both = [busy.addr, good.addr];
    let proxy = Pointsman::service(&both, &["--retry-status", "503", "--eject-failures", "0"]);
    let mut client = proxy.client();
    for _ in 0..30 {
        assert_eq!(client.get("/s/v1/x").status(), 200);
    }
    let posts: Vec<_> = (0..30).map(|_| client.post("/s/v1/x", b"y").status()).collect();
    assert!(posts.contains(&503) && posts.contains(&200), "{posts:?}");
    let plain = Pointsman::before(busy.addr, &["--retry-status", "503"]);
    let only = plain.client().get("/x");
    assert_eq!((only.status(), only.text().as_str()), (503, "busy"), "nobody else is there");
}

/// B5.3: uploads that are still coming are no work for an endpoint that has yet to prove itself;
/// else a few clients that send a byte now and then could keep everybody from a new endpoint.
#[test]
fn b5_3_slow_uploads_hold_nobody_up() {
    let origin = Origin::polite();
    // Who would have to wait is told so at once.
    let proxy = Pointsman::before(origin.addr, &["--wait-requests", "0"]);
    let mut slow: Vec<_> = (0..8).map(|_| proxy.client()).collect();
    for client in &mut slow {
        client.send("POST /slow HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nslo");
    }
    eventually("the uploads reach the endpoint", || origin.connections() == 8);
    assert_eq!(proxy.client().get("/").status(), 200);
    for client in &mut slow {
        client.send("w enough");
        assert_eq!(client.answer("POST").status(), 200);
    }
}

/// B5.5: an endpoint whose check fails gets no requests until its checks are good again.
#[test]
fn b5_5_checks_set_aside_and_bring_back() {
    let well = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&well);
    let moody = Origin::scripted(move |wire| {
        while let Ok(request) = wire.request() {
            let fine = request.target() != "/health" || state.load(Ordering::SeqCst);
            let status = if fine { "200 OK" } else { "500 Ill" };
            wire.send(format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nmoody"));
        }
    });
    let steady = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsteady");
    let proxy = Pointsman::service(
        &[moody.addr, steady.addr],
        &["--health-check", "/health", "--health-interval", "50ms", "--balance", "round-robin"],
    );
    let mut client = proxy.client();
    let mut who = || client.get("/s/v1/x").text();
    let mut both = || (0..20).map(|_| who()).filter(|text| text == "moody").count();
    eventually("both are used", || both() >= 5);
    well.store(false, Ordering::SeqCst);
    eventually("only the one that is well is used", || both() == 0);
    well.store(true, Ordering::SeqCst);
    eventually("it is back", || both() >= 5);
}
