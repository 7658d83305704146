//! Answers under RFC 9110 and RFC 9112, where no other file shows it. What a client may see of
//! them is what the standard lets an intermediary send.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::{Origin, Pointsman, eventually};
use crate::wire::{End, Message, PATIENCE};

/// What a client sees of these bytes, as the answer to a GET with these options.
fn passed(options: &[&str], answer: impl Into<Vec<u8>>) -> Message {
    let origin = Origin::answering(answer);
    Pointsman::before(origin.addr, options).client().get("/")
}

/// RFC 9112, 4: the space behind the status is sent even if no reason follows, to either version.
#[test]
fn rfc9112_4_a_space_stands_behind_the_status() {
    for start in ["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.0 299"] {
        let origin = Origin::answering(format!("{start}\r\nContent-Length: 0\r\n\r\n"));
        let proxy = Pointsman::before(origin.addr, &[]);
        let expected = format!(" {} \r\n", &start[9..12]);
        for version in ["1.1", "1.0"] {
            let mut client = proxy.client();
            client.send(format!("GET / HTTP/{version}\r\nHost: t\r\n\r\n"));
            let head = client.until(b"\r\n").expect("a status line");
            let expected = format!("HTTP/{version}{expected}");
            assert_eq!(String::from_utf8_lossy(&head), expected, "{start:?}");
        }
    }
}

/// RFC 9112, 2.2: an answer begins with its status line; nothing that stands before it is read
/// as part of it or passed on.
#[test]
fn rfc9112_2_2_nothing_stands_before_a_status_line() {
    for before in ["\r\n", "\n", "\r\n\r\n", " ", "\r"] {
        let answer = format!("{before}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let got = passed(&[], answer);
        assert_eq!(got.status(), 502, "{before:?}: {}", got.head_text());
        assert!(got.field("Proxy-Status").is_some(), "{before:?}");
    }
}

/// RFC 9110, 8.6, and RFC 9112, 6.1: a 1xx and a 204 go on without a length and without a coding,
/// and nothing is read as their body.
#[test]
fn rfc9110_8_6_no_length_in_1xx_and_204() {
    let framings = ["Content-Length: 0", "Content-Length: 5", "Transfer-Encoding: chunked"];
    for framing in framings {
        let origin = Origin::answering(format!(
            "HTTP/1.1 103 Hints\r\nA: 1\r\n{framing}\r\n\r\n\
             HTTP/1.1 204 None\r\nB: 2\r\n{framing}\r\n\r\n"
        ));
        let proxy = Pointsman::before(origin.addr, &[]);
        let mut client = proxy.client();
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
            let interim = client.try_answer("GET").expect("the 103").head_text();
            assert_eq!(interim, "HTTP/1.1 103 Hints\r\nA: 1\r\n\r\n", "{framing}");
            let last = client.try_answer("GET").expect("the 204").head_text();
            assert_eq!(last, "HTTP/1.1 204 None\r\nB: 2\r\n\r\n", "{framing}");
        }
    }
}

/// RFC 9112, 6.1: a coding in HTTP/1.0 is faulty framing, with a length or without.
#[test]
fn rfc9112_6_1_chunks_in_http_1_0_are_faulty() {
    for lines in ["Transfer-Encoding: chunked", "Content-Length: 5\r\nTransfer-Encoding: chunked"] {
        let got = passed(&[], format!("HTTP/1.0 200 OK\r\n{lines}\r\n\r\n0\r\n\r\n"));
        assert_eq!(got.status(), 502, "{lines}");
    }
}

/// RFC 9112, 6.3: an answer whose length is invalid is discarded, its connection closed.
#[test]
fn rfc9112_6_3_a_bad_length_ends_the_upstream() {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&ends);
    let origin = Origin::scripted(move |wire| {
        let _ = wire.request();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nhi");
        let end = wire.rest().1;
        seen.lock().unwrap().push(end);
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 502);
    eventually("the endpoint sees the end", || !ends.lock().unwrap().is_empty());
    assert_ne!(ends.lock().unwrap()[0], End::Silent);
    assert_eq!(client.get("/").status(), 502, "the client's connection lives on");
}

/// RFC 9112, 9.6: an endpoint that says `close` gets no further request, even if it stays.
#[test]
fn rfc9112_9_6_close_of_an_endpoint_is_obeyed() {
    let (told, ends) = channel();
    let told = Mutex::new(told);
    let origin = Origin::scripted(move |wire| {
        let _ = wire.request();
        wire.send("HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok");
        let _ = told.lock().unwrap().send(wire.rest());
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "ok");
        let (more, end) = ends.recv_timeout(PATIENCE).expect("its end");
        assert_eq!((more, end), (Vec::new(), End::Fin), "closed by us, nothing sent");
    }
    assert_eq!(origin.connections(), 3);
}

