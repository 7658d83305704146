//! Round-robin: each in its turn, and with unequal weights smoothly so. Weights 5, 1, 1 give
//! `a a b a c a a` and not `a a a a a b c` (the method is nginx's).
//!
//! Every start is at a random place, so that many workers that start together do not all begin
//! with the same endpoint. This file does not know load.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Balancer, Choice};
use crate::registry::Snapshot;
use crate::rng::Rng;

/// In turn. Its state is about one snapshot; another one is a new start.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    /// The snapshot that the state is about.
    fingerprint: Option<u64>,
    /// With equal weights: whose turn it is.
    next: usize,
    /// With unequal weights: what each endpoint is owed.
    owed: Vec<i64>,
}

impl Balancer for RoundRobin {
    fn pick(&mut self, choice: &Choice<'_>, rng: &mut Rng) -> Option<usize> {
        let snapshot = choice.snapshot();
        if self.fingerprint != Some(snapshot.fingerprint()) {
            self.start(snapshot, rng);
        }
        if snapshot.uniform() { self.take_turn(choice) } else { self.pay_most_owed(choice) }
    }
}

impl RoundRobin {
    fn start(&mut self, snapshot: &Snapshot, rng: &mut Rng) {
        self.fingerprint = Some(snapshot.fingerprint());
        self.next = rng.below(snapshot.len() as u64) as usize;
        self.owed.clear();
        if !snapshot.uniform() {
            self.jump(snapshot, rng.below(snapshot.total_weight()));
        }
    }

    /// The state after `picks` picks, without picking: each endpoint is owed its share of them,
    /// less a whole round's total for every time it was picked. The full ones are known; those who
    /// were picked once more are those who are owed most.
    fn jump(&mut self, snapshot: &Snapshot, picks: u64) {
        let total = i128::from(snapshot.total_weight().max(1));
        let share = |weight: u32| i128::from(picks) * i128::from(weight) % total;
        self.owed.extend(snapshot.endpoints().iter().map(|e| share(e.weight()) as i64));
        let left: i128 = self.owed.iter().map(|owed| i128::from(*owed)).sum();
        let first = self.owed.iter().zip(0..).map(|(owed, index)| (*owed, Reverse(index)));
        // A heap and not a sort, for size.
        let mut order: BinaryHeap<(i64, Reverse<usize>)> = first.collect();
        for _ in 0..left / total {
            let Some((_, Reverse(index))) = order.pop() else { break };
            if let Some(owed) = self.owed.get_mut(index) {
                *owed -= total as i64;
            }
        }
    }

    /// The next open one; O(1) unless closed ones are in the way.
    fn take_turn(&mut self, choice: &Choice<'_>) -> Option<usize> {
        let count = choice.len();
        let after = self.next..count;
        let index = after.chain(0..self.next).find(|index| choice.open(*index))?;
        self.next = if index + 1 < count { index + 1 } else { 0 };
        Some(index)
    }

