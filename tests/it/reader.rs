//! A second reader of HTTP/1.1, written from the grammar of RFC 9112 alone, for the corpus.
//!
//! It shares no code with the proxy nor with `wire`, and reads from left to right, a byte at a
//! time, with no library. It is strict: one reading or none. It says how many messages lie in some
//! bytes, where each of them ends, and whether the last one is only begun. Where it is wider than
//! the grammar, it says so. It does not know the proxy's rules, and nothing of a connection but
//! whether it has ended.

/// Why no whole message lies at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Nothing of it is wrong so far; it has only begun.
    Begun,
    /// The head is whole and right, the rest has only begun.
    HeadOnly,
    /// It is not HTTP/1.1, and will never be.
    Wrong(&'static str),
}

/// A field line: name and value, without the white space around the value.
pub(crate) type Field = (Vec<u8>, Vec<u8>);

/// A request, as far as this reader understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Bytes of the whole message.
    pub(crate) len: usize,
    pub(crate) method: Vec<u8>,
    pub(crate) target: Vec<u8>,
    /// The digit behind `HTTP/1.`.
    pub(crate) minor: u8,
    pub(crate) fields: Vec<Field>,
    /// The content, without framing.
    pub(crate) content: Vec<u8>,
}

/// A response, as far as this reader understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// Bytes of the whole message.
    pub(crate) len: usize,
    pub(crate) status: u16,
    pub(crate) fields: Vec<Field>,
    pub(crate) content: Vec<u8>,
}

/// The values of all lines with this name.
pub(crate) fn values<'a>(fields: &'a [Field], name: &str) -> Vec<&'a [u8]> {
    let named = |field: &&Field| field.0.eq_ignore_ascii_case(name.as_bytes());
    fields.iter().filter(named).map(|field| field.1.as_slice()).collect()
}

/// Reads one request from the beginning of `bytes`.
pub(crate) fn request(bytes: &[u8]) -> Result<Request, Unread> {
    let mut from = Cursor { bytes, at: 0 };
    let method = from.token("the method is no token")?;
    from.byte(b' ', "no single space behind the method")?;
    let target = from.target()?;
    from.byte(b' ', "no single space behind the target")?;
    let minor = from.version()?;
    from.crlf("the request line does not end in CRLF")?;
    let fields = from.fields()?;
    let hosts = values(&fields, "host");
    if hosts.len() > 1 || (minor == 1 && hosts.is_empty()) {
        return Err(Unread::Wrong("not exactly one Host"));
    }
    if !hosts.iter().all(|host| is_authority(host)) {
        return Err(Unread::Wrong("the Host is none"));
    }
    let content = match framing(&fields, minor)? {
        Framing::Chunked => from.chunks()?,
        Framing::Length(length) => from.content(length)?,
        Framing::Unsaid => Vec::new(),
    };
    Ok(Request { len: from.at, method, target, minor, fields, content })
}

/// Reads one response to a request with this method from the beginning of `bytes`; interim ones
/// are messages of their own. `ended`: no byte will follow.
pub(crate) fn response(bytes: &[u8], method: &[u8], ended: bool) -> Result<Response, Unread> {
    let mut from = Cursor { bytes, at: 0 };
    let minor = from.version()?;
    from.byte(b' ', "no single space behind the version")?;
    let mut status = 0;
    for _ in 0..3 {
        let digit = from.next()?;
        if !digit.is_ascii_digit() {
            return Err(Unread::Wrong("the status is not three digits"));
        }
        status = status * 10 + u16::from(digit - b'0');
    }
    // Wider than the grammar: without a reason many servers leave out the space as well.
    if from.peek()? != b'\r' {
        from.byte(b' ', "no single space behind the status")?;
        from.skip_text()?;
    }
    from.crlf("the status line does not end in CRLF")?;
    let fields = from.fields()?;
    let framed = framing(&fields, minor)?;
    let bare = status < 200 || status == 204 || status == 304 || method == b"HEAD";
    let content = match framed {
        _ if bare => Vec::new(),
        Framing::Chunked => from.chunks()?,
        Framing::Length(length) => from.content(length)?,
        Framing::Unsaid if ended => from.all(),
        Framing::Unsaid => return Err(Unread::HeadOnly),
    };
    Ok(Response { len: from.at, status, fields, content })
}

