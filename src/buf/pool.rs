//! The pool that lends memory to buffers, below a ceiling. It does not know what the memory is for
//! beyond how far its exchange has come.

use super::HEADROOM;

/// What a piece of memory is wanted for. Later stages may use more of the ceiling than earlier
/// ones, so that an exchange that has begun can always end: a full house of new heads cannot take
/// the room that running uploads need, nor those the room of the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The first bytes of a request: up to half of the ceiling.
    Head,
    /// A request that outgrew its first piece: up to three quarters.
    Window,
    /// An answer: up to the ceiling.
    Answer,
}

/// Lends memory, never more than a ceiling, the piece that came back last first: it is warm.
#[derive(Debug)]
pub(crate) struct BufPool {
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
    large_bytes: usize,
    lent_bytes: usize,
    ceiling_bytes: usize,
    returned: bool,
}

/// The size of the first piece: a request with some 30 fields fits.
pub(crate) const SMALL_BYTES: usize = 4096;
/// How many pieces of a size are kept for the next one who asks; 64 large ones are about 1 MiB.
const KEPT: usize = 64;

impl BufPool {
    /// A pool that lends at most `ceiling_bytes`; its large pieces hold `buffer_bytes` of payload.
    pub(crate) fn new(buffer_bytes: usize, ceiling_bytes: usize) -> BufPool {
        BufPool {
            small: Vec::with_capacity(KEPT),
            large: Vec::with_capacity(KEPT),
            // A 16 KiB body with its head in one piece: one read, one write.
            large_bytes: buffer_bytes + 2 * HEADROOM,
            lent_bytes: 0,
            ceiling_bytes,
            returned: false,
        }
    }

    /// Bytes of a large piece, headroom included.
    pub(crate) fn large_bytes(&self) -> usize {
        self.large_bytes
    }

    /// How large a piece one direction of an exchange gets: the small one while more than a quarter
    /// of the ceiling is lent, or a few thousand slow readers would have all of it.
    pub(crate) fn lane_bytes(&self) -> usize {
        let scarce = self.lent_bytes > self.ceiling_bytes / 4;
        if scarce { SMALL_BYTES } else { self.large_bytes }
    }

    /// Whether `bytes` more are hardly missed: three quarters of the ceiling stay for others.
    pub(crate) fn has_plenty(&self, bytes: usize) -> bool {
        self.lent_bytes + bytes <= self.ceiling_bytes / 4
    }

    /// How many bytes are lent now.
    pub(crate) fn lent_bytes(&self) -> usize {
        self.lent_bytes
    }

    /// How many bytes may still be lent for `purpose`.
    pub(crate) fn left_bytes(&self, purpose: Purpose) -> usize {
        let limit = match purpose {
            Purpose::Head => self.ceiling_bytes / 2,
            Purpose::Window => self.ceiling_bytes / 4 * 3,
            Purpose::Answer => self.ceiling_bytes,
        };
        limit.saturating_sub(self.lent_bytes)
    }

    /// Whether something has come back since this was asked last: those who wait may try again.
    pub(crate) fn take_returned(&mut self) -> bool {
        std::mem::take(&mut self.returned)
    }

    /// A piece of at least `bytes`; `None` if that would pass the purpose's part of the ceiling.
    #[inline(always)]
    pub(crate) fn lend(&mut self, bytes: usize, purpose: Purpose) -> Option<Box<[u8]>> {
        let size = self.size_for(bytes);
        if size > self.left_bytes(purpose) {
            return None;
        }
        Some(self.hand_out(size))
    }

    /// A piece of `bytes` was kept where it was, after [`BufPool::keep`], and is wanted again.
    /// Gives `false` if that would pass the purpose's part of the ceiling.
    #[inline(always)]
    pub(crate) fn lend_again(&mut self, bytes: usize, purpose: Purpose) -> bool {
        let lends = bytes <= self.left_bytes(purpose);
        if lends {
            self.lent_bytes += bytes;
        }
        lends
    }

    /// Takes a piece of `bytes` back, as [`BufPool::give_back`], but leaves it where it is.
    #[inline(always)]
    pub(crate) fn keep(&mut self, bytes: usize) {
        self.lent_bytes -= bytes;
        self.returned = true;
    }

    /// A piece of at least `bytes`, ceiling or not: for answers of a hook that are larger than what
    /// their request leaves.
    pub(crate) fn lend_always(&mut self, bytes: usize) -> Box<[u8]> {
        self.hand_out(self.size_for(bytes))
    }

    #[inline(always)]
    fn hand_out(&mut self, size: usize) -> Box<[u8]> {
        self.lent_bytes += size;
        let kept = match size {
            SMALL_BYTES => self.small.pop(),
            _ if size == self.large_bytes => self.large.pop(),
            _ => None,
        };
        kept.unwrap_or_else(|| anew(size))
    }

    fn size_for(&self, bytes: usize) -> usize {
        if bytes <= SMALL_BYTES.min(self.large_bytes) {
            SMALL_BYTES.min(self.large_bytes)
        } else {
            bytes.max(self.large_bytes)
        }
    }

    /// Takes memory back.
    pub(crate) fn give_back(&mut self, mem: Box<[u8]>) {
        if mem.is_empty() {
            return;
        }
        self.lent_bytes -= mem.len();
        self.returned = true;
        let shelf = match mem.len() {
            SMALL_BYTES => &mut self.small,
            len if len == self.large_bytes => &mut self.large,
            _ => return,
        };
        if shelf.len() < KEPT {
            shelf.push(mem);
        }
    }
}

#[cold]
#[inline(never)]
fn anew(size: usize) -> Box<[u8]> {
    vec![0; size].into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_leaves_room_for_those_further_on() {
        let mut pool = BufPool::new(16384, 8 * SMALL_BYTES);
        let heads: Vec<_> = std::iter::from_fn(|| pool.lend(1, Purpose::Head)).collect();
        assert_eq!(heads.len(), 4);
        let windows: Vec<_> = std::iter::from_fn(|| pool.lend(1, Purpose::Window)).collect();
        assert_eq!(windows.len(), 2);
        let answers: Vec<_> = std::iter::from_fn(|| pool.lend(1, Purpose::Answer)).collect();
        assert_eq!(answers.len(), 2);
        for mem in heads.into_iter().chain(windows).chain(answers) {
            pool.give_back(mem);
        }
        assert_eq!(pool.lent_bytes(), 0);
        assert_eq!(pool.lend(SMALL_BYTES + 1, Purpose::Answer).unwrap().len(), 16384 + 1024);
        assert!(pool.lend(1, Purpose::Head).is_none(), "17 KiB of 32 are lent");
    }
}
