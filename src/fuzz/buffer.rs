//! The buffer and its pool against the obvious thing: a `Vec` with three numbers.
//!
//! Each byte of the input is an operation, the next one or two are its operands. An operation whose
//! precondition does not hold is left out: callers of `Buf` keep them, and what is judged here is
//! what happens when they do.

use super::text;
use crate::buf::{Buf, BufPool, HEADROOM, Purpose, SMALL_BYTES};

const MAX_STEPS: usize = 400;
const BUFFER_BYTES: usize = 6000;
const CEILING_BYTES: usize = 64 * 1024;

/// What a buffer holds, in the simplest way to say it.
#[derive(Debug, Default)]
struct Model {
    /// Where the window begins in the memory.
    start: usize,
    capacity: usize,
    /// The window.
    bytes: Vec<u8>,
    /// How much of it was written, and how much was judged.
    sent: usize,
    cut: usize,
}

impl Model {
    fn room(&self) -> usize {
        self.capacity - self.start - self.bytes.len()
    }

    fn forget(&mut self) {
        self.start += self.sent;
        self.bytes.drain(..self.sent);
        self.cut -= self.sent;
        self.sent = 0;
        if self.bytes.is_empty() {
            self.start = HEADROOM.min(self.capacity);
        }
    }

    fn compact(&mut self) {
        self.start = self.start.min(HEADROOM);
    }

    fn agrees(&self, buf: &Buf, step: u8) {
        let Model { start, capacity, bytes, sent, cut } = self;
        let after = format!("after step {step}: {self:?}");
        assert_eq!((buf.len(), buf.is_empty()), (bytes.len(), bytes.is_empty()), "{after}");
        assert_eq!(buf.capacity(), *capacity, "{after}");
        assert_eq!(buf.has_memory(), *capacity > 0, "{after}");
        assert_eq!(buf.written(), *sent, "{after}");
        assert_eq!(buf.pending(), &bytes[*sent..*cut], "{after}");
        assert_eq!(buf.fresh(), &bytes[*cut..], "{after}");
        assert_eq!(buf.room(), self.room(), "{after}");
        let behind = self.room() + start.saturating_sub(HEADROOM);
        assert_eq!(buf.room_compacted(), behind, "{after}");
    }

    /// What `Buf::rewrite_head` promises. `None`: there is no room.
    fn rewrite(&mut self, len: usize, drops: &[(u32, u32)], prefix: &[u8]) -> Option<usize> {
        let mut head = prefix.to_vec();
        let mut from = 0;
        for &(drop_from, drop_to) in drops {
            head.extend_from_slice(&self.bytes[from..drop_from as usize]);
            from = drop_to as usize;
        }
        head.extend_from_slice(&self.bytes[from..len]);
        // The body stays where it is, unless the head has no room in front of it.
        let body_at = self.start + len;
        let lacking = head.len().saturating_sub(body_at);
        if lacking > self.room() {
            return None;
        }
        self.start = body_at + lacking - head.len();
        self.cut = if self.cut > 0 { self.cut - len + head.len() } else { head.len() };
        self.sent = 0;
        self.bytes.splice(..len, head.iter().copied());
        Some(head.len())
    }
}

/// Operands, taken from the input; zero when it is at its end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&byte, rest)) => {
                self.0 = rest;
                byte
            }
            None => 0,
        }
    }

    /// From 0 to `most`.
    fn up_to(&mut self, most: usize) -> usize {
        match self.byte() {
            255 => most,
            byte if most < 256 => usize::from(byte) % (most + 1),
            byte => (usize::from(byte) << 8 | usize::from(self.byte())) % (most + 1),
        }
    }
}

/// A buffer, its model, the pool that its memory is from, and what else was lent.
struct Bench {
    buf: Buf,
    model: Model,
    pool: BufPool,
    lent: Vec<Box<[u8]>>,
    /// Every byte that comes in is another one than the one before.
    next: u8,
}

impl Bench {
    fn fresh_bytes(&mut self, n: usize) -> Vec<u8> {
        let bytes = (0..n).map(|_| {
            self.next = self.next.wrapping_add(1);
            self.next
        });
        bytes.collect()
    }

    fn attach(&mut self, input: &mut Input<'_>) {
        let wanted = self.model.bytes.len() + HEADROOM + input.up_to(12_000);
        let Some(mem) = self.pool.lend(wanted, Purpose::Answer) else { return };
        self.model.capacity = mem.len();
        self.model.start = HEADROOM;
        let old = self.buf.attach(mem);
        self.pool.give_back(old);
    }

