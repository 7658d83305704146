//! What a proxy must know of a request head: its framing, its target, and whom it is for.
//!
//! Everything that RFC 9112 lets a sender write in two ways is refused here (`B7.1`). This file
//! does not know routes or endpoints.

use super::chunk::Wrapping;
use super::field::{self, Name};
use super::head::{self, RequestHead};
use super::{Bad, Version, body::Body, upgrade};

/// Methods that a proxy treats differently from others (RFC 9110 section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Options,
    Trace,
    Put,
    Delete,
    /// Any other: not idempotent as far as we know.
    Other,
}

impl Method {
    fn of(method: &[u8]) -> Method {
        match method {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            _ => Method::Other,
        }
    }

    /// Whether doing it twice is as good as once (RFC 9110 section 9.2.2).
    pub(crate) fn is_idempotent(self) -> bool {
        self != Method::Other
    }
}

/// What a proxy acts on in a request.
#[derive(Clone, Debug)]
pub(crate) struct RequestFacts {
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) body: Body,
    /// Whether the client wants the connection kept.
    pub(crate) keep: bool,
    /// Whether `TE: trailers` was said.
    pub(crate) te_trailers: bool,
    pub(crate) idempotency_key: bool,
    /// Whether only a part of the representation is wanted.
    pub(crate) partial: bool,
    /// Whether the client waits for a 100 before it sends its body.
    pub(crate) expects: bool,
    /// `Max-Forwards`, where it counts: on TRACE and OPTIONS (RFC 9110 section 7.6.2).
    pub(crate) max_forwards: Option<u32>,
    /// Whether `Connection` names fields beyond the usual words.
    pub(crate) names_fields: bool,
    /// The protocols that the client wants to switch to, as a list (RFC 9110 section 7.8).
    pub(crate) upgrade: Option<Box<[u8]>>,
}

impl RequestFacts {
    /// Whether the request may be executed twice without harm.
    pub(crate) fn repeatable(&self) -> bool {
        self.method.is_idempotent() || self.idempotency_key
    }
}

/// Reads the facts of `head`, and cuts an absolute-form target. `host` is a Host that was good last
/// time, and holds this one afterwards: most are that, and to compare costs a fifth of judging.
///
/// Kept apart from its caller, whose registers it would take: 50 instructions less.
#[inline(never)]
pub(crate) fn read(head: &mut RequestHead<'_>, host: &mut GoodHost) -> Result<RequestFacts, Bad> {
    if head.method == b"CONNECT" {
        return Err(Bad::Method);
    }
    read_target(head)?;
    let mut scan = Scan::default();
    for &(name, index) in head.fields.specials() {
        let value = head.fields.value(index);
        match name {
            Name::Host if host.is_good(value) => {}
            Name::Host => return Err(Bad::Host),
            name => scan.note(name, value, head.version)?,
        }
    }
    if scan.names_fields && head.fields.names(b"idempotency-key") {
        scan.idempotency_key = false;
    }
    let may_have_none = head.version == Version::Http10;
    if head.fields.repeats(Name::Host) || !(head.fields.has(Name::Host) || may_have_none) {
        return Err(Bad::Host);
    }
    let mut body = scan.body(head.version)?;
    if scan.names_fields {
        body.drop_trailers(head.fields.connection_options());
    }
    let method = Method::of(head.method);
    let counted = matches!(method, Method::Trace | Method::Options);
    Ok(RequestFacts {
        method,
        version: head.version,
        body,
        keep: if head.version == Version::Http11 { !scan.close } else { scan.keep && !scan.close },
        // An HTTP/1.0 client would be sent no trailers: nobody may be told that it takes them.
        te_trailers: scan.te_trailers && head.version == Version::Http11,
        idempotency_key: scan.idempotency_key,
        partial: scan.partial,
        expects: scan.expects,
        max_forwards: scan.max_forwards.filter(|_| counted),
        names_fields: scan.names_fields,
        upgrade: scan.wanted(head.version),
    })
}

/// The value of a Host field that was found to be good.
#[derive(Debug, Default)]
pub(crate) struct GoodHost(Vec<u8>);

/// Longer ones are judged each time.
const KEPT_HOST_BYTES: usize = 255;

