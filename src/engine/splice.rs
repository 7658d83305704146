//! The detour: long bodies go from socket to socket through a pipe, and nobody copies them.
//!
//! ```text
//!   from --splice_in--> [ pipe ] --splice_out--> to        these bytes were counted, never seen
//!   from -----pull----> [ buf  ] ----push------> to        what lies here came after those
//! ```
//!
//! A pipe is filled only when it is empty, and only when the buffer is: so "would block" on the
//! way in can mean the socket alone, and what is in the pipe always goes before what is in the
//! buffer. A lane holds a pipe while bytes are in it; a few pipes serve many lanes. One that is
//! given up with bytes in it is closed, or another exchange would find them. This file does
//! not know what a byte means.

use std::io::{self, ErrorKind};

use crate::buf::{Buf, Purpose};
use crate::exchange::Download;
use crate::keys::{GenSlab, Key, Source};
use crate::net::{Net, Ready};
use crate::time::Ms;

use super::Engine;
use super::bytes::{Pulled, push};
use super::client::Work;
use super::relay::{Lanes, Step};
use super::timers::Due;

/// How many pipes there may be: their bytes are the kernel's, and bounded by this. Who finds none
/// goes through its buffer.
const MOST: usize = 64;
/// How long a pipe is kept that nobody uses: it takes two descriptors.
const IDLE_MS: u64 = 1_000;
/// The name of all pipes among the timers of services.
pub(super) const PIPES: u32 = u32::MAX - 1;
/// So many connections must be allowed for each pipe, which takes two descriptors like them.
const CONNECTIONS_PER_PIPE: usize = 8;
/// A buffer for many bytes that cannot go through a pipe.
const WIDE_BYTES: usize = 128 << 10;
/// What must be left of a chunk for that: a large buffer full of tiny ones is so much work that
/// everybody else waits for it.
const WIDE_CHUNK_BYTES: u64 = 4 << 10;
/// For how many clients at a time the kernel may lay up more than for others: some megabytes each.
const LAID_UP: usize = 16;
/// How much must be to come for that: two more calls must be worth their while.
const LAY_UP_BYTES: u64 = 1 << 20;
/// How many bytes one filling takes at most, so that other clients get their turn.
const FILL_BYTES: usize = 512 << 10;
/// A copied byte costs as much of a client's share as so many that took the detour (measured: a
/// fifth, see docs/performance-notes.md).
const CHEAPER: usize = 4;

/// One lane's part in the detour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conduit {
    pipe: Option<Key>,
    /// Bytes that have been read and not been written.
    inside: usize,
    /// Bytes waited behind the last read, and many are to come.
    wide: bool,
    /// The kernel lays up more for the client.
    laid_up: bool,
}

impl Conduit {
    /// Whether bytes are in it, which have been read and not been written.
    pub(super) fn holds_bytes(&self) -> bool {
        self.inside > 0
    }

    /// Whether the kernel lays up more for the client than for others. When the answer has ended
    /// and its connection lives on, it must be as any other again.
    pub(super) fn is_laid_up(&self) -> bool {
        self.laid_up
    }

    /// Whether the next bytes had better take the detour.
    pub(super) fn is_wide(&self) -> bool {
        self.wide
    }

    /// A read went through the buffer. `filled` it: more bytes wait behind it; `left` of the
    /// message can pass unseen.
    pub(super) fn note_read<N: Net>(&mut self, filled: bool, left: u64) {
        self.wide = filled && left >= N::PIPE_PAYS;
    }
}

/// All pipes.
#[derive(Debug)]
pub(super) struct Pipes<P> {
    all: GenSlab<P>,
    /// Empty ones that nobody holds, the one used last on top.
    idle: Vec<Key>,
    most: usize,
    /// The network has no such thing.
    refused: bool,
    /// For how many clients the kernel lays up more.
    laid_up: usize,
    /// One was used in this turn.
    used: bool,
    due: Due,
}

impl<P> Pipes<P> {
    /// For so many connections: where descriptors allow few of those, there are few pipes.
    pub(super) fn new(connections: usize) -> Pipes<P> {
        let most = MOST.min(connections / CONNECTIONS_PER_PIPE);
        Pipes {
            all: GenSlab::default(),
            idle: Vec::new(),
            most,
            refused: false,
            laid_up: 0,
            used: false,
            due: Due::default(),
        }
    }

    fn take<N: Net<Pipe = P>>(&mut self, net: &mut N) -> Option<Key> {
        if self.refused {
            return None;
        }
        if let Some(key) = self.idle.pop() {
            return Some(key);
        }
        if self.all.len() >= self.most {
            return None;
        }
        // Out of descriptors, it may be: some will be free again.
        net.pipe().ok().map(|pipe| self.all.insert(pipe))
    }

    /// An empty pipe goes back to the others.
    #[inline]
    pub(super) fn put_back(&mut self, conduit: &mut Conduit) {
        if let Some(key) = conduit.pipe.take_if(|_| conduit.inside == 0) {
            self.idle.push(key);
            self.used = true;
        }
    }

