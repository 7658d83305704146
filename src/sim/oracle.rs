//! The book of one world: what everybody saw, and the oracles that judge it.
//!
//! Clients write down what they got, backends what they were asked and what they did to it, the
//! engine's hooks what the engine believes. A failure names the oracle in square brackets. The
//! book knows what is fair: a failed request is excused only by what was really done to it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::net::SimNet;
use super::plan::{Plan, Request, service_name};
use crate::config::ReuseUnsafe;
use crate::engine::{Census, Stats};
use crate::hooks::Hooks;
use crate::summary::{Outcome, Summary};
use crate::time::Ms;

/// How often the engine repeats one request at most.
const MAX_REPEATS: u32 = 5;

/// How an exchange ended in the eyes of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The right answer, to its end.
    Whole,
    /// The right answer, before the request had been sent to its end.
    Early,
    /// An answer made by the proxy.
    Own(u16),
    /// The beginning of the right answer.
    Cut,
    /// Not one byte of an answer.
    Closed,
    /// It stood behind an answer that ended the connection.
    Unserved,
    /// The client itself broke off, fell silent or stopped reading.
    Broken,
}

impl Seen {
    fn word(self) -> &'static str {
        match self {
            Seen::Whole => "request answered",
            Seen::Early => "request answered early",
            Seen::Own(_) => "request answered by proxy",
            Seen::Cut => "request's answer cut",
            Seen::Closed => "request not answered",
            Seen::Unserved => "request unserved",
            Seen::Broken => "request broken off",
        }
    }
}

/// What the engine said about one exchange.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    pub(super) client: Option<IpAddr>,
    service: String,
    status: u16,
    attempts: u32,
    pub(super) outcome: Outcome,
}

/// The hooks of the engine under test: they write down every summary.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder(pub(super) Arc<Mutex<Vec<Noted>>>);

impl Hooks for Recorder {
    fn finished(&mut self, summary: &Summary<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Noted {
            client: summary.client,
            service: summary.service.to_string(),
            status: summary.status,
            attempts: summary.attempts,
            outcome: summary.outcome,
        });
    }
}

/// What can be known about one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub(super) begun: u64,
    pub(super) visit: usize,
    /// When the last byte of its head was written by the client.
    pub(super) head_out: Option<Ms>,
    /// How many whole heads of it backends saw.
    pub(super) started: u32,
    /// Something was done to it that no proxy can repair.
    pub(super) spoiled: bool,
    /// How often its answer broke off where it can be continued.
    pub(super) cuts: u32,
    /// An endpoint was too busy for it.
    pub(super) shed: bool,
    /// A connection was left by the proxy with the beginning of it.
    pub(super) torn: bool,
}

/// How a backend is.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    /// It is down, refuses, or is not registered, now.
    pub(super) down: bool,
    pub(super) absent: bool,
    /// The last turn in which it was not well, and when that was.
    pub(super) last_bad: u64,
    pub(super) last_bad_at: Ms,
    /// The last turn in which it worked on as many requests as it may.
    pub(super) last_full: u64,
}

/// What happened on one connection of a client.
#[derive(Clone, Debug, Default)]
pub(super) struct Visit {
    pub(super) begun: Vec<usize>,
    pub(super) seen: Vec<(usize, Seen)>,
    /// When the last answer was seen.
    pub(super) seen_at: Ms,
}

/// Everything that is known about one world.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) plan: Plan,
    /// For the trace.
    net: SimNet,
    pub(super) turn: u64,
    pub(super) stopped: bool,
    /// The proxy drains: nobody new comes, and who is idle is soon sent away.
    pub(super) draining: bool,
    pub(super) failure: Option<String>,
    pub(super) tally: BTreeMap<&'static str, u64>,
    pub(super) health: Vec<Health>,
    pub(super) recorder: Recorder,
    pub(super) lives: Vec<Life>,
    pub(super) visits: Vec<Visit>,
    /// Per service: the last turn in which a connection was killed that may have carried a
    /// request which must not be sent twice.
    pub(super) killed: Vec<u64>,
    /// Per service: requests that clients have begun, and whole heads that were one too many.
    pub(super) begun: Vec<u64>,
    pub(super) repeats: Vec<u64>,
    /// What the engine says of its own repeats.
    pub(super) retries: u64,
    pub(super) now: Ms,
}

