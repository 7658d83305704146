//! Rendezvous hashing: every endpoint gets a score for the request's key, the highest wins. When
//! an endpoint goes, only its own keys move; when one comes, it takes only what it wins.
//!
//! Scores come from a hash that never changes, so all workers agree, today and tomorrow. This file
//! does not know load.

use std::net::IpAddr;

use super::random::draw;
use super::{Balancer, Choice, HashBy};
use crate::h1::RequestHead;
use crate::hash::{StableHash, mix};
use crate::rng::Rng;

/// The key of a request that has nothing to hash.
const NOTHING: u64 = 0;

/// The same endpoint for the same key.
#[derive(Debug)]
pub(super) struct Rendezvous {
    by: HashBy,
}

impl Rendezvous {
    pub(super) fn new(by: HashBy) -> Rendezvous {
        Rendezvous { by }
    }
}

impl Balancer for Rendezvous {
    fn key(&self, head: &RequestHead<'_>, client: Option<IpAddr>) -> u64 {
        match &self.by {
            HashBy::Client => client.map_or(NOTHING, client_key),
            HashBy::Field(name) => head.field(name).map_or(NOTHING, bytes_key),
        }
    }

    fn pick(&mut self, choice: &Choice<'_>, rng: &mut Rng) -> Option<usize> {
        if choice.key() == NOTHING {
            return draw(choice, rng, None);
        }
        let hashes = choice.snapshot().hashes().iter();
        let scores = hashes.map(|hash| mix(choice.key() ^ *hash)).enumerate();
        if choice.snapshot().uniform() {
            highest(choice, scores)
        } else {
            highest(choice, scores.map(|(index, n)| (index, by_weight(n, choice.weight(index)))))
        }
    }
}

/// The open one with the highest score. Whether one is open is asked only if its score would win.
fn highest<S: PartialOrd>(
    choice: &Choice<'_>,
    scores: impl Iterator<Item = (usize, S)>,
) -> Option<usize> {
    let mut best: Option<(usize, S)> = None;
    for (index, score) in scores {
        let wins = best.as_ref().is_none_or(|(_, highest)| score > *highest);
        if wins && choice.open(index) {
            best = Some((index, score));
        }
    }
    best.map(|(index, _)| index)
}

