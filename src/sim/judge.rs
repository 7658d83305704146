//! The oracles of waiting, racing, repeating and proving: what the book says, and what can be
//! seen of the engine after each turn.
//!
//! The limits are worked out anew from what the registry is told and what peers saw, never taken
//! from the engine; only who waits and who is in flight is looked up there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::cast::Kind;
use super::oracle::{Book, Seen, address_of};
use crate::endpoint::{Endpoint, Failure};
use crate::engine::{Engine, Stats};
use crate::net::Net;
use crate::summary::{Outcome, Reason};
use crate::time::Ms;

/// What turns and events may add to a race of two connects.
const RACE_MS: u64 = 50;
/// A scout goes at least so often.
const SCOUT_MS: u64 = 250;

/// What the registry was told, in order: an answer, or a failure.
pub(super) type Told = Arc<Mutex<Vec<(Endpoint, Option<Failure>)>>>;

impl Book {
    /// A whole head has reached a backend. Oracle 15: a race of connects costs `hedge` and no
    /// more. Oracle 16: nobody overtakes those who wait. Oracle 17: losers are not written to.
    pub(super) fn judge_start(&mut self, id: usize) {
        let life = self.lives[id].clone();
        let visit = &self.visits[life.visit];
        let first = visit.seen.len() + 1 == visit.begun.len();
        if self.plan.kind == Kind::Hang && life.started == 1 && first {
            let ready = life.head_out.unwrap_or(self.now).max(visit.seen_at);
            let took = self.now.since(ready);
            if took > self.plan.config.hedge_ms + RACE_MS {
                self.fail("15 a hanging door cost too much", format!("r{id}: {took} ms"));
            }
        }
        if life.torn && self.plan.kind == Kind::Hang {
            self.fail("17 a loser was written to", format!("r{id}"));
        }
    }

    /// Oracle 18: what backends see twice stays within the allowance.
    pub(super) fn check_budget(&mut self) {
        let config = &self.plan.config;
        let seconds = 11 + self.now.0 / 1_000;
        for service in 0..self.repeats.len() {
            let earned = self.begun[service] * config.retry_percent / 100;
            let most = earned + config.retry_per_second * seconds;
            if self.repeats[service] > most {
                let detail = format!("{} of {most} in s{service}", self.repeats[service]);
                return self.fail("18 more repeats than allowed", detail);
            }
        }
    }

    /// Oracle 19: an endpoint's "too busy" is tried elsewhere where that is well.
    pub(super) fn saw_shed(&mut self, id: usize) {
        self.count("busy answers passed on");
        let (request, life, config) = (&self.plan.requests[id], &self.lives[id], &self.plan.config);
        let strict = !config.slow_start && config.max_inflight == 0 && request.repeatable;
        let spent = life.started > 5 || self.retries >= 10 * config.retry_per_second;
        let service = request.service.unwrap_or(0);
        let free = (0..self.plan.posts.len()).find(|&n| {
            // Whoever was never bad was never set aside.
            let steady = self.health[n].last_bad == 0 && self.plan.posts[n].nature.sheds == 0;
            steady && self.is_well(n, service, life.begun)
        });
        if let Some(n) = free.filter(|_| strict && !spent && !config.retry_status.is_empty()) {
            self.fail("19 a busy answer although another is free", format!("r{id}, b{n}"));
        }
        if !self.lives[id].shed {
            self.fail("19 nobody was busy", format!("r{id}"));
        }
    }

    /// Oracle 17, at the end: half a request here, the whole one there, and nobody died.
    pub(super) fn settle_torn(&mut self) {
        for id in 0..self.lives.len() {
            let service = self.plan.requests[id].service.unwrap_or(0);
            let visit = self.visits.get(self.lives[id].visit);
            let whole = visit.is_some_and(|visit| visit.seen.contains(&(id, Seen::Whole)));
            if self.lives[id].torn && whole && self.killed[service] == 0 {
                self.fail("17 a loser was written to", format!("r{id} was answered elsewhere"));
            }
        }
    }
}

