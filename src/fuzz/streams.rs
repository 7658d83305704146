//! The second reader on whole connections: a stream of bytes as requests, or as the answers to
//! them.

use super::chunks::chunked;
use super::reader::{self, Bounds, Framing, Head, Meaning, Read};

/// One request of a stream.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) head: Head,
    pub(super) meaning: Meaning,
    /// The content, as far as it is here.
    pub(super) data: Vec<u8>,
    pub(super) whole: bool,
    /// Where it begins and where it ends, or would go on.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What stands behind the last message that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing, or the beginning of a message.
    Open,
    /// What is no message, or what makes the last one none.
    Bad(&'static str),
    /// Bytes of another protocol, from here on.
    Opaque(usize),
}

/// What of a body stands at the beginning of `bytes`: the content, its end if it has one.
fn body(bytes: &[u8], framing: Framing) -> Result<(Vec<u8>, Option<usize>), &'static str> {
    match framing {
        Framing::Length(length) => {
            let here = bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            Ok((bytes[..here].to_vec(), (here as u64 == length).then_some(here)))
        }
        Framing::Chunked => {
            let chunks = chunked(bytes)?;
            Ok((chunks.data, chunks.done.then_some(chunks.len)))
        }
        Framing::UntilClose => Ok((bytes.to_vec(), None)),
    }
}

/// All requests of a stream. After the request number `tunnel` another protocol is spoken.
pub(super) fn requests(
    bytes: &[u8],
    bounds: &Bounds,
    tunnel: Option<usize>,
) -> (Vec<Request>, Tail) {
    let mut found: Vec<Request> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if tunnel.is_some_and(|last| last + 1 == found.len()) {
            return (found, Tail::Opaque(at));
        }
        let head = match reader::request(&bytes[at..], bounds) {
            Read::Whole(head) => head,
            Read::Partial => return (found, Tail::Open),
            Read::Bad(why) => return (found, Tail::Bad(why)),
        };
        let meaning = match reader::meaning(&head) {
            Ok(meaning) => meaning,
            Err(why) => return (found, Tail::Bad(why)),
        };
        let (start, from) = (at, at + head.len);
        let (data, end, wrong) = match body(&bytes[from..], meaning.framing) {
            Ok((data, end)) => (data, end, None),
            Err(why) => (Vec::new(), None, Some(why)),
        };
        at = end.map_or(bytes.len(), |len| from + len);
        let whole = end.is_some();
        found.push(Request { head, meaning, data, whole, start, end: at });
        if let Some(why) = wrong {
            return (found, Tail::Bad(why));
        }
    }
    (found, Tail::Open)
}

/// One answer of a stream.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) head: Head,
    pub(super) framing: Framing,
    pub(super) data: Vec<u8>,
    /// It has come to its end. Nobody can tell where the end of the stream is its end.
    pub(super) whole: bool,
    /// Where it ends, or would go on.
    pub(super) end: usize,
}

impl Response {
    pub(super) fn is_interim(&self) -> bool {
        self.head.status() < 200
    }
}

/// All answers of a stream; `to_head` says of each final one whether HEAD was asked.
pub(super) fn responses(
    bytes: &[u8],
    bounds: &Bounds,
    to_head: impl Fn(usize) -> bool,
) -> (Vec<Response>, Tail) {
    let mut found: Vec<Response> = Vec::new();
    let (mut at, mut finals) = (0, 0);
    while at < bytes.len() {
        let head = match reader::response(&bytes[at..], bounds) {
            Read::Whole(head) => head,
            Read::Partial => return (found, Tail::Open),
            Read::Bad(why) => return (found, Tail::Bad(why)),
        };
        let framing = match reader::response_framing(&head, to_head(finals)) {
            Ok(framing) => framing,
            Err(why) => return (found, Tail::Bad(why)),
        };
        at += head.len;
        let (status, keeps) = (head.status(), reader::keeps(&head));
        let (data, end) = match body(&bytes[at..], framing) {
            Ok(body) => body,
            Err(why) => return (found, Tail::Bad(why)),
        };
        at = end.map_or(bytes.len(), |len| at + len);
        found.push(Response { head, framing, data, whole: end.is_some(), end: at });
        if status == 101 {
            return (found, Tail::Opaque(at));
        }
        finals += usize::from(status >= 200);
        if status >= 200 && !keeps && at < bytes.len() {
            return (found, Tail::Bad("more behind an answer that closes"));
        }
    }
    (found, Tail::Open)
}
