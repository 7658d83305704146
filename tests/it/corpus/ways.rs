//! The ways to play a case: whole, cut in two at every byte, dripped.
//!
//! What a case writes down is cut; the request and the answer that it leaves to the stage are not.
//! This file does not know what the bytes mean.

use super::format::{Case, Piece, Script, Then, joined};

/// A message that is longer is not cut at every byte; README.md of the corpus says where.
const LONG_BYTES: usize = 1024;
/// In a long one: every byte this near to its ends, and two bytes around each multiple of that.
const EDGE_BYTES: usize = 16;
const PAGE_BYTES: usize = 4096;

/// One way to play a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Every piece as it is written in the file.
    Whole,
    /// This byte of what the client sends begins a new piece.
    CutClient(usize),
    /// This byte of what the origin sends begins a new piece.
    CutOrigin(usize),
    /// A byte at a time, from both.
    Dripped,
}

/// Every way to play `case`, the plainest first.
pub(super) fn of(case: &Case) -> Vec<Way> {
    let mut ways = vec![Way::Whole];
    if !case.plain_get {
        let points = points(joined(&case.client).len()).map(Way::CutClient);
        ways.extend(points.filter(|way| client(case, *way) != case.client));
    }
    let said = case.origin.iter().map(|script| script.bytes().len()).sum();
    ways.extend(points(said).map(Way::CutOrigin).filter(|way| !same(&scripts(case, *way), case)));
    ways.push(Way::Dripped);
    ways
}

fn same(scripts: &[Script], case: &Case) -> bool {
    let pairs = scripts.iter().zip(&case.origin);
    pairs.into_iter().all(|(a, b)| (&a.at_head, &a.at_end) == (&b.at_head, &b.at_end))
}

/// What the client sends when the case is played this way.
pub(super) fn client(case: &Case, way: Way) -> Vec<Piece> {
    match way {
        Way::CutClient(at) => split(&case.client, at),
        Way::Dripped if !case.plain_get => drip(&case.client),
        _ => case.client.clone(),
    }
}

/// What the origin says when the case is played this way.
pub(super) fn scripts(case: &Case, way: Way) -> Vec<Script> {
    let mut scripts = case.origin.clone();
    let mut left = match way {
        Way::CutOrigin(at) => at,
        _ => usize::MAX,
    };
    for pieces in scripts.iter_mut().flat_map(|s| [&mut s.at_head, &mut s.at_end]) {
        let len = joined(pieces).len();
        if way == Way::Dripped {
            *pieces = drip(pieces);
        } else if left <= len {
            *pieces = split(pieces, left);
            left = usize::MAX;
        } else {
            left -= len.min(left);
        }
    }
    scripts
}

/// Where `len` bytes are cut: before each of these. The last one is their end, where only an end of
/// the connection can be cut off.
fn points(len: usize) -> impl Iterator<Item = usize> {
    (1..=len).filter(move |&at| {
        let edge = at <= EDGE_BYTES || len - at <= EDGE_BYTES;
        let page = (at + 2) % PAGE_BYTES <= 4;
        len <= LONG_BYTES || edge || page
    })
}

fn split(pieces: &[Piece], at: usize) -> Vec<Piece> {
    let (mut out, mut before) = (Vec::new(), 0);
    for piece in pieces {
        let inside = at.checked_sub(before).filter(|&inside| inside > 0);
        before += piece.bytes.len();
        let closes = piece.then != Then::Settle;
        let cut = inside.filter(|&n| n < piece.bytes.len() || (closes && n == piece.bytes.len()));
        match cut {
            Some(n) => {
                let (first, second) = piece.bytes.split_at(n);
                let then = Then::Settle;
                out.push(Piece { bytes: first.to_vec(), then, ..piece.clone() });
                out.push(Piece { bytes: second.to_vec(), ..piece.clone() });
            }
            None => out.push(piece.clone()),
        }
    }
    out
}

/// A byte at a time; the middle of a long message in larger drops.
fn drip(pieces: &[Piece]) -> Vec<Piece> {
    let mut out = Vec::new();
    for piece in pieces {
        let len = piece.bytes.len();
        let mut at = 0;
        while at < len {
            let edge = len <= LONG_BYTES || at < EDGE_BYTES || len - at <= EDGE_BYTES;
            let drop = if edge { 1 } else { 509.min(len - EDGE_BYTES - at) };
            let bytes = piece.bytes[at..at + drop].to_vec();
            out.push(Piece { bytes, then: Then::Settle, late: piece.late });
            at += drop;
        }
        if piece.then != Then::Settle || len == 0 {
            out.push(Piece { bytes: Vec::new(), ..piece.clone() });
        }
    }
    out
}
