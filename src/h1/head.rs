//! Heads: found without scanning a byte twice, split by httparse, then checked for what httparse
//! tolerates and we do not.
//!
//! httparse accepts a bare LF as a line end; one look at each line's last two bytes tells. The
//! views here borrow the buffer; what a proxy acts on is worked out in `request.rs` and
//! `response.rs`. This file does not know what fields mean.

use core::mem::MaybeUninit;
use core::net::Ipv6Addr;

use super::field::{Name, list};
use super::{Bad, Limits, Version};

/// The most field lines a head may have, whatever the configuration says: they live on the stack.
pub(crate) const MAX_FIELDS: usize = 256;

/// Room for the field lines of one head.
pub(crate) type Slots<'b> = [MaybeUninit<httparse::Header<'b>>; MAX_FIELDS];

/// Fresh room; nothing is written here, so it costs nothing.
pub(crate) fn slots<'b>() -> Slots<'b> {
    [const { MaybeUninit::uninit() }; MAX_FIELDS]
}

/// Where the search for the end of a head stands.
///
/// The first bytes are parsed at once, because a head mostly comes whole. From then on only a new
/// line end or a byte that no head may hold is worth another parse: a head trickled byte by byte
/// costs one look at each byte, and at most one parse per line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Search {
    scanned: usize,
}

impl Search {
    /// Whether `bytes`, everything of the head that is here, are worth parsing.
    pub(crate) fn worth_parsing(&mut self, bytes: &[u8]) -> bool {
        let first = self.scanned == 0;
        let new = bytes.get(self.scanned..).unwrap_or_default();
        self.scanned = bytes.len();
        let telling = |&b: &u8| b == b'\n' || b == 0x7f || (b < b' ' && b != b'\t' && b != b'\r');
        !new.is_empty() && (first || new.iter().any(telling))
    }
}

/// How many bytes of empty lines stand before a request line. One CRLF after a body is what some
/// old clients send (RFC 9112 section 2.2).
pub(crate) fn empty_lines(bytes: &[u8]) -> usize {
    bytes.chunks(2).take_while(|pair| *pair == b"\r\n").count() * 2
}

/// The field lines of a head, in order.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub(crate) &'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    /// Every field line as name and value, in order, duplicates included.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.0.iter().map(|field| (field.name.as_bytes(), field.value))
    }

    /// The value of the first field line called `name`, in any case.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.0.iter().find(|f| f.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// Everything that `Connection` fields name, as one list.
    pub(crate) fn connection_options(&self) -> Vec<u8> {
        let named = self.iter().filter(|(n, _)| Name::of(n) == Name::Connection);
        let values: Vec<&[u8]> = named.map(|(_, value)| value).collect();
        values.join(&b',')
    }

    /// Whether a `Connection` field names `name` (RFC 9110 section 7.6.1).
    pub(crate) fn names(&self, name: &[u8]) -> bool {
        self.iter()
            .filter(|(n, _)| Name::of(n) == Name::Connection)
            .any(|(_, value)| list(value).any(|word| word.eq_ignore_ascii_case(name)))
    }
}

/// A request head, as it lies in the buffer.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) target: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) authority: Option<&'a [u8]>,
    pub(crate) version: Version,
    pub(crate) fields: Fields<'a>,
    pub(crate) bytes: &'a [u8],
}

impl<'a> RequestHead<'a> {
    /// The method, as the client wrote it.
    pub fn method(&self) -> &'a [u8] {
        self.method
    }

    /// The request target, as the client wrote it (RFC 9112 section 3.2).
    pub fn target(&self) -> &'a [u8] {
        self.target
    }

    /// Path and query of the target: an absolute-form target without its scheme and authority.
    pub fn path(&self) -> &'a [u8] {
        self.path
    }

    /// Whom the request is for: the authority of an absolute-form target, else the Host field.
    pub fn authority(&self) -> Option<&'a [u8]> {
        self.authority.or_else(|| self.fields.get("host"))
    }

    /// The value of the first field line called `name`, in any case.
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields.get(name)
    }

    /// Every field line as name and value, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.fields.iter()
    }
}

/// A response head, as it lies in the buffer.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    pub(crate) status: u16,
    pub(crate) version: Version,
    pub(crate) fields: Fields<'a>,
    pub(crate) bytes: &'a [u8],
}

impl<'a> ResponseHead<'a> {
    /// The status code, 100 to 599.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The value of the first field line called `name`, in any case.
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields.get(name)
    }

    /// Every field line as name and value, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.fields.iter()
    }
}