/// What a health that is worked out a second time says of one endpoint.
#[derive(Clone, Debug)]
struct Shadow {
    window: u64,
    /// The largest of this turn.
    window_was: u64,
    failures: u32,
    ejections: u32,
    aside_until: Ms,
    aside: bool,
    /// Requests in flight that are whole, and how many have become so on their way, ever.
    whole: u64,
    came: u64,
}

/// One place in a waiting room.
#[derive(Clone, Debug)]
struct Place {
    /// When this request first came to wait.
    joined: Ms,
    /// When it was last seen in the room.
    seen: Ms,
    /// Which request of its client it is, by the number of those that have ended.
    nth: usize,
}

/// Looks at the engine after every turn.
#[derive(Debug)]
pub(super) struct Watch {
    told: Told,
    shadows: Vec<Shadow>,
    places: BTreeMap<IpAddr, Place>,
    rooms: BTreeMap<String, Vec<(IpAddr, usize)>>,
    /// Requests that left a room before somebody who stood ahead of them.
    hasty: BTreeMap<(IpAddr, usize), u32>,
    heard: usize,
    /// How many exchanges of a client have ended, and when the last one did.
    ended: BTreeMap<IpAddr, usize>,
    free_at: BTreeMap<IpAddr, Ms>,
    waited: u64,
    hedges: u64,
}

impl Watch {
    pub(super) fn new(told: Told, book: &Book) -> Watch {
        let window = if book.plan.config.slow_start { 1 } else { u64::MAX };
        let shadow = Shadow {
            window,
            window_was: window,
            failures: 0,
            ejections: 0,
            aside_until: Ms::ZERO,
            aside: false,
            whole: 0,
            came: 0,
        };
        Watch {
            told,
            shadows: vec![shadow; book.plan.posts.len()],
            places: BTreeMap::new(),
            rooms: BTreeMap::new(),
            hasty: BTreeMap::new(),
            heard: 0,
            ended: BTreeMap::new(),
            free_at: BTreeMap::new(),
            waited: 0,
            hedges: 0,
        }
    }

    /// After a turn of the engine.
    pub(super) fn look<N: Net>(&mut self, engine: &Engine<N>, book: &mut Book) {
        self.hear(book);
        let waited = !self.rooms.is_empty();
        let alone = book.plan.posts.iter().all(|post| post.service == 0);
        let admits = alone && engine.stats().waited > self.waited;
        self.look_at_rooms(&engine.glance_at_rooms(), admits, book);
        let waits = waited || engine.stats().waited > self.waited || !self.rooms.is_empty();
        self.follow(book);
        self.look_at_peers(&engine.glance_at_peers(), waits, book);
        self.tally(engine.stats(), book);
    }

    fn tally(&mut self, stats: &Stats, book: &mut Book) {
        *book.tally.entry("waits").or_default() += stats.waited - self.waited;
        *book.tally.entry("hedges").or_default() += stats.hedges - self.hedges;
        (self.waited, self.hedges) = (stats.waited, stats.hedges);
    }

    /// What the engine has said of exchanges that ended. Oracle 20: patience is neither cut short
    /// nor wasted while somebody is well.
    fn hear(&mut self, book: &mut Book) {
        let noted = Arc::clone(&book.recorder.0);
        let noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        for one in &noted[self.heard..] {
            let Some(client) = one.client else { continue };
            let nth = self.ended.entry(client).or_default();
            let which = std::mem::replace(nth, *nth + 1);
            let place = self.places.get(&client).filter(|place| place.nth == which).cloned();
            let since = self.free_at.insert(client, book.now).unwrap_or(Ms::ZERO);
            if one.outcome == Outcome::Refused(Reason::NoEndpoint) {
                self.turned_away((client, which), place, since, book);
            }
        }
        self.heard = noted.len();
    }

