//! Reading and writing HTTP/1.1 for the peers of the proxy.
//!
//! A second, naive reader, on purpose: if clients and backends used `crate::h1`, a mistake in
//! there would be invisible here. It is as strict as a test should be and keeps whole bodies.

use super::dice::Dice;

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// The first lines of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub(super) start: String,
    pub(super) fields: Vec<(String, String)>,
}

impl Head {
    /// All values of the fields called `name`, in order.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of the first field called `name`.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Whether the list in the fields called `name` contains `token`.
    pub(super) fn lists(&self, name: &str, token: &str) -> bool {
        let values = self.all(name);
        values.iter().any(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
    }

    /// Word number `n` of the first line.
    pub(super) fn word(&self, n: usize) -> &str {
        self.start.splitn(3, ' ').nth(n).unwrap_or("")
    }

    /// The framing, if the message has a body by its fields.
    pub(super) fn framing(&self) -> Result<Option<Framing>, String> {
        let (lengths, codings) = (self.all("content-length"), self.all("transfer-encoding"));
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(None),
            ([], ["chunked"]) => Ok(Some(Framing::Chunked)),
            ([length], []) => {
                let length = length.parse().map_err(|_| format!("Content-Length: {length}"))?;
                Ok(Some(Framing::Length(length)))
            }
            _ => Err(format!("two framings: {lengths:?} and {codings:?}")),
        }
    }

    fn parse(text: &[u8]) -> Result<Head, String> {
        let text = String::from_utf8(text.to_vec()).map_err(|_| "head is not text")?;
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or("").to_string();
        let mut fields = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or(format!("no colon in {line:?}"))?;
            fields.push((name.to_string(), value.trim().to_string()));
        }
        Ok(Head { start, fields })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Head,
    Bytes(usize),
    ToEnd,
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
    Trailers,
    Whole,
}

/// What has come in on one connection, and how far it is understood.
#[derive(Debug)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    at: At,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Head,
}

impl Incoming {
    pub(super) fn new() -> Incoming {
        Incoming { bytes: Vec::new(), at: At::Head, body: Vec::new(), trailers: Head::default() }
    }