/// Stretches a score so that an endpoint wins in proportion to its weight: `-weight / ln(u)`, where
/// `u` is the score as a fraction of 1 (Schindelhauer and Schomaker, 2005). With equal weights
/// the order is that of the plain scores.
fn by_weight(score: u64, weight: u32) -> f64 {
    // 52 bits and a half fit into a double. The half keeps 0 and 1 out: no use as logarithms.
    let fraction = ((score >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    -f64::from(weight) / ln(fraction)
}

/// The natural logarithm of a normal number above 0, to the last place or two: `x` is `m * 2^e`
/// with `m` near 1, and `ln m` is `2 * artanh((m - 1) / (m + 1))`, a series.
///
/// Why not `f64::ln`: that is the C library's, whose last place may differ from one system to
/// another, and it alone would map the mathematical library, 316 KB resident.
fn ln(x: f64) -> f64 {
    const FRACTION: u64 = (1 << 52) - 1;
    const ONE: u64 = 1023 << 52;
    let bits = x.to_bits();
    let (mut e, mut m) = ((bits >> 52) as f64 - 1023.0, f64::from_bits(bits & FRACTION | ONE));
    if m > std::f64::consts::SQRT_2 {
        (e, m) = (e + 1.0, m / 2.0);
    }
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    // Below 0.0295 to the power of 12, which is nothing beside 1.
    let series = (0..12).rev().fold(0.0, |sum, n| sum * square + 1.0 / f64::from(2 * n + 1));
    e * std::f64::consts::LN_2 + 2.0 * s * series
}

/// A client reached over a v6 socket is the same client.
fn client_key(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(addr) => bytes_key(&addr.octets()),
        IpAddr::V6(addr) => bytes_key(&addr.octets()),
    }
}

fn bytes_key(bytes: &[u8]) -> u64 {
    let mut hash = StableHash::new();
    hash.write(bytes);
    // Zero is taken.
    hash.finish().max(1)
}

#[cfg(test)]
mod tests {
    use crate::h1::Limits;
    use crate::h1::head::{parse_request, slots};

    use super::super::Balance;
    use super::super::testing::*;
    use super::*;

    /// The key that `balancer` makes of a request with these field lines.
    fn key(balancer: &dyn Balancer, lines: &str, client: Option<&str>) -> u64 {
        let limits = Limits { head_bytes: 999, fields: 9, target_bytes: 99 };
        let mut slots = slots();
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let head = parse_request(text.as_bytes(), &mut slots, &limits).unwrap().unwrap();
        balancer.key(&head, client.map(|text| text.parse().unwrap()))
    }

    fn by_client() -> Box<dyn Balancer> {
        Balance::Hash(HashBy::Client).build()
    }

    fn winner(world: &World, key: u64) -> usize {
        by_client().pick(&world.choice(key), &mut Rng::from_seed(key)).unwrap()
    }

    // B3.1: the same client reaches the same endpoint in every worker and after every restart. If
    // these numbers change, every sticky session of every user moves at the next upgrade.
    #[test]
    fn winners_never_change() {
        let clients =
            ["192.0.2.1", "192.0.2.2", "2001:db8::1", "198.51.100.77", "::ffff:192.0.2.1"];
        let keys = clients.map(|text| key(&*by_client(), "", Some(text)));
        assert_eq!(keys[0], keys[4], "a mapped address is the v4 address");
        let equal = World::new(&[1; 8]);
        assert_eq!(keys.map(|key| winner(&equal, key)), [4, 6, 1, 1, 4]);
        let unequal = World::new(&[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(keys.map(|key| winner(&unequal, key)), [4, 6, 7, 1, 4]);
    }

    // B3.1, B3.2: a closed endpoint loses its keys to the others, who keep their own.
    #[test]
    fn only_the_keys_of_a_closed_one_move() {
        for weights in [[1; 5], [1, 2, 3, 4, 5]] {
            let mut world = World::new(&weights);
            let before: Vec<usize> = (1..1_000).map(|key| winner(&world, key)).collect();
            world.open[2] = false;
            let mut heirs = [0; 5];
            for (key, owner) in (1..).zip(before) {
                let now = winner(&world, key);
                if owner == 2 {
                    heirs[now] += 1;
                } else {
                    assert_eq!(now, owner);
                }
            }
            assert!(heirs[0] > 0 && heirs[2] == 0 && heirs[4] > 0, "{heirs:?}");
        }
    }

    // B3.1: an endpoint added at the end takes its share and leaves the rest where it was.
    #[test]
    fn a_new_one_takes_only_what_it_wins() {
        let (four, five) = (World::new(&[1; 4]), World::new(&[1; 5]));
        let moved = (1..10_000).filter(|key| {
            let now = winner(&five, *key);
            assert!(now == 4 || now == winner(&four, *key));
            now == 4
        });
        let moved = moved.count();
        assert!((1_850..2_150).contains(&moved), "{moved}");
    }

    #[test]
    fn equal_weights_of_any_size_give_the_same_winners() {
        let (world, heavy) = (World::new(&[1; 5]), World::new(&[7; 5]));
        for key in 1..500 {
            assert_eq!(winner(&world, key), winner(&heavy, key));
            let scores = world.snapshot.hashes().iter().map(|hash| by_weight(mix(key ^ hash), 3));
            let best = highest(&world.choice(key), scores.enumerate());
            assert_eq!(best, Some(winner(&world, key)));
        }
        let (least, most) = (by_weight(0, 1), by_weight(u64::MAX, 1_000_000));
        assert!(0.0 < least && least < most && most.is_finite(), "{least} {most}");
    }

    #[test]
    fn the_logarithm_is_one() {
        let mut rng = Rng::from_seed(9);
        let mut all: Vec<f64> = (0..10_000).map(|_| rng.below(1 << 52) as f64 + 0.5).collect();
        all.extend([
            0.5,
            1.0,
            (1_u64 << 52) as f64 - 0.5,
            (1_u64 << 51) as f64 * std::f64::consts::SQRT_2,
        ]);
        for x in all.into_iter().map(|x| x / (1_u64 << 52) as f64) {
            let (ours, theirs) = (ln(x), x.ln());
            assert!(((ours - theirs) / theirs).abs() < 1e-15, "{x}: {ours}, {theirs}");
        }
    }

    // B3.1: a named field; without it, at random.
    #[test]
    fn keys_come_from_the_client_or_the_field() {
        let by_field = Balance::Hash(HashBy::Field("x-user".into())).build();
        let client = Some("192.0.2.1");
        let (ann, bob) = ("X-User: ann\r\n", "X-User: bob\r\n");
        let of_ann = key(&*by_field, ann, client);
        assert_eq!(of_ann, key(&*by_field, ann, None));
        assert_ne!(of_ann, key(&*by_field, bob, client));
        assert_eq!(key(&*by_field, "", client), NOTHING);
        assert_ne!(key(&*by_field, "X-User:\r\n", client), NOTHING, "empty is a value too");
        assert_eq!(key(&*by_client(), ann, None), NOTHING);
        assert_ne!(key(&*by_client(), ann, client), NOTHING);

        let world = World::new(&[1; 3]);
        let mut rng = Rng::from_seed(6);
        let mut seen = [false; 3];
        for _ in 0..60 {
            seen[by_client().pick(&world.choice(NOTHING), &mut rng).unwrap()] = true;
        }
        assert_eq!(seen, [true; 3]);
    }
}
