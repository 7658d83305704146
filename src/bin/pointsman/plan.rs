//! From settings to a plan that can run: the file is read, names become addresses, and the number
//! of connections is fitted to the limit of open files.
//!
//! What the outside says (file, resolver, limit) comes in as arguments of [`Plan::with`], so the
//! tests need none of them. To read a configuration again is to make a second plan of the same
//! settings. This file does not know the proxy, only what is handed to it.

use std::collections::HashMap;
use std::fmt::Write;
use std::io;
use std::net::IpAddr;

use pointsman::{Balancer, Config, Endpoint, Listen, Names, Resolver};

use crate::cli::{DEFAULT_BALANCE, DEFAULT_LISTEN, Settings};
use crate::draft::{At, Balancing, Draft, one_line};
use crate::file;

/// Descriptors of one connection: its client's, and one to an endpoint.
const FILES_PER_CONNECTION: u64 = 2;
/// Descriptors that are no connection's: listeners, epoll, waker, alarm, standard streams,
/// resolver, and some to spare.
const FILES_BESIDE: u64 = 32;
/// Descriptors of a further worker, beside its listeners: epoll two times, a waker, an alarm.
const FILES_OF_A_WORKER: u64 = 4;

/// All that the program needs to run.
pub(crate) struct Plan {
    pub(crate) listen: Vec<Listen>,
    /// The services, and what their names stand for now.
    pub(crate) names: Names,
    pub(crate) balancers: Balancers,
    /// Of all workers together.
    pub(crate) config: Config,
    pub(crate) workers: usize,
    pub(crate) demo: bool,
    open_files: Option<u64>,
    lowered: Option<String>,
}

/// Who chooses endpoints, for each service.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Balancers {
    /// For a service that does not say.
    otherwise: Balancing,
    of: HashMap<String, Balancing>,
}

impl Balancers {
    /// The balancer of `service`.
    pub(crate) fn build(&self, service: &str) -> Box<dyn Balancer> {
        self.of.get(service).unwrap_or(&self.otherwise).balance.build()
    }
}

impl Plan {
    /// Reads the file, resolves every name and reads the limit of open files, all of it now: a
    /// silent name server can make it last. An error is one line, and nothing has changed.
    pub(crate) fn make(settings: &Settings) -> Result<Plan, String> {
        let text = settings.file.as_deref().map(file::read).transpose()?;
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Plan::with(settings, text.as_deref(), Resolver::lookup, open_files(&limits))
    }

    /// The same of the text of the file.
    fn with(
        settings: &Settings,
        text: Option<&str>,
        lookup: impl FnMut(&str) -> io::Result<Vec<IpAddr>>,
        open_files: Option<u64>,
    ) -> Result<Plan, String> {
        let mut draft = settings.said.clone();
        if let (Some(path), Some(text)) = (&settings.file, text) {
            draft = draft.over(file::parse(path, text)?);
            if draft.services.is_empty() {
                let why = "no service: write [services.\"name/version\"], endpoints = [...]";
                return Err(one_line(format!("{}: {why}", path.display())));
            }
        }
        let default = At::Argument("default".to_owned());
        if draft.listen.is_empty() {
            draft.listen(DEFAULT_LISTEN, &default)?;
        }
        let otherwise = draft.balancing.take();
        let otherwise = otherwise.map_or_else(|| Balancing::read(DEFAULT_BALANCE, &default), Ok)?;
        let mut config = draft.config()?;
        let workers = draft.count_workers(&config)?;
        let names = resolve(&draft, lookup)?;
        let own = |service: &crate::draft::Service| {
            Some((service.route.service.clone(), service.balancing.clone()?))
        };
        let balancers =
            Balancers { otherwise, of: draft.services.iter().filter_map(own).collect() };
        let (listen, demo) = (draft.listen, settings.demo);
        let each = FILES_OF_A_WORKER + listen.len() as u64;
        let beside = FILES_BESIDE + (workers as u64 - 1) * each;
        let lowered = open_files.and_then(|limit| fit(&mut config, limit, beside, workers));
        Ok(Plan { listen, names, balancers, config, workers, demo, open_files, lowered })
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
        for (service, endpoints) in self.names.services() {
            let list: Vec<_> = endpoints.iter().map(shown).collect();
            let _ = writeln!(text, "service  {service} = {}", list.join(", "));
        }
        let _ = writeln!(text, "balance  {}", self.balancers.otherwise.name);
        for (service, _) in self.names.services() {
            if let Some(Balancing { name, .. }) = self.balancers.of.get(service) {
                let _ = writeln!(text, "balance  {name} for {service}");
            }
        }
        let _ = writeln!(text, "memory   {}", ceiling(&self.config));
        if let (2.., Ok(share)) = (self.workers, self.config.share(self.workers)) {
            let (count, each) = (self.workers, ceiling(&share));
            let _ = writeln!(text, "workers  {count}, and of that for each: {each}");
        }
        if let Some(limit) = self.open_files {
            let _ = writeln!(text, "files    {} may be open", grouped(limit));
        }
        if let Some(line) = &self.lowered {
            let _ = writeln!(text, "note     {line}");
        }
        text
    }
}