/// Whether the end of the connection is the end of the response that begins `bytes`: its head is
/// whole, and says neither a length nor chunks.
pub(crate) fn ends_with_connection(bytes: &[u8], method: &[u8]) -> bool {
    response(bytes, method, false) == Err(Unread::HeadOnly) && response(bytes, method, true).is_ok()
}

enum Framing {
    Chunked,
    Length(u64),
    Unsaid,
}

/// RFC 9112 section 6.3, and nothing where two readers could differ.
fn framing(fields: &[Field], minor: u8) -> Result<Framing, Unread> {
    let codings = values(fields, "transfer-encoding");
    let lengths = values(fields, "content-length");
    if let [coding, more @ ..] = codings.as_slice() {
        if !more.is_empty() || !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(Unread::Wrong("a transfer coding other than one chunked"));
        }
        if !lengths.is_empty() || minor == 0 {
            return Err(Unread::Wrong("chunked beside a length, or in HTTP/1.0"));
        }
        return Ok(Framing::Chunked);
    }
    let [first, more @ ..] = lengths.as_slice() else { return Ok(Framing::Unsaid) };
    if more.iter().any(|other| other != first) {
        return Err(Unread::Wrong("two lengths"));
    }
    if first.is_empty() || !first.iter().all(u8::is_ascii_digit) {
        return Err(Unread::Wrong("the length is not digits"));
    }
    let mut length = 0_u64;
    for digit in *first {
        let next = length.checked_mul(10).and_then(|l| l.checked_add(u64::from(digit - b'0')));
        length = next.ok_or(Unread::Wrong("the length is beyond counting"))?;
    }
    Ok(Framing::Length(length))
}

/// `uri-host [ ":" port ]` of RFC 9110 section 7.2; may be empty.
fn is_authority(host: &[u8]) -> bool {
    let text = host.iter().all(|b| (0x21..0x7f).contains(b) && !b"\"/<>?@\\^`{|}#".contains(b));
    let colon = host.iter().rposition(|&b| b == b':');
    let literal = host.first() == Some(&b'[');
    let (name, port) = match colon {
        Some(at) if !literal || host[..at].last() == Some(&b']') => (&host[..at], &host[at + 1..]),
        _ => (host, &b""[..]),
    };
    let bracketed = literal && name.len() > 2 && name.last() == Some(&b']');
    let inner = name.strip_prefix(b"[").and_then(|n| n.strip_suffix(b"]")).unwrap_or(name);
    let plain = !inner.iter().any(|b| b"[]".contains(b)) && (bracketed || !inner.contains(&b':'));
    text && literal == bracketed && plain && port.iter().all(u8::is_ascii_digit)
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_tchar(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
        || matches!(byte, b'^' | b'_' | b'`' | b'|' | b'~')
}

/// What a field value, a reason or a quoted string may hold: VCHAR, SP, HTAB, obs-text.
fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..=0xff)
}

