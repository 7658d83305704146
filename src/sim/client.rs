//! A client: it sends its requests in one of many manners, some of them bad, and checks every
//! answer to the byte.
//!
//! What it may expect: on a connection on which it behaves, each request is answered, in order,
//! and the connection stays open unless an answer said otherwise or it was idle for too long.

use std::collections::VecDeque;
use std::io::ErrorKind;

use super::check::{Got, wrong_answer_body, wrong_answer_head};
use super::dice::Dice;
use super::message::{Framing, Head, Incoming};
use super::net::{SimNet, Stream};
use super::oracle::{Book, Seen};
use crate::net::Net;
use crate::time::Ms;

/// How a client behaves on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Plain,
    /// Reads and writes little, with pauses.
    Slow,
    /// Sends its FIN right behind its last request.
    HalfCloses,
    /// Waits for the proxy to close the idle connection.
    Lingers,
    /// Stops in the middle of its last request.
    Silent,
    /// Stops reading for ever.
    Stalls,
    /// Goes away after so many bytes, by RST or not.
    Vanishes(usize, bool),
}

/// One connection.
#[derive(Debug)]
struct Talk {
    stream: Stream,
    visit: usize,
    manner: Manner,
    /// How many more requests will be sent here, and how many may be unanswered.
    quota: usize,
    depth: usize,
    out: Vec<u8>,
    at: usize,
    /// With `Expect`: the body waits here, but not for ever.
    hold: Option<(usize, Ms)>,
    waiting: VecDeque<usize>,
    incoming: Incoming,
    answer: Option<Got>,
    /// An answer said that the connection ends.
    ended: bool,
    fin_sent: bool,
    /// A write failed: nothing more can be sent, much may still be read.
    broken: bool,
    /// Half a request was sent and no more will come.
    silent: bool,
    moved_bytes: usize,
    last_sent: Ms,
    deadline: Option<Ms>,
}

/// One client: one connection at a time, until all its requests have been sent.
#[derive(Debug)]
pub(super) struct Client {
    number: usize,
    todo: VecDeque<usize>,
    dice: Dice,
    talk: Option<Talk>,
    wake: Ms,
}

/// What becomes of the connection.
enum Next {
    Idle,
    Moved,
    Over,
}

impl Client {
    pub(super) fn new(number: usize, todo: &[usize], mut dice: Dice) -> Client {
        let wake = Ms(if dice.chance(50) { 0 } else { dice.below(30) as u64 });
        Client { number, todo: todo.iter().copied().collect(), dice, talk: None, wake }
    }

    pub(super) fn is_done(&self) -> bool {
        self.todo.is_empty() && self.talk.is_none()
    }

    /// For whoever looks at a stuck world.
    pub(super) fn describe(&self) -> String {
        let talk = self.talk.as_ref().map(|talk| {
            let (waiting, sent, all) = (&talk.waiting, talk.at, talk.out.len());
            let (manner, visit) = (talk.manner, talk.visit);
            format!("visit {visit} {manner:?}, waits for {waiting:?}, sent {sent} of {all}")
        });
        format!("client {}: {} to do, {talk:?}", self.number, self.todo.len())
    }

    /// When the next thing will happen here by itself.
    pub(super) fn wake(&self, now: Ms) -> Option<Ms> {
        let talk = self.talk.as_ref();
        let hold = talk.and_then(|talk| talk.hold.map(|(_, until)| until));
        let deadline = talk.and_then(|talk| talk.deadline);
        let mine = (!self.is_done()).then_some(self.wake);
        mine.into_iter().chain(hold).chain(deadline).filter(|at| *at > now).min()
    }

    /// Does something, if there is something to do. Gives whether it did.
    pub(super) fn step(&mut self, now: Ms, net: &mut SimNet, book: &mut Book) -> bool {
        if self.is_done() || now < self.wake {
            return false;
        }
        let Some(mut talk) = self.talk.take() else {
            if book.draining {
                // Nobody would let it in.
                self.todo.clear();
                return true;
            }
            self.talk = Some(self.arrive(net, book));
            return true;
        };
        let sent = talk.send(now, &mut self.todo, &mut self.dice, net, book);
        let next = match talk.receive(now, &mut self.dice, net, book) {
            Next::Idle if sent => Next::Moved,
            next => next,
        };
        if talk.is_too_late(now, net, book) || talk.vanishes() || matches!(next, Next::Over) {
            talk.leave(net, book);
            self.wake = now + self.dice.pick(&[0, 0, 5, 200]);
            return true;
        }
        let moved = matches!(next, Next::Moved);
        if moved && talk.manner == Manner::Slow && self.dice.chance(15) {
            self.wake = now + self.dice.between(1, 60) as u64;
        }
        self.talk = Some(talk);
        moved
    }

