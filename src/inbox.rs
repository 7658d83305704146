//! What other threads ask of one event loop, in the order in which they asked.
//!
//! A queue behind a lock, which is taken in turns that were woken for it only: a channel of the
//! standard library brings three kinds of queue along, and ways to wait that nobody here needs.
//! This file does not know what is asked, nor how the loop is woken.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

struct State<T> {
    waiting: VecDeque<T>,
    /// The loop lives.
    open: bool,
}

/// The loop's end of it. When it is dropped, nothing is taken in any more.
pub(crate) struct Inbox<T> {
    slot: Slot<T>,
}

/// The end of those who ask.
pub(crate) struct Slot<T> {
    state: Arc<Mutex<State<T>>>,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Inbox<T> {
        let state = State { waiting: VecDeque::new(), open: true };
        Inbox { slot: Slot { state: Arc::new(Mutex::new(state)) } }
    }

    /// Another way in.
    pub(crate) fn slot(&self) -> Slot<T> {
        self.slot.clone()
    }

    /// What was asked first.
    pub(crate) fn take(&self) -> Option<T> {
        self.slot.lock().waiting.pop_front()
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        state.open = false;
        // What was asked in vain may call anything when it goes: not under the lock.
        let left = std::mem::take(&mut state.waiting);
        drop(state);
        drop(left);
    }
}

impl<T> Slot<T> {
    /// Asks for something; `false` if nobody is left to do it.
    pub(crate) fn put(&self, asked: T) -> bool {
        let mut state = self.lock();
        if state.open {
            state.waiting.push_back(asked);
        }
        state.open
    }

    /// Nothing in here is left half done by a panic.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Slot<T> {
        Slot { state: Arc::clone(&self.state) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_comes_in_order_and_nothing_after_the_end() {
        let inbox = Inbox::new();
        let (one, two) = (inbox.slot(), inbox.slot());
        assert!(one.put(1) && two.put(2) && one.put(3));
        assert_eq!(
            [inbox.take(), inbox.take(), inbox.take(), inbox.take()].map(|n| n.unwrap_or(0)),
            [1, 2, 3, 0]
        );
        let held = Arc::new(());
        let inbox = Inbox::new();
        let slot = inbox.slot();
        assert!(slot.put(Arc::clone(&held)));
        drop(inbox);
        assert_eq!(Arc::strong_count(&held), 1, "what was asked in vain is gone");
        assert!(!slot.put(Arc::clone(&held)));
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
