//! An endpoint: one place that answers for a service, and the ways in which it can disappoint.
//!
//! Cheap to clone, compared by where it is and not by how it is weighted. This file does not know
//! services, names that need resolving, or whether anybody is there.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// The largest weight an endpoint can have; larger ones are taken as this.
pub(crate) const MAX_WEIGHT: u32 = 1_000_000;

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// A TCP address and port.
    Tcp(SocketAddr),
    /// The path of a Unix stream socket.
    Unix(Arc<Path>),
}

impl fmt::Display for Address {
    /// `127.0.0.1:1`, `[::1]:1` or `unix:/path`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(addr) => addr.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One place that answers for a service: an address, and what is put in front of each target.
///
/// Two endpoints are equal if address, base path and fixed query are; weight and authority do not
/// make a difference. A clone is one counter.
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    address: Address,
    base: Box<str>,
    query: Box<str>,
    authority: Box<str>,
    weight: u32,
}

impl Inner {
    fn place(&self) -> (&Address, &str, &str) {
        (&self.address, &self.base, &self.query)
    }
}

impl Endpoint {
    /// The endpoint at `address`: weight 1, no base path, no fixed query; its authority is the
    /// address as text, or `localhost` for a Unix socket.
    pub fn new(address: Address) -> Endpoint {
        let authority = match &address {
            Address::Tcp(addr) => addr.to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        };
        let (base, query) = (Box::default(), Box::default());
        Endpoint(Arc::new(Inner { address, base, query, authority: authority.into(), weight: 1 }))
    }

    /// The endpoint at a TCP address; see [`Endpoint::new`].
    pub fn tcp(addr: SocketAddr) -> Endpoint {
        Endpoint::new(Address::Tcp(addr))
    }

    /// The endpoint at the Unix socket `path`; see [`Endpoint::new`].
    pub fn unix(path: impl AsRef<Path>) -> Endpoint {
        Endpoint::new(Address::Unix(path.as_ref().into()))
    }

    /// With `base` joined in front of every path.
    ///
    /// A slash in front is added if it is missing; `/` alone is the same as no base. A byte that
    /// may not stand in a path is percent-encoded, so that no base can split a request in two.
    #[must_use]
    pub fn with_base(mut self, base: &str) -> Endpoint {
        let bare = base.strip_prefix('/').unwrap_or(base);
        let base = if bare.is_empty() { String::new() } else { format!("/{bare}") };
        Arc::make_mut(&mut self.0).base = escaped(&base, in_path);
        self
    }

    /// With `query` (written without `?`) joined in front of every query. Bytes that may not
    /// stand in a query are percent-encoded.
    #[must_use]
    pub fn with_query(mut self, query: &str) -> Endpoint {
        Arc::make_mut(&mut self.0).query = escaped(query, in_query);
        self
    }

    /// With a share of the requests in proportion to `weight`, from 1 to 1,000,000; what
    /// lies outside is taken as the nearer bound.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Endpoint {
        Arc::make_mut(&mut self.0).weight = weight.clamp(1, MAX_WEIGHT);
        self
    }

    /// With the authority that is its `Host` when the proxy is told to send the endpoint's own
    /// (RFC 9110, 7.2). Bytes that may not stand in one are percent-encoded.
    #[must_use]
    pub fn with_authority(mut self, authority: &str) -> Endpoint {
        Arc::make_mut(&mut self.0).authority = escaped(authority, in_authority);
        self
    }

    /// Where to connect.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// The base path: empty, or with a slash in front.
    pub fn base(&self) -> &str {
        &self.0.base
    }

    /// The fixed query without `?`; may be empty.
    pub fn query(&self) -> &str {
        &self.0.query
    }

    /// The share of requests, from 1 to 1,000,000.
    pub fn weight(&self) -> u32 {
        self.0.weight
    }

    /// What the endpoint calls itself in `Host`.
    pub fn authority(&self) -> &str {
        &self.0.authority
    }

    /// Whether it has neither base nor query: a request for it looks like one for any other
    /// plain endpoint.
    pub fn is_plain(&self) -> bool {
        self.0.base.is_empty() && self.0.query.is_empty()
    }
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Endpoint) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.place() == other.0.place()
    }
}

impl Eq for Endpoint {}

impl Hash for Endpoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.place().hash(state);
    }
}

impl PartialOrd for Endpoint {
    fn partial_cmp(&self, other: &Endpoint) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Endpoint {
    fn cmp(&self, other: &Endpoint) -> Ordering {
        self.0.place().cmp(&other.0.place())
    }
}

impl fmt::Display for Endpoint {
    /// Address, base and query: the text by which people and hashes know it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.address(), self.base())?;
        if self.query().is_empty() { Ok(()) } else { write!(f, "?{}", self.query()) }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self};weight={})", self.weight())
    }
}