    fn turned_away(
        &self,
        (client, nth): (IpAddr, usize),
        place: Option<Place>,
        since: Ms,
        book: &mut Book,
    ) {
        let config = &book.plan.config;
        // It may have waited between two looks: what is sure is when its head was there.
        let id = request_of(book, client, nth);
        let here = id.and_then(|id| book.lives[id].head_out).unwrap_or(Ms::ZERO).max(since);
        let waited = book.now.since(here);
        if waited < config.wait_ms {
            if config.wait_requests >= 3 {
                return book.fail("20 turned away too soon", format!("{client}: {waited} ms"));
            }
            return book.count("turned away, room full");
        }
        book.count("waited in vain");
        place.into_iter().for_each(|place| self.could_be_served(client, &place, book));
    }

    /// Whether somebody had been well for long enough when a request was given up.
    fn could_be_served(&self, client: IpAddr, place: &Place, book: &mut Book) {
        let Some(id) = request_of(book, client, place.nth) else { return };
        let service = book.plan.requests[id].service.unwrap_or(0);
        // Each scout serves one; whoever proves itself takes one after the other.
        let queue = book.plan.clients.len() as u64 + 1;
        let since = place.seen.0.saturating_sub(queue * SCOUT_MS);
        let full = |n: usize| book.health[n].last_full >= book.lives[id].begun;
        let all_alike = (0..book.plan.posts.len()).all(|n| {
            let health = &book.health[n];
            let well = !health.down && !health.absent && health.last_bad_at.0 < since;
            well && !full(n) && place.joined.0 < since
        });
        if all_alike && !book.lives[id].spoiled && service == 0 {
            book.fail("20 turned away from who was back", format!("r{id} at {:?}", book.now));
        }
    }

    /// Oracle 16: first in, first out; nobody waits beyond `wait`, no place is kept for nobody,
    /// and there are no more places than allowed.
    fn look_at_rooms(
        &mut self,
        rooms: &[(String, Vec<Option<IpAddr>>)],
        admits: bool,
        book: &mut Book,
    ) {
        let config = book.plan.config.clone();
        let mut now: BTreeMap<String, Vec<(IpAddr, usize)>> = BTreeMap::new();
        for (service, places) in rooms {
            let here: Vec<IpAddr> = places.iter().flatten().copied().collect();
            let different: BTreeSet<IpAddr> = here.iter().copied().collect();
            if here.len() < places.len() || different.len() < here.len() {
                book.fail("16 a ghost in the waiting room", format!("{service}: {places:?}"));
            }
            let nth = |client| self.ended.get(client).copied().unwrap_or(0);
            let here: Vec<_> = here.iter().map(|client| (*client, nth(client))).collect();
            let mut fresh = false;
            for &(client, nth) in &here {
                let at = book.now;
                let old = self.places.get(&client).filter(|place| place.nth == nth);
                let joined = old.map_or(at, |place| place.joined);
                let place = Place { joined, seen: at, nth };
                let joined = place.joined;
                fresh = old.is_none();
                self.places.insert(client, place);
                if book.now.since(joined) > config.wait_ms + 1 {
                    book.fail("16 somebody waits for too long", format!("{client} {joined:?}"));
                }
            }
            // Who was called and has come back is let in again, whoever came meanwhile.
            let before = self.rooms.get(service).map_or(&[][..], Vec::as_slice);
            let others_stood = here.iter().rev().skip(1).all(|who| before.contains(who));
            if admits && fresh && others_stood && here.len() > config.wait_requests {
                book.fail("16 the waiting room is too full", format!("{service}: {here:?}"));
            }
            now.insert(service.clone(), here);
        }
        for (service, before) in &self.rooms {
            let empty = Vec::new();
            let after = now.get(service).unwrap_or(&empty);
            let stay: Vec<_> = before.iter().filter(|who| after.contains(who)).collect();
            let still: Vec<_> = after.iter().filter(|who| before.contains(who)).collect();
            if stay != still {
                book.fail("16 the queue has another order", format!("{before:?}, {after:?}"));
            }
            for (n, &(left, nth)) in before.iter().enumerate() {
                let ahead = |who: &(IpAddr, usize)| after.contains(who);
                if !after.contains(&(left, nth)) && before[..n].iter().any(ahead) {
                    self.hasty.insert((left, nth), started(book, left, nth));
                }
            }
        }
        for (&(client, nth), before) in &self.hasty {
            if started(book, client, nth) > *before {
                book.fail("16 somebody was overtaken in the waiting room", format!("by {client}"));
            }
        }
        self.rooms = now;
    }

