//! The least loaded of all, and what "less loaded" means. This file does not know time: load is
//! what is in flight now.

use std::cmp::Ordering;

use super::{Balancer, Choice};
use crate::rng::Rng;

/// Fewest requests in flight for its weight; ties at random, by weight.
#[derive(Debug)]
pub(super) struct Least;

impl Balancer for Least {
    /// Two scans and one throw of the dice, however many are equal.
    fn pick(&mut self, choice: &Choice<'_>, rng: &mut Rng) -> Option<usize> {
        let open = || (0..choice.len()).filter(|index| choice.open(*index));
        let mut best: Option<Burden> = None;
        let mut points = 0;
        for burden in open().map(|index| Burden::of(choice, index)) {
            match best.map_or(Ordering::Less, |best| burden.cmp(best)) {
                Ordering::Less => (best, points) = (Some(burden), burden.weight),
                Ordering::Equal => points += burden.weight,
                Ordering::Greater => {}
            }
        }
        let best = best?;
        let mut point = rng.below(points);
        open().find(|index| {
            let burden = Burden::of(choice, *index);
            let equal = burden.cmp(best).is_eq();
            let found = equal && point < burden.weight;
            point = point.saturating_sub(if equal { burden.weight } else { 0 });
            found
        })
    }
}

/// What an endpoint carries, for its weight.
#[derive(Clone, Copy)]
pub(super) struct Burden {
    in_flight: u64,
    weight: u64,
}

impl Burden {
    /// That of endpoint `index`.
    pub(super) fn of(choice: &Choice<'_>, index: usize) -> Burden {
        Burden {
            in_flight: u64::from(choice.in_flight(index)),
            weight: u64::from(choice.weight(index)),
        }
    }

    /// Fractions compared crosswise, so that nothing is rounded; 32 bits each, so that nothing
    /// overflows.
    pub(super) fn cmp(self, other: Burden) -> Ordering {
        (self.in_flight * other.weight).cmp(&(other.in_flight * self.weight))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Balance, Choice};
    use super::*;

    fn picks(world: &World) -> Vec<bool> {
        shares(&Balance::Least, world, 400).iter().map(|count| *count > 0).collect()
    }

    // B3.1: the fewest in flight, ties random.
    #[test]
    fn the_fewest_for_the_weight() {
        for (weights, in_flight, closed, want) in [
            (&[1, 1, 1][..], &[2, 1, 3][..], None, &[false, true, false][..]),
            (&[1, 1, 1], &[1, 1, 3], None, &[true, true, false]),
            (&[1, 1, 1], &[3, 1, 1], None, &[false, true, true]),
            (&[1, 1, 1], &[2, 1, 3], Some(1), &[true, false, false]),
            (&[4, 1, 1], &[3, 1, 1], None, &[true, false, false]),
            (&[4, 1, 2], &[4, 1, 2], None, &[true, true, true]),
            (&[1_000_000, 1, 1], &[u32::MAX, 4294, 4295], None, &[false, true, false]),
        ] {
            let mut world = World::new(weights);
            world.in_flight = in_flight.to_vec();
            if let Some(index) = closed {
                world.open[index] = false;
            }
            assert_eq!(picks(&world), want, "{weights:?} {in_flight:?}");
        }
    }

    // B3.1: what is picked in turn and never ends fills up by weight.
    #[test]
    fn load_settles_in_proportion_to_weight() {
        let mut world = World::new(&[1, 2, 3]);
        let mut rng = Rng::from_seed(5);
        for _ in 0..600 {
            let index = Least.pick(&Choice::new(&world.snapshot, &world, 0), &mut rng).unwrap();
            world.in_flight[index] += 1;
        }
        assert_eq!(world.in_flight, [100, 200, 300]);
    }
}
