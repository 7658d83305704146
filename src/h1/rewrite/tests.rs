//! Heads as they go on: what is dropped, kept, and put in front.

use super::super::chunk::Wrapping;
use super::super::head::{parse_request, parse_response, slots};
use super::super::{Limits, request, response};
use super::*;

const LIMITS: Limits = Limits { head_bytes: 9999, fields: 50, target_bytes: 999 };
const PLAIN: RequestWay<'_> =
    RequestWay { host: None, peer: None, forwarding: Forwarding::Off, via: false, changes: None };

/// Carries a plan out the slow and obvious way.
fn text(plan: &Plan, bytes: &[u8]) -> String {
    let mut out = plan.prefix.clone();
    let mut from = 0;
    for &(drop_from, drop_to) in &plan.drops {
        out.extend_from_slice(&bytes[from..drop_from as usize]);
        from = drop_to as usize;
    }
    out.extend_from_slice(&bytes[from..]);
    String::from_utf8(out).expect("text")
}

fn request_with(lines: &str, way: &RequestWay<'_>) -> String {
    request_by(&mut Plan::default(), lines, way)
}

fn request_by(plan: &mut Plan, lines: &str, way: &RequestWay<'_>) -> String {
    let came = format!("{lines}\r\n");
    let mut slots = slots();
    let mut head = parse_request(came.as_bytes(), &mut slots, &LIMITS).unwrap().unwrap();
    let facts = request::read(&mut head, &mut Default::default()).unwrap();
    plan.request(&head, &facts, way, |out| out.extend_from_slice(b"/new"));
    self::text(plan, came.as_bytes())
}

fn response_with(lines: &str, way: &ResponseWay<'_>) -> (bool, String) {
    let came = format!("{lines}\r\n");
    let (mut slots, mut plan) = (slots(), Plan::default());
    let head = parse_response(came.as_bytes(), &mut slots, &LIMITS).unwrap().unwrap();
    let facts = response::read(&head, request::Method::Get, Wrapping::Keep).unwrap();
    let changed = plan.response(&head, &facts, way);
    (changed, self::text(&plan, came.as_bytes()))
}

/// B7.3, B7.4
#[test]
fn hop_by_hop_lines_go_and_all_others_stay_as_they_came() {
    for (came, goes_on) in [
        ("GET /s/v/x HTTP/1.1\r\nHost: a\r\n", "GET /new HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            "brew /s HTTP/1.0\r\nhOST:a\r\nX:  1 \r\nX: \r\nx:2\r\n",
            "brew /new HTTP/1.1\r\nhOST:a\r\nX:  1 \r\nX: \r\nx:2\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nConnection: Foo, host, keep-alive\r\nHost: a\r\nFOO: 1\r\n\
             Keep-Alive: 5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n",
            "GET /new HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: gzip, trailers\r\n",
            "GET /new HTTP/1.1\r\nConnection: TE\r\nTE: trailers\r\nHost: a\r\n\r\n",
        ),
        (
            "GET / HTTP/1.0\r\nHost: a\r\nConnection: TE\r\nTE: trailers\r\n",
            "GET /new HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nTE: gzip\r\n", "GET /new HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n",
            "PUT /new HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n",
            "OPTIONS /new HTTP/1.1\r\nMax-Forwards: 2\r\nHost: a\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\nTrailer: x\r\n",
            "GET /new HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n",
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n",
            "PUT /new HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n",
        ),
        ("GET http://b:1/x HTTP/1.1\r\nHost: a\r\n", "GET /new HTTP/1.1\r\nHost: b:1\r\n\r\n"),
    ] {
        assert_eq!(request_with(came, &PLAIN), goes_on, "{came}");
    }
}

