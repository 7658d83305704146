//! The desk: a request head comes in, and leaves with an address. It routes, asks the registry,
//! chooses an endpoint and plans how heads go on; every policy that an embedder can replace is
//! called from here.
//!
//! The desk does not know connections, and it touches no buffer: it looks at heads and leaves
//! plans.

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use crate::balance::Balancer;
use crate::config::{Config, Forwarded, HostRule};
use crate::endpoint::{Endpoint, Failure};
use crate::exchange::Exchange;
use crate::h1::answer::Answer;
use crate::h1::head::{self, RequestHead, ResponseHead, Slots};
use crate::h1::range::Whole;
use crate::h1::request::{self, GoodHost, RequestFacts};
use crate::h1::response::ResponseFacts;
use crate::h1::rewrite::{Changes, Forwarding, Plan, RequestWay, ResponseWay};
use crate::h1::{Bad, Limits, Version};
use crate::health::Rules;
use crate::hooks::{Decision, Edit, Hooks};
use crate::keys::Key;
use crate::registry::{Registry, Snapshot};
use crate::rng::Rng;
use crate::route::{NoRoute, Router, write_target};
use crate::summary::{Reason, Summary};
use crate::time::Ms;

use super::peers::Peers;
use super::services::{Asked, Chosen, Depth, ServiceId, Services};

/// The service that everything goes to which no other service wants.
const CATCH_ALL: &str = "*";

/// How many exchanges that are over are kept.
const KEPT_EXCHANGES: usize = 1024;

/// Makes a balancer for a service.
pub(crate) type Balancing = Box<dyn Fn(&str) -> Box<dyn Balancer> + Send>;

/// What the desk remembers of a request while it travels.
#[derive(Debug, Default)]
pub(crate) struct Trip {
    pub(crate) service: Option<ServiceId>,
    /// The endpoint that has it, or had it last.
    pub(crate) peer: Option<Key>,
    /// Endpoints that have failed it.
    pub(crate) tried: Vec<Key>,
    /// What hashing goes by.
    key: u64,
    /// The target as it would go to an endpoint without a base; empty as long as that is what
    /// stands in the head.
    rest: Vec<u8>,
    /// Whether the Host line is the endpoint's: then it is the second line of the head.
    own_host: bool,
    /// Whether two lines behind that ask for the rest of an answer.
    resuming: bool,
}

impl Trip {
    /// Ready for another request, without giving memory back.
    pub(crate) fn clear(&mut self) {
        self.service = None;
        self.peer = None;
        self.tried.clear();
        self.rest.clear();
        self.own_host = false;
        self.resuming = false;
    }
}

/// What became of a head.
pub(crate) enum Received {
    /// It is not whole yet.
    Partial,
    /// It goes on, by the plan at the desk: the exchange, and the length of the head as it came.
    Forward(Box<Exchange>, usize),
    /// It is answered here: if its framing is sound, the exchange and the length of the head.
    Refused(Reason, Option<(Box<Exchange>, usize)>),
    /// A hook answers it.
    Hook(Answer, Box<Exchange>, usize),
}

/// All policy of one engine.
pub(crate) struct Desk {
    pub(crate) config: Config,
    pub(crate) registry: Box<dyn Registry>,
    pub(crate) router: Box<dyn Router>,
    pub(crate) balancing: Balancing,
    /// None costs nothing: not even a summary is made.
    pub(crate) hooks: Option<Box<dyn Hooks>>,
    pub(crate) rng: Rng,
    pub(crate) services: Services,
    pub(crate) peers: Peers,
    /// Idle connections that must be closed: their endpoint is gone.
    pub(crate) closed: Vec<Key>,
    pub(crate) plan: Plan,
    pub(crate) good_host: GoodHost,
    /// Exchanges that are over, for their memory: one is never moved while it lasts.
    #[allow(clippy::vec_box, reason = "an exchange is handed on by its box, without a copy")]
    pub(crate) spare: Vec<Box<Exchange>>,
    pub(crate) draining: bool,
    pub(crate) now: Ms,
}

