//! A backend: it checks every request to the byte, answers it in one of many lawful ways, and
//! misbehaves if that is its nature.
//!
//! Before it does harm it says so in the book; that is what makes "this failure had to be" and
//! "this failure was the proxy's fault" two different things.

use std::io::ErrorKind;

use super::answer::{Answer, compose, compose_lie, compose_rest, etag, garbage, shed};
use super::check::{wrong_request_body, wrong_request_head};
use super::dice::Dice;
use super::message::{Framing, Head, Incoming};
use super::nature::{Misdeed, Nature, misdeed};
use super::net::{SimNet, Stream};
use super::oracle::Book;
use super::plan::Request;
use super::wires::Door;
use crate::net::Net;
use crate::time::Ms;

/// A request that is being served.
#[derive(Debug)]
struct Exchange {
    id: usize,
    /// The request has come to its end.
    whole: bool,
    answer: Answer,
    at: usize,
    not_before: Ms,
    early: bool,
    misdeed: Option<Misdeed>,
}

#[derive(Debug)]
struct Conn {
    stream: Stream,
    incoming: Incoming,
    now_serving: Option<Exchange>,
    served: u32,
    last_served: Option<usize>,
    /// The FIN is out; what still comes is thrown away.
    draining: bool,
}

/// One backend with all its connections.
#[derive(Debug)]
pub(super) struct Backend {
    number: usize,
    port: usize,
    base: String,
    nature: Nature,
    conns: Vec<Conn>,
    dice: Dice,
    down: bool,
    /// The next death or return.
    pub(super) turning: Option<Ms>,
}

enum Next {
    Idle,
    Moved,
    /// The connection is done with, by FIN or (true) by RST.
    Gone(bool),
}

impl Backend {
    pub(super) fn new(number: usize, mut dice: Dice, net: &SimNet, book: &mut Book) -> Backend {
        let post = book.plan.posts[number].clone();
        let port = net.wires().add_port(post.endpoint.address().clone(), post.nature.door);
        book.health[number].down = post.nature.door != Door::Open;
        let turning = post.nature.mortal.then(|| Ms(dice.between(1, 60) as u64));
        let base = post.endpoint.base().to_string();
        let nature = post.nature;
        Backend { number, port, base, nature, conns: Vec::new(), dice, down: false, turning }
    }

    /// Does something, if there is something to do. Gives whether it did.
    pub(super) fn step(&mut self, now: Ms, net: &mut SimNet, book: &mut Book) -> bool {
        let mut moved = self.live_or_die(now, net, book);
        while let Some(stream) = net.accept_at_port(self.port) {
            self.conns.push(Conn {
                stream,
                incoming: Incoming::new(),
                now_serving: None,
                served: 0,
                last_served: None,
                draining: false,
            });
            moved = true;
        }
        let mut n = 0;
        while n < self.conns.len() {
            match self.serve(n, now, net, book) {
                Next::Idle => n += 1,
                Next::Moved => {
                    moved = true;
                    n += 1;
                }
                Next::Gone(reset) => {
                    moved = true;
                    let conn = self.conns.swap_remove(n);
                    if reset {
                        net.abort(conn.stream);
                    }
                }
            }
        }
        moved
    }

    /// When the next thing will happen here by itself.
    pub(super) fn wake(&self, now: Ms) -> Option<Ms> {
        let exchanges = self.conns.iter().filter_map(|conn| conn.now_serving.as_ref());
        let busy = exchanges.filter(|exchange| exchange.misdeed != Some(Misdeed::Hang));
        busy.map(|exchange| exchange.not_before).chain(self.turning).filter(|at| *at > now).min()
    }

    fn live_or_die(&mut self, now: Ms, net: &mut SimNet, book: &mut Book) -> bool {
        if self.turning.is_none_or(|at| at > now) {
            return false;
        }
        self.down = !self.down;
        book.health[self.number].down = self.down;
        let [least, most] = self.nature.outage_ms;
        self.turning = Some(now + self.dice.between(least, most) as u64);
        if self.down {
            self.die(net, book);
        } else {
            book.bad(self.number);
            book.count("returns");
            net.wires().set_door(self.port, Door::Open);
            net.wires().note("backend is back", self.number, 0);
        }
        true
    }

    fn die(&mut self, net: &mut SimNet, book: &mut Book) {
        net.wires().note("backend dies", self.number, 0);
        book.count("deaths");
        book.killed(self.number);
        let refused = ErrorKind::ConnectionRefused;
        let door = self.dice.pick(&[Door::Shut(refused), Door::ShutLater(refused)]);
        net.wires().set_door(self.port, door);
        for conn in self.conns.drain(..) {
            if let Some(exchange) = conn.now_serving.filter(|exchange| exchange.at > 0) {
                book.spoiled(self.number, exchange.id);
            }
            // The end of an answer may still be on its way, and is lost with the connection.
            let delivered = net.wires().is_delivered(conn.stream.end());
            if let Some(id) = conn.last_served.filter(|_| !delivered) {
                book.spoiled(self.number, id);
            }
            net.abort(conn.stream);
        }
        while let Some(stream) = net.accept_at_port(self.port) {
            net.abort(stream);
        }
    }