/// RFC 9112, 9.3: HTTP/1.1 persists unless it says close, HTTP/1.0 only if it says keep-alive.
#[test]
fn rfc9112_9_3_which_upstream_connections_persist() {
    for (start, persists) in [
        ("HTTP/1.1 200 OK\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive, close\r\n", false),
        ("HTTP/1.0 200 OK\r\n", false),
        ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", true),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nConnection: close\r\n", false),
    ] {
        let origin = Origin::answering(format!("{start}Content-Length: 2\r\n\r\nok"));
        let proxy = Pointsman::before(origin.addr, &[]);
        let mut client = proxy.client();
        for _ in 0..3 {
            assert_eq!(client.get("/").text(), "ok");
        }
        assert_eq!(origin.connections(), if persists { 1 } else { 3 }, "{start:?}");
    }
}

/// RFC 9110, 15: a status that nobody knows passes with its class, its reason and its content.
#[test]
fn rfc9110_15_unknown_statuses_pass() {
    for status in [205, 226, 299, 300, 399, 418, 451, 499, 500, 599] {
        let all = format!("HTTP/1.1 {status} Own Reason\r\nContent-Length: 2\r\n\r\nhi");
        let got = passed(&[], all.as_str());
        assert_eq!([got.head, got.body].concat(), all.into_bytes());
    }
}

