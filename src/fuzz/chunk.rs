//! Chunked bodies: the same data and the same end however they are cut, kept or stripped, and by
//! the second reader; what is kept, read again, gives the same data.
//!
//! ```text
//!   byte 0   where it is cut, see `cuts`; if it is odd, `Connection` names two trailers
//!   then     the body, and whatever stands behind it
//! ```

use super::chunks::{Chunks, chunked};
use super::{cuts, text};
use crate::h1::Bad;
use crate::h1::chunk::{Chunked, Judged, Wrapping};

/// Longer inputs say nothing new, but for the bounds of trailers.
const MAX_BYTES: usize = 12 * 1024;
/// Up to here every byte is a piece of its own; what is longer comes in larger pieces.
const MAX_DRIP_BYTES: usize = 512;

/// What came out of the scanner.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fed {
    kept: Vec<u8>,
    done: bool,
    /// Bytes that it has judged.
    judged: usize,
    bad: Option<Bad>,
}

/// Feeds `bytes` in pieces, as a buffer would: what was not judged stays and is shown again.
fn feed(wrapping: Wrapping, bytes: &[u8], ends: &[usize], named: bool) -> Fed {
    let mut body = Chunked::new(wrapping);
    if named {
        body.drop_trailers(NAMED.join(", ").into_bytes());
    }
    let mut fed = Fed { kept: Vec::new(), done: false, judged: 0, bad: None };
    for &end in ends {
        loop {
            let fresh = &bytes[fed.judged..end];
            match body.advance(fresh) {
                Ok(judged) if judged == Judged::default() => break,
                Ok(Judged { keep, skip }) => {
                    assert!(keep + skip <= fresh.len(), "more than there is");
                    fed.kept.extend_from_slice(&fresh[..keep]);
                    fed.judged += keep + skip;
                }
                Err(bad) => {
                    fed.bad = Some(bad);
                    return fed;
                }
            }
        }
    }
    fed.done = body.is_done();
    fed
}

/// What `Connection` names.
const NAMED: [&str; 2] = ["ETag", "X-Named"];
/// Some of the names that must never come as trailers, and some that are as good as any.
const NEVER: [&str; 12] = [
    "content-length",
    "transfer-encoding",
    "host",
    "connection",
    "trailer",
    "te",
    "upgrade",
    "authorization",
    "cookie",
    "set-cookie",
    "content-type",
    "x-forwarded-for",
];
const ALWAYS: [&str; 4] = ["x-sum", "etag", "server-timing", "a"];

fn is_named(name: &str) -> bool {
    NAMED.iter().any(|named| named.eq_ignore_ascii_case(name))
}

fn name(line: &[u8]) -> String {
    let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// What was kept is itself a body with the same content, and with trailers of the other one.
fn reread(fed: &Fed, second: &Chunks, bytes: &[u8], named: bool) {
    let shown = || text(bytes);
    let again = chunked(&fed.kept).unwrap_or_else(|why| panic!("kept, but {why}: {}", shown()));
    assert_eq!(again.data, second.data, "{}", shown());
    assert_eq!(again.done, second.done, "{}", shown());
    assert!(!again.done || again.len == fed.kept.len(), "more behind the end: {}", shown());
    let mut rest = second.trailers.iter();
    let stays = |name: &str| !(NEVER.contains(&name) || named && is_named(name));
    for line in &again.trailers {
        assert!(rest.any(|other| other == line), "a trailer from nowhere: {}", shown());
        assert!(stays(&name(line)), "{} passed: {}", name(line), shown());
    }
    let common = |lines: &[Vec<u8>]| {
        let names = lines.iter().map(|line| name(line));
        names.filter(|name| ALWAYS.contains(&name.as_str()) && stays(name)).count()
    };
    assert_eq!(common(&again.trailers), common(&second.trailers), "a trailer lost: {}", shown());
}

/// Judges one input.
pub fn run(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
    let second = chunked(bytes);
    let seeds = if bytes.len() <= MAX_DRIP_BYTES { [0, cut, 1] } else { [0, cut | 128, 128] };
    for seed in seeds {
        let ends = cuts(seed, bytes.len());
        let named = cut % 2 == 1;
        let keep = feed(Wrapping::Keep, bytes, &ends, named);
        let strip = feed(Wrapping::Strip, bytes, &ends, named);
        let shown = || format!("cut by {seed}: {}", text(bytes));
        assert_eq!((keep.bad, keep.done), (strip.bad, strip.done), "{}", shown());
        match &second {
            Err(why) => assert!(keep.bad.is_some(), "{why}, and not refused: {}", shown()),
            Ok(second) => {
                assert_eq!((keep.bad, keep.done), (None, second.done), "{}", shown());
                assert_eq!(strip.kept, second.data, "{}", shown());
                if second.done {
                    assert_eq!(
                        (keep.judged, strip.judged),
                        (second.len, second.len),
                        "{}",
                        shown()
                    );
                }
                reread(&keep, second, bytes, named);
            }
        }
    }
}
