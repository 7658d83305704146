//! A hash that never changes: the same bytes give the same number in every worker, after every
//! restart and in every version.
//!
//! The standard hasher is keyed anew in each process, which is right for a map and wrong for a
//! balancer that promises a client the same endpoint tomorrow. Not for secrets, and not for maps
//! that a stranger can fill. This file does not know what is hashed.

use std::fmt;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a of 64 bits; text may be written into it, so that hashing a `Display` needs no `String`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StableHash(u64);

impl StableHash {
    /// The hash of nothing yet.
    pub(crate) fn new() -> StableHash {
        StableHash(FNV_OFFSET)
    }

    /// Takes in `bytes`.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }

    /// The number: mixed, because the high bits of plain FNV barely move for short inputs.
    pub(crate) fn finish(self) -> u64 {
        mix(self.0)
    }
}

impl fmt::Write for StableHash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes());
        Ok(())
    }
}

/// Hashes the names of services for maps. Such a map holds what the operator names, so no stranger
/// can fill it with names that meet; a keyed hash would cost a request 200 instructions a lookup.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NameHash;

impl std::hash::BuildHasher for NameHash {
    type Hasher = NameHasher;

    fn build_hasher(&self) -> NameHasher {
        NameHasher(FNV_OFFSET)
    }
}

/// As [`StableHash`], but eight bytes in a step, and not the same for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameHasher(u64);

impl NameHasher {
    #[inline]
    fn take(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(FNV_PRIME).rotate_left(32);
    }
}

impl std::hash::Hasher for NameHasher {
    /// Words from the front, and one that ends where the bytes end; it may have seen some before.
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.take(bytes.len() as u64);
        if let Some(end) = bytes.last_chunk() {
            let mut rest = bytes;
            while let Some((word, after)) = rest.split_first_chunk() {
                self.take(u64::from_le_bytes(*word));
                rest = after;
            }
            self.take(u64::from_le_bytes(*end));
        } else if let (Some(begin), Some(end)) = (bytes.first_chunk(), bytes.last_chunk()) {
            let (begin, end) = (u32::from_le_bytes(*begin), u32::from_le_bytes(*end));
            self.take(u64::from(begin) << 32 | u64::from(end));
        } else {
            bytes.iter().for_each(|byte| self.take(u64::from(*byte)));
        }
    }

    /// What ends a text says nothing: its length was hashed.
    #[inline]
    fn write_u8(&mut self, _: u8) {}

    #[inline]
    fn finish(&self) -> u64 {
        mix(self.0)
    }
}

/// The finaliser of splitmix64: a bijection in which each bit of `n` sways every bit of the
/// result.
pub(crate) fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn fnv_as_its_authors_published_it() {
        for (text, want) in [
            ("", 0xcbf2_9ce4_8422_2325_u64),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            let mut hash = StableHash::new();
            hash.write(text.as_bytes());
            assert_eq!(hash.0, want, "{text:?}");
            let mut written = StableHash::new();
            assert!(write!(written, "{text}").is_ok());
            assert_eq!(written.finish(), hash.finish());
        }
    }

    /// Names alike in length and in most of their bytes.
    #[test]
    fn names_do_not_meet() {
        use std::hash::BuildHasher as _;
        let names = (0..2000).flat_map(|n| {
            let long = format!("{n:04}/a-service-with-a-name/v{n}");
            [format!("{n}"), format!("s{n}"), format!("{n}/v1"), format!("s/v{n:08}"), long]
        });
        let (mut seen, mut low) = (std::collections::HashSet::new(), vec![0_u32; 1 << 10]);
        for name in names {
            let hash = NameHash.hash_one(name.as_str());
            assert!(seen.insert(hash), "{name}");
            low[hash as usize % (1 << 10)] += 1;
        }
        assert!(low.iter().all(|count| *count < 40), "ten thousand in a thousand buckets");
    }

    #[test]
    fn mixing_is_that_of_splitmix64() {
        // The first number of splitmix64 seeded with 0 is the finaliser of its increment.
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
    }
}
