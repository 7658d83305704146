//! A bounded buffer with four cursors; the pool that lends the memory for it is in `pool.rs`.
//!
//! ```text
//!  0         start            sent             cut             end          capacity
//!  | headroom | written, kept  | may be written | not yet judged | free space |
//!             '-- replay window --'
//! ```
//!
//! The socket fills the back, framing moves `cut` over the bytes that belong to the message, the
//! other socket takes what lies before `cut`. What was taken stays until somebody forgets it: so a
//! request is repeated by moving one cursor back, without a copy. This file does not know what the
//! bytes mean.

mod pool;

pub(crate) use pool::{BufPool, Purpose, SMALL_BYTES};

/// Bytes kept free in front, so that a rewritten head may grow without moving the body behind it.
/// A request head grows by three X-Forwarded fields, some 100 bytes.
pub(crate) const HEADROOM: usize = 512;

/// A window over borrowed memory; without memory it holds nothing and has no space.
#[derive(Debug, Default)]
pub(crate) struct Buf {
    mem: Box<[u8]>,
    start: usize,
    sent: usize,
    cut: usize,
    end: usize,
}

impl Buf {
    fn check(&self) {
        debug_assert!(self.start <= self.sent && self.sent <= self.cut);
        debug_assert!(self.cut <= self.end && self.end <= self.mem.len());
    }

    /// Whether memory has been lent to this buffer.
    pub(crate) fn has_memory(&self) -> bool {
        !self.mem.is_empty()
    }

    /// Takes memory in where there is none.
    #[inline]
    pub(crate) fn adopt(&mut self, mem: Box<[u8]>) {
        debug_assert!(!self.has_memory() && mem.len() >= HEADROOM);
        *self = Buf { mem, start: HEADROOM, sent: HEADROOM, cut: HEADROOM, end: HEADROOM };
    }

    /// Takes memory in, or moves into other memory: what it holds comes along.
    /// Gives the old memory back (empty if there was none). `mem` must hold what is kept.
    pub(crate) fn attach(&mut self, mut mem: Box<[u8]>) -> Box<[u8]> {
        let kept = self.end - self.start;
        debug_assert!(mem.len() >= HEADROOM + kept);
        mem[HEADROOM..HEADROOM + kept].copy_from_slice(&self.mem[self.start..self.end]);
        self.rebase(HEADROOM);
        std::mem::replace(&mut self.mem, mem)
    }

    /// Gives the memory back and everything in it up.
    pub(crate) fn detach(&mut self) -> Box<[u8]> {
        std::mem::take(self).mem
    }

    /// Gives up everything in it; the memory stays.
    pub(crate) fn reset(&mut self) {
        let start = HEADROOM.min(self.mem.len());
        (self.start, self.sent, self.cut, self.end) = (start, start, start, start);
    }

    fn rebase(&mut self, start: usize) {
        self.sent = self.sent - self.start + start;
        self.cut = self.cut - self.start + start;
        self.end = self.end - self.start + start;
        self.start = start;
    }

