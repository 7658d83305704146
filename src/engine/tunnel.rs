//! Tunnels (`B7.8`): what a connection becomes behind a 101. Two lanes of bytes that nobody reads.
//!
//! ```text
//!   client --> [req ] --> endpoint      Open -- the end was read --> Ending -- passed on --> Done
//!   client <-- [resp] <-- endpoint        '---- nobody takes it ---> Broken
//! ```
//!
//! What either side had sent before the 101 lies in the buffers already and goes first. An end is
//! passed on when everything before it is, and the other lane lives on (a half-close). A reset is
//! passed on as a reset, so that neither side can take what it got for the whole. A lane is read
//! only when it is empty, and an empty lane holds no memory: an idle tunnel costs two sockets.
//! This file does not know HTTP.

use std::io::ErrorKind;

use crate::buf::{Buf, BufPool, Purpose};
use crate::keys::Key;
use crate::net::{Net, Ready};
use crate::summary::{Outcome, Reason};
use crate::time::Ms;

use super::Engine;
use super::bytes::{Pulled, pull};
use super::client::{Client, Phase, Stage, Work};
use super::pump::After;
use super::splice::{Conduit, Pipes, Sent, bite, fill, send};

/// How much of a client's share a lane takes at most before the other one is looked at.
const TURN_BYTES: usize = 64 * 1024;

/// One direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Lane {
    #[default]
    Open,
    /// The end was read; what came before it is still on its way.
    Ending,
    /// The end was passed on.
    Done,
    /// The side that should take the bytes is gone. What it had sent before can still be read, but
    /// after a reset its end proves nothing: a write was told of it, and a read is not.
    Broken {
        /// It was a reset; its error is used up.
        reset: bool,
    },
}

impl Lane {
    fn is_over(self) -> bool {
        matches!(self, Lane::Done | Lane::Broken { .. })
    }

    /// Whether an end of the side that took its bytes cannot be believed.
    fn was_reset(self) -> bool {
        self == Lane::Broken { reset: true }
    }
}

/// Both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tunnel {
    up: Lane,
    down: Lane,
}

/// Why a lane stops where it could go on.
enum Halt {
    /// There is no memory for it.
    Starved(Purpose),
    /// The side that it is read from has reset the connection.
    Reset,
}

/// Where the bytes of a lane lie.
struct Bed<'a> {
    buf: &'a mut Buf,
    conduit: &'a mut Conduit,
    purpose: Purpose,
}

/// Where lanes get what they need for bytes to lie in.
struct Store<'a, P> {
    bufs: &'a mut BufPool,
    pipes: &'a mut Pipes<P>,
    splices: bool,
    /// How much of the client's share before a lane stops.
    most: usize,
}

/// One side, as a lane sees it.
struct Side<'a, S> {
    sock: &'a mut S,
    ready: &'a mut Ready,
    /// It has reset the connection, and a write has used up the error.
    spoiled: bool,
}

impl<N: Net> Engine<N> {
    /// The 101 is in the buffer: from here on nothing is HTTP.
    pub(super) fn open_tunnel(&mut self, mut work: Box<Work>) -> After {
        self.stats.tunnels += 1;
        self.answered_by(&work, None);
        work.req.forget();
        for buf in [&mut work.req, &mut work.resp] {
            buf.release(buf.fresh().len());
        }
        work.up_at = self.now;
        work.down_at = self.now;
        work.phase = Phase::Tunnel(Tunnel::default());
        After::Continue(Stage::Busy(work))
    }

