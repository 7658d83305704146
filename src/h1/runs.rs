//! Runs of bytes: how long a name, a target or a text is.
//!
//! Where a run of ordinary bytes is expected, eight or sixteen are looked at in one step; the byte
//! that ends a run is judged alone. A run is short (names have 12 bytes, values 40), so what a loop
//! costs to set up counts more than what it costs for a byte. This file does not know lines.

use super::field::is_token_byte;

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = ONES * 0x80;

/// Marks the first byte of `word` that is below `least` (at most 0x80), or 0x7f. What it says of
/// bytes behind that one means nothing.
#[inline]
fn controls(word: u64, least: u8) -> u64 {
    let below = word.wrapping_sub(ONES * u64::from(least));
    let delete = (word ^ (ONES * 0x7f)).wrapping_sub(ONES);
    (below | delete) & !word & HIGH
}

/// Marks the first byte of `word` that is neither a letter nor a hyphen, of which names are made.
/// What it says of bytes behind that one means nothing.
#[inline]
fn unusual(word: u64) -> u64 {
    let folded = word | (ONES * 0x20);
    let below_a = (ONES * (0x80 + 0x60)).wrapping_sub(folded);
    let above_z = folded.wrapping_add(ONES * (0x80 - 0x7b));
    let no_hyphen = (word ^ (ONES * 0x2d)).wrapping_add(ONES * 0x7f);
    ((below_a | above_z) & no_hyphen | word) & HIGH
}

/// How many bytes stand before the first one that is marked; 8 if none is.
#[inline]
fn unmarked(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

/// Marks the bytes of `word` that make a target worth a second look. What it says of bytes behind
/// one that is beyond ASCII means nothing.
#[inline]
fn telling(word: u64) -> u64 {
    let is = |byte: u8| HIGH.wrapping_sub(word ^ (ONES * u64::from(byte)));
    (is(b'#') | is(b'%') | is(b'.')) & HIGH
}

/// How many visible bytes `bytes` begin with, and whether they are plain: no `#`, `%` or dot among
/// them.
#[inline]
pub(super) fn visible_len(bytes: &[u8]) -> (usize, bool) {
    let mut rest = bytes;
    let mut told = 0;
    while let Some((word, after)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(*word);
        let marks = controls(word, b' ' + 1) | (word & HIGH);
        if marks != 0 {
            let before_the_first = (marks & marks.wrapping_neg()) - 1;
            told |= telling(word) & before_the_first;
            return (bytes.len() - rest.len() + unmarked(marks), told == 0);
        }
        told |= telling(word);
        rest = after;
    }
    let left = rest.iter().take_while(|byte| byte.is_ascii_graphic()).count();
    // A target is not whole here.
    (bytes.len() - rest.len() + left, false)
}

/// Whether a block has a control byte, a tab included. Without a branch for each byte, so that the
/// compiler finds vector instructions for it.
#[inline]
fn has_control(block: &[u8; 16]) -> bool {
    block.iter().fold(false, |any, &byte| any | (byte < b' ') | (byte == 0x7f))
}

/// Where in `line` the first control byte stands, a tab included; its length if there is none.
/// There is none before `text`, the last part of it.
#[inline(always)]
pub(super) fn control_at(line: &[u8], text: &[u8]) -> usize {
    let mut rest = text;
    while let Some((block, after)) = rest.split_first_chunk() {
        if has_control(block) {
            return line.len() - rest.len() + control_in(block);
        }
        rest = after;
    }
    match line.last_chunk() {
        Some(block) if has_control(block) => line.len() - block.len() + control_in(block),
        Some(_) => line.len(),
        None => line.iter().take_while(|byte| !byte.is_ascii_control()).count(),
    }
}

/// The same within a block that has one.
#[inline]
fn control_in(block: &[u8; 16]) -> usize {
    let [low, high] = halves(block);
    let marks = controls(low, b' ');
    if marks != 0 { unmarked(marks) } else { 8 + unmarked(controls(high, b' ')) }
}

/// What comes behind the text that `bytes` begin with: from the first byte that no value may have.
#[inline(never)]
pub(super) fn after_text(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    loop {
        match rest.get(control_at(rest, rest)..).unwrap_or_default() {
            [b'\t', after @ ..] => rest = after,
            end => return end,
        }
    }
}

fn halves(block: &[u8; 16]) -> [u64; 2] {
    let whole = u128::from_le_bytes(*block);
    [whole as u64, (whole >> 64) as u64]
}

/// How many letters and hyphens `bytes` begin with; `None` if too few bytes follow to tell.
#[inline]
pub(super) fn usual_name_len(bytes: &[u8]) -> Option<usize> {
    let (block, rest) = bytes.split_first_chunk()?;
    let [low, high] = halves(block);
    let marks = unusual(low);
    if marks != 0 {
        return Some(unmarked(marks));
    }
    let marks = unusual(high);
    if marks != 0 {
        return Some(8 + unmarked(marks));
    }
    long_name_len(rest).map(|more| 16 + more)
}

/// The same, for names of every length.
#[inline(never)]
fn long_name_len(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    loop {
        let (word, after) = rest.split_first_chunk()?;
        let marks = unusual(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(bytes.len() - rest.len() + unmarked(marks));
        }
        rest = after;
    }
}

/// How long the token is that `bytes` begin with.
#[inline(never)]
pub(super) fn token_len(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| TOKEN[usize::from(**byte)]).count()
}

