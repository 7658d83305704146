//! The corpus of `tests/corpus`: every known way to make two readers of HTTP/1.1 disagree, and what
//! is odd and right, played on real sockets (`B7.1` to `B7.9`, `B8.6`).
//!
//! Each file is a test, so that they run side by side. What the files say is in their README.md.
//! This file only finds them.

use std::collections::BTreeSet;
use std::path::PathBuf;

mod format;
mod stage;
mod verdict;
mod ways;

/// How many cases there are at least.
const CASES: usize = 400;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// Plays every case of one file.
fn play(file: &str) {
    let cases = format::read(&folder().join(file)).unwrap_or_else(|why| panic!("{why}"));
    let only = std::env::var("CORPUS_CASE").unwrap_or_default();
    let cases: Vec<_> = cases.iter().filter(|case| case.name.contains(&only)).collect();
    let (mut wrong, mut runs, doors) = (Vec::new(), 0, stage::Doors::new());
    for case in &cases {
        match verdict::play(case, &doors) {
            Ok(ways) => runs += ways,
            Err(why) => wrong.push(why),
        }
    }
    println!("{file}: {} cases, played in {runs} ways", cases.len());
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// A test for each file, and the list of them.
macro_rules! files {
    ($($test:ident: $file:literal,)*) => {
        const FILES: &[&str] = &[$($file),*];
        $(
            #[test]
            fn $test() {
                play($file);
            }
        )*
    };
}

files! {
    b7_1_corpus_cl_and_te: "requests/cl-and-te.txt",
    b7_1_corpus_lengths: "requests/lengths.txt",
    b7_1_corpus_chunks: "requests/chunks.txt",
    b7_1_corpus_lines: "requests/lines.txt",
    b7_1_corpus_start_lines: "requests/start-lines.txt",
    b7_1_corpus_targets: "requests/targets.txt",
    b7_1_corpus_hosts: "requests/hosts.txt",
    b7_1_corpus_sizes: "requests/sizes.txt",
    b7_2_corpus_answers_lines: "responses/lines.txt",
    b7_2_corpus_answers_lengths: "responses/lengths.txt",
    b7_2_corpus_answers_chunks: "responses/chunks.txt",
    b7_2_corpus_answers_ends: "responses/ends.txt",
    b7_2_corpus_answers_queue: "responses/queue.txt",
    b7_2_corpus_answers_sizes: "responses/sizes.txt",
    b7_7_corpus_answers_interim: "responses/interim.txt",
    b7_4_corpus_fields: "requests/fields.txt",
    b7_6_corpus_pipelines: "requests/pipelines.txt",
    b7_7_corpus_continue: "both/continue.txt",
    b7_8_corpus_upgrade: "both/upgrade.txt",
}

/// Every file is played, every name is there once, and there are enough of them.
#[test]
fn b7_the_corpus_is_whole() {
    let mut found = BTreeSet::new();
    for part in ["requests", "responses", "both"] {
        for entry in std::fs::read_dir(folder().join(part)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            found.insert(format!("{part}/{name}"));
        }
    }
    let played: BTreeSet<String> = FILES.iter().map(|file| (*file).to_owned()).collect();
    assert_eq!(found, played, "files that are there, and files that are played");
    let (mut names, mut twice, mut bytes) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    for file in FILES {
        for case in format::read(&folder().join(file)).unwrap_or_else(|why| panic!("{why}")) {
            let same = format!("{:?} {:?} {:?}", case.with, case.client, case.origin);
            if !names.insert(case.name.clone()) || !bytes.insert(same) {
                twice.push(format!("{}: {}", case.place, case.name));
            }
        }
    }
    assert!(twice.is_empty(), "there twice, by name or by bytes:\n{}", twice.join("\n"));
    assert!(names.len() >= CASES, "{} cases, {CASES} are wanted", names.len());
}
