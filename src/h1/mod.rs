//! HTTP/1.1 over byte slices: what we speak, and what we refuse.
//!
//! ```text
//!   runs.rs     lines.rs    bytes -> lines, one pass
//!   head.rs     the views of a head, its bounds
//!   request.rs  response.rs  the facts a proxy acts on
//!   body.rs     how many bytes belong to the message      chunk.rs  chunked framing
//!   rewrite.rs  the head as it goes on                    answer.rs our own answers
//!   range.rs    continuing an answer that broke off       upgrade.rs what a 101 may give
//!   field.rs    names that mean something to a proxy      address.rs an address as text
//! ```
//!
//! Nothing in here knows sockets, buffers, registries or time. Every refusal is a [`Bad`], which
//! knows its status; nothing is repaired, because a message that two readers can take in two ways
//! is how one request hides inside another.

pub(crate) mod address;
pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod chunk;
pub(crate) mod field;
pub(crate) mod head;
mod lines;
pub(crate) mod range;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod rewrite;
mod runs;
pub(crate) mod upgrade;

pub use head::{Fields, RequestHead, ResponseHead};

/// Why a message is refused (`B7.1`, `B7.2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bad {
    /// The start line is not one, or has bytes that do not belong there.
    StartLine,
    /// A version other than HTTP/1.0 and HTTP/1.1, the HTTP/2 preface included.
    Version,
    /// A field line is malformed: bare CR or LF, NUL, folding, white space around the name.
    FieldLine,
    /// No Host, several, or one that is not a host.
    Host,
    /// `Content-Length` that is not one number, or that contradicts.
    ContentLength,
    /// `Transfer-Encoding` together with `Content-Length`, or in HTTP/1.0.
    AmbiguousLength,
    /// A `Transfer-Encoding` other than one single `chunked`.
    TransferEncoding,
    /// An `Expect` other than `100-continue`.
    Expect,
    /// A method that is not served here: CONNECT.
    Method,
    /// A request target that is malformed, or climbs above its prefix.
    Target,
    /// A request target longer than the limit.
    TargetTooLong,
    /// A head larger than the limit, in bytes or fields.
    HeadTooLarge,
    /// Chunked framing that is not strictly right.
    Chunk,
    /// A trailer section that is malformed or too long.
    Trailer,
    /// A status outside 100 to 599.
    Status,
    /// A 101 that nobody asked for, or not in this way.
    Upgrade,
    /// It should have been the rest of an answer that broke off, and is not.
    Range,
    /// More than 16 interim responses before the final one.
    TooManyInterim,
}

impl Bad {
    /// The status a client gets for a request refused so (RFC 9110 section 15.5).
    pub fn status(self) -> u16 {
        match self {
            Bad::Method => 405,
            Bad::TargetTooLong => 414,
            Bad::Expect => 417,
            Bad::HeadTooLarge => 431,
            Bad::TransferEncoding => 501,
            Bad::Version => 505,
            _ => 400,
        }
    }

    /// One word for logs and counters.
    pub fn word(self) -> &'static str {
        match self {
            Bad::StartLine => "bad_start_line",
            Bad::Version => "bad_version",
            Bad::FieldLine => "bad_field_line",
            Bad::Host => "bad_host",
            Bad::ContentLength => "bad_content_length",
            Bad::AmbiguousLength => "ambiguous_length",
            Bad::TransferEncoding => "bad_transfer_encoding",
            Bad::Expect => "bad_expect",
            Bad::Method => "bad_method",
            Bad::Target => "bad_target",
            Bad::TargetTooLong => "target_too_long",
            Bad::HeadTooLarge => "head_too_large",
            Bad::Chunk => "bad_chunk",
            Bad::Trailer => "bad_trailer",
            Bad::Status => "bad_status",
            Bad::Upgrade => "bad_upgrade",
            Bad::Range => "not_the_rest",
            Bad::TooManyInterim => "too_many_interim",
        }
    }

    /// What the body of a refusal says.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Bad::StartLine => "The request line is malformed.",
            Bad::Version => "Only HTTP/1.0 and HTTP/1.1 are spoken here.",
            Bad::FieldLine => "A field line is malformed.",
            Bad::Host => "Exactly one well-formed Host is needed.",
            Bad::ContentLength => "Content-Length is not one number.",
            Bad::AmbiguousLength => {
                "Transfer-Encoding stands beside Content-Length, or in HTTP/1.0."
            }
            Bad::TransferEncoding => "The only transfer coding understood is one single chunked.",
            Bad::Expect => "The only expectation understood is 100-continue.",
            Bad::Method => "CONNECT is not served here.",
            Bad::Target => "The request target is malformed or climbs above its prefix.",
            Bad::TargetTooLong => "The request target is too long.",
            Bad::HeadTooLarge => "The request head is too large.",
            Bad::Chunk => "The chunked framing is malformed.",
            Bad::Trailer => "The trailer section is malformed or too long.",
            Bad::Status => "The status is malformed.",
            Bad::Upgrade => "Nobody asked for an upgrade.",
            Bad::Range => "The rest of the answer could not be had.",
            Bad::TooManyInterim => "There were too many interim responses.",
        }
    }
}

/// The versions that are spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
}

/// Bounds of a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) head_bytes: usize,
    pub(crate) fields: usize,
    pub(crate) target_bytes: usize,
}
