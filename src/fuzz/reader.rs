//! A second reader of HTTP/1.1, to judge the first one by: written from the grammar of RFC 9110 and
//! RFC 9112 alone, line by line, slow, with a copy of everything.
//!
//! It shares no code with `h1`, not even a table. Where both are more lenient or stricter than the
//! grammar, it says so here, under "Deviation": each of these is a decision of ours
//! (`docs/supported-http.md`) and not an accident that two readers happen to share.

/// What came of a look at some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read<T> {
    /// Right so far, and not whole.
    Partial,
    /// Not HTTP/1.1, and why.
    Bad(&'static str),
    /// Whole and right.
    Whole(T),
}

/// One field line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: Vec<u8>,
    /// Without the white space around it.
    pub(super) value: Vec<u8>,
    /// As it stood there, without its CRLF.
    pub(super) raw: Vec<u8>,
}

impl Line {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// One head: the three parts of its start line, and its field lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Method, target, version; or version, status, reason phrase.
    pub(super) words: [Vec<u8>; 3],
    pub(super) lines: Vec<Line>,
    /// Bytes of it, empty lines in front included.
    pub(super) len: usize,
    /// Bytes of those empty lines.
    pub(super) skipped: usize,
}

impl Head {
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| line.is(name))
    }

    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.lines.iter().find(|line| line.is(name)).map(|line| line.value.as_slice())
    }

    /// All elements of a field that is a list (RFC 9110, 5.6.1).
    pub(super) fn list(&self, name: &str) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for line in self.lines.iter().filter(|line| line.is(name)) {
            for element in line.value.split(|&byte| byte == b',') {
                let element = trim(element);
                if !element.is_empty() {
                    all.push(element.to_vec());
                }
            }
        }
        all
    }

    pub(super) fn says(&self, name: &str, word: &str) -> bool {
        self.list(name).iter().any(|element| element.eq_ignore_ascii_case(word.as_bytes()))
    }

    pub(super) fn status(&self) -> u16 {
        String::from_utf8_lossy(&self.words[1]).parse().unwrap_or(0)
    }

    pub(super) fn is_old(&self) -> bool {
        // A response begins with its version; a reason phrase may look like one.
        let version = if self.words[0].starts_with(b"HTTP/") { 0 } else { 2 };
        self.words[version] == b"HTTP/1.0"
    }
}

/// How the end of a message is found (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// Bounds that are no matter of grammar.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) head_bytes: usize,
    pub(super) fields: usize,
    pub(super) target_bytes: usize,
}

pub(super) fn is_tchar(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-')
        || matches!(byte, b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// field-vchar, space and tab (RFC 9110, 5.5).
fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' ' | 0x21..=0x7e | 0x80..=0xff)
}

fn is_ows(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while text.first().is_some_and(|&byte| is_ows(byte)) {
        text = &text[1..];
    }
    while text.last().is_some_and(|&byte| is_ows(byte)) {
        text = &text[..text.len() - 1];
    }
    text
}

/// The next line without its CRLF, and how many bytes it takes with it.
fn line(bytes: &[u8]) -> Read<(&[u8], usize)> {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else { return Read::Partial };
    if end == 0 || bytes[end - 1] != b'\r' {
        return Read::Bad("a bare LF");
    }
    let text = &bytes[..end - 1];
    if text.contains(&b'\r') { Read::Bad("a bare CR") } else { Read::Whole((text, end + 1)) }
}

/// field-line = field-name ":" OWS field-value OWS (RFC 9112, 5).
fn field_line(text: &[u8]) -> Result<Line, &'static str> {
    let colon = text.iter().position(|&byte| byte == b':').ok_or("a line without a colon")?;
    let (name, value) = (&text[..colon], &text[colon + 1..]);
    if name.is_empty() || !name.iter().all(|&byte| is_tchar(byte)) {
        return Err("a name that is no token");
    }
    if !value.iter().all(|&byte| is_text(byte)) {
        return Err("a control byte in a value");
    }
    Ok(Line { name: name.to_vec(), value: trim(value).to_vec(), raw: text.to_vec() })
}

/// Start line, field lines, empty line. `start` judges the start line.
fn head(bytes: &[u8], start: fn(&[u8]) -> Result<[Vec<u8>; 3], &'static str>) -> Read<Head> {
    let mut at = 0;
    let mut words = None;
    let mut lines = Vec::new();
    loop {
        let (text, len) = match line(&bytes[at..]) {
            Read::Whole(found) => found,
            Read::Partial => return Read::Partial,
            Read::Bad(why) => return Read::Bad(why),
        };
        at += len;
        match words.clone() {
            None => match start(text) {
                Ok(found) => words = Some(found),
                Err(why) => return Read::Bad(why),
            },
            Some(words) if text.is_empty() => {
                return Read::Whole(Head { words, lines, len: at, skipped: 0 });
            }
            Some(_) => match field_line(text) {
                Ok(found) => lines.push(found),
                Err(why) => return Read::Bad(why),
            },
        }
    }
}

