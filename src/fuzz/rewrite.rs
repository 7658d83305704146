//! Heads as they go on: read again by the second reader, with exactly the lines that the contract
//! demands, one framing, and the framing that they came with. The buffer carries the plan out.
//!
//! ```text
//!   byte 0     even: a request, odd: a response          ('R', 'A')
//!   byte 1, 2  the circumstances, a bit each
//!   then       the head, and some of its body
//! ```

use std::net::IpAddr;

use super::expect::{self, Back, Stance, Way, compare};
use super::reader::{self, Framing, Head, Read};
use super::{BOUNDS, LIMITS, text};
use crate::buf::{Buf, HEADROOM};
use crate::h1::chunk::Wrapping;
use crate::h1::head::{empty_lines, parse_request, parse_response, slots};
use crate::h1::request::{self, Method};
use crate::h1::rewrite::{Changes, Forwarding, Plan, RequestWay, ResponseWay};
use crate::h1::{Version, response};

const MAX_BYTES: usize = 2048;
/// What a rewritten head may grow to is bounded by who wrote it, not by the grammar.
const NO_BOUNDS: reader::Bounds = reader::Bounds { head_bytes: 1 << 20, fields: 1 << 10, ..BOUNDS };
const TARGET: &[u8] = b"/base/rest?x=1";

const ADDED: [(&str, &str); 2] = [("X-New", "1"), ("x-new", "")];
const REMOVED: [&str; 3] = ["Cookie", "HOST", "Content-Length"];

