//! What an endpoint has shown lately: pure policy, with the moment and the dice as arguments.
//!
//! ```text
//!   failures in a row   -> set aside for 1 s, 2 s, 4 s .. 30 s      (B5.1)
//!   new, or back        -> 1, 2, 4 .. requests until proven         (B5.3)
//!   idle connections    -> two gone at once: it restarts            (B5.4)
//!                       -> at what age it closes them               (B6.2)
//!                       -> whether it may be trusted with a POST    (B4.3)
//! ```
//!
//! This file does not know connections or requests, and it decides nothing: it says how an
//! endpoint stands, and the choice is made elsewhere.

use crate::rng::Rng;
use crate::time::Ms;

/// The limits that health goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) eject_failures: u32,
    pub(crate) eject_ms: u64,
    pub(crate) eject_max_ms: u64,
    pub(crate) slow_start: bool,
    pub(crate) max_inflight: u32,
}

/// How an endpoint stands, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Nothing speaks against it.
    Open,
    /// It seems to restart: others are better, but it may be tried.
    Doubtful,
    /// It has yet to prove itself, and is busy doing so.
    Unproven,
    /// It works on as many requests as it may.
    Full,
    /// It has failed too often.
    SetAside,
}

/// Requests in flight at which an endpoint needs no further proof.
const PROVEN: u32 = 64;
/// Two idle connections closing within this time are a restart, not a coincidence.
const COLLAPSE_MS: u64 = 50;
/// So many used connections dying in a row mean that it closes them after each answer: for a
/// second, then for longer, none is used.
const REUSE_DEATHS: u32 = 3;
/// How long others are preferred to an endpoint that seems to restart. Nobody would find out that
/// it is back if nobody ever tried.
const RESTART_MS: u64 = 1000;
/// How long an endpoint is not trusted after a used connection died under a request.
const DISTRUST_MS: u64 = 60_000;
/// How long a connection must be idle and alive to earn trust, and how recently one must have been
/// active to be taken on trust.
pub(crate) const TRUST_IDLE_MS: u64 = 1000;
/// A FIN that comes sooner than this says nothing about an idle limit.
const SHORTEST_LIMIT_MS: u64 = 500;

/// What one endpoint has shown.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    failures: u32,
    ejections: u32,
    set_aside_until: Ms,
    failed_at: Ms,
    /// Requests in flight that it may have; [`u32::MAX`] once it has proven itself.
    window: u32,
    /// It seems to restart, until then.
    restarting_until: Ms,
    /// When an idle connection last closed, and at what age.
    closed_at: Option<Ms>,
    closed_age_ms: u64,
    /// A used connection has outlived a second of idleness since the last failure.
    outlived: bool,
    died_at: Option<Ms>,
    /// Used connections that died under a request, in a row; no other is used until then.
    reuse_deaths: u32,
    no_reuse_until: Ms,
    /// Checks with the same result in a row, and whether they have set it aside.
    check_streak: u32,
    checked_well: bool,
    down: bool,
    /// How long an idle connection may be kept, as far as it has told or shown.
    idle_limit_ms: u64,
}

impl Health {
    /// A new endpoint.
    pub(crate) fn new(slow_start: bool) -> Health {
        Health {
            failures: 0,
            ejections: 0,
            set_aside_until: Ms::ZERO,
            failed_at: Ms::ZERO,
            window: if slow_start { 1 } else { u32::MAX },
            restarting_until: Ms::ZERO,
            closed_at: None,
            closed_age_ms: 0,
            outlived: false,
            died_at: None,
            reuse_deaths: 0,
            no_reuse_until: Ms::ZERO,
            check_streak: 0,
            checked_well: true,
            down: false,
            idle_limit_ms: u64::MAX,
        }
    }

    /// How it stands with `in_flight` requests, of which `coming` are not whole yet.
    pub(crate) fn standing(&self, in_flight: u32, coming: u32, rules: &Rules, now: Ms) -> Standing {
        if rules.max_inflight > 0 && in_flight >= rules.max_inflight {
            Standing::Full
        } else if now < self.set_aside_until || self.down {
            Standing::SetAside
        } else if in_flight.saturating_sub(coming) >= self.window && rules.slow_start {
            Standing::Unproven
        } else if now < self.restarting_until {
            Standing::Doubtful
        } else {
            Standing::Open
        }
    }

    /// When it failed last; [`Ms::ZERO`] if never.
    pub(crate) fn failed_at(&self) -> Ms {
        self.failed_at
    }

