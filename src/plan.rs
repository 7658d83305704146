//! From settings to a plan that can run: names become addresses, and the number of connections
//! is fitted to the limit of open files.
//!
//! What the outside says (resolver, limit) comes in as arguments of [`Plan::with`], so the tests
//! need neither. This file does not know the proxy, only what is handed to it.

use std::fmt::Write;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use pointsman::{Balance, Config, Endpoint, Listen};

use crate::cli::Settings;

/// Descriptors of one connection: its client's, and one to an endpoint.
const FILES_PER_CONNECTION: u64 = 2;
/// Descriptors that are no connection's: listeners, epoll, waker, standard streams, resolver.
const FILES_BESIDE: u64 = 32;

/// All that the program needs to run.
pub(crate) struct Plan {
    pub(crate) listen: Vec<Listen>,
    pub(crate) services: Vec<(String, Vec<Endpoint>)>,
    pub(crate) balance: Balance,
    pub(crate) config: Config,
    pub(crate) demo: bool,
    balance_name: String,
    open_files: Option<u64>,
    lowered: Option<String>,
}

impl Plan {
    /// Resolves every name now and reads the limit of open files. An error is one line.
    pub(crate) fn make(settings: Settings) -> Result<Plan, String> {
        let resolve = |host: &str, port| Ok((host, port).to_socket_addrs()?.collect());
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Plan::with(settings, resolve, open_files(&limits))
    }

    fn with(
        settings: Settings,
        resolve: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
        open_files: Option<u64>,
    ) -> Result<Plan, String> {
        let Settings { listen, routes, balance, balance_name, mut config, demo } = settings;
        let mut services = Vec::new();
        for route in routes {
            let mut endpoints = Vec::new();
            for spec in &route.endpoints {
                let found = match spec.host_port() {
                    None => spec.unix_endpoint().into_iter().collect(),
                    Some((host, port)) => {
                        let addresses = addresses(host, port, &resolve)
                            .map_err(|why| format!("{}: {why}", route.service))?;
                        addresses.into_iter().map(|at| spec.endpoint(at)).collect()
                    }
                };
                merge(&mut endpoints, found).map_err(|why| format!("{}: {why}", route.service))?;
            }
            services.push((route.service, endpoints));
        }
        let lowered = open_files.and_then(|limit| fit(&mut config, limit));
        Ok(Plan { listen, services, balance, config, demo, balance_name, open_files, lowered })
    }

    /// One line, if fewer connections are allowed than were asked for.
    pub(crate) fn lowered(&self) -> Option<&str> {
        self.lowered.as_deref()
    }

    /// What `--check` prints.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::new();
        for listen in &self.listen {
            let _ = writeln!(text, "listen   {listen}");
        }
        for (service, endpoints) in &self.services {
            let list: Vec<_> = endpoints.iter().map(shown).collect();
            let _ = writeln!(text, "service  {service} = {}", list.join(", "));
        }
        let _ = writeln!(text, "balance  {}", self.balance_name);
        let _ = writeln!(text, "memory   {}", ceiling(&self.config));
        if let Some(limit) = self.open_files {
            let _ = writeln!(text, "files    {} may be open", grouped(limit));
        }
        if let Some(line) = &self.lowered {
            let _ = writeln!(text, "note     {line}");
        }
        text
    }
}

fn addresses(
    host: &str,
    port: u16,
    resolve: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
) -> Result<Vec<SocketAddr>, String> {
    match resolve(host, port) {
        Ok(found) if found.is_empty() => Err(format!("{host}:{port}: the name has no address")),
        Ok(found) => Ok(found),
        Err(why) => Err(format!("{host}:{port}: cannot resolve the name: {why}")),
    }
}

/// Adds what is new. The same endpoint may be meant twice (`localhost` and `127.0.0.1`), but not
/// with two weights: one of them would be lost in silence.
fn merge(endpoints: &mut Vec<Endpoint>, found: Vec<Endpoint>) -> Result<(), String> {
    for new in found {
        match endpoints.iter().find(|known| **known == new) {
            None => endpoints.push(new),
            Some(known) if known.weight() == new.weight() => {}
            Some(known) => {
                let (at, one, two) = (new.address(), known.weight(), new.weight());
                return Err(format!("{at} has two weights, {one} and {two}"));
            }
        }
    }
    Ok(())
}

fn shown(endpoint: &Endpoint) -> String {
    let mut text = format!("{}{}", endpoint.address(), endpoint.base());
    if !endpoint.query().is_empty() {
        let _ = write!(text, "?{}", endpoint.query());
    }
    if endpoint.weight() != 1 {
        let _ = write!(text, ";weight={}", endpoint.weight());
    }
    text
}

/// Lowers the number of connections to what `limit` descriptors allow, and says so.
fn fit(config: &mut Config, limit: u64) -> Option<String> {
    let asked = config.max_connections as u64;
    let possible = (limit.saturating_sub(FILES_BESIDE) / FILES_PER_CONNECTION).max(1);
    if asked <= possible {
        return None;
    }
    config.max_connections = usize::try_from(possible).unwrap_or(usize::MAX);
    let needed = asked.saturating_mul(FILES_PER_CONNECTION).saturating_add(FILES_BESIDE);
    Some(format!(
        "max-connections is {} instead of {}: {} files may be open, {} would be needed",
        grouped(possible),
        grouped(asked),
        grouped(limit),
        grouped(needed),
    ))
}

