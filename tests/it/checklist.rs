//! The documents against the tests: every test that they name exists, and `supported-http.md`,
//! the standard as a checklist, has no empty cell, no row without a proof, and no deviation
//! without its reason.
//!
//! It reads text; whether a test proves its row is for the reader to judge.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

const CHECKLIST: &str = "docs/supported-http.md";
/// The first cells of the tables that are checked row by row.
const REQUIREMENT: [&str; 4] = ["Section", "It asks", "We", "Proof"];
const DEVIATION: [&str; 5] = ["No.", "RFC", "It asks", "We", "Why"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// Every document of the project.
fn documents() -> Vec<String> {
    let mut all = Vec::new();
    for folder in ["", "docs/"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().expect("a name");
            all.extend(name.ends_with(".md").then(|| format!("{folder}{name}")));
        }
    }
    all
}

/// Every function that carries `#[test]`, wherever it stands.
fn tests() -> HashSet<String> {
    fn collect(dir: &Path, into: &mut HashSet<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let mut lines = text.lines().map(str::trim);
                while let Some(line) = lines.next() {
                    if line != "#[test]" {
                        continue;
                    }
                    // Other attributes may stand in between.
                    let named = lines.find_map(|l| l.strip_prefix("fn "));
                    into.extend(named.and_then(|l| l.split('(').next()).map(str::to_owned));
                }
            }
        }
    }
    let mut all = HashSet::new();
    collect(&root().join("src"), &mut all);
    collect(&root().join("tests"), &mut all);
    all
}

/// What stands in backticks and could be the name of a test.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let snake = |word: &&str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        word.contains('_') && word.bytes().all(plain)
    };
    let ticked = text.split('`').skip(1).step_by(2);
    ticked.filter_map(|words| words.rsplit("::").next()).filter(snake)
}

/// Whether a name begins as those of tests do that name what they prove: `b4_2_`, `rfc9112_6_`.
fn is_named_by_a_line(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("rfc").or_else(|| name.strip_prefix('b')) else {
        return false;
    };
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let mut parts = rest.split('_');
    parts.next().is_some_and(number) && !parts.all(number)
}

/// The rows of all tables with these heads: number of the line, and cells.
fn rows<'a>(text: &'a str, heads: &[&str]) -> Vec<(usize, Vec<&'a str>)> {
    let mut rows = Vec::new();
    let mut inside = false;
    for (n, line) in text.lines().enumerate() {
        let Some(line) = line.strip_prefix('|').and_then(|l| l.strip_suffix('|')) else {
            inside = false;
            continue;
        };
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if cells == heads {
            inside = true;
        } else if inside && !cells.iter().all(|c| c.chars().all(|c| c == '-')) {
            rows.push((n + 1, cells));
        }
    }
    rows
}

/// The numbers of deviations that a text refers to: `D7`.
fn references(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|w| w.strip_prefix('D').is_some_and(|n| n.parse::<u32>().is_ok()))
}

fn report(broken: &[String]) {
    assert!(broken.is_empty(), "{} wrong:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn every_test_that_a_document_names_exists() {
    let tests = tests();
    assert!(tests.len() > 200, "the tests have moved: {} found", tests.len());
    let mut broken = Vec::new();
    let documents = documents();
    assert!(documents.len() > 10, "the documents have moved: {documents:?}");
    for document in documents {
        let checklist = document == CHECKLIST;
        for (n, line) in read(&document).lines().enumerate() {
            for name in names(line) {
                // Elsewhere other things stand in backticks, too.
                let meant = checklist || is_named_by_a_line(name);
                if meant && !tests.contains(name) {
                    broken.push(format!("{document}:{}: no test {name}", n + 1));
                }
            }
        }
    }
    report(&broken);
}

#[test]
fn every_requirement_has_its_proof_or_its_reason() {
    let (text, tests) = (read(CHECKLIST), tests());
    let deviations = rows(&text, &DEVIATION);
    let numbers: HashSet<&str> = deviations.iter().map(|(_, cells)| cells[0]).collect();
    let requirements = rows(&text, &REQUIREMENT);
    assert!(requirements.len() > 100, "only {} requirements found", requirements.len());
    let mut broken = Vec::new();
    let mut referred = HashSet::new();
    for (n, cells) in &requirements {
        if cells.len() != REQUIREMENT.len() || cells.iter().any(|c| c.is_empty()) {
            broken.push(format!("{CHECKLIST}:{n}: a cell is empty or too many: {cells:?}"));
            continue;
        }
        if !names(cells[3]).any(|name| tests.contains(name)) {
            broken.push(format!("{CHECKLIST}:{n}: no test proves {:?}", cells[1]));
        }
        for deviation in references(cells[2]) {
            referred.insert(deviation);
            if !numbers.contains(deviation) {
                broken.push(format!("{CHECKLIST}:{n}: there is no {deviation}"));
            }
        }
    }
    for (n, cells) in &deviations {
        if cells.len() != DEVIATION.len() || cells.iter().any(|c| c.is_empty()) {
            broken.push(format!("{CHECKLIST}:{n}: a deviation without a reason: {cells:?}"));
        } else if !referred.contains(cells[0]) {
            broken.push(format!("{CHECKLIST}:{n}: no requirement refers to {}", cells[0]));
        }
    }
    assert_eq!(numbers.len(), deviations.len(), "a number of a deviation stands twice");
    report(&broken);
}

/// No row of any table of the file may say that its test is still missing.
#[test]
fn no_row_waits_for_its_test() {
    let text = read(CHECKLIST);
    let open: Vec<_> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| {
            line.starts_with('|') && (line.contains("| — |") || line.contains(": —)"))
        })
        .map(|(n, line)| format!("{CHECKLIST}:{}: {line}", n + 1))
        .collect();
    report(&open);
}
