//! Endpoints as people write them: `localhost:9091`, `unix:/run/app`. Routes are in `route`.
//!
//! Everything is checked here, where the text can still be named, so that nothing that makes no
//! sense gets further. This file does not resolve names: it says which ones, and makes endpoints of
//! the addresses it is given.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::endpoint::{Endpoint, MAX_WEIGHT, in_path, in_query};

mod route;

pub use route::RouteSpec;

/// The longest path that fits into a Unix socket address, in bytes (`sun_path` less its NUL).
const UNIX_PATH_BYTES: usize = 107;

/// One endpoint as text, before its name is resolved.
///
/// `host:port`, `[v6]:port`, `unix:/path` or `http://host:port/base?fixed=query`, each with
/// `;weight=N` behind it or not. A URL without a port means port 80.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    place: Place,
    /// The authority as it was written.
    authority: String,
    weight: u32,
}

/// What two equal endpoints share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Tcp { host: String, port: u16, base: String, query: String },
    Unix { path: String },
}

impl EndpointSpec {
    /// The host (a name, or an address without brackets) and port to resolve; `None` for a Unix
    /// socket.
    pub fn host_port(&self) -> Option<(&str, u16)> {
        match &self.place {
            Place::Tcp { host, port, .. } => Some((host, *port)),
            Place::Unix { .. } => None,
        }
    }

    /// The endpoint at `addr`, one of those that the name stands for.
    pub fn endpoint(&self, addr: SocketAddr) -> Endpoint {
        let endpoint = Endpoint::tcp(addr).with_weight(self.weight).with_authority(&self.authority);
        match &self.place {
            Place::Tcp { base, query, .. } => endpoint.with_base(base).with_query(query),
            Place::Unix { .. } => endpoint,
        }
    }

    /// The endpoint at the Unix socket; `None` if it is not one.
    pub fn unix_endpoint(&self) -> Option<Endpoint> {
        match &self.place {
            Place::Tcp { .. } => None,
            Place::Unix { path } => Some(Endpoint::unix(path).with_weight(self.weight)),
        }
    }
}

impl FromStr for EndpointSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<EndpointSpec, SpecError> {
        parse_endpoint(text).map_err(|Wrong { part, why }| SpecError::Endpoint {
            text: text.to_owned(),
            part: part.to_owned(),
            why,
        })
    }
}

/// Why a route or an endpoint makes no sense. Its text is one line that names what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecError {
    /// The route itself, or the service in it.
    Route {
        /// The route or service as it was written.
        text: String,
        /// What is wrong with it: the end of a sentence.
        why: &'static str,
    },
    /// One endpoint.
    Endpoint {
        /// The endpoint as it was written.
        text: String,
        /// The part of it that is wrong; may be all of it.
        part: String,
        /// What is wrong with the part: the end of a sentence.
        why: &'static str,
    },
    /// The same place twice in one route.
    Duplicate {
        /// The service.
        service: String,
        /// The second one, as it was written.
        endpoint: String,
    },
}

impl fmt::Display for SpecError {
    /// Quoted with escapes, so that it is one line whatever was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpecError::Route { text, why } => write!(f, "route {text:?} {why}"),
            SpecError::Endpoint { text, part, why } if part == text => {
                write!(f, "endpoint {text:?} {why}")
            }
            SpecError::Endpoint { text, part, why } => {
                write!(f, "endpoint {text:?}: {part:?} {why}")
            }
            SpecError::Duplicate { service, endpoint } => {
                write!(f, "route {service:?} has the endpoint {endpoint:?} twice")
            }
        }
    }
}

impl std::error::Error for SpecError {}

/// A part of the text, and what is wrong with it.
struct Wrong<'a> {
    part: &'a str,
    why: &'static str,
}

fn wrong<'a, T>(part: &'a str, why: &'static str) -> Result<T, Wrong<'a>> {
    Err(Wrong { part, why })
}

fn parse_endpoint(text: &str) -> Result<EndpointSpec, Wrong<'_>> {
    if text.is_empty() {
        return wrong(text, "is empty");
    }
    if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return wrong(text, "has a space or a control character in it");
    }
    let (rest, weight) = match text.rsplit_once(";weight=") {
        Some((rest, weight)) => (rest, parse_weight(weight)?),
        None => (text, 1),
    };
    if let Some(path) = rest.strip_prefix("unix:") {
        let authority = "localhost".to_owned();
        return Ok(EndpointSpec { place: parse_unix(path)?, authority, weight });
    }
    let (place, authority) = match rest.split_once("://") {
        Some((scheme, url)) if scheme.eq_ignore_ascii_case("http") => parse_url(url)?,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
            return wrong(text, "asks for TLS, which is not spoken to endpoints; use http://");
        }
        Some((scheme, _)) => return wrong(scheme, "is not a scheme we know; use http"),
        None => {
            if rest.contains('/') {
                return wrong(rest, "has a path; write http:// in front of it");
            }
            (parse_authority(rest, None)?.with("", ""), rest)
        }
    };
    Ok(EndpointSpec { place, authority: authority.to_owned(), weight })
}

