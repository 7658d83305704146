//! Active checks (`B5.5`): asking endpoints whether they are well, from the same loop.
//!
//! ```text
//!   every check-interval, each endpoint at a moment of its own:
//!     connect [-> GET path -> status 200 to 399]   within check-timeout   -> Health::checked
//! ```
//!
//! A check is a connection without an owner, on its own small state. Endpoints are known from the
//! first request to their service on. This file does not know requests or clients.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use crate::config::Check;
use crate::h1::head;
use crate::keys::{Key, Source};
use crate::net::{Net, Ready};
use crate::time::Ms;

use super::Engine;
use super::client::{UpState, Upstream};
use super::timers::Due;

/// The number that no service has: the timer of the next round of checks.
pub(super) const CHECKS: u32 = u32::MAX;
/// How much of an answer is read: its head, mostly.
const MAX_ANSWER_BYTES: usize = 8192;

/// All checks that are running, and when the next ones are due.
#[derive(Debug, Default)]
pub(super) struct Checks {
    running: BTreeMap<Key, Running>,
    touched: Vec<Key>,
    due: Due,
}

/// One check.
#[derive(Debug, Default)]
struct Running {
    /// Whether a connection that stands is not enough.
    asks: bool,
    /// What is still to be written.
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl<N: Net> Engine<N> {
    /// A check's connection has become ready.
    pub(super) fn check_touched(&mut self, link: Key) {
        self.checks.touched.push(link);
    }

    /// Starts the checks that are due, and looks at those that something has happened to.
    pub(super) fn serve_checks(&mut self, net: &mut N) {
        if self.desk.config.check == Check::Off {
            return;
        }
        while let Some(link) = self.checks.touched.pop() {
            self.go_on(net, link);
        }
        if self.desk.peers.next_check().is_some_and(|at| at <= self.now) {
            for peer in self.desk.peers.due_checks(self.now) {
                self.start_check(net, peer);
            }
        }
        if let Some(at) = self.desk.peers.next_check() {
            self.timers.set(&mut self.checks.due, Source::Service(CHECKS), at);
        }
    }

    /// The next round may be due. That it is will be seen when the checks are served.
    pub(super) fn checks_due(&mut self, at: Ms) {
        self.timers.comes_up(&mut self.checks.due, Source::Service(CHECKS), at, self.now);
    }

    fn start_check(&mut self, net: &mut N, peer: Key) {
        let interval_ms = self.desk.config.check_interval_ms;
        // 80 to 120 percent, so that endpoints are not all asked at once for ever.
        let next_ms = interval_ms * (80 + self.desk.rng.below(41)) / 100;
        let Some(state) = self.desk.peers.get_mut(peer) else { return };
        state.check_at = self.now + next_ms.max(1);
        let endpoint = state.endpoint.clone();
        let Ok(sock) = net.connect(endpoint.address()) else {
            self.judge_check(peer, false);
            return;
        };
        let mut request = Vec::new();
        if let Check::Get(path) = &self.desk.config.check {
            request.extend_from_slice(b"GET ");
            crate::route::write_target(&mut request, endpoint.base(), "", path.as_bytes());
            request.extend_from_slice(b" HTTP/1.1\r\nHost: ");
            request.extend_from_slice(endpoint.authority().as_bytes());
            request.extend_from_slice(b"\r\nUser-Agent: pointsman\r\nConnection: close\r\n\r\n");
        }
        let link = self.upstreams.insert(Upstream {
            sock,
            ready: Ready::NONE,
            peer,
            state: UpState::Checking,
            reused: false,
            coming: false,
            broken: None,
            due: Due::default(),
        });
        self.checks
            .running
            .insert(link, Running { asks: !request.is_empty(), request, answer: Vec::new() });
        let at = self.now + self.desk.config.check_timeout_ms;
        if let Some(upstream) = self.upstreams.get_mut(link) {
            self.timers.set(&mut upstream.due, Source::Upstream(link), at);
            if net.watch(&mut upstream.sock, Source::Upstream(link)).is_err() {
                self.drop_check(link);
            }
        }
    }

    fn go_on(&mut self, net: &mut N, link: Key) {
        let Some(running) = self.checks.running.get_mut(&link) else { return };
        let Some(upstream) = self.upstreams.get_mut(link) else { return };
        if let Some(good) = step(net, upstream, running) {
            self.end_check(link, good);
        }
    }

    /// A check has taken too long, or has come to a result.
    pub(super) fn end_check(&mut self, link: Key, good: bool) {
        let peer = self.upstreams.get(link).map(|upstream| upstream.peer);
        self.drop_check(link);
        peer.into_iter().for_each(|peer| self.judge_check(peer, good));
    }

    fn drop_check(&mut self, link: Key) {
        self.checks.running.remove(&link);
        self.upstreams.remove(link);
    }

    fn judge_check(&mut self, peer: Key, good: bool) {
        let (rise, fall) = (self.desk.config.check_rise, self.desk.config.check_fall);
        let now = self.now;
        let Some(state) = self.desk.peers.get_mut(peer) else { return };
        if let Some(well) = state.health.checked(good, rise, fall, now) {
            let endpoint = &state.endpoint;
            log::info!("{endpoint}: {}", if well { "is well again" } else { "is not well" });
            self.reopen_rooms();
        }
    }
}

/// Moves one check on; gives its result when it has one.
fn step<N: Net>(
    net: &mut N,
    upstream: &mut Upstream<N::Stream>,
    running: &mut Running,
) -> Option<bool> {
    let ready = upstream.ready;
    if !running.asks {
        return ready.has(Ready::WRITE).then(|| !ready.has(Ready::GONE));
    }
    if ready.has(Ready::GONE) && !running.request.is_empty() {
        return Some(false);
    }
    while !running.request.is_empty() && upstream.ready.has(Ready::WRITE) {
        match net.write(&mut upstream.sock, &running.request) {
            Ok(n) => drop(running.request.drain(..n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                upstream.ready = upstream.ready.without(Ready::WRITE);
            }
            Err(_) => return Some(false),
        }
    }
    let mut bytes = [0; 1024];
    while upstream.ready.has(Ready::READ) {
        match net.read(&mut upstream.sock, &mut bytes) {
            Ok(0) => return Some(false),
            Ok(n) => {
                running.answer.extend_from_slice(bytes.get(..n).unwrap_or_default());
                if let Some(good) = verdict(&running.answer) {
                    return Some(good);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                upstream.ready = upstream.ready.without(Ready::READ);
            }
            Err(_) => return Some(false),
        }
    }
    None
}

/// Whether an answer says that the endpoint is well, once its head is here.
fn verdict(answer: &[u8]) -> Option<bool> {
    let limits = crate::h1::Limits { head_bytes: MAX_ANSWER_BYTES, fields: 100, target_bytes: 0 };
    let mut slots = head::slots();
    match head::parse_response(answer, &mut slots, &limits) {
        Ok(None) => None,
        Ok(Some(head)) => Some((200..400).contains(&head.status())),
        Err(_) => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::verdict;

    /// B5.5
    #[test]
    fn a_status_from_200_to_399_is_well() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", Some(true)),
            ("HTTP/1.0 399 X\r\nA: b\r\n\r\nbody", Some(true)),
            ("HTTP/1.1 400 X\r\n\r\n", Some(false)),
            ("HTTP/1.1 503 X\r\n\r\n", Some(false)),
            ("HTTP/1.1 200 OK\r\n", None),
            ("", None),
            ("SSH-2.0\r\n\r\n", Some(false)),
        ] {
            assert_eq!(verdict(answer.as_bytes()), expected, "{answer}");
        }
    }
}
