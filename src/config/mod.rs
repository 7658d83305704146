//! Every limit and every time, with its default and the reason for it.
//!
//! One table ([`Config::set`]) serves the command line and the file, so that a name, its default
//! and its help cannot drift apart. This file does not know who enforces a limit.

use std::fmt;

use crate::h1::head::MAX_FIELDS;

mod network;
mod text;

pub use network::{Network, NetworkError};

/// What one connection costs beside its buffers, in bytes: its place in the slab, its timer, its
/// share of the maps. A bound, not an average; measured with idle clients and rounded up.
pub(crate) const CONNECTION_BYTES: u64 = 512;

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
    /// Unused connections that are kept to one endpoint; 0 keeps none.
    pub idle_per_endpoint: usize,
    /// Unused connections that are kept in all; 0 keeps none.
    pub idle_total: usize,
    /// What happens to the `X-Forwarded-*` fields.
    pub forwarded: Forwarded,
    /// Who may send `X-Forwarded-*` of its own; empty: everybody.
    pub trusted: Vec<Network>,
    /// Whose name goes into `Host`.
    pub host: HostRule,
    /// Whether `Via` is added. Off, against RFC 9110, 7.6.3: common servers stop compressing when
    /// they see it.
    pub via: bool,
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
            write_stall_ms: 30_000,
            linger_ms: 1_000,
            linger_bytes: 256 << 10,
            upstream_idle_ms: 4_000,
            idle_per_endpoint: 32,
            idle_total: 256,
            forwarded: Forwarded::Append,
            trusted: Vec::new(),
            host: HostRule::Client,
            via: false,
        }
    }
}

impl Config {
    /// Sets `key` (one of [`Config::keys`]) to what `value` says.
    ///
    /// Times need a unit (`250ms`, `5s`, `2m`, `1h`) and are never 0; sizes are bytes or have one
    /// (`16KiB`, `64MiB`, `1GiB`). A wrong key or value changes nothing.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
        let Some(known) = KEYS.iter().find(|known| known.name == key) else {
            let nearest = text::nearest(key, KEYS.iter().map(|known| known.name));
            return Err(SettingError::UnknownKey { key: key.to_owned(), nearest });
        };
        (known.apply)(self, value).map_err(|why| SettingError::Value {
            key: known.name,
            value: value.to_owned(),
            why,
        })
    }

    /// Every key that [`Config::set`] knows: its name, its default as text, one line of help.
    pub fn keys() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        KEYS.iter().map(|key| (key.name, key.default, key.help))
    }

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
            ("write-stall", self.write_stall_ms),
            ("linger", self.linger_ms),
            ("upstream-idle", self.upstream_idle_ms),
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

