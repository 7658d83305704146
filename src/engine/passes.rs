//! A turn in three passes, a group of clients at a time: all read, all are served, all write.
//!
//! ```text
//!   read    a | b | c ..                              what lies at their sockets, and at their
//!   serve               a | b | c ..                  endpoints': judge, choose, plan, settle
//!   write                             a | b | c ..    whole requests, last bytes of answers
//! ```
//!
//! The kernel's way down and up again for one write is more code than the processor keeps at hand;
//! between two of them ours has to be fetched anew. So what is alike follows upon each other. Only
//! what is usual goes this way: a client that is idle, an answer that is awaited, a whole request
//! that may be repeated, an answer that is short. Everything else reads and writes where it is
//! served. This file does not know what is read or written.

use crate::buf::{BufPool, Purpose};
use crate::exchange::Exchange;
use crate::keys::{GenSlab, Key, Source};
use crate::net::{Net, Ready};
use crate::time::Ms;

use super::Engine;
use super::bytes::{Pulled, pull, push};
use super::client::{Phase, Stage, UpState, Upstream, Watch, Work};
use super::finish::borrow;
use super::pump::{After, LEAVES};

/// So many go together. They hold their memory for it, and all of it shall stay in the caches.
const GROUP: usize = 32;
/// Fewer clients than that in a turn: nobody waits for others.
const FEW: usize = 4;
/// Longer answers are written where they are served: later they would be out of the caches.
const SHORT_BYTES: usize = 4 * 1024;

/// Who writes in the third pass, if there are passes in this turn.
#[derive(Debug, Default)]
pub(super) struct Passes {
    outbox: Vec<Key>,
    open: bool,
    writing: bool,
}

impl Passes {
    /// A turn begins, in which something has happened to so many clients.
    pub(super) fn begin(&mut self, clients: usize) {
        self.open = clients >= FEW;
    }

    /// Whether a whole request waits for the third pass. One that must not be repeated does not: it
    /// follows upon the last look at its connection (`B4.3`).
    pub(super) fn takes_request(&self, exchange: &Exchange) -> bool {
        self.open && exchange.repeatable
    }

    /// Whether the last bytes of an answer wait for the third pass.
    pub(super) fn takes_answer(&self, work: &Work) -> bool {
        self.open && work.resp.len() <= SHORT_BYTES && !work.down.holds_bytes()
    }
}

impl<N: Net> Engine<N> {
    /// Serves everybody in the queue, but of those who leave no more than a few: they can wait, and
    /// thousands of them would keep the others waiting.
    pub(super) fn serve_queue(&mut self, net: &mut N) {
        let mut leaves_left = LEAVES;
        let mut turn = std::mem::take(&mut self.turn);
        std::mem::swap(&mut turn, &mut self.queue);
        for group in turn.chunks(GROUP) {
            if self.passes.open {
                group.iter().for_each(|&key| self.read_ahead(net, key));
            }
            for &key in group {
                let Some(client) = self.clients.get_mut(key) else { continue };
                if client.ready.has(Ready::END) {
                    if leaves_left == 0 {
                        self.queue.push(key);
                        continue;
                    }
                    leaves_left -= 1;
                }
                client.queued = false;
                let (stage, gone) = client.take_up();
                self.serve(net, key, stage, gone);
            }
            self.write_all(net);
        }
        turn.clear();
        self.turn = turn;
    }

    /// First pass: what is usual is read, once. An end is left to the second pass, which finds it
    /// again; behind an error there is nothing but an end.
    fn read_ahead(&mut self, net: &mut N, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.ready.has(Ready::END) || client.starved {
            return;
        }
        match &mut client.stage {
            Stage::Idle if client.ready.has(Ready::READ) => {
                let Some(mut work) = borrow(&mut self.spare, &mut self.bufs) else { return };
                match pull(net, &mut client.sock, &mut client.ready, &mut work.req) {
                    Pulled::Bytes(_) => client.stage = Stage::Busy(work),
                    Pulled::Nothing | Pulled::End | Pulled::Failed(_) => self.give_back(work),
                }
            }
            Stage::Idle | Stage::Linger { .. } => {}
            Stage::Busy(work) => read_answer(net, &mut self.upstreams, &mut self.bufs, work),
        }
    }

