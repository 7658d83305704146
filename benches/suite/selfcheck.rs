//! Whether the comparison of messages says no when it should: run before every measurement.
//!
//! A check that cannot fail is worth nothing, and this program has no test harness.

use std::io;

use crate::wire::{CYCLE, Framing, Known, Meta, Outgoing, Reader, bad};

const LENGTH: usize = 40;

/// Reads a message in the given pieces. `true` if it came to its end and was right.
fn read(pieces: &[&[u8]], framing: Framing, expected: u64) -> bool {
    let mut reader = Reader::new();
    let mut known = Known::default();
    let mut judge = |_: &[u8]| Ok(Meta { framing, tag: 0, expected, close: false });
    let mut ended = false;
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        match reader.feed(piece, &mut known, &mut judge) {
            Ok(end) => ended = end.is_some(),
            Err(_) => return false,
        }
    }
    ended
}

fn whole(outgoing: &Outgoing) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < outgoing.len() {
        let piece = outgoing.piece(bytes.len()).to_vec();
        bytes.extend_from_slice(&piece);
    }
    bytes
}

fn must(holds: bool, what: &str) -> io::Result<()> {
    if holds { Ok(()) } else { Err(bad(&format!("self-check: {what}"))) }
}

pub(crate) fn run() -> io::Result<()> {
    let length = LENGTH as u64;
    let framing = Framing::Length(length);
    let bytes = whole(&Outgoing::new("H\r\n\r\n", LENGTH, false));
    for at in 0..bytes.len() {
        let (one, two) = bytes.split_at(at);
        must(read(&[one, two], framing, length), "a right message, in two pieces")?;
    }
    must(!read(&[&bytes[..bytes.len() - 1]], framing, length), "a message without its end")?;
    let more = [&bytes[..], b"x"].concat();
    must(!read(&[&more], framing, length), "a byte too many")?;
    must(!read(&[&bytes], framing, length + 1), "a body of another length")?;
    for at in bytes.len() - LENGTH..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1;
        must(!read(&[&wrong], framing, length), "a wrong byte")?;
    }
    long()
}

/// Bodies of several cycles, by length and in chunks.
fn long() -> io::Result<()> {
    let body = 3 * CYCLE;
    let length = body as u64;
    for (chunked, framing) in [(false, Framing::Length(length)), (true, Framing::Chunked)] {
        let outgoing = Outgoing::new("H\r\n\r\n", body, chunked);
        let bytes = whole(&outgoing);
        must(bytes.len() == outgoing.len(), "as long as it says")?;
        for at in (0..bytes.len()).step_by(997).chain(bytes.len() - 9..bytes.len()) {
            let (one, two) = bytes.split_at(at);
            must(read(&[one, two], framing, length), "a long message, in two pieces")?;
        }
        let mut moved = bytes.clone();
        moved.copy_within(20_000 + CYCLE / 5..20_000 + CYCLE / 5 + 4_096, 20_000);
        must(!read(&[&moved], framing, length), "bytes of another place")?;
        must(!read(&[&bytes], framing, length + CYCLE as u64), "a cycle too few")?;
    }
    Ok(())
}
