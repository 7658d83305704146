//! B7.7: who speaks first. Expectations from end to end, final answers that come before the body
//! has, and the lingering close that lets a client read them.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::harness::{Origin, Pointsman, eventually};
use crate::wire::{End, PATIENCE, Pattern, Wire};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// For tests that look at what is read: a busy machine may let a client sleep for a second.
const PATIENT: [&str; 2] = ["--linger", "20s"];
const TOO_MUCH: &str =
    "HTTP/1.1 413 Too much\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmuch";

/// Heads and bodies of an upload of `n` bytes, by length and in chunks.
fn uploads(n: usize, lines: &str) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let mut pattern = Pattern::new();
    let (mut plain, mut chunks) = (Vec::new(), Vec::new());
    while plain.len() < n {
        let part = pattern.next(16_000.min(n - plain.len())).to_vec();
        chunks.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        chunks.extend_from_slice(&part);
        chunks.extend_from_slice(b"\r\n");
        plain.extend_from_slice(&part);
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    let head = |framing: String| {
        format!("POST / HTTP/1.1\r\nHost: t\r\n{lines}{framing}\r\n\r\n").into_bytes()
    };
    vec![
        ("length", head(format!("Content-Length: {n}")), plain),
        ("chunks", head("Transfer-Encoding: chunked".into()), chunks),
    ]
}

/// What an endpoint may do once it has refused: leave its socket unread and close it, which is an
/// RST; close its side and listen on; say no more and wait.
#[derive(Clone, Copy, Debug)]
enum Then {
    Close,
    HalfClose,
    Stay,
}

fn refusing(then: Then) -> Origin {
    Origin::scripted(move |wire| {
        if wire.head().is_err() {
            return;
        }
        wire.send(TOO_MUCH);
        match then {
            Then::Close => {}
            Then::HalfClose => {
                let _ = wire.stream.shutdown(std::net::Shutdown::Write);
                let _ = wire.rest();
            }
            Then::Stay => drop(wire.rest()),
        }
    })
}

/// B7.7: the 413 reaches a client that uploads 8 MB, by length or in chunks, whatever the endpoint
/// does next. The client looks up between its writes and stops when it has been answered.
#[test]
fn b7_7_a_413_is_read_during_an_upload() {
    for then in [Then::Close, Then::HalfClose, Then::Stay] {
        let origin = refusing(then);
        let proxy = Pointsman::before(origin.addr, &[]);
        for (name, head, body) in uploads(8_000_000, "") {
            let mut client = proxy.client();
            client.send(head);
            let mut reader = Wire::tcp(client.stream.try_clone().unwrap());
            let answer = std::thread::spawn(move || reader.try_answer("POST"));
            let mut sent = 0;
            for part in body.chunks(16_000) {
                if answer.is_finished() || client.try_send(part).is_err() {
                    break;
                }
                sent += part.len();
                std::thread::sleep(Duration::from_micros(200));
            }
            let answer = answer.join().unwrap();
            let answer = answer.unwrap_or_else(|broken| panic!("{then:?}, {name}: {broken:?}"));
            assert_eq!((answer.status(), answer.text().as_str()), (413, "much"), "{name}");
            assert!(answer.says("Connection", "close"), "{}", answer.head_text());
            assert!(sent < body.len(), "{then:?}, {name}: the upload stops");
        }
    }
}

/// B7.7: a client that looks up only when it has sent all still reads the answer, as long as what
/// it sent meanwhile is within the bound of the lingering (256 KiB).
#[test]
fn b7_7_a_blind_client_reads_the_413() {
    for then in [Then::Close, Then::HalfClose, Then::Stay] {
        let origin = refusing(then);
        let proxy = Pointsman::before(origin.addr, &PATIENT);
        for (name, head, body) in uploads(200_000, "") {
            let mut overtaken = 0;
            for round in 0..10 {
                let mut client = proxy.client();
                client.send(&head);
                for part in body.chunks(20_000) {
                    client.send(part);
                    std::thread::sleep(Duration::from_millis(1));
                }
                let answer = client.try_answer("POST");
                let answer = answer.unwrap_or_else(|b| panic!("{then:?}, {name} {round}: {b:?}"));
                assert_eq!((answer.status(), answer.text().as_str()), (413, "much"), "{name}");
                // If the endpoint was late, the whole request had gone up, and nothing has to end.
                if answer.says("Connection", "close") {
                    assert_eq!(client.end(), End::Fin, "{then:?}, {name}");
                    overtaken += 1;
                }
            }
            assert!(overtaken > 0, "{then:?}, {name}: no answer overtook its upload");
        }
    }
}

/// B7.7: lingering ends: after a second for who is silent, after 256 KiB for who is not.
#[test]
fn b7_7_lingering_has_an_end() {
    let origin = refusing(Then::Close);
    let proxy = Pointsman::before(origin.addr, &[]);
    let idle = proxy.descriptors();
    let (_, head, _) = uploads(8_000_000, "").remove(0);
    let mut silent = proxy.client();
    silent.send(&head);
    assert_eq!(silent.answer("POST").status(), 413);
    assert_eq!(silent.end(), End::Fin);
    let begun = Instant::now();
    eventually("a silent client is let go", || proxy.descriptors() <= idle);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    drop(silent);

    let mut talking = proxy.client();
    talking.send(&head);
    assert_eq!(talking.answer("POST").status(), 413);
    let mut sent = 0;
    while sent < 8_000_000 && talking.try_send([b'x'; 10_000]).is_ok() {
        sent += 10_000;
    }
    assert!(sent < 8_000_000, "it is not read for ever");
    eventually("a talking client is let go", || proxy.descriptors() <= idle);
}

