//! Chance for the simulator: splitmix64, written out here.
//!
//! Not `crate::rng`: that one hides a crate whose numbers may change with its version, and a seed
//! that once found a bug has to keep its meaning.

/// One stream of chance. Every actor has its own, so that one more roll here does not change
/// what happens everywhere else.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The stream number `stream` of the world `seed`.
    pub(super) fn new(seed: u64, stream: u64) -> Dice {
        let mut dice = Dice(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        dice.next();
        dice
    }

    /// The next 64 bits (Steele, Lea, Flood: splitmix64).
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `n - 1`; 0 if `n` is 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        if n < 2 { 0 } else { (self.next() % n as u64) as usize }
    }

    /// From `low` to `high`, both included.
    pub(super) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True in `percent` of a hundred cases.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        percent > 0 && self.below(100) < percent
    }

    /// One of `these`.
    pub(super) fn pick<T: Clone>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())].clone()
    }

    /// Puts `these` into a random order.
    pub(super) fn shuffle<T>(&mut self, these: &mut [T]) {
        for i in (1..these.len()).rev() {
            these.swap(i, self.below(i + 1));
        }
    }
}

/// `len` bytes that belong to `id` and to nothing else: the body of a request or of an answer.
/// They contain every byte value, line ends included.
pub(super) fn pattern(id: usize, salt: u64, len: usize) -> Vec<u8> {
    let mut dice = Dice::new(id as u64 + 1, salt);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&dice.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