    /// More bytes have come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether bytes lie here that nobody has understood yet.
    pub(super) fn has_leftover(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The beginning of a head whose end never came.
    pub(super) fn half_a_head(&self) -> Option<String> {
        let half = self.at == At::Head && !self.bytes.is_empty();
        half.then(|| String::from_utf8_lossy(&self.bytes).into_owned())
    }

    /// Whether a body is being read.
    pub(super) fn in_body(&self) -> bool {
        self.at != At::Head
    }

    /// The next head, if it is here to its end.
    pub(super) fn take_head(&mut self) -> Result<Option<Head>, String> {
        assert_eq!(self.at, At::Head, "a head is read between two messages");
        // Without this, the middle of a body would be waited on as half a head.
        if let Some(first) = self.bytes.first().filter(|first| !first.is_ascii_uppercase()) {
            return Err(format!("a head that begins with byte {first}"));
        }
        let Some(end) = find(&self.bytes, b"\r\n\r\n") else { return Ok(None) };
        let head = Head::parse(&self.bytes[..end])?;
        self.bytes.drain(..end + 4);
        Ok(Some(head))
    }

    /// After a head: how its body comes.
    pub(super) fn begin_body(&mut self, framing: Framing) {
        self.body.clear();
        self.trailers = Head::default();
        self.at = match framing {
            Framing::Length(0) => At::Whole,
            Framing::Length(n) => At::Bytes(n),
            Framing::Chunked => At::ChunkSize,
            Framing::UntilClose => At::ToEnd,
        };
    }

    /// Reads on; true if the message is whole. The next head may be asked for then.
    pub(super) fn advance(&mut self) -> Result<bool, String> {
        while self.at != At::Whole {
            let before = (self.at, self.bytes.len());
            self.step()?;
            if before == (self.at, self.bytes.len()) {
                return Ok(false);
            }
        }
        self.at = At::Head;
        Ok(true)
    }

    /// The peer's end has come: whether the message is whole by that.
    pub(super) fn end(&mut self) -> bool {
        let whole = self.at == At::ToEnd;
        self.at = At::Head;
        whole
    }

    fn step(&mut self) -> Result<(), String> {
        match self.at {
            At::Head | At::Whole => {}
            At::ToEnd => self.body.append(&mut self.bytes),
            At::Bytes(n) => {
                let left = self.take(n);
                self.at = if left == 0 { At::Whole } else { At::Bytes(left) };
            }
            At::Chunk(n) => {
                let left = self.take(n);
                self.at = if left == 0 { At::ChunkEnd } else { At::Chunk(left) };
            }
            At::ChunkEnd if self.bytes.len() < 2 => {}
            At::ChunkEnd => {
                if self.bytes.drain(..2).ne(*b"\r\n") {
                    return Err("a chunk does not end where it said".into());
                }
                self.at = At::ChunkSize;
            }
            At::ChunkSize => {
                let Some(end) = find(&self.bytes, b"\r\n") else { return Ok(()) };
                let line = String::from_utf8_lossy(&self.bytes[..end]).into_owned();
                self.bytes.drain(..end + 2);
                let digits = line.split(';').next().unwrap_or("").trim();
                let size = usize::from_str_radix(digits, 16);
                let size = size.map_err(|_| format!("chunk size {line:?}"))?;
                self.at = if size == 0 { At::Trailers } else { At::Chunk(size) };
            }
            At::Trailers => {
                let end = if self.bytes.starts_with(b"\r\n") {
                    Some(0)
                } else {
                    find(&self.bytes, b"\r\n\r\n").map(|end| end + 2)
                };
                let Some(end) = end else { return Ok(()) };
                let lines = [b"\r\n", &self.bytes[..end]].concat();
                self.trailers = Head::parse(&lines)?;
                self.bytes.drain(..end + 2);
                self.at = At::Whole;
            }
        }
        Ok(())
    }

    /// Takes up to `n` bytes of body; gives how many are still to come.
    fn take(&mut self, n: usize) -> usize {
        let here = n.min(self.bytes.len());
        self.body.extend(self.bytes.drain(..here));
        n - here
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// `body` in chunks of random sizes, with an extension now and then, and `trailer` at the end.
pub(super) fn chunked(body: &[u8], trailer: Option<&str>, dice: &mut Dice) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 64);
    let mut rest = body;
    while !rest.is_empty() {
        let n = if dice.chance(50) { rest.len() } else { dice.between(1, rest.len()) };
        let extension = if dice.chance(10) { ";note=\"a b\";x" } else { "" };
        let size = if dice.chance(10) { format!("0{n:X}") } else { format!("{n:x}") };
        out.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
        out.extend_from_slice(&rest[..n]);
        out.extend_from_slice(b"\r\n");
        rest = &rest[n..];
    }
    out.extend_from_slice(b"0\r\n");
    if let Some(trailer) = trailer {
        out.extend_from_slice(trailer.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_in_chunks_is_read_back_at_every_cut() {
        let body = super::super::dice::pattern(1, 2, 300);
        let mut text = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        text.extend(chunked(&body, Some("X-Trail: 1"), &mut Dice::new(1, 1)));
        for cut in 0..text.len() {
            let mut incoming = Incoming::new();
            let mut whole = false;
            for part in [&text[..cut], &text[cut..]] {
                incoming.push(part);
                if !incoming.in_body() {
                    let Some(head) = incoming.take_head().unwrap() else { continue };
                    assert_eq!(head.word(0), "POST");
                    incoming.begin_body(head.framing().unwrap().unwrap());
                }
                whole = incoming.advance().unwrap();
            }
            assert!(whole && incoming.body == body && !incoming.has_leftover(), "cut at {cut}");
            assert_eq!(incoming.trailers.get("x-trail"), Some("1"));
        }
    }
}
