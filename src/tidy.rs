//! The house rules as a test: floors, lengths, words that belong to one room.
//!
//! ```text
//!   0 ground    buf keys time rng hash inbox
//!   1 protocol  h1
//!   2 policy    endpoint spec names route registry balance health
//!   3 exchange  exchange config summary hooks
//!   4 engine    net engine
//!   5 shell     sys crew reactor proxy workers resolve
//! ```
//!
//! A module may name modules of its own floor and below. It reads the sources as text, so a rule
//! that is broken says file and line. It does not know what the code means.

use std::fs;
use std::path::{Path, PathBuf};

/// Top-level modules by floor. `config` and the policies are read by the floor above them only.
const FLOORS: [&[&str]; 6] = [
    &["buf", "keys", "time", "rng", "hash", "inbox"],
    &["h1"],
    &["endpoint", "spec", "names", "route", "registry", "balance", "health"],
    &["exchange", "config", "summary", "hooks"],
    &["net", "engine"],
    &["sys", "alarm", "reactor", "proxy", "crew", "workers", "resolve"],
];
/// What only tests are made of: it may know everything.
const TEST_HOUSE: [&str; 3] = ["fuzz", "sim", "tidy"];
/// The binary, below `src/bin`, sees the public API and its own files only.
const BINARY: &str = "bin";

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_COLUMNS: usize = 100;

struct Source {
    path: PathBuf,
    /// The top-level module it belongs to.
    module: String,
    /// The name of the file itself.
    stem: String,
    text: String,
}

impl Source {
    /// The lines before the tests at the end of the file, numbered from 1.
    fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let test = TEST_HOUSE.contains(&self.module.as_str()) || self.stem == "tests";
        let until = |line: &&str| line.trim_end() != "#[cfg(test)]";
        let lines = self.text.lines().take_while(until);
        lines.take(if test { 0 } else { usize::MAX }).enumerate().map(|(n, line)| (n + 1, line))
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

fn collect(dir: &Path, root: &Path, into: &mut Vec<Source>) {
    let mut entries: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, root, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let inside = path.strip_prefix(root).unwrap();
            let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
            let module = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            into.push(Source { path, module, stem, text });
        }
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut sources = Vec::new();
    if root.is_dir() {
        collect(&root, &root, &mut sources);
    }
    sources
}

fn everything() -> Vec<Source> {
    ["src", "tests", "examples", "benches"].into_iter().flat_map(sources).collect()
}

fn report(broken: &[String]) {
    assert!(broken.is_empty(), "house rules broken:\n{}", broken.join("\n"));
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The top-level modules that a line names: `crate::x` and `crate::{x, y}`.
fn named(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let inner = rest.strip_prefix('{').map_or(rest, |list| list.split('}').next().unwrap());
        let parts = if rest.starts_with('{') { inner.split(',').collect() } else { vec![inner] };
        for part in parts {
            let word = part.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next();
            names.extend(word.map(str::to_owned));
        }
    }
    names
}

#[test]
fn every_module_has_a_floor_and_knows_only_what_is_below() {
    let mut broken = Vec::new();
    for source in sources("src") {
        let module = source.module.as_str();
        if module == "lib" || TEST_HOUSE.contains(&module) || module == BINARY {
            continue;
        }
        let Some(floor) = floor_of(module) else {
            broken.push(format!("{}: no floor; give it a room in tidy.rs", source.at(1)));
            continue;
        };
        for (n, line) in source.production() {
            for name in named(line) {
                if floor_of(&name).is_some_and(|other| other > floor) {
                    broken.push(format!("{}: {module} must not know {name}", source.at(n)));
                }
            }
        }
    }
    report(&broken);
}

#[test]
fn reserved_words_stay_in_their_rooms() {
    // (word, modules that may use it, why)
    let rules: [(&str, &[&str], &str); 11] = [
        ("mio::", &["sys", "alarm", "reactor", "proxy"], "only the shell knows mio"),
        ("socket2::", &["sys"], "only sys makes sockets"),
        ("Instant::now", &["reactor"], "time is an argument"),
        ("SystemTime", &[], "time is an argument"),
        ("std::thread", &["demo", "life", "resolve", "workers"], "no thread unless asked for"),
        ("signal_hook", &["life"], "signals are the program's"),
        ("rustix", &["sys", "alarm", "upgrade"], "descriptors are the business of few rooms"),
        ("rand::", &["rng"], "chance is an argument"),
        (
            "log::",
            &["engine", "resolve", "main", "plan", "demo", "life", "reload"],
            "floors 0 to 3 do not log",
        ),
        ("RefCell", &[], "one owner, keys instead of references"),
        (".unwrap()", &[], "no panic on what a peer sent"),
    ];
    let mut broken = Vec::new();
    for source in sources("src") {
        for (n, line) in source.production() {
            let code = line.split("//").next().unwrap_or_default();
            for (word, rooms, why) in rules {
                // `operand::` is not `rand::`.
                let found = code.match_indices(word).any(|(at, _)| {
                    !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
                });
                let room = [source.module.as_str(), source.stem.as_str()];
                if found && !room.iter().any(|room| rooms.contains(room)) {
                    broken.push(format!("{}: {word}: {why}", source.at(n)));
                }
            }
            let banned = [concat!("TO", "DO"), concat!("FIX", "ME"), ".expect(", "panic!("];
            if let Some(word) = banned.into_iter().find(|word| line.contains(word)) {
                broken.push(format!("{}: {word}", source.at(n)));
            }
        }
    }
    report(&broken);
}

#[test]
fn files_functions_and_lines_are_short() {
    let mut broken = Vec::new();
    for source in everything() {
        let count = source.text.lines().count();
        if count > MAX_FILE_LINES {
            broken.push(format!("{}: {count} lines, {MAX_FILE_LINES} allowed", source.at(1)));
        }
        let mut begun: Option<(usize, usize)> = None;
        for (n, line) in source.text.lines().enumerate() {
            if line.chars().count() > MAX_COLUMNS {
                broken.push(format!("{}: more than {MAX_COLUMNS} columns", source.at(n + 1)));
            }
            let indent = line.len() - line.trim_start().len();
            let words: Vec<&str> = line.split_whitespace().take(4).collect();
            let opens = words.contains(&"fn") && !line.trim_start().starts_with("//");
            match begun {
                None if opens && !line.trim_end().ends_with([';', '}']) => {
                    begun = Some((n, indent))
                }
                Some((start, depth)) if indent == depth && line.trim_start().starts_with('}') => {
                    if n - start + 1 > MAX_FUNCTION_LINES {
                        let long = n - start + 1;
                        broken
                            .push(format!("{}: a function of {long} lines", source.at(start + 1)));
                    }
                    begun = None;
                }
                Some((_, depth)) if indent == depth && line.trim_end().ends_with(';') => {
                    begun = None
                }
                _ => {}
            }
        }
    }
    report(&broken);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |source: &Source| !source.text.starts_with("//!");
    let broken: Vec<_> =
        everything().iter().filter(|s| silent(s)).map(|s| format!("{}: no //!", s.at(1))).collect();
    report(&broken);
}

#[test]
fn the_binary_uses_the_public_api_alone() {
    let all = sources("src");
    let program: Vec<_> = all.iter().filter(|source| source.module == BINARY).collect();
    let mut broken = Vec::new();
    for source in &program {
        for (n, line) in source.production() {
            for name in named(line).iter().filter(|name| !program.iter().any(|s| s.stem == **name))
            {
                broken.push(format!("{}: {name} is not the binary's", source.at(n)));
            }
        }
    }
    assert!(program.len() > 1, "the program has moved");
    report(&broken);
}