fn resolve(
    draft: &Draft,
    lookup: impl FnMut(&str) -> io::Result<Vec<IpAddr>>,
) -> Result<Names, String> {
    let routes = draft.services.iter().map(|service| service.route.clone()).collect();
    Names::resolve(routes, lookup).map_err(|error| {
        let mut services = draft.services.iter();
        let service = services.find(|service| service.route.service == error.service);
        match service.and_then(|service| service.places.get(error.index)) {
            Some(at @ At::File { .. }) => at.says(error.why),
            _ => one_line(error),
        }
    })
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

/// Lowers the number of connections to what `limit` descriptors allow, of which `beside` are needed
/// for other things, and says so. Every worker keeps one connection at least.
fn fit(config: &mut Config, limit: u64, beside: u64, workers: usize) -> Option<String> {
    let asked = config.max_connections as u64;
    let possible = (limit.saturating_sub(beside) / FILES_PER_CONNECTION).max(workers as u64);
    if asked <= possible {
        return None;
    }
    config.max_connections = usize::try_from(possible).unwrap_or(usize::MAX);
    let needed = asked.saturating_mul(FILES_PER_CONNECTION).saturating_add(beside);
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
    // In whole numbers: to print a float is 12 KB of program. Halves go to the even one.
    let (tenths, rest) = (bytes / unit * 10 + bytes % unit * 10 / unit, bytes % unit * 10 % unit);
    let tenths = tenths + u64::from(2 * rest > unit || (2 * rest == unit && tenths % 2 == 1));
    format!("{}.{} {name}", tenths / 10, tenths % 10)
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

    /// A resolver with two names, of one address and of two.
    fn lookup(host: &str) -> io::Result<Vec<IpAddr>> {
        let found: &[[u8; 4]] = match host {
            "one" => &[[127, 0, 0, 1]],
            "two" => &[[127, 0, 0, 2], [127, 0, 0, 1]],
            _ => return Err(io::Error::other("name or service not known")),
        };
        Ok(found.iter().copied().map(IpAddr::from).collect())
    }

    fn with_file(line: &str, text: &str, open_files: Option<u64>) -> Result<Plan, String> {
        let args = line.split(' ').map(Into::into).collect();
        match cli::parse(args)? {
            Command::Run(settings) | Command::Check(settings) => {
                Plan::with(&settings, Some(text), lookup, open_files)
            }
            other => Err(format!("{other:?}")),
        }
    }

    fn plan(line: &str, open_files: Option<u64>) -> Result<Plan, String> {
        with_file(line, "", open_files)
    }

    #[test]
    fn b1_5_what_cannot_be_resolved_is_named() {
        for (line, said) in [
            ("a/v1=nosuch:80", "a/v1: nosuch:80: cannot resolve the name: name or service not"),
            ("a/v1=one:80;weight=1,two:80;weight=2", "127.0.0.1:80 has two weights, 1 and 2"),
        ] {
            let error = plan(line, None).err().unwrap_or_default();
            assert!(error.contains(said), "{line}: {error:?}");
        }
    }

    const FILE: &str = "\
listen = [\"127.0.0.1:1\", \"unix:/run/p\"]
balance = \"p2c\"
connect = \"2s\"
[services.\"b/v1\"]
endpoints = [\"one:80\", \"two:81\"]
balance = \"least\"
[services.\"*\"]
endpoints = [\"unix:/run/a\"]
";

    #[test]
    fn b1_4_arguments_override_the_file() {
        let first_lines = |line: &str| {
            let summary = with_file(line, FILE, None).unwrap().summary();
            let lines: Vec<_> = summary.lines().filter(|l| !l.starts_with("memory")).collect();
            lines.join("\n").replace("   ", " ").replace("  ", " ")
        };
        let listens = "listen 127.0.0.1:1\nlisten unix:/run/p\n";
        let services = "service b/v1 = 127.0.0.1:80, 127.0.0.2:81, 127.0.0.1:81\n\
                        service * = unix:/run/a\n";
        let own = "\nbalance least for b/v1";
        assert_eq!(first_lines("-c f"), format!("{listens}{services}balance p2c{own}"));
        assert_eq!(
            first_lines("-l [::]:1 -c f --balance hash"),
            format!("listen [::]:1\n{services}balance hash{own}")
        );
        assert_eq!(
            first_lines("-c f b/v1=one:5 c/v1=one:1"),
            format!(
                "{listens}service b/v1 = 127.0.0.1:5\nservice * = unix:/run/a\n\
                 service c/v1 = 127.0.0.1:1\nbalance p2c{own}"
            )
        );
        for (line, connect_ms) in [("-c f", 2_000), ("--connect 3s -c f", 3_000)] {
            let config = with_file(line, FILE, None).unwrap().config;
            assert_eq!(config, Config { connect_ms, ..Config::default() }, "{line}");
        }
    }

    #[test]
    fn b1_5_what_is_wrong_in_a_file_is_named_with_its_place() {
        let endpoints = |list: &str| format!("[services.\"a/v1\"]\nendpoints = [{list}]\n");
        let good = endpoints("\"one:1\"");
        for (line, text, said) in [
            (
                "-c f",
                String::new(),
                "f: no service: write [services.\"name/version\"], endpoints = [...]",
            ),
            (
                "-c f",
                endpoints("\"one:1\",\n  \"nosuch:1\""),
                "f:3:3: services.\"a/v1\".endpoints: nosuch:1: cannot resolve the name: name or \
                 service not known",
            ),
            (
                "-c f",
                endpoints("\"one:1\", \"two:1;weight=2\""),
                "f:2:23: services.\"a/v1\".endpoints: 127.0.0.1:1 has two weights, 1 and 2",
            ),
            (
                "-c f",
                format!("via = true\nmax-head = '2MiB'\nbuffer = '8KiB'\n{good}"),
                "f:2:12: max-head: 2097152 is too large; at most 1048576",
            ),
            (
                "-c f --buffer 8MiB",
                format!("memory = '8MiB'\n{good}"),
                "memory 8388608 is too small for 16 requests at once; with buffer 8388608 and \
                 max-head 32768 it takes 268435456 bytes",
            ),
        ] {
            assert_eq!(with_file(line, &text, None).err().unwrap_or_default(), said, "{text}");
        }
        // In between they contradict each other.
        let fits = format!("buffer = '8MiB'\nmemory = '1GiB'\n{good}");
        assert!(with_file("-c f", &fits, None).is_ok());
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
    fn b9_5_workers_take_descriptors_too() {
        for (limit, connections) in [(2032 + 10, 1000), (2032 + 9, 999), (3, 3)] {
            let line = "--workers 3 --max-connections 1000 a/v1=one:80";
            assert_eq!(plan(line, Some(limit)).unwrap().config.max_connections, connections);
        }
        assert!(plan("--workers 3 --max-connections 2 a/v1=one:80", None).is_err());
    }

    #[test]
    fn b1_4_check_says_what_would_run() {
        let plan = plan("--check a/v1=one:80 *=two:81;weight=2", Some(20_000)).unwrap();
        assert_eq!(
            plan.summary(),
            "listen   127.0.0.1:9090\n\
             service  a/v1 = 127.0.0.1:80\n\
             service  * = 127.0.0.2:81;weight=2, 127.0.0.1:81;weight=2\n\
             balance  random\n\
             memory   max 9,984 connections x 1 KiB + 64 MiB of buffers = 73.8 MiB\n\
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
            (1_310_720, "1.2 MiB"),
            (1_415_577, "1.3 MiB"),
            (1_415_578, "1.4 MiB"),
            (1_441_792, "1.4 MiB"),
            (3 << 30, "3 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
