//! From the path of a request to the service that shall answer it, and to the target the endpoint
//! gets to see.
//!
//! ```text
//!   /serviceone/v1/a%2Fb//c?x=1;y
//!    '-- service -''---- rest ---'      endpoint target = base + rest, base query & query
//! ```
//!
//! All on raw bytes: nothing is decoded, merged or put in order, because an endpoint may mean
//! something by it. This file does not know which services exist.

use crate::h1::RequestHead;

/// Reads service and rest out of a request head.
pub trait Router: Send {
    /// The service that shall answer, or why there is none.
    ///
    /// On [`NoRoute::NotFound`], and when the service is unknown, the engine asks for the
    /// catch-all `*`, which cuts nothing.
    fn route<'a>(&'a mut self, head: &RequestHead<'a>) -> Result<Route<'a>, NoRoute>;
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// The service, as the registry knows it: `name/version`.
    pub service: &'a str,
    /// Path and query to send on; an empty path means `/`.
    pub rest: &'a [u8],
}

/// Why a request goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// The path names no service: 404.
    NotFound,
    /// A dot segment would climb above the prefix, into what is not the service's: 400.
    Climbs,
}

/// The router that cuts the path at its first two segments: `/name/version/rest`.
#[derive(Clone, Debug, Default)]
pub struct PathRouter {
    /// The service that was asked for last: to see that it is the same one again is less work than
    /// to cut a path and to prove that the name is text.
    last: String,
}

impl Router for PathRouter {
    fn route<'a>(&'a mut self, head: &RequestHead<'a>) -> Result<Route<'a>, NoRoute> {
        let path = head.path();
        // Where there is no dot and nothing encoded, nothing climbs.
        if !head.plain {
            return split(path).map(|(service, rest)| Route { service, rest });
        }
        let rest = match self.behind_last(path) {
            Some(rest) => rest,
            None => {
                let (service, rest) = cut(path).ok_or(NoRoute::NotFound)?;
                service.clone_into(&mut self.last);
                rest
            }
        };
        Ok(Route { service: &self.last, rest })
    }
}

impl PathRouter {
    /// What follows the service in `path`, if it is the last one.
    fn behind_last<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let rest = path.strip_prefix(b"/")?.strip_prefix(self.last.as_bytes())?;
        let ends = matches!(rest, [] | [b'/' | b'?', ..]);
        (ends && !self.last.is_empty()).then_some(rest)
    }
}

/// Cuts `path` (a path with its query) into `name/version` and the rest.
///
/// ```text
///   /serviceone/v1/a%2Fb//c?x=1;y   ->  serviceone/v1   /a%2Fb//c?x=1;y
///   /n/v                            ->  n/v             (empty)
///   /n/v?q                          ->  n/v             ?q
/// ```
#[inline(never)]
pub(crate) fn split(path: &[u8]) -> Result<(&str, &[u8]), NoRoute> {
    let (service, rest) = cut(path).ok_or(NoRoute::NotFound)?;
    // `/n/..` itself climbs out of `n`, so the cut falls inside the climb.
    let up = |segment: &[u8]| dot_segment(segment) == Some(2);
    if may_hold_dots(path) && (service.as_bytes().split(|&b| b == b'/').any(up) || climbs(rest)) {
        return Err(NoRoute::Climbs);
    }
    Ok((service, rest))
}

/// As [`split`], without a look at dot segments.
fn cut(path: &[u8]) -> Option<(&str, &[u8])> {
    let bare = path.strip_prefix(b"/")?;
    let ends = |byte: &u8| matches!(byte, b'/' | b'?');
    let name = bare.iter().position(ends).filter(|&name| bare.get(name) == Some(&b'/'))?;
    let tail = bare.get(name + 1..)?;
    let version = tail.iter().position(ends).unwrap_or(tail.len());
    if name == 0 || version == 0 {
        return None;
    }
    let (service, rest) = bare.split_at_checked(name + 1 + version)?;
    Some((core::str::from_utf8(service).ok()?, rest))
}

