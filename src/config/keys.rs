//! The table of settings: one row serves the command line, the file and the help, so that a name,
//! its default and its help cannot drift apart. This file does not know who enforces a limit.

use std::fmt;

use super::{Check, Config, Forwarded, HostRule, Network, ReuseUnsafe, text};

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
    key!("tunnel-idle", "1h", tunnel_idle_ms, text::duration_ms,
        "no byte in either direction of a tunnel; then it is cut"),
    key!("write-stall", "30s", write_stall_ms, text::duration_ms,
        "a peer that takes no byte; then it is cut"),
    key!("linger", "1s", linger_ms, text::duration_ms,
        "reading on after an early answer, so that the client gets it"),
    key!("linger-bytes", "256KiB", linger_bytes, text::bytes_or_none,
        "bytes read and dropped at most while lingering; 0 for none"),
    key!("upstream-idle", "4s", upstream_idle_ms, text::duration_ms,
        "an unused connection to an endpoint; then it is closed"),
    key!("drain", "30s", drain_ms, text::duration_ms,
        "exchanges that go on when the proxy is to end; then they are cut"),
    key!("idle-per-endpoint", "32", idle_per_endpoint, text::count_or_none,
        "unused connections kept to one endpoint; 0 for none"),
    key!("idle-total", "256", idle_total, text::count_or_none,
        "unused connections kept in all; 0 for none"),
    key!("hedge", "250ms", hedge_ms, text::duration_ms,
        "a pending connect; then one to another endpoint joins it"),
    key!("wait", "5s", wait_ms, text::duration_ms,
        "a request when no endpoint can be reached; then 503"),
    key!("wait-requests", "1024", wait_requests, text::count_or_none,
        "requests of a service that may wait; more are 503"),
    key!("reuse-unsafe", "auto", reuse_unsafe, reuse_unsafe,
        "POST and its like on used connections: auto, fresh or always"),
    key!("resume", "on", resume, on_off,
        "continue an answer that broke off: on or off"),
    key!("retry-percent", "20", retry_percent, text::number,
        "requests written a second time, in percent of all"),
    key!("retry-per-second", "10", retry_per_second, text::number,
        "requests written a second time beside those, a second"),
    key!("retry-status", "none", retry_status, retry_status,
        "statuses to try elsewhere, by comma: 502, 503, 504"),
    key!("eject-failures", "3", eject_failures, text::number,
        "failures in a row that set an endpoint aside; 0 for never"),
    key!("eject", "1s", eject_ms, text::duration_ms,
        "how long the first time; doubles with every further one"),
    key!("eject-max", "30s", eject_max_ms, text::duration_ms,
        "how long at most"),
    key!("slow-start", "on", slow_start, on_off,
        "1, 2, 4 ... requests for an endpoint that is new: on or off"),
    key!("max-inflight", "0", max_inflight, text::number,
        "requests at the same time of one endpoint; 0 for no limit"),
    key!("health-check", "off", check, check,
        "ask endpoints whether they are well: off, connect or /PATH"),
    key!("health-interval", "5s", check_interval_ms, text::duration_ms,
        "from one check to the next"),
    key!("health-timeout", "1s", check_timeout_ms, text::duration_ms,
        "how long a check may take"),
    key!("health-rise", "2", check_rise, text::number,
        "good checks in a row that bring an endpoint back"),
    key!("health-fall", "3", check_fall, text::number,
        "bad checks in a row that set an endpoint aside"),
    key!("resolve", "30s", resolve_ms, text::duration_ms,
        "names of endpoints are resolved again"),
    key!("forwarded", "append", forwarded, forwarded,
        "X-Forwarded-* fields: append, replace or off"),
    key!("trusted", "none", trusted, trusted,
        "addresses and networks that may send X-Forwarded-*, by comma"),
    key!("host", "client", host, host,
        "the Host that is sent on: client or endpoint"),
    key!("splice", "on", splice, on_off,
        "long bodies pass through pipes, uncopied: on or off"),
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

fn reuse_unsafe(value: &str) -> Result<ReuseUnsafe, String> {
    text::one_of(
        value,
        &[
            ("auto", ReuseUnsafe::Auto),
            ("fresh", ReuseUnsafe::Fresh),
            ("always", ReuseUnsafe::Always),
        ],
    )
}

