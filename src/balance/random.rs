//! Weighted dice, thrown once or twice. No list of candidates is ever made: with a thousand
//! endpoints a throw costs what it costs with two. This file keeps no state.

use super::load::Burden;
use super::{Balancer, Choice};
use crate::rng::Rng;

/// By weight alone.
#[derive(Debug)]
pub(super) struct Random;

impl Balancer for Random {
    fn pick(&mut self, choice: &Choice<'_>, rng: &mut Rng) -> Option<usize> {
        draw(choice, rng, None)
    }
}

/// The less loaded of two: nearly as even as knowing all loads, at the price of knowing two, and
/// without the herd that runs to the one least loaded (Mitzenmacher, 2001).
#[derive(Debug)]
pub(super) struct P2c;

impl Balancer for P2c {
    fn pick(&mut self, choice: &Choice<'_>, rng: &mut Rng) -> Option<usize> {
        let first = draw(choice, rng, None)?;
        let Some(second) = draw(choice, rng, Some(first)) else { return Some(first) };
        let lighter = Burden::of(choice, second).cmp(Burden::of(choice, first)).is_lt();
        Some(if lighter { second } else { first })
    }
}

/// An open endpoint other than `except`, with a chance in proportion to its weight.
///
/// One throw over all, and only if that hits a closed one a second among the open. Together they
/// give each open endpoint exactly its share.
#[inline(always)]
pub(super) fn draw(choice: &Choice<'_>, rng: &mut Rng, except: Option<usize>) -> Option<usize> {
    let snapshot = choice.snapshot();
    // The points that `except` owns are left out of the throw and jumped over after it.
    let (hole, width) = match except {
        Some(index) => (snapshot.weight_before(index), u64::from(choice.weight(index))),
        None => (0, 0),
    };
    let points = snapshot.total_weight().checked_sub(width).filter(|points| *points > 0)?;
    let point = rng.below(points);
    let index = snapshot.at_weight(if point < hole { point } else { point + width });
    if choice.open(index) { Some(index) } else { draw_by_scan(choice, rng, except) }
}

#[cold]
fn draw_by_scan(choice: &Choice<'_>, rng: &mut Rng, except: Option<usize>) -> Option<usize> {
    let open = || (0..choice.len()).filter(|index| Some(*index) != except && choice.open(*index));
    let points: u64 = open().map(|index| u64::from(choice.weight(index))).sum();
    let mut point = rng.below(points);
    open().find(|index| {
        let weight = u64::from(choice.weight(*index));
        let found = point < weight;
        point = point.saturating_sub(weight);
        found
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::testing::*;
    use super::super::{Balance, Load};
    use super::*;

    // B3.1: the second throw is by weight too, and never the first one again.
    #[test]
    fn the_second_of_two_is_another_one() {
        let world = World::new(&[1_000_000, 1, 3]);
        let mut rng = Rng::from_seed(2);
        let mut count = [0_u32; 3];
        for _ in 0..4_000 {
            count[draw(&world.choice(0), &mut rng, Some(0)).unwrap()] += 1;
        }
        assert_eq!(count[0], 0);
        assert!((850..1_150).contains(&count[1]), "{count:?}");
        for except in 0..3 {
            for _ in 0..200 {
                assert_ne!(draw(&world.choice(0), &mut rng, Some(except)), Some(except));
            }
        }
        let mut world = World::new(&[5, 1]);
        world.open[1] = false;
        assert_eq!(draw(&world.choice(0), &mut rng, Some(0)), None);
        assert_eq!(draw(&World::new(&[5]).choice(0), &mut rng, Some(0)), None);
    }

    // B3.1: of two, the one with fewer requests in flight for its weight.
    #[test]
    fn p2c_takes_the_less_loaded() {
        for (weights, in_flight, never) in [
            (&[1, 1][..], &[1, 0][..], 0),
            (&[1, 1, 1], &[1, 2, 3], 2),
            (&[10, 1], &[9, 1], 1),
            (&[10, 1], &[11, 1], 0),
        ] {
            let mut world = World::new(weights);
            world.in_flight = in_flight.to_vec();
            let share = shares(&Balance::P2c, &world, 500);
            assert_eq!(share[never], 0, "{weights:?} {in_flight:?} {share:?}");
        }
    }

    // B3.2: with all others closed, the one that is left is found.
    #[test]
    fn one_open_among_many() {
        let mut world = World::new(&[1; 500]);
        world.open.fill(false);
        world.open[321] = true;
        for balance in [Balance::Random, Balance::P2c] {
            assert_eq!(shares(&balance, &world, 50)[321], 50);
        }
    }

    struct Counting {
        looks: Cell<u32>,
    }

    impl Load for Counting {
        fn in_flight(&self, _: usize) -> u32 {
            0
        }

        fn open(&self, _: usize) -> bool {
            self.looks.set(self.looks.get() + 1);
            true
        }
    }

    #[test]
    fn a_throw_looks_at_one_endpoint_of_a_thousand() {
        let world = World::new(&[1; 1000]);
        let load = Counting { looks: Cell::new(0) };
        let mut rng = Rng::from_seed(9);
        for (balance, looks) in [(Balance::Random, 1), (Balance::P2c, 2)] {
            load.looks.set(0);
            let picked = balance.build().pick(&Choice::new(&world.snapshot, &load, 0), &mut rng);
            assert!(picked.is_some());
            assert_eq!(load.looks.get(), looks, "{balance}");
        }
    }
}