/// Why a setting was refused. Its text is one line that names the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingError {
    /// There is no such key.
    UnknownKey {
        /// The key as it was written.
        key: String,
        /// The known key that looks most like it.
        nearest: &'static str,
    },
    /// The key does not take such a value.
    Value {
        /// The key.
        key: &'static str,
        /// The value as it was written.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// A value that makes no sense, or none together with the others.
    Contradiction(String),
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingError::UnknownKey { key, nearest } => {
                write!(f, "there is no setting {key:?}; the nearest is {nearest:?}")
            }
            SettingError::Value { key, value, why } => write!(f, "{key} {value:?}: {why}"),
            SettingError::Contradiction(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for SettingError {}

struct Key {
    name: &'static str,
    default: &'static str,
    help: &'static str,
    apply: fn(&mut Config, &str) -> Result<(), String>,
}

/// A row of the table: name, default, help, and the field with the parser that fills it.
macro_rules! key {
    ($name:literal, $default:literal, $field:ident, $parse:expr, $help:literal) => {
        Key {
            name: $name,
            default: $default,
            help: $help,
            apply: |config, value| {
                config.$field = $parse(value)?;
                Ok(())
            },
        }
    };
}

#[rustfmt::skip]
const KEYS: &[Key] = &[
    key!("max-connections", "10000", max_connections, text::count,
        "client connections at the same time; above it the listener waits"),
    key!("memory", "64MiB", memory_bytes, text::size,
        "all buffers together; above it new requests wait"),
    key!("buffer", "16KiB", buffer_bytes, text::size,
        "one buffer; also how much of a request can be sent again"),
    key!("max-head", "32KiB", max_head_bytes, text::size,
        "head of a message; larger is 431"),
    key!("max-fields", "100", max_fields, text::count,
        "field lines of a head; more is 431"),
    key!("max-target", "8KiB", max_target_bytes, text::size,
        "request target; longer is 414"),
    key!("head-timeout", "10s", head_ms, text::duration_ms,
        "a whole request head from its first byte; then 408"),
    key!("body-idle", "30s", body_idle_ms, text::duration_ms,
        "no byte of a request body; then 408"),
    key!("connect", "1s", connect_ms, text::duration_ms,
        "a connection to an endpoint; then another endpoint"),
    key!("first-byte", "1m", first_byte_ms, text::duration_ms,
        "from the request to the first byte of its response; then 504"),
    key!("response-idle", "1m", response_idle_ms, text::duration_ms,
        "no byte of a response that has begun; then it is cut"),
    key!("client-idle", "1m", client_idle_ms, text::duration_ms,
        "a client without a request; then its connection is closed"),
    key!("write-stall", "30s", write_stall_ms, text::duration_ms,
        "a peer that takes no byte; then it is cut"),
    key!("linger", "1s", linger_ms, text::duration_ms,
        "reading on after an early answer, so that the client gets it"),
    key!("linger-bytes", "256KiB", linger_bytes, text::bytes_or_none,
        "bytes read and dropped at most while lingering; 0 for none"),
    key!("upstream-idle", "4s", upstream_idle_ms, text::duration_ms,
        "an unused connection to an endpoint; then it is closed"),
    key!("idle-per-endpoint", "32", idle_per_endpoint, text::count_or_none,
        "unused connections kept to one endpoint; 0 for none"),
    key!("idle-total", "256", idle_total, text::count_or_none,
        "unused connections kept in all; 0 for none"),
    key!("forwarded", "append", forwarded, forwarded,
        "X-Forwarded-* fields: append, replace or off"),
    key!("trusted", "none", trusted, trusted,
        "addresses and networks that may send X-Forwarded-*, by comma"),
    key!("host", "client", host, host,
        "the Host that is sent on: client or endpoint"),
    key!("via", "off", via, on_off,
        "add Via: on or off"),
];

fn forwarded(value: &str) -> Result<Forwarded, String> {
    text::one_of(
        value,
        &[("append", Forwarded::Append), ("replace", Forwarded::Replace), ("off", Forwarded::Off)],
    )
}

fn host(value: &str) -> Result<HostRule, String> {
    text::one_of(value, &[("client", HostRule::Client), ("endpoint", HostRule::Endpoint)])
}

fn on_off(value: &str) -> Result<bool, String> {
    text::one_of(value, &[("on", true), ("off", false)])
}

fn trusted(value: &str) -> Result<Vec<Network>, String> {
    if value == "none" {
        return Ok(Vec::new());
    }
    value.split(',').map(|item| item.trim().parse().map_err(|e| format!("{e}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // B1, round brackets: the defaults of behaviour.md.
    #[test]
    fn the_table_says_the_defaults() {
        let names: std::collections::HashSet<_> = Config::keys().map(|(name, ..)| name).collect();
        assert_eq!((names.len(), KEYS.len()), (22, 22));
        for (name, default, help) in Config::keys() {
            let mut config = Config::default();
            assert_eq!(config.set(name, default), Ok(()), "{name}");
            assert_eq!(config, Config::default(), "{name} {default}");
            assert!(!help.is_empty() && help.len() <= 66 && !help.ends_with('.'), "{name}: {help}");
        }
        assert_eq!(Config::default().check(), Ok(()));
    }

    // B8.3: no more than this, known before start.
    #[test]
    fn the_ceiling_is_computed() {
        assert_eq!(Config::default().memory_ceiling_bytes(), 10_000 * 512 + (64 << 20));
        let huge = Config { max_connections: usize::MAX, ..Config::default() };
        assert_eq!(huge.memory_ceiling_bytes(), u64::MAX);
    }

    // B1.4: every key changes its own field and nothing else.
    #[test]
    fn every_key_sets_its_field() {
        let before = Config::default;
        let network = |text: &str| text.parse::<Network>().unwrap();
        for (key, value, want) in [
            ("max-connections", "7", Config { max_connections: 7, ..before() }),
            ("memory", "1GiB", Config { memory_bytes: 1 << 30, ..before() }),
            ("buffer", "5000", Config { buffer_bytes: 5000, ..before() }),
            ("max-head", "64KiB", Config { max_head_bytes: 65536, ..before() }),
            ("max-fields", "50", Config { max_fields: 50, ..before() }),
            ("max-target", "4KiB", Config { max_target_bytes: 4096, ..before() }),
            ("head-timeout", "250ms", Config { head_ms: 250, ..before() }),
            ("body-idle", "2m", Config { body_idle_ms: 120_000, ..before() }),
            ("connect", "3s", Config { connect_ms: 3_000, ..before() }),
            ("first-byte", "1h", Config { first_byte_ms: 3_600_000, ..before() }),
            ("response-idle", "5s", Config { response_idle_ms: 5_000, ..before() }),
            ("client-idle", "6s", Config { client_idle_ms: 6_000, ..before() }),
            ("write-stall", "7s", Config { write_stall_ms: 7_000, ..before() }),
            ("linger", "8s", Config { linger_ms: 8_000, ..before() }),
            ("linger-bytes", "0", Config { linger_bytes: 0, ..before() }),
            ("upstream-idle", "9s", Config { upstream_idle_ms: 9_000, ..before() }),
            ("idle-per-endpoint", "0", Config { idle_per_endpoint: 0, ..before() }),
            ("idle-total", "9", Config { idle_total: 9, ..before() }),
            ("forwarded", "replace", Config { forwarded: Forwarded::Replace, ..before() }),
            ("forwarded", "off", Config { forwarded: Forwarded::Off, ..before() }),
            (
                "trusted",
                "10.0.0.0/8, ::1",
                Config { trusted: vec![network("10.0.0.0/8"), network("::1")], ..before() },
            ),
            ("host", "endpoint", Config { host: HostRule::Endpoint, ..before() }),
            ("via", "on", Config { via: true, ..before() }),
        ] {
            let mut config = before();
            assert_eq!(config.set(key, value), Ok(()), "{key} {value}");
            assert_eq!(config, want, "{key} {value}");
        }
        let mut config = Config { trusted: vec![network("::1")], ..before() };
        assert_eq!(config.set("trusted", "10.0.0.1"), Ok(()));
        assert_eq!(config.trusted, [network("10.0.0.1")], "set, not added");
    }

    // B1.5: one line that names the key; an unknown key gets the nearest as a hint.
    #[test]
    fn wrong_settings_are_refused_and_change_nothing() {
        for (key, value, line) in [
            ("conect", "1s", "there is no setting \"conect\"; the nearest is \"connect\""),
            ("max_connections", "1", "the nearest is \"max-connections\""),
            ("head-timout", "1s", "the nearest is \"head-timeout\""),
            ("idle\n", "1s", "there is no setting \"idle\\n\""),
            ("", "1", "there is no setting \"\"; the nearest is \"via\""),
            ("connect", "5", "connect \"5\": a time needs a unit, as in 250ms, 5s, 2m or 1h"),
            ("connect", "0s", "connect \"0s\": must not be 0"),
            ("max-connections", "0", "max-connections \"0\": must not be 0"),
            ("max-connections", "many", "is not a whole number"),
            ("memory", "64MB", "a size is bytes or has a unit, as in 16KiB, 64MiB or 1GiB"),
            ("via", "yes", "via \"yes\": is none of: on, off"),
            ("forwarded", "", "is none of: append, replace, off"),
            ("host", "Client", "is none of: client, endpoint"),
            ("trusted", "", "\"\" is not an address or a network"),
            ("trusted", "::1,,::2", "\"\" is not an address or a network"),
            ("trusted", "localhost", "\"localhost\" is not an address or a network"),
        ] {
            let mut config = Config::default();
            let error = config.set(key, value).expect_err(key).to_string();
            assert!(error.contains(line), "{key} {value:?} gave: {error}");
            assert!(!error.contains('\n'), "{error}");
            assert_eq!(config, Config::default());
        }
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