    /// Follows what the registry was told, as health does.
    fn follow(&mut self, book: &mut Book) {
        let config = book.plan.config.clone();
        for shadow in &mut self.shadows {
            shadow.window_was = shadow.window;
            shadow.aside = book.now < shadow.aside_until;
        }
        let told = std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
        for (endpoint, failure) in told {
            let n = book.plan.posts.iter().position(|post| post.endpoint == endpoint);
            let Some(shadow) = n.and_then(|n| self.shadows.get_mut(n)) else { continue };
            if failure.is_none() {
                (shadow.failures, shadow.ejections, shadow.aside_until) = (0, 0, Ms::ZERO);
                let window = shadow.window.saturating_mul(2);
                shadow.window = if window >= 64 { u64::MAX } else { window };
                shadow.window_was = shadow.window_was.max(shadow.window);
                continue;
            }
            shadow.failures += 1;
            if config.eject_failures > 0 && shadow.failures >= config.eject_failures {
                let full = (config.eject_ms << shadow.ejections.min(20)).min(config.eject_max_ms);
                shadow.aside_until = book.now + full * 120 / 100;
                (shadow.failures, shadow.ejections, shadow.aside) = (0, shadow.ejections + 1, true);
                shadow.window = if config.slow_start { 1 } else { u64::MAX };
                book.count("ejections");
            }
        }
    }

    /// Oracle 21: nobody works on more than he may, and who is new or back proves himself first.
    fn look_at_peers(&mut self, peers: &[(Endpoint, u32, u32, u64)], waits: bool, book: &mut Book) {
        let most = u64::from(book.plan.config.max_inflight);
        for (n, shadow) in self.shadows.iter_mut().enumerate() {
            let post = &book.plan.posts[n];
            let peer = peers.iter().find(|(endpoint, ..)| *endpoint == post.endpoint);
            let (in_flight, coming, all_came) =
                peer.map_or((0, 0, 0), |(_, n, c, came)| (u64::from(*n), u64::from(*c), *came));
            let whole = in_flight - coming;
            // Uploads that have come to their end are work from then on, invited or not.
            // A difference of those that are coming would not show one that came as another began.
            let came = all_came.saturating_sub(shadow.came);
            shadow.came = all_came;
            let before = std::mem::replace(&mut shadow.whole, whole);
            let aside = shadow.aside || book.now < shadow.aside_until;
            // A scout may go to one that has yet to prove itself.
            let limit = shadow.window_was.max(before).saturating_add(came + u64::from(waits));
            let exempt = post.commuter || aside;
            if most > 0 && in_flight >= most {
                book.health[n].last_full = book.turn;
            }
            if most > 0 && in_flight > most {
                book.fail("21 above max-inflight", format!("b{n}: {in_flight} of {most}"));
            }
            if whole > limit && !exempt {
                let detail = format!("b{n}: {whole} of {limit}");
                book.fail("21 too much for one that is unproven", detail);
            }
        }
    }
}

/// How often a backend has seen request number `nth` of a client.
fn started(book: &Book, client: IpAddr, nth: usize) -> u32 {
    request_of(book, client, nth).map_or(0, |id| book.lives[id].started)
}

/// Request number `nth` of a client.
fn request_of(book: &Book, client: IpAddr, nth: usize) -> Option<usize> {
    let visit = book.visits.iter().enumerate().find(|(n, _)| address_of(*n) == client);
    visit.and_then(|(_, visit)| visit.begun.get(nth)).copied()
}