/// A place in some bytes. What it hands out lies before it.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Result<u8, Unread> {
        self.bytes.get(self.at).copied().ok_or(Unread::Begun)
    }

    fn next(&mut self) -> Result<u8, Unread> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    fn byte(&mut self, wanted: u8, or: &'static str) -> Result<(), Unread> {
        if self.next()? == wanted { Ok(()) } else { Err(Unread::Wrong(or)) }
    }

    fn crlf(&mut self, or: &'static str) -> Result<(), Unread> {
        self.byte(b'\r', or)?;
        self.byte(b'\n', or)
    }

    fn token(&mut self, or: &'static str) -> Result<Vec<u8>, Unread> {
        let begin = self.at;
        while is_tchar(self.peek()?) {
            self.at += 1;
        }
        if self.at == begin {
            Err(Unread::Wrong(or))
        } else {
            Ok(self.bytes[begin..self.at].into())
        }
    }

    /// Wider than the grammar: bytes beyond ASCII, which browsers of old and many tools send raw.
    fn target(&mut self) -> Result<Vec<u8>, Unread> {
        let begin = self.at;
        while matches!(self.peek()?, 0x21..=0x7e | 0x80..=0xff) {
            self.at += 1;
        }
        let target = &self.bytes[begin..self.at];
        let absolute = target.len() > 4 && target[..4].eq_ignore_ascii_case(b"http");
        if target.contains(&b'#') || !(target.starts_with(b"/") || target == b"*" || absolute) {
            return Err(Unread::Wrong("the target is of no known form"));
        }
        Ok(target.into())
    }

    fn version(&mut self) -> Result<u8, Unread> {
        for wanted in *b"HTTP/1." {
            self.byte(wanted, "not HTTP/1.0 or HTTP/1.1")?;
        }
        match self.next()? {
            digit @ (b'0' | b'1') => Ok(digit - b'0'),
            _ => Err(Unread::Wrong("not HTTP/1.0 or HTTP/1.1")),
        }
    }

    fn skip_text(&mut self) -> Result<(), Unread> {
        while is_text(self.peek()?) {
            self.at += 1;
        }
        Ok(())
    }

    /// Field lines up to the empty line, which is taken too.
    fn fields(&mut self) -> Result<Vec<Field>, Unread> {
        let mut fields = Vec::new();
        while self.peek()? != b'\r' {
            let name = self.token("a line does not begin with a field name")?;
            self.byte(b':', "no colon right behind a field name")?;
            let begin = self.at;
            self.skip_text()?;
            let mut value = &self.bytes[begin..self.at];
            while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
                value = rest;
            }
            self.crlf("a field line does not end in CRLF")?;
            fields.push((name, value.to_vec()));
        }
        self.crlf("the head does not end in CRLF")?;
        Ok(fields)
    }

    fn content(&mut self, length: u64) -> Result<Vec<u8>, Unread> {
        let rest = &self.bytes[self.at..];
        if (rest.len() as u64) < length {
            return Err(Unread::HeadOnly);
        }
        let content = rest[..length as usize].to_vec();
        self.at += content.len();
        Ok(content)
    }

    fn all(&mut self) -> Vec<u8> {
        let content = self.bytes[self.at..].to_vec();
        self.at = self.bytes.len();
        content
    }

    /// RFC 9112 section 7.1. From here on what is missing is missing of the content.
    fn chunks(&mut self) -> Result<Vec<u8>, Unread> {
        self.chunked().map_err(|unread| match unread {
            Unread::Begun => Unread::HeadOnly,
            other => other,
        })
    }

    fn chunked(&mut self) -> Result<Vec<u8>, Unread> {
        let mut content = Vec::new();
        loop {
            let size = self.chunk_size()?;
            if self.peek()? == b';' {
                self.chunk_extension()?;
            }
            self.crlf("a chunk's first line does not end in CRLF")?;
            if size == 0 {
                self.fields()?;
                return Ok(content);
            }
            content.extend(self.content(size)?);
            self.crlf("a chunk's data does not end in CRLF")?;
        }
    }

    fn chunk_size(&mut self) -> Result<u64, Unread> {
        let (mut size, mut digits) = (0_u64, 0);
        while let Some(digit) = char::from(self.peek()?).to_digit(16) {
            let grown = size.checked_mul(16).ok_or(Unread::Wrong("the chunk is beyond counting"));
            (size, digits) = (grown? + u64::from(digit), digits + 1);
            self.at += 1;
        }
        if digits == 0 { Err(Unread::Wrong("a chunk without a size")) } else { Ok(size) }
    }

    /// Up to the end of the line. Wider than the grammar: what stands outside of quotes may be any
    /// text, because it ends in the same place for everybody. A quoted string must be closed.
    fn chunk_extension(&mut self) -> Result<(), Unread> {
        self.byte(b';', "no chunk extension")?;
        while is_text(self.peek()?) {
            if self.next()? == b'"' {
                self.quoted_string()?;
            }
        }
        Ok(())
    }

    /// What follows an opening quote, the closing one included.
    fn quoted_string(&mut self) -> Result<(), Unread> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' if is_text(self.peek()?) => self.at += 1,
                byte if is_text(byte) && byte != b'\\' => {}
                _ => return Err(Unread::Wrong("a quoted string that is not closed")),
            }
        }
    }
}