impl GoodHost {
    /// Whether `value` is a good one.
    fn is_good(&mut self, value: &[u8]) -> bool {
        if self.0 == value {
            return true;
        }
        let good = head::is_host(value);
        if good && value.len() <= KEPT_HOST_BYTES {
            self.0.clear();
            self.0.extend_from_slice(value);
        }
        good
    }
}

/// RFC 9112 section 3.2: origin-form, absolute-form, and `*` for OPTIONS.
fn read_target(head: &mut RequestHead<'_>) -> Result<(), Bad> {
    let target = head.target;
    if !head.plain && target.contains(&b'#') {
        return Err(Bad::Target);
    }
    if target.first() == Some(&b'/') || (target == b"*" && head.method == b"OPTIONS") {
        return Ok(());
    }
    let scheme_end = target.iter().position(|&b| b == b':').ok_or(Bad::Target)?;
    let (scheme, rest) = target.split_at(scheme_end);
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(Bad::Target);
    }
    let rest = rest.strip_prefix(b"://").ok_or(Bad::Target)?;
    let end = rest.iter().position(|&b| b == b'/' || b == b'?').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // An `http` URI has a host (RFC 9110 section 4.2.1); a Host field may be empty.
    if authority.is_empty() || authority.starts_with(b":") || !head::is_host(authority) {
        return Err(Bad::Host);
    }
    head.authority = Some(authority);
    head.path = if path.is_empty() { b"/" } else { path };
    Ok(())
}

/// What the special lines have said so far.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) close: bool,
    pub(super) keep: bool,
    pub(super) names_fields: bool,
    words: u32,
    te_trailers: bool,
    idempotency_key: bool,
    expects: bool,
    partial: bool,
    max_forwards: Option<u32>,
    /// Whether `Connection` says that the `Upgrade` field is meant for us.
    upgrade: bool,
    protocols: Vec<u8>,
}

/// How many words all `Connection` fields of a head may hold: each is looked for in every line.
const MAX_CONNECTION_WORDS: u32 = 64;

impl Scan {
    fn note(&mut self, name: Name, value: &[u8], version: Version) -> Result<(), Bad> {
        match name {
            Name::Te => {
                let trailers = |word: &[u8]| word.eq_ignore_ascii_case(b"trailers");
                self.te_trailers |= field::list(value).any(trailers);
            }
            Name::Expect if version == Version::Http11 => {
                for word in field::list(value) {
                    if !word.eq_ignore_ascii_case(b"100-continue") {
                        return Err(Bad::Expect);
                    }
                    self.expects = true;
                }
            }
            Name::Upgrade => upgrade::offer(value, &mut self.protocols)?,
            Name::Range => self.partial = true,
            Name::IdempotencyKey => self.idempotency_key = !value.is_empty(),
            Name::MaxForwards => {
                let earlier = self.max_forwards.into_iter();
                self.max_forwards = earlier.chain(max_forwards(value)).min();
            }
            _ => self.note_framing(name, value)?,
        }
        Ok(())
    }

    /// The part that requests and responses share.
    #[inline(always)]
    pub(super) fn note_framing(&mut self, name: Name, value: &[u8]) -> Result<(), Bad> {
        match name {
            // Nearly all have one word.
            Name::Connection if field::is_in_lower_case(value, b"keep-alive") => {
                (self.keep, self.words) = (true, self.words + 1);
            }
            Name::Connection => {
                for word in field::list(value) {
                    self.words += 1;
                    self.note_connection(word);
                }
            }
            Name::ContentLength => {
                let length = content_length(value).ok_or(Bad::ContentLength)?;
                if self.length.is_some_and(|earlier| earlier != length) {
                    return Err(Bad::ContentLength);
                }
                self.length = Some(length);
            }
            Name::TransferEncoding => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Bad::TransferEncoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        if self.words > MAX_CONNECTION_WORDS { Err(Bad::FieldLine) } else { Ok(()) }
    }

    fn note_connection(&mut self, word: &[u8]) {
        if field::is_in_lower_case(word, b"close") {
            self.close = true;
        } else if field::is_in_lower_case(word, b"keep-alive") {
            self.keep = true;
        } else {
            match Name::of(word) {
                Name::Te => {}
                Name::Upgrade => self.upgrade = true,
                _ => self.names_fields = true,
            }
        }
    }

    /// An HTTP/1.0 client cannot upgrade, nor anybody whose `Connection` does not say so.
    fn wanted(self, version: Version) -> Option<Box<[u8]>> {
        let wanted = self.upgrade && version == Version::Http11 && !self.protocols.is_empty();
        wanted.then(|| self.protocols.into_boxed_slice())
    }

    /// RFC 9112 section 6.3, without the cases that invite two readings.
    fn body(&self, version: Version) -> Result<Body, Bad> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Bad::AmbiguousLength),
            (true, None) if version == Version::Http10 => Err(Bad::AmbiguousLength),
            (true, None) => Ok(Body::chunked(Wrapping::Keep)),
            (false, length) => Ok(Body::Length(length.unwrap_or(0))),
        }
    }
}

