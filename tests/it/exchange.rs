//! B7.6, B7.7, B7.9: pipelining, HTTP/1.0, 1xx and early answers, trailers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::article::answered_by;
use crate::harness::{Origin, Pointsman};
use crate::wire::{Broken, End, Pattern, Wire};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// B7.6: requests that come in one piece are answered in order, each routed on its own.
#[test]
fn b7_6_pipelining() {
    let (one, two) = (Origin::polite(), Origin::polite());
    let (first, second) = (format!("a/1={}", one.addr), format!("b/1={}", two.addr));
    let proxy = Pointsman::start(&[&first, &second]);
    let mut client = proxy.client();
    client.send(
        "GET /a/1/0 HTTP/1.1\r\nHost: t\r\n\r\n\
         POST /b/1/1 HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello\
         POST /a/1/2 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nworld\r\n0\r\n\r\n\
         GET /none/1/3 HTTP/1.1\r\nHost: t\r\n\r\n\
         GET /b/1/4 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n\
         GET /b/1/never HTTP/1.1\r\nHost: t\r\n\r\n",
    );
    for (origin, said) in [(&one, "GET /0 0 "), (&two, "POST /1 5 "), (&one, "POST /2 5 ")] {
        let answer = client.answer("GET");
        assert_eq!(answered_by(&answer), origin.addr.port());
        assert!(answer.text().contains(said), "{said}: {}", answer.text());
    }
    assert_eq!(client.answer("GET").status(), 404);
    assert!(client.answer("GET").text().contains("GET /4 0 "));
    assert_eq!(client.end(), End::Fin, "nothing is answered after Connection: close");
    assert_eq!((one.requests().len(), two.requests().len()), (2, 2));
}

/// B7.6: a great many requests in one piece, and one that comes a byte at a time.
#[test]
fn b7_6_many_and_small_pieces() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    let all: String = (0..500).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: t\r\n\r\n")).collect();
    client.send(all);
    for n in 0..500 {
        assert!(client.answer("GET").text().contains(&format!(" GET /{n} 0 ")), "{n}");
    }
    for byte in "POST /slow HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc".bytes() {
        client.send([byte]);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(client.answer("POST").text().contains(" POST /slow 3 "));
}

/// B7.6: an HTTP/1.0 client gets an HTTP/1.0 answer and its connection is closed, or kept if it
/// asks; the endpoint gets HTTP/1.1 with a Host.
#[test]
fn b7_6_http_1_0_clients() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    let answer = client.ask("GET /x HTTP/1.0\r\n\r\n");
    assert!(answer.head_text().starts_with("HTTP/1.0 200 OK\r\n"), "{}", answer.head_text());
    assert_eq!(client.end(), End::Fin);
    let seen = origin.last();
    assert!(seen.head_text().starts_with("GET /x HTTP/1.1\r\n"), "{}", seen.head_text());
    assert_eq!(seen.fields("Host"), [origin.addr.to_string()]);

    let mut client = proxy.client();
    for _ in 0..3 {
        let answer = client.ask("GET /x HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\n\r\n");
        assert!(answer.head_text().starts_with("HTTP/1.0 200 "), "{}", answer.head_text());
        assert!(answer.says("Connection", "keep-alive"), "{}", answer.head_text());
    }
    assert_eq!(client.ask("GET /x HTTP/1.0\r\n\r\n").status(), 200);
    assert_eq!(client.end(), End::Fin);
}

/// B7.6: never chunks to an HTTP/1.0 client: the end of the connection is the end of the body.
#[test]
fn b7_6_http_1_0_gets_no_chunks() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n\
         5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nT: 1\r\n\r\n",
    );
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    let answer = client.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(answer.fields("Transfer-Encoding"), Vec::<String>::new());
    assert_eq!((answer.text().as_str(), answer.end), ("hello world", End::Fin));
    assert!(!answer.says("Connection", "keep-alive"));
}