fn parse_weight(text: &str) -> Result<u32, Wrong<'_>> {
    match number(text) {
        Some(weight) if (1..=u64::from(MAX_WEIGHT)).contains(&weight) => Ok(weight as u32),
        _ => wrong(text, "is not a weight (1 to 1000000)"),
    }
}

fn parse_unix(path: &str) -> Result<Place, Wrong<'_>> {
    if !path.starts_with('/') || path.len() < 2 {
        return wrong(path, "is not an absolute path; write unix:/path");
    }
    if path.len() > UNIX_PATH_BYTES {
        return wrong(path, "is too long for a Unix socket (107 bytes)");
    }
    Ok(Place::Unix { path: path.to_owned() })
}

/// What follows `http://`: the place, and the authority as written.
fn parse_url(url: &str) -> Result<(Place, &str), Wrong<'_>> {
    if url.contains('#') {
        return wrong(url, "has a fragment (#), which is never sent");
    }
    let end = url.find(['/', '?']).unwrap_or(url.len());
    let (authority, target) = url.split_at(end);
    let (base, query) = target.split_once('?').unwrap_or((target, ""));
    check_bytes(base, in_path)?;
    check_bytes(query, in_query)?;
    // "/" alone joins as nothing does.
    let base = if base == "/" { "" } else { base };
    Ok((parse_authority(authority, Some(80))?.with(base, query), authority))
}

struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    fn with(self, base: &str, query: &str) -> Place {
        let HostPort { host, port } = self;
        Place::Tcp { host, port, base: base.to_owned(), query: query.to_owned() }
    }
}

fn parse_authority(text: &str, default_port: Option<u16>) -> Result<HostPort, Wrong<'_>> {
    if text.contains('@') {
        return wrong(text, "has a user name (@), which is not sent; leave it out");
    }
    let (host, port) = split_port(text)?;
    let host = parse_host(text, host)?;
    let port = match (port, default_port) {
        (Some(port), _) => parse_port(port)?,
        (None, Some(port)) => port,
        (None, None) => return wrong(text, "has no port; write host:port"),
    };
    Ok(HostPort { host, port })
}

/// Host (brackets and all) and the text of the port.
fn split_port(text: &str) -> Result<(&str, Option<&str>), Wrong<'_>> {
    let host_end = match (text.starts_with('['), text.find(']')) {
        (true, None) => return wrong(text, "has a bracket that is not closed"),
        (true, Some(close)) => close + 1,
        (false, _) => text.find(':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at(host_end);
    match rest.strip_prefix(':') {
        Some(port) if port.contains(':') => {
            wrong(text, "has too many colons; an IPv6 address needs brackets, as in [::1]:80")
        }
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => wrong(rest, "does not belong behind a bracket; write [v6]:port"),
    }
}

fn parse_port(text: &str) -> Result<u16, Wrong<'_>> {
    match number(text).and_then(|port| u16::try_from(port).ok()) {
        Some(port) if port > 0 => Ok(port),
        _ => wrong(text, "is not a port (1 to 65535)"),
    }
}

/// The host in the form to resolve and to compare: lower case, addresses in their short form.
fn parse_host<'a>(whole: &'a str, host: &'a str) -> Result<String, Wrong<'a>> {
    if host.is_empty() {
        return wrong(whole, "has no host");
    }
    if let Some(inside) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return match inside.parse::<Ipv6Addr>() {
            Ok(addr) => Ok(addr.to_string()),
            Err(_) => wrong(inside, "is not an IPv6 address"),
        };
    }
    // Digits and dots that are no address would be resolved in ways that surprise: `127.1`.
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return wrong(host, "is not an IPv4 address");
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let good_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let good_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(good_byte);
    if name.len() > 253 || !name.split('.').all(good_label) {
        return wrong(host, "is not a host name");
    }
    Ok(host.to_ascii_lowercase())
}

/// Only bytes that a request target may hold, and only whole escapes.
fn check_bytes(text: &str, legal: fn(u8) -> bool) -> Result<(), Wrong<'_>> {
    if !text.bytes().all(legal) {
        return wrong(text, "has a character that a URL may not hold; percent-encode it");
    }
    let whole = |tail: &str| match tail.as_bytes() {
        [a, b, ..] => a.is_ascii_hexdigit() && b.is_ascii_hexdigit(),
        _ => false,
    };
    if text.split('%').skip(1).all(whole) {
        Ok(())
    } else {
        wrong(text, "has a \"%\" without two hex digits behind it")
    }
}