fn changes(wanted: bool) -> (Vec<(&'static str, &'static str)>, Vec<&'static str>, Changes) {
    if !wanted {
        return (Vec::new(), Vec::new(), Changes::default());
    }
    let mut changes = Changes::default();
    for (name, value) in ADDED {
        changes.added.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    changes.removed = REMOVED.iter().map(ToString::to_string).collect();
    (ADDED.to_vec(), REMOVED.to_vec(), changes)
}

/// Carries a plan out twice: the obvious way, and in a buffer with `room` bytes to spare.
fn carry_out(plan: &Plan, bytes: &[u8], len: usize, room: usize) -> Vec<u8> {
    let mut out = plan.prefix.clone();
    let mut from = 0;
    for &(drop_from, drop_to) in &plan.drops {
        assert!(from <= drop_from as usize && drop_from <= drop_to, "drops out of order");
        out.extend_from_slice(&bytes[from..drop_from as usize]);
        from = drop_to as usize;
    }
    assert!(from <= len, "a drop beyond the head");
    out.extend_from_slice(&bytes[from..len]);
    let mut buf = Buf::default();
    buf.attach(vec![0xee; HEADROOM + bytes.len() + room].into());
    buf.space()[..bytes.len()].copy_from_slice(bytes);
    buf.filled(bytes.len());
    match buf.rewrite_head(len, &plan.drops, &plan.prefix) {
        Some(new_len) => {
            assert_eq!((new_len, buf.pending()), (out.len(), &out[..]), "{}", text(bytes));
            assert_eq!(buf.fresh(), &bytes[len..], "the body has changed: {}", text(bytes));
            again(&mut buf, new_len, &[&out, &bytes[len..]].concat());
        }
        None => {
            assert!(out.len() > HEADROOM + len + room, "there was room: {}", text(bytes));
            assert_eq!(buf.fresh(), bytes, "nothing was to change: {}", text(bytes));
        }
    }
    out
}

/// Another endpoint: some of it was written, and the start line changes once more; `all` is what
/// the buffer holds, the body is released by now.
fn again(buf: &mut Buf, len: usize, all: &[u8]) {
    buf.release(buf.fresh().len());
    buf.wrote(all.len() / 2);
    let line = all.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let new_line = b"HEAD /another/target HTTP/1.1\r\n";
    if buf.rewrite_head(len, &[(0, line as u32)], new_line).is_some() {
        let expected = [&new_line[..], &all[line..]].concat();
        assert_eq!(buf.pending(), expected, "the second time: {}", text(all));
    }
}

fn whole(read: Read<Head>, out: &[u8]) -> Head {
    match read {
        Read::Whole(head) if head.len == out.len() && head.skipped == 0 => head,
        other => panic!("goes on as {}, and that is {other:?}", text(out)),
    }
}

fn rewrite_request(bytes: &[u8], flags: [u8; 2]) {
    let bytes = &bytes[empty_lines(bytes)..];
    let (mut slots, mut plan) = (slots(), Plan::default());
    let Ok(Some(mut head)) = parse_request(bytes, &mut slots, &LIMITS) else { return };
    let Ok(facts) = request::read(&mut head, &mut Default::default()) else { return };
    let Read::Whole(came) = reader::request(bytes, &BOUNDS) else { return };
    let Ok(meaning) = reader::meaning(&came) else { return };
    let bit = |n: usize| flags[n / 8] >> (n % 8) & 1 == 1;
    let (added, removed, changes) = changes(bit(0));
    let address = if bit(1) { "::ffff:10.20.130.4" } else { "2001:db8::7" };
    let peer = bit(2).then(|| address.parse::<IpAddr>().ok()).flatten();
    let (stance, forwarding) = match flags[0] >> 3 & 3 {
        0 => (Stance::Off, Forwarding::Off),
        1 => (Stance::Replace, Forwarding::Replace),
        _ => (Stance::Append, Forwarding::Append),
    };
    // As the desk does: a host of ours where the client gave none.
    let host = (bit(5) || head.authority().is_none()).then_some(&b"endpoint:1"[..]);
    let way = RequestWay { host, peer, forwarding, via: bit(6), changes: Some(&changes) };
    plan.request(&head, &facts, &way, |out| out.extend_from_slice(TARGET));
    let out = carry_out(&plan, bytes, head.bytes.len(), usize::from(flags[1]) * 4);
    let goes = whole(reader::request(&out, &NO_BOUNDS), &out);
    let words = [&came.words[0][..], TARGET, b"HTTP/1.1"];
    assert_eq!(goes.words, words.map(<[u8]>::to_vec), "{}", text(&out));
    let way = Way {
        host: host.map(<[u8]>::to_vec),
        peer: peer.map(|peer| peer.to_canonical().to_string()),
        stance,
        via: bit(6),
        added,
        removed,
    };
    let compared = compare(&expect::request(&came, &meaning, &way), &goes.lines);
    assert_eq!(compared, Ok(()), "{}", text(bytes));
    let then = reader::meaning(&goes).map(|meaning| meaning.framing);
    assert_eq!(then, Ok(meaning.framing), "framing has changed: {}", text(bytes));
}

fn rewrite_response(bytes: &[u8], flags: [u8; 2]) {
    let bit = |n: usize| flags[n / 8] >> (n % 8) & 1 == 1;
    let (old_client, to_head, keep) = (bit(1), bit(2), bit(3));
    let wrapping = if old_client { Wrapping::Strip } else { Wrapping::Keep };
    let method = if to_head { Method::Head } else { Method::Get };
    let (mut slots, mut plan) = (slots(), Plan::default());
    let Ok(Some(head)) = parse_response(bytes, &mut slots, &LIMITS) else { return };
    let Ok(facts) = response::read(&head, method, wrapping) else { return };
    let Read::Whole(came) = reader::response(bytes, &BOUNDS) else { return };
    let Ok(framing) = reader::response_framing(&came, to_head) else { return };
    if facts.switches() && came.list("upgrade").is_empty() {
        // The relay never lets one pass that does not say to what.
        return;
    }
    let (added, removed, changes) = changes(bit(0) && facts.status >= 200);
    let client = if old_client { Version::Http10 } else { Version::Http11 };
    let way = ResponseWay { client, keep, via: bit(6), changes: Some(&changes) };
    let changed = plan.response(&head, &facts, &way);
    let len = head.bytes.len();
    let out = carry_out(&plan, bytes, len, usize::from(flags[1]) * 4);
    assert!(changed || out == bytes[..len], "said to be unchanged: {}", text(bytes));
    let goes = whole(reader::response(&out, &NO_BOUNDS), &out);
    let version = if old_client { "HTTP/1.0" } else { "HTTP/1.1" };
    let words = [version.as_bytes(), &came.words[1], &came.words[2]];
    assert_eq!(goes.words, words.map(<[u8]>::to_vec), "{}", text(&out));
    let way = Back { old_client, keep, via: bit(6), added, removed };
    let compared = compare(&expect::response(&came, framing, &way), &goes.lines);
    assert_eq!(compared, Ok(()), "{}", text(bytes));
    // The chunks are taken off for an old client, who then reads to the end.
    let expected = match framing {
        Framing::Chunked if old_client => Framing::UntilClose,
        other => other,
    };
    let then = reader::response_framing(&goes, to_head);
    assert_eq!(then, Ok(expected), "framing has changed: {}", text(bytes));
}

/// Judges one input.
pub fn run(data: &[u8]) {
    let Some((&[kind, a, b], bytes)) = data.split_first_chunk::<3>() else { return };
    let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
    if kind % 2 == 0 {
        rewrite_request(bytes, [a, b]);
    } else {
        rewrite_response(bytes, [a, b]);
    }
}