    /// Moves bytes both ways until nothing can move, or it is over.
    pub(super) fn tunnel(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        mut tunnel: Tunnel,
        budget: &mut usize,
    ) -> After {
        let Some(client) = self.clients.get_mut(key) else { return After::Close };
        let Some(upstream) = work.link.and_then(|link| self.upstreams.get_mut(link)) else {
            return self.end_tunnel(net, key, work, tunnel, Outcome::Cut(Reason::Incomplete));
        };
        let mut near = Side { sock: &mut client.sock, ready: &mut client.ready, spoiled: false };
        let mut far = Side { sock: &mut upstream.sock, ready: &mut upstream.ready, spoiled: false };
        let before = tunnel;
        // A stall begins when there is something to take, however long nothing was said before.
        let (none_up, none_down) = (!work.has_bytes_up(), !work.has_bytes_down());
        let mut store = Store {
            bufs: &mut self.bufs,
            pipes: &mut self.pipes,
            splices: self.desk.config.splice,
            most: TURN_BYTES.min(*budget / 2).max(1),
        };
        near.spoiled = tunnel.down.was_reset();
        let mut bed = Bed { buf: &mut work.req, conduit: &mut work.up, purpose: Purpose::Window };
        let (up, sent_up) = tunnel.up.flow(net, &mut near, &mut far, &mut bed, &mut store);
        far.spoiled = tunnel.up.was_reset();
        let mut bed =
            Bed { buf: &mut work.resp, conduit: &mut work.down, purpose: Purpose::Answer };
        let (down, sent_down) = tunnel.down.flow(net, &mut far, &mut near, &mut bed, &mut store);
        work.request_bytes += sent_up.bytes as u64;
        work.response_bytes += sent_down.bytes as u64;
        if sent_up.bytes > 0 || (none_up && work.has_bytes_up()) {
            work.up_at = self.now;
        }
        if sent_down.bytes > 0 || (none_down && work.has_bytes_down()) {
            work.down_at = self.now;
        }
        if matches!(up, Some(Halt::Reset)) {
            return self.end_tunnel(net, key, work, tunnel, Outcome::ClientGone);
        }
        if matches!(down, Some(Halt::Reset)) {
            return self.end_tunnel(net, key, work, tunnel, Outcome::Cut(Reason::Incomplete));
        }
        if tunnel.up.is_over() && tunnel.down.is_over() {
            let whole = tunnel.down == Lane::Done;
            let outcome = if whole { Outcome::Answered } else { Outcome::ClientGone };
            return self.end_tunnel(net, key, work, tunnel, outcome);
        }
        // A lane that broke leaves something to read for the other one.
        let moved = sent_up.bytes + sent_down.bytes > 0 || tunnel != before;
        work.phase = Phase::Tunnel(tunnel);
        for halt in [up, down].into_iter().flatten() {
            if let Halt::Starved(purpose) = halt {
                self.starve(key, purpose);
            }
        }
        *budget = budget.saturating_sub(sent_up.cost + sent_down.cost);
        if moved { After::Continue(Stage::Busy(work)) } else { After::Wait(Stage::Busy(work)) }
    }

    /// It is over. A side that was not told the end is told that this was not it.
    fn end_tunnel(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        tunnel: Tunnel,
        outcome: Outcome,
    ) -> After {
        if tunnel.up == Lane::Done {
            self.detach(&mut work);
        } else {
            self.abort_link(net, &mut work);
        }
        self.settle_account(key, &work, outcome);
        self.give_back(work);
        match outcome {
            Outcome::Cut(_) => After::Abort,
            // It still sends, and has not read all that it was sent: as after an early answer.
            Outcome::Answered if tunnel.up != Lane::Done => self.begin_linger(),
            _ => After::Close,
        }
    }

    /// Closes the upstream connection so that the endpoint cannot take what it got for the whole.
    pub(super) fn abort_link(&mut self, net: &mut N, work: &mut Work) {
        let Some(link) = work.link.take() else { return };
        if let Some(upstream) = self.upstreams.remove(link) {
            self.desk.peers.end(upstream.peer, upstream.coming);
            net.abort(upstream.sock);
        }
    }

    /// When a tunnel is due, and for what: bytes that one side does not take, or none at all.
    pub(super) fn tunnel_deadline(&self, work: &Work) -> (Ms, Reason) {
        let config = &self.desk.config;
        let stalled =
            |waits: bool, at: Ms, reason| waits.then(|| (at + config.write_stall_ms, reason));
        let idle = (work.up_at.max(work.down_at) + config.tunnel_idle_ms, Reason::TunnelIdle);
        let up = stalled(work.has_bytes_up(), work.up_at, Reason::EndpointStalled);
        let down = stalled(work.has_bytes_down(), work.down_at, Reason::ClientStalled);
        [up, down].into_iter().flatten().fold(idle, |a, b| if b.0 < a.0 { b } else { a })
    }

    /// A deadline has come up; it may have moved since.
    pub(super) fn tunnel_due(
        &mut self,
        net: &mut N,
        key: Key,
        mut work: Box<Work>,
        tunnel: Tunnel,
    ) -> After {
        let (at, reason) = self.tunnel_deadline(&work);
        if !at.has_passed(self.now) {
            work.phase = Phase::Tunnel(tunnel);
            return After::Continue(Stage::Busy(work));
        }
        self.end_tunnel(net, key, work, tunnel, Outcome::Cut(reason))
    }