/// B7.5
#[test]
fn forwarded_fields_are_appended_or_replaced() {
    let peer: Option<IpAddr> = Some("10.20.130.4".parse().unwrap());
    let append = RequestWay { peer, forwarding: Forwarding::Append, ..PLAIN };
    let replace = RequestWay { forwarding: Forwarding::Replace, ..append };
    let bare = "GET / HTTP/1.1\r\nHost: a\r\n";
    let added = "GET /new HTTP/1.1\r\nX-Forwarded-For: 10.20.130.4\r\n\
                 X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nHost: a\r\n\r\n";
    assert_eq!(request_with(bare, &append), added);
    assert_eq!(request_with(bare, &replace), added);
    let prior = "GET / HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1\r\nHost: a\r\n\
                 X-Forwarded-Proto: https\r\nConnection: x-forwarded-for\r\n\
                 x-forwarded-for: 2.2.2.2, 3.3.3.3\r\n";
    assert_eq!(
        request_with(prior, &append),
        "GET /new HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 10.20.130.4\r\n\
         X-Forwarded-Host: a\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n"
    );
    assert_eq!(request_with(prior, &replace), added);
    let unix = RequestWay { peer: None, ..append };
    assert!(request_with(prior, &unix).contains("X-Forwarded-For: 1.1.1.1\r\n"));
    let unix = RequestWay { peer: None, ..replace };
    assert!(!request_with(prior, &unix).contains("-For:"), "not believed, not passed on");
    let v6 = RequestWay { peer: Some("::1".parse().unwrap()), ..append };
    assert!(request_with(bare, &v6).contains("X-Forwarded-For: ::1\r\n"));
}

/// B7.5: each request names its own client, whoever asked before.
#[test]
fn b7_5_clients_are_told_apart() {
    let mut plan = Plan::default();
    for (ip, prior) in
        [("1.1.1.1", ""), ("1.1.1.1", ""), ("1.1.1.12", ""), ("::1", ""), ("1.1.1.1", "x")]
    {
        let way =
            RequestWay { peer: Some(ip.parse().unwrap()), forwarding: Forwarding::Append, ..PLAIN };
        let (line, before) = match prior {
            "" => (String::new(), String::new()),
            prior => (format!("X-Forwarded-For: {prior}\r\n"), format!("{prior}, ")),
        };
        let goes_on = request_by(&mut plan, &format!("GET / HTTP/1.1\r\nHost: a\r\n{line}"), &way);
        assert!(goes_on.contains(&format!("\r\nX-Forwarded-For: {before}{ip}\r\n")), "{goes_on}");
    }
}

#[test]
fn host_via_and_hooks_have_their_say() {
    let changes =
        Changes { added: b"X-New: 1\r\n".to_vec(), removed: vec!["cookie".into(), "Host".into()] };
    let way = RequestWay { host: Some(b"e:1"), via: true, changes: Some(&changes), ..PLAIN };
    assert_eq!(
        request_with("GET / HTTP/1.0\r\nVia: 1.0 x\r\nCookie: c\r\n", &way),
        "GET /new HTTP/1.1\r\nHost: e:1\r\nVia: 1.0 x, 1.0 pointsman\r\nX-New: 1\r\n\r\n"
    );
}

/// B7.3, B7.4, B7.6
#[test]
fn responses_change_only_where_they_must() {
    let way = |client, keep| ResponseWay { client, keep, via: false, changes: None };
    let (new, old) = (way(Version::Http11, true), way(Version::Http10, true));
    let verbatim = "HTTP/1.1 299 My Own \r\nX:1\r\nContent-Length: 0\r\n";
    assert_eq!(response_with(verbatim, &new), (false, format!("{verbatim}\r\n")));
    for (came, way, goes_on) in [
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n",
            &new,
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
            &old,
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n",
            &way(Version::Http10, false),
            "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\
             Trailer: a\r\n",
            &new,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n",
        ),
        (
            "HTTP/1.1 204 No\r\nContent-Length: 0\r\nA: b\r\n",
            &new,
            "HTTP/1.1 204 No\r\nA: b\r\n\r\n",
        ),
        (
            "HTTP/1.1 103 No\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            &new,
            "HTTP/1.1 103 No\r\n\r\n",
        ),
        (
            "HTTP/1.1 200\r\nContent-Length: 0\r\n",
            &new,
            "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\nConnection: Nosy\r\nNosy: 1\r\n",
            &way(Version::Http11, false),
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
        ),
    ] {
        assert_eq!(response_with(came, way), (true, goes_on.to_string()), "{came}");
    }
}
