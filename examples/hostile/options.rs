//! The command line.

use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
Usage: cargo run --release --example hostile -- [OPTIONS]

How does pointsman bear those who mean harm? It is started anew for every siege, with an origin in
this process, on 127.0.0.1; nothing else is touched. Meanwhile well-behaved clients are measured.
Three to four minutes.

  --only NAME   one siege; repeatable
  --list        the names of all
  --program P   another build of pointsman than the one beside this
  --brief       the sieges that matter most, for less long; times are told and not judged
  --help        this

Exit: 0 all held, 1 something did not, 2 it could not be tried.
";

#[derive(Default)]
pub(crate) struct Options {
    only: Vec<String>,
    pub(crate) program: Option<PathBuf>,
    pub(crate) brief: bool,
    pub(crate) list: bool,
    pub(crate) help: bool,
}

impl Options {
    pub(crate) fn parse(args: &[String], names: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--only" => {
                    let name = args.next().ok_or("--only: a name is missing")?;
                    if !names.contains(&name.as_str()) {
                        return Err(format!("{name}: no such siege; see --list"));
                    }
                    options.only.push(name.clone());
                }
                "--program" => {
                    let path = args.next().ok_or("--program: a path is missing")?;
                    options.program = Some(path.into());
                }
                "--brief" => options.brief = true,
                "--list" => options.list = true,
                "--help" | "-h" => options.help = true,
                other => return Err(format!("{other}: not an option; see --help")),
            }
        }
        Ok(options)
    }

    pub(crate) fn wants(&self, name: &str, in_brief: bool) -> bool {
        if self.only.is_empty() {
            in_brief || !self.brief
        } else {
            self.only.iter().any(|o| o == name)
        }
    }
}
