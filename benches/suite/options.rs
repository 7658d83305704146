//! The command line.

use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
Usage: cargo bench --bench suite -- [OPTIONS] [SCENARIO]...

CPU time, throughput, latency, system calls, instructions and memory of pointsman and of nginx,
HAProxy, Caddy and a Go proxy, in front of an origin and behind a load of our own, on 127.0.0.1.
Without a scenario: all of them, about half an hour.

  --list             the scenarios and the proxies, and nothing else
  --only NAME,NAME   these proxies only, each with its variants
  --exact NAME,NAME  these proxies only, without variants
  --ask NAME,NAME    cpu, apart, syscalls, instructions, idle, start only
  --rounds N         alternating rounds (5)
  --seconds S        of a round (1)
  --quick            all, but short: does it work? The figures are worth little
  --pointsman FILE   this program in place of the one built here
  --also NAME=FILE   another pointsman beside it, as pointsman-NAME; repeatable
  --write            adds to docs/benchmarks/results.tsv and writes docs/benchmarks.md anew
  --page             only writes the page anew
  --keep             leaves configurations and logs where they are
  --no-install       does without what is missing
  --help             this
";

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) scenarios: Vec<String>,
    pub(crate) only: Vec<String>,
    pub(crate) exact: Vec<String>,
    pub(crate) asks: Vec<String>,
    pub(crate) rounds: Option<usize>,
    pub(crate) seconds: Option<f64>,
    pub(crate) pointsman: Option<PathBuf>,
    pub(crate) also: Vec<(String, PathBuf)>,
    pub(crate) quick: bool,
    pub(crate) list: bool,
    pub(crate) write: bool,
    pub(crate) page: bool,
    pub(crate) keep: bool,
    pub(crate) no_install: bool,
    pub(crate) help: bool,
}

impl Options {
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg}: a value is missing"));
            let wrong = || format!("{arg}: not a number");
            match arg.as_str() {
                // Cargo's own.
                "--bench" => {}
                "--list" => options.list = true,
                "--only" => options.only.extend(value()?.split(',').map(str::to_owned)),
                "--exact" => options.exact.extend(value()?.split(',').map(str::to_owned)),
                "--ask" => options.asks.extend(value()?.split(',').map(str::to_owned)),
                "--rounds" => options.rounds = Some(value()?.parse().map_err(|_| wrong())?),
                "--seconds" => options.seconds = Some(value()?.parse().map_err(|_| wrong())?),
                "--quick" => options.quick = true,
                "--pointsman" => options.pointsman = Some(value()?.into()),
                "--also" => {
                    let (name, file) = value()?.split_once('=').ok_or("--also NAME=FILE")?;
                    options.also.push((name.to_owned(), file.into()));
                }
                "--write" => options.write = true,
                "--page" => options.page = true,
                "--keep" => options.keep = true,
                "--no-install" => options.no_install = true,
                "--help" | "-h" => options.help = true,
                other if other.starts_with('-') => {
                    return Err(format!("{other}: not an option; see --help"));
                }
                scenario => options.scenarios.push(scenario.to_owned()),
            }
        }
        Ok(options)
    }

    pub(crate) fn wants_scenario(&self, name: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|wanted| wanted == name)
    }

    /// A name stands for its variants, too.
    pub(crate) fn wants_peer(&self, name: &str) -> bool {
        let family = |wanted: &String| {
            name.strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let all = self.only.is_empty() && self.exact.is_empty();
        all || self.only.iter().any(family) || self.exact.iter().any(|wanted| wanted == name)
    }

    pub(crate) fn wants_ask(&self, name: &str) -> bool {
        self.asks.is_empty() || self.asks.iter().any(|wanted| wanted == name)
    }
}