    /// Nothing is both wanted and possible.
    pub(super) fn check_tunnel(&self, client: &Client<N::Stream>, work: &Work, tunnel: &Tunnel) {
        let upstream = work.link.and_then(|link| self.upstreams.get(link));
        debug_assert!(upstream.is_some(), "a tunnel without an upstream");
        let Some(upstream) = upstream else { return };
        tunnel.up.check(
            client.ready,
            upstream.ready,
            work.up.holds_bytes() || !work.req.is_empty(),
        );
        tunnel.down.check(
            upstream.ready,
            client.ready,
            work.down.holds_bytes() || !work.resp.is_empty(),
        );
    }
}

impl Bed<'_> {
    /// Reads once, by the pipe if many bytes are coming. Fails without memory.
    fn read<N: Net>(
        &mut self,
        net: &mut N,
        from: &mut Side<'_, N::Stream>,
        store: &mut Store<'_, N::Pipe>,
    ) -> Result<Pulled, Purpose> {
        if store.splices && self.conduit.is_wide() {
            let (sock, ready) = (&mut *from.sock, &mut *from.ready);
            let most = bite::<N>(u64::MAX, store.most);
            let filled = fill(net, sock, ready, store.pipes, self.conduit, most);
            if let Some(pulled) = filled {
                return Ok(pulled);
            }
        }
        if !self.buf.has_memory() {
            let mem = store.bufs.lend(store.bufs.lane_bytes(), self.purpose);
            self.buf.adopt(mem.ok_or(self.purpose)?);
        }
        let pulled = pull(net, from.sock, from.ready, self.buf);
        if let Pulled::Bytes(n) = pulled {
            self.buf.release(n);
            self.conduit.note_read::<N>(self.buf.room() == 0, u64::MAX);
        }
        Ok(pulled)
    }
}

impl Lane {
    /// Writes what is here, then reads and writes, until one side has no more or takes no more.
    /// What it gives costs `most`, and one move more at the utmost.
    fn flow<N: Net>(
        &mut self,
        net: &mut N,
        from: &mut Side<'_, N::Stream>,
        to: &mut Side<'_, N::Stream>,
        bed: &mut Bed<'_>,
        store: &mut Store<'_, N::Pipe>,
    ) -> (Option<Halt>, Sent) {
        let mut sum = Sent::default();
        let halt = loop {
            if self.is_over() {
                break None;
            }
            match send(net, to.sock, to.ready, store.pipes, bed.conduit, bed.buf, false) {
                Ok(sent) => {
                    sum.bytes += sent.bytes;
                    sum.cost += sent.cost;
                }
                Err(error) => {
                    // EPIPE is what a reset says to whoever has had the end before (tcp_reset).
                    *self = Lane::Broken { reset: error.kind() != ErrorKind::BrokenPipe };
                    bed.buf.give_up();
                    store.pipes.discard(bed.conduit);
                    break None;
                }
            }
            bed.buf.forget();
            if bed.conduit.holds_bytes() || !bed.buf.is_empty() {
                break None;
            }
            if *self == Lane::Ending {
                net.shutdown_write(to.sock);
                *self = Lane::Done;
                break None;
            }
            if sum.cost >= store.most || !from.ready.has(Ready::READ) {
                break None;
            }
            match bed.read(net, from, store) {
                Err(purpose) => break Some(Halt::Starved(purpose)),
                Ok(Pulled::Bytes(_) | Pulled::Nothing) => {}
                Ok(Pulled::End) if from.spoiled => break Some(Halt::Reset),
                Ok(Pulled::End) => *self = Lane::Ending,
                Ok(Pulled::Failed(_)) => break Some(Halt::Reset),
            }
        };
        store.pipes.put_back(bed.conduit);
        if bed.buf.is_empty() && bed.buf.has_memory() {
            store.bufs.give_back(bed.buf.detach());
        }
        (halt, sum)
    }

    /// `holds`: bytes are on their way.
    fn check(self, from: Ready, to: Ready, holds: bool) {
        debug_assert!(!holds || !to.has(Ready::WRITE), "unsent bytes");
        let reads = self == Lane::Open && !holds;
        debug_assert!(!reads || !from.has(Ready::READ), "unread bytes");
        debug_assert!(self != Lane::Ending || holds, "an end that was not passed on");
    }
}