/// A request head; empty lines may stand before it (RFC 9112, 2.2).
pub(super) fn request(bytes: &[u8], bounds: &Bounds) -> Read<Head> {
    let mut skipped = 0;
    while bytes[skipped..].starts_with(b"\r\n") {
        skipped += 2;
    }
    match head(&bytes[skipped..], request_line) {
        Read::Whole(head) if head.len > bounds.head_bytes => Read::Bad("too many bytes"),
        Read::Whole(head) if head.lines.len() > bounds.fields => Read::Bad("too many fields"),
        Read::Whole(head) if head.words[1].len() > bounds.target_bytes => {
            Read::Bad("a target that is too long")
        }
        Read::Whole(head) => Read::Whole(Head { len: head.len + skipped, skipped, ..head }),
        other => other,
    }
}

/// A response head.
pub(super) fn response(bytes: &[u8], bounds: &Bounds) -> Read<Head> {
    match head(bytes, status_line) {
        Read::Whole(head) if head.len > bounds.head_bytes => Read::Bad("too many bytes"),
        Read::Whole(head) if head.lines.len() > bounds.fields => Read::Bad("too many fields"),
        other => other,
    }
}

fn is_version(text: &[u8]) -> bool {
    text == b"HTTP/1.1" || text == b"HTTP/1.0"
}

/// request-line = method SP request-target SP HTTP-version (RFC 9112, 3).
fn request_line(text: &[u8]) -> Result<[Vec<u8>; 3], &'static str> {
    let words: Vec<&[u8]> = text.split(|&byte| byte == b' ').collect();
    let [method, target, version] = words[..] else { return Err("not three words") };
    if method.is_empty() || !method.iter().all(|&byte| is_tchar(byte)) {
        return Err("a method that is no token");
    }
    // Deviation: RFC 3986 knows fewer bytes; browsers send `|`, `"`, `{` and UTF-8 as they are.
    let plain = target.iter().all(|&byte| matches!(byte, 0x21..=0x7e | 0x80..=0xff));
    if target.is_empty() || !plain || std::str::from_utf8(target).is_err() {
        return Err("a target with bytes that have no place there");
    }
    if !is_version(version) {
        return Err("a version that is not spoken");
    }
    Ok([method.to_vec(), target.to_vec(), version.to_vec()])
}

/// status-line = HTTP-version SP status-code SP [ reason-phrase ] (RFC 9112, 4).
fn status_line(text: &[u8]) -> Result<[Vec<u8>; 3], &'static str> {
    let mut words = text.splitn(3, |&byte| byte == b' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().unwrap_or_default();
    // Deviation: the second space may be missing, as many servers have it.
    let reason = words.next().unwrap_or_default();
    if !is_version(version) {
        return Err("a version that is not spoken");
    }
    // Deviation: 600 to 999 are three digits, too, and nobody knows what they mean.
    if !matches!(status, [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9']) {
        return Err("a status that is none");
    }
    if !reason.iter().all(|&byte| is_text(byte)) {
        return Err("a control byte in the reason phrase");
    }
    Ok([version.to_vec(), status.to_vec(), reason.to_vec()])
}

/// What a request head means to who must pass it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) framing: Framing,
    /// Of an absolute-form target.
    pub(super) authority: Option<Vec<u8>>,
    /// Path and query, or `*`.
    pub(super) path: Vec<u8>,
    pub(super) keep: bool,
}

/// RFC 9110, 7.2; RFC 9112, 3.2 and 6; what cannot be meant in one way only is an error.
pub(super) fn meaning(head: &Head) -> Result<Meaning, &'static str> {
    let old = head.is_old();
    let (authority, path) = target(&head.words[0], &head.words[1])?;
    let hosts: Vec<&Line> = head.all("host").collect();
    if hosts.len() > 1 || (hosts.is_empty() && !old) {
        return Err("not one Host");
    }
    if hosts.iter().any(|line| !is_authority(&line.value)) {
        return Err("a Host that is none");
    }
    let known = |word: &Vec<u8>| word.eq_ignore_ascii_case(b"100-continue");
    if !old && !head.list("expect").iter().all(known) {
        return Err("an expectation that nobody knows");
    }
    if protocols(head).len() > PROTOCOLS {
        return Err("too many protocols");
    }
    let framing = match lengths(head)? {
        (true, _) if old => return Err("a transfer coding in HTTP/1.0"),
        (true, Some(_)) => return Err("a transfer coding beside a length"),
        (true, None) => Framing::Chunked,
        (false, length) => Framing::Length(length.unwrap_or(0)),
    };
    Ok(Meaning { framing, authority, path, keep: keeps(head) })
}

/// The most protocols that a request may ask for. Deviation: the RFC has no bound.
const PROTOCOLS: usize = 16;