    /// A client writes in the third pass.
    #[inline]
    pub(super) fn write_later(&mut self, key: Key, stage: Stage) {
        if let Some(client) = self.clients.get_mut(key) {
            client.stage = stage;
            self.passes.outbox.push(key);
        }
    }

    /// A client has moved all that it may in this turn. Those in the outbox wait for nobody else:
    /// what leaves now is answered while others are served, and what leaves at the end of a long
    /// turn is answered just too late for the next one.
    #[cold]
    pub(super) fn spent(&mut self, net: &mut N, key: Key, stage: Stage) {
        self.conclude(net, key, After::Later(stage));
        self.write_all(net);
    }

    /// Third pass: everybody in the outbox writes, and those who come into it by that.
    #[inline(never)]
    pub(super) fn write_all(&mut self, net: &mut N) {
        if std::mem::replace(&mut self.passes.writing, true) {
            return;
        }
        let mut next = 0;
        while let Some(&key) = self.passes.outbox.get(next) {
            next += 1;
            self.write_one(net, key);
        }
        self.passes.outbox.clear();
        self.passes.writing = false;
    }

    #[inline(always)]
    fn write_one(&mut self, net: &mut N, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Stage::Busy(work) = &mut client.stage else { return };
        if let Phase::Flush(ending) = work.phase {
            let (Stage::Busy(work), gone) = client.take_up() else { return };
            let mut budget = self.share_bytes;
            match self.flush(net, key, work, ending, &mut budget) {
                After::Continue(stage) => self.serve(net, key, stage, gone),
                after => self.conclude(net, key, after),
            }
        } else if send_whole(net, &mut self.upstreams, work, self.now) {
            let at = self.now + self.desk.config.first_byte_ms;
            self.timers.set(&mut client.due, Source::Client(key), at);
            if client.watch != Watch::Yes {
                self.see_to(net, key, false);
            }
        } else {
            self.pump(net, key);
        }
    }
}

impl<S> Upstream<S> {
    /// Whether bytes lie there, and no end. Not while it connects, for then another one may take
    /// its place.
    fn has_answer(&self) -> bool {
        let readable = self.ready.has(Ready::READ) && !self.ready.has(Ready::END);
        readable && matches!(self.state, UpState::Busy { .. })
    }
}

/// Reads the beginning of an answer that is awaited, if nothing but bytes lies there.
fn read_answer<N: Net>(
    net: &mut N,
    upstreams: &mut GenSlab<Upstream<N::Stream>>,
    bufs: &mut BufPool,
    work: &mut Work,
) {
    let Phase::Relay(exchange) = &work.phase else { return };
    if !exchange.is_awaited() || work.has_bytes_up() || work.resp.has_memory() {
        return;
    }
    let Some(upstream) = work.link.and_then(|link| upstreams.get_mut(link)) else { return };
    if !upstream.has_answer() {
        return;
    }
    let Some(mem) = bufs.lend(bufs.lane_bytes(), Purpose::Answer) else { return };
    work.resp.adopt(mem);
    match pull(net, &mut upstream.sock, &mut upstream.ready, &mut work.resp) {
        Pulled::Bytes(n) => work.ahead = n,
        Pulled::Nothing | Pulled::End => bufs.give_back(work.resp.detach()),
        Pulled::Failed(why) => {
            upstream.broke(why);
            bufs.give_back(work.resp.detach());
        }
    }
}

/// A request that is here whole goes out over a connection that stands. Gives whether nothing is
/// left to do until the endpoint says something: so it is for most, and the lanes of a relay need
/// not be set up for them. If not, they go on from here.
#[inline(always)]
pub(super) fn send_whole<N: Net>(
    net: &mut N,
    upstreams: &mut GenSlab<Upstream<N::Stream>>,
    work: &mut Work,
    now: Ms,
) -> bool {
    let Some(upstream) = work.link.and_then(|link| upstreams.get_mut(link)) else { return false };
    let before = work.req.written();
    let failed = push(net, &mut upstream.sock, &mut upstream.ready, &mut work.req, false).err();
    work.up_at = now;
    work.request_bytes += (work.req.written() - before) as u64;
    if let Some(error) = failed {
        upstream.broke(error.kind());
        return false;
    }
    !work.has_bytes_up() && !work.resp.has_memory() && !upstream.ready.has(Ready::READ)
}
