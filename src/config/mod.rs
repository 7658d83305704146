//! Every limit and every time, with its default and the reason for it.
//!
//! One table ([`Config::set`]) serves the command line and the file, so that a name, its default
//! and its help cannot drift apart. This file does not know who enforces a limit.

use crate::h1::head::MAX_FIELDS;

mod change;
mod keys;
mod network;
mod share;
mod text;

pub use keys::SettingError;
pub use network::{Network, NetworkError};

/// What one connection costs beside its buffers, in bytes: its places in the slabs, its timers, its
/// share of the maps, and the work of an exchange or a tunnel with its connection to an endpoint,
/// some 700 together. A bound, not an average: an idle client takes a fifth of it.
pub(crate) const CONNECTION_BYTES: u64 = 1024;

/// The least number of requests that must be able to run at the same time in `memory`.
const MIN_REQUESTS: usize = 16;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Every limit and every time of a proxy. Start from [`Config::default`], change what differs, ask
/// [`Config::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Client connections at the same time; above it the listener waits.
    pub max_connections: usize,
    /// Bytes of all buffers together; above it new requests wait.
    pub memory_bytes: usize,
    /// Bytes of one buffer: one for each direction of an exchange. Also how much of a request can
    /// be sent a second time.
    pub buffer_bytes: usize,
    /// Bytes of a message's head; larger is 431.
    pub max_head_bytes: usize,
    /// Field lines of a head; more is 431.
    pub max_fields: usize,
    /// Bytes of a request target; longer is 414.
    pub max_target_bytes: usize,
    /// Milliseconds for a whole request head from its first byte; then 408.
    pub head_ms: u64,
    /// Milliseconds without a byte of a request body; then 408.
    pub body_idle_ms: u64,
    /// Milliseconds for a connection to an endpoint to stand; then another one.
    pub connect_ms: u64,
    /// Milliseconds from a whole request to the first byte of its response; then 504.
    pub first_byte_ms: u64,
    /// Milliseconds without a byte of a response that has begun; then it is cut.
    pub response_idle_ms: u64,
    /// Milliseconds that a client may be idle between requests; then its connection is closed.
    pub client_idle_ms: u64,
    /// Milliseconds without a byte in either direction of a tunnel; then it is cut.
    pub tunnel_idle_ms: u64,
    /// Milliseconds in which a peer takes not one byte; then its connection is cut.
    pub write_stall_ms: u64,
    /// Milliseconds that a connection is read and dropped after an early answer, so that the client
    /// can read it.
    pub linger_ms: u64,
    /// Bytes that are read and dropped at most while lingering.
    pub linger_bytes: u64,
    /// Milliseconds that an unused connection to an endpoint is kept: below the 5 s after which
    /// common servers close theirs.
    pub upstream_idle_ms: u64,
    /// Milliseconds that exchanges may take when the proxy is to end; then they are cut.
    pub drain_ms: u64,
    /// Unused connections that are kept to one endpoint; 0 keeps none.
    pub idle_per_endpoint: usize,
    /// Unused connections that are kept in all; 0 keeps none.
    pub idle_total: usize,
    /// Milliseconds after which a connect that is still pending is joined by one to another
    /// endpoint.
    pub hedge_ms: u64,
    /// Milliseconds that a request waits for an endpoint when none can be reached; then 503.
    pub wait_ms: u64,
    /// Requests of one service that may wait at the same time; more are 503.
    pub wait_requests: usize,
    /// Whether a request that must not be repeated may ride a used connection.
    pub reuse_unsafe: ReuseUnsafe,
    /// Whether an answer that broke off is continued from another endpoint, where that is safe.
    pub resume: bool,
    /// Requests that may be written a second time, in percent of all requests of a service.
    pub retry_percent: u64,
    /// Requests that may be written a second time beside those, per second and service.
    pub retry_per_second: u64,
    /// Statuses of endpoints that are not passed on but tried elsewhere: of 502, 503 and 504.
    pub retry_status: Vec<u16>,
    /// Failures in a row after which an endpoint is set aside; 0 never does.
    pub eject_failures: u32,
    /// Milliseconds for which it is set aside the first time; they double with every further one.
    pub eject_ms: u64,
    /// The longest that an endpoint is set aside, in milliseconds.
    pub eject_max_ms: u64,
    /// Whether an endpoint that is new or back takes 1, 2, 4 ... requests until it has proven
    /// itself.
    pub slow_start: bool,
    /// Requests that one endpoint works on at the same time; 0 is without limit.
    pub max_inflight: u32,
    /// How endpoints are asked whether they are well.
    pub check: Check,
    /// Milliseconds from one check to the next.
    pub check_interval_ms: u64,
    /// Milliseconds that a check may take.
    pub check_timeout_ms: u64,
    /// Good checks in a row after which an endpoint is back.
    pub check_rise: u32,
    /// Bad checks in a row after which an endpoint is set aside.
    pub check_fall: u32,
    /// Milliseconds after which names are resolved again, by who runs a
    /// [`Resolver`](crate::Resolver); the proxy itself resolves none.
    pub resolve_ms: u64,
    /// What happens to the `X-Forwarded-*` fields.
    pub forwarded: Forwarded,
    /// Who may send `X-Forwarded-*` of its own; empty: everybody.
    pub trusted: Vec<Network>,
    /// Whose name goes into `Host`.
    pub host: HostRule,
    /// Whether long bodies pass through pipes of the kernel (`splice(2)`) instead of being copied.
    pub splice: bool,
    /// Whether `Via` is added. Off, against RFC 9110, 7.6.3: common servers stop compressing when
    /// they see it.
    pub via: bool,
}