/// Splits a request head. `None`: it is not whole yet, and so far nothing is wrong with it.
pub(crate) fn parse_request<'b>(
    bytes: &'b [u8],
    slots: &'b mut Slots<'b>,
    limits: &Limits,
) -> Result<Option<RequestHead<'b>>, Bad> {
    if begins_with_a_line_end(bytes) {
        // A lone CR may still become an empty line, which whoever reads takes away.
        return if bytes == b"\r" { Ok(None) } else { Err(Bad::StartLine) };
    }
    let mut head = httparse::Request::new(&mut []);
    let parsed = head.parse_with_uninit_headers(bytes, limited(slots, limits));
    let third_word = || bytes.splitn(3, |&b| b == b' ').nth(2);
    let len = match unless_version_is_open(parsed, third_word) {
        Ok(httparse::Status::Complete(len)) if len <= limits.head_bytes => len,
        Ok(httparse::Status::Complete(_)) => return Err(Bad::HeadTooLarge),
        Ok(httparse::Status::Partial) => {
            let target_bytes = head.path.map_or_else(|| partial_target(bytes), str::len);
            if target_bytes > limits.target_bytes {
                return Err(Bad::TargetTooLong);
            }
            let too_large = bytes.len() >= limits.head_bytes;
            return if too_large { Err(Bad::HeadTooLarge) } else { Ok(None) };
        }
        Err(error) => return Err(refusal(error, bytes)),
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Err(Bad::StartLine);
    };
    let bytes = &bytes[..len];
    let fields = Fields(head.headers);
    check_lines(bytes, fields)?;
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    let (method, target) = (method.as_bytes(), target.as_bytes());
    if target.len() > limits.target_bytes {
        return Err(Bad::TargetTooLong);
    }
    Ok(Some(RequestHead { method, target, path: target, authority: None, version, fields, bytes }))
}

/// Splits a response head. `None`: it is not whole yet, and so far nothing is wrong with it.
pub(crate) fn parse_response<'b>(
    bytes: &'b [u8],
    slots: &'b mut Slots<'b>,
    limits: &Limits,
) -> Result<Option<ResponseHead<'b>>, Bad> {
    if begins_with_a_line_end(bytes) {
        return Err(Bad::StartLine);
    }
    let mut head = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed =
        config.parse_response_with_uninit_headers(&mut head, bytes, limited(slots, limits));
    let only_word = || (!bytes.contains(&b' ')).then_some(bytes);
    let len = match unless_version_is_open(parsed, only_word) {
        Ok(httparse::Status::Complete(len)) if len <= limits.head_bytes => len,
        Ok(httparse::Status::Complete(_)) => return Err(Bad::HeadTooLarge),
        Ok(httparse::Status::Partial) => {
            let too_large = bytes.len() >= limits.head_bytes;
            return if too_large { Err(Bad::HeadTooLarge) } else { Ok(None) };
        }
        Err(error) => return Err(refusal(error, bytes)),
    };
    let (Some(status), Some(version)) = (head.code, head.version) else {
        return Err(Bad::StartLine);
    };
    if !(100..=599).contains(&status) {
        return Err(Bad::Status);
    }
    let bytes = &bytes[..len];
    let fields = Fields(head.headers);
    check_lines(bytes, fields)?;
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    Ok(Some(ResponseHead { status, version, fields, bytes }))
}

/// httparse skips line ends in front of a start line, a bare LF among them; we do not.
fn begins_with_a_line_end(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(b'\r' | b'\n'))
}

fn limited<'s, 'b>(
    slots: &'s mut Slots<'b>,
    limits: &Limits,
) -> &'s mut [MaybeUninit<httparse::Header<'b>>] {
    &mut slots[..limits.fields.min(MAX_FIELDS)]
}

/// The length so far of a target whose end is not here yet.
fn partial_target(bytes: &[u8]) -> usize {
    let mut words = bytes.splitn(3, |&b| b == b' ');
    words.nth(1).map_or(0, <[u8]>::len)
}

/// What httparse says, but for a version of which only the beginning is here: whether it will be
/// another version or none must not depend on where the bytes were cut. `word` is the last word
/// here, if it stands where a version does.
fn unless_version_is_open<'b>(
    parsed: httparse::Result<usize>,
    word: impl FnOnce() -> Option<&'b [u8]>,
) -> httparse::Result<usize> {
    let fits = |(&b, &like): (&u8, &u8)| if like == b'0' { b.is_ascii_digit() } else { b == like };
    let begins = |word: &[u8]| word.len() <= 8 && word.iter().zip(b"HTTP/0.0").all(fits);
    match parsed {
        Err(httparse::Error::Version) if word().is_some_and(begins) => {
            Ok(httparse::Status::Partial)
        }
        other => other,
    }
}

