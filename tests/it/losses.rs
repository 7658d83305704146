//! B4: the loss matrix of peers.md, each row with its target.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::harness::{Origin, Pointsman, eventually};
use crate::wire::{Broken, End};

/// An origin that reads each request whole and closes without a word; counts what it read.
fn reads_and_closes() -> (Origin, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&count);
    let origin = Origin::scripted(move |wire| {
        if wire.request().is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    (origin, count)
}

/// s2, GET: an endpoint reads the request and closes: repeated on the other (B4.4).
#[test]
fn b4_4_s2_a_get_is_repeated_elsewhere() {
    let ((bad, _), good) = (reads_and_closes(), Origin::polite());
    let proxy = Pointsman::service(&[bad.addr, good.addr], &[]);
    let mut client = proxy.client();
    for n in 0..12 {
        assert_eq!(client.get("/s/v1/x").status(), 200, "GET {n}");
    }
    assert_eq!(good.requests().len(), 12);
}

/// B4.4: after the first byte of an answer a request is not repeated, whatever its method: the
/// endpoint has acted on it.
#[test]
fn b4_4_not_after_the_first_byte_of_an_answer() {
    let read = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&read);
    let origin = Origin::scripted(move |wire| {
        if wire.request().is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
            wire.send("HTTP/1.1 200 OK\r\nContent-Le");
        }
    });
    let proxy = Pointsman::service(&[origin.addr], &[]);
    let answer = proxy.client().get("/s/v1/x");
    assert_eq!(answer.status(), 502);
    let said = answer.field("Proxy-Status").unwrap_or_default();
    assert!(said.contains("error=http_response_incomplete"), "{said}");
    assert_eq!(read.load(Ordering::SeqCst), 1);
}

/// s2, PUT and DELETE are idempotent, too; so is a POST with an Idempotency-Key (B4.3, B4.4).
#[test]
fn b4_4_s2_what_else_may_be_repeated() {
    let ((bad, _), good) = (reads_and_closes(), Origin::polite());
    let proxy = Pointsman::service(&[bad.addr, good.addr], &[]);
    let mut client = proxy.client();
    for n in 0..4 {
        for start in ["PUT /s/v1/x", "DELETE /s/v1/x"] {
            let request = format!("{start} HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi");
            assert_eq!(client.ask(request).status(), 200, "{start} {n}");
        }
        let request = "POST /s/v1/x HTTP/1.1\r\nHost: t\r\nIdempotency-Key: \"k\"\r\n\
            Content-Length: 2\r\n\r\nhi";
        assert_eq!(client.ask(request).status(), 200, "POST with a key {n}");
    }
    assert!(good.requests().iter().all(|r| r.text() == "hi"));
}

/// s2, POST: 502, and never a second delivery (B4.4).
#[test]
fn b4_4_s2_a_post_is_never_delivered_twice() {
    let ((bad, read), good) = (reads_and_closes(), Origin::polite());
    let proxy = Pointsman::service(&[bad.addr, good.addr], &[]);
    let (mut fine, mut lost) = (0, 0);
    for n in 0..30 {
        let answer = proxy.client().post("/s/v1/x", b"once");
        match answer.status() {
            200 => fine += 1,
            502 => {
                let said = answer.field("Proxy-Status").unwrap_or_default();
                assert!(said.contains("error=connection_terminated"), "{said}");
                lost += 1;
            }
            other => panic!("POST {n}: {other}"),
        }
    }
    let delivered = (good.requests().len(), read.load(Ordering::SeqCst));
    assert_eq!(delivered, (fine, lost), "each exactly once");
}

/// An origin whose every connection dies when its second request arrives.
fn dies_on_the_second() -> (Origin, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&count);
    let origin = Origin::scripted(move |wire| {
        if wire.request().is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            let _ = wire.some();
        }
    });
    (origin, count)
}

/// s3: pooled connections die when the next request arrives: 24 of 24, GET and POST, and every
/// POST delivered once (B4.3, B4.4).
#[test]
fn b4_3_s3_stale_pooled_connections() {
    for method in ["GET", "POST"] {
        let ((one, count_one), (two, count_two)) = (dies_on_the_second(), dies_on_the_second());
        let proxy = Pointsman::service(&[one.addr, two.addr], &[]);
        let mut client = proxy.client();
        for n in 0..24 {
            let length = if method == "POST" { "Content-Length: 2\r\n\r\nhi" } else { "\r\n" };
            let answer = client.ask(format!("{method} /s/v1/x HTTP/1.1\r\nHost: t\r\n{length}"));
            assert_eq!(answer.status(), 200, "{method} {n}: {}", answer.head_text());
        }
        let delivered = count_one.load(Ordering::SeqCst) + count_two.load(Ordering::SeqCst);
        assert_eq!(delivered, 24, "{method}");
    }
}

