//! Heads: the views that borrow the buffer, and the bounds that a head has to keep.
//!
//! `lines.rs` splits them; what a proxy acts on is worked out in `request.rs` and `response.rs`.
//! This file does not know what fields mean.

use core::net::Ipv6Addr;

use super::field::{Name, NameSet, list};
use super::lines::{self, Begun, Line, Room, Special, Specials};
use super::{Bad, Limits, Version};

pub(crate) use super::lines::{MAX_FIELDS, Slots};

/// Fresh room for the field lines of one head.
pub(crate) fn slots() -> Slots {
    Slots::default()
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
    if bytes.first() != Some(&b'\r') {
        return 0;
    }
    bytes.chunks(2).take_while(|pair| *pair == b"\r\n").count() * 2
}

/// The field lines of a head, in order.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    head: &'a [u8],
    lines: &'a [Line],
    specials: &'a Specials,
}

impl<'a> Fields<'a> {
    fn new(head: &'a [u8], room: &'a Room) -> Fields<'a> {
        Fields { head, lines: room.lines(), specials: room.specials() }
    }

    fn part(&self, from: u32, to: u32) -> &'a [u8] {
        self.head.get(from as usize..to as usize).unwrap_or_default()
    }

    fn split(&self, line: &Line) -> (&'a [u8], &'a [u8]) {
        (self.part(line.name, line.colon), self.part(line.value, line.end))
    }

    /// Every field line as name and value, in order, duplicates included.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let fields = *self;
        fields.lines.iter().map(move |line| fields.split(line))
    }

    /// The value of the first field line called `name`, in any case.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The lines that mean something to a proxy, in order: which, and their index.
    pub(super) fn specials(&self) -> &'a [Special] {
        &self.specials.lines
    }

    /// Their names.
    pub(super) fn names_of_specials(&self) -> NameSet {
        self.specials.names
    }

    /// Whether a line has this name, which is one that a proxy knows.
    pub(super) fn has(&self, name: Name) -> bool {
        self.specials.names.has(name)
    }

    /// Whether more than one has.
    pub(super) fn repeats(&self, name: Name) -> bool {
        self.specials.repeated.has(name)
    }

    /// The values of the lines called `name`, which is one that a proxy knows.
    pub(super) fn all(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let fields = *self;
        let called = fields.specials.lines.iter().filter(move |(special, _)| *special == name);
        called.map(move |&(_, index)| fields.value(index))
    }

    /// The value of line `index`.
    pub(super) fn value(&self, index: u16) -> &'a [u8] {
        let line = self.lines.get(usize::from(index));
        line.map_or(b"", |line| self.part(line.value, line.end))
    }

    /// Where line `index` begins; behind the last one, where the empty line does.
    pub(super) fn start(&self, index: usize) -> u32 {
        self.lines.get(index).map_or(self.head.len() as u32 - 2, |line| line.name)
    }

    /// Everything that `Connection` fields name, as one list.
    pub(crate) fn connection_options(&self) -> Vec<u8> {
        self.all(Name::Connection).collect::<Vec<_>>().join(&b',')
    }

    /// Whether a `Connection` field names `name` (RFC 9110 section 7.6.1).
    pub(crate) fn names(&self, name: &[u8]) -> bool {
        let is_it = |word: &[u8]| word.eq_ignore_ascii_case(name);
        self.all(Name::Connection).any(|value| list(value).any(is_it))
    }
}