/// B7.7: what stands behind the answered part is no request: neither what is left of the body, nor
/// what was pipelined behind it.
#[test]
fn b7_7_nothing_behind_an_early_answer_is_a_request() {
    let origin = refusing(Then::Stay);
    let proxy = Pointsman::before(origin.addr, &[]);
    for framing in ["Content-Length: 500", "Transfer-Encoding: chunked"] {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: t\r\n{framing}\r\n\r\n"));
        assert_eq!(client.answer("POST").status(), 413);
        let before = origin.connections();
        let _ = client.try_send("GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!(client.rest(), (Vec::new(), End::Fin), "{framing}");
        assert_eq!(origin.connections(), before, "{framing}");
    }
}

/// B7.7: the client waits, the endpoint says 100, the body goes, the answer comes; and both
/// connections carry the next exchange.
#[test]
fn b7_7_expect_again_and_again() {
    let origin = Origin::scripted(|wire| {
        while let Ok(head) = wire.head() {
            assert_eq!(head.fields("Expect"), ["100-continue"], "{}", head.head_text());
            wire.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = match head.field("Content-Length") {
                Some(_) => wire.take(5).expect("the body"),
                None => wire.until(b"0\r\n\r\n").expect("the chunks"),
            };
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            wire.send(body);
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    for _ in 0..3 {
        for (_, head, body) in uploads(5, "Expect: 100-continue\r\n") {
            client.send(head);
            assert_eq!(client.try_answer("PUT").expect("a 100").status(), 100);
            client.send(&body);
            let answer = client.try_answer("PUT").expect("the answer");
            assert_eq!(answer.body, body, "{}", answer.head_text());
            assert!(!answer.says("Connection", "close"), "{}", answer.head_text());
        }
    }
}

/// B7.7: a client that does not wait for the 100 loses nothing, nor does one that waits no longer.
#[test]
fn b7_7_expect_without_waiting() {
    let origin = Origin::scripted(|wire| {
        while let Ok(head) = wire.head() {
            let late = head.target() == "/late";
            std::thread::sleep(Duration::from_millis(if late { 100 } else { 0 }));
            wire.send("HTTP/1.1 100 Continue\r\n\r\n");
            assert_eq!(wire.take(5).expect("the body"), b"hello");
            wire.send(OK);
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    for (target, pause_ms) in [("/now", 0), ("/late", 0), ("/late", 20), ("/now", 0)] {
        client.send(format!(
            "PUT {target} HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        ));
        std::thread::sleep(Duration::from_millis(pause_ms));
        client.send("hello");
        let first = client.try_answer("PUT").expect("a 100");
        assert_eq!(first.status(), 100, "{target}: forwarded, whether it is waited for or not");
        assert_eq!(client.try_answer("PUT").expect("the answer").text(), "ok", "{target}");
    }
}

/// B7.7: a final answer to a client that waits for a 100: the body is not asked for, the answer
/// says `close`, and a body that comes all the same goes nowhere.
#[test]
fn b7_7_a_final_answer_to_who_waits() {
    let (told, rest) = channel();
    let told = Mutex::new(told);
    let origin = Origin::scripted(move |wire| {
        if wire.head().is_ok() {
            wire.send("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno");
            let _ = told.lock().unwrap().send(wire.rest().0);
        }
    });
    let proxy = Pointsman::before(origin.addr, &PATIENT);
    for (name, head, body) in uploads(9_000, "Expect: 100-continue\r\n") {
        for sends in [false, true] {
            let mut client = proxy.client();
            client.send(&head);
            let answer = client.try_answer("POST").expect("the answer");
            assert_eq!((answer.status(), answer.text().as_str()), (401, "no"), "{name}");
            assert!(answer.says("Connection", "close"), "{}", answer.head_text());
            if sends {
                client.send(&body);
            }
            assert_eq!(client.end(), End::Fin, "{name}, {sends}");
            let came = rest.recv_timeout(PATIENCE).expect("the upstream ends");
            assert_eq!(came, b"", "{name}, {sends}: nobody asked for the body");
        }
    }
}

/// B7.7: our own refusals come at once, with no 100 before them.
#[test]
fn b7_7_our_own_refusal_to_who_waits() {
    let origin = Origin::polite();
    let proxy = Pointsman::service(&[origin.addr], &PATIENT);
    let mut client = proxy.client();
    client.send(
        "POST /none HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    let answer = client.try_answer("POST").expect("the answer");
    assert_eq!(answer.status(), 404);
    assert!(answer.says("Connection", "close"), "the body may come or not: nobody can tell");
    client.send("hello");
    assert_eq!(client.end(), End::Fin);
}

/// B7.7: after our own 100 the endpoint may still say its own, and the final answer comes.
#[test]
fn b7_7_a_late_100_after_ours() {
    let origin = Origin::scripted(|wire| {
        if wire.head().is_ok() {
            std::thread::sleep(Duration::from_millis(1_500));
            wire.send("HTTP/1.1 100 Late\r\n\r\n");
            assert_eq!(wire.take(5).expect("the body"), b"hello");
            wire.send(OK);
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    let begun = Instant::now();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let ours = client.try_answer("POST").expect("our 100");
    assert_eq!(ours.head_text(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert_eq!(
        client.try_answer("POST").expect("a late 100").head_text(),
        "HTTP/1.1 100 Late\r\n\r\n"
    );
    client.send("hello");
    assert_eq!(client.try_answer("POST").expect("the answer").text(), "ok");
}
