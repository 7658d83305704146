//! An alarm: an event at a moment that is far away.
//!
//! A wait with an end costs a timer of the kernel each time, which is set and taken away again:
//! half a microsecond, though the next deadline of a proxy at work is seconds away. So a far one
//! gets a timer of its own, which stays set from wait to wait, and the waits have no end. It rings
//! early if the deadline has moved; then it is set anew. This file does not know who is due.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::time::Ms;

/// What is nearer is left to the wait: to set an alarm is a system call of its own.
pub(crate) const FAR: Duration = Duration::from_millis(100);

/// A timer that the reactor's poll listens to.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: OwnedFd,
    /// When it rings, unless that has passed.
    at: Ms,
}

impl Alarm {
    /// An alarm that is not set; its ringing is told as `token`.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Alarm> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Alarm { timer, at: Ms::ZERO })
    }

    /// Sees to it that it rings at `at`, which is later than `now`, or before.
    pub(crate) fn set(&mut self, at: Ms, now: Ms) -> io::Result<()> {
        if self.rings_by(at, now) {
            return Ok(());
        }
        let wait_ms = at.since(now);
        let timespec = |ms: u64| Timespec {
            tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
            tv_nsec: (ms % 1000 * 1_000_000) as _,
        };
        let times = Itimerspec { it_interval: timespec(0), it_value: timespec(wait_ms) };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &times)?;
        self.at = at;
        Ok(())
    }

    /// Whether it will ring by `at` as it is.
    fn rings_by(&self, at: Ms, now: Ms) -> bool {
        self.at > now && self.at <= at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};

    /// B8.4: what is set rings once, and again when it is set again; what rings early enough is
    /// left as it is.
    #[test]
    fn b8_4_it_rings_each_time_it_is_set() {
        let mut poll = Poll::new().unwrap();
        let mut alarm = Alarm::new(poll.registry(), Token(7)).unwrap();
        let mut events = Events::with_capacity(8);
        let mut rings = |wait_ms| {
            poll.poll(&mut events, Some(Duration::from_millis(wait_ms))).unwrap();
            events.iter().filter(|event| event.token() == Token(7)).count()
        };
        assert_eq!(rings(0), 0);
        for now in [Ms(5), Ms(900)] {
            alarm.set(now + 10, now).unwrap();
            assert_eq!((rings(10_000), rings(30)), (1, 0));
        }
        alarm.set(Ms(1010), Ms(1000)).unwrap();
        alarm.set(Ms(90_000), Ms(1000)).unwrap();
        assert_eq!(rings(10_000), 1, "a later one does not take its place");
        alarm.set(Ms(90_000), Ms(2000)).unwrap();
        alarm.set(Ms(2010), Ms(2000)).unwrap();
        assert_eq!(rings(10_000), 1, "an earlier one does");
    }
}
