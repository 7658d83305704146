//! From the words of a command line to what the program shall do.
//!
//! [`parse`] is pure: it reads no file, asks no resolver and opens no socket, so that every
//! argument, good or bad, is a row of a table in the tests. This file knows the names of the
//! options; what their values mean is the library's business.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;

use lexopt::{Arg, Parser};
use pointsman::{Config, RouteSpec};

use crate::demo;
use crate::draft::{At, Balancing, Draft, Service, meant, one_line};

/// What to say when there is nothing to do.
pub(crate) const USAGE: &str = "\
Usage: pointsman [OPTIONS] ROUTE=ENDPOINT[,ENDPOINT]...
       pointsman [OPTIONS] --config FILE
       pointsman serviceone/v1=localhost:9091,localhost:9092
       pointsman --demo

`pointsman --help` explains every option.
";

const ARGUMENTS: &str = "
  ROUTE     service/version: a request for /service/version/rest reaches the endpoint as /rest.
            *: the catch-all, which cuts nothing. A more specific route wins.
  ENDPOINT  host:port, [v6]:port, unix:/path or http://host:port/base?fixed=query, each with an
            optional ;weight=N (1). Every address that a name has is an endpoint.
";

pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:9090";
pub(crate) const DEFAULT_BALANCE: &str = "random";

/// The options that are not keys of [`Config`]: name, how it is written, default, one line of help.
const OPTIONS: [(&str, &str, &str, &str); 8] = [
    ("listen", "-l, --listen ADDR", DEFAULT_LISTEN, "v4:port, [v6]:port or unix:/path; repeatable"),
    ("config", "-c, --config FILE", "", "a file in TOML that says more; arguments override it"),
    ("balance", "    --balance NAME", DEFAULT_BALANCE, BALANCERS),
    ("workers", "    --workers N", "1", "threads that serve, each with its share of the limits"),
    ("demo", "    --demo", "", "start two sample backends and proxy /serviceone/v1/ to them"),
    ("check", "    --check", "", "check everything, print what would run, and exit"),
    ("help", "-h, --help", "", "print this and exit"),
    ("version", "-V, --version", "", "print the version and exit"),
];

const BALANCERS: &str = "random, p2c, round-robin, least, hash or hash:Field-Name";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Command {
    Run(Settings),
    Check(Settings),
    Help,
    Version,
    /// Neither a route nor `--demo`: there is nothing to proxy.
    Usage,
}

/// What to run: the file is not read yet, no name is resolved.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The file that says more.
    pub(crate) file: Option<PathBuf>,
    /// What the arguments say. They are right where the file says something else.
    pub(crate) said: Draft,
    pub(crate) demo: bool,
}

/// Reads the arguments, without the program's own name. An error is one line that names the
/// argument.
pub(crate) fn parse(args: Vec<OsString>) -> Result<Command, String> {
    let mut parser = Parser::from_args(args);
    let mut reading = Reading::default();
    while let Some(arg) = parser.next().map_err(one_line)? {
        let name = match arg {
            Arg::Value(word) => {
                reading.route(&utf8(word)?)?;
                continue;
            }
            Arg::Short('l') => "listen",
            Arg::Short('c') => "config",
            Arg::Short('h') => "help",
            Arg::Short('V') => "version",
            Arg::Short(letter) => return Err(one_line(format!("unknown option -{letter}"))),
            Arg::Long(name) => known(name)?,
        };
        reading.once(name)?;
        match name {
            "help" => return Ok(Command::Help),
            "version" => return Ok(Command::Version),
            "demo" => reading.demo = true,
            "check" => reading.check = true,
            "config" => reading.file = Some(parser.value().map_err(one_line)?.into()),
            _ => reading.set(name, &utf8(parser.value().map_err(one_line)?)?)?,
        }
    }
    reading.finish()
}

