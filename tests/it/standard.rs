//! Requests under RFC 9110 and RFC 9112, where no other file shows it: what an intermediary must
//! and must not do, section by section. `docs/supported-http.md` is the list of all of it.

use std::time::Duration;

use crate::harness::{Origin, Pointsman, eventually, stable_port};
use crate::wire::{End, Message, PATIENCE};

/// The head that the origin sees for this request.
fn seen(options: &[&str], request: impl AsRef<[u8]>) -> Message {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, options);
    let answer = proxy.client().ask(request);
    assert_eq!(answer.status(), 200, "{}{}", answer.head_text(), answer.text());
    origin.last()
}

/// RFC 9112, 2.2: a head is octets. What is no UTF-8, a line feed's first byte included, passes.
#[test]
fn rfc9112_2_2_a_head_is_octets() {
    let odd = b"GET /x HTTP/1.1\r\nHost: t\r\nX: \xff\xc3\x28 \xe2\x82\r\nY: \xe0\x8a\r\n\r\n";
    let got = seen(&["--forwarded", "off"], odd);
    assert_eq!(got.head, odd, "{}", got.head_text());
}

/// RFC 9112, 2.2: a line feed alone ends no line, the empty one before a request included.
#[test]
fn rfc9112_2_2_a_line_feed_before_a_request_is_refused() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    for before in ["\n", "\n\n", "\r\n\n", "\n\r\n", "\r"] {
        let mut client = proxy.client();
        client.send(format!("{before}GET / HTTP/1.1\r\nHost: t\r\n\r\n"));
        assert_eq!(client.answer("GET").status(), 400, "{before:?}");
        assert_eq!(client.end(), End::Fin, "{before:?}");
    }
    assert!(origin.requests().is_empty());
}

/// RFC 9112, 2.2: an empty line before or behind a request is no part of it, and goes no further.
#[test]
fn rfc9112_2_2_empty_lines_do_not_go_on() {
    let (origin, request) = (Origin::polite(), "POST / HTTP/1.1\r\nHost: t\r\n");
    let proxy = Pointsman::before(origin.addr, &["--forwarded", "off"]);
    let mut client = proxy.client();
    client.send(format!("\r\n\r\n{request}Content-Length: 2\r\n\r\nhi\r\n\r\n{request}\r\n"));
    assert!(client.answer("POST").text().contains("POST / 2 "));
    assert!(client.answer("POST").text().contains("POST / 0 "));
    assert_eq!(origin.last().head_text(), format!("{request}\r\n"));
}

/// RFC 9112, 3.2.1 and 3.2.2: an absolute target goes on in origin-form, `/` for no path; its
/// authority is the Host, whatever the Host field says.
#[test]
fn rfc9112_3_2_2_an_absolute_target_replaces_the_host() {
    for (target, path, host) in [
        ("http://a.example:81/p?q=1", "/p?q=1", "a.example:81"),
        ("http://a.example", "/", "a.example"),
        ("http://a.example?q=1", "/?q=1", "a.example"),
        ("HTTPS://[::1]:443/", "/", "[::1]:443"),
    ] {
        let got = seen(&[], format!("GET {target} HTTP/1.1\r\nHost: evil.example\r\n\r\n"));
        assert_eq!(got.target(), path, "{target}");
        assert_eq!(got.fields("Host"), [host], "{target}");
        assert_eq!(got.fields("X-Forwarded-Host"), [host], "{target}");
    }
}

/// RFC 9112, 3.2.4: `*` is for OPTIONS alone.
#[test]
fn rfc9112_3_2_4_a_star_is_for_options() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    for method in ["GET", "HEAD", "POST", "DELETE", "TRACE", "options"] {
        let mut client = proxy.client();
        assert_eq!(client.ask(format!("{method} * HTTP/1.1\r\nHost: t\r\n\r\n")).status(), 400);
    }
    assert_eq!(proxy.client().ask("OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n").status(), 200);
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(origin.last().target(), "*");
}

/// RFC 9112, 3.2.4: an absolute target without a path is `/` for OPTIONS, too: a deviation, for
/// routes are made of paths.
#[test]
fn rfc9112_3_2_4_options_of_a_bare_authority() {
    for (target, path) in [("http://a.example", "/"), ("http://a.example?q", "/?q")] {
        let got = seen(&[], format!("OPTIONS {target} HTTP/1.1\r\nHost: t\r\n\r\n"));
        assert_eq!((got.target(), got.field("Host")), (path.into(), Some("a.example".into())));
    }
}