impl Desk {
    /// The limits that health goes by.
    pub(crate) fn rules(&self) -> Rules {
        let config = &self.config;
        Rules {
            eject_failures: config.eject_failures,
            eject_ms: config.eject_ms,
            eject_max_ms: config.eject_max_ms,
            slow_start: config.slow_start,
            max_inflight: config.max_inflight,
        }
    }

    /// As many fields again for responses, and twice the bytes: a request is refused with a status
    /// that says so, but a response that is refused is a request lost.
    pub(crate) fn response_limits(&self) -> Limits {
        Limits { head_bytes: 2 * self.config.max_head_bytes, ..self.request_limits() }
    }

    pub(crate) fn request_limits(&self) -> Limits {
        Limits {
            head_bytes: self.config.max_head_bytes,
            fields: self.config.max_fields,
            target_bytes: self.config.max_target_bytes,
        }
    }

    /// Judges the head at the beginning of `bytes`, and plans how it goes on to an endpoint, which
    /// is then `trip.peer`. `slots` is room for its lines.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        slots: &mut Slots,
        client: Option<IpAddr>,
        trip: &mut Trip,
    ) -> Received {
        let limits = self.request_limits();
        let mut head = match head::parse_request(bytes, slots, &limits) {
            Ok(Some(head)) => head,
            Ok(None) => return Received::Partial,
            Err(bad) => return Received::Refused(Reason::Request(bad), None),
        };
        let facts = match request::read(&mut head, &mut self.good_host) {
            Ok(facts) => facts,
            Err(bad) => return Received::Refused(Reason::Request(bad), None),
        };
        let len = head.bytes.len();
        if facts.max_forwards == Some(0) {
            return Received::Refused(Reason::LastHop, Some((self.new_exchange(facts), len)));
        }
        let mut edit = None;
        if let Some(hooks) = &mut self.hooks {
            if let Decision::Answer(answer) = hooks.request(&head, edit.insert(Edit::default())) {
                return Received::Hook(answer, self.new_exchange(facts), len);
            }
        }
        let changes = edit.as_ref().and_then(Edit::changes);
        match self.send_off(&head, &facts, client, trip, changes) {
            Ok(()) => Received::Forward(self.new_exchange(facts), len),
            Err(reason) => Received::Refused(reason, Some((self.new_exchange(facts), len))),
        }
    }

    fn new_exchange(&mut self, facts: RequestFacts) -> Box<Exchange> {
        let Some(mut spare) = self.spare.pop() else { return Box::new(Exchange::new(facts)) };
        spare.renew(facts);
        spare
    }

    /// An exchange that is over leaves its memory to the next one.
    pub(crate) fn keep_spare(&mut self, exchange: Box<Exchange>) {
        if self.spare.len() < KEPT_EXCHANGES {
            self.spare.push(exchange);
        }
    }

    fn send_off(
        &mut self,
        head: &RequestHead<'_>,
        facts: &RequestFacts,
        client: Option<IpAddr>,
        trip: &mut Trip,
        changes: Option<&Changes>,
    ) -> Result<(), Reason> {
        let (id, rest) = self.find_service(head)?;
        trip.service = Some(id);
        let Some(service) = self.services.get(id) else { return Err(Reason::NotFound) };
        trip.key = service.balancer.key(head, client);
        if let Some(service) = self.services.get_mut(id) {
            service.budget.earn(self.config.retry_percent, self.config.retry_per_second);
        }
        // Without an endpoint it waits, its head as it would go to one without a base.
        self.choose(trip, Depth::Anyone);
        self.plan_request(head, facts, client, trip, rest.slice(head), changes);
        Ok(())
    }

    /// The service that `head` is for, and what of its target goes on.
    fn find_service(&mut self, head: &RequestHead<'_>) -> Result<(ServiceId, Rest), Reason> {
        let Desk { router, registry, services, peers, closed, balancing, .. } = self;
        let mut enter = |name: &str| {
            let version = registry.version();
            if let Some(id) = services.current(name, version) {
                return Some(id);
            }
            let snapshot = registry.lookup(name)?;
            Some(services.enter(name, version, snapshot, peers, closed, |name| balancing(name)))
        };
        match router.route(head) {
            Ok(route) => {
                if let Some(id) = enter(route.service) {
                    return Ok((id, Rest::of(head, route.rest)));
                }
            }
            Err(NoRoute::Climbs) => return Err(Reason::Request(Bad::Target)),
            Err(NoRoute::NotFound) => {}
        }
        // The catch-all cuts nothing; but what climbs, climbs there too.
        let id = enter(CATCH_ALL).ok_or(Reason::NotFound)?;
        if crate::route::climbs(head.path()) {
            return Err(Reason::Request(Bad::Target));
        }
        Ok((id, Rest::Suffix(0)))
    }

    /// An endpoint for a request, which is then `trip.peer`.
    pub(crate) fn choose(&mut self, trip: &mut Trip, depth: Depth) -> Chosen {
        trip.peer = None;
        let Some(id) = trip.service else { return Chosen::Nobody };
        let rules = self.rules();
        let (tried, key, now) = (trip.tried.as_slice(), trip.key, self.now);
        let asked = Asked { tried, key, depth, rules: &rules, now };
        let chosen = self.services.choose(id, &self.peers, &asked, &mut self.rng);
        if let Chosen::Peer(peer) = chosen {
            trip.peer = Some(peer);
        }
        chosen
    }

    /// Brings the service of a request up to what the registry says now.
    pub(crate) fn refresh_trip(&mut self, trip: &Trip) {
        let Desk { services, registry, peers, closed, .. } = self;
        let Some(id) = trip.service else { return };
        let Some(name) = services.get(id).map(|service| service.name.clone()) else { return };
        match registry.lookup(&name) {
            Some(snapshot) => services.refresh(id, snapshot, peers, closed),
            None => services.refresh(id, &Arc::new(Snapshot::new(Vec::new())), peers, closed),
        }
    }

    /// Another endpoint for a request, by what the registry says now: then `trip.peer`.
    pub(crate) fn again(&mut self, trip: &mut Trip) -> Chosen {
        self.refresh_trip(trip);
        self.choose(trip, Depth::Anyone)
    }

    /// Whether an endpoint stands by that a request, which one has just disappointed, could go to.
    pub(crate) fn has_another(&mut self, trip: &mut Trip) -> bool {
        let current = trip.peer;
        trip.tried.extend(current);
        let chosen = self.choose(trip, Depth::Sound);
        if current.is_some() {
            trip.tried.pop();
        }
        trip.peer = current;
        matches!(chosen, Chosen::Peer(_))
    }

    /// Plans what must change in `head`, which was on its way to another endpoint, so that it can
    /// go to `trip.peer`: the target, the Host line if that is the endpoint's, and what asks for
    /// the rest of an answer that broke off. Gives `false` if nothing must.
    pub(crate) fn readdress(
        &mut self,
        head: &[u8],
        trip: &mut Trip,
        resume: Option<(u64, &Whole)>,
    ) -> bool {
        let peer = trip.peer.and_then(|peer| self.peers.get(peer));
        let Some(endpoint) = peer.map(|peer| &peer.endpoint) else { return false };
        let alike = trip.rest.is_empty() && endpoint.is_plain() && !trip.own_host;
        if alike && resume.is_none() {
            return false;
        }
        let mut lines = head.split_inclusive(|&b| b == b'\n');
        let line = lines.next().unwrap_or_default();
        let mut words = line.split(|&b| b == b' ');
        let (method, target) = (words.next(), words.next());
        if trip.rest.is_empty() {
            trip.rest.extend_from_slice(target.unwrap_or_default());
        }
        let Plan { prefix, drops, .. } = &mut self.plan;
        prefix.clear();
        prefix.extend_from_slice(method.unwrap_or_default());
        prefix.push(b' ');
        put_target(prefix, endpoint.base(), endpoint.query(), &trip.rest);
        prefix.extend_from_slice(b" HTTP/1.1\r\n");
        let mut dropped = line.len();
        if trip.own_host {
            dropped += lines.next().map_or(0, <[u8]>::len);
            prefix.extend_from_slice(b"Host: ");
            prefix.extend_from_slice(endpoint.authority().as_bytes());
            prefix.extend_from_slice(b"\r\n");
        }
        if trip.resuming {
            dropped += lines.by_ref().take(2).map(<[u8]>::len).sum::<usize>();
        }
        if let Some((from, whole)) = resume {
            let _ = write!(prefix, "Range: bytes={from}-\r\nIf-Range: ");
            prefix.extend_from_slice(&whole.etag);
            prefix.extend_from_slice(b"\r\n");
            trip.resuming = true;
        }
        drops.clear();
        drops.push((0, dropped as u32));
        if endpoint.is_plain() {
            trip.rest.clear();
        }
        true
    }

    fn plan_request(
        &mut self,
        head: &RequestHead<'_>,
        facts: &RequestFacts,
        client: Option<IpAddr>,
        trip: &mut Trip,
        rest: &[u8],
        changes: Option<&Changes>,
    ) {
        let peer = trip.peer.and_then(|peer| self.peers.get(peer));
        let endpoint = peer.map(|peer| &peer.endpoint);
        trip.own_host = self.config.host == HostRule::Endpoint || !head.has_authority();
        if endpoint.is_some_and(|endpoint| !endpoint.is_plain()) {
            trip.rest.extend_from_slice(rest);
        }
        let authority = endpoint.map_or(&b""[..], |endpoint| endpoint.authority().as_bytes());
        let trusted = |ip: IpAddr| self.config.trusted.iter().any(|net| net.contains(ip));
        let known = self.config.trusted.is_empty() || client.is_none_or(trusted);
        let way = RequestWay {
            host: trip.own_host.then_some(authority),
            peer: client,
            forwarding: match self.config.forwarded {
                Forwarded::Off => Forwarding::Off,
                Forwarded::Append if known => Forwarding::Append,
                Forwarded::Append | Forwarded::Replace => Forwarding::Replace,
            },
            via: self.config.via,
            changes,
        };
        let (base, query) = endpoint.map_or(("", ""), |e| (e.base(), e.query()));
        let target = |out: &mut Vec<u8>| put_target(out, base, query, rest);
        self.plan.request(head, facts, &way, target);
    }

    /// Plans how a response head goes on. Gives `false` if it goes on exactly as it came.
    pub(crate) fn plan_response(
        &mut self,
        head: &ResponseHead<'_>,
        facts: &ResponseFacts,
        client: Version,
        keep: bool,
    ) -> bool {
        let mut edit = None;
        if let Some(hooks) = self.hooks.as_mut().filter(|_| !facts.is_interim()) {
            hooks.response(head, edit.insert(Edit::default()));
        }
        let changes = edit.as_ref().and_then(Edit::changes);
        let way = ResponseWay { client, keep, via: self.config.via, changes };
        self.plan.response(head, facts, &way)
    }

    /// `trip.peer` has disappointed the request.
    pub(crate) fn failed(&mut self, trip: &mut Trip, why: Failure) {
        let Some(peer) = trip.peer else { return };
        if !trip.tried.contains(&peer) {
            trip.tried.push(peer);
        }
        let (rules, now) = (self.rules(), self.now);
        let Some(state) = self.peers.get_mut(peer) else { return };
        state.health.failed(&rules, now, &mut self.rng);
        let endpoint = state.endpoint.clone();
        let Some(service) = trip.service.and_then(|id| self.services.get(id)) else { return };
        log::debug!("{}: {endpoint}: {}", service.name, why.word());
        self.registry.failure(&service.name, &endpoint, why, now);
    }

    /// `trip.peer` has answered the request, over a `reused` connection or a fresh one, and may
    /// have said how long it keeps one that is idle.
    pub(crate) fn succeeded(&mut self, trip: &Trip, idle_limit_ms: Option<u64>, reused: bool) {
        let Desk { registry, services, peers, now, .. } = self;
        let Some(peer) = trip.peer.and_then(|peer| peers.get_mut(peer)) else { return };
        if let Some(limit_ms) = idle_limit_ms {
            peer.health.limit_idle(limit_ms);
        }
        if reused {
            peer.health.survived_reuse();
        }
        if let Some(service) = trip.service.and_then(|id| services.get(id)) {
            peer.health.succeeded();
            registry.success(&service.name, &peer.endpoint, *now);
        }
    }

    /// Whether a request of this service could be written a second time now.
    pub(crate) fn may_repeat(&mut self, trip: &Trip) -> bool {
        let per_second = self.config.retry_per_second;
        let service = trip.service.and_then(|id| self.services.get_mut(id));
        service.is_some_and(|service| service.budget.has_one(per_second, self.now))
    }

    /// Takes the right to write a request of this service a second time (`B4.7`).
    pub(crate) fn spend_repeat(&mut self, trip: &Trip) -> bool {
        let per_second = self.config.retry_per_second;
        let service = trip.service.and_then(|id| self.services.get_mut(id));
        service.is_some_and(|service| service.budget.spend(per_second, self.now))
    }

    /// An exchange has ended; `tell` puts its service and endpoint, as far as they are known, into
    /// the summary.
    pub(crate) fn finished<'a>(
        &'a mut self,
        trip: &Trip,
        tell: impl FnOnce(&'a str, Option<&'a Endpoint>) -> Summary<'a>,
    ) {
        let Desk { services, peers, hooks, .. } = self;
        if hooks.is_none() && !log::log_enabled!(log::Level::Debug) {
            return;
        }
        let service = trip.service.and_then(|id| services.get(id));
        let peer = trip.peer.and_then(|peer| peers.get(peer));
        let name = service.map_or("", |service| &service.name);
        let summary = tell(name, peer.map(|peer| &peer.endpoint));
        log::debug!("{summary:?}");
        if let Some(hooks) = hooks {
            hooks.finished(&summary);
        }
    }

    /// Tells the services what the registry says of `name` now.
    pub(crate) fn refresh(&mut self, name: &str) {
        let Desk { registry, services, peers, closed, .. } = self;
        if let Some(snapshot) = registry.lookup(name) {
            services.refresh_known(name, &Arc::clone(snapshot), peers, closed);
        }
    }
}

fn put_target(out: &mut Vec<u8>, base: &str, query: &str, rest: &[u8]) {
    if rest == b"*" {
        out.push(b'*');
    } else {
        write_target(out, base, query, rest);
    }
}

/// What of a target goes on: mostly a suffix of the path; a router may also make up its own.
enum Rest {
    Suffix(usize),
    Own(Vec<u8>),
}

impl Rest {
    fn of(head: &RequestHead<'_>, rest: &[u8]) -> Rest {
        let path = head.path();
        let cut = path.len().saturating_sub(rest.len());
        // The same bytes in the same place, so nothing needs a look.
        if path.get(cut..).is_some_and(|end| std::ptr::eq(end, rest)) {
            return Rest::Suffix(cut);
        }
        Rest::Own(rest.to_vec())
    }

    fn slice<'a>(&'a self, head: &RequestHead<'a>) -> &'a [u8] {
        match self {
            Rest::Suffix(cut) => head.path().get(*cut..).unwrap_or_default(),
            Rest::Own(rest) => rest,
        }
    }
}

#[cfg(test)]
mod tests;