    /// Everyone open earns its weight; the one who is owed most is picked and pays for all. A
    /// closed one earns nothing, so that it does not come back with a debt to collect.
    fn pay_most_owed(&mut self, choice: &Choice<'_>) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, owed) in self.owed.iter_mut().enumerate() {
            if !choice.open(index) {
                continue;
            }
            let weight = i64::from(choice.weight(index));
            *owed += weight;
            total += weight;
            if best.is_none_or(|(_, most)| *owed > most) {
                best = Some((index, *owed));
            }
        }
        let (index, _) = best?;
        if let Some(owed) = self.owed.get_mut(index) {
            *owed -= total;
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::World;
    use super::*;

    fn run(balancer: &mut RoundRobin, world: &World, picks: usize, seed: u64) -> Vec<usize> {
        let mut rng = Rng::from_seed(seed);
        (0..picks).filter_map(|_| balancer.pick(&world.choice(0), &mut rng)).collect()
    }

    // B3.1: smooth, and exact over any round, wherever it starts.
    #[test]
    fn every_round_is_exact() {
        for weights in [&[1][..], &[1, 1, 1], &[7, 7], &[5, 1, 1], &[3, 2, 1, 4], &[20, 3]] {
            let world = World::new(weights);
            let round = if world.snapshot.uniform() {
                weights.len()
            } else {
                weights.iter().sum::<u32>() as usize
            };
            for seed in 0..30 {
                let picks = run(&mut RoundRobin::default(), &world, round * 3, seed);
                for window in picks.windows(round) {
                    for (index, weight) in weights.iter().enumerate() {
                        let count = window.iter().filter(|picked| **picked == index).count();
                        let want = if world.snapshot.uniform() { 1 } else { *weight as usize };
                        assert_eq!(count, want, "{weights:?} seed {seed}: {picks:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_jump_is_where_the_picks_would_have_led() {
        for weights in [&[5, 1, 1][..], &[3, 2, 1, 4], &[2, 1], &[9, 8, 1]] {
            let world = World::new(weights);
            let (mut walked, mut rng) = (RoundRobin::default(), Rng::from_seed(0));
            walked.start(&world.snapshot, &mut rng);
            walked.owed.fill(0);
            let total = world.snapshot.total_weight();
            let sequence = run(&mut walked, &world, 2 * total as usize, 0);
            let mut first = vec![0; weights.len()];
            for picks in 0..total {
                let fingerprint = Some(world.snapshot.fingerprint());
                let mut jumped = RoundRobin { fingerprint, ..RoundRobin::default() };
                jumped.jump(&world.snapshot, picks);
                assert_eq!(jumped.owed.iter().sum::<i64>(), 0);
                first[run(&mut jumped, &world, 1, 0)[0]] += 1;
            }
            assert_eq!(first, weights, "each is first as often as it weighs; {sequence:?}");
        }
    }

    #[test]
    fn starts_are_spread() {
        for weights in [&[1, 1, 1][..], &[5, 1, 1]] {
            let world = World::new(weights);
            let mut seen = vec![false; weights.len()];
            for seed in 0..100 {
                seen[run(&mut RoundRobin::default(), &world, 1, seed)[0]] = true;
            }
            assert_eq!(seen, [true; 3], "{weights:?}");
        }
    }

    // B3.2: the turn of a closed one goes to the others evenly, and it does not come back greedy.
    #[test]
    fn closed_ones_are_passed_over() {
        for weights in [&[1, 1, 1, 1][..], &[1, 2, 1, 1]] {
            let mut world = World::new(weights);
            world.open[1] = false;
            let mut balancer = RoundRobin::default();
            let picks = run(&mut balancer, &world, 30, 4);
            for index in [0, 2, 3] {
                let count = picks.iter().filter(|picked| **picked == index).count();
                assert!((9..=11).contains(&count), "{weights:?} {picks:?}");
            }
            world.open[1] = true;
            let back = run(&mut balancer, &world, 20, 4);
            let count = back.iter().filter(|picked| **picked == 1).count();
            let total: u32 = weights.iter().sum();
            let want = 20 * weights[1] / total;
            assert!((want - 1..=want + 1).contains(&(count as u32)), "{weights:?} {back:?}");
        }
    }

    #[test]
    fn state_is_kept_for_a_snapshot_of_the_same_content() {
        let mut balancer = RoundRobin::default();
        let mut all = run(&mut balancer, &World::new(&[1, 1, 1]), 2, 8);
        all.extend(run(&mut balancer, &World::new(&[1, 1, 1]), 1, 9));
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    }

    #[test]
    fn no_allocation_once_started() {
        let world = World::new(&[3, 1, 2]);
        let mut balancer = RoundRobin::default();
        run(&mut balancer, &world, 1, 0);
        let before = (balancer.owed.as_ptr(), balancer.owed.capacity());
        run(&mut balancer, &world, 100, 0);
        assert_eq!(before, (balancer.owed.as_ptr(), balancer.owed.capacity()));
    }
}
