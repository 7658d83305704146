//! B2: which service and which target a request becomes, and what pointsman answers itself.

use crate::article::answered_by;
use crate::harness::{Origin, Pointsman, Refusing};
use crate::wire::Message;

/// B2.1: the first two segments are cut off on raw bytes; nothing else changes.
#[test]
fn b2_1_the_target_is_cut_on_raw_bytes() {
    let origin = Origin::polite();
    let proxy = Pointsman::start(&[&format!("serviceone/v1={}", origin.addr)]);
    let mut client = proxy.client();
    let table = [
        ("/serviceone/v1/a%2Fb//c?x=1;y", "/a%2Fb//c?x=1;y"),
        ("/serviceone/v1", "/"),
        ("/serviceone/v1/", "/"),
        ("/serviceone/v1?q", "/?q"),
        ("/serviceone/v1/?", "/?"),
        ("/serviceone/v1//x", "//x"),
        ("/serviceone/v1/a/../b", "/a/../b"),
        ("/serviceone/v1/a/%2e%2E/b/.", "/a/%2e%2E/b/."),
        ("/serviceone/v1/x?../../..", "/x?../../.."),
        ("/serviceone/v1/x?a=%zz&b=1;c", "/x?a=%zz&b=1;c"),
        ("/serviceone/v1/%7Euser/%41", "/%7Euser/%41"),
        ("http://example.org/serviceone/v1/abs?x", "/abs?x"),
        ("http://example.org/serviceone/v1", "/"),
    ];
    for (target, expected) in table {
        let answer = client.get(target);
        assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
        assert_eq!(origin.last().target(), expected, "{target}");
    }
}

/// B2.1: the authority of an absolute-form target is the Host.
#[test]
fn b2_1_an_absolute_target_names_the_host() {
    let origin = Origin::polite();
    let proxy = Pointsman::service(&[origin.addr], &[]);
    let request = "GET http://real.example:81/s/v1/x HTTP/1.1\r\nHost: other.example\r\n\r\n";
    assert_eq!(proxy.client().ask(request).status(), 200);
    assert_eq!(origin.last().fields("Host"), ["real.example:81"]);
    assert_eq!(origin.last().target(), "/x");
}

/// B2.1: `OPTIONS *` goes to the catch-all if there is one, else 404.
#[test]
fn b2_1_options_star() {
    let origin = Origin::polite();
    let request = "OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n";
    let without = Pointsman::service(&[origin.addr], &[]);
    assert_eq!(without.client().ask(request).status(), 404);
    let with = Pointsman::before(origin.addr, &[]);
    assert_eq!(with.client().ask(request).status(), 200);
    assert_eq!(origin.last().target(), "*");
}

/// B2.2: too short or unknown is 404, climbing above the prefix is 400.
#[test]
fn b2_2_unknown_and_climbing() {
    let origin = Origin::polite();
    let proxy = Pointsman::service(&[origin.addr], &[]);
    let table = [
        ("/", 404),
        ("/s", 404),
        ("/s/", 404),
        ("//s/v1/x", 404),
        ("/s//v1/x", 404),
        ("/s/v2/x", 404),
        ("/S/v1/x", 404),
        ("/s/v1x", 404),
        ("/s/v1/..", 400),
        ("/s/v1/../v2/x", 400),
        ("/s/v1/a/../../x", 400),
        ("/s/v1/%2e%2e/x", 400),
        ("/s/v1/.%2E/x", 400),
        ("/s/v1/..%2fx", 400),
        ("/s/v1/..%5cx", 400),
        ("/s/v1/..\\x", 400),
    ];
    for (target, expected) in table {
        // A 400 closes the connection: a new one for each.
        let answer = proxy.client().get(target);
        assert_eq!(answer.status(), expected, "{target}");
        check_own_answer(&answer, target);
    }
    assert_eq!(origin.connections(), 0, "nothing of it reached the endpoint");
}

/// B1.2: the catch-all takes what no service matches; the more specific route wins.
#[test]
fn b1_2_more_specific_wins() {
    let (all, one) = (Origin::polite(), Origin::polite());
    let (star, route) = (format!("*={}", all.addr), format!("s/v1={}", one.addr));
    let proxy = Pointsman::start(&[&star, &route]);
    let mut client = proxy.client();
    assert_eq!(answered_by(&client.get("/s/v1/x")), one.addr.port());
    for target in ["/s/v2/x", "/", "/s", "/s/v1x/y"] {
        assert_eq!(answered_by(&client.get(target)), all.addr.port(), "{target}");
        assert_eq!(all.last().target(), target);
    }
}

/// B2.3, B2.4: every attempt failed, and nobody may wait: 502, which says so and keeps the
/// client's connection.
#[test]
fn b2_3_every_endpoint_refuses() {
    let (one, two) = (Refusing::new(), Refusing::new());
    let proxy = Pointsman::service(&[one.addr, two.addr], &["--wait-requests", "0"]);
    let mut client = proxy.client();
    for request in [
        "GET /s/v1/x HTTP/1.1\r\nHost: t\r\n\r\n",
        "POST /s/v1/x HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let answer = client.ask(request);
        assert_eq!(answer.status(), 502);
        check_own_answer(&answer, request);
        let said = answer.field("Proxy-Status").unwrap_or_default();
        assert!(said.contains("error=connection_refused"), "{said}");
        if answer.says("Connection", "close") {
            client = proxy.client();
        }
    }
}

/// B2.3: a backend that does not answer in time is 504.
#[test]
fn b2_3_a_silent_backend_is_504() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.request();
        let _ = wire.request();
    });
    let proxy = Pointsman::before(origin.addr, &["--first-byte", "300ms"]);
    let answer = proxy.client().get("/");
    assert_eq!(answer.status(), 504);
    check_own_answer(&answer, "silent backend");
}

/// B2.4: a short text/plain body and Proxy-Status.
fn check_own_answer(answer: &Message, what: &str) {
    let head = answer.head_text();
    let kind = answer.field("Content-Type").unwrap_or_default();
    assert!(kind.starts_with("text/plain"), "{what}: {head}");
    assert!(answer.field("Proxy-Status").is_some(), "{what}: {head}");
    assert!((1..500).contains(&answer.body.len()), "{what}: {:?}", answer.text());
}