/// A request head, as it lies in the buffer.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) target: &'a [u8],
    pub(crate) path: &'a [u8],
    /// Whether the target is known to have no `#`, `%` or dot, and to be ASCII.
    pub(crate) plain: bool,
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
        if self.authority.is_some() || !self.fields.has(Name::Host) {
            return self.authority;
        }
        self.fields.all(Name::Host).next()
    }

    /// Whether there is an [`authority`](Self::authority).
    pub(crate) fn has_authority(&self) -> bool {
        self.authority.is_some() || self.fields.has(Name::Host)
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
    slots: &'b mut Slots,
    limits: &Limits,
) -> Result<Option<RequestHead<'b>>, Bad> {
    let line = match lines::request_line(bytes)? {
        Begun::Whole(line) => line,
        Begun::Partial(target) if target > limits.target_bytes => return Err(Bad::TargetTooLong),
        Begun::Partial(_) => return unfinished(bytes, limits),
    };
    let target = bytes.get(line.target()).unwrap_or_default();
    let room = slots.room();
    let Some(len) = lines::field_lines(bytes, line.len, most(limits), room)? else {
        if target.len() > limits.target_bytes {
            return Err(Bad::TargetTooLong);
        }
        return unfinished(bytes, limits);
    };
    if len > limits.head_bytes {
        return Err(Bad::HeadTooLarge);
    }
    if target.len() > limits.target_bytes {
        return Err(Bad::TargetTooLong);
    }
    let (bytes, _) = bytes.split_at(len);
    Ok(Some(RequestHead {
        method: bytes.get(..line.method).unwrap_or_default(),
        target,
        path: target,
        plain: line.plain,
        authority: None,
        version: line.version,
        fields: Fields::new(bytes, room),
        bytes,
    }))
}

/// Splits a response head. `None`: it is not whole yet, and so far nothing is wrong with it.
pub(crate) fn parse_response<'b>(
    bytes: &'b [u8],
    slots: &'b mut Slots,
    limits: &Limits,
) -> Result<Option<ResponseHead<'b>>, Bad> {
    let Some(line) = lines::status_line(bytes)? else { return unfinished(bytes, limits) };
    let room = slots.room();
    let Some(len) = lines::field_lines(bytes, line.len, most(limits), room)? else {
        return unfinished(bytes, limits);
    };
    if len > limits.head_bytes {
        return Err(Bad::HeadTooLarge);
    }
    if !(100..=599).contains(&line.status) {
        return Err(Bad::Status);
    }
    let (bytes, _) = bytes.split_at(len);
    let fields = Fields::new(bytes, room);
    Ok(Some(ResponseHead { status: line.status, version: line.version, fields, bytes }))
}

/// A head that is not whole, and may become too large.
fn unfinished<T>(bytes: &[u8], limits: &Limits) -> Result<Option<T>, Bad> {
    if bytes.len() >= limits.head_bytes { Err(Bad::HeadTooLarge) } else { Ok(None) }
}

fn most(limits: &Limits) -> usize {
    limits.fields.min(MAX_FIELDS)
}

/// Whether `host` may stand in a Host field: empty, or a name, an IPv4 address or a bracketed IPv6
/// address, with an optional port (RFC 9110 section 7.2, RFC 3986 section 3.2.2).
pub(crate) fn is_host(host: &[u8]) -> bool {
    let name = host.iter().take_while(|byte| NAME_BYTES[usize::from(**byte)]).count();
    match host.get(name..).unwrap_or_default() {
        [] => true,
        [b':', digits @ ..] => is_port(digits),
        _ => is_odd_host(host),
    }
}

/// The same, for addresses in brackets and names with escapes too.
#[cold]
fn is_odd_host(host: &[u8]) -> bool {
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
        Some(digits) => is_port(digits),
        None => port.is_empty(),
    };
    is_name(name) && port_fine
}

fn is_port(digits: &[u8]) -> bool {
    digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit)
}

/// Whether `name` is a host's name: a `%` stands before two hexadecimal digits.
fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            _ if NAME_BYTES[usize::from(*byte)] => after,
            (b'%', [a, b, after @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => after,
            _ => return false,
        };
    }
    true
}

/// The bytes that names of hosts are made of (RFC 3986 section 3.2.2).
static NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(byte as u8, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'')
            || matches!(byte as u8, b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
        byte += 1;
    }
    table
};

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
            (b"GET / HTTP/1.1\r\n: a\r\n\r\n", Err(Bad::FieldLine)),
            (b"GET / HTTP/1.1\r\nA: b\r\n\rX", Err(Bad::StartLine)),
            (b"GET / HTTP/1.1\r\nHost: a\n", Err(Bad::FieldLine)),
            (b"GET / HTTP/1.1\n", Err(Bad::StartLine)),
            (b"GET /\xc3\xa4 HTTP/1.1\r\n\r\n", Ok(Some(20))),
            (b"GET /\xc3", Ok(None)),
            (b"GET /\xc3 HTTP/1.1\r\n\r\n", Err(Bad::StartLine)),
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