/// When a request that must not be executed twice may ride a connection that was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReuseUnsafe {
    /// If it was active within the last second, is silent now, and its endpoint has shown that it
    /// does not close such connections without notice.
    Auto,
    /// Never: each gets a connection of its own.
    Fresh,
    /// Whenever there is one; some requests will be lost to connections that die.
    Always,
}

/// How endpoints are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Not at all: only requests tell.
    Off,
    /// By a connection that is closed at once.
    Connect,
    /// By `GET` of this path; a status from 200 to 399 is well.
    Get(String),
}

/// What happens to `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// The client's address is appended to what came.
    Append,
    /// What came is dropped; only what the proxy saw itself is sent.
    Replace,
    /// They are fields like any other.
    Off,
}

/// Whose name goes into the `Host` of a request that is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostRule {
    /// The one that the client asked for.
    Client,
    /// The endpoint's own authority.
    Endpoint,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_connections: 10_000,
            memory_bytes: 64 * MIB,
            buffer_bytes: 16 * KIB,
            max_head_bytes: 32 * KIB,
            max_fields: 100,
            max_target_bytes: 8 * KIB,
            head_ms: 10_000,
            body_idle_ms: 30_000,
            connect_ms: 1_000,
            first_byte_ms: 60_000,
            response_idle_ms: 60_000,
            client_idle_ms: 60_000,
            tunnel_idle_ms: 3_600_000,
            write_stall_ms: 30_000,
            linger_ms: 1_000,
            linger_bytes: 256 << 10,
            upstream_idle_ms: 4_000,
            drain_ms: 30_000,
            idle_per_endpoint: 32,
            idle_total: 256,
            hedge_ms: 250,
            wait_ms: 5_000,
            wait_requests: 1_024,
            reuse_unsafe: ReuseUnsafe::Auto,
            resume: true,
            retry_percent: 20,
            retry_per_second: 10,
            retry_status: Vec::new(),
            eject_failures: 3,
            eject_ms: 1_000,
            eject_max_ms: 30_000,
            slow_start: true,
            max_inflight: 0,
            check: Check::Off,
            check_interval_ms: 5_000,
            check_timeout_ms: 1_000,
            check_rise: 2,
            check_fall: 3,
            resolve_ms: 30_000,
            forwarded: Forwarded::Append,
            trusted: Vec::new(),
            host: HostRule::Client,
            splice: true,
            via: false,
        }
    }
}

impl Config {
    /// Whether the settings make sense together; the first thing that does not.
    pub fn check(&self) -> Result<(), SettingError> {
        self.check_times()?;
        self.check_sizes()?;
        let request = 2 * self.buffer_bytes.max(self.max_head_bytes);
        let least = MIN_REQUESTS * request;
        refuse(self.memory_bytes < least, || {
            format!(
                "memory {} is too small for {MIN_REQUESTS} requests at once; with buffer {} and \
                 max-head {} it takes {least} bytes",
                self.memory_bytes, self.buffer_bytes, self.max_head_bytes
            )
        })
    }

