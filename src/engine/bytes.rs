//! Single moves: read once, write what goes, let framing judge what is there.
//!
//! Every socket of the engine is read and written here, whoever asks. This file does not know
//! exchanges: it sees one socket, its readiness and one buffer.

use std::io::{self, ErrorKind};

use crate::buf::Buf;
use crate::endpoint::Failure;
use crate::h1::Bad;
use crate::h1::body::Body;
use crate::h1::chunk::Judged;
use crate::net::{Net, Ready};

/// What a read gave.
pub(super) enum Pulled {
    Bytes(usize),
    /// Nothing now; there will be an event.
    Nothing,
    End,
    Failed(ErrorKind),
}

/// Reads once into the free space, which must not be empty.
///
/// A short read means that the socket is drained, unless its end is in sight: then no further
/// event would come for it.
pub(super) fn pull<N: Net>(
    net: &mut N,
    sock: &mut N::Stream,
    ready: &mut Ready,
    into: &mut Buf,
) -> Pulled {
    loop {
        if !ready.has(Ready::READ) {
            return Pulled::Nothing;
        }
        let space = into.space();
        debug_assert!(!space.is_empty());
        let room = space.len();
        match net.read(sock, space) {
            Ok(0) => return Pulled::End,
            Ok(n) => {
                into.filled(n);
                if n < room && !ready.has(Ready::END) {
                    *ready = ready.without(Ready::READ);
                }
                return Pulled::Bytes(n);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                *ready = ready.without(Ready::READ);
            }
            Err(error) => return Pulled::Failed(error.kind()),
        }
    }
}

/// Writes what is pending until it is gone or would block; gives how many bytes went. `last`: our
/// end follows at once when all is gone.
pub(super) fn push<N: Net>(
    net: &mut N,
    sock: &mut N::Stream,
    ready: &mut Ready,
    from: &mut Buf,
    last: bool,
) -> io::Result<usize> {
    let mut sum = 0;
    while from.has_pending() && ready.has(Ready::WRITE) {
        let bytes = from.pending();
        match if last { net.write_last(sock, bytes) } else { net.write(sock, bytes) } {
            Ok(n) => {
                from.wrote(n);
                sum += n;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                *ready = ready.without(Ready::WRITE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(sum)
}

/// Lets framing judge everything in the buffer that it can judge.
#[inline]
pub(super) fn judge(body: &mut Body, buf: &mut Buf) -> Result<(), Bad> {
    if let Body::Length(left) = body {
        let keep = buf.fresh_len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= keep as u64;
        buf.release(keep);
        return Ok(());
    }
    sift(body, buf)
}

fn sift(body: &mut Body, buf: &mut Buf) -> Result<(), Bad> {
    buf.sift(|fresh| {
        if body.is_done() {
            return Ok(None);
        }
        let judged = body.advance(fresh)?;
        Ok((judged != Judged::default()).then_some((judged.keep, judged.skip)))
    })
}

/// What a failed connection tells of the endpoint.
pub(super) fn failure_of(kind: ErrorKind) -> Failure {
    match kind {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => Failure::Refused,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
            Failure::Reset
        }
        ErrorKind::TimedOut => Failure::Timeout,
        ErrorKind::UnexpectedEof => Failure::Closed,
        _ => Failure::Unreachable,
    }
}