/// A number of digits only: no sign, no space, no overflow.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 9))
    }

    // B1.3
    #[test]
    fn endpoints_are_read() {
        for (text, host, port, target, authority, weight) in [
            ("localhost:9091", "localhost", 9091, "", "localhost:9091", 1),
            ("My_App-1.X.:80", "my_app-1.x.", 80, "", "My_App-1.X.:80", 1),
            ("127.0.0.1:65535;weight=3", "127.0.0.1", 65535, "", "127.0.0.1:65535", 3),
            ("[::1]:1", "::1", 1, "", "[::1]:1", 1),
            ("[0:0::1]:1", "::1", 1, "", "[0:0::1]:1", 1),
            ("http://h", "h", 80, "", "h", 1),
            ("HTTP://h/", "h", 80, "", "h", 1),
            ("http://h:81/a%2Fb/", "h", 81, "/a%2Fb/", "h:81", 1),
            ("http://h:81/a?x=1;y&z=?", "h", 81, "/a?x=1;y&z=?", "h:81", 1),
            ("http://h?q", "h", 80, "?q", "h", 1),
            ("http://[::1]:81/a;p?q;weight=1000000", "::1", 81, "/a;p?q", "[::1]:81", 1_000_000),
            ("http://h/;weight=1;weight=2", "h", 80, "/;weight=1", "h", 2),
        ] {
            let spec: EndpointSpec = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(spec.host_port(), Some((host, port)), "{text}");
            assert_eq!(spec.unix_endpoint(), None, "{text}");
            let made = spec.endpoint(addr());
            assert_eq!(made.to_string(), format!("127.0.0.1:9{target}"), "{text}");
            assert_eq!((made.authority(), made.weight()), (authority, weight), "{text}");
        }
        let spec: EndpointSpec = "unix:/run/é;x;weight=2".parse().unwrap();
        assert_eq!(spec.host_port(), None);
        let made = spec.unix_endpoint().unwrap();
        assert_eq!((made.to_string(), made.weight()), ("unix:/run/é;x".to_owned(), 2));
        assert_eq!(made.authority(), "localhost");
    }

    // B1.5: one clear line that names the text.
    #[test]
    fn wrong_endpoints_are_refused() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, line) in [
            ("", "endpoint \"\" is empty"),
            ("localhost", "endpoint \"localhost\" has no port; write host:port"),
            ("h:0", "endpoint \"h:0\": \"0\" is not a port (1 to 65535)"),
            ("h:65536", "\"65536\" is not a port"),
            ("h:+80", "\"+80\" is not a port"),
            ("h:", "\"\" is not a port"),
            ("http://h:", "\"\" is not a port"),
            (":80", "endpoint \":80\" has no host"),
            ("http://:80/", "\":80\" has no host"),
            ("http:///x", "\"\" has no host"),
            ("::1:80", "needs brackets"),
            ("http://::1/", "needs brackets"),
            ("[::1]", "has no port"),
            ("[::1:80", "is not closed"),
            ("[::1]80", "\"80\" does not belong behind a bracket"),
            ("[1.2.3.4]:80", "\"1.2.3.4\" is not an IPv6 address"),
            ("[::1%eth0]:80", "is not an IPv6 address"),
            ("256.1.1.1:80", "\"256.1.1.1\" is not an IPv4 address"),
            ("127.1:80", "\"127.1\" is not an IPv4 address"),
            ("a..b:80", "\"a..b\" is not a host name"),
            ("hé:80", "\"hé\" is not a host name"),
            ("a%b:80", "is not a host name"),
            ("h:80/base", "has a path; write http:// in front"),
            ("h:80;wieght=2", "\"80;wieght=2\" is not a port"),
            ("h:80;weight=0", "\"0\" is not a weight (1 to 1000000)"),
            ("h:80;weight=1000001", "\"1000001\" is not a weight"),
            ("h:80;weight=", "\"\" is not a weight"),
            ("h:80;weight=-1", "\"-1\" is not a weight"),
            ("h:80;weight=99999999999999999999", "is not a weight"),
            ("h h:80", "has a space or a control character"),
            ("h:80\n", "endpoint \"h:80\\n\" has a space or a control character"),
            ("unix:/a\0b", "has a space or a control character"),
            ("http://h/a b", "has a space or a control character"),
            ("https://h:80/", "asks for TLS"),
            ("ftp://h/", "\"ftp\" is not a scheme we know"),
            ("http://h/#top", "has a fragment"),
            ("http://me@h/", "has a user name"),
            ("me@h:80", "has a user name"),
            ("http://h/é", "percent-encode it"),
            ("http://h/a\\b", "percent-encode it"),
            ("http://h/?a=[1]", "percent-encode it"),
            ("http://h/%2", "without two hex digits"),
            ("http://h/?%zz", "without two hex digits"),
            ("unix:", "is not an absolute path"),
            ("unix:/", "is not an absolute path"),
            ("unix:run/x", "\"run/x\" is not an absolute path"),
            (&long, "is too long for a Unix socket"),
        ] {
            let error = text.parse::<EndpointSpec>().expect_err(text).to_string();
            assert!(error.contains(line), "{text:?} gave: {error}");
            assert!(!error.contains('\n') && error.starts_with("endpoint \""), "{error}");
        }
    }
}
