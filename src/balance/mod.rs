//! Which of a service's endpoints a request goes to: the trait an embedder replaces, and the five
//! ways that come with us.
//!
//! A balancer sees numbers, not connections: how many requests each endpoint has in flight and
//! whether it is open to this one. It picks an index and nothing else; reaching the endpoint, and
//! picking again when that fails, is not its business. All respect weights.
//!
//! | name | cost of a pick | picks |
//! |---|---|---|
//! | `random` | O(1), O(log n) with unequal weights | by weight alone |
//! | `p2c` | twice that | the less loaded of two random ones |
//! | `round-robin` | O(1), O(n) with unequal weights | in turn, smoothly |
//! | `least` | O(n) | the least loaded of all, ties at random |
//! | `hash` | O(n) | the same for the same client or field |
//!
//! With some endpoints closed, `random` and `p2c` may have to scan: O(n).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::h1::RequestHead;
use crate::registry::Snapshot;
use crate::rng::Rng;

mod load;
mod random;
mod rendezvous;
mod rotation;

/// What the engine knows about the endpoints of a snapshot, by index.
pub trait Load {
    /// How many requests the endpoint is working on.
    fn in_flight(&self, index: usize) -> u32;

    /// Whether this request may go there: not tried by it in this round, not set aside.
    fn open(&self, index: usize) -> bool;
}

/// One choice to be made.
#[derive(Clone, Copy)]
pub struct Choice<'a> {
    snapshot: &'a Snapshot,
    load: &'a dyn Load,
    key: u64,
}

impl<'a> Choice<'a> {
    /// The choice among `snapshot`, whose load is `load`, for a request with this
    /// [`key`](Balancer::key).
    pub fn new(snapshot: &'a Snapshot, load: &'a dyn Load, key: u64) -> Choice<'a> {
        Choice { snapshot, load, key }
    }

    /// The endpoints.
    pub fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    /// How many endpoints there are, open or not.
    pub fn len(&self) -> usize {
        self.snapshot.len()
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.snapshot.is_empty()
    }

    /// Whether the request may go to endpoint `index`; `false` beyond the end.
    pub fn open(&self, index: usize) -> bool {
        index < self.len() && self.load.open(index)
    }

    /// How many requests endpoint `index` is working on.
    pub fn in_flight(&self, index: usize) -> u32 {
        self.load.in_flight(index)
    }

    /// The weight of endpoint `index`; 0 beyond the end.
    pub fn weight(&self, index: usize) -> u32 {
        self.snapshot.endpoints().get(index).map_or(0, |endpoint| endpoint.weight())
    }

    /// What the balancer made of the request's head.
    pub fn key(&self) -> u64 {
        self.key
    }
}

impl fmt::Debug for Choice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = (0..self.len()).filter(|index| self.open(*index)).count();
        write!(f, "Choice({open} of {} open, key {:#x})", self.len(), self.key)
    }
}

/// Chooses among the endpoints of one service; its state is that service's own.
pub trait Balancer: Send {
    /// What the choice shall depend on; asked once for each request and given back in
    /// [`Choice::key`].
    fn key(&self, head: &RequestHead<'_>, client: Option<IpAddr>) -> u64 {
        let _ = (head, client);
        0
    }

    /// The index of an open endpoint; `None` only if none is open. Must not allocate.
    fn pick(&mut self, choice: &Choice<'_>, rng: &mut Rng) -> Option<usize>;
}

/// The ways to balance that come with us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// At random.
    #[default]
    Random,
    /// The one with fewer requests in flight of two random ones.
    P2c,
    /// In turn, smoothly by weight.
    RoundRobin,
    /// The one with the fewest requests in flight.
    Least,
    /// The same endpoint for the same client or field, as long as it is open.
    Hash(HashBy),
}

/// What `hash` balancing hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashBy {
    /// The client's address, without its port.
    Client,
    /// The first line of the field with this name. A request without it goes to a random endpoint:
    /// sending all of these to one would make a hot spot.
    Field(String),
}

impl Balance {
    /// A balancer for one service.
    pub fn build(&self) -> Box<dyn Balancer> {
        match self {
            Balance::Random => Box::new(random::Random),
            Balance::P2c => Box::new(random::P2c),
            Balance::RoundRobin => Box::new(rotation::RoundRobin::default()),
            Balance::Least => Box::new(load::Least),
            Balance::Hash(by) => Box::new(rendezvous::Rendezvous::new(by.clone())),
        }
    }
}

impl FromStr for Balance {
    type Err = BalanceError;