/// The soft limit of open files in the text of `/proc/self/limits`; `None` if there is none.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The most memory that will ever be used, with the sum that leads there.
fn ceiling(config: &Config) -> String {
    let connections = config.max_connections as u64;
    let buffers = config.memory_bytes as u64;
    let whole = config.memory_ceiling_bytes();
    let each = whole.saturating_sub(buffers) / connections.max(1);
    format!(
        "max {} connections x {} + {} of buffers = {}",
        grouped(connections),
        size(each),
        size(buffers),
        size(whole)
    )
}

/// `10,000`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `512 B`, `64 MiB`, `68.9 MiB`
fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1024 => return format!("{bytes} B"),
        1024..0x10_0000 => (1024_u64, "KiB"),
        0x10_0000..0x4000_0000 => (1024 * 1024, "MiB"),
        _ => (1024 * 1024 * 1024, "GiB"),
    };
    if bytes % unit == 0 {
        return format!("{} {name}", bytes / unit);
    }
    format!("{:.1} {name}", bytes as f64 / unit as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Command};

    const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     \n\
Max processes             96365                96365                processes \n\
Max open files            1024                 524288               files     \n\
Max locked memory         8388608              8388608              bytes     \n";

    /// A resolver with three names: one address, two addresses, none.
    fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found: &[&str] = match host {
            "one" | "127.0.0.1" => &["127.0.0.1"],
            "two" => &["::1", "127.0.0.1"],
            "none" => &[],
            _ => return Err(io::Error::other("name or service not known")),
        };
        let with_port = |ip: &&str| ip.parse().map(|ip| SocketAddr::new(ip, port));
        found.iter().map(with_port).collect::<Result<_, _>>().map_err(io::Error::other)
    }

    fn plan(line: &str, open_files: Option<u64>) -> Result<Plan, String> {
        let args = line.split(' ').map(Into::into).collect();
        match cli::parse(args)? {
            Command::Run(settings) | Command::Check(settings) => {
                Plan::with(settings, resolve, open_files)
            }
            other => Err(format!("{other:?}")),
        }
    }

    fn endpoints(line: &str) -> Vec<String> {
        let plan = plan(line, None).unwrap();
        plan.services.iter().flat_map(|(_, list)| list).map(shown).collect()
    }

    #[test]
    fn b1_3_every_address_of_a_name_is_an_endpoint() {
        assert_eq!(endpoints("a/v1=two:80"), ["[::1]:80", "127.0.0.1:80"]);
        assert_eq!(endpoints("a/v1=two:80,one:80"), ["[::1]:80", "127.0.0.1:80"]);
        assert_eq!(endpoints("a/v1=one:80,one:81"), ["127.0.0.1:80", "127.0.0.1:81"]);
        assert_eq!(endpoints("a/v1=unix:/run/a.sock"), ["unix:/run/a.sock"]);
        assert_eq!(
            endpoints("a/v1=http://one:80/base?k=v;weight=3"),
            ["127.0.0.1:80/base?k=v;weight=3"]
        );
    }

    #[test]
    fn b1_5_what_cannot_be_resolved_is_named() {
        for (line, said) in [
            ("a/v1=nosuch:80", "a/v1: nosuch:80: cannot resolve the name"),
            ("a/v1=one:80 b/v2=none:81", "b/v2: none:81: the name has no address"),
            ("a/v1=one:80;weight=1,two:80;weight=2", "127.0.0.1:80 has two weights, 1 and 2"),
        ] {
            let error = plan(line, None).err().unwrap_or_default();
            assert!(error.contains(said), "{line}: {error:?}");
        }
    }

    #[test]
    fn b8_3_connections_are_fitted_to_the_open_files() {
        assert_eq!(open_files(LIMITS), Some(1024));
        assert_eq!(open_files("Max open files            unlimited            unlimited"), None);
        assert_eq!(open_files(""), None);
        for (limit, connections) in
            [(None, 1000), (Some(2032), 1000), (Some(2031), 999), (Some(1024), 496), (Some(3), 1)]
        {
            let plan = plan("--max-connections 1000 a/v1=one:80", limit).unwrap();
            assert_eq!(plan.config.max_connections, connections, "{limit:?}");
            assert_eq!(plan.lowered().is_some(), connections < 1000, "{limit:?}");
        }
    }

    #[test]
    fn b1_4_check_says_what_would_run() {
        let plan = plan("--check a/v1=one:80 *=two:81;weight=2", Some(20_000)).unwrap();
        assert_eq!(
            plan.summary(),
            "listen   127.0.0.1:9090\n\
             service  a/v1 = 127.0.0.1:80\n\
             service  * = [::1]:81;weight=2, 127.0.0.1:81;weight=2\n\
             balance  random\n\
             memory   max 9,984 connections x 512 B + 64 MiB of buffers = 68.9 MiB\n\
             files    20,000 may be open\n\
             note     max-connections is 9,984 instead of 10,000: 20,000 files may be open, \
             20,032 would be needed\n"
        );
    }

    #[test]
    fn numbers_are_easy_to_read() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (10_000, "10,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
        for (bytes, text) in [
            (512, "512 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (64 << 20, "64 MiB"),
            (72_228_864, "68.9 MiB"),
            (3 << 30, "3 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