/// How an endpoint disappointed: what a registry is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Nobody listens there.
    Refused,
    /// The network knows no way, or not now.
    Unreachable,
    /// The connection did not stand in time.
    Timeout,
    /// The connection was reset before an answer began.
    Reset,
    /// The connection was closed before an answer began.
    Closed,
    /// What came back is not an HTTP/1 response.
    BadResponse,
    /// The request was sent and its answer did not begin in time.
    NoAnswer,
}

impl Failure {
    /// One word for logs and counters.
    pub fn word(self) -> &'static str {
        match self {
            Failure::Refused => "refused",
            Failure::Unreachable => "unreachable",
            Failure::Timeout => "timeout",
            Failure::Reset => "reset",
            Failure::Closed => "closed",
            Failure::BadResponse => "bad-response",
            Failure::NoAnswer => "no-answer",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Whether `byte` may stand in the path of a request target (RFC 3986, 3.3); `%` may, if an
/// escape follows.
pub(crate) fn in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/".contains(&byte)
}

/// Whether `byte` may stand in the query of a request target (RFC 3986, 3.4).
pub(crate) fn in_query(byte: u8) -> bool {
    in_path(byte) || byte == b'?'
}

/// Whether `byte` may stand in `Host` (RFC 3986, 3.2, without userinfo).
fn in_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

fn escaped(text: &str, legal: fn(u8) -> bool) -> Box<str> {
    if text.bytes().all(legal) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if legal(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn at(port: u16) -> Endpoint {
        Endpoint::tcp(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    #[test]
    fn text_of_addresses_and_endpoints() {
        let v6 = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 1));
        for (endpoint, text, authority) in [
            (at(1), "127.0.0.1:1", "127.0.0.1:1"),
            (Endpoint::tcp(v6), "[::1]:1", "[::1]:1"),
            (Endpoint::unix("/p"), "unix:/p", "localhost"),
            (at(1).with_base("/a").with_query("x=1"), "127.0.0.1:1/a?x=1", "127.0.0.1:1"),
            (at(1).with_authority("one.example"), "127.0.0.1:1", "one.example"),
        ] {
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(endpoint.authority(), authority);
        }
        assert_eq!(format!("{:?}", at(1).with_weight(3)), "Endpoint(127.0.0.1:1;weight=3)");
    }

    #[test]
    fn equal_by_place_and_not_by_weight_or_authority() {
        assert_eq!(at(1), at(1).with_weight(5).with_authority("x"));
        let all =
            [at(1), at(2), at(1).with_base("/b"), at(1).with_query("q"), Endpoint::unix("/p")];
        let set: HashSet<Endpoint> = all.iter().cloned().chain([at(1).with_weight(2)]).collect();
        assert_eq!(set.len(), all.len());
        let mut sorted = all.to_vec();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), all.len());
        assert!(all[0].is_plain() && !all[2].is_plain() && !all[3].is_plain());
    }

    #[test]
    fn changing_a_clone_leaves_the_original() {
        let first = at(1);
        let second = first.clone().with_weight(0).with_base("/b");
        assert_eq!((first.weight(), first.base()), (1, ""));
        assert_eq!((second.weight(), second.base()), (1, "/b"));
        assert_eq!(at(1).with_weight(u32::MAX).weight(), MAX_WEIGHT);
    }

    // B1.3: escapes are kept; B8.6: nothing given here can split a request.
    #[test]
    fn base_and_query_hold_only_what_a_target_may() {
        for (base, want) in [
            ("", ""),
            ("/", ""),
            ("a", "/a"),
            ("/a%2Fb/", "/a%2Fb/"),
            ("/a b?c#d", "/a%20b%3Fc%23d"),
            ("/\r\nX: y", "/%0D%0AX:%20y"),
            ("/é", "/%C3%A9"),
        ] {
            assert_eq!(at(1).with_base(base).base(), want, "{base:?}");
        }
        assert_eq!(at(1).with_query("a=1;b?c\r\n").query(), "a=1;b?c%0D%0A");
        assert_eq!(at(1).with_authority("[::1]:80\r\n").authority(), "[::1]:80%0D%0A");
    }

    #[test]
    fn every_failure_has_a_word_of_its_own() {
        let all = [
            Failure::Refused,
            Failure::Unreachable,
            Failure::Timeout,
            Failure::Reset,
            Failure::Closed,
            Failure::BadResponse,
            Failure::NoAnswer,
        ];
        let words: HashSet<&str> = all.iter().map(|failure| failure.word()).collect();
        assert_eq!(words.len(), all.len());
        assert_eq!(Failure::NoAnswer.to_string(), "no-answer");
    }
}