/// The protocols of `Upgrade` that may be asked for (RFC 9110, 7.8). Deviation: what is not of the
/// form `name/version`, and another HTTP, is left out.
pub(super) fn protocols(head: &Head) -> Vec<Vec<u8>> {
    let is_token = |text: &[u8]| !text.is_empty() && text.iter().all(|&byte| is_tchar(byte));
    let is_fine = |protocol: &Vec<u8>| {
        let (name, version) = match protocol.iter().position(|&byte| byte == b'/') {
            Some(slash) => (&protocol[..slash], Some(&protocol[slash + 1..])),
            None => (&protocol[..], None),
        };
        let lower = String::from_utf8_lossy(name).to_ascii_lowercase();
        let is_http = ["http", "https", "h2", "h2c", "h3"].contains(&lower.as_str());
        is_token(name) && version.is_none_or(is_token) && !is_http
    };
    head.list("upgrade").into_iter().filter(is_fine).collect()
}

/// What a request asks to switch to, if it may.
pub(super) fn asked_for(head: &Head) -> Vec<Vec<u8>> {
    if head.is_old() || !head.says("connection", "upgrade") { Vec::new() } else { protocols(head) }
}

/// RFC 9112, 6.3, for an answer to `HEAD` or to something else.
pub(super) fn response_framing(head: &Head, to_head: bool) -> Result<Framing, &'static str> {
    let (chunked, length) = lengths(head)?;
    if chunked && head.is_old() {
        return Err("a transfer coding in HTTP/1.0");
    }
    if to_head || matches!(head.status(), 100..=199 | 204 | 304) {
        return Ok(Framing::Length(0));
    }
    Ok(match (chunked, length) {
        (true, _) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    })
}

/// RFC 9112, 9.3.
pub(super) fn keeps(head: &Head) -> bool {
    !head.says("connection", "close") && (!head.is_old() || head.says("connection", "keep-alive"))
}

/// The most words that `Connection` may hold. Deviation: the RFC has no bound.
const CONNECTION_WORDS: usize = 64;

/// Whether `chunked` is said, and which length.
fn lengths(head: &Head) -> Result<(bool, Option<u64>), &'static str> {
    if head.list("connection").len() > CONNECTION_WORDS {
        return Err("too many connection options");
    }
    let mut length = None;
    for line in head.all("content-length") {
        // Deviation: more than 18 digits, and a list of equal numbers, are no length.
        let digits = line.value.iter().all(u8::is_ascii_digit) && !line.value.is_empty();
        let number = String::from_utf8_lossy(&line.value).parse::<u64>();
        match number {
            Ok(number) if digits && line.value.len() <= 18 => {
                if length.is_some_and(|before| before != number) {
                    return Err("two lengths");
                }
                length = Some(number);
            }
            _ => return Err("a length that is no number"),
        }
    }
    // Deviation: no other coding is understood, and no list of them.
    let codings: Vec<&Line> = head.all("transfer-encoding").collect();
    match codings[..] {
        [] => Ok((false, length)),
        [line] if line.value.eq_ignore_ascii_case(b"chunked") => Ok((true, length)),
        _ => Err("a transfer coding that is not understood"),
    }
}

/// The four forms of a target (RFC 9112, 3.2), without authority-form: CONNECT is not served.
fn target(method: &[u8], target: &[u8]) -> Result<(Option<Vec<u8>>, Vec<u8>), &'static str> {
    if method == b"CONNECT" {
        return Err("CONNECT");
    }
    if target.contains(&b'#') {
        return Err("a fragment");
    }
    if target == b"*" && method == b"OPTIONS" || target.starts_with(b"/") {
        return Ok((None, target.to_vec()));
    }
    // Deviation: only the two schemes that could be meant for us.
    let lower = target.to_ascii_lowercase();
    let scheme = ["http://", "https://"].into_iter().find(|s| lower.starts_with(s.as_bytes()));
    let rest = &target[scheme.ok_or("a target in no known form")?.len()..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = (&rest[..end], &rest[end..]);
    // RFC 9110, 4.2.1: an empty host is invalid.
    if authority.is_empty() || authority.starts_with(b":") || !is_authority(authority) {
        return Err("an authority that is none");
    }
    let path = if path.is_empty() { b"/" } else { path };
    Ok((Some(authority.to_vec()), path.to_vec()))
}

/// uri-host [ ":" port ] (RFC 9110, 7.2; RFC 3986, 3.2.2).
pub(super) fn is_authority(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((literal, port)) = rest.split_once(']') else { return false };
            // Deviation: of the literals only IPv6, for nobody has seen another one.
            if literal.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("", port)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    // Deviation: a port has five digits at most.
    let digits = port.strip_prefix(':').unwrap_or("");
    let port_fine = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    (port.is_empty() || port.starts_with(':')) && port_fine && is_reg_name(host.as_bytes())
}

/// reg-name = *( unreserved / pct-encoded / sub-delims ) (RFC 3986, 3.2.2).
fn is_reg_name(host: &[u8]) -> bool {
    let mut at = 0;
    while at < host.len() {
        let encoded = |n: usize| host.get(at + n).is_some_and(u8::is_ascii_hexdigit);
        match host[at] {
            b'%' if encoded(1) && encoded(2) => at += 3,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => at += 1,
            b'-' | b'.' | b'_' | b'~' => at += 1,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => at += 1,
            _ => return false,
        }
    }
    true
}