impl Book {
    pub(super) fn new(plan: Plan, net: SimNet) -> Book {
        Book {
            net,
            turn: 0,
            stopped: false,
            draining: false,
            failure: None,
            tally: BTreeMap::new(),
            health: plan.posts.iter().map(|_| Health::default()).collect(),
            recorder: Recorder::default(),
            lives: plan.requests.iter().map(|_| Life::default()).collect(),
            visits: Vec::new(),
            killed: vec![0; plan.posts.len()],
            begun: vec![0; plan.posts.len()],
            repeats: vec![0; plan.posts.len()],
            retries: 0,
            now: Ms::ZERO,
            plan,
        }
    }

    /// The first failure counts; what follows it is noise.
    pub(super) fn fail(&mut self, oracle: &str, detail: String) {
        self.failure.get_or_insert_with(|| format!("[{oracle}] {detail}"));
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    pub(super) fn request(&self, id: usize) -> Arc<Request> {
        Arc::clone(&self.plan.requests[id])
    }

    // ---- what clients say -------------------------------------------------------------------

    /// A client opens a connection; gives its number and its address, which no other one has.
    pub(super) fn open_visit(&mut self) -> (usize, IpAddr) {
        self.visits.push(Visit::default());
        let number = self.visits.len() - 1;
        (number, address_of(number))
    }

    pub(super) fn begun(&mut self, visit: usize, id: usize) {
        self.net.wires().note("client begins a request", visit, id);
        self.visits[visit].begun.push(id);
        self.lives[id].begun = self.turn;
        self.lives[id].visit = visit;
        self.begun[self.plan.requests[id].service.unwrap_or(0)] += 1;
    }

    /// The client has written the first `n` bytes of `id`.
    pub(super) fn sent(&mut self, id: usize, n: usize) {
        if n >= self.plan.requests[id].head_len {
            self.lives[id].head_out.get_or_insert(self.now);
        }
    }

    /// Oracle 2, and the record for oracle 4.
    pub(super) fn saw(&mut self, visit: usize, id: usize, seen: Seen) {
        self.net.wires().note(seen.word(), visit, id);
        self.visits[visit].seen.push((id, seen));
        self.visits[visit].seen_at = self.now;
        let known = self.plan.requests[id].service.is_some();
        match seen {
            Seen::Whole => {
                if self.lives[id].cuts > 0 {
                    self.count("resumed answers");
                }
                self.count("whole answers");
            }
            Seen::Early => self.count("early answers"),
            Seen::Unserved => self.count("unserved behind the end"),
            Seen::Broken => self.count("broken off by the client"),
            Seen::Own(404) if !known => self.count("unknown services"),
            _ if !known => self.fail("1 unknown service is 404", format!("r{id}: {seen:?}")),
            Seen::Own(500..=599) | Seen::Cut | Seen::Closed => self.judge(id, seen),
            Seen::Own(status) => {
                self.fail("1 a good request was called bad", format!("r{id}: {status}"));
            }
        }
    }

    /// Whether the connection died for one of `these`: the RST that makes a cut answer look cut
    /// may wipe out the whole answer before it, which the kernel still held.
    pub(super) fn dies_for(&mut self, these: &VecDeque<usize>) -> bool {
        let spoiled = these.iter().skip(1).any(|&id| self.lives[id].spoiled);
        if spoiled {
            self.count("answers wiped out by a later cut");
        }
        spoiled
    }

    /// Whether a failure of the request `id` had to be.
    fn judge(&mut self, id: usize, seen: Seen) {
        let (request, life) = (&self.plan.requests[id], &self.lives[id]);
        let service = request.service.unwrap_or(0);
        let well = (0..self.plan.posts.len()).find(|&n| self.is_well(n, service, life.begun));
        let what = format!("r{id} {} of {} bytes: {seen:?}", request.method, request.body_len);
        if seen == Seen::Closed {
            return self.fail("5 keep-alive was promised", what + ", closed without an answer");
        }
        let Some(well) = well else { return self.count("failed, nobody well") };
        let config = &self.plan.config;
        if life.spoiled {
            self.count("failed, spoiled")
        } else if self.health[well].last_full >= life.begun {
            self.count("failed, all full")
        } else if config.wait_ms < 2_000 && matches!(seen, Seen::Own(502..=504)) {
            self.count("failed, short patience")
        } else if config.wait_requests < 3 && matches!(seen, Seen::Own(502..=504) | Seen::Cut) {
            self.count("failed, no place to wait")
        } else if life.started >= MAX_REPEATS || self.retries >= 10 * config.retry_per_second {
            self.count("failed, no more repeats")
        } else if request.repeatable {
            self.fail("2 a repeatable request failed", format!("{what}, b{well} was well"));
        } else if self.killed[service] < life.begun
            && self.plan.config.reuse_unsafe == ReuseUnsafe::Fresh
        {
            self.fail("2 failed though no connection died", format!("{what}, b{well} was well"));
        } else {
            self.count("failed, not repeatable");
        }
    }

    pub(super) fn is_well(&self, backend: usize, service: usize, since: u64) -> bool {
        let health = &self.health[backend];
        self.plan.posts[backend].service == service
            && !(health.down || health.absent)
            && health.last_bad < since
    }

    // ---- what backends say ------------------------------------------------------------------

    /// A whole head of `id` has reached backend `n`. Oracle 3.
    pub(super) fn started(&mut self, n: usize, id: usize) {
        self.net.wires().note("backend has a request", n, id);
        self.lives[id].started += 1;
        self.judge_start(id);
        let request = &self.plan.requests[id];
        let safe_twice = request.keyed || !matches!(request.method, "POST" | "BREW");
        if self.lives[id].started > 1 {
            if safe_twice {
                let service = request.service.unwrap_or(0);
                self.repeats[service] += 1;
                self.count("repeated requests");
            } else {
                self.fail("3 an unsafe request was sent twice", format!("r{id}"));
            }
        }
    }

    /// From this turn on, backend `n` cannot be called well in the past.
    pub(super) fn bad(&mut self, n: usize) {
        (self.health[n].last_bad, self.health[n].last_bad_at) = (self.turn, self.now);
    }

    /// A connection of backend `n` died, and it was not an idle one.
    pub(super) fn killed(&mut self, n: usize) {
        self.bad(n);
        self.killed[self.plan.posts[n].service] = self.turn;
    }

    /// Backend `n` did to `id` what cannot be repaired.
    pub(super) fn spoiled(&mut self, n: usize, id: usize) {
        self.killed(n);
        self.lives[id].spoiled = true;
    }

    /// Backend `n` breaks off its answer to `id` where another one can go on.
    pub(super) fn cut_in_body(&mut self, n: usize, id: usize) {
        let request = &self.plan.requests[id];
        if request.resumable && request.repeatable && self.plan.config.resume {
            self.killed(n);
            self.lives[id].cuts += 1;
        } else {
            self.spoiled(n, id);
        }
    }

    pub(super) fn was_cut(&self, id: usize) -> bool {
        self.lives[id].spoiled || self.lives[id].cuts > 0
    }

    /// A backend is too busy for `id`.
    pub(super) fn shed(&mut self, id: usize) {
        self.count("sheds");
        self.lives[id].shed = true;
    }

    /// The proxy has left a connection after half a head.
    pub(super) fn torn(&mut self, half: &str) {
        let id = half.split("/r/").nth(1);
        let id = id.and_then(|rest| rest.split_once(|c: char| !c.is_ascii_digit()));
        let life = id.and_then(|(id, _)| self.lives.get_mut(id.parse::<usize>().ok()?));
        life.into_iter().for_each(|life| life.torn = true);
        self.count("half a head");
    }

    // ---- at the end of a turn, and at the very end ------------------------------------------

    /// Oracle 4: the ledger holds at every instant.
    pub(super) fn check_ledger(&mut self, stats: &Stats) {
        let (refused, cut): (u64, u64) = (stats.refused.values().sum(), stats.cut.values().sum());
        let ended = stats.answered + stats.client_gone + refused + cut;
        if stats.accepted != ended + stats.in_progress {
            self.fail("4 the ledger does not add up", format!("{stats:?}"));
        }
        self.retries = stats.retries;
        self.check_budget();
    }

    /// Oracle 12: whoever is alive has a place: an upstream is in the pool or in an exchange.
    pub(super) fn check_census(&mut self, census: &Census, in_flight: usize) {
        let (config, posts) = (&self.plan.config, self.plan.posts.len());
        let most_idle = config.idle_total.min(config.idle_per_endpoint * posts);
        let right = census.upstreams == census.idle + in_flight
            // One each, and one more while two connects race.
            && in_flight <= 2 * census.clients
            && census.clients <= config.max_connections
            && census.idle <= most_idle;
        if !right {
            self.fail("12 the census is wrong", format!("{in_flight} in flight, {census:?}"));
        }
    }

    /// Oracle 8: nothing is left. Oracle 4: every exchange has its summary, and the right one.
    pub(super) fn settle(&mut self, census: &Census, stats: &Stats) {
        if census.clients + census.upstreams + census.idle > 0 || census.lent_bytes > 0 {
            self.fail("8 something is left", format!("{census:?}"));
        }
        let noted =
            std::mem::take(&mut *self.recorder.0.lock().unwrap_or_else(PoisonError::into_inner));
        if stats.in_progress != 0 || stats.accepted != noted.len() as u64 {
            let n = noted.len();
            self.fail("4 a summary for each exchange", format!("{n} summaries, {stats:?}"));
        }
        self.settle_torn();
        for number in 0..self.visits.len() {
            let address = Some(address_of(number));
            let told: Vec<&Noted> = noted.iter().filter(|n| n.client == address).collect();
            let visit = std::mem::take(&mut self.visits[number]);
            self.settle_visit(number, &visit, &told);
        }
    }

    fn settle_visit(&mut self, number: usize, visit: &Visit, told: &[&Noted]) {
        if told.len() > visit.begun.len() {
            let (n, m) = (told.len(), visit.begun.len());
            self.fail("4 more summaries than requests", format!("visit {number}: {n} of {m}"));
        }
        for (n, &(id, seen)) in visit.seen.iter().enumerate() {
            let Some(noted) = told.get(n) else {
                if !matches!(seen, Seen::Unserved | Seen::Broken) {
                    self.fail("4 no summary", format!("visit {number}, r{id}: {seen:?}"));
                }
                continue;
            };
            if noted.attempts > 1 {
                self.count("summaries with more than one attempt");
            }
            let service = self.plan.requests[id].service.map(service_name);
            let right = match seen {
                Seen::Whole => noted.outcome == Outcome::Answered && noted.status > 0,
                Seen::Own(status) => {
                    matches!(noted.outcome, Outcome::Refused(_)) && noted.status == status
                }
                Seen::Cut => matches!(noted.outcome, Outcome::Cut(_)),
                Seen::Closed => noted.outcome != Outcome::Answered,
                Seen::Early | Seen::Unserved | Seen::Broken => true,
            };
            let named = match (&service, seen) {
                (Some(service), Seen::Whole | Seen::Cut) => *service == noted.service,
                _ => true,
            };
            if !right || !named {
                self.fail("4 a wrong summary", format!("r{id} {seen:?}: {noted:?}"));
            }
        }
    }
}

pub(super) fn address_of(visit: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0001 + visit as u32))
}