    /// The lane is at its end: what is in its pipe goes nowhere.
    #[inline]
    pub(super) fn discard(&mut self, conduit: &mut Conduit) {
        // Most lanes have held no pipe.
        if *conduit != Conduit::default() {
            self.discard_used(conduit);
        }
    }

    #[cold]
    fn discard_used(&mut self, conduit: &mut Conduit) {
        self.put_back(conduit);
        if let Some(key) = conduit.pipe {
            self.all.remove(key);
        }
        self.laid_up -= usize::from(conduit.laid_up);
        *conduit = Conduit::default();
    }

    /// As [`Pipes::discard`], for both lanes.
    pub(super) fn discard_both(&mut self, work: &mut Work) {
        self.discard(&mut work.up);
        self.discard(&mut work.down);
    }

    /// Descriptors are short: closes what nobody uses.
    pub(super) fn close_idle(&mut self) -> bool {
        let some = !self.idle.is_empty();
        for key in self.idle.drain(..) {
            self.all.remove(key);
        }
        some
    }

    /// How many are held by lanes, for the simulator.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.all.len() - self.idle.len()
    }
}

/// Moves up to `most` bytes into the lane's pipe, which is empty; `None` if there is none for it.
///
/// Unlike a read, a short move does not mean that the socket is drained: the places of a pipe may
/// be full of small pieces. The next one will say.
pub(super) fn fill<N: Net>(
    net: &mut N,
    sock: &mut N::Stream,
    ready: &mut Ready,
    pipes: &mut Pipes<N::Pipe>,
    conduit: &mut Conduit,
    most: u64,
) -> Option<Pulled> {
    debug_assert!(conduit.inside == 0 && most > 0);
    if conduit.pipe.is_none() {
        conduit.pipe = pipes.take(net);
    }
    let most = usize::try_from(most).unwrap_or(FILL_BYTES);
    while ready.has(Ready::READ) {
        let pipe = pipes.all.get_mut(conduit.pipe?)?;
        match net.splice_in(sock, pipe, most) {
            Ok(0) => return Some(Pulled::End),
            Ok(n) => {
                conduit.inside = n;
                // The sender is slow, or has paused: a read costs less than two moves.
                conduit.wide = n == most || n as u64 >= N::PIPE_PAYS / 4;
                return Some(Pulled::Bytes(n));
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => *ready = ready.without(Ready::READ),
                ErrorKind::InvalidInput | ErrorKind::Unsupported => {
                    log::debug!("splice: {error}; bodies are copied from now on");
                    pipes.refused = true;
                    pipes.put_back(conduit);
                    pipes.close_idle();
                    return None;
                }
                kind => return Some(Pulled::Failed(kind)),
            },
        }
    }
    Some(Pulled::Nothing)
}

/// Writes what is in the pipe until it is empty or would block; gives how many bytes went,
/// and what went wrong behind them.
#[inline]
pub(super) fn pour<N: Net>(
    net: &mut N,
    sock: &mut N::Stream,
    ready: &mut Ready,
    pipes: &mut Pipes<N::Pipe>,
    conduit: &mut Conduit,
) -> (usize, Option<io::Error>) {
    if conduit.holds_bytes() { pour_out(net, sock, ready, pipes, conduit) } else { (0, None) }
}

fn pour_out<N: Net>(
    net: &mut N,
    sock: &mut N::Stream,
    ready: &mut Ready,
    pipes: &mut Pipes<N::Pipe>,
    conduit: &mut Conduit,
) -> (usize, Option<io::Error>) {
    let mut sum = 0;
    while conduit.inside > 0 && ready.has(Ready::WRITE) {
        let Some(pipe) = conduit.pipe.and_then(|key| pipes.all.get_mut(key)) else {
            return (sum, Some(ErrorKind::BrokenPipe.into()));
        };
        match net.splice_out(pipe, sock, conduit.inside) {
            // It is emptier than it was counted: better no byte than a wrong one.
            Ok(0) => return (sum, Some(ErrorKind::WriteZero.into())),
            Ok(n) => {
                conduit.inside = conduit.inside.saturating_sub(n);
                sum += n;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                *ready = ready.without(Ready::WRITE);
            }
            Err(error) => return (sum, Some(error)),
        }
    }
    (sum, None)
}

impl<N: Net> Engine<N> {
    /// After a turn that has used pipes: their end is put off.
    pub(super) fn mind_pipes(&mut self) {
        if std::mem::take(&mut self.pipes.used) {
            let at = self.now + IDLE_MS;
            self.timers.set(&mut self.pipes.due, Source::Service(PIPES), at);
        }
    }

    /// Nobody may have used a pipe for a while.
    pub(super) fn pipes_due(&mut self, at: Ms) {
        let source = Source::Service(PIPES);
        if self.timers.comes_up(&mut self.pipes.due, source, at, self.now) {
            self.pipes.close_idle();
        }
    }
}