/// Whether a dot segment in `path` would climb above where the path begins.
///
/// Endpoints do not agree on what a separator is. `/` always is one; `\`, `%2f` and `%5c` are for
/// some. The answer is yes if it is yes for any combination of these. Dots may be
/// percent-encoded, empty segments are no depth (some merge them), and what follows a `;` in a
/// segment is a parameter (for some). The query is not looked at.
pub(crate) fn climbs(path: &[u8]) -> bool {
    let path = without_query(path);
    may_hold_dots(path) && (0..8).any(|taken| climbs_with(path, Separators(taken)))
}

/// A quick no for nearly every path: two dots in a row, raw or encoded, are rare. Where nothing is
/// encoded, one look at each byte says so.
fn may_hold_dots(path: &[u8]) -> bool {
    let (mut last, mut encoded) = (0, false);
    for &byte in path {
        if byte == b'.' && last == b'.' {
            return true;
        }
        encoded |= byte == b'%';
        last = byte;
    }
    encoded && may_hold_encoded_dots(path)
}

fn may_hold_encoded_dots(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some((_, after)) = rest.split_first() {
        match dot(rest) {
            Some(second) if dot(second).is_some() => return true,
            Some(second) => rest = second,
            None => rest = after,
        }
    }
    false
}

/// The ways to write a separator that an endpoint may or may not take for one: one bit each.
#[derive(Clone, Copy)]
struct Separators(u8);

impl Separators {
    /// How many bytes of separator `path` begins with; 0 if none.
    fn at(self, path: &[u8]) -> usize {
        match path {
            [b'/', ..] => 1,
            [b'\\', ..] if self.0 & 1 != 0 => 1,
            [b'%', b'2', b'f' | b'F', ..] if self.0 & 2 != 0 => 3,
            [b'%', b'5', b'c' | b'C', ..] if self.0 & 4 != 0 => 3,
            _ => 0,
        }
    }
}

fn climbs_with(path: &[u8], separators: Separators) -> bool {
    let mut depth = 0_usize;
    let mut rest = path;
    loop {
        let (segment, after) = next_segment(rest, separators);
        match dot_segment(segment) {
            Some(2) if depth == 0 => return true,
            Some(2) => depth -= 1,
            Some(_) => {}
            None if segment.is_empty() => {}
            None => depth += 1,
        }
        match after {
            Some(after) => rest = after,
            None => return false,
        }
    }
}

/// The bytes before the next separator, and those after it if there is one.
fn next_segment(path: &[u8], separators: Separators) -> (&[u8], Option<&[u8]>) {
    let mut rest = path;
    loop {
        let width = separators.at(rest);
        if width > 0 {
            let segment = path.get(..path.len() - rest.len()).unwrap_or_default();
            return (segment, rest.get(width..));
        }
        match rest.split_first() {
            Some((_, after)) => rest = after,
            None => return (path, None),
        }
    }
}

/// 1 for `.`, 2 for `..`, encoded or not, with parameters or without.
fn dot_segment(segment: &[u8]) -> Option<u8> {
    let ends = |rest: &[u8]| matches!(rest, [] | [b';', ..]);
    let first = dot(segment)?;
    if ends(first) {
        return Some(1);
    }
    let second = dot(first)?;
    ends(second).then_some(2)
}