    /// A connect failed, or a connection died early.
    pub(crate) fn failed(&mut self, rules: &Rules, now: Ms, rng: &mut Rng) {
        self.failed_at = now;
        self.failures += 1;
        self.outlived = false;
        if rules.eject_failures == 0 || self.failures < rules.eject_failures {
            return;
        }
        let doubled = rules.eject_ms.saturating_mul(1 << self.ejections.min(20));
        let full = doubled.min(rules.eject_max_ms);
        // 80 to 120 percent: endpoints that failed together do not come back together.
        let percent = 80 + rng.below(41);
        self.set_aside_until = now + full * percent / 100;
        self.ejections += 1;
        self.failures = 0;
        self.window = if rules.slow_start { 1 } else { u32::MAX };
    }

    /// It has answered a request. Gives whether it stands better for it than before.
    pub(crate) fn succeeded(&mut self) -> bool {
        let better = self.window != u32::MAX || self.ejections > 0;
        self.failures = 0;
        self.ejections = 0;
        self.set_aside_until = Ms::ZERO;
        self.restarting_until = Ms::ZERO;
        if self.window != u32::MAX {
            self.window = self.window.saturating_mul(2);
            if self.window >= PROVEN {
                self.window = u32::MAX;
            }
        }
        better
    }

    /// An active check says whether it is well. Gives what it is from now on, if that changes.
    pub(crate) fn checked(&mut self, good: bool, rise: u32, fall: u32, now: Ms) -> Option<bool> {
        self.check_streak = if good == self.checked_well { self.check_streak + 1 } else { 1 };
        self.checked_well = good;
        let enough = self.check_streak >= if good { rise } else { fall };
        if !enough || good != self.down {
            return None;
        }
        self.down = !good;
        if good {
            self.set_aside_until = Ms::ZERO;
        } else {
            self.failed_at = now;
            self.outlived = false;
        }
        Some(good)
    }

    /// It has accepted a connection: whatever it was doing, it listens.
    pub(crate) fn accepted(&mut self) {
        self.restarting_until = Ms::ZERO;
    }

    /// It has closed a connection that had been idle for `age_ms`.
    pub(crate) fn idle_closed(&mut self, age_ms: u64, now: Ms) {
        let together = self.closed_at.is_some_and(|at| now.since(at) <= COLLAPSE_MS);
        self.closed_at = Some(now);
        if together {
            self.restarting_until = now + RESTART_MS;
            self.outlived = false;
            return;
        }
        // Twice at about the same age is a habit. Once may be anything.
        let before = std::mem::replace(&mut self.closed_age_ms, age_ms);
        let alike = age_ms >= SHORTEST_LIMIT_MS && age_ms.abs_diff(before) <= age_ms / 4;
        if alike {
            self.limit_idle(age_ms.min(before));
        }
    }

    /// It says, or shows, that it closes connections that were idle for `limit_ms`. One taken at
    /// the last moment would meet its FIN on the way: a second is left for that.
    pub(crate) fn limit_idle(&mut self, limit_ms: u64) {
        self.idle_limit_ms = self.idle_limit_ms.min(limit_ms.saturating_sub(1000));
    }

    /// How long an idle connection may be kept, if we would keep it for `own_ms`.
    pub(crate) fn idle_limit_ms(&self, own_ms: u64) -> u64 {
        self.idle_limit_ms.min(own_ms)
    }

    /// A connection has been idle for `age_ms`, and is alive.
    pub(crate) fn outlived(&mut self, age_ms: u64) {
        self.outlived |= age_ms >= TRUST_IDLE_MS;
    }

    /// A used connection died under a request, without notice.
    pub(crate) fn died_on_reuse(&mut self, now: Ms) {
        self.died_at = Some(now);
        self.outlived = false;
        self.reuse_deaths += 1;
        if self.reuse_deaths >= REUSE_DEATHS {
            let doublings = (self.reuse_deaths - REUSE_DEATHS).min(6);
            self.no_reuse_until = now + (1000 << doublings);
        }
    }

    /// A used connection has carried a request to its end.
    pub(crate) fn survived_reuse(&mut self) {
        self.reuse_deaths = 0;
    }

    /// Whether it is worth keeping connections to it. Where every second request kills one,
    /// repeats would soon cost more than connecting anew.
    pub(crate) fn may_reuse(&self, now: Ms) -> bool {
        now >= self.no_reuse_until
    }

