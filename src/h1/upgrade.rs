//! Upgrade (RFC 9110 section 7.8): what may be asked for, and whether a 101 gives what was asked.
//!
//! ```text
//!   Connection: upgrade      + Upgrade: websocket   -> offered: "websocket"
//!   Upgrade: h2c, websocket                         -> offered: "websocket"
//!   Upgrade: h2c                                    -> nothing: an ordinary request
//! ```
//!
//! Behind a 101 the proxy reads nothing any more. So another HTTP is never asked for: its requests
//! would pass unrouted and unjudged. This file does not know connections.

use super::Bad;
use super::field::{Name, is_token, list};
use super::head::Fields;

/// How many protocols one request may ask for: each is compared with each that a 101 names.
const MAX_PROTOCOLS: usize = 16;

/// Appends the protocols of one `Upgrade` field that may be asked for to `offered`, a list.
pub(super) fn offer(value: &[u8], offered: &mut Vec<u8>) -> Result<(), Bad> {
    for protocol in list(value).filter(|protocol| is_protocol(protocol) && !is_http(protocol)) {
        if !offered.is_empty() {
            offered.extend_from_slice(b", ");
        }
        offered.extend_from_slice(protocol);
    }
    let asked = offered.iter().filter(|&&b| b == b',').count() + 1;
    if asked > MAX_PROTOCOLS { Err(Bad::FieldLine) } else { Ok(()) }
}

/// Whether these fields of an answer name protocols, and all of them are among the `offered`: no
/// server may switch to one that it was not asked for.
pub(crate) fn gives(fields: Fields<'_>, offered: &[u8]) -> bool {
    let mut named = false;
    for given in protocols(fields) {
        named = true;
        if !list(offered).any(|asked| asked.eq_ignore_ascii_case(given)) {
            return false;
        }
    }
    named
}

/// Whether these fields name protocols that a client of ours may ask for, and no others.
pub(super) fn advises(fields: Fields<'_>) -> bool {
    let mut named = false;
    for advised in protocols(fields) {
        named = true;
        if !is_protocol(advised) || is_http(advised) {
            return false;
        }
    }
    named
}

fn protocols(fields: Fields<'_>) -> impl Iterator<Item = &[u8]> {
    fields.all(Name::Upgrade).flat_map(list)
}

/// A name, and a version behind a slash if there is one.
fn is_protocol(text: &[u8]) -> bool {
    let mut parts = text.splitn(2, |&b| b == b'/');
    parts.all(is_token)
}

/// `h2c`, `h2`, `HTTP/2.0` and whatever else is HTTP by another name.
fn is_http(protocol: &[u8]) -> bool {
    let name = protocol.split(|&b| b == b'/').next().unwrap_or_default();
    let known: [&[u8]; 5] = [b"http", b"https", b"h2", b"h2c", b"h3"];
    known.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::super::head::{parse_response, slots};
    use super::*;

    fn offered(values: &[&str]) -> Result<String, Bad> {
        let mut all = Vec::new();
        for value in values {
            offer(value.as_bytes(), &mut all)?;
        }
        Ok(String::from_utf8(all).expect("text"))
    }

    fn given(lines: &str, offered: &str) -> (bool, bool) {
        let text = format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n");
        let limits = Limits { head_bytes: 9999, fields: 50, target_bytes: 999 };
        let mut slots = slots();
        let head = parse_response(text.as_bytes(), &mut slots, &limits).unwrap().expect("whole");
        (gives(head.fields, offered.as_bytes()), advises(head.fields))
    }

    /// B7.4, B7.8
    #[test]
    fn another_http_is_never_asked_for() {
        for (values, expected) in [
            (&["websocket"][..], "websocket"),
            (&["WebSocket", "IRC/6.9"], "WebSocket, IRC/6.9"),
            (&["h2c"], ""),
            (&["H2C, websocket"], "websocket"),
            (&["HTTP/2.0,h2, h3", "http/3"], ""),
            (&["h2cc"], "h2cc"),
            (&[",, ,"], ""),
            (&["web socket", "a/b/c", "/1", "a/", "\"x\""], ""),
        ] {
            assert_eq!(offered(values).as_deref(), Ok(expected), "{values:?}");
        }
        let many = vec!["a"; MAX_PROTOCOLS + 1].join(",");
        assert_eq!(offered(&[&many]), Err(Bad::FieldLine));
        assert!(offered(&[&many[2..]]).is_ok());
    }

    /// B7.8
    #[test]
    fn a_101_must_give_what_was_asked() {
        for (lines, offered, expected) in [
            ("Upgrade: websocket\r\n", "websocket", (true, true)),
            ("Upgrade: WEBSOCKET\r\n", "irc, websocket", (true, true)),
            ("Upgrade: a\r\nUpgrade: b\r\n", "b, a", (true, true)),
            ("Upgrade: websocket\r\n", "web", (false, true)),
            ("Upgrade: websocket, h2c\r\n", "websocket", (false, false)),
            ("Upgrade: websocket/13\r\n", "websocket", (false, true)),
            ("Upgrade:\r\n", "websocket", (false, false)),
            ("X: y\r\n", "websocket", (false, false)),
            ("Upgrade: x\r\n", "", (false, true)),
        ] {
            assert_eq!(given(lines, offered), expected, "{lines} of {offered}");
        }
    }
}
