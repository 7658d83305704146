//! Field names that mean something to a proxy, told apart by length and first byte.
//!
//! This file knows names and the alphabet of RFC 9110 section 5; it does not know messages.

/// A field name that a proxy must act on; everything else is passed on unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Close,
    Connection,
    ContentLength,
    Expect,
    Host,
    Http2Settings,
    IdempotencyKey,
    KeepAlive,
    MaxForwards,
    ProxyConnection,
    Range,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    Via,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    Other,
}

impl Name {
    /// Which name this is; case does not matter (RFC 9110 section 5.1).
    #[inline(always)]
    pub(crate) fn of(name: &[u8]) -> Name {
        let Some(first) = name.first() else { return Name::Other };
        let (known, text): (Name, &[u8]) = match (name.len(), first | 0x20) {
            (2, b't') => (Name::Te, b"te"),
            (3, b'v') => (Name::Via, b"via"),
            (4, b'h') => (Name::Host, b"host"),
            (5, b'c') => (Name::Close, b"close"),
            (5, b'r') => (Name::Range, b"range"),
            (6, b'e') => (Name::Expect, b"expect"),
            (7, b't') => (Name::Trailer, b"trailer"),
            (7, b'u') => (Name::Upgrade, b"upgrade"),
            (10, b'c') => (Name::Connection, b"connection"),
            (10, b'k') => (Name::KeepAlive, b"keep-alive"),
            (12, b'm') => (Name::MaxForwards, b"max-forwards"),
            (14, b'c') => (Name::ContentLength, b"content-length"),
            (14, b'h') => (Name::Http2Settings, b"http2-settings"),
            (15, b'i') => (Name::IdempotencyKey, b"idempotency-key"),
            (15, b'x') => (Name::XForwardedFor, b"x-forwarded-for"),
            (16, b'p') => (Name::ProxyConnection, b"proxy-connection"),
            (16, b'x') => (Name::XForwardedHost, b"x-forwarded-host"),
            (17, b't') => (Name::TransferEncoding, b"transfer-encoding"),
            (17, b'x') => (Name::XForwardedProto, b"x-forwarded-proto"),
            _ => return Name::Other,
        };
        if is_in_lower_case(name, text) { known } else { Name::Other }
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Fields of one connection only (RFC 9110 section 7.6.1); they never go on as they came.
    pub(crate) fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Name::Close
                | Name::Connection
                | Name::Http2Settings
                | Name::KeepAlive
                | Name::ProxyConnection
                | Name::Te
                | Name::Upgrade
        )
    }

    /// Fields that a `Connection` field cannot name away: framing, routing, and what we add.
    pub(crate) fn is_protected(self) -> bool {
        matches!(
            self,
            Name::Host
                | Name::ContentLength
                | Name::TransferEncoding
                | Name::Via
                | Name::XForwardedFor
                | Name::XForwardedHost
                | Name::XForwardedProto
                | Name::MaxForwards
        )
    }
}

/// Some of the names that a proxy knows, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameSet(u32);

impl NameSet {
    /// With `name`, if `really`.
    pub(super) fn with(self, name: Name, really: bool) -> NameSet {
        if really { NameSet(self.0 | name.bit()) } else { self }
    }

    pub(super) fn has(self, name: Name) -> bool {
        self.0 & name.bit() != 0
    }

    /// Whether all of these are among `others`.
    pub(super) fn are_among(self, others: NameSet) -> bool {
        self.0 & !others.0 == 0
    }
}

/// Whether `word` is `lower` but for its case, eight bytes at a time; the last step goes back over
/// bytes that were seen. `lower` is made of lower case letters, digits and hyphens, `word` of bytes
/// that may stand in a head: then there are no two bytes that only setting one bit makes the same,
/// but for a letter's two cases.
pub(super) fn is_in_lower_case(word: &[u8], lower: &[u8]) -> bool {
    if word.len() != lower.len() {
        return false;
    }
    let same_eight = |eight: &[u8; 8], like: &[u8; 8]| {
        u64::from_ne_bytes(*eight) | u64::from_ne_bytes([0x20; 8]) == u64::from_ne_bytes(*like)
    };
    let same_four = |four: &[u8; 4], like: &[u8; 4]| {
        u32::from_ne_bytes(*four) | u32::from_ne_bytes([0x20; 4]) == u32::from_ne_bytes(*like)
    };
    if let (Some(end), Some(like_end)) = (word.last_chunk(), lower.last_chunk()) {
        let (mut word, mut lower) = (word, lower);
        while let (Some((eight, rest)), Some((like, rest_like))) =
            (word.split_first_chunk(), lower.split_first_chunk())
        {
            if !same_eight(eight, like) {
                return false;
            }
            (word, lower) = (rest, rest_like);
        }
        return same_eight(end, like_end);
    }
    match (word.first_chunk(), word.last_chunk(), lower.first_chunk(), lower.last_chunk()) {
        (Some(a), Some(b), Some(c), Some(d)) => same_four(a, c) && same_four(b, d),
        _ => word.iter().zip(lower).all(|(byte, like)| byte | 0x20 == *like),
    }
}