    /// Zero would mean "at once" for one timer and "never" for another.
    fn check_times(&self) -> Result<(), SettingError> {
        let times = [
            ("head-timeout", self.head_ms),
            ("body-idle", self.body_idle_ms),
            ("connect", self.connect_ms),
            ("first-byte", self.first_byte_ms),
            ("response-idle", self.response_idle_ms),
            ("client-idle", self.client_idle_ms),
            ("tunnel-idle", self.tunnel_idle_ms),
            ("write-stall", self.write_stall_ms),
            ("linger", self.linger_ms),
            ("upstream-idle", self.upstream_idle_ms),
            ("resolve", self.resolve_ms),
            ("drain", self.drain_ms),
            ("hedge", self.hedge_ms),
            ("wait", self.wait_ms),
            ("eject", self.eject_ms),
            ("eject-max", self.eject_max_ms),
            ("health-interval", self.check_interval_ms),
            ("health-timeout", self.check_timeout_ms),
        ];
        match times.iter().find(|(_, ms)| *ms == 0) {
            Some((name, _)) => refuse(true, || format!("{name} must not be 0")),
            None => Ok(()),
        }
    }

    fn check_sizes(&self) -> Result<(), SettingError> {
        for (name, value, least, most) in [
            ("max-connections", self.max_connections, 1, 10_000_000),
            ("buffer", self.buffer_bytes, 4 * KIB, 16 * MIB),
            ("max-head", self.max_head_bytes, KIB, MIB),
            ("max-fields", self.max_fields, 8, MAX_FIELDS),
            ("max-target", self.max_target_bytes, 64, MIB),
        ] {
            refuse(value < least, || format!("{name} {value} is too small; at least {least}"))?;
            refuse(value > most, || format!("{name} {value} is too large; at most {most}"))?;
        }
        refuse(self.max_target_bytes > self.max_head_bytes, || {
            let (target, head) = (self.max_target_bytes, self.max_head_bytes);
            format!("max-target {target} is above max-head {head}, of which it is a part")
        })
    }

    /// The most memory that connections and buffers can take, in bytes.
    pub fn memory_ceiling_bytes(&self) -> u64 {
        let connections = (self.max_connections as u64).saturating_mul(CONNECTION_BYTES);
        connections.saturating_add(self.memory_bytes as u64)
    }
}

fn refuse(wrong: bool, why: impl FnOnce() -> String) -> Result<(), SettingError> {
    if wrong { Err(SettingError::Contradiction(why())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // B8.3: no more than this, known before start.
    #[test]
    fn the_ceiling_is_computed() {
        assert_eq!(Config::default().memory_ceiling_bytes(), 10_000 * 1024 + (64 << 20));
        let huge = Config { max_connections: usize::MAX, ..Config::default() };
        assert_eq!(huge.memory_ceiling_bytes(), u64::MAX);
    }

    #[track_caller]
    fn check_refused(config: Config, line: &str) {
        let error = config.check().expect_err(line).to_string();
        assert!(error.contains(line) && !error.contains('\n'), "{error}");
    }

    // B1.5, B8.3, B8.4
    #[test]
    fn contradictions_are_refused() {
        let base = Config::default;
        for (config, line) in [
            (Config { buffer_bytes: 4095, ..base() }, "buffer 4095 is too small; at least 4096"),
            (Config { buffer_bytes: 17 * MIB, ..base() }, "at most 16777216"),
            (Config { max_head_bytes: MIB + 1, ..base() }, "max-head 1048577 is too large"),
            (Config { max_head_bytes: 0, ..base() }, "max-head 0 is too small"),
            (Config { max_head_bytes: 4096, ..base() }, "max-target 8192 is above max-head 4096"),
            (Config { max_target_bytes: 0, ..base() }, "max-target 0 is too small"),
            (Config { max_fields: 0, ..base() }, "max-fields 0 is too small"),
            (Config { max_fields: 257, ..base() }, "max-fields 257 is too large; at most 256"),
            (Config { max_connections: 0, ..base() }, "max-connections 0 is too small"),
            (Config { max_connections: usize::MAX, ..base() }, "is too large; at most 10000000"),
            (
                Config { memory_bytes: MIB - 1, ..base() },
                "memory 1048575 is too small for 16 requests at once; with buffer 16384 and \
                 max-head 32768 it takes 1048576 bytes",
            ),
            (Config { head_ms: 0, ..base() }, "head-timeout must not be 0"),
            (Config { upstream_idle_ms: 0, ..base() }, "upstream-idle must not be 0"),
        ] {
            check_refused(config, line);
        }
        let least = Config { memory_bytes: MIB, ..base() };
        assert_eq!(least.check(), Ok(()));
    }
}