    /// Where the socket may put bytes; then [`Buf::filled`].
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.mem[self.end..]
    }

    /// How many bytes fit behind what is there.
    pub(crate) fn room(&self) -> usize {
        self.mem.len() - self.end
    }

    /// How many bytes would fit if everything kept were moved to the front.
    pub(crate) fn room_compacted(&self) -> usize {
        self.room() + self.start.saturating_sub(HEADROOM)
    }

    /// The socket has put `n` bytes into [`Buf::space`].
    pub(crate) fn filled(&mut self, n: usize) {
        self.end += n;
        self.check();
    }

    /// What framing has not judged yet.
    pub(crate) fn fresh(&self) -> &[u8] {
        &self.mem[self.cut..self.end]
    }

    /// How many bytes that is.
    pub(crate) fn fresh_len(&self) -> usize {
        self.end - self.cut
    }

    /// Framing has judged: `n` more bytes belong to the message.
    pub(crate) fn release(&mut self, n: usize) {
        self.cut += n;
        self.check();
    }

    /// Framing has judged: the next `n` bytes go no further. Those behind them move up.
    pub(crate) fn discard(&mut self, n: usize) {
        self.mem.copy_within(self.cut + n..self.end, self.cut);
        self.end -= n;
        self.check();
    }

    /// Lets `judge` look at what framing has not judged, until it judges nothing: how many bytes
    /// belong to the message, and how many behind them go no further. Each byte moves at most
    /// once, however small the pieces are.
    pub(crate) fn sift<E>(
        &mut self,
        mut judge: impl FnMut(&[u8]) -> Result<Option<(usize, usize)>, E>,
    ) -> Result<(), E> {
        let mut from = self.cut;
        let result = loop {
            match judge(&self.mem[from..self.end]) {
                Ok(Some((keep, skip))) => {
                    if from != self.cut {
                        self.mem.copy_within(from..from + keep, self.cut);
                    }
                    self.cut += keep;
                    from += keep + skip;
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if from != self.cut {
            self.mem.copy_within(from..self.end, self.cut);
            self.end -= from - self.cut;
        }
        self.check();
        result
    }

    /// What the other socket may take now.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.mem[self.sent..self.cut]
    }

    /// Whether the other socket may take anything now.
    pub(crate) fn has_pending(&self) -> bool {
        self.sent != self.cut
    }

    /// The other socket took `n` bytes of [`Buf::pending`].
    pub(crate) fn wrote(&mut self, n: usize) {
        self.sent += n;
        self.check();
    }

    /// How many bytes were written since the start of the window.
    pub(crate) fn written(&self) -> usize {
        self.sent - self.start
    }

    /// Offers everything in the window again.
    pub(crate) fn rewind(&mut self) {
        self.sent = self.start;
    }

    /// Gives up what was written: the point of no return.
    pub(crate) fn forget(&mut self) {
        self.start = self.sent;
        if self.start == self.end {
            self.rebase(HEADROOM.min(self.mem.len()));
        }
        self.check();
    }

    /// Gives up what was judged, written or not: it is not wanted any more.
    pub(crate) fn give_up(&mut self) {
        self.sent = self.cut;
        self.forget();
    }

    /// Drops what framing has not judged.
    pub(crate) fn truncate(&mut self) {
        self.end = self.cut;
    }

    /// How much memory there is.
    pub(crate) fn capacity(&self) -> usize {
        self.mem.len()
    }

    /// Moves what is kept to the front, to make room behind it.
    pub(crate) fn compact(&mut self) {
        if self.start > HEADROOM {
            self.mem.copy_within(self.start..self.end, HEADROOM);
            self.rebase(HEADROOM);
            self.check();
        }
    }

    /// Whether nothing at all is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How many bytes are kept.
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Rewrites the head, which is the first `len` bytes of the window, and releases it.
    ///
    /// `drops` are ranges of it that go, ascending, the first beginning at 0; `prefix` comes
    /// before what stays. What stays is moved towards the body, which never moves unless the
    /// headroom is used up. Gives the new length, or `None` (and changes nothing) without room.
    pub(crate) fn rewrite_head(
        &mut self,
        len: usize,
        drops: &[(u32, u32)],
        prefix: &[u8],
    ) -> Option<usize> {
        let dropped: usize = drops.iter().map(|(from, to)| (to - from) as usize).sum();
        let new_len = prefix.len() + len - dropped;
        let lacking = new_len.saturating_sub(self.start + len);
        if lacking > self.room() {
            return None;
        }
        if lacking > 0 {
            self.mem.copy_within(self.start..self.end, self.start + lacking);
            self.rebase(self.start + lacking);
        }
        let released = self.cut > self.start;
        let (start, head_end) = (self.start, self.start + len);
        let (mut to, mut run_end) = (head_end, head_end);
        for &(drop_from, drop_to) in drops.iter().rev() {
            let run = start + drop_to as usize..run_end;
            run_end = start + drop_from as usize;
            let run_len = run.len();
            if run.end != to {
                self.mem.copy_within(run, to - run_len);
            }
            to -= run_len;
        }
        self.start = to - prefix.len();
        self.mem[self.start..to].copy_from_slice(prefix);
        self.sent = self.start;
        if !released {
            self.cut = head_end;
        }
        self.check();
        Some(new_len)
    }

    /// Puts `bytes` in as a whole message of our own; gives `false` without room.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> bool {
        let Some(space) = self.mem.get_mut(self.end..self.end + bytes.len()) else {
            return false;
        };
        space.copy_from_slice(bytes);
        self.end += bytes.len();
        self.cut = self.end;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(capacity: usize, bytes: &[u8]) -> Buf {
        let mut buf = Buf::default();
        buf.attach(vec![0; HEADROOM + capacity].into());
        buf.space()[..bytes.len()].copy_from_slice(bytes);
        buf.filled(bytes.len());
        buf
    }

    #[test]
    fn bytes_pass_and_can_be_offered_again() {
        let mut buf = holding(32, b"headbodynext");
        assert!(buf.pending().is_empty(), "nothing leaves before framing has judged");
        buf.release(8);
        assert_eq!(buf.pending(), b"headbody");
        buf.wrote(6);
        assert_eq!((buf.pending(), buf.written()), (&b"dy"[..], 6));
        buf.rewind();
        assert_eq!(buf.pending(), b"headbody");
        buf.wrote(8);
        buf.forget();
        assert_eq!((buf.fresh(), buf.written(), buf.len()), (&b"next"[..], 0, 4));
        let before = buf.room();
        buf.compact();
        assert_eq!((buf.room(), buf.fresh()), (before + 8, &b"next"[..]));
    }

    #[test]
    fn room_compacted_tells_what_compacting_gives() {
        let mut buf = holding(16, b"0123456789");
        buf.release(6);
        buf.wrote(6);
        assert_eq!(buf.room_compacted(), 6);
        buf.forget();
        assert_eq!(buf.room_compacted(), 12);
        buf.compact();
        assert_eq!(buf.room(), 12);
    }

    #[test]
    fn discarded_bytes_close_up() {
        let mut buf = holding(16, b"keepdroprest");
        buf.release(4);
        buf.discard(4);
        assert_eq!((buf.pending(), buf.fresh()), (&b"keep"[..], &b"rest"[..]));
    }

    #[test]
    fn sifted_bytes_close_up_and_what_is_not_judged_stays() {
        let mut buf = holding(16, b"ab-cd-ef-rest");
        let mut pieces = [(0, 0), (2, 1), (2, 1), (2, 1)].iter().copied();
        buf.sift(|_| Ok::<_, ()>(pieces.next())).unwrap();
        assert_eq!((buf.pending(), buf.fresh()), (&b"abcdef"[..], &b"rest"[..]));
        let mut pieces = [Ok(Some((1, 2))), Err("bad")].into_iter();
        assert_eq!(buf.sift(|_| pieces.next().unwrap()), Err("bad"));
        assert_eq!((buf.pending(), buf.fresh()), (&b"abcdefr"[..], &b"t"[..]));
    }

    #[test]
    fn a_head_is_rewritten_in_front_of_its_body() {
        // (drops, prefix, expected)
        let cases: [(&[(u32, u32)], &[u8], &[u8]); 4] = [
            (&[(0, 2)], b"xyz", b"xyzbbccddBODY"),
            (&[(0, 2), (4, 6)], b"", b"bbddBODY"),
            (&[(0, 2), (6, 8)], b"longer than before", b"longer than beforebbccBODY"),
            (&[(0, 0)], b"+", b"+aabbccddBODY"),
        ];
        for (drops, prefix, expected) in cases {
            let mut buf = holding(64, b"aabbccddBODY");
            let len = buf.rewrite_head(8, drops, prefix).unwrap();
            assert_eq!(len, expected.len() - 4);
            assert_eq!(buf.pending(), &expected[..len]);
            buf.release(4);
            assert_eq!(buf.pending(), expected);
            // Once more, with the body released already: as a retry on another endpoint does.
            buf.wrote(3);
            let again = buf.rewrite_head(len, &[(0, len as u32)], b"H").unwrap();
            assert_eq!((again, buf.pending()), (1, &b"HBODY"[..]));
        }
    }

    #[test]
    fn a_head_that_outgrows_the_headroom_moves_the_body_or_is_refused() {
        let big = [b'x'; HEADROOM + 10];
        let mut buf = holding(64, b"aaBODY");
        assert_eq!(buf.rewrite_head(2, &[(0, 2)], &big), Some(big.len()));
        assert_eq!(buf.fresh(), b"BODY");
        let mut full = holding(6, b"aaBODY");
        assert_eq!(full.rewrite_head(2, &[(0, 2)], &big), None);
        assert_eq!(full.fresh(), b"aaBODY", "and nothing has changed");
    }

    #[test]
    fn moving_into_other_memory_keeps_everything() {
        let mut buf = holding(8, b"01234567");
        buf.release(5);
        buf.wrote(2);
        let old = buf.attach(vec![0; HEADROOM + 100].into());
        assert_eq!(old.len(), HEADROOM + 8);
        assert_eq!((buf.pending(), buf.fresh(), buf.room()), (&b"234"[..], &b"567"[..], 92));
        buf.rewind();
        assert_eq!(buf.pending(), b"01234");
    }
}