    fn arrive(&mut self, net: &SimNet, book: &mut Book) -> Talk {
        let dice = &mut self.dice;
        let manner = match dice.below(100) {
            0..=51 => Manner::Plain,
            52..=63 => Manner::Slow,
            64..=75 => Manner::HalfCloses,
            76..=81 => Manner::Lingers,
            82..=87 => Manner::Silent,
            88..=90 => Manner::Stalls,
            _ => Manner::Vanishes(dice.pick(&[50, 500, 5000]), dice.chance(50)),
        };
        let (visit, address) = book.open_visit();
        net.wires().note("client dials", self.number, visit);
        Talk {
            stream: net.dial(0, address),
            visit,
            manner,
            quota: dice.between(1, 6),
            depth: if manner == Manner::Stalls { 1 } else { dice.pick(&[1, 1, 1, 2, 4]) },
            out: Vec::new(),
            at: 0,
            hold: None,
            waiting: VecDeque::new(),
            incoming: Incoming::new(),
            answer: None,
            ended: false,
            fin_sent: false,
            broken: false,
            silent: false,
            moved_bytes: 0,
            last_sent: Ms::ZERO,
            deadline: None,
        }
    }
}

impl Talk {
    // ---- sending ----------------------------------------------------------------------------

    fn all_out(&self) -> bool {
        self.at == self.out.len()
    }

    /// Nothing more will be sent here.
    fn is_last(&self, todo: &VecDeque<usize>) -> bool {
        self.quota == 0 || todo.is_empty() || self.ended || self.broken
    }