/// One decimal number and nothing else; 18 digits cannot overflow what anybody counts with.
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0u64, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
    })
}

/// Digits and nothing else. What is beyond counting is the most that can be counted.
fn max_forwards(value: &[u8]) -> Option<u32> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u32, |sum, digit| {
        let hops = || sum.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
        digit.is_ascii_digit().then(hops)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::super::head::{parse_request, slots};
    use super::*;

    fn facts(text: &str) -> Result<RequestFacts, Bad> {
        let limits = Limits { head_bytes: 9999, fields: 50, target_bytes: 999 };
        let mut slots = slots();
        let mut head = parse_request(text.as_bytes(), &mut slots, &limits)?.expect("whole");
        read(&mut head, &mut GoodHost::default())
    }

    fn with(lines: &str) -> Result<RequestFacts, Bad> {
        facts(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
    }

    /// B7.1
    #[test]
    fn framing_is_one_reading_or_none() {
        for (lines, expected) in [
            ("", Ok(Body::NONE)),
            ("Content-Length: 5\r\n", Ok(Body::Length(5))),
            ("Content-Length: 005\r\n", Ok(Body::Length(5))),
            ("Content-Length: 5\r\ncontent-length: 5\r\n", Ok(Body::Length(5))),
            ("Transfer-Encoding: Chunked\r\n", Ok(Body::chunked(Wrapping::Keep))),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", Err(Bad::ContentLength)),
            ("Content-Length: 5, 5\r\n", Err(Bad::ContentLength)),
            ("Content-Length: +5\r\n", Err(Bad::ContentLength)),
            ("Content-Length: -5\r\n", Err(Bad::ContentLength)),
            ("Content-Length: 0x5\r\n", Err(Bad::ContentLength)),
            ("Content-Length: 5 5\r\n", Err(Bad::ContentLength)),
            ("Content-Length:\r\n", Err(Bad::ContentLength)),
            ("Content-Length: 9999999999999999999\r\n", Err(Bad::ContentLength)),
            ("Transfer-Encoding: gzip, chunked\r\n", Err(Bad::TransferEncoding)),
            ("Transfer-Encoding: chunked, chunked\r\n", Err(Bad::TransferEncoding)),
            ("Transfer-Encoding: identity\r\n", Err(Bad::TransferEncoding)),
            ("Transfer-Encoding: \"chunked\"\r\n", Err(Bad::TransferEncoding)),
            ("Transfer-Encoding:\r\n", Err(Bad::TransferEncoding)),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                Err(Bad::TransferEncoding),
            ),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Err(Bad::AmbiguousLength)),
        ] {
            assert_eq!(with(lines).map(|facts| facts.body), expected, "{lines}");
        }
        let old = facts("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(old.map(|facts| facts.body), Err(Bad::AmbiguousLength));
    }

    /// B7.1: a Host that was good is good again, and no other is for its sake.
    #[test]
    fn a_good_host_is_remembered() {
        let mut host = GoodHost::default();
        let long = "a".repeat(300);
        for (value, good) in [
            ("a.b:80", true),
            ("a.b:8x", false),
            ("a.b:80", true),
            ("a.c:80", true),
            ("a b:80", false),
            (&long, true),
            ("A.b:80/", false),
            ("", true),
            ("/", false),
        ] {
            for _ in 0..2 {
                assert_eq!(host.is_good(value.as_bytes()), good, "{value}");
            }
        }
        assert!(host.0.capacity() < 300, "what is long is not kept");
    }

    /// B7.1
    #[test]
    fn exactly_one_host_is_wanted() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", Some(Bad::Host)),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Some(Bad::Host)),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Some(Bad::Host)),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", None),
            ("GET / HTTP/1.0\r\n\r\n", None),
            ("GET / HTTP/1.0\r\nHost: {\r\n\r\n", Some(Bad::Host)),
            ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", Some(Bad::Host)),
            ("GET http://:80/x HTTP/1.1\r\nHost: a\r\n\r\n", Some(Bad::Host)),
            ("GET / HTTP/1.1\r\nHost: a%4\r\n\r\n", Some(Bad::Host)),
            ("GET / HTTP/1.1\r\nHost: [::1::]\r\n\r\n", Some(Bad::Host)),
            ("GET http://u@h/x HTTP/1.1\r\nHost: a\r\n\r\n", Some(Bad::Host)),
            ("GET ftp://h/x HTTP/1.1\r\nHost: a\r\n\r\n", Some(Bad::Target)),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Some(Bad::Target)),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", None),
            ("GET http://h?q HTTP/1.1\r\nHost: a\r\n\r\n", None),
            ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Some(Bad::Target)),
            ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", Some(Bad::Target)),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", Some(Bad::Method)),
            ("GET / HTTP/1.1\r\nHost: a\r\nExpect: cookies\r\n\r\n", Some(Bad::Expect)),
            ("GET / HTTP/1.0\r\nExpect: cookies\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: a\r\nExpect: ,100-continue, a\r\n\r\n", Some(Bad::Expect)),
            ("GET / HTTP/1.1\r\nHost: a\r\nExpect: ,100-Continue ,\r\n\r\n", None),
        ] {
            assert_eq!(facts(text).err(), expected, "{text}");
        }
    }

    /// B7.4, RFC 9110 section 7.6.2
    #[test]
    fn hops_are_counted_where_they_count() {
        for (method, lines, expected) in [
            ("TRACE", "Max-Forwards: 0\r\n", Some(0)),
            ("OPTIONS", "Max-Forwards: 007\r\n", Some(7)),
            ("OPTIONS", "Max-Forwards: 99999999999\r\n", Some(u32::MAX)),
            ("OPTIONS", "Max-Forwards: 4294967299\r\n", Some(u32::MAX)),
            ("OPTIONS", "Max-Forwards: 5\r\nMax-Forwards: 0\r\n", Some(0)),
            ("OPTIONS", "Max-Forwards: +5\r\n", None),
            ("OPTIONS", "Max-Forwards:\r\n", None),
            ("GET", "Max-Forwards: 0\r\n", None),
        ] {
            let text = format!("{method} / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            assert_eq!(facts(&text).unwrap().max_forwards, expected, "{method} {lines}");
        }
    }

    /// B7.6, B4.3
    #[test]
    fn connection_words_and_methods_are_understood() {
        let all = with("Connection: Close , te\r\nTE: gzip, Trailers\r\n").unwrap();
        assert!(!all.keep && all.te_trailers && !all.names_fields && !all.repeatable());
        assert!(with("Connection: keep-alive\r\nIdempotency-Key: x\r\n").unwrap().repeatable());
        assert!(!with("Idempotency-Key:\r\n").unwrap().repeatable(), "no key at all");
        let hidden = with("Connection: idempotency-key\r\nIdempotency-Key: x\r\n").unwrap();
        assert!(hidden.names_fields && !hidden.repeatable());
        assert!(!facts("GET / HTTP/1.0\r\n\r\n").unwrap().keep);
        assert!(facts("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap().keep);
        assert!(facts("PUT / HTTP/1.0\r\n\r\n").unwrap().repeatable());
        assert!(!facts("get / HTTP/1.0\r\n\r\n").unwrap().repeatable(), "methods have case");
        let many = format!("Connection: {}\r\n", "a,".repeat(65));
        assert_eq!(with(&many).err(), Some(Bad::FieldLine));
    }
}