/// What httparse's refusal means in our words.
fn refusal(error: httparse::Error, bytes: &[u8]) -> Bad {
    match error {
        httparse::Error::TooManyHeaders => Bad::HeadTooLarge,
        httparse::Error::Version if names_a_version(bytes) => Bad::Version,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Bad::FieldLine,
        _ => Bad::StartLine,
    }
}

/// Whether the first line is well-formed but for its version, which is not one of ours: `HTTP/2.0`.
fn names_a_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|&b| b == b'\r' || b == b'\n').next().unwrap_or_default();
    let version = match line.strip_prefix(b"HTTP/") {
        Some(_) => line.split(|&b| b == b' ').next(),
        None => line.splitn(3, |&b| b == b' ').nth(2),
    };
    matches!(version, Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// Every line must end in CRLF, and nothing may stand between a name and its colon.
fn check_lines(bytes: &[u8], fields: Fields<'_>) -> Result<(), Bad> {
    let mut bad = Bad::StartLine;
    for field in fields.0 {
        let name = offset(bytes, field.name.as_bytes());
        if !bytes[..name].ends_with(b"\r\n") {
            return Err(bad);
        }
        if bytes.get(name + field.name.len()) != Some(&b':') {
            return Err(Bad::FieldLine);
        }
        bad = Bad::FieldLine;
    }
    if bytes.ends_with(b"\r\n\r\n") { Ok(()) } else { Err(bad) }
}

/// Where `part`, which lies inside `whole`, begins.
pub(crate) fn offset(whole: &[u8], part: &[u8]) -> usize {
    let at = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    debug_assert!(at + part.len() <= whole.len());
    at.min(whole.len())
}

/// Whether `host` may stand in a Host field: empty, or a name, an IPv4 address or a bracketed IPv6
/// address, with an optional port (RFC 9110 section 7.2, RFC 3986 section 3.2.2).
pub(crate) fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.strip_prefix(b"[") {
        Some(rest) => {
            let Some(close) = rest.iter().position(|&b| b == b']') else { return false };
            let literal = core::str::from_utf8(&rest[..close]).map(str::parse::<Ipv6Addr>);
            if !matches!(literal, Ok(Ok(_))) {
                return false;
            }
            (&b""[..], &rest[close + 1..])
        }
        None => host.split_at(host.iter().position(|&b| b == b':').unwrap_or(host.len())),
    };
    let port_fine = match port.strip_prefix(b":") {
        Some(digits) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        None => port.is_empty(),
    };
    is_name(name) && port_fine
}