    fn rewrite(&mut self, input: &mut Input<'_>) {
        let judged = self.model.cut;
        let window = self.model.bytes.len();
        // The head is what is judged first; a retry finds more judged than the head.
        let len = if judged == 0 { input.up_to(window) } else { input.up_to(judged) };
        if len == 0 {
            return;
        }
        let mut drops = vec![(0, input.up_to(len) as u32)];
        for _ in 0..input.byte() % 4 {
            let last = drops.last().map_or(0, |drop| drop.1) as usize;
            let from = last + 1 + input.up_to(len);
            let to = from + input.up_to(len);
            if to <= len {
                drops.push((from as u32, to as u32));
            }
        }
        let prefix_len = input.up_to(700);
        let prefix = self.fresh_bytes(prefix_len);
        let before = text(&self.model.bytes);
        let expected = self.model.rewrite(len, &drops, &prefix);
        let found = self.buf.rewrite_head(len, &drops, &prefix);
        assert_eq!(found, expected, "{drops:?} of {len}, {prefix_len} new: {before}");
    }

    fn step(&mut self, step: u8, input: &mut Input<'_>) {
        let (buf, model) = (&mut self.buf, &mut self.model);
        match step % 16 {
            0 => self.attach(input),
            1 | 2 => {
                let n = input.up_to(model.room());
                let bytes = self.fresh_bytes(n);
                self.buf.space()[..n].copy_from_slice(&bytes);
                self.buf.filled(n);
                self.model.bytes.extend_from_slice(&bytes);
            }
            3 | 4 => {
                let n = input.up_to(model.bytes.len() - model.cut);
                buf.release(n);
                model.cut += n;
            }
            5 => {
                let n = input.up_to(model.bytes.len() - model.cut);
                buf.discard(n);
                model.bytes.drain(model.cut..model.cut + n);
            }
            6 | 7 => {
                let n = input.up_to(model.cut - model.sent);
                buf.wrote(n);
                model.sent += n;
            }
            8 => {
                buf.rewind();
                model.sent = 0;
            }
            9 => {
                buf.forget();
                model.forget();
            }
            10 => {
                buf.give_up();
                model.sent = model.cut;
                model.forget();
            }
            11 => {
                buf.truncate();
                model.bytes.truncate(model.cut);
            }
            12 => {
                buf.compact();
                model.compact();
            }
            13 => self.rewrite(input),
            14 => self.put(input),
            _ => self.lend(input),
        }
    }

    /// A message of our own, behind nothing that is not judged.
    fn put(&mut self, input: &mut Input<'_>) {
        if self.model.cut < self.model.bytes.len() || self.model.capacity == 0 {
            return;
        }
        let n = input.up_to(800);
        let bytes = self.fresh_bytes(n);
        let fits = n <= self.model.room();
        assert_eq!(self.buf.put(&bytes), fits, "{n} bytes: {:?}", self.model);
        if fits {
            self.model.bytes.extend_from_slice(&bytes);
            self.model.cut = self.model.bytes.len();
        }
    }

    /// Others borrow and return; now and then the buffer itself gives its memory back.
    fn lend(&mut self, input: &mut Input<'_>) {
        let what = input.byte();
        let purpose = match what % 3 {
            0 => Purpose::Head,
            1 => Purpose::Window,
            _ => Purpose::Answer,
        };
        match what {
            0..=99 => {
                let bytes = input.up_to(9000);
                let left = self.pool.left_bytes(purpose);
                match self.pool.lend(bytes, purpose) {
                    Some(mem) => {
                        assert!(mem.len() >= bytes && mem.len() <= left, "{bytes} of {left}");
                        self.lent.push(mem);
                    }
                    None => assert!(left < bytes.max(BUFFER_BYTES + 2 * HEADROOM), "refused"),
                }
            }
            100..=119 => self.lent.push(self.pool.lend_always(usize::from(what))),
            120..=219 => {
                let n = input.up_to(self.lent.len());
                if n < self.lent.len() {
                    let mem = self.lent.swap_remove(n);
                    self.pool.give_back(mem);
                    assert!(self.pool.take_returned() && !self.pool.take_returned());
                }
            }
            _ => {
                let mem = self.buf.detach();
                self.pool.give_back(mem);
                self.model = Model::default();
            }
        }
    }
}

/// Judges one input.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let mut bench = Bench {
        buf: Buf::default(),
        model: Model::default(),
        pool: BufPool::new(BUFFER_BYTES, CEILING_BYTES),
        lent: Vec::new(),
        next: 0,
    };
    assert_eq!(bench.pool.large_bytes(), BUFFER_BYTES + 2 * HEADROOM);
    for _ in 0..MAX_STEPS {
        if input.0.is_empty() {
            break;
        }
        let step = input.byte();
        bench.step(step, &mut input);
        bench.model.agrees(&bench.buf, step);
        let lent: usize = bench.lent.iter().map(|mem| mem.len()).sum();
        let all = lent + bench.buf.capacity();
        assert_eq!(bench.pool.lent_bytes(), all, "the pool does not know what it has lent");
    }
    let mem = bench.buf.detach();
    for mem in bench.lent.into_iter().chain([mem]) {
        assert!(mem.is_empty() || mem.len() >= SMALL_BYTES, "smaller than the smallest");
        bench.pool.give_back(mem);
    }
    assert_eq!(bench.pool.lent_bytes(), 0);
}