fn retry_status(value: &str) -> Result<Vec<u16>, String> {
    if value == "none" {
        return Ok(Vec::new());
    }
    let one = |word: &str| text::one_of(word.trim(), &[("502", 502), ("503", 503), ("504", 504)]);
    value.split(',').map(one).collect()
}

fn check(value: &str) -> Result<Check, String> {
    let fine = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    match value {
        "off" => Ok(Check::Off),
        "connect" => Ok(Check::Connect),
        path if path.starts_with('/') && path.bytes().all(fine) => Ok(Check::Get(path.to_owned())),
        _ => Err("is none of: off, connect, a path that begins with /".to_owned()),
    }
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
        assert_eq!((names.len(), KEYS.len()), (44, 44));
        for (name, default, help) in Config::keys() {
            let mut config = Config::default();
            assert_eq!(config.set(name, default), Ok(()), "{name}");
            assert_eq!(config, Config::default(), "{name} {default}");
            assert!(!help.is_empty() && help.len() <= 66 && !help.ends_with('.'), "{name}: {help}");
        }
        assert_eq!(Config::default().check(), Ok(()));
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
            ("tunnel-idle", "7s", Config { tunnel_idle_ms: 7_000, ..before() }),
            ("write-stall", "7s", Config { write_stall_ms: 7_000, ..before() }),
            ("linger", "8s", Config { linger_ms: 8_000, ..before() }),
            ("linger-bytes", "0", Config { linger_bytes: 0, ..before() }),
            ("upstream-idle", "9s", Config { upstream_idle_ms: 9_000, ..before() }),
            ("drain", "10s", Config { drain_ms: 10_000, ..before() }),
            ("idle-per-endpoint", "0", Config { idle_per_endpoint: 0, ..before() }),
            ("idle-total", "9", Config { idle_total: 9, ..before() }),
            ("hedge", "9ms", Config { hedge_ms: 9, ..before() }),
            ("wait", "9s", Config { wait_ms: 9_000, ..before() }),
            ("wait-requests", "0", Config { wait_requests: 0, ..before() }),
            ("reuse-unsafe", "fresh", Config { reuse_unsafe: ReuseUnsafe::Fresh, ..before() }),
            ("resume", "off", Config { resume: false, ..before() }),
            ("retry-percent", "9", Config { retry_percent: 9, ..before() }),
            ("retry-per-second", "0", Config { retry_per_second: 0, ..before() }),
            ("retry-status", "502, 504", Config { retry_status: vec![502, 504], ..before() }),
            ("eject-failures", "0", Config { eject_failures: 0, ..before() }),
            ("eject", "9s", Config { eject_ms: 9_000, ..before() }),
            ("eject-max", "9s", Config { eject_max_ms: 9_000, ..before() }),
            ("slow-start", "off", Config { slow_start: false, ..before() }),
            ("max-inflight", "9", Config { max_inflight: 9, ..before() }),
            ("health-check", "/well", Config { check: Check::Get("/well".to_owned()), ..before() }),
            ("health-check", "connect", Config { check: Check::Connect, ..before() }),
            ("health-interval", "9s", Config { check_interval_ms: 9_000, ..before() }),
            ("health-timeout", "9s", Config { check_timeout_ms: 9_000, ..before() }),
            ("health-rise", "9", Config { check_rise: 9, ..before() }),
            ("health-fall", "9", Config { check_fall: 9, ..before() }),
            ("resolve", "10s", Config { resolve_ms: 10_000, ..before() }),
            ("forwarded", "replace", Config { forwarded: Forwarded::Replace, ..before() }),
            ("forwarded", "off", Config { forwarded: Forwarded::Off, ..before() }),
            (
                "trusted",
                "10.0.0.0/8, ::1",
                Config { trusted: vec![network("10.0.0.0/8"), network("::1")], ..before() },
            ),
            ("host", "endpoint", Config { host: HostRule::Endpoint, ..before() }),
            ("splice", "off", Config { splice: false, ..before() }),
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
            ("retry-status", "500", "is none of: 502, 503, 504"),
            ("health-check", "well", "is none of: off, connect, a path that begins with /"),
            ("retry-percent", "-1", "is not a whole number"),
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
}