    /// Whether a request that must not be repeated may ride one of its used connections.
    pub(crate) fn trusted(&self, now: Ms) -> bool {
        let distrusted = self.died_at.is_some_and(|at| now.since(at) < DISTRUST_MS);
        self.outlived && !distrusted && now >= self.restarting_until
    }
}

/// How many requests of one service may still be written a second time (`B4.7`), in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget {
    milli: u64,
    filled_at: Option<Ms>,
}

/// A budget that nobody uses grows for so long.
const BUDGET_MS: u64 = 10_000;

impl Budget {
    /// A request has begun: `percent` of one more may be repeated.
    pub(crate) fn earn(&mut self, percent: u64, per_second: u64) {
        let most = 1_000_000 + per_second * BUDGET_MS;
        self.milli = (self.milli + percent * 10).min(most);
    }

    /// Takes the right to repeat one request, if there is one.
    pub(crate) fn spend(&mut self, per_second: u64, now: Ms) -> bool {
        let has_one = self.has_one(per_second, now);
        self.milli -= if has_one { 1000 } else { 0 };
        has_one
    }

    /// Whether one request may be repeated.
    pub(crate) fn has_one(&mut self, per_second: u64, now: Ms) -> bool {
        // The first seconds' worth is there from the start.
        let passed_ms = self.filled_at.map_or(BUDGET_MS, |at| now.since(at)).min(BUDGET_MS);
        self.filled_at = Some(now);
        self.milli += passed_ms * per_second;
        self.milli >= 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        eject_failures: 3,
        eject_ms: 1000,
        eject_max_ms: 30_000,
        slow_start: true,
        max_inflight: 0,
    };

    fn proven() -> Health {
        Health::new(false)
    }

    /// B5.1
    #[test]
    fn three_failures_in_a_row_set_aside_for_longer_each_time() {
        let (mut health, mut rng) = (proven(), Rng::from_seed(1));
        let rules = Rules { slow_start: false, ..RULES };
        let mut now = Ms(10);
        for expected_ms in [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            for _ in 0..2 {
                health.failed(&rules, now, &mut rng);
                assert_eq!(health.standing(0, 0, &rules, now), Standing::Open);
            }
            health.failed(&rules, now, &mut rng);
            let early = now + (expected_ms * 79 / 100);
            let late = now + (expected_ms * 121 / 100);
            assert_eq!(health.standing(0, 0, &rules, early), Standing::SetAside);
            assert_eq!(health.standing(0, 0, &rules, late), Standing::Open);
            now = late;
        }
        health.failed(&rules, now, &mut rng);
        health.failed(&rules, now, &mut rng);
        assert!(health.succeeded(), "one success clears it");
        health.failed(&rules, now, &mut rng);
        assert_eq!(health.standing(0, 0, &rules, now), Standing::Open);
        let never = Rules { eject_failures: 0, ..rules };
        (0..99).for_each(|_| health.failed(&never, now, &mut rng));
        assert_eq!(health.standing(0, 0, &never, now), Standing::Open);
    }

    /// B5.3, B5.6
    #[test]
    fn a_new_endpoint_proves_itself_step_by_step() {
        let mut health = Health::new(true);
        for window in [1, 2, 4, 8, 16, 32] {
            assert_eq!(health.standing(window - 1, 0, &RULES, Ms(5)), Standing::Open);
            assert_eq!(health.standing(window, 0, &RULES, Ms(5)), Standing::Unproven);
            assert_eq!(health.standing(window + 8, 9, &RULES, Ms(5)), Standing::Open);
            assert!(health.succeeded());
        }
        assert_eq!(health.standing(9999, 0, &RULES, Ms(5)), Standing::Open);
        assert!(!health.succeeded());
        let bounded = Rules { max_inflight: 7, ..RULES };
        assert_eq!(health.standing(6, 0, &bounded, Ms(5)), Standing::Open);
        assert_eq!(health.standing(7, 0, &bounded, Ms(5)), Standing::Full);
    }

    /// B5.4
    #[test]
    fn two_idle_connections_closing_together_are_a_restart() {
        let mut health = proven();
        health.idle_closed(900, Ms(1000));
        health.idle_closed(900, Ms(1051));
        assert_eq!(health.standing(0, 0, &RULES, Ms(1051)), Standing::Open);
        health.idle_closed(100, Ms(1101));
        assert_eq!(health.standing(0, 0, &RULES, Ms(1101)), Standing::Doubtful);
        assert_eq!(health.standing(0, 0, &RULES, Ms(2101)), Standing::Open, "not for ever");
        health.accepted();
        assert_eq!(health.standing(0, 0, &RULES, Ms(1101)), Standing::Open);
    }