/// Every name that [`Name::of`] knows.
const KNOWN: [&[u8]; 19] = [
    b"te",
    b"via",
    b"host",
    b"close",
    b"range",
    b"expect",
    b"trailer",
    b"upgrade",
    b"connection",
    b"keep-alive",
    b"max-forwards",
    b"content-length",
    b"http2-settings",
    b"idempotency-key",
    b"x-forwarded-for",
    b"proxy-connection",
    b"x-forwarded-host",
    b"transfer-encoding",
    b"x-forwarded-proto",
];

/// For each length modulo 32, the first letters of known names, one bit each.
static FIRST_LETTERS: [u32; 32] = {
    let mut table = [0; 32];
    let mut at = 0;
    while at < KNOWN.len() {
        table[KNOWN[at].len() % 32] |= 1 << (KNOWN[at][0] % 32);
        at += 1;
    }
    table
};

/// Whether [`Name::of`] is worth asking about a name of `len` bytes that begins with `first`. Most
/// are sorted out here, in a few steps.
#[inline]
pub(super) fn may_be_known(first: u8, len: usize) -> bool {
    FIRST_LETTERS[len % 32] >> (first % 32) & 1 != 0
}

/// The elements of a comma-separated list, white space around them removed, empty ones left out
/// (RFC 9110 section 5.6.1).
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Whether `byte` may be part of a token (RFC 9110 section 5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
        || matches!(byte, b'^' | b'_' | b'`' | b'|' | b'~')
}

/// Whether `bytes` are a token.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_token_byte(b))
}

/// Whether `byte` may stand in a field value: visible, space, tab, or beyond ASCII.
pub(crate) fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

/// Fields that must not come as trailers: they frame, route, authenticate or say how to read the
/// content (RFC 9110 section 6.5.1).
pub(crate) fn is_forbidden_trailer(name: &[u8]) -> bool {
    const FORBIDDEN: [&str; 33] = [
        "age",
        "authorization",
        "cache-control",
        "close",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "expect",
        "expires",
        "forwarded",
        "host",
        "http2-settings",
        "if-match",
        "if-none-match",
        "keep-alive",
        "location",
        "max-forwards",
        "proxy-connection",
        "range",
        "retry-after",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "vary",
        "via",
        "warning",
        "www-authenticate",
    ];
    let starts = |prefix: &[u8]| {
        name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    };
    starts(b"x-forwarded-")
        || starts(b"proxy-auth")
        || FORBIDDEN.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        for (text, name) in [
            ("te", Name::Te),
            ("Via", Name::Via),
            ("Range", Name::Range),
            ("Close", Name::Close),
            ("Host", Name::Host),
            ("EXPECT", Name::Expect),
            ("Trailer", Name::Trailer),
            ("uPgrade", Name::Upgrade),
            ("Connection", Name::Connection),
            ("Keep-Alive", Name::KeepAlive),
            ("Max-Forwards", Name::MaxForwards),
            ("content-length", Name::ContentLength),
            ("HTTP2-Settings", Name::Http2Settings),
            ("Idempotency-Key", Name::IdempotencyKey),
            ("x-forwarded-for", Name::XForwardedFor),
            ("Proxy-Connection", Name::ProxyConnection),
            ("X-Forwarded-Host", Name::XForwardedHost),
            ("Transfer-Encoding", Name::TransferEncoding),
            ("X-Forwarded-Proto", Name::XForwardedProto),
            ("Hosts", Name::Other),
            ("Hose", Name::Other),
            ("", Name::Other),
        ] {
            assert_eq!(Name::of(text.as_bytes()), name, "{text}");
            let first = text.as_bytes().first().copied().unwrap_or_default();
            assert!(name == Name::Other || may_be_known(first, text.len()), "{text}");
        }
        for text in KNOWN {
            assert_ne!(Name::of(text), Name::Other, "{text:?}");
            for text in [text.to_vec(), text.to_ascii_uppercase()] {
                assert!(may_be_known(text[0], text.len()), "{text:?}");
            }
        }
    }

    /// Of all bytes that a head may have, in every place.
    #[test]
    fn no_other_byte_passes_for_a_letter() {
        for text in KNOWN {
            for place in 0..text.len() {
                for byte in (0..=255).filter(|byte| is_value_byte(*byte)) {
                    let mut word = text.to_vec();
                    word[place] = byte;
                    let same = word.eq_ignore_ascii_case(text);
                    assert_eq!(is_in_lower_case(&word, text), same, "{word:?}");
                }
            }
            assert!(!is_in_lower_case(&text[1..], text) && !is_in_lower_case(text, &text[1..]));
        }
    }

    #[test]
    fn lists_are_split_and_trimmed() {
        let elements: Vec<_> = list(b" a ,, b,\t,c").collect();
        assert_eq!(elements, [&b"a"[..], b"b", b"c"]);
    }

    #[test]
    fn trailers_that_would_frame_or_route_are_forbidden() {
        for name in ["Content-Length", "HOST", "x-forwarded-for", "Proxy-Authorization", "TE"] {
            assert!(is_forbidden_trailer(name.as_bytes()), "{name}");
        }
        for name in ["X-Checksum", "Server-Timing", "Digest", "Grpc-Status", "ETag"] {
            assert!(!is_forbidden_trailer(name.as_bytes()), "{name}");
        }
    }
}