/// The bytes that tokens are made of.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_token_byte(byte as u8);
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::super::field::is_value_byte;
    use super::*;

    /// Every byte at every place of a block, with every kind of neighbour: the steps of sixteen say
    /// what a look at each byte says.
    #[test]
    fn blocks_are_judged_as_their_bytes_are() {
        let no_control = |byte: u8| is_value_byte(byte) && byte != b'\t';
        let runs: [(fn(&[u8]) -> usize, fn(u8) -> bool); 4] = [
            (|bytes| visible_len(bytes).0, |byte| byte.is_ascii_graphic()),
            (|bytes| bytes.len() - after_text(bytes).len(), is_value_byte),
            (|bytes| control_at(bytes, bytes), no_control),
            (token_len, is_token_byte),
        ];
        for (len_of, belongs) in runs {
            for byte in 0..=255u8 {
                for around in [b'a', b'-', b'Z', b'~', b'\t', b' ', 0x7e, 0x80, 0xff, b':', 0] {
                    for (place, len) in (0..34).flat_map(|p| [(p, p + 1), (p, 35)]) {
                        let mut bytes = vec![around; len];
                        bytes[place] = byte;
                        let expected = bytes.iter().position(|&b| !belongs(b)).unwrap_or(len);
                        assert_eq!(len_of(&bytes), expected, "{bytes:?}");
                        usual_names_are_as_their_bytes_are(&bytes);
                        plain_targets_are_as_their_bytes_are(&bytes);
                    }
                }
            }
        }
    }

    fn plain_targets_are_as_their_bytes_are(bytes: &[u8]) {
        let (len, plain) = visible_len(bytes);
        let expected = !bytes[..len].iter().any(|byte| b"#%.".contains(byte));
        assert!(plain == expected || bytes.len() - len < 8 && !plain, "{bytes:?}");
    }

    fn usual_names_are_as_their_bytes_are(bytes: &[u8]) {
        let usual = |&b: &u8| b.is_ascii_alphabetic() || b == b'-';
        let expected = bytes.iter().take_while(|&b| usual(b)).count();
        match usual_name_len(bytes) {
            Some(len) => assert_eq!(len, expected, "{bytes:?}"),
            // The last word must be whole.
            None => assert!(bytes.len() - expected < 16, "{bytes:?}"),
        }
    }
}
