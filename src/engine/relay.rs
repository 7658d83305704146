//! Bytes up and bytes down: looks and moves, decides nothing.
//!
//! ```text
//!   client --pull--> req [judge] --push--> upstream
//!   client <--push-- resp [judge] <--pull-- upstream
//! ```
//!
//! Bytes leave only after framing has judged them. What was read in a turn is written in it
//! (`B8.1`); a side is read only while there is room for it, and nothing else is backpressure
//! (`B8.2`). This file does not know registries, retries or timers.

use std::io::ErrorKind;

use crate::buf::{BufPool, Purpose};
use crate::endpoint::Failure;
use crate::exchange::{Download, Exchange, Lost};
use crate::h1::body::Body;
use crate::h1::head::{self, Slots};
use crate::h1::{Bad, Limits, Version, range, response};
use crate::keys::Key;
use crate::net::{Net, Ready};
use crate::time::Ms;

use super::Engine;
use super::attempt::MAX_REPEATS;
use super::bytes::{Pulled, failure_of, judge, pull, push};
use super::client::{Client, UpState, Upstream, Work};
use super::desk::Desk;
use super::splice::{Pipes, cost, pour, send};

/// What the relay reports.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing more is possible now.
    Wait,
    /// The budget is spent.
    Yield,
    /// There is no memory for this.
    Starved(Purpose),
    /// The answer is complete, in the buffer.
    Complete,
    /// The endpoint switches protocols; its 101 is in the buffer.
    Switched,
    /// The upstream connection is lost.
    Lost(Lost),
    /// The request's framing is broken.
    BadRequest(Bad),
    /// The answer is malformed.
    BadResponse(Bad),
    /// The client is gone.
    ClientGone,
}

/// Both sides of one exchange, for as long as bytes move.
pub(super) struct Lanes<'a, N: Net> {
    pub(super) net: &'a mut N,
    pub(super) client: &'a mut Client<N::Stream>,
    pub(super) upstream: &'a mut Upstream<N::Stream>,
    pub(super) work: &'a mut Work,
    pub(super) exchange: &'a mut Exchange,
    pub(super) bufs: &'a mut BufPool,
    pub(super) pipes: &'a mut Pipes<N::Pipe>,
    pub(super) desk: &'a mut Desk,
    pub(super) slots: &'a mut Slots,
    pub(super) budget: &'a mut usize,
    pub(super) now: Ms,
}

impl<N: Net> Engine<N> {
    /// Moves bytes until something happens or nothing can.
    pub(super) fn relay(
        &mut self,
        net: &mut N,
        key: Key,
        work: &mut Work,
        exchange: &mut Exchange,
        budget: &mut usize,
    ) -> Step {
        let lost = Step::Lost(Lost::BeforeAnswer(Failure::Closed));
        let Some(client) = self.clients.get_mut(key) else { return Step::ClientGone };
        let Some(link) = work.link else { return lost };
        let Some(upstream) = self.upstreams.get_mut(link) else { return lost };
        let mut lanes = Lanes {
            net,
            client,
            upstream,
            work,
            exchange,
            bufs: &mut self.bufs,
            pipes: &mut self.pipes,
            desk: &mut self.desk,
            slots: &mut self.slots,
            budget,
            now: self.now,
        };
        let step = lanes.run();
        self.pipes.put_back(&mut work.up);
        self.pipes.put_back(&mut work.down);
        step
    }
}

