//! Our own answers, as bytes (`B2.4`): short, plain, and never a backend's data.
//!
//! Every one carries `Proxy-Status` (RFC 9209), so that a 502 of ours is told from a 502 that an
//! endpoint sent. This file does not know why an answer is given; it is told.

use std::io::Write as _;

use super::Version;
use super::rewrite::OUR_NAME;

/// An answer that the proxy gives itself. A hook may look at it and change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    error: Option<&'static str>,
    content_type: String,
    fields: Vec<u8>,
    body: Vec<u8>,
}

impl Answer {
    /// An answer with this status, 200 to 599, and a plain text body.
    pub fn new(status: u16, text: &str) -> Answer {
        let status = if (200..=599).contains(&status) { status } else { 500 };
        Answer {
            status,
            error: None,
            content_type: "text/plain; charset=utf-8".to_owned(),
            fields: Vec::new(),
            body: text.as_bytes().to_vec(),
        }
    }

    /// Names the cause in `Proxy-Status`, by one of the error types of RFC 9209 section 2.3.
    pub(crate) fn with_error(mut self, error: &'static str) -> Answer {
        self.error = Some(error);
        self
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Replaces the body and its `Content-Type`. Gives `false`, and changes nothing, if the type
    /// would break the head.
    pub fn set_body(&mut self, content_type: &str, body: &[u8]) -> bool {
        if !content_type.bytes().all(super::field::is_value_byte) {
            return false;
        }
        content_type.clone_into(&mut self.content_type);
        self.body.clear();
        self.body.extend_from_slice(body);
        true
    }

    /// Adds a field line. Gives `false`, and adds nothing, if it would break the head.
    pub fn add_field(&mut self, name: &str, value: &str) -> bool {
        push_field(&mut self.fields, name, value)
    }

    /// Appends the answer to `out`: as `version` demands, without the body if `head_only`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, version: Version, keep: bool, head_only: bool) {
        let number = if version == Version::Http10 { "1.0" } else { "1.1" };
        let _ = write!(out, "HTTP/{number} {} {}\r\n", self.status, phrase(self.status));
        let _ = write!(out, "Content-Type: {}\r\n", self.content_type);
        out.extend_from_slice(&self.fields);
        if self.status != 204 && self.status != 304 {
            let _ = write!(out, "Content-Length: {}\r\n", self.body.len());
        }
        if let Some(error) = self.error {
            let _ = write!(out, "Proxy-Status: {OUR_NAME}; error={error}\r\n");
        }
        match (version, keep) {
            (_, false) => out.extend_from_slice(b"Connection: close\r\n"),
            (Version::Http10, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (Version::Http11, true) => {}
        }
        out.extend_from_slice(b"\r\n");
        if !head_only && self.status != 204 && self.status != 304 {
            out.extend_from_slice(&self.body);
        }
    }
}

/// Appends a field line if name and value are well-formed and the name does not frame messages.
pub(crate) fn push_field(out: &mut Vec<u8>, name: &str, value: &str) -> bool {
    use super::field::{Name, is_token, is_value_byte};
    let framing = matches!(
        Name::of(name.as_bytes()),
        Name::ContentLength | Name::TransferEncoding | Name::Connection
    );
    if framing || !is_token(name.as_bytes()) || !value.bytes().all(is_value_byte) {
        return false;
    }
    let _ = write!(out, "{name}: {value}\r\n");
    true
}

/// The reason phrase of the statuses we give (RFC 9110 section 15).
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(answer: &Answer, version: Version, keep: bool, head_only: bool) -> String {
        let mut out = Vec::new();
        answer.write(&mut out, version, keep, head_only);
        String::from_utf8(out).expect("text")
    }

    /// B2.4
    #[test]
    fn answers_say_what_happened() {
        let mut answer = Answer::new(503, "Nobody is there.\n").with_error("connection_refused");
        assert!(answer.add_field("Retry-After", "1"));
        assert!(!answer.set_body("text/plain\r\nX: y", b""));
        assert!(answer.set_body("text/plain; charset=utf-8", b"Nobody is there.\n"));
        assert_eq!(
            text(&answer, Version::Http11, true, false),
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Retry-After: 1\r\nContent-Length: 17\r\n\
             Proxy-Status: pointsman; error=connection_refused\r\n\r\nNobody is there.\n"
        );
        let old = text(&answer, Version::Http10, false, true);
        assert!(old.starts_with("HTTP/1.0 503 ") && old.ends_with("Connection: close\r\n\r\n"));
        assert!(text(&answer, Version::Http10, true, true).contains("Connection: keep-alive"));
        let empty = text(&Answer::new(204, "x"), Version::Http11, true, false);
        assert!(empty.ends_with("\r\n\r\n") && !empty.contains("Content-Length"));
    }

    #[test]
    fn a_hook_cannot_break_the_head() {
        let mut answer = Answer::new(99, "");
        assert_eq!(answer.status(), 500);
        for (name, value) in
            [("A b", "c"), ("", "c"), ("A", "b\r\nC: d"), ("Content-Length", "1"), ("A", "\0")]
        {
            assert!(!answer.add_field(name, value), "{name}: {value}");
        }
    }
}