    // ---- one connection -----------------------------------------------------------------------

    fn serve(&mut self, n: usize, now: Ms, net: &mut SimNet, book: &mut Book) -> Next {
        let hangs = self.conns[n].now_serving.as_ref().and_then(|exchange| exchange.misdeed);
        if hangs == Some(Misdeed::Hang) {
            let over = net.wires().is_over(self.conns[n].stream.end());
            return if over { Next::Gone(false) } else { Next::Idle };
        }
        if self.closes_idle(n, net, book) {
            return Next::Gone(false);
        }
        let received = self.receive(n, net, book);
        if matches!(received, Next::Gone(_)) {
            return received;
        }
        self.understand(n, now, book);
        match self.send(n, now, net, book) {
            Next::Idle => received,
            sent => sent,
        }
    }

    /// An idle connection may be closed at any time; the worst moment is when a request is there.
    fn closes_idle(&mut self, n: usize, net: &SimNet, book: &mut Book) -> bool {
        let conn = &self.conns[n];
        let end = conn.stream.end();
        let idle = conn.served > 0 && conn.now_serving.is_none() && !conn.draining;
        if !idle || conn.incoming.has_leftover() || !net.wires().is_delivered(end) {
            return false;
        }
        let arrived = net.wires().unread(end) > 0;
        if !self.dice.chance(self.nature.closes_idle) || (!arrived && self.dice.chance(80)) {
            return false;
        }
        book.count(if arrived { "closed as a request arrived" } else { "closed when idle" });
        true
    }