/// B7.6: an HTTP/1.0 answer is right, and goes on as HTTP/1.1.
#[test]
fn b7_6_http_1_0_origins() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.request();
        wire.send("HTTP/1.0 200 OK\r\nX: 1\r\n\r\nold");
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    for _ in 0..3 {
        let answer = proxy.client().get("/");
        assert!(answer.head_text().starts_with("HTTP/1.1 200 OK\r\n"), "{}", answer.head_text());
        assert_eq!(answer.text(), "old");
    }
}

const EXPECTING: &str =
    "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

/// B7.7: Expect goes through, and the endpoint's 100 comes back before the body is sent.
#[test]
fn b7_7_expect_goes_through() {
    let origin = Origin::scripted(|wire| {
        let head = wire.head().expect("a head");
        assert!(head.says("Expect", "100-continue"));
        wire.send("HTTP/1.1 100 Go on\r\nX-Interim: 1\r\n\r\n");
        assert_eq!(wire.take(5).expect("the body"), b"hello");
        wire.send(OK);
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send(EXPECTING);
    let interim = client.try_answer("POST").expect("a 100");
    assert_eq!(interim.head_text(), "HTTP/1.1 100 Go on\r\nX-Interim: 1\r\n\r\n");
    client.send("hello");
    assert_eq!(client.answer("POST").text(), "ok");
}

/// B7.7: a backend that is silent for a second: our own 100.
#[test]
fn b7_7_our_own_100() {
    let origin = Origin::scripted(|wire| {
        if wire.request().is_ok() {
            wire.send(OK);
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send(EXPECTING);
    assert_eq!(client.try_answer("POST").expect("a 100").status(), 100);
    client.send("hello");
    assert_eq!(client.answer("POST").status(), 200);
}

/// B7.7: a final answer instead of 100 comes at once, and the body is not waited for.
#[test]
fn b7_7_a_refusal_instead_of_100() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.head();
        wire.send("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno");
        let _ = wire.rest();
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send(EXPECTING);
    let answer = client.try_answer("POST").expect("the refusal");
    assert_eq!((answer.status(), answer.text().as_str()), (401, "no"));
}

/// B7.7: every 1xx comes back as it arrives, before the final answer exists.
#[test]
fn b7_7_early_hints_come_at_once() {
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::scripted(move |wire| {
        let _ = wire.request();
        for n in 0..3 {
            wire.send(format!("HTTP/1.1 103 Early Hints\r\nLink: </{n}>\r\n\r\n"));
        }
        let _ = gate.lock().unwrap().recv();
        wire.send(OK);
        let _ = wire.request();
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    for n in 0..3 {
        let hint = client.try_answer("GET").expect("a hint").head_text();
        assert_eq!(hint, format!("HTTP/1.1 103 Early Hints\r\nLink: </{n}>\r\n\r\n"));
    }
    go.send(()).unwrap();
    let last = client.try_answer("GET").expect("the answer");
    assert_eq!((last.status(), last.fields("Link").len()), (200, 0));
}

/// B7.7: no 1xx to HTTP/1.0, and no Expect from it.
#[test]
fn b7_7_no_1xx_to_http_1_0() {
    let origin = Origin::answering(format!("HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n{OK}"));
    let proxy = Pointsman::before(origin.addr, &[]);
    let answer = proxy.client().ask("GET / HTTP/1.0\r\n\r\n");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    assert!(answer.head_text().starts_with("HTTP/1.0 200 "), "{}", answer.head_text());
}

/// B7.7: more than 16 are too many: a 502 or a cut, not a loop.
#[test]
fn b7_7_too_many_1xx() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.request();
        while wire.try_send("HTTP/1.1 103 Early Hints\r\n\r\n").is_ok() {}
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    let statuses: Vec<u16> =
        std::iter::from_fn(|| client.try_answer("GET").ok()).map(|a| a.status()).take(17).collect();
    assert_eq!(statuses, [[103; 16].as_slice(), &[502]].concat());
}

/// B7.7: a final answer while an upload of 8 MB runs reaches the client, which is still writing;
/// the upload stops.
#[test]
fn b7_7_an_early_answer_during_an_upload() {
    for round in 0..5 {
        let origin = Origin::scripted(|wire| {
            let _ = wire.head();
            wire.send(
                "HTTP/1.1 413 Too much\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmuch",
            );
            std::thread::sleep(Duration::from_millis(100));
        });
        let proxy = Pointsman::before(origin.addr, &[]);
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 8000000\r\n\r\n");
        let mut pattern = Pattern::new();
        // A client that looks up between its writes, and stops when it has been answered.
        let mut reader = Wire::tcp(client.stream.try_clone().unwrap());
        let answer = std::thread::spawn(move || reader.try_answer("POST"));
        for _ in 0..8_000_000 / 16_000 {
            if answer.is_finished() || client.try_send(pattern.next(16_000)).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let answer = answer.join().unwrap().unwrap_or_else(|b| panic!("round {round}: {b:?}"));
        assert_eq!((answer.status(), answer.text().as_str()), (413, "much"), "round {round}");
        assert!(answer.says("Connection", "close"), "{}", answer.head_text());
    }
}

/// B7.7: a client that sends on without looking is held up, not reset, for as long as the
/// connection lingers: Go's client gives up an answer if a write fails before it has read it.
#[test]
fn b7_7_an_early_answer_waits_for_who_does_not_look() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.head();
        wire.send("HTTP/1.1 413 Too much\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmuch");
        std::thread::sleep(Duration::from_millis(100));
    });
    let proxy = Pointsman::before(origin.addr, &["--linger", "20s"]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 80000000\r\n\r\n");
    client.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut pattern = Pattern::new();
    let held_up = (0..80_000_000 / 16_000).find_map(|_| {
        let mut stream = &client.stream;
        std::io::Write::write_all(&mut stream, pattern.next(16_000)).err()
    });
    let kind = held_up.expect("80 MB do not fit into the buffers").kind();
    assert_eq!(kind, std::io::ErrorKind::WouldBlock, "the time is over, nobody has reset it");
    let answer = client.answer("POST");
    assert_eq!((answer.status(), answer.text().as_str()), (413, "much"));
}

/// RFC 9112 section 9.6: who sends something behind his last request, as old clients send CRLF
/// behind a POST, gets the whole answer, though the connection is closed with that unread.
#[test]
fn b7_7_bytes_behind_the_last_request_cost_no_answer() {
    const BYTES: usize = 50_000;
    let origin = Origin::scripted(|wire| {
        while wire.head().is_ok() {
            std::thread::sleep(Duration::from_millis(30));
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
            wire.send([b'x'; BYTES]);
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    for behind in ["", "\r\n", "GET / HTTP/1.1\r\nHost: t\r\n\r\n"] {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        std::thread::sleep(Duration::from_millis(10));
        client.send(behind);
        std::thread::sleep(Duration::from_millis(60));
        let answer = client.answer("GET");
        assert_eq!((answer.status(), answer.text().len()), (200, BYTES), "{behind:?}");
    }
}

/// B7.9: trailers pass both ways, announced or not; forbidden ones are dropped.
#[test]
fn b7_9_trailers_pass_both_ways() {
    let origin = Origin::scripted(|wire| {
        while let Ok(request) = wire.request() {
            let seen = String::from_utf8_lossy(&request.trailers).into_owned();
            assert_eq!(seen, "Check: 1\r\nx-OTHER: 2\r\n");
            assert_eq!(request.fields("Trailer"), ["Check"]);
            assert_eq!(request.text(), "hello world");
            wire.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n\
                 3\r\nyes\r\n0\r\nSum: 9\r\nContent-Length: 3\r\n\
                 Transfer-Encoding: chunked\r\nUnannounced: 1\r\n\r\n",
            );
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    for _ in 0..2 {
        let answer = client.ask(
            "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTrailer: Check\r\n\r\n\
             5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nCheck: 1\r\nHost: evil\r\nContent-Length: 1\r\n\
             x-OTHER: 2\r\n\r\n",
        );
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "yes"),
            "{}",
            answer.head_text()
        );
        assert_eq!(answer.fields("Trailer"), ["Sum"]);
        assert_eq!(String::from_utf8_lossy(&answer.trailers), "Sum: 9\r\nUnannounced: 1\r\n");
    }
}

/// B7.6: an endpoint that closes after its answer does not end the client's connection.
#[test]
fn b7_6_the_end_of_an_upstream_connection_is_its_own() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.request();
        wire.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
        assert!(!answer.says("Connection", "close"), "{}", answer.head_text());
    }
}

/// B7.3: a GET may have a body, a POST none, and chunks may be none.
#[test]
fn b7_3_unusual_bodies() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    for (request, said) in [
        ("GET /a HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc", " GET /a 3 "),
        ("POST /b HTTP/1.1\r\nHost: t\r\n\r\n", " POST /b 0 "),
        ("POST /c HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n", " POST /c 0 "),
        ("PUT /d HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", " PUT /d 0 "),
        ("GET /e HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", " GET /e 0 "),
    ] {
        let answer = client.ask(request);
        assert!(answer.text().contains(said), "{said}: {}", answer.text());
    }
    assert_eq!(origin.requests().len(), 5);
}

/// B6.3: an answer that overtakes its request ends the upstream connection: the rest of that
/// request is never read as the beginning of another.
#[test]
fn b6_3_an_overtaking_answer_leaves_nothing_behind() {
    let confused = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&confused);
    let origin = Origin::scripted(move |wire| {
        while let Ok(head) = wire.head() {
            let known = ["/early", "/next"].contains(&head.target().as_str());
            // It answers early, and still reads what it was promised: nobody may send it that.
            let sent = wire.try_send(OK);
            let more = head.target() == "/early" && wire.take(42).is_ok();
            flag.fetch_or(!known || more, Ordering::SeqCst);
            if sent.is_err() || more {
                return;
            }
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    for _ in 0..10 {
        let mut client = proxy.client();
        client.send("POST /early HTTP/1.1\r\nHost: t\r\nContent-Length: 42\r\n\r\n");
        assert_eq!(client.answer("POST").status(), 200);
        let _ = client.try_send("GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n\r\n");
        assert_eq!(proxy.client().get("/next").text(), "ok");
    }
    assert!(!confused.load(Ordering::SeqCst), "a request was read as the rest of another");
}

/// B8.1: a chunked upload goes on as it comes, chunk by chunk, before it is whole.
#[test]
fn b8_1_a_chunked_upload_is_not_held_back() {
    let (sent, seen) = channel();
    let sent = Mutex::new(sent);
    let origin = Origin::scripted(move |wire| {
        let _ = wire.head();
        while let Ok(line) = wire.until(b"\r\n") {
            if line == b"0\r\n" {
                let _ = wire.until(b"\r\n");
                wire.send(OK);
                return;
            }
            let data = wire.until(b"\r\n").unwrap_or_default();
            let _ = sent.lock().unwrap().send(String::from_utf8_lossy(&data).into_owned());
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
    for n in 0..10 {
        client.send(format!("2\r\n={n}\r\n"));
        let came =
            seen.recv_timeout(crate::wire::PATIENCE).expect("the chunk, before the next is sent");
        assert_eq!(came, format!("={n}\r\n"));
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.answer("POST").status(), 200);
}

/// B8.5: after a whole request, a FIN of the client is a half-close, not an abort.
#[test]
fn b8_5_a_half_closed_client_is_answered() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.request();
        std::thread::sleep(Duration::from_millis(300));
        wire.send(OK);
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.answer("GET").text(), "ok");
    assert_eq!(client.end(), End::Fin);
}

/// B8.6: half a request and then the end: nothing is answered that was not asked, nothing hangs.
#[test]
fn b8_6_half_a_request() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    for half in [
        "G",
        "GET / HTTP/1.1\r\nHost: t\r\n",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nhell",
    ] {
        let mut client = proxy.client();
        client.send(half);
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        match client.try_answer("GET") {
            Err(Broken::Before(End::Fin | End::Reset)) => {}
            Ok(answer) if answer.status() == 400 => {}
            other => panic!("{half:?}: {other:?}"),
        }
    }
    assert!(origin.requests().is_empty());
    assert_eq!(proxy.client().get("/").status(), 200);
}