    fn send(
        &mut self,
        now: Ms,
        todo: &mut VecDeque<usize>,
        dice: &mut Dice,
        net: &mut SimNet,
        book: &mut Book,
    ) -> bool {
        if self.ended || self.broken {
            return false;
        }
        if self.all_out() {
            if self.is_last(todo) {
                self.quota = 0;
                return self.finish_sending(net);
            }
            if self.waiting.len() >= self.depth {
                return false;
            }
            self.begin(now, todo, dice, book);
        }
        let mut until = self.out.len();
        match self.hold {
            Some((at, give_up)) if now < give_up => until = until.min(at.max(self.at)),
            _ => self.hold = None,
        }
        let small = self.manner == Manner::Slow || dice.chance(20);
        if small {
            until = until.min(self.at + dice.between(1, 500));
        }
        if self.at == until {
            return false;
        }
        match net.write(&mut self.stream, &self.out[self.at..until]) {
            Ok(n) => {
                self.at += n;
                self.moved_bytes += n;
                self.last_sent = now;
                self.waiting.back().into_iter().for_each(|&id| book.sent(id, self.at));
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(_) => {
                self.broken = true;
                true
            }
        }
    }

    fn begin(&mut self, now: Ms, todo: &mut VecDeque<usize>, dice: &mut Dice, book: &mut Book) {
        let Some(id) = todo.pop_front() else { return };
        let request = book.request(id);
        self.out.clone_from(&request.wire);
        self.at = 0;
        self.hold = request.expect.then_some((request.head_len, now + 1_500));
        // After a wish to close, nothing may follow.
        let closes = request.close;
        self.quota = if closes { 0 } else { self.quota - 1 };
        if self.manner == Manner::Silent && self.is_last(todo) {
            self.out.truncate(dice.between(1, self.out.len() - 1));
            self.silent = true;
        }
        self.waiting.push_back(id);
        book.begun(self.visit, id);
    }

    fn finish_sending(&mut self, net: &mut SimNet) -> bool {
        if self.manner != Manner::HalfCloses || self.fin_sent {
            return false;
        }
        net.shutdown_write(&mut self.stream);
        self.fin_sent = true;
        true
    }

    // ---- receiving ----------------------------------------------------------------------------

    fn receive(&mut self, now: Ms, dice: &mut Dice, net: &mut SimNet, book: &mut Book) -> Next {
        if self.manner == Manner::Stalls && self.moved_bytes > 0 {
            let left = net.wires().is_left(self.stream.end());
            return if left { Next::Over } else { Next::Idle };
        }
        let mut bytes = [0; 4096];
        let small = self.manner == Manner::Slow || dice.chance(10);
        let most = if small { dice.between(1, 500) } else { bytes.len() };
        match net.read(&mut self.stream, &mut bytes[..most]) {
            Ok(0) => {
                // A write that failed has taken the error: the end is no clean one.
                self.end(now, !self.broken, book);
                Next::Over
            }
            Ok(n) => {
                self.incoming.push(&bytes[..n]);
                self.moved_bytes += n;
                self.understand(book);
                if self.wants_to_leave(dice) { Next::Over } else { Next::Moved }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Next::Idle,
            Err(_) => {
                self.end(now, false, book);
                Next::Over
            }
        }
    }

    /// Whether all is said. Who was told that the connection ends mostly waits for the FIN.
    fn wants_to_leave(&self, dice: &mut Dice) -> bool {
        let served = self.waiting.is_empty() && self.quota == 0 && self.all_out();
        if self.ended {
            self.answer.is_none() && dice.chance(25)
        } else {
            served && !matches!(self.manner, Manner::Lingers | Manner::HalfCloses)
        }
    }

    fn understand(&mut self, book: &mut Book) {
        while book.failure.is_none() {
            if self.ended && self.answer.is_none() {
                if self.incoming.has_leftover() {
                    let visit = self.visit;
                    book.fail("1 bytes behind the last answer", format!("visit {visit}"));
                }
                return;
            }
            if self.answer.is_none() {
                match self.incoming.take_head() {
                    Ok(Some(head)) => self.on_head(&head, book),
                    Ok(None) => return,
                    Err(error) => return book.fail("1 a client got garbage", error),
                }
            }
            if self.answer.is_some() {
                match self.incoming.advance() {
                    Ok(true) => self.on_whole(book),
                    Ok(false) => return,
                    Err(error) => return book.fail("1 a client got garbage", error),
                }
            }
        }
    }

    fn on_head(&mut self, head: &Head, book: &mut Book) {
        let Some(&id) = self.waiting.front() else {
            return book.fail("1 an answer that nobody asked for", format!("{head:?}"));
        };
        let request = book.request(id);
        let status: u16 = head.word(1).parse().unwrap_or(0);
        if (100..200).contains(&status) {
            self.hold = None;
            if request.old {
                book.fail("1 a 1xx for HTTP/1.0", format!("r{id}: {head:?}"));
            }
            return book.count("interim answers");
        }
        let from_proxy = head.get("x-sim-id").is_none();
        // Of half a head, the proxy knows neither method nor version.
        let unknown = from_proxy && self.waiting.len() == 1 && self.at < request.head_len;
        if let Some(wrong) = wrong_answer_head(&request, head, from_proxy).filter(|_| !unknown) {
            let visit = self.visit;
            book.fail("1 a wrong answer", format!("visit {visit} r{id}: {wrong} in {head:?}"));
        }
        let bodiless = request.method == "HEAD" && !unknown;
        let empty = bodiless || matches!(status, 204 | 304);
        let framing = match head.framing() {
            Ok(_) if empty => Framing::Length(0),
            Ok(framing) => framing.unwrap_or(Framing::UntilClose),
            Err(error) => return book.fail("1 a wrong answer", format!("r{id}: {error}")),
        };
        let keeps = if head.word(0) == "HTTP/1.0" {
            head.lists("connection", "keep-alive")
        } else {
            !head.lists("connection", "close")
        };
        let last = !keeps || request.close || framing == Framing::UntilClose;
        let trailer = framing == Framing::Chunked && head.get("trailer").is_some();
        self.hold = None;
        self.incoming.begin_body(framing);
        let shed = head.get("x-sim-shed").is_some();
        let retry_after = head.get("retry-after").is_some();
        self.answer = Some(Got { from_proxy, shed, retry_after, framing, status, trailer, last });
    }

    fn on_whole(&mut self, book: &mut Book) {
        let (Some(answer), Some(id)) = (self.answer.take(), self.waiting.pop_front()) else {
            return;
        };
        let in_upload = self.waiting.is_empty() && !self.all_out();
        self.ended = answer.last;
        let exempt = self.silent && self.waiting.is_empty();
        if answer.from_proxy && exempt {
            if !matches!(answer.status, 404 | 408 | 500..=599) {
                book.fail("7 silence is 408", format!("r{id}: {}", answer.status));
            }
            return book.saw(self.visit, id, Seen::Broken);
        }
        if answer.from_proxy && answer.status == 503 && !answer.retry_after {
            book.fail("14 a 503 says when to come again", format!("r{id}"));
        }
        if answer.shed {
            book.saw_shed(id);
        }
        if answer.from_proxy {
            return book.saw(self.visit, id, Seen::Own(answer.status));
        }
        let request = book.request(id);
        if let Some(wrong) = wrong_answer_body(&request, &answer, &self.incoming) {
            book.fail("1 a wrong answer", format!("visit {} r{id}: {wrong}", self.visit));
        }
        if self.waiting.is_empty() && self.visit_goes_on() {
            book.count("connections kept");
        }
        book.saw(self.visit, id, if in_upload || exempt { Seen::Early } else { Seen::Whole });
    }

    fn visit_goes_on(&self) -> bool {
        !self.ended && self.quota > 0
    }

    // ---- the end ------------------------------------------------------------------------------

    /// The proxy has ended the connection, by FIN (`clean`) or RST.
    fn end(&mut self, now: Ms, clean: bool, book: &mut Book) {
        let idle_ms = book.plan.config.client_idle_ms;
        let idle_ms = if book.draining { idle_ms.min(1_000) } else { idle_ms };
        if !clean && book.dies_for(&self.waiting) {
            self.ended = true;
            return;
        }
        if let Some(answer) = &self.answer {
            // Oracle 6: only here can a truncated answer look whole; the bytes will tell.
            if self.incoming.end() && clean {
                return self.on_whole(book);
            }
            let from_proxy = answer.from_proxy;
            self.answer = None;
            if let Some(id) = self.waiting.pop_front() {
                let mine = self.silent && self.waiting.is_empty();
                if from_proxy && !mine {
                    book.fail("6 an own answer was cut", format!("r{id}"));
                }
                book.saw(self.visit, id, if mine { Seen::Broken } else { Seen::Cut });
            }
            self.ended = true;
        }
        // A drain may meet the next request on its way.
        let crossed = book.draining && now.since(self.last_sent) < 20;
        let raced = crossed && clean && !self.incoming.has_leftover();
        let idle = raced || now.since(self.last_sent) >= idle_ms;
        let silent = self.silent && self.waiting.len() <= 1;
        if self.ended || silent || self.fin_sent && self.waiting.is_empty() || book.stopped {
            return;
        }
        if self.waiting.is_empty() && !idle {
            let detail = format!("visit {} closed when idle, too early", self.visit);
            return book.fail("5 keep-alive was promised", detail);
        }
        if let Some(id) = self.waiting.front().copied().filter(|_| !idle) {
            self.waiting.pop_front();
            // A RST may have overtaken the first bytes of an answer.
            let cut = !clean || self.incoming.has_leftover();
            book.saw(self.visit, id, if cut { Seen::Cut } else { Seen::Closed });
        }
    }

    /// Oracle 7: who falls silent or stops reading is ended by the proxy.
    fn is_too_late(&mut self, now: Ms, net: &SimNet, book: &mut Book) -> bool {
        let quiet = match self.manner {
            Manner::Silent => self.silent && self.all_out() && self.waiting.len() < 2,
            Manner::Stalls => self.moved_bytes > 0,
            Manner::Lingers | Manner::HalfCloses => self.quota == 0 && self.waiting.is_empty(),
            _ => self.ended && self.answer.is_none(),
        };
        // In a crowd it may be long before the proxy even looks at it.
        if !quiet || book.plan.crowded || !net.wires().is_accepted(self.stream.end()) {
            self.deadline = None;
            return false;
        }
        let deadline = *self.deadline.get_or_insert(now + book.plan.patience_ms());
        if now >= deadline {
            let detail = format!("visit {} {:?}", self.visit, self.manner);
            book.fail("7 a silent client is not ended", detail);
        }
        now >= deadline
    }

    fn vanishes(&self) -> bool {
        matches!(self.manner, Manner::Vanishes(after, _) if self.moved_bytes >= after)
    }

    /// Closes, and says what became of the requests that were not answered.
    fn leave(self, net: &mut SimNet, book: &mut Book) {
        let broke_off = self.silent || self.vanishes() || self.manner == Manner::Stalls;
        for &id in &self.waiting {
            book.saw(self.visit, id, if broke_off { Seen::Broken } else { Seen::Unserved });
        }
        net.wires().note("client leaves", self.visit, self.waiting.len());
        if matches!(self.manner, Manner::Vanishes(after, true) if self.moved_bytes >= after) {
            net.abort(self.stream);
        }
    }
}