/// Whether `name` is a host's name: a `%` stands before two hexadecimal digits.
fn is_name(mut name: &[u8]) -> bool {
    while let Some((&byte, rest)) = name.split_first() {
        name = match (byte, rest) {
            (b'%', [a, b, rest @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            _ if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte) => rest,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { head_bytes: 4096, fields: 8, target_bytes: 64 };

    fn request(bytes: &[u8]) -> Result<Option<usize>, Bad> {
        let mut slots = slots();
        parse_request(bytes, &mut slots, &LIMITS).map(|head| head.map(|head| head.bytes.len()))
    }

    fn response(bytes: &[u8]) -> Result<Option<u16>, Bad> {
        let mut slots = slots();
        parse_response(bytes, &mut slots, &LIMITS).map(|head| head.map(|head| head.status))
    }

    /// B7.1
    #[test]
    fn request_heads_are_split_strictly() {
        let many = ["GET / HTTP/1.1\r\n", &"A: b\r\n".repeat(9), "\r\n"].concat();
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(80));
        let cases: &[(&[u8], Result<Option<usize>, Bad>)] = &[
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody", Ok(Some(27))),
            (b"GET / HTTP/1.1\r\nHost: a\r\n", Ok(None)),
            (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Err(Bad::FieldLine)),
            (b"GET / HTTP/1.1\nHost: a\r\n\r\n", Err(Bad::StartLine)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Err(Bad::FieldLine)),
            (b"GET / HTTP/1.1\n\n", Err(Bad::StartLine)),
            (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(Bad::StartLine)),
            (b"\r", Ok(None)),
            (b"\r\r", Err(Bad::StartLine)),
            (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Err(Bad::FieldLine)),
            (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Err(Bad::FieldLine)),
            (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", Err(Bad::FieldLine)),
            (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", Err(Bad::FieldLine)),
            (b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", Err(Bad::FieldLine)),
            (b"GET  / HTTP/1.1\r\n\r\n", Err(Bad::StartLine)),
            (b"GET / HTTP/1.1 \r\n\r\n", Err(Bad::StartLine)),
            (b"GE(T / HTTP/1.1\r\n\r\n", Err(Bad::StartLine)),
            (b"GET / HTTP/2.0\r\n\r\n", Err(Bad::Version)),
            (b"GET / HTTP/2", Ok(None)),
            (b"GET / HTTP/2.0", Ok(None)),
            (b"GET / HTTP/2.0x", Err(Bad::StartLine)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Err(Bad::Version)),
            (b"GET / HTTP/1.12\r\n\r\n", Err(Bad::StartLine)),
            (b"GET /a b HTTP/1.1\r\n\r\n", Err(Bad::StartLine)),
            (b"GET / FTP/1.1\r\n\r\n", Err(Bad::StartLine)),
            (b"GET /\r\n\r\n", Err(Bad::StartLine)),
            (many.as_bytes(), Err(Bad::HeadTooLarge)),
            (long.as_bytes(), Err(Bad::TargetTooLong)),
            (&long.as_bytes()[..75], Err(Bad::TargetTooLong)),
            (&[b'G'; 4096], Err(Bad::HeadTooLarge)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(request(bytes), *expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    /// B7.2
    #[test]
    fn response_heads_are_split_strictly() {
        let cases: &[(&[u8], Result<Option<u16>, Bad>)] = &[
            (b"HTTP/1.1 200 OK\r\n\r\n", Ok(Some(200))),
            (b"HTTP/1.1 200 \r\n\r\n", Ok(Some(200))),
            (b"HTTP/1.1 200\r\n\r\n", Ok(Some(200))),
            (b"HTTP/1.0 599 Odd but fine \xff\r\nA:\r\n\r\n", Ok(Some(599))),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n", Ok(None)),
            (b"HTTP/1.1 600 X\r\n\r\n", Err(Bad::Status)),
            (b"HTTP/1.1 099 X\r\n\r\n", Err(Bad::Status)),
            (b"HTTP/1.1 200 OK\n\r\n", Err(Bad::StartLine)),
            (b"\nHTTP/1.1 200 OK\r\n\r\n", Err(Bad::StartLine)),
            (b"\r\nHTTP/1.1 200 OK\r\n\r\n", Err(Bad::StartLine)),
            (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", Err(Bad::FieldLine)),
            (b"HTTP/1.1 200 OK\r\nA: b\n\r\n", Err(Bad::FieldLine)),
            (b"HTTP/2", Ok(None)),
            (b"\x15\x03\x03", Err(Bad::StartLine)),
            (b"HTTP/2.0 200 OK\r\n\r\n", Err(Bad::Version)),
            (b"\r\nHTTP/1.1 200 OK\r\n\r\n", Err(Bad::StartLine)),
            (b"\nHTTP/1.1 200 OK\r\n\r\n", Err(Bad::StartLine)),
            (b"ICY 200 OK\r\n\r\n", Err(Bad::StartLine)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(response(bytes), *expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_trickled_head_is_parsed_once_per_line() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut search = Search::default();
        let parses = (1..=bytes.len()).filter(|&n| search.worth_parsing(&bytes[..n])).count();
        assert_eq!(parses, 1 + 3);
        let mut search = Search::default();
        assert!(search.worth_parsing(bytes));
        assert!(!search.worth_parsing(bytes));
        let mut search = Search::default();
        assert!(search.worth_parsing(b"G") && search.worth_parsing(b"G\0"));
    }

    #[test]
    fn empty_lines_before_a_request_are_counted() {
        assert_eq!(empty_lines(b"\r\n\r\nGET"), 4);
        assert_eq!(empty_lines(b"\r\n"), 2);
        assert_eq!(empty_lines(b"\n\r\n"), 0);
        assert_eq!(empty_lines(b"\rGET"), 0);
    }

    #[test]
    fn hosts_are_checked() {
        for host in [
            "",
            "a",
            "a.b:80",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8080",
            "[::ffff:1.2.3.4]",
            "a_b-c~",
            "x:",
            "a%2Fb",
            "%41",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b", "a/b", "a:b", "[::1", "[]", "[::1]x", "[1:2]", "[v1.x]", "{", "a\u{6}", "u@h",
            "a:123456", "%", "a%2", "%zz", "%%41",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