/// What follows the dot, raw or encoded, that `path` begins with.
fn dot(path: &[u8]) -> Option<&[u8]> {
    match path {
        [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => Some(rest),
        _ => None,
    }
}

fn without_query(path: &[u8]) -> &[u8] {
    let end = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
    path.get(..end).unwrap_or_default()
}

/// Appends to `out` the target that an endpoint with this `base` path and fixed `query` gets for
/// `rest` (path and query).
///
/// Exactly one slash joins the paths, escapes are kept; one `&` joins the queries if neither is
/// empty. Without base and fixed query, `rest` goes on as it is, but for the slash of an empty
/// path.
#[inline(always)]
pub(crate) fn write_target(out: &mut Vec<u8>, base: &str, query: &str, rest: &[u8]) {
    if base.is_empty() && query.is_empty() && rest.first() == Some(&b'/') {
        out.extend_from_slice(rest);
    } else {
        join_target(out, base, query, rest);
    }
}

fn join_target(out: &mut Vec<u8>, base: &str, query: &str, rest: &[u8]) {
    let path = without_query(rest);
    let own_query = rest.get(path.len()..).unwrap_or_default();
    out.extend_from_slice(base.as_bytes());
    match (base.ends_with('/'), path.strip_prefix(b"/")) {
        (true, Some(bare)) => out.extend_from_slice(bare),
        (true, None) | (false, Some(_)) => out.extend_from_slice(path),
        (false, None) => {
            out.push(b'/');
            out.extend_from_slice(path);
        }
    }
    if query.is_empty() {
        out.extend_from_slice(own_query);
        return;
    }
    out.push(b'?');
    out.extend_from_slice(query.as_bytes());
    if let Some((_, own @ [_, ..])) = own_query.split_first() {
        out.push(b'&');
        out.extend_from_slice(own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::Limits;
    use crate::h1::head::{parse_request, slots};

    fn text(result: Result<(&str, &[u8]), NoRoute>) -> Result<(String, String), NoRoute> {
        result.map(|(service, rest)| (service.into(), String::from_utf8_lossy(rest).into()))
    }

    // B2.1, peers.md (b) 124.
    #[test]
    fn cuts_at_the_first_two_segments() {
        for (path, service, rest) in [
            ("/serviceone/v1/a%2Fb//c?x=1;y", "serviceone/v1", "/a%2Fb//c?x=1;y"),
            ("/n/v", "n/v", ""),
            ("/n/v/", "n/v", "/"),
            ("/n/v//", "n/v", "//"),
            ("/n/v?q", "n/v", "?q"),
            ("/n/v/?", "n/v", "/?"),
            ("/n/v?a/../../b", "n/v", "?a/../../b"),
            ("/n/v/a/..", "n/v", "/a/.."),
            ("/n%2Fx/v:1/r", "n%2Fx/v:1", "/r"),
            ("/n/v/%zz", "n/v", "/%zz"),
            ("/N/V/r", "N/V", "/r"),
        ] {
            let want = Ok((service.to_owned(), rest.to_owned()));
            assert_eq!(text(split(path.as_bytes())), want, "{path}");
        }
        assert_eq!(split(b"/n/v/\xff"), Ok(("n/v", &b"/\xff"[..])), "the rest may be any bytes");
    }

    // B2.2, peers.md (b) 125.
    #[test]
    fn too_short_is_not_found() {
        for path in [
            "", "*", "/", "//", "///", "/n", "/n/", "/n?/v/x", "/n/?v", "//s/v1/x", "/n//x", "n/v",
            "?/n/v",
        ] {
            assert_eq!(text(split(path.as_bytes())), Err(NoRoute::NotFound), "{path}");
        }
        assert_eq!(split(b"/n\xff/v/x"), Err(NoRoute::NotFound), "no service has such a name");
    }

    // B2.2: a dot segment, raw or percent-encoded, that would climb above the prefix.
    #[test]
    fn climbing_out_is_refused() {
        for path in [
            "/n/v/..",
            "/n/v/../",
            "/n/v/../x?y",
            "/n/v/a/../../x",
            "/n/v/./../x",
            "/n/v//../x",
            "/n/v/%2e%2E/x",
            "/n/v/.%2e/x",
            "/n/v/%2e./x",
            "/n/..",
            "/n/../x",
            "/../v/x",
            "/n/%2E./x",
        ] {
            assert_eq!(split(path.as_bytes()), Err(NoRoute::Climbs), "{path}");
        }
        // A prefix that names no service needs no protection: it reaches nobody.
        assert_eq!(text(split(b"/..")), Err(NoRoute::NotFound));
    }

    #[test]
    fn climbs_for_any_reading_of_separators() {
        for (path, want) in [
            ("", false),
            ("/", false),
            ("/a/b", false),
            ("/...", false),
            ("/..a/..", false),
            ("/a../..", false),
            ("/a/..", false),
            ("/a/./..", false),
            ("/a/%2e/..", false),
            ("/.", false),
            ("?..", false),
            ("/a?/../..", false),
            ("/%252e%252e/", false),
            ("/a%2f..", false),
            ("/a%2fb%2f..%2f..", false),
            ("..", true),
            ("/..", true),
            ("/a/../..", true),
            ("/a//../..", true),
            ("/%2e%2e", true),
            ("/..%2fx", true),
            ("/x%2F..%2f..", true),
            ("/..\\x", true),
            ("\\..\\x", true),
            ("/a\\..\\..", true),
            ("/..%5cx", true),
            ("/%2e%2e%5C", true),
            // As one segment it is one deep, as two it would be two.
            ("/a%2fb/../..", true),
            // Yes only if `\` separates and `%2f` does not.
            ("/a%2fb\\..\\..", true),
            // Some servers drop parameters before they resolve dots.
            ("/..;x=1/y", true),
            ("/..;", true),
            ("/a/..;/..", true),
        ] {
            assert_eq!(climbs(path.as_bytes()), want, "{path}");
        }
    }

    #[track_caller]
    fn check_target(base: &str, query: &str, rest: &str, want: &str) {
        let mut out = b"GET ".to_vec();
        write_target(&mut out, base, query, rest.as_bytes());
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out, format!("GET {want}"), "{base:?} {query:?} {rest:?}");
    }

    // B1.3, peers.md (b) 19 and 20.
    #[test]
    fn paths_are_joined_by_exactly_one_slash() {
        for (base, rest, want) in [
            ("/a/", "/b", "/a/b"),
            ("/a", "/b", "/a/b"),
            ("/a", "b", "/a/b"),
            ("/a/", "b", "/a/b"),
            ("/a", "", "/a/"),
            ("/a/", "", "/a/"),
            ("", "b", "/b"),
            ("", "", "/"),
            ("", "/", "/"),
            ("", "//x", "//x"),
            ("/a", "//x", "/a//x"),
            ("/a%2Fb", "/c", "/a%2Fb/c"),
            ("/a%2Fb%2F", "c", "/a%2Fb%2F/c"),
            ("/a%2Fb/", "/c%2Fd", "/a%2Fb/c%2Fd"),
        ] {
            check_target(base, "", rest, want);
        }
    }

    // B1.3, B2.1, peers.md (b) 18 and 21.
    #[test]
    fn queries_are_joined_by_an_ampersand_and_never_parsed() {
        for (query, rest, want) in [
            ("", "/", "/"),
            ("sta=tic", "/?us=er", "/?sta=tic&us=er"),
            ("", "/?us=er", "/?us=er"),
            ("sta=tic", "/", "/?sta=tic"),
            ("sta=tic", "/?", "/?sta=tic"),
            ("", "/?", "/?"),
            ("", "?q", "/?q"),
            ("s", "?q?r", "/?s&q?r"),
            ("", "/x?a=1&a=%zz;b=3", "/x?a=1&a=%zz;b=3"),
        ] {
            check_target("", query, rest, want);
        }
        check_target("/a/", "s=1", "/b?c=/d", "/a/b?s=1&c=/d");
        check_target("/a", "s=1", "", "/a/?s=1");
    }

    // B2.5: the trait object an embedder replaces.
    #[test]
    fn the_path_router_reads_the_head() {
        let mut router: Box<dyn Router> = Box::new(PathRouter::default());
        let limits = Limits { head_bytes: 999, fields: 9, target_bytes: 99 };
        let mut slots = slots();
        let bytes = b"GET /n/v/rest?q HTTP/1.1\r\nHost: h\r\n\r\n";
        let head = parse_request(bytes, &mut slots, &limits).unwrap().unwrap();
        assert_eq!(router.route(&head), Ok(Route { service: "n/v", rest: b"/rest?q" }));
    }

    // B2.1: whatever was asked for before.
    #[test]
    fn the_last_service_changes_no_verdict() {
        let paths = [
            "/n/v",
            "/n/v/",
            "/n/v/r",
            "/n/v?q",
            "/n/v2/r",
            "/n/v2",
            "/n/",
            "/n",
            "//n/v",
            "//",
            "/",
            "/n/v//r",
            "/m/v/r",
            "/n/v/%2e%2e",
            "*",
        ];
        let limits = Limits { head_bytes: 999, fields: 9, target_bytes: 99 };
        let verdict = |router: &mut PathRouter, path: &str| {
            let mut slots = slots();
            let bytes = format!("OPTIONS {path} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
            let head = parse_request(&bytes, &mut slots, &limits).unwrap().unwrap();
            router.route(&head).map(|route| (route.service.to_owned(), route.rest.to_owned()))
        };
        let mut router = PathRouter::default();
        for before in paths {
            for path in paths {
                let _ = verdict(&mut router, before);
                let fresh = verdict(&mut PathRouter::default(), path);
                assert_eq!(verdict(&mut router, path), fresh, "{path} after {before}");
            }
        }
    }
}