    /// `random`, `p2c`, `round-robin`, `least`, `hash` (of the client) or `hash:Field-Name`.
    fn from_str(text: &str) -> Result<Balance, BalanceError> {
        Ok(match text {
            "random" => Balance::Random,
            "p2c" => Balance::P2c,
            "round-robin" => Balance::RoundRobin,
            "least" => Balance::Least,
            "hash" => Balance::Hash(HashBy::Client),
            _ => match text.strip_prefix("hash:") {
                Some(name) if is_token(name) => Balance::Hash(HashBy::Field(name.to_owned())),
                _ => return Err(BalanceError(text.to_owned())),
            },
        })
    }
}

impl fmt::Display for Balance {
    /// The text it is read from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Balance::Random => f.write_str("random"),
            Balance::P2c => f.write_str("p2c"),
            Balance::RoundRobin => f.write_str("round-robin"),
            Balance::Least => f.write_str("least"),
            Balance::Hash(HashBy::Client) => f.write_str("hash"),
            Balance::Hash(HashBy::Field(name)) => write!(f, "hash:{name}"),
        }
    }
}

/// A field name (RFC 9110, 5.6.2).
fn is_token(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(legal)
}

/// No way to balance has this name. Its text is one line that lists those that do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceError(String);

impl fmt::Display for BalanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = "random, p2c, round-robin, least, hash or hash:Field-Name";
        write!(f, "{:?} is not a way to balance; use {known}", self.0)
    }
}

impl std::error::Error for BalanceError {}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn all() -> [Balance; 6] {
        ["random", "p2c", "round-robin", "least", "hash", "hash:X-User"]
            .map(|name| name.parse().unwrap_or_else(|error| panic!("{error}")))
    }

    // B1.4
    #[test]
    fn names_go_there_and_back() {
        for balance in all() {
            assert_eq!(balance.to_string().parse(), Ok(balance));
        }
        assert_eq!(Balance::default(), Balance::Random);
        for text in ["", "Random", "rr", "hash:", "hash:a b", "hash:a:b", "hashx", "least "] {
            let error = text.parse::<Balance>().expect_err(text).to_string();
            assert!(error.starts_with(&format!("{text:?} is not a way to balance; use random")));
        }
    }

    // B3.2: only open ones, and one if there is any.
    #[test]
    fn every_balancer_picks_an_open_one_if_there_is_any() {
        for balance in all() {
            for weights in [&[][..], &[1], &[1, 1, 1, 1], &[9, 1, 1_000_000, 3]] {
                let mut world = World::new(weights);
                let mut balancer = balance.build();
                let mut rng = Rng::from_seed(1);
                for mask in 0_u32..1 << weights.len() {
                    world.open_mask(mask);
                    for key in 0..20 {
                        let picked = balancer.pick(&world.choice(key), &mut rng);
                        match picked {
                            Some(index) => assert!(world.open[index], "{balance} {mask:b}"),
                            None => assert_eq!(mask, 0, "{balance}"),
                        }
                    }
                }
            }
        }
    }

    // B3.1: all respect weights, and go on doing so among those that are open.
    #[test]
    fn every_balancer_respects_weights() {
        for balance in all() {
            for closed in [None, Some(1)] {
                let mut world = World::new(&[1, 2, 5, 2]);
                if let Some(index) = closed {
                    world.open[index] = false;
                }
                let share = shares(&balance, &world, 20_000);
                let open = |index: &usize| world.open[*index];
                let total: u32 = (0..4).filter(open).map(|index| world.weights[index]).sum();
                for index in (0..4).filter(open) {
                    let want = 20_000.0 * f64::from(world.weights[index]) / f64::from(total);
                    let off = (share[index] as f64 - want).abs();
                    assert!(off < want * 0.12, "{balance} {closed:?} {share:?}");
                }
            }
        }
    }

    // B3.4: a balancer that has seen one snapshot goes on with any other.
    #[test]
    fn every_balancer_survives_a_change_of_the_snapshot() {
        for balance in all() {
            let mut balancer = balance.build();
            let mut rng = Rng::from_seed(3);
            for weights in [&[1, 1, 1, 1, 1][..], &[1], &[2, 1, 7], &[], &[1, 1], &[3, 1]] {
                let world = World::new(weights);
                for key in 0..10 {
                    let picked = balancer.pick(&world.choice(key), &mut rng);
                    assert_eq!(picked.is_none(), weights.is_empty(), "{balance} {weights:?}");
                }
            }
        }
    }

    #[test]
    fn a_choice_is_safe_beyond_its_end() {
        let world = World::new(&[4]);
        let choice = world.choice(7);
        assert_eq!((choice.weight(0), choice.weight(1)), (4, 0));
        assert!(choice.open(0) && !choice.open(1) && !choice.is_empty());
        assert_eq!(format!("{choice:?}"), "Choice(1 of 1 open, key 0x7)");
    }
}
