//! The answers of backends, in all the ways in which HTTP/1.1 lets one say the same, and some in
//! which it does not.

use super::dice::{Dice, pattern};
use super::message::chunked;
use super::plan::{ANSWER, CHANGED, Request, SHED};

/// Bytes of a body that says "too busy".
pub(super) const SHED_LEN: usize = 60;

/// An answer, ready to be sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    /// So many of them are 1xx heads, which may go out before the request is whole.
    pub(super) interim: usize,
    /// So many of them are heads.
    pub(super) heads: usize,
    /// The connection ends with it.
    pub(super) closes: bool,
    /// The body ends where the connection ends.
    pub(super) until_close: bool,
}

/// A right answer to `request`.
pub(super) fn compose(request: &Request, closes: bool, interim: bool, dice: &mut Dice) -> Answer {
    let mut head = String::new();
    if request.expect && dice.chance(50) {
        head += "HTTP/1.1 100 Continue\r\n\r\n";
    }
    if interim {
        head += "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    }
    let interim = head.len();
    let bodiless = matches!(request.status, 204 | 304);
    let empty = bodiless || request.method == "HEAD";
    let body = pattern(request.id, ANSWER, request.answer_len);
    let form = if request.resumable { 7 } else { dice.below(10) };
    let old = form == 9;
    let until_close = !empty && (form == 8 || (old && dice.chance(50)));
    let in_chunks = !bodiless && !old && !until_close && form < 4;
    let closes = closes || until_close || old;

    head += if old { "HTTP/1.0 " } else { "HTTP/1.1 " };
    head += &format!("{} Fine, thanks\r\nX-Sim-Id: {}\r\n", request.status, request.id);
    head += "Set-Cookie: a\r\nset-cookie: b\r\n";
    if request.resumable {
        head += &format!("Accept-Ranges: bytes\r\nETag: {}\r\n", etag(request));
    }
    match (closes && !old, dice.chance(20)) {
        (true, true) => head += "Connection: X-Hop, close\r\nX-Hop: 1\r\n",
        (true, false) => head += "Connection: close\r\n",
        (false, true) => head += "Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n",
        (false, false) => {}
    }
    if in_chunks {
        head += "Transfer-Encoding: chunked\r\n";
    } else if !bodiless && !until_close {
        head += &format!("Content-Length: {}\r\n", request.answer_len);
    }
    let trailer = in_chunks && dice.chance(25);
    head += if trailer { "Trailer: X-Trail\r\n\r\n" } else { "\r\n" };
    let (mut bytes, heads) = (head.clone().into_bytes(), head.len());
    if in_chunks && !empty {
        let line = format!("X-Trail: {}", request.id);
        bytes.extend(chunked(&body, trailer.then_some(&line), dice));
    } else if !empty {
        bytes.extend(body);
    }
    Answer { bytes, interim, heads, closes, until_close }
}

/// The entity tag of the answer to `request`.
pub(super) fn etag(request: &Request) -> String {
    format!("\"v{}\"", request.id)
}

fn put_together(head: &str, body: &[u8], closes: bool) -> Answer {
    let bytes = [head.as_bytes(), body].concat();
    Answer { bytes, interim: 0, heads: head.len(), closes, until_close: false }
}

/// The rest of an answer from byte `from` on, as it should be.
pub(super) fn compose_rest(request: &Request, from: usize, dice: &mut Dice) -> Answer {
    let (tag, total) = (etag(request), request.answer_len);
    let hint = if dice.chance(20) { "HTTP/1.1 103 Early Hints\r\n\r\n" } else { "" };
    let head = format!(
        "{hint}HTTP/1.1 206 Partial\r\nX-Sim-Id: other\r\nETag: {tag}\r\n\
         Content-Range: bytes {from}-{}/{total}\r\nContent-Length: {}\r\n\r\n",
        total - 1,
        total - from
    );
    put_together(&head, &pattern(request.id, ANSWER, total)[from..], false)
}

/// What was asked for is the rest; what comes is something else.
pub(super) fn compose_lie(request: &Request, from: usize, dice: &mut Dice) -> Answer {
    let (tag, total) = (etag(request), request.answer_len);
    let (old, new) = (pattern(request.id, ANSWER, total), pattern(request.id, CHANGED, total));
    let part = |tag: &str, first: usize, all: usize, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 206 Partial\r\nETag: {tag}\r\nContent-Range: bytes {first}-{}/{all}\r\n\
             Content-Length: {}\r\n\r\n",
            first + body.len() - 1,
            body.len()
        );
        put_together(&head, body, false)
    };
    let whole = |tag: &str, body: &[u8]| {
        let len = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: {len}\r\n\r\n");
        put_together(&head, body, false)
    };
    match dice.below(9) {
        // As long as it should be, and one byte off.
        8 if from > 0 => part(&tag, from - 1, total, &old[from - 1..total - 1]),
        0 => part("\"other\"", from, total, &new[from..]),
        1 => part(&format!("W/{tag}"), from, total, &new[from..]),
        2 => part(&tag, 0, total, &old),
        3 => part(&tag, from, total + 9, &old[from..]),
        4 => whole(&tag, &old),
        5 => whole("\"other\"", &new),
        6 => {
            let head = format!(
                "HTTP/1.1 206 Partial\r\nETag: {tag}\r\nContent-Range: bytes {from}-{}/{total}\r\n\
                 Transfer-Encoding: chunked\r\n\r\n",
                total - 1
            );
            put_together(&head, &chunked(&old[from..], None, dice), false)
        }
        _ => put_together("HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n", b"", false),
    }
}

/// The endpoint is too busy: another one may have time.
pub(super) fn shed(request: &Request) -> Answer {
    let body = pattern(request.id, SHED, SHED_LEN);
    let body = if request.method == "HEAD" { &[] } else { &body[..] };
    let head = format!(
        "HTTP/1.1 503 Busy\r\nX-Sim-Id: {}\r\nX-Sim-Shed: 1\r\nContent-Length: {SHED_LEN}\r\n\r\n",
        request.id
    );
    put_together(&head, body, false)
}

/// Bytes that are not an answer.
pub(super) fn garbage(dice: &mut Dice) -> Answer {
    let bytes: &[u8] = dice.pick(&[
        b"HTTP/9.9 200 What\r\n\r\n",
        b"\0\0\0\0garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
    ]);
    let heads = bytes.len();
    Answer { bytes: bytes.to_vec(), interim: 0, heads, closes: true, until_close: false }
}
