//! How a backend tends to behave, and what it may do to an exchange.

use std::io::ErrorKind;

use super::answer::Answer;
use super::dice::Dice;
use super::wires::Door;

/// How a backend tends to behave; numbers are percentages.
#[derive(Clone, Debug)]
pub(super) struct Nature {
    /// Closes idle connections. Lawful at any time, even just as a request arrives.
    pub(super) closes_idle: usize,
    /// Says `Connection: close` with an answer and means it.
    pub(super) closes_after: usize,
    /// Answers before the request is whole.
    pub(super) early: usize,
    /// Sends a 1xx first.
    pub(super) interim: usize,
    pub(super) think_ms: usize,
    /// Breaks an exchange.
    pub(super) misdeed: usize,
    /// Dies and comes back.
    pub(super) mortal: bool,
    /// How long it is away, between these.
    pub(super) outage_ms: [usize; 2],
    /// Its misdeeds are cuts inside the body.
    pub(super) cuts: bool,
    /// Asked for the rest of an answer, it sends something else.
    pub(super) lies: usize,
    /// Says that it is too busy.
    pub(super) sheds: usize,
    pub(super) door: Door,
}

impl Nature {
    /// Never breaks an exchange, never refuses.
    pub(super) fn steady(dice: &mut Dice) -> Nature {
        Nature {
            closes_idle: dice.pick(&[0, 0, 5, 30]),
            closes_after: dice.pick(&[0, 5, 50]),
            early: dice.pick(&[0, 0, 10]),
            interim: dice.pick(&[0, 0, 15]),
            think_ms: dice.pick(&[0, 0, 20, 200]),
            misdeed: 0,
            mortal: false,
            outage_ms: [20, 1_000],
            cuts: false,
            lies: 0,
            sheds: 0,
            door: Door::Open,
        }
    }

    /// One kind of trouble, or two.
    pub(super) fn wild(dice: &mut Dice) -> Nature {
        let mut nature = Nature::steady(dice);
        match dice.below(4) {
            0 | 1 => nature.misdeed = dice.pick(&[10, 30, 60]),
            2 => (nature.misdeed, nature.mortal) = (dice.pick(&[0, 10]), true),
            _ => nature.door = shut(dice),
        }
        nature
    }
}

/// A way not to be reached.
fn shut(dice: &mut Dice) -> Door {
    dice.pick(&[
        Door::Shut(ErrorKind::ConnectionRefused),
        Door::ShutLater(ErrorKind::ConnectionRefused),
        Door::ShutLater(ErrorKind::ConnectionRefused),
        Door::Shut(ErrorKind::NetworkUnreachable),
        Door::ShutLater(ErrorKind::HostUnreachable),
        Door::Hangs,
    ])
}

/// What is to go wrong with one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misdeed {
    ResetUnanswered,
    CloseUnanswered,
    Garbage,
    Hang,
    /// So much of the answer, then RST or FIN.
    CutAfter(usize, bool),
}

/// What goes wrong with an exchange whose answer would be this.
pub(super) fn misdeed(nature: &Nature, dice: &mut Dice, answer: &Answer) -> Misdeed {
    if nature.cuts && answer.bytes.len() > answer.heads + 1 {
        let cut = dice.between(answer.heads, answer.bytes.len() - 1);
        return Misdeed::CutAfter(cut, answer.until_close || dice.chance(20));
    }
    match dice.below(8) {
        0 | 1 => Misdeed::ResetUnanswered,
        2 => Misdeed::CloseUnanswered,
        3 => Misdeed::Garbage,
        4 => Misdeed::Hang,
        _ => {
            let cut = dice.between(1, answer.bytes.len() - 1);
            // An early FIN cannot be told from the end of a body that is the end of the stream.
            Misdeed::CutAfter(cut, answer.until_close || dice.chance(50))
        }
    }
}