/// The text of `--help`.
pub(crate) fn help() -> String {
    let settings: Vec<_> = Config::keys()
        .map(|(key, default, help)| (format!("    --{key} VALUE"), default, help))
        .collect();
    let widest = settings.iter().map(|(left, ..)| left.len()).max().unwrap_or(0);
    let width = OPTIONS.iter().map(|(_, left, ..)| left.len()).fold(widest, usize::max);
    let mut text = format!(
        "pointsman {}: a reverse proxy for HTTP/1.1 that loses no request\n\n",
        env!("CARGO_PKG_VERSION")
    );
    text.push_str(USAGE.split("\n\n").next().unwrap_or(USAGE));
    text.push('\n');
    text.push_str(ARGUMENTS);
    text.push_str("\nOptions (default):\n");
    for (_, left, default, help) in OPTIONS {
        row(&mut text, width, left, default, help);
    }
    text.push_str("\nLimits, times and fields (default):\n");
    for (left, default, help) in &settings {
        row(&mut text, width, left, default, help);
    }
    text.push_str(
        "\nRUST_LOG sets the log level (info). Exit: 0 done, 1 failed or cut, 2 wrong argument.\n",
    );
    text
}

fn row(text: &mut String, width: usize, left: &str, default: &str, help: &str) {
    let _ = write!(text, "  {left:width$}  {help}");
    if !default.is_empty() {
        let _ = write!(text, " ({default})");
    }
    text.push('\n');
}

/// The settings while the arguments are being read.
#[derive(Default)]
struct Reading {
    file: Option<PathBuf>,
    said: Draft,
    demo: bool,
    check: bool,
    seen: Vec<&'static str>,
}

impl Reading {
    fn once(&mut self, name: &'static str) -> Result<(), String> {
        if self.seen.contains(&name) {
            return Err(format!("--{name} is given twice"));
        }
        if name != "listen" {
            self.seen.push(name);
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let at = At::Argument(format!("--{name}"));
        match name {
            "listen" => self.said.listen(value, &at),
            "balance" => {
                self.said.balancing = Some(Balancing::read(value, &at)?);
                Ok(())
            }
            "workers" => self.said.workers(value, at),
            key => self.said.set(key, value, at),
        }
    }

    fn route(&mut self, text: &str) -> Result<(), String> {
        let at = At::Argument("ROUTE".to_owned());
        let route: RouteSpec = text.parse().map_err(|why| at.refuses(text, why))?;
        if self.said.services.iter().any(|known| known.route.service == route.service) {
            return Err(at.refuses(text, format!("{} is given twice", route.service)));
        }
        let places = vec![at; route.endpoints.len()];
        self.said.services.push(Service { route, places, balancing: None });
        Ok(())
    }

    fn finish(mut self) -> Result<Command, String> {
        if self.said.services.is_empty() && !self.demo && self.file.is_none() {
            return Ok(Command::Usage);
        }
        if self.demo {
            self.route(demo::ROUTE)?;
        }
        let Reading { file, said, demo, check, .. } = self;
        let settings = Settings { file, said, demo };
        Ok(if check { Command::Check(settings) } else { Command::Run(settings) })
    }
}

/// The option called `name`, or an error with the nearest one.
fn known(name: &str) -> Result<&'static str, String> {
    if let Some(same) = names().find(|known| *known == name) {
        return Ok(same);
    }
    let hint = meant(name, names()).map(|known| format!("; did you mean --{known}?"));
    Err(one_line(format!("unknown option --{name}{}", hint.unwrap_or_default())))
}

/// Every long option.
fn names() -> impl Iterator<Item = &'static str> {
    OPTIONS.into_iter().map(|(name, ..)| name).chain(Config::keys().map(|(key, ..)| key))
}