/// RFC 9110, 5.5: white space around a value is no part of it, where we act on the value.
#[test]
fn rfc9110_5_5_white_space_around_values() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    for (framing, body) in [
        ("Content-Length:5\r\n", "hello"),
        ("Content-Length: \t 5 \t \r\n", "hello"),
        ("Transfer-Encoding:\tchunked\t \r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Host2: x\r\nContent-Length:  5\r\n", "hello"),
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: \t t\t\r\n{framing}\r\n");
        assert_eq!(client.ask(format!("{head}{body}")).status(), 200, "{framing:?}");
        assert_eq!(origin.last().text(), "hello", "{framing:?}");
    }
    let answer = client.ask("GET / HTTP/1.1\r\nHost: t\r\nConnection: \t close \t\r\n\r\n");
    assert!(answer.says("Connection", "close"));
    assert_eq!(client.end(), End::Fin);
}

/// RFC 9110, 5.6.1.2: empty elements of a list do not count.
#[test]
fn rfc9110_5_6_1_empty_elements_of_lists() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    let answer = client.ask(
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: ,, X-Gone ,\t,TE,\r\nX-Gone: 1\r\n\
         TE: , trailers,,\r\n\r\n",
    );
    assert_eq!(answer.status(), 200);
    assert!(origin.last().fields("X-Gone").is_empty());
    assert_eq!(origin.last().fields("TE"), ["trailers"]);
    for expect in ["100-continue,", ", 100-continue", ",,100-Continue , ,", ""] {
        let head = format!("POST / HTTP/1.1\r\nHost: t\r\nExpect: {expect}\r\n");
        let answer = client.ask(format!("{head}Content-Length: 2\r\n\r\nhi"));
        assert_eq!((answer.status(), origin.last().text().as_str()), (200, "hi"), "{expect:?}");
    }
    let answer = client.ask("GET / HTTP/1.1\r\nHost: t\r\nConnection: , ,close, ,\r\n\r\n");
    assert!(answer.says("Connection", "close"));
    assert_eq!(client.end(), End::Fin);
}

/// RFC 9110, 7.6.1: what `Connection` names goes from the trailers, too, both ways.
#[test]
fn rfc9110_7_6_1_connection_names_trailers_too() {
    let origin = Origin::scripted(|wire| {
        while let Ok(request) = wire.request() {
            let came = String::from_utf8_lossy(&request.trailers).into_owned();
            assert_eq!(came, "X-Stays: 1\r\n", "{}", request.head_text());
            wire.send(
                "HTTP/1.1 200 OK\r\nConnection: x-own\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nok\r\n0\r\nX-Own: 1\r\nX-Other: 2\r\nx-OWN: 3\r\n\r\n",
            );
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    for _ in 0..2 {
        let answer = client.ask(
            "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nConnection: X-Gone\r\n\
             Connection: keep-alive, x-too\r\n\r\n\
             2\r\nhi\r\n0\r\nx-gone: 1\r\nX-Stays: 1\r\nX-Too: 2\r\nX-Gone: 3\r\n\r\n",
        );
        assert_eq!(answer.text(), "ok", "{}", answer.head_text());
        assert_eq!(String::from_utf8_lossy(&answer.trailers), "X-Other: 2\r\n");
    }
}

/// RFC 9110, 7.6.1: `Close` names no field but a connection's end: a field of this name goes.
#[test]
fn rfc9110_7_6_1_a_field_called_close_goes() {
    let got = seen(&[], "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\nClose: 1\r\n\r\n");
    assert!(got.fields("Close").is_empty(), "{}", got.head_text());
}

/// RFC 9110, 7.6.2: digits only; what is beyond counting is the most that can be counted; of two
/// lines the smaller one.
#[test]
fn rfc9110_7_6_2_max_forwards_of_any_size() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    let mut ask = |lines: &str| {
        client.ask(format!("OPTIONS / HTTP/1.1\r\nHost: t\r\n{lines}\r\n\r\n")).status()
    };
    for (lines, expected) in [
        ("Max-Forwards: 1", "0"),
        ("Max-Forwards: 0042", "41"),
        ("Max-Forwards: 4294967295", "4294967294"),
        ("Max-Forwards: 99999999999999999999999", "4294967294"),
        ("Max-Forwards: 7\r\nMax-Forwards: 9", "6"),
        ("Max-Forwards: 9\r\nMax-Forwards: 7", "6"),
        // These are none, and pass as any other field does.
        ("Max-Forwards: +5", "+5"),
        ("Max-Forwards: -1", "-1"),
        ("Max-Forwards: 5, 6", "5, 6"),
    ] {
        assert_eq!(ask(lines), 200, "{lines}");
        assert_eq!(origin.last().fields("Max-Forwards"), [expected], "{lines}");
    }
    assert_eq!(ask("X: none"), 200);
    assert!(origin.last().fields("Max-Forwards").is_empty(), "none is made up");
    let before = origin.requests().len();
    assert_eq!(ask("Max-Forwards: 5\r\nMax-Forwards: 0"), 200);
    assert_eq!(ask("Max-Forwards: 000"), 200);
    assert_eq!(origin.requests().len(), before, "answered here");
}

/// RFC 9110, 7.6: a route that leads to the proxy itself ends, as each round makes the head longer
/// by what is appended to X-Forwarded-For; and nothing of it is left.
#[test]
fn rfc9110_7_6_a_loop_ends_by_its_growing_head() {
    let port = stable_port();
    let address = format!("127.0.0.1:{port}");
    let all = format!("*={address}");
    let proxy = Pointsman::start(
        &[
            &["-l", &address, &all, "--slow-start", "off", "--upstream-idle", "500ms"][..],
            &["--max-head", "4KiB", "--max-target", "1KiB"],
        ]
        .concat(),
    );
    let idle = proxy.descriptors();
    let answer = proxy.client().get("/round");
    assert_eq!(answer.status(), 431, "{}", answer.head_text());
    eventually("nothing of it is left", || proxy.descriptors() <= idle);
}

/// RFC 9110, 9.3.8: a client must not send content with TRACE. One that does is passed on as it
/// is: framing does not depend on the method (RFC 9112, 6).
#[test]
fn rfc9110_9_3_8_trace_with_content_keeps_its_framing() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let request = format!("TRACE /x HTTP/1.1\r\nHost: t\r\n{body}");
        assert_eq!(client.ask(request).status(), 200, "{body:?}");
        assert_eq!(client.get("/after").status(), 200, "{body:?}");
        assert_eq!(origin.last().target(), "/after");
    }
    assert_eq!(origin.requests().len(), 4);
}