impl<N: Net> Lanes<'_, N> {
    /// Each lane in its turn, until neither moves or the budget is spent. What they give is what a
    /// move costs of it.
    fn run(&mut self) -> Step {
        loop {
            let up = if self.is_request_sent() { Ok(0) } else { self.up() };
            let moved = match up {
                Ok(up) if self.is_answer_awaited() => Ok(up),
                Ok(up) => self.down().map(|down| up + down),
                Err(step) => Err(step),
            };
            match moved {
                Err(step) => return step,
                Ok(0) => return Step::Wait,
                Ok(n) => {
                    *self.budget = self.budget.saturating_sub(n);
                    if self.is_request_sent() && self.is_answer_awaited() {
                        return Step::Wait;
                    }
                    if *self.budget == 0 {
                        return Step::Yield;
                    }
                }
            }
        }
    }

    /// Whether nothing is left to do in the request lane.
    fn is_request_sent(&self) -> bool {
        self.exchange.upload.is_done() && !self.work.has_bytes_up() && !self.upstream.coming
    }

    /// Whether nothing can be done in the answer lane until the endpoint says something.
    fn is_answer_awaited(&self) -> bool {
        let unread = self.upstream.ready.has(Ready::READ) || self.upstream.broken.is_some();
        let waits = matches!(self.exchange.download, Download::Waiting { .. });
        waits && !unread && !self.work.resp.has_memory()
    }

    /// The request lane: judge, write, make room, read.
    fn up(&mut self) -> Result<usize, Step> {
        let mut moved = 0;
        judge(&mut self.exchange.upload, &mut self.work.req).map_err(Step::BadRequest)?;
        moved += self.write_up();
        let blocked = self.exchange.upload.is_done() || self.work.up.holds_bytes();
        if !blocked && self.client.ready.has(Ready::READ) {
            if self.work.req.room() == 0 {
                self.make_room_up()?;
            }
            if let Some(cost) = self.splice_up()? {
                moved += cost + self.write_up();
            } else if self.work.req.room() > 0 {
                moved += self.read_up()?;
                let filled = self.work.req.room() == 0;
                judge(&mut self.exchange.upload, &mut self.work.req).map_err(Step::BadRequest)?;
                self.work.up.note_read::<N>(filled, self.exchange.upload.unseen());
                moved += self.write_up();
                if filled {
                    self.widen_up();
                }
            }
        }
        if self.upstream.coming && self.exchange.upload.is_done() {
            self.upstream.coming = false;
            self.desk.peers.came(self.upstream.peer);
        }
        Ok(moved)
    }

    fn write_up(&mut self) -> usize {
        let upstream = &mut *self.upstream;
        if !self.work.has_bytes_up() || upstream.broken.is_some() {
            return 0;
        }
        // It closed before we said anything: what is not written need not be given up.
        let connecting = matches!(upstream.state, UpState::Connecting { .. });
        if connecting && upstream.ready.has(Ready::END) {
            return 0;
        }
        let Work { req, up, .. } = &mut *self.work;
        let before = req.written();
        let (sock, ready) = (&mut upstream.sock, &mut upstream.ready);
        let (poured, mut failed) = pour(self.net, sock, ready, self.pipes, up);
        if failed.is_none() && !up.holds_bytes() {
            failed = push(self.net, sock, ready, req, false).err();
        }
        let pushed = req.written() - before;
        let sent = poured + pushed;
        if sent > 0 {
            if let UpState::Connecting { owner } = upstream.state {
                upstream.state = UpState::Busy { owner };
                if let Some(peer) = self.desk.peers.get_mut(upstream.peer) {
                    peer.health.accepted();
                }
            }
            self.work.up_at = self.now;
            self.work.request_bytes += sent as u64;
        }
        if let Some(error) = failed {
            upstream.broke(error.kind());
        }
        if self.exchange.committed {
            self.work.req.forget();
        }
        pushed + cost(poured)
    }

    /// The window is full: into a larger one if there is one, else its beginning is given up.
    fn make_room_up(&mut self) -> Result<(), Step> {
        let req = &mut self.work.req;
        req.compact();
        if req.room() > 0 {
            return Ok(());
        }
        let large = self.bufs.large_bytes();
        if req.capacity() < large {
            if let Some(mem) = self.bufs.lend(large, Purpose::Window) {
                self.bufs.give_back(req.attach(mem));
                return Ok(());
            }
        }
        if !req.has_pending() && req.written() > 0 {
            // The point of no return: from here the request cannot be repeated.
            self.exchange.committed = true;
            req.forget();
            req.compact();
        }
        Ok(())
    }

    fn read_up(&mut self) -> Result<usize, Step> {
        let client = &mut *self.client;
        match pull(self.net, &mut client.sock, &mut client.ready, &mut self.work.req) {
            Pulled::Bytes(n) => {
                self.work.up_at = self.now;
                self.exchange.expects = false;
                Ok(n)
            }
            Pulled::Nothing => Ok(0),
            // B8.5: the end of half a request is no half-close.
            Pulled::End | Pulled::Failed(_) => Err(Step::ClientGone),
        }
    }

    /// The answer lane: write what is judged, then read, judge and write.
    fn down(&mut self) -> Result<usize, Step> {
        let mut moved = self.write_down()?;
        if self.exchange.download_done() {
            return Err(Step::Complete);
        }
        let blocked = self.interim_blocked() || self.work.down.holds_bytes();
        let pulled = match std::mem::take(&mut self.work.ahead) {
            0 if blocked || !self.upstream.ready.has(Ready::READ) => Pulled::Nothing,
            0 => self.read_down()?,
            n => Pulled::Bytes(n),
        };
        match pulled {
            Pulled::Bytes(n) => {
                moved += n;
                self.work.down_at = self.now;
                self.exchange.touch();
                let filled = self.work.resp.has_memory() && self.work.resp.room() == 0;
                self.judge_down()?;
                if !self.work.down.holds_bytes() {
                    self.work.down.note_read::<N>(filled, self.unseen_down());
                }
                if self.exchange.download_done() {
                    return Err(Step::Complete);
                }
                moved += self.write_down()?;
            }
            Pulled::Nothing => {}
            Pulled::End => return Err(self.ended()),
            Pulled::Failed(kind) => {
                let first = *self.upstream.broken.get_or_insert(kind);
                return Err(self.lost(first));
            }
        }
        if self.upstream.broken.is_some() && !self.upstream.ready.has(Ready::READ) {
            return Err(self.lost(self.upstream.broken.unwrap_or(ErrorKind::BrokenPipe)));
        }
        self.return_idle_buffer();
        Ok(moved)
    }

    /// Reads once, by the pipe if many bytes are coming; gives what it costs.
    fn read_down(&mut self) -> Result<Pulled, Step> {
        if let Some(pulled) = self.splice_down() {
            return Ok(pulled);
        }
        if !self.room_down()? {
            return Ok(Pulled::Nothing);
        }
        let upstream = &mut *self.upstream;
        Ok(pull(self.net, &mut upstream.sock, &mut upstream.ready, &mut self.work.resp))
    }

    /// An interim response waits for the client, and more may stand behind it unjudged: an end
    /// that was read now would be judged before those bytes.
    fn interim_blocked(&self) -> bool {
        matches!(self.exchange.download, Download::Waiting { .. }) && self.work.resp.has_pending()
    }

    fn write_down(&mut self) -> Result<usize, Step> {
        if !self.work.has_bytes_down() {
            return Ok(0);
        }
        let client = &mut *self.client;
        let Work { down, resp, .. } = &mut *self.work;
        let sent =
            send(self.net, &mut client.sock, &mut client.ready, self.pipes, down, resp, false)
                .map_err(|_| Step::ClientGone)?;
        if sent.bytes > 0 {
            resp.forget();
            self.work.down_at = self.now;
            self.work.response_bytes += sent.bytes as u64;
            // An interim response may have stood before more of the answer.
            self.judge_down()?;
        }
        Ok(sent.cost)
    }

    /// Whether there is room to read more of the answer.
    fn room_down(&mut self) -> Result<bool, Step> {
        let resp = &mut self.work.resp;
        if resp.room() > 0 {
            return Ok(true);
        }
        let starved = Step::Starved(Purpose::Answer);
        if !resp.has_memory() {
            let mem = self.bufs.lend(self.bufs.lane_bytes(), Purpose::Answer).ok_or(starved)?;
            resp.adopt(mem);
            return Ok(true);
        }
        resp.compact();
        let waiting = matches!(self.exchange.download, Download::Waiting { .. });
        if resp.room() > 0 || !waiting || resp.has_pending() {
            return Ok(resp.room() > 0);
        }
        // A head that outgrows what there is.
        let wanted = self.bufs.large_bytes().max(resp.len() * 2 + 2 * crate::buf::HEADROOM);
        let mem = self.bufs.lend(wanted, Purpose::Answer).ok_or(starved)?;
        self.bufs.give_back(resp.attach(mem));
        Ok(true)
    }

    /// An exchange that waits for its endpoint holds no answer buffer.
    fn return_idle_buffer(&mut self) {
        let resp = &mut self.work.resp;
        if resp.has_memory() && resp.is_empty() {
            self.bufs.give_back(resp.detach());
        }
    }

    fn judge_down(&mut self) -> Result<(), Step> {
        while let Download::Waiting { search, .. } = &mut self.exchange.download {
            // A head is rewritten at the front of the buffer: what stands before it leaves first.
            if self.work.resp.has_pending() || self.work.resp.is_empty() {
                return Ok(());
            }
            let limits = self.desk.response_limits();
            let bytes = self.work.resp.fresh();
            if !search.worth_parsing(bytes) && bytes.len() < limits.head_bytes {
                return Ok(());
            }
            if !self.take_head(&limits)? {
                return Ok(());
            }
        }
        if matches!(self.exchange.download, Download::Resuming { .. }) {
            self.take_rest()?;
        }
        if let Download::Body(body) = &mut self.exchange.download {
            judge(body, &mut self.work.resp).map_err(Step::BadResponse)?;
        }
        Ok(())
    }

    /// Reads the head of what should be the rest of a broken answer: if it is, its body follows
    /// what the client has, and the head itself goes no further.
    fn take_rest(&mut self) -> Result<(), Step> {
        let (resp, exchange) = (&mut self.work.resp, &mut *self.exchange);
        let limits = self.desk.response_limits();
        while let Download::Resuming { search, .. } = &mut exchange.download {
            let bytes = resp.fresh();
            if !search.worth_parsing(bytes) && bytes.len() < limits.head_bytes {
                break;
            }
            let head = match head::parse_response(bytes, self.slots, &limits) {
                Ok(Some(head)) => head,
                Ok(None) => break,
                Err(bad) => return Err(Step::BadResponse(bad)),
            };
            let (method, wrapping) = (exchange.method, exchange.wrapping());
            let facts = response::read(&head, method, wrapping).map_err(Step::BadResponse)?;
            let length = match facts.body {
                Body::Length(length) => Some(length),
                _ => None,
            };
            let fits = exchange
                .resume_at()
                .is_some_and(|(from, whole)| range::continues(&head, length, whole, from));
            let len = head.bytes.len();
            if !facts.is_interim() && !fits {
                return Err(Step::BadResponse(Bad::Range));
            }
            resp.discard(len);
            if fits {
                exchange.resumed(&facts);
            } else {
                exchange.await_rest();
            }
        }
        Ok(())
    }

    /// Reads the head at the front, if it is whole, and puts it as it goes on in its place.
    fn take_head(&mut self, limits: &Limits) -> Result<bool, Step> {
        let (resp, exchange) = (&mut self.work.resp, &mut *self.exchange);
        let head = match head::parse_response(resp.fresh(), self.slots, limits) {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(false),
            Err(bad) => return Err(Step::BadResponse(bad)),
        };
        let (method, wrapping) = (exchange.method, exchange.wrapping());
        let facts = response::read(&head, method, wrapping).map_err(Step::BadResponse)?;
        if facts.switches() && !exchange.may_switch(&head) {
            return Err(Step::BadResponse(Bad::Upgrade));
        }
        let retry_status = &self.desk.config.retry_status;
        if !retry_status.is_empty()
            && retry_status.contains(&facts.status)
            && exchange.repeatable
            && !exchange.committed
            && self.work.repeats < MAX_REPEATS
            && self.desk.may_repeat(&self.work.trip)
            && self.desk.has_another(&mut self.work.trip)
        {
            return Err(Step::Lost(Lost::Status));
        }
        let keep = exchange
            .answered(&facts, self.desk.draining)
            .map_err(|()| Step::BadResponse(Bad::TooManyInterim))?;
        let len = head.bytes.len();
        if facts.is_interim() && exchange.version == Version::Http10 {
            resp.discard(len);
            return Ok(true);
        }
        if !facts.is_interim() {
            self.work.status = facts.status;
            self.work.interim_bytes = self.work.response_bytes;
            if let Body::Length(total) = facts.body {
                // What is here whole already cannot break off.
                let long = self.desk.config.resume && total > (resp.fresh().len() - len) as u64;
                let whole = long.then(|| range::whole(&head, &facts, method, total)).flatten();
                whole.into_iter().for_each(|whole| exchange.may_resume(whole));
            }
        }
        if self.desk.plan_response(&head, &facts, exchange.version, keep) {
            let plan = &self.desk.plan;
            resp.rewrite_head(len, &plan.drops, &plan.prefix)
                .ok_or(Step::BadResponse(Bad::HeadTooLarge))?;
        } else {
            resp.release(len);
        }
        if facts.switches() { Err(Step::Switched) } else { Ok(true) }
    }

    /// The endpoint has sent its end.
    fn ended(&mut self) -> Step {
        // After a failed write the end may be that of a reset, whose error the write has used up.
        let broken = self.upstream.broken.is_some();
        match &mut self.exchange.download {
            Download::Body(body) if body.ends_here() && !broken => {
                *body = Body::NONE;
                Step::Complete
            }
            _ => self.lost(self.upstream.broken.unwrap_or(ErrorKind::UnexpectedEof)),
        }
    }

    fn lost(&self, kind: ErrorKind) -> Step {
        let connecting = matches!(self.upstream.state, UpState::Connecting { .. });
        Step::Lost(if self.exchange.touched() {
            Lost::InsideAnswer
        } else if connecting && kind != ErrorKind::UnexpectedEof {
            Lost::Connect(failure_of(kind))
        } else {
            Lost::BeforeAnswer(failure_of(kind))
        })
    }
}