impl<N: Net> Lanes<'_, N> {
    /// Reads of the request by a pipe; gives what that costs, or `None` where it is not the way.
    ///
    /// Only what can never be offered again goes past the window: until the window is full and
    /// given up, everything is as it is without pipes (`B4.4`).
    pub(super) fn splice_up(&mut self) -> Result<Option<usize>, Step> {
        let (work, client) = (&mut *self.work, &mut *self.client);
        let left = self.exchange.upload.unseen();
        let seen = self.exchange.committed && work.req.is_empty();
        let stands = self.upstream.broken.is_none();
        if !seen || !stands || left == 0 || !work.up.is_wide() || !self.desk.config.splice {
            return Ok(None);
        }
        let (sock, ready) = (&mut client.sock, &mut client.ready);
        let most = bite::<N>(left, *self.budget);
        match fill(self.net, sock, ready, self.pipes, &mut work.up, most) {
            None => Ok(None),
            Some(Pulled::Bytes(n)) => {
                self.exchange.upload.skip(n as u64);
                work.up_at = self.now;
                Ok(Some(cost(n)))
            }
            Some(Pulled::Nothing) => Ok(Some(0)),
            // B8.5: the end of half a request is no half-close.
            Some(Pulled::End | Pulled::Failed(_)) => Err(Step::ClientGone),
        }
    }

    /// A request whose window is given up comes faster than it is read, in chunks too small for a
    /// pipe: a larger piece of memory halves what a byte costs. Only where there is plenty.
    pub(super) fn widen_up(&mut self) {
        let req = &mut self.work.req;
        let long = self.exchange.committed && !self.exchange.upload.is_done();
        let large = self.exchange.upload.unseen() >= WIDE_CHUNK_BYTES;
        if !long || !large || self.work.up.wide || !req.is_empty() || req.capacity() >= WIDE_BYTES {
            return;
        }
        if !self.bufs.has_plenty(WIDE_BYTES) {
            return;
        }
        if let Some(mem) = self.bufs.lend(WIDE_BYTES, Purpose::Window) {
            self.bufs.give_back(req.attach(mem));
        }
    }

    /// Reads of the answer by a pipe; gives what that costs, or `None` where it is not the way.
    pub(super) fn splice_down(&mut self) -> Option<Pulled> {
        let (work, upstream) = (&mut *self.work, &mut *self.upstream);
        let Download::Body(body) = &mut self.exchange.download else { return None };
        let left = body.unseen();
        let seen = work.resp.is_empty();
        if !seen || left == 0 || !work.down.is_wide() || !self.desk.config.splice {
            return None;
        }
        let (sock, ready) = (&mut upstream.sock, &mut upstream.ready);
        let most = bite::<N>(left, *self.budget);
        let pulled = fill(self.net, sock, ready, self.pipes, &mut work.down, most)?;
        let Pulled::Bytes(n) = pulled else { return Some(pulled) };
        body.skip(n as u64);
        if left >= LAY_UP_BYTES && !work.down.laid_up && self.pipes.laid_up < LAID_UP {
            work.down.laid_up = true;
            self.pipes.laid_up += 1;
            self.net.lay_up(&mut self.client.sock, true);
        }
        // No move has said that nothing stands behind the last byte; the pool wants to know.
        let drained = body.is_done() && !upstream.ready.has(Ready::END);
        if drained && self.net.is_silent(&mut upstream.sock) {
            upstream.ready = upstream.ready.without(Ready::READ);
        }
        Some(Pulled::Bytes(cost(n)))
    }

    /// How many bytes of the answer can pass unseen.
    pub(super) fn unseen_down(&self) -> u64 {
        match &self.exchange.download {
            Download::Body(body) => body.unseen(),
            _ => 0,
        }
    }
}

/// What went out, and how much of a client's share it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) bytes: usize,
    pub(super) cost: usize,
}

/// Writes everything that waits for a socket: first what is in the pipe, then the buffer. `last` as
/// for [`push`].
pub(super) fn send<N: Net>(
    net: &mut N,
    sock: &mut N::Stream,
    ready: &mut Ready,
    pipes: &mut Pipes<N::Pipe>,
    conduit: &mut Conduit,
    buf: &mut Buf,
    last: bool,
) -> io::Result<Sent> {
    let poured = match pour(net, sock, ready, pipes, conduit) {
        (_, Some(error)) => return Err(error),
        (poured, None) => poured,
    };
    let pushed = if conduit.holds_bytes() { 0 } else { push(net, sock, ready, buf, last)? };
    Ok(Sent { bytes: poured + pushed, cost: cost(poured) + pushed })
}

/// How many of the `left` bytes one filling may take of what is left of a client's share. Less than
/// pays would be dearer than a copy.
pub(super) fn bite<N: Net>(left: u64, share: usize) -> u64 {
    let most = share.saturating_mul(CHEAPER).min(FILL_BYTES) as u64;
    left.min(most.max(N::PIPE_PAYS))
}

/// How much of a client's share bytes cost that took the detour.
pub(super) fn cost(bytes: usize) -> usize {
    bytes.div_ceil(CHEAPER)
}
