//! When a client is due, and for what (`B8.4`).
//!
//! Nothing is armed where something begins: the deadline is worked out from what the client is
//! doing now, whenever it has been served. This file does not know what follows; see `finish.rs`.

use crate::endpoint::Failure;
use crate::exchange::Exchange;
use crate::net::Net;
use crate::summary::Reason;
use crate::time::Ms;

use super::Engine;
use super::client::{Phase, Stage, Work};

/// How long a silent endpoint may keep a client waiting that asked whether to send its body.
const CONTINUE_MS: u64 = 1000;

impl<N: Net> Engine<N> {
    /// When the client is due, and for what.
    pub(super) fn deadline(&self, stage: &Stage) -> (Ms, Reason) {
        let config = &self.desk.config;
        match stage {
            Stage::Idle => (self.now + self.idle_ms(), Reason::HeadTimeout),
            Stage::Linger { until, .. } => (*until, Reason::ClientStalled),
            Stage::Busy(work) => match &work.phase {
                Phase::Head(_) => (work.begun_at + config.head_ms, Reason::HeadTimeout),
                Phase::Waiting(_) => (work.wait_until.unwrap_or(self.now), Reason::NoEndpoint),
                Phase::Held(_) => (self.now + config.connect_ms, Reason::NoEndpoint),
                Phase::Tunnel(_) => self.tunnel_deadline(work),
                Phase::Flush(_) => (work.down_at + config.write_stall_ms, Reason::ClientStalled),
                Phase::Relay(exchange) => {
                    let connecting = self.is_connecting(work);
                    let (mut at, reason) = self.relay_deadline(work, exchange, connecting);
                    if let Some(own) = self.continue_deadline(work, exchange) {
                        at = at.min(own);
                    }
                    if let Some(hedge) = self.hedge_deadline(work, connecting) {
                        at = at.min(hedge);
                    }
                    (at, reason)
                }
            },
        }
    }

    /// When a client that waits for a 100 gets ours: its endpoint has the head and is silent
    /// (`B7.7`).
    pub(super) fn continue_deadline(&self, work: &Work, exchange: &Exchange) -> Option<Ms> {
        let waits = exchange.expects && !exchange.upload.is_done() && !exchange.touched();
        (waits && !work.has_bytes_up()).then(|| work.up_at + CONTINUE_MS)
    }

    /// Everything that may take too long while an exchange runs; the first counts (`B8.4`).
    /// `connecting`: the upstream connection does not stand yet.
    pub(super) fn relay_deadline(
        &self,
        work: &Work,
        exchange: &Exchange,
        connecting: bool,
    ) -> (Ms, Reason) {
        let config = &self.desk.config;
        if connecting {
            let reason = Reason::Unreached(Failure::Timeout);
            return (work.attempt_at + config.connect_ms, reason);
        }
        let sent = !work.has_bytes_up();
        if sent && exchange.is_awaited() && !work.has_bytes_down() {
            let at = work.up_at.max(work.down_at) + config.first_byte_ms;
            return (at, Reason::FirstByteTimeout);
        }
        let up = if !sent {
            (work.up_at + config.write_stall_ms, Reason::EndpointStalled)
        } else if !exchange.upload.is_done() {
            (work.up_at + config.body_idle_ms, Reason::BodyTimeout)
        } else {
            (Ms(u64::MAX), Reason::Stopped)
        };
        let down = if work.has_bytes_down() {
            (work.down_at + config.write_stall_ms, Reason::ClientStalled)
        } else if exchange.resume_at().is_some() {
            // The rest was asked for long after the last byte, it may be.
            (work.up_at.max(work.down_at) + config.response_idle_ms, Reason::ResponseIdle)
        } else if exchange.answering() {
            (work.down_at + config.response_idle_ms, Reason::ResponseIdle)
        } else {
            (Ms(u64::MAX), Reason::Stopped)
        };
        if up.0 < down.0 { up } else { down }
    }
}
