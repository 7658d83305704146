//! Counters: the ledger of `B4.9`, and what the pool and the retries did.
//!
//! accepted = answered + client gone + refused + cut + in progress, at every instant. This file
//! counts; it decides nothing.

use std::collections::BTreeMap;

use crate::summary::{Outcome, Reason};

/// What has happened since the start. Requests, if nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Begun: their first byte was read.
    pub accepted: u64,
    /// Answered by an endpoint, to the last byte.
    pub answered: u64,
    /// Given up by their client.
    pub client_gone: u64,
    /// Answered by the proxy itself, by the word of the reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Cut in the middle of the answer, by the word of the reason.
    pub cut: BTreeMap<&'static str, u64>,
    /// Begun and not ended.
    pub in_progress: u64,
    /// Connections asked for, to endpoints.
    pub connects: u64,
    /// Requests that rode a pooled connection.
    pub reused: u64,
    /// Requests offered again, after a connect had failed.
    pub reconnects: u64,
    /// Requests that had to wait for an endpoint.
    pub waited: u64,
    /// Second connects that joined a pending one.
    pub hedges: u64,
    /// Requests offered again that had been written, in part or whole.
    pub retries: u64,
    /// Requests that became tunnels; each is answered when its tunnel has come to its end.
    pub tunnels: u64,
}

impl Stats {
    pub(crate) fn begin(&mut self) {
        self.accepted += 1;
        self.in_progress += 1;
    }

    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.in_progress -= 1;
        let count = |by: &mut BTreeMap<&'static str, u64>, reason: Reason| {
            *by.entry(reason.word()).or_default() += 1;
        };
        match outcome {
            Outcome::Answered => self.answered += 1,
            Outcome::ClientGone => self.client_gone += 1,
            Outcome::Refused(reason) => count(&mut self.refused, reason),
            Outcome::Cut(reason) => count(&mut self.cut, reason),
        }
        debug_assert!(self.balances());
    }

    /// Counts what another proxy has counted, too.
    pub fn add(&mut self, other: &Stats) {
        for (mine, theirs) in [
            (&mut self.accepted, other.accepted),
            (&mut self.answered, other.answered),
            (&mut self.client_gone, other.client_gone),
            (&mut self.in_progress, other.in_progress),
            (&mut self.connects, other.connects),
            (&mut self.reused, other.reused),
            (&mut self.reconnects, other.reconnects),
            (&mut self.waited, other.waited),
            (&mut self.hedges, other.hedges),
            (&mut self.retries, other.retries),
            (&mut self.tunnels, other.tunnels),
        ] {
            *mine += theirs;
        }
        for (mine, theirs) in [(&mut self.refused, &other.refused), (&mut self.cut, &other.cut)] {
            for (word, count) in theirs {
                *mine.entry(word).or_default() += count;
            }
        }
    }

    /// How many exchanges were cut because the proxy was stopped or its drain took too long.
    pub fn stopped(&self) -> u64 {
        self.cut.get(Reason::Stopped.word()).copied().unwrap_or(0)
    }

    /// Whether the ledger balances: no request is unaccounted for.
    pub fn balances(&self) -> bool {
        let refused: u64 = self.refused.values().sum();
        let cut: u64 = self.cut.values().sum();
        self.accepted == self.answered + self.client_gone + refused + cut + self.in_progress
    }
}

/// What is alive now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Connections of clients.
    pub clients: usize,
    /// Connections to endpoints, idle ones included.
    pub upstreams: usize,
    /// Idle connections to endpoints.
    pub idle: usize,
    /// Requests that wait for an endpoint.
    pub waiting: usize,
    /// Bytes of buffers that are lent.
    pub lent_bytes: usize,
    /// Entries in the timer heap.
    pub timers: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B4.9
    #[test]
    fn the_ledger_balances() {
        let mut stats = Stats::default();
        for outcome in [
            Outcome::Answered,
            Outcome::ClientGone,
            Outcome::Refused(Reason::NotFound),
            Outcome::Cut(Reason::Incomplete),
        ] {
            stats.begin();
            stats.begin();
            stats.end(outcome);
        }
        assert!(stats.balances());
        assert_eq!((stats.accepted, stats.in_progress), (8, 4));
        stats.answered += 1;
        assert!(!stats.balances());
    }

    /// B9.5: two times everything is everything twice, and still balances.
    #[test]
    fn b9_5_counters_add_up() {
        let count = |n: u64| Stats {
            accepted: 6 * n,
            answered: n,
            client_gone: n,
            refused: BTreeMap::from([("a", n), ("b", n)]),
            cut: BTreeMap::from([("c", n)]),
            in_progress: n,
            connects: 7 * n,
            reused: 8 * n,
            reconnects: 9 * n,
            waited: 10 * n,
            hedges: 11 * n,
            retries: 12 * n,
            tunnels: 13 * n,
        };
        let mut sum = Stats::default();
        sum.add(&count(1));
        assert_eq!(sum, count(1));
        sum.add(&count(2));
        assert_eq!(sum, count(3));
        assert!(sum.balances());
    }
}