/// RFC 9110, 15.2: every 1xx passes, expected or not, up to our bound of 16; and no 1xx ends an
/// exchange.
#[test]
fn rfc9110_15_2_every_1xx_passes() {
    let codes = [100, 102, 103, 110, 199];
    let interim = |n: usize| format!("HTTP/1.1 {} I {n}\r\nN: {n}\r\n\r\n", codes[n % codes.len()]);
    for count in [1, 5, 16, 17] {
        let all: String = (0..count).map(interim).collect();
        let origin =
            Origin::answering(format!("{all}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
        let proxy = Pointsman::before(origin.addr, &[]);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        for n in 0..count.min(16) {
            assert_eq!(client.try_answer("GET").expect("an interim").head_text(), interim(n));
        }
        let last = client.try_answer("GET").expect("the answer");
        assert_eq!(last.status(), if count > 16 { 502 } else { 200 }, "{count}");
    }
}

/// B7.4: hop-by-hop fields of answers, the final one and those before it.
#[test]
fn b7_4_upgrade_fields_of_answers_go() {
    let hop = "Connection: upgrade, X-Own\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\nX-Own: 1\r\n\
        Keep-Alive: timeout=9\r\nProxy-Connection: x\r\nTE: trailers\r\nClose: 1\r\nX-Stays: 1\r\n";
    let origin = Origin::answering(format!(
        "HTTP/1.1 103 Hints\r\n{hop}\r\nHTTP/1.1 200 OK\r\n{hop}Content-Length: 0\r\n\r\n"
    ));
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    let interim = client.try_answer("GET").expect("the 103").head_text();
    assert_eq!(interim, "HTTP/1.1 103 Hints\r\nX-Stays: 1\r\n\r\n");
    let last = client.try_answer("GET").expect("the 200").head_text();
    assert_eq!(last, "HTTP/1.1 200 OK\r\nX-Stays: 1\r\nContent-Length: 0\r\n\r\n");
}

/// RFC 9110, 7.6.3: `Via` is appended in one line, both ways, each with the version that came.
#[test]
fn rfc9110_7_6_3_via_both_ways() {
    let origin = Origin::scripted(|wire| {
        let request = wire.request().expect("a request");
        let via = request.fields("Via");
        assert_eq!(via, ["1.0 first, 1.1 second, 1.0 pointsman"], "{}", request.head_text());
        wire.send(
            "HTTP/1.0 200 OK\r\nVia: 1.1 far\r\nX: 1\r\nvia: 2 near\r\nContent-Length: 2\r\n\r\nok",
        );
    });
    let proxy = Pointsman::before(origin.addr, &["--via", "on"]);
    let mut client = proxy.client();
    let answer = client.ask("GET / HTTP/1.0\r\nVia: 1.0 first\r\nvia: 1.1 second\r\n\r\n");
    assert_eq!(answer.fields("Via"), ["1.1 far, 2 near, 1.0 pointsman"], "{}", answer.head_text());
    let plain = Origin::answering("HTTP/1.1 200 OK\r\nVia: 1.1 far\r\nContent-Length: 0\r\n\r\n");
    let answer = Pointsman::before(plain.addr, &[]).client().get("/");
    assert_eq!(answer.fields("Via"), ["1.1 far"], "off by default");
}

/// B7.2: an answer of more fields than a request may have is 502; as many are passed on.
#[test]
fn b7_2_too_many_fields_are_502() {
    let answer = |fields: usize| {
        let lines: String = (1..fields).map(|n| format!("X-{n}: v\r\n")).collect();
        format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n")
    };
    assert_eq!(passed(&[], answer(100)).status(), 200);
    let refused = passed(&[], answer(101));
    assert_eq!(refused.status(), 502);
    let said = refused.field("Proxy-Status").unwrap_or_default();
    assert!(said.contains("error=http_response_header_section_size"), "{said}");
}

/// RFC 9112, 6.3 and 8: an answer to HEAD, a 304 and a 204 end with their head, whatever comes
/// behind it: that is nobody's answer.
#[test]
fn rfc9112_6_3_what_has_no_body_ends_with_its_head() {
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Same\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 204 None\r\n\r\n"),
    ] {
        let origin = Origin::answering(format!("{head}HTTP/1.1 200 Evil\r\n\r\nevil"));
        let proxy = Pointsman::before(origin.addr, &[]);
        let mut client = proxy.client();
        for _ in 0..3 {
            let answer = client.ask(format!("{method} / HTTP/1.1\r\nHost: t\r\n\r\n"));
            assert_eq!(answer.head_text(), head, "{method}");
        }
        assert_eq!(
            origin.connections(),
            3,
            "{method}: a connection that said too much is not used"
        );
        assert_eq!(client.ends_within(Duration::from_millis(100)), End::Silent, "{head}");
    }
}

/// RFC 9110, 7.8: with an expectation and an upgrade, the 100 comes first, then the 101; both
/// options stand in one `Connection`.
#[test]
fn rfc9110_7_8_the_100_comes_before_the_101() {
    let origin = Origin::scripted(|wire| {
        let head = wire.head().expect("a head");
        assert_eq!(head.fields("Connection"), ["Upgrade, TE"], "{}", head.head_text());
        assert!(head.says("Expect", "100-continue"), "{}", head.head_text());
        wire.send("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(wire.take(5).expect("the body"), b"hello");
        wire.send(
            "HTTP/1.1 101 Sure\r\nConnection: upgrade\r\nUpgrade: lower/1\r\nX: y\r\n\
             Upgrade: echo\r\n\r\n",
        );
        let bytes = wire.some();
        wire.send(bytes);
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: t\r\nConnection: TE, upgrade\r\nUpgrade: echo, lower/1\r\n\
         TE: trailers\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    assert_eq!(client.try_answer("POST").expect("a 100").status(), 100);
    client.send("hello");
    let switch = client.try_answer("POST").expect("a 101");
    assert_eq!(switch.fields("Upgrade"), ["lower/1, echo"], "{}", switch.head_text());
    client.send("ping");
    assert_eq!(client.take(4).expect("an echo"), b"ping");
}

/// B2.3: no descriptor for a connection to an endpoint: a 503, at once or after waiting. The
/// client's connection lives on, and its next request is served once there are descriptors.
#[test]
fn b2_3_out_of_descriptors_is_503() {
    let origin = Origin::polite();
    for (options, error) in [
        (["--wait", "300ms"], "destination_unavailable"),
        (["--wait-requests", "0"], "connection_limit_reached"),
    ] {
        let proxy = Pointsman::before(origin.addr, &options);
        let mut client = proxy.client();
        let trace = "TRACE / HTTP/1.1\r\nHost: t\r\nMax-Forwards: 0\r\n\r\n";
        assert_eq!(client.ask(trace).status(), 200, "answered here");
        proxy.limit_open_files(3);
        let answer = client.get("/");
        assert_eq!(answer.status(), 503, "{}", answer.text());
        assert_eq!(answer.field("Retry-After").as_deref(), Some("1"));
        let said = answer.field("Proxy-Status").unwrap_or_default();
        assert!(said.ends_with(error), "{options:?}: {said}");
        proxy.limit_open_files(1_000);
        assert_eq!(client.get("/").status(), 200, "{options:?}");
    }
}
