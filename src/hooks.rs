//! Where an embedder looks at exchanges and changes them.
//!
//! Hooks run on the reactor's thread, between reading a head and passing it on; they must not
//! block. What they add to a head cannot be named away by a client's `Connection` field, and what
//! frames or routes a message cannot be changed. This file does not know the engine.

use crate::h1::answer::{Answer, push_field};
use crate::h1::rewrite::Changes;
use crate::h1::{RequestHead, ResponseHead};
use crate::summary::Summary;

/// What a hook wants changed in a head.
#[derive(Debug, Default)]
pub struct Edit {
    pub(crate) changes: Changes,
}

impl Edit {
    /// Adds a field line. Gives `false`, and adds nothing, if name or value are malformed or the
    /// field frames the message.
    pub fn add_field(&mut self, name: &str, value: &str) -> bool {
        push_field(&mut self.changes.added, name, value)
    }

    /// Removes every field line called `name` that came; those that frame, route or were added
    /// by the proxy stay.
    pub fn remove_field(&mut self, name: &str) {
        self.changes.removed.push(name.to_owned());
    }

    /// What is wanted, if anything is.
    pub(crate) fn changes(&self) -> Option<&Changes> {
        let any = !self.changes.added.is_empty() || !self.changes.removed.is_empty();
        any.then_some(&self.changes)
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Decision {
    /// It goes on to an endpoint.
    Forward,
    /// The proxy answers it with this.
    Answer(Answer),
}

/// Looks at every exchange; every method does nothing unless it is overridden.
pub trait Hooks: Send {
    /// A request head was read, and is well-formed. Called once, however often it is repeated.
    fn request(&mut self, head: &RequestHead<'_>, edit: &mut Edit) -> Decision {
        let _ = (head, edit);
        Decision::Forward
    }

    /// A final response head came from an endpoint, and is about to be passed on.
    fn response(&mut self, head: &ResponseHead<'_>, edit: &mut Edit) {
        let _ = (head, edit);
    }

    /// The proxy is about to give an answer of its own.
    fn own_answer(&mut self, answer: &mut Answer) {
        let _ = answer;
    }

    /// An exchange has ended. Called exactly once for each.
    fn finished(&mut self, summary: &Summary<'_>) {
        let _ = summary;
    }
}
