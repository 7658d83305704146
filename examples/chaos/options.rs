//! The command line.

use std::path::PathBuf;

use crate::proxies::Kind;

pub(crate) const USAGE: &str = "\
Usage: cargo run --release --example chaos -- [OPTIONS]

What do proxies lose while their backends die? Each one listed is started, with its own backends,
on 127.0.0.1; nothing else is touched. About five minutes.

  --only NAME      s1 to s10, or a row: s3-post, kill, reload...; repeatable
  --proxy NAME     pointsman, nginx, haproxy-safe, haproxy-all, caddy; repeatable
  --quick          less load, for less long
  --markdown FILE  the tables, in a file
  --keep           leave logs, configurations and ledgers where they are
  --help           this

Exit: 0 nobody lost less than pointsman, 1 somebody did, 2 it could not be tried.
";

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) only: Vec<String>,
    pub(crate) proxies: Vec<Kind>,
    pub(crate) quick: bool,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) keep: bool,
    pub(crate) help: bool,
}

impl Options {
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg}: a value is missing"));
            match arg.as_str() {
                "--only" => options.only.push(value()?.clone()),
                "--proxy" => options.proxies.push(kind(value()?)?),
                "--quick" => options.quick = true,
                "--markdown" => options.markdown = Some(value()?.into()),
                "--keep" => options.keep = true,
                "--help" | "-h" => options.help = true,
                other => return Err(format!("{other}: not an option; see --help")),
            }
        }
        Ok(options)
    }

    /// Whether a scenario is wanted: by its own name or that of one of its rows.
    pub(crate) fn wants(&self, names: &[&str]) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| names.contains(&only.as_str()))
    }
}

fn kind(name: &str) -> Result<Kind, String> {
    let known = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    known.ok_or_else(|| format!("{name}: not a proxy that is known here"))
}
