//! The ways in which a backend can behave, and how they are written on a command line.

use std::fmt;
use std::str::FromStr;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunks,
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// Answers after so many milliseconds.
    Answer(u64),
    /// Reads each request and closes.
    Drop,
    /// Answers the first request of each connection, reads the second one and closes.
    DropSecond,
    /// Dies after 10 of 100 bytes: by a FIN or by a RST.
    Cut(Framing, bool),
    /// Answers 413 when it has seen a part of an upload.
    TooLarge,
    /// Keeps a request for as long as anybody waits.
    Hold,
    /// Answers with bytes without end.
    Stream,
    /// An event stream.
    Events,
    /// 103 Early Hints, then the answer.
    Hints,
    /// 401 to `Expect: 100-continue`, without looking at the body.
    Deny,
    /// Closes every other connection, unannounced, within so many microseconds of an answer.
    CloseWithin(u64),
    /// Resets every 16th answer to a GET in mid-body; the whole can be asked for again by `Range`.
    ResetInside,
}

const FRAMINGS: [(&str, Framing); 3] =
    [("length", Framing::Length), ("chunks", Framing::Chunks), ("close", Framing::Close)];

const WORDS: [(&str, Script); 9] = [
    ("drop", Script::Drop),
    ("drop-second", Script::DropSecond),
    ("too-large", Script::TooLarge),
    ("hold", Script::Hold),
    ("stream", Script::Stream),
    ("events", Script::Events),
    ("hints", Script::Hints),
    ("deny", Script::Deny),
    ("reset-inside", Script::ResetInside),
];

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let framing_word = |framing: &Framing| {
            FRAMINGS.iter().find(|(_, known)| known == framing).map_or("", |(word, _)| *word)
        };
        match self {
            Self::Answer(ms) => write!(f, "answer:{ms}"),
            Self::CloseWithin(us) => write!(f, "close-within:{us}"),
            Self::Cut(framing, false) => write!(f, "cut-fin:{}", framing_word(framing)),
            Self::Cut(framing, true) => write!(f, "cut-rst:{}", framing_word(framing)),
            plain => {
                let known = WORDS.iter().find(|(_, script)| script == plain);
                f.write_str(known.map_or("", |(word, _)| *word))
            }
        }
    }
}

impl FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: not a script");
        let Some((word, value)) = text.split_once(':') else {
            let known = WORDS.iter().find(|(word, _)| *word == text);
            return known.map(|(_, script)| *script).ok_or_else(wrong);
        };
        let number = || value.parse::<u64>().map_err(|_| wrong());
        let framing = || {
            let known = FRAMINGS.iter().find(|(word, _)| *word == value);
            known.map(|(_, framing)| *framing).ok_or_else(wrong)
        };
        match word {
            "answer" => number().map(Self::Answer),
            "close-within" => number().map(Self::CloseWithin),
            "cut-fin" => framing().map(|framing| Self::Cut(framing, false)),
            "cut-rst" => framing().map(|framing| Self::Cut(framing, true)),
            _ => Err(wrong()),
        }
    }
}