fn utf8(word: OsString) -> Result<String, String> {
    word.into_string().map_err(|word| format!("argument {word:?} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    /// Arguments are separated by spaces; `~` stands for a space inside of one.
    fn read(line: &str) -> Result<Command, String> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        parse(words.map(|word| word.replace('~', " ").into()).collect())
    }

    const A: &str = "a/v1=127.0.0.1:9091";

    #[test]
    fn b1_4_good_arguments() {
        for (line, listens, routes) in [
            ("A", 0, 1),
            ("a/v1=localhost:9091,localhost:9092", 0, 1),
            ("A b/v1=127.0.0.1:1 *=[::1]:2", 0, 3),
            ("A a/v2=127.0.0.1:9091", 0, 2),
            ("a/v1=unix:/run/a.sock", 0, 1),
            ("a/v1=http://localhost:80/base?fixed=query", 0, 1),
            ("a/v1=localhost:1;weight=3,localhost:2", 0, 1),
            ("A -c x", 0, 1),
            ("--config=x --connect 2s", 0, 0),
            ("-l 127.0.0.1:1 A", 1, 1),
            ("-l127.0.0.1:1 A", 1, 1),
            ("A --listen=[::1]:1 --listen 127.0.0.1:1", 2, 1),
            ("-l unix:/run/p.sock -l 127.0.0.1:1 A", 2, 1),
            ("-l 127.0.0.1:0 -l 127.0.0.1:0 A", 2, 1),
            ("--balance p2c A", 0, 1),
            ("--balance=random A", 0, 1),
            ("--connect 2s A", 0, 1),
            ("--workers 2 A", 0, 1),
            ("A --connect=2s --max-connections 7 --buffer 8KiB --memory 1MiB", 0, 1),
            ("--via on --forwarded off --host endpoint --trusted 10.0.0.0/8 A", 0, 1),
            ("--demo", 0, 1),
            ("--demo A", 0, 2),
            ("--demo -l 127.0.0.1:1", 1, 1),
            ("-- A", 0, 1),
        ] {
            let command = read(&line.replace('A', A)).unwrap_or_else(|e| panic!("{line}: {e}"));
            let Command::Run(Settings { said, .. }) = command else {
                panic!("{line}: {command:?}")
            };
            assert_eq!((said.listen.len(), said.services.len()), (listens, routes), "{line}");
        }
    }

    #[test]
    fn b1_4_commands() {
        let is = |line: &str, right: fn(&Command) -> bool| {
            let command = read(&line.replace('A', A)).unwrap_or_else(|e| panic!("{line}: {e}"));
            assert!(right(&command), "{line}: {command:?}");
        };
        for line in ["-h", "--help", "--demo -h", "A --help --nonsense"] {
            is(line, |command| matches!(command, Command::Help));
        }
        for line in ["-V", "--version", "A -V"] {
            is(line, |command| matches!(command, Command::Version));
        }
        for line in ["--check A", "A --check", "--check --demo"] {
            is(line, |command| matches!(command, Command::Check(_)));
        }
        for line in ["", "-l 127.0.0.1:1", "--check", "--connect 2s"] {
            is(line, |command| matches!(command, Command::Usage));
        }
    }

    /// What is wrong, and what the line that says so must name.
    const WRONG: &[(&str, &str)] = &[
        ("--nonsense A", "--nonsense"),
        ("--conect 1s A", "--conect; did you mean --connect?"),
        ("--max-conn 1 A", "--max-conn; did you mean --max-connections?"),
        ("--trustd 10.0.0.0/8 A", "--trustd; did you mean --trusted?"),
        ("--Demo", "--Demo; did you mean --demo?"),
        ("--verson", "--verson; did you mean --version?"),
        ("--listen_addr 127.0.0.1:1 A", "--listen_addr"),
        ("-x A", "-x"),
        ("-lx A", "\"x\""),
        ("A -", "\"-\""),
        ("--demo=yes", "--demo"),
        ("--check=1 A", "--check"),
        ("--check --check A", "--check is given twice"),
        ("--demo --demo", "--demo is given twice"),
        ("--connect 1s --connect 1s A", "--connect is given twice"),
        ("--balance p2c --balance p2c A", "--balance is given twice"),
        ("A -l", "-l"),
        ("A --listen", "--listen"),
        ("A --balance", "--balance"),
        ("A --connect", "--connect"),
        ("-l 9090 A", "--listen \"9090\""),
        ("-l 127.0.0.1 A", "--listen \"127.0.0.1\""),
        ("-l 127.0.0.1:99999 A", "--listen \"127.0.0.1:99999\""),
        ("-l 127.0.0.256:80 A", "--listen \"127.0.0.256:80\""),
        ("-l ::1:x A", "--listen \"::1:x\""),
        ("-l unix: A", "--listen \"unix:\""),
        ("-l= A", "--listen \"\""),
        ("-l A --demo", "--listen \"a/v1=127.0.0.1:9091\""),
        ("-l 127.0.0.1:1 -l 127.0.0.1:1 A", "--listen \"127.0.0.1:1\": is given twice"),
        ("--balance best A", "--balance \"best\""),
        ("--balance= A", "--balance \"\""),
        ("--balance --demo", "--balance \"--demo\""),
        ("--workers 0 A", "--workers \"0\""),
        ("--workers 257 A", "--workers \"257\""),
        ("--workers two A", "--workers \"two\": takes a number from 1 to 256"),
        ("--workers -1 A", "--workers \"-1\""),
        ("--workers 2 --workers 2 A", "--workers is given twice"),
        ("--connect soon A", "--connect \"soon\""),
        ("--connect -1s A", "--connect \"-1s\""),
        ("--connect= A", "--connect \"\""),
        ("--connect ~ A", "--connect \" \""),
        ("--max-connections many A", "--max-connections \"many\""),
        ("--max-connections 0 A", "--max-connections \"0\""),
        ("--max-connections 1.5 A", "--max-connections \"1.5\""),
        ("--memory lots A", "--memory \"lots\""),
        ("--via maybe A", "--via \"maybe\""),
        ("--forwarded never A", "--forwarded \"never\""),
        ("--host nobody A", "--host \"nobody\""),
        ("--trusted friends A", "--trusted \"friends\""),
        ("a", "ROUTE \"a\""),
        ("localhost:9091", "ROUTE \"localhost:9091\""),
        ("=localhost:9091", "ROUTE \"=localhost:9091\""),
        ("a=localhost:9091", "ROUTE \"a=localhost:9091\""),
        ("a/=localhost:9091", "ROUTE \"a/=localhost:9091\""),
        ("/v1=localhost:9091", "ROUTE \"/v1=localhost:9091\""),
        ("a/b/c=localhost:9091", "ROUTE \"a/b/c=localhost:9091\""),
        ("a/v1=", "ROUTE \"a/v1=\""),
        ("a/v1=,", "ROUTE \"a/v1=,\""),
        ("a/v1=localhost", "ROUTE \"a/v1=localhost\""),
        ("a/v1=localhost:", "ROUTE \"a/v1=localhost:\""),
        ("a/v1=localhost:port", "ROUTE \"a/v1=localhost:port\""),
        ("a/v1=localhost:65536", "ROUTE \"a/v1=localhost:65536\""),
        ("a/v1=:9091", "ROUTE \"a/v1=:9091\""),
        ("a/v1=unix:", "ROUTE \"a/v1=unix:\""),
        ("a/v1=https://localhost", "ROUTE \"a/v1=https://localhost\""),
        ("a/v1=localhost:1;weight=x", "ROUTE \"a/v1=localhost:1;weight=x\""),
        ("a/v1=localhost:1;weight=-1", "ROUTE \"a/v1=localhost:1;weight=-1\""),
        ("a/v1=localhost:1,", "ROUTE \"a/v1=localhost:1,\""),
        ("A A", "a/v1 is given twice"),
        ("*=localhost:1 *=localhost:2", "* is given twice"),
        ("--demo serviceone/v1=localhost:1", "serviceone/v1 is given twice"),
        ("a\nb\u{1b}[31m=c", "a\\nb\\u{1b}[31m=c"),
        ("--a\nb", "--a\\nb"),
    ];

    #[test]
    fn b1_5_a_wrong_argument_is_one_line_that_names_it() {
        for (line, named) in WRONG {
            let error = match read(&line.replace('A', A)) {
                Err(error) => error,
                Ok(command) => panic!("{line:?} was taken: {command:?}"),
            };
            assert!(error.contains(named), "{line:?}: {error}");
            assert!(!error.contains(char::is_control), "{line:?}: {error:?}");
        }
    }

    #[test]
    fn b1_5_arguments_that_are_not_utf8() {
        for (before, bytes) in
            [(None, &b"a\xff=b"[..]), (Some("--connect"), b"\xff"), (None, b"--conn\xffect")]
        {
            let bad = OsString::from_vec(bytes.to_vec());
            let error = parse(before.map(OsString::from).into_iter().chain([bad]).collect());
            assert!(error.is_err_and(|line| !line.contains('\n')), "{bytes:?}");
        }
    }

    #[test]
    fn b1_4_help_shows_every_option_and_its_default() {
        let help = help();
        for name in names() {
            assert!(help.contains(&format!("--{name} ")), "{name}");
        }
        for (key, default, _) in Config::keys() {
            assert!(help.contains(default), "{key}");
        }
        assert!(help.contains("(127.0.0.1:9090)") && help.contains("(random)"), "{help}");
        assert!(help.lines().all(|line| line.len() <= 110), "{help}");
    }
}
