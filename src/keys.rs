//! Names for connections: generational keys, the slab that hands them out, and how the source of
//! an event is packed into the 64 bits that epoll carries for us.
//!
//! ```text
//!   token   63..62 kind | 61..32 generation | 31..0 index
//!   kinds   0 listener | 1 waker, service, alarm | 2 client | 3 upstream
//! ```
//!
//! A key outlives what it names: it lies in the idle pool, in the timer heap, in an event that the
//! kernel queued a moment ago. The generation makes such a late key find nothing instead of a
//! stranger who moved into the same slot. This file does not know what is stored.

use slab::Slab;

/// Generations are kept to the 30 bits that fit into a token.
const GENERATION_MASK: u32 = (1 << 30) - 1;

/// The name of one thing in one [`GenSlab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// A number that no two living things share: the slot.
    pub(crate) fn index(self) -> usize {
        self.index as usize
    }
}

/// Where a readiness event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The listener with this number, counted in the order in which they were given.
    Listener(u32),
    /// Another thread wants something.
    Waker,
    /// A deadline that was far away has come.
    Alarm,
    /// Not a source of events, but of deadlines: the service with this number.
    Service(u32),
    /// A connection that a client opened.
    Client(Key),
    /// A connection that the proxy opened to an endpoint.
    Upstream(Key),
}

impl Source {
    /// Packs the source into the 64 bits of an epoll event.
    pub(crate) fn pack(self) -> u64 {
        let of = |kind: u64, key: Key| {
            kind << 62 | u64::from(key.generation & GENERATION_MASK) << 32 | u64::from(key.index)
        };
        match self {
            Source::Listener(n) => u64::from(n),
            Source::Waker => 1 << 62,
            Source::Alarm => 1 << 62 | 2 << 32,
            Source::Service(n) => 1 << 62 | 1 << 32 | u64::from(n),
            Source::Client(key) => of(2, key),
            Source::Upstream(key) => of(3, key),
        }
    }

    /// The reverse of [`Source::pack`].
    pub(crate) fn unpack(token: u64) -> Source {
        let key = Key { index: token as u32, generation: (token >> 32) as u32 & GENERATION_MASK };
        match token >> 62 {
            0 => Source::Listener(token as u32),
            1 if key.generation == 1 => Source::Service(token as u32),
            1 if key.generation == 2 => Source::Alarm,
            1 => Source::Waker,
            2 => Source::Client(key),
            _ => Source::Upstream(key),
        }
    }
}

/// A slab whose keys go stale when what they named is removed.
#[derive(Debug)]
pub(crate) struct GenSlab<T> {
    slots: Slab<(u32, T)>,
    next_generation: u32,
}

impl<T> Default for GenSlab<T> {
    fn default() -> Self {
        GenSlab { slots: Slab::new(), next_generation: 0 }
    }
}

impl<T> GenSlab<T> {
    /// Stores `value` and names it.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        let generation = self.next_generation;
        self.next_generation = (generation + 1) & GENERATION_MASK;
        let index = self.slots.insert((generation, value)) as u32;
        Key { index, generation }
    }

    /// What `key` names, if it is still here.
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.slots.get(key.index()).filter(|(g, _)| *g == key.generation).map(|(_, value)| value)
    }

    /// As [`GenSlab::get`], to change it.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index())?;
        (slot.0 == key.generation).then_some(&mut slot.1)
    }

    /// Takes out what `key` names; every copy of the key is stale from here on.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.slots.try_remove(key.index()).map(|(_, value)| value)
    }

    /// How many things are here.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Everything here with its key, in the order of the slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().map(|(index, (generation, value))| {
            (Key { index: index as u32, generation: *generation }, value)
        })
    }

    /// The keys of everything here: a copy, so that the slab may be changed while walking it.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = GenSlab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first.index(), second.index(), "the slot is used again");
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.keys(), [second]);
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn generations_wrap_inside_the_token() {
        let mut slab = GenSlab { slots: Slab::new(), next_generation: GENERATION_MASK };
        let last = slab.insert(1);
        slab.remove(last);
        let wrapped = slab.insert(2);
        assert_eq!(wrapped.generation, 0);
        assert_eq!(slab.get(last), None);
    }

    #[test]
    fn tokens_go_there_and_back() {
        let key = Key { index: u32::MAX, generation: GENERATION_MASK };
        for source in [
            Source::Listener(0),
            Source::Listener(u32::MAX),
            Source::Waker,
            Source::Alarm,
            Source::Service(0),
            Source::Service(u32::MAX),
            Source::Client(key),
            Source::Upstream(key),
            Source::Client(Key { index: 0, generation: 0 }),
        ] {
            assert_eq!(Source::unpack(source.pack()), source);
        }
    }
}
