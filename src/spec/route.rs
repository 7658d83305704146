//! A service and its endpoints as text: `serviceone/v1=localhost:9091,unix:/run/app`.
//!
//! This file knows what a service may be called, and that no endpoint is named twice. It does not
//! know what an endpoint looks like.

use std::str::FromStr;

use crate::endpoint::in_path;

use super::{EndpointSpec, SpecError, check_bytes};

/// A service and its endpoints: `serviceone/v1=localhost:9091,localhost:9092`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// `name/version`, or `*` for the catch-all.
    pub service: String,
    /// Its endpoints, no two alike; at least one if it was read from a text.
    pub endpoints: Vec<EndpointSpec>,
}

impl RouteSpec {
    /// The service called `service`, with no endpoint yet.
    pub fn new(service: &str) -> Result<RouteSpec, SpecError> {
        check_service(service).map_err(|why| wrong(service, why))?;
        Ok(RouteSpec { service: service.to_owned(), endpoints: Vec::new() })
    }

    /// Adds the endpoint that `text` says.
    pub fn add(&mut self, text: &str) -> Result<(), SpecError> {
        let endpoint: EndpointSpec = text.parse()?;
        if self.endpoints.iter().any(|known| known.place == endpoint.place) {
            let (service, endpoint) = (self.service.clone(), text.to_owned());
            return Err(SpecError::Duplicate { service, endpoint });
        }
        self.endpoints.push(endpoint);
        Ok(())
    }
}

impl FromStr for RouteSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<RouteSpec, SpecError> {
        let Some((service, list)) = text.split_once('=') else {
            return Err(wrong(text, "has no \"=\"; write service/version=host:port"));
        };
        let mut route = RouteSpec::new(service)?;
        for item in list.split(',') {
            if item.is_empty() {
                return Err(wrong(text, "has an empty endpoint"));
            }
            route.add(item)?;
        }
        Ok(route)
    }
}

fn wrong(text: &str, why: &'static str) -> SpecError {
    SpecError::Route { text: text.to_owned(), why }
}

fn check_service(service: &str) -> Result<(), &'static str> {
    if service == "*" {
        return Ok(());
    }
    let two = service.split_once('/').filter(|(name, version)| {
        !name.is_empty() && !version.is_empty() && !version.contains('/')
    });
    let Some((name, version)) = two else {
        return Err("is not a service; write service/version, or * for everything");
    };
    if check_bytes(service, in_path).is_err() {
        return Err("has a character that a path may not hold");
    }
    if [name, version].iter().any(|segment| matches!(*segment, "." | "..")) {
        return Err("has a dot segment, which no request can name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // B1.1, B1.2
    #[test]
    fn routes_are_read() {
        for (text, service, count) in [
            ("serviceone/v1=localhost:9091,localhost:9092", "serviceone/v1", 2),
            ("*=localhost:80", "*", 1),
            ("a:b%2F/v~1=h:1,h:2,http://h:1/a,http://h:1/a?q,unix:/p", "a:b%2F/v~1", 5),
            ("s/1=http://h/?a=b", "s/1", 1),
        ] {
            let route: RouteSpec = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((route.service.as_str(), route.endpoints.len()), (service, count));
        }
    }

    // B1.5
    #[test]
    fn wrong_routes_are_refused() {
        for (text, line) in [
            ("", "route \"\" has no \"=\""),
            ("s/1", "route \"s/1\" has no \"=\"; write service/version=host:port"),
            ("=h:1", "route \"\" is not a service"),
            ("s=h:1", "route \"s\" is not a service"),
            ("s/=h:1", "is not a service"),
            ("/1=h:1", "is not a service"),
            ("/s/1=h:1", "route \"/s/1\" is not a service"),
            ("s/1/=h:1", "is not a service"),
            ("s/1/x=h:1", "is not a service"),
            ("s//1=h:1", "is not a service"),
            ("**=h:1", "is not a service"),
            ("s/ 1=h:1", "has a character that a path may not hold"),
            ("s?/1=h:1", "has a character that a path may not hold"),
            ("s/\n=h:1", "has a character that a path may not hold"),
            ("../1=h:1", "has a dot segment"),
            ("s/.=h:1", "has a dot segment"),
            ("s/1=", "route \"s/1=\" has an empty endpoint"),
            ("s/1=h:1,", "has an empty endpoint"),
            ("s/1=h:1,,h:2", "has an empty endpoint"),
            ("s/1=h:1,h:x", "endpoint \"h:x\": \"x\" is not a port"),
            ("s/1=h:1,h:1", "route \"s/1\" has the endpoint \"h:1\" twice"),
            ("s/1=h:1,H:1;weight=2", "has the endpoint \"H:1;weight=2\" twice"),
            ("s/1=h:80,http://h/", "has the endpoint \"http://h/\" twice"),
            ("s/1=[::1]:1,[0::1]:1", "twice"),
            ("s/1=unix:/p,unix:/p", "twice"),
        ] {
            let error = text.parse::<RouteSpec>().expect_err(text).to_string();
            assert!(error.contains(line), "{text:?} gave: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
