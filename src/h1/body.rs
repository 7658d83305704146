//! Framing: how many of these bytes belong to the message (RFC 9112 section 6).
//!
//! A body knows how much of itself is still to come. It does not know where bytes go.

use super::Bad;
use super::chunk::{Chunked, Judged, Wrapping};

/// What is still to come of one message's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// This many bytes; none left is the end.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// Everything until the peer's end (responses only).
    UntilClose,
}

impl Body {
    /// No body at all.
    pub(crate) const NONE: Body = Body::Length(0);

    /// A chunked body.
    pub(crate) fn chunked(wrapping: Wrapping) -> Body {
        Body::Chunked(Chunked::new(wrapping))
    }

    /// Trailers with a name in this list go no further (RFC 9110 section 7.6.1).
    pub(crate) fn drop_trailers(&mut self, named: Vec<u8>) {
        if let Body::Chunked(chunked) = self {
            chunked.drop_trailers(named);
        }
    }

    /// Whether the message is complete.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Body::Length(left) => *left == 0,
            Body::Chunked(chunked) => chunked.is_done(),
            Body::UntilClose => false,
        }
    }

    /// Judges the beginning of `fresh`; call again with what is left until it judges nothing.
    pub(crate) fn advance(&mut self, fresh: &[u8]) -> Result<Judged, Bad> {
        match self {
            Body::Length(left) => {
                let keep = (*left).min(fresh.len() as u64);
                *left -= keep;
                Ok(Judged { keep: keep as usize, skip: 0 })
            }
            Body::Chunked(chunked) => chunked.advance(fresh),
            Body::UntilClose => Ok(Judged { keep: fresh.len(), skip: 0 }),
        }
    }

    /// The peer has sent its end: whether that completes the message.
    pub(crate) fn ends_here(&self) -> bool {
        matches!(self, Body::UntilClose) || self.is_done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_counted_down_and_no_further() {
        let mut body = Body::Length(5);
        assert_eq!(body.advance(b"abc"), Ok(Judged { keep: 3, skip: 0 }));
        assert!(!body.is_done() && !body.ends_here());
        assert_eq!(body.advance(b"defgh"), Ok(Judged { keep: 2, skip: 0 }));
        assert!(body.is_done());
        assert_eq!(body.advance(b"fgh"), Ok(Judged::default()));
    }

    #[test]
    fn only_the_end_completes_a_body_without_length() {
        let mut body = Body::UntilClose;
        assert_eq!(body.advance(b"abc"), Ok(Judged { keep: 3, skip: 0 }));
        assert!(!body.is_done() && body.ends_here());
        assert!(Body::NONE.is_done());
        assert!(!Body::chunked(Wrapping::Keep).ends_here());
    }
}
