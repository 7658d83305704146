//! What a proxy must know of a response head: its framing, and whether the connection lives on.
//!
//! This file does not know which endpoint answered, or who asked beyond the method.

use super::body::Body;
use super::chunk::Wrapping;
use super::field::{self, Name};
use super::head::ResponseHead;
use super::request::{Method, Scan};
use super::{Bad, Version, upgrade};

/// What a proxy acts on in a response.
#[derive(Clone, Debug)]
pub(crate) struct ResponseFacts {
    pub(crate) status: u16,
    pub(crate) body: Body,
    /// Whether the connection may carry another request once this response is complete.
    pub(crate) keep: bool,
    /// How long the endpoint says it keeps an idle connection: `Keep-Alive: timeout=N`.
    pub(crate) idle_limit_ms: Option<u64>,
    /// Whether the `Content-Length` lines must not go on: they contradict the framing, or stand
    /// where none may be, even with 0 (RFC 9110 section 8.6).
    pub(crate) hide_length: bool,
    /// Whether `Connection` names fields beyond the usual words.
    pub(crate) names_fields: bool,
    /// Whether `Upgrade` goes on: it is what a 101 switches to, or what a 426 asks for.
    pub(crate) upgrade: bool,
}

impl ResponseFacts {
    /// A 1xx behind which another head follows; behind a 101 nothing of HTTP does.
    pub(crate) fn is_interim(&self) -> bool {
        self.status < 200 && !self.switches()
    }

    /// A 101: what follows is no HTTP (RFC 9110 section 15.2.2).
    pub(crate) fn switches(&self) -> bool {
        self.status == 101
    }
}

/// Reads the facts of `head`, an answer to `method`; `wrapping` says what the client can take.
///
/// Within its caller, where nothing is copied of what it gives: 60 instructions less.
#[inline(always)]
pub(crate) fn read(
    head: &ResponseHead<'_>,
    method: Method,
    wrapping: Wrapping,
) -> Result<ResponseFacts, Bad> {
    let mut scan = Scan::default();
    let mut idle_limit_ms = None;
    for &(name, index) in head.fields.specials() {
        let value = head.fields.value(index);
        scan.note_framing(name, value)?;
        if name == Name::KeepAlive {
            idle_limit_ms = announced_ms(value).or(idle_limit_ms);
        }
    }
    if scan.chunked && head.version == Version::Http10 {
        return Err(Bad::AmbiguousLength);
    }
    let status = head.status;
    let (never_a_body, none_here) = match status {
        0..=199 | 204 => (true, true),
        304 => (false, true),
        _ => (false, method == Method::Head),
    };
    let mut body = if none_here {
        Body::NONE
    } else if scan.chunked {
        Body::chunked(wrapping)
    } else {
        scan.length.map_or(Body::UntilClose, Body::Length)
    };
    if scan.names_fields {
        body.drop_trailers(head.fields.connection_options());
    }
    let wanted =
        if head.version == Version::Http11 { !scan.close } else { scan.keep && !scan.close };
    // A body announced where none may be will come all the same: it would poison the next answer.
    let announced = scan.chunked || scan.length.is_some_and(|length| length > 0);
    let contradicts = scan.chunked && scan.length.is_some() || never_a_body && announced;
    Ok(ResponseFacts {
        status,
        keep: wanted && !contradicts && body != Body::UntilClose,
        idle_limit_ms,
        hide_length: contradicts || never_a_body && scan.length.is_some(),
        body,
        names_fields: scan.names_fields,
        upgrade: status == 101 || status == 426 && upgrade::advises(head.fields),
    })
}

/// The `timeout` parameter of a `Keep-Alive` field, in milliseconds.
fn announced_ms(value: &[u8]) -> Option<u64> {
    let seconds = field::list(value).find_map(|parameter| parameter.strip_prefix(b"timeout="))?;
    core::str::from_utf8(seconds).ok()?.parse::<u64>().ok()?.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::super::head::{parse_response, slots};
    use super::*;

    fn facts(method: Method, text: &str) -> Result<ResponseFacts, Bad> {
        let limits = Limits { head_bytes: 9999, fields: 50, target_bytes: 999 };
        let mut slots = slots();
        let head = parse_response(text.as_bytes(), &mut slots, &limits)?.expect("whole");
        read(&head, method, Wrapping::Keep)
    }

    /// B7.2, RFC 9112 section 6.3
    #[test]
    fn framing_follows_status_method_and_fields() {
        let chunked = Body::chunked(Wrapping::Keep);
        for (method, text, body, keep) in [
            (Method::Get, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Body::Length(3), true),
            (Method::Get, "HTTP/1.1 200 OK\r\n\r\n", Body::UntilClose, false),
            (Method::Get, "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", Body::Length(3), false),
            (
                Method::Get,
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n",
                Body::Length(3),
                true,
            ),
            (
                Method::Get,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                chunked.clone(),
                true,
            ),
            (
                Method::Get,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
                chunked,
                false,
            ),
            (Method::Get, "HTTP/1.1 204 No\r\n\r\n", Body::NONE, true),
            (Method::Get, "HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", Body::NONE, false),
            (Method::Get, "HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n", Body::NONE, true),
            (Method::Head, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Body::NONE, true),
            (
                Method::Get,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n",
                Body::Length(3),
                false,
            ),
        ] {
            let facts = facts(method, text).expect(text);
            assert_eq!((facts.body, facts.keep), (body, keep), "{text}");
        }
    }

    /// B6.2
    #[test]
    fn an_announced_idle_limit_is_read() {
        for (value, expected) in [
            ("timeout=5", Some(5000)),
            ("max=9, timeout=2", Some(2000)),
            ("timeout=x", None),
            ("timeout=99999999999999999999", None),
            ("", None),
        ] {
            let text = format!("HTTP/1.1 204 No\r\nKeep-Alive: {value}\r\n\r\n");
            assert_eq!(facts(Method::Get, &text).expect("fine").idle_limit_ms, expected, "{value}");
        }
    }

    /// B7.2
    #[test]
    fn contradictions_are_refused() {
        for (text, bad) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
                Bad::ContentLength,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3,3\r\n\r\n", Bad::ContentLength),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Bad::TransferEncoding),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
                Bad::TransferEncoding,
            ),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Bad::AmbiguousLength),
        ] {
            assert_eq!(facts(Method::Get, text).err(), Some(bad), "{text}");
        }
    }
}