    fn receive(&mut self, n: usize, net: &mut SimNet, book: &mut Book) -> Next {
        let conn = &mut self.conns[n];
        let mut bytes = [0; 4096];
        let most = if self.dice.chance(20) { self.dice.between(1, 300) } else { bytes.len() };
        match net.read(&mut conn.stream, &mut bytes[..most]) {
            Ok(0) => {
                if conn.now_serving.as_ref().is_some_and(|exchange| exchange.whole) {
                    book.count("proxy left a backend");
                }
                if conn.now_serving.is_none() {
                    conn.incoming.half_a_head().into_iter().for_each(|half| book.torn(&half));
                }
                Next::Gone(false)
            }
            Ok(_) if conn.draining => Next::Moved,
            Ok(got) => {
                conn.incoming.push(&bytes[..got]);
                Next::Moved
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Next::Idle,
            Err(_) => Next::Gone(false),
        }
    }

    /// Makes sense of what has been read.
    fn understand(&mut self, n: usize, now: Ms, book: &mut Book) {
        if self.conns[n].draining {
            return;
        }
        if self.conns[n].now_serving.is_none() {
            match self.conns[n].incoming.take_head() {
                Ok(None) => return,
                Ok(Some(head)) => self.begin(n, now, &head, book),
                Err(error) => return book.fail("1 a backend got garbage", error),
            }
        }
        let conn = &mut self.conns[n];
        let Some(exchange) = &mut conn.now_serving else { return };
        if exchange.whole {
            // An early answer may be out; then the next request may be in.
            let answered = exchange.at == exchange.answer.bytes.len();
            if conn.incoming.has_leftover() && !answered {
                book.fail("1 more than one request", format!("r{}", exchange.id));
            }
            return;
        }
        match conn.incoming.advance() {
            Ok(false) => {}
            Ok(true) => {
                exchange.whole = true;
                let request = book.request(exchange.id);
                if let Some(wrong) = wrong_request_body(&request, &conn.incoming) {
                    let wrong = format!("r{}: {wrong}", exchange.id);
                    book.fail("1 a wrong request body", wrong);
                }
            }
            Err(error) => book.fail("1 a backend got garbage", error),
        }
    }

    fn begin(&mut self, n: usize, now: Ms, head: &Head, book: &mut Book) {
        let id = head.get("x-sim-id").and_then(|id| id.parse().ok());
        let Some(id) = id.filter(|&id| id < book.plan.requests.len()) else {
            return book.fail("1 a request of nobody", head.start.clone());
        };
        let request = book.request(id);
        let misplaced = request.service != Some(book.plan.posts[self.number].service);
        if misplaced {
            book.fail("1 a request at a wrong service", format!("r{id} at b{}", self.number));
        }
        if let Some(wrong) = wrong_request_head(&request, head, &self.base) {
            book.fail("1 a wrong request head", format!("r{id}: {wrong} in {head:?}"));
        }
        book.started(self.number, id);
        let framing = head.framing().ok().flatten().unwrap_or(Framing::Length(0));
        let dice = &mut self.dice;
        let early = request.body_len > 0 && dice.chance(self.nature.early);
        let closes = dice.chance(self.nature.closes_after);
        let interim = !early && dice.chance(self.nature.interim);
        let busy = head.get("range").is_none() && self.dice.chance(self.nature.sheds);
        let answer = match head.get("range") {
            Some(range) => self.compose_rest(&request, range, head, book),
            None if busy => {
                book.shed(id);
                shed(&request)
            }
            None => compose(&request, closes, interim, &mut self.dice),
        };
        let (nature, dice) = (&self.nature, &mut self.dice);
        let misdeed =
            (!busy && dice.chance(nature.misdeed)).then(|| misdeed(nature, dice, &answer));
        let think = if dice.chance(50) { dice.between(0, self.nature.think_ms) } else { 0 };
        let not_before = now + think as u64;
        let conn = &mut self.conns[n];
        conn.incoming.begin_body(framing);
        conn.last_served = Some(id);
        conn.now_serving =
            Some(Exchange { id, whole: false, answer, at: 0, not_before, early, misdeed });
        self.confess(n, book);
    }

    /// The proxy wants the rest of an answer that broke off.
    fn compose_rest(
        &mut self,
        request: &Request,
        range: &str,
        head: &Head,
        b: &mut Book,
    ) -> Answer {
        let from = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
        let from = from.and_then(|from| from.parse().ok()).unwrap_or(usize::MAX);
        let right = head.get("if-range") == Some(&etag(request)) && from < request.answer_len;
        if !right || !b.was_cut(request.id) {
            b.fail("13 a rest that nobody needs", format!("r{}: {head:?}", request.id));
            return garbage(&mut self.dice);
        }
        b.count("rests asked for");
        if self.dice.chance(self.nature.lies) {
            b.count("wrong rests");
            b.spoiled(self.number, request.id);
            return compose_lie(request, from, &mut self.dice);
        }
        compose_rest(request, from, &mut self.dice)
    }

    /// Says in the book what is going to happen to an exchange, before it happens.
    fn confess(&mut self, n: usize, book: &mut Book) {
        let conn = &mut self.conns[n];
        let Some(exchange) = &mut conn.now_serving else { return };
        let Some(misdeed) = exchange.misdeed else { return };
        match misdeed {
            Misdeed::ResetUnanswered | Misdeed::CloseUnanswered => {
                book.killed(self.number);
                book.count("died unanswered");
            }
            Misdeed::CutAfter(cut, false) if cut >= exchange.answer.heads => {
                book.cut_in_body(self.number, exchange.id);
            }
            Misdeed::Hang | Misdeed::CutAfter(..) => book.spoiled(self.number, exchange.id),
            Misdeed::Garbage => {
                book.spoiled(self.number, exchange.id);
                exchange.answer = garbage(&mut self.dice);
            }
        }
        book.count("misdeeds");
    }

    fn send(&mut self, n: usize, now: Ms, net: &mut SimNet, book: &mut Book) -> Next {
        let conn = &mut self.conns[n];
        let Some(exchange) = &mut conn.now_serving else { return Next::Idle };
        let ready = exchange.whole || exchange.early;
        let all = exchange.answer.bytes.len();
        let mut until = if ready { all } else { exchange.answer.interim };
        if now < exchange.not_before || (exchange.at >= until && !ready) {
            return Next::Idle;
        }
        match exchange.misdeed {
            Some(Misdeed::Hang) => return Next::Idle,
            Some(Misdeed::ResetUnanswered | Misdeed::CloseUnanswered) => {
                // Said again: it may have been some turns since.
                book.killed(self.number);
                return Next::Gone(exchange.misdeed == Some(Misdeed::ResetUnanswered));
            }
            Some(Misdeed::CutAfter(cut, reset)) if exchange.at >= cut => {
                book.killed(self.number);
                return Next::Gone(reset);
            }
            Some(Misdeed::CutAfter(cut, _)) => until = until.min(cut),
            _ => {}
        }
        if exchange.at < until {
            let most = if self.dice.chance(30) { 200 } else { until };
            let piece = exchange.at..until.min(exchange.at + most);
            match net.write(&mut conn.stream, &exchange.answer.bytes[piece]) {
                Ok(n) => exchange.at += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Idle,
                Err(_) => return Next::Gone(false),
            }
            if self.dice.chance(10) {
                exchange.not_before = now + self.dice.between(0, self.nature.think_ms) as u64;
            }
        }
        if exchange.at < all {
            return Next::Moved;
        }
        self.answered(n, net)
    }

    /// The answer is out: what becomes of the connection?
    fn answered(&mut self, n: usize, net: &mut SimNet) -> Next {
        let conn = &mut self.conns[n];
        let Some(exchange) = &conn.now_serving else { return Next::Idle };
        if exchange.answer.closes {
            net.shutdown_write(&mut conn.stream);
            conn.draining = true;
            conn.now_serving = None;
        } else if exchange.whole {
            conn.now_serving = None;
            conn.served += 1;
        } else {
            return Next::Idle;
        }
        Next::Moved
    }
}
