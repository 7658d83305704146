//! The answers of backends, in all the ways in which HTTP/1.1 lets one say the same, and some in
//! which it does not.

use super::dice::{Dice, pattern};
use super::message::chunked;
use super::plan::{ANSWER, Request};

/// An answer, ready to be sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    /// So many of them are 1xx heads, which may go out before the request is whole.
    pub(super) interim: usize,
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
    let form = dice.below(10);
    let old = form == 9;
    let until_close = !empty && (form == 8 || (old && dice.chance(50)));
    let in_chunks = !bodiless && !old && !until_close && form < 4;
    let closes = closes || until_close || old;

    head += if old { "HTTP/1.0 " } else { "HTTP/1.1 " };
    head += &format!("{} Fine, thanks\r\nX-Sim-Id: {}\r\n", request.status, request.id);
    head += "Set-Cookie: a\r\nset-cookie: b\r\n";
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
    let mut bytes = head.into_bytes();
    if in_chunks && !empty {
        let line = format!("X-Trail: {}", request.id);
        bytes.extend(chunked(&body, trailer.then_some(&line), dice));
    } else if !empty {
        bytes.extend(body);
    }
    Answer { bytes, interim, closes, until_close }
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
    Answer { bytes: bytes.to_vec(), interim: 0, closes: true, until_close: false }
}