    /// B6.2
    #[test]
    fn idle_limits_are_told_or_shown() {
        let mut health = proven();
        assert_eq!(health.idle_limit_ms(4000), 4000);
        health.limit_idle(5000);
        assert_eq!(health.idle_limit_ms(9000), 4000);
        health.idle_closed(2100, Ms(3000));
        assert_eq!(health.idle_limit_ms(9000), 4000, "once is no habit");
        health.idle_closed(2000, Ms(9000));
        assert_eq!(health.idle_limit_ms(9000), 1000);
        let mut hasty = proven();
        (0..9).for_each(|n| hasty.idle_closed(3, Ms(1000 * n)));
        assert_eq!(hasty.idle_limit_ms(4000), 4000, "closing at once is no idle limit");
    }

    /// B4.3
    #[test]
    fn trust_is_earned_by_idleness_and_lost_by_a_death() {
        let (mut health, mut rng) = (proven(), Rng::from_seed(1));
        assert!(!health.trusted(Ms(5)));
        health.outlived(999);
        assert!(!health.trusted(Ms(5)));
        health.outlived(1000);
        assert!(health.trusted(Ms(5)));
        health.died_on_reuse(Ms(10));
        health.outlived(5000);
        assert!(!health.trusted(Ms(60_009)));
        assert!(health.trusted(Ms(60_010)));
        health.failed(&RULES, Ms(60_010), &mut rng);
        assert!(!health.trusted(Ms(60_010)), "it may be another process now");
    }

    /// B5.5
    #[test]
    fn checks_need_several_in_a_row() {
        let mut health = proven();
        let mut check = |good| health.checked(good, 2, 3, Ms(7));
        assert_eq!([check(false), check(false), check(true)], [None; 3]);
        assert_eq!([check(false), check(false), check(false)], [None, None, Some(false)]);
        assert_eq!([check(false), check(true), check(false), check(true)], [None; 4]);
        assert_eq!([check(true), check(true)], [Some(true), None]);
        for _ in 0..3 {
            health.checked(false, 2, 3, Ms(7));
        }
        assert_eq!(health.standing(0, 0, &RULES, Ms(99_999)), Standing::SetAside);
        assert_eq!(health.failed_at(), Ms(7));
    }

    /// B6.2: an endpoint that closes after each answer is not asked to keep connections.
    #[test]
    fn reuse_pauses_where_it_never_works() {
        let mut health = proven();
        health.died_on_reuse(Ms(1));
        health.died_on_reuse(Ms(1));
        assert!(health.may_reuse(Ms(1)));
        health.survived_reuse();
        (0..3).for_each(|_| health.died_on_reuse(Ms(1)));
        assert!(!health.may_reuse(Ms(1000)) && health.may_reuse(Ms(1001)));
        health.died_on_reuse(Ms(1001));
        assert!(!health.may_reuse(Ms(3000)) && health.may_reuse(Ms(3001)));
        (0..99).for_each(|_| health.died_on_reuse(Ms(5000)));
        assert!(!health.may_reuse(Ms(68_999)) && health.may_reuse(Ms(69_000)));
    }

    /// B4.7
    #[test]
    fn repeats_are_a_fifth_of_requests_and_ten_a_second() {
        let mut budget = Budget::default();
        let first = (0..999).filter(|_| budget.spend(10, Ms::ZERO)).count();
        assert_eq!(first, 100, "ten seconds' worth, for a burst");
        (0..10).for_each(|_| budget.earn(20, 10));
        assert!(budget.spend(10, Ms::ZERO) && budget.spend(10, Ms::ZERO));
        assert!(!budget.spend(10, Ms::ZERO));
        let after = (0..99).filter(|_| budget.spend(10, Ms(1000))).count();
        assert_eq!(after, 10);
        let after_long = (0..999).filter(|_| budget.spend(10, Ms(999_999))).count();
        assert_eq!(after_long, 100, "ten seconds' worth");
        (0..99_999).for_each(|_| budget.earn(20, 0));
        assert_eq!((0..9999).filter(|_| budget.spend(0, Ms(999_999))).count(), 1000);
    }
}