/// Backends that close every kept connection right after an answer, unannounced: GET and POST in
/// turn, none is lost (B4.3, B6.3).
#[test]
fn b4_3_connections_that_close_after_each_answer() {
    for pause_ms in [0, 1] {
        let origin = Origin::scripted(move |wire| {
            if wire.request().is_ok() {
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                std::thread::sleep(Duration::from_millis(pause_ms));
            }
        });
        let proxy = Pointsman::service(&[origin.addr], &[]);
        let mut client = proxy.client();
        for n in 0..200 {
            assert_eq!(client.get("/s/v1/x").status(), 200, "GET {n}");
            assert_eq!(client.post("/s/v1/x", b"body").status(), 200, "POST {n}");
        }
    }
}

/// s6: the endpoint dies inside the body: the cut looks like one, at once (B4.6).
#[test]
fn b4_6_s6_a_cut_answer_looks_cut() {
    let table = [
        ("a length", "Content-Length: 100\r\n\r\n0123456789"),
        ("chunks", "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n"),
        ("inside a chunk", "Transfer-Encoding: chunked\r\n\r\n64\r\n0123456789"),
        ("before the last line", "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n"),
    ];
    for (name, rest) in table {
        for reset in [false, true] {
            let origin = Origin::scripted(move |wire| {
                let _ = wire.request();
                wire.send(format!("HTTP/1.1 200 OK\r\n{rest}"));
                std::thread::sleep(Duration::from_millis(100));
                if reset {
                    wire.reset_on_close();
                }
            });
            let proxy = Pointsman::before(origin.addr, &[]);
            let mut client = proxy.client();
            client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
            match client.try_answer("GET") {
                Err(Broken::Inside(end, _) | Broken::Before(end)) => {
                    assert!([End::Fin, End::Reset].contains(&end), "{name}, {reset}: {end:?}");
                }
                other => panic!("{name}, {reset}: {other:?}"),
            }
        }
    }
}

/// s6: when the end of the connection would be the end of the body, a cut is an RST: a FIN would
/// make half an answer look whole (B4.6).
#[test]
fn b4_6_s6_a_cut_until_eof_is_a_reset() {
    // To an HTTP/1.0 client the chunks become a body that ends with the connection.
    let origin = Origin::scripted(|wire| {
        let _ = wire.request();
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n");
        std::thread::sleep(Duration::from_millis(100));
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let (_, end) = client.rest();
    assert_eq!(end, End::Reset, "chunks");

    // A reset of the endpoint inside a body that ends with the connection.
    let origin = Origin::scripted(|wire| {
        let _ = wire.request();
        wire.send("HTTP/1.1 200 OK\r\n\r\n0123456789");
        std::thread::sleep(Duration::from_millis(100));
        wire.reset_on_close();
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let (_, end) = client.rest();
    assert_eq!(end, End::Reset, "until the end");
}

/// s8: the client goes away, by RST or by FIN inside its request: the endpoint is told at once
/// (B8.5), and it is not held against the endpoint. So is one that wants no second answer, and for
/// a moment is not watched.
#[test]
fn b8_5_s8_the_client_goes_away() {
    for (reset, fields, after_ms) in [
        (true, "Content-Length: 0\r\n", 100),
        // For the RST the request is whole; for the FIN it is not: after a whole one it would be
        // a half-close.
        (false, "Content-Length: 9\r\n", 100),
        (true, "Connection: close\r\nContent-Length: 0\r\n", 0),
        (true, "Connection: close\r\nContent-Length: 0\r\n", 100),
    ] {
        let gone = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&gone);
        let origin = Origin::scripted(move |wire| {
            let _ = wire.head();
            let _ = wire.rest();
            seen.fetch_add(1, Ordering::SeqCst);
        });
        let proxy = Pointsman::before(origin.addr, &[]);
        let idle = proxy.descriptors();
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: t\r\n{fields}\r\n"));
        eventually("the request arrives", || origin.connections() == 1);
        std::thread::sleep(Duration::from_millis(after_ms));
        if reset {
            client.reset_on_close();
        }
        drop(client);
        // Far less than any timeout: the end comes with the client's, not with a clock.
        eventually("the endpoint sees the end", || gone.load(Ordering::SeqCst) == 1);
        eventually("the proxy holds nothing of it", || proxy.descriptors() <= idle);
    }
}

/// s9: the first event of a stream is delivered while the rest does not exist (B8.1).
#[test]
fn b8_1_s9_an_event_stream_is_delivered_at_once() {
    for framing in ["Transfer-Encoding: chunked\r\n", "Connection: close\r\n"] {
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let gate = std::sync::Mutex::new(gate);
        let origin = Origin::scripted(move |wire| {
            let _ = wire.request();
            wire.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n"
            ));
            let gate = gate.lock().unwrap();
            for n in 0..5 {
                let event = format!("data: {n}\n\n");
                let size = event.len();
                let chunked = framing.starts_with('T');
                wire.send(if chunked { format!("{size:x}\r\n{event}\r\n") } else { event });
                let _ = gate.recv();
            }
        });
        let proxy = Pointsman::before(origin.addr, &[]);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!(client.head().expect("the head").status(), 200);
        for n in 0..5 {
            // Only when this event has come may the origin make the next one.
            client.until(format!("data: {n}\n\n").as_bytes()).expect("an event");
            go.send(()).unwrap();
        }
    }
}