/// RFC 9110, 10.1.1: an expectation in HTTP/1.0 is ignored: it does not go on, no 100 comes back,
/// neither the endpoint's nor, after its second of silence, ours.
#[test]
fn rfc9110_10_1_1_an_expectation_in_http_1_0() {
    let origin = Origin::scripted(|wire| {
        let request = wire.request().expect("a request");
        assert!(request.fields("Expect").is_empty(), "{}", request.head_text());
        wire.send("HTTP/1.1 100 Continue\r\n\r\n");
        std::thread::sleep(Duration::from_millis(1_300));
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    for expect in ["100-continue", "anything"] {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.0\r\nExpect: {expect}\r\nContent-Length: 2\r\n\r\nhi"));
        let first = client.try_answer("POST").expect("the answer");
        assert_eq!((first.status(), first.text().as_str()), (200, "ok"), "{expect}");
    }
}

/// RFC 9110, 10.1.4: who sends `TE` lists it in `Connection`; for a client that gets no trailers,
/// HTTP/1.0, it is not sent at all.
#[test]
fn rfc9110_10_1_4_te_is_listed_in_connection() {
    let got = seen(&[], "GET / HTTP/1.1\r\nHost: t\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    assert_eq!(got.fields("TE"), ["trailers"], "{}", got.head_text());
    assert!(got.says("Connection", "TE"), "{}", got.head_text());
    for none in [
        "GET / HTTP/1.0\r\nHost: t\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: t\r\nTE: gzip\r\nConnection: TE\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: TE\r\n\r\n",
    ] {
        let got = seen(&[], none);
        assert!(got.fields("TE").is_empty(), "{}", got.head_text());
        assert!(got.fields("Connection").is_empty(), "{}", got.head_text());
    }
}

/// RFC 9110, 11.6 and 13.2.1: who is neither origin nor cache touches no credentials and judges
/// no condition.
#[test]
fn rfc9110_13_2_1_conditions_and_credentials_pass() {
    let lines = "Host: t\r\nIf-Match: \"a\", *\r\nIf-None-Match: W/\"b\"\r\n\
        If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\nIf-Unmodified-Since: never\r\n\
        If-Range: \"c\"\r\nRange: pages=1-2\r\nAuthorization: Basic  dTpw\r\n\
        Proxy-Authorization: Digest a=\"b,c\"\r\nCookie: a=b\r\n\r\n";
    for method in ["GET", "HEAD", "PUT"] {
        let request = format!("{method} /x HTTP/1.1\r\n{lines}");
        assert_eq!(seen(&["--forwarded", "off"], &request).head_text(), request);
    }
    for status in ["304 Not Modified", "405 Never", "412 No", "401 Who", "407 Which", "416 Where"] {
        let head = format!(
            "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"a, b\", Digest  c=d\r\n\
             Allow: GET,  BREW, get\r\nProxy-Authenticate: X\r\nVary: *\r\n\
             Authentication-Info: a=\"b\"\r\nContent-Range: pages */9\r\nContent-Length: 0\r\n\r\n"
        );
        let origin = Origin::answering(head.as_str());
        let answer = Pointsman::before(origin.addr, &[]).client().get("/");
        assert_eq!(answer.head_text(), head);
    }
}

/// RFC 9110, 9.3.2 and 9.3.6: our own answers: nothing after the head for HEAD, and a 405 says
/// which methods there are.
#[test]
fn rfc9110_9_3_2_our_own_answers_to_head_and_connect() {
    let origin = Origin::polite();
    let proxy = Pointsman::service(&[origin.addr], &[]);
    let mut client = proxy.client();
    for _ in 0..2 {
        let answer = client.ask("HEAD /none HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!(answer.status(), 404);
        // RFC 9110, 8.6: the length that GET would have.
        let full = client.get("/none");
        assert_eq!(answer.field("Content-Length"), Some(full.body.len().to_string()));
        assert_eq!(client.get("/s/v1/x").status(), 200, "no byte of a body in between");
    }
    for target in ["t:443", "t:", ":80", "t", "/"] {
        let mut client = proxy.client();
        let answer = client.ask(format!("CONNECT {target} HTTP/1.1\r\nHost: t\r\n\r\n"));
        assert_eq!(answer.status(), 405, "{target}");
        assert!(answer.says("Allow", "GET") && !answer.says("Allow", "CONNECT"), "{target}");
        assert_eq!(client.end(), End::Fin);
    }
}

/// RFC 9112, 9.3.2: pipelined or not, an endpoint gets the next request when it has answered.
#[test]
fn rfc9112_9_3_2_nothing_is_pipelined_to_an_endpoint() {
    let origin = Origin::scripted(|wire| {
        while let Ok(request) = wire.request() {
            let early = wire.ends_within(Duration::from_millis(30));
            assert_eq!(early, End::Silent, "{}", request.head_text());
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n".repeat(10));
    for _ in 0..10 {
        assert_eq!(client.answer("GET").text(), "ok");
    }
    assert_eq!(origin.connections(), 1);
}

/// RFC 9112, 9.3: a request that is refused before its body was read ends its connection; one
/// that was read whole does not.
#[test]
fn rfc9112_9_3_a_body_is_read_or_the_connection_ends() {
    let origin = Origin::polite();
    let proxy = Pointsman::service(&[origin.addr], &[]);
    let post = |body: &str| format!("POST /none HTTP/1.1\r\nHost: t\r\n{body}");
    for whole in ["Content-Length: 2\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let mut client = proxy.client();
        assert_eq!(client.ask(post(whole)).status(), 404);
        assert_eq!(client.get("/s/v1/x").status(), 200, "{whole:?}");
    }
    for part in ["Content-Length: 60\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n30\r\n"] {
        let mut client = proxy.client();
        let answer = client.ask(post(part));
        assert!(answer.status() == 404 && answer.says("Connection", "close"), "{part:?}");
        let _ = client.try_send("GET /s/v1/smuggled HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!(client.rest().0, b"", "{part:?}");
    }
    assert!(origin.requests().iter().all(|r| r.target() == "/x"), "no rest was a request");
}

/// RFC 9112, 9.6: nothing that stands behind a refused request, or behind `close`, is processed.
#[test]
fn rfc9112_9_6_nothing_is_processed_after_close() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let behind = "GET /behind HTTP/1.1\r\nHost: t\r\n\r\n";
    for (first, status) in [
        ("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", 200),
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("GET / HTTP/2.0\r\nHost: t\r\n\r\n", 505),
        ("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nX\r\n", 400),
    ] {
        let mut client = proxy.client();
        client.send(format!("{first}{behind}"));
        let answer = client.answer("GET");
        assert_eq!(answer.status(), status, "{first:?}");
        assert!(answer.says("Connection", "close"), "{first:?}");
        client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(client.end(), End::Fin, "{first:?}");
    }
    assert!(origin.requests().iter().all(|r| r.target() == "/"));
}
