//! What one source says, the arguments or the file, and how the two become one.
//!
//! Everything is checked as it comes in, where its place can still be named. This file does not
//! know how options or files are written; what values mean is the library's business.

use std::fmt::Display;

use pointsman::{Balance, Config, Listen, RouteSpec, SettingError};

/// More than any machine has use for that runs one proxy.
const MAX_WORKERS: usize = 256;

/// Where something was written, so that a line about it can say so.
#[derive(Clone, Debug)]
pub(crate) enum At {
    /// The name of an argument: `--listen`, `ROUTE`.
    Argument(String),
    /// `FILE:LINE:COLUMN` and a key.
    File { place: String, key: String },
}

impl At {
    /// The line that says what is wrong here.
    pub(crate) fn says(&self, why: impl Display) -> String {
        match self {
            At::Argument(name) => one_line(format!("{name}: {why}")),
            At::File { place, key } => one_line(format!("{place}: {key}: {why}")),
        }
    }

    /// The line that says what is wrong with a value.
    pub(crate) fn refuses(&self, value: &str, why: impl Display) -> String {
        match self {
            At::Argument(name) => one_line(format!("{name} {value:?}: {why}")),
            At::File { .. } => self.says(format!("{value:?}: {why}")),
        }
    }
}

/// A balancer, and its name as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Balancing {
    pub(crate) balance: Balance,
    pub(crate) name: String,
}

impl Balancing {
    pub(crate) fn read(name: &str, at: &At) -> Result<Balancing, String> {
        let balance = name.parse().map_err(|why| at.refuses(name, why))?;
        Ok(Balancing { balance, name: name.to_owned() })
    }
}

/// A service, with the place of each of its endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) route: RouteSpec,
    pub(crate) places: Vec<At>,
    pub(crate) balancing: Option<Balancing>,
}

/// A key of [`Config`], whose value makes sense by itself.
#[derive(Clone, Debug)]
struct Setting {
    key: String,
    value: String,
    at: At,
}

/// What one source says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub(crate) listen: Vec<Listen>,
    pub(crate) balancing: Option<Balancing>,
    pub(crate) services: Vec<Service>,
    workers: Option<(usize, At)>,
    settings: Vec<Setting>,
}

impl Draft {
    /// Listens at `text`, too.
    pub(crate) fn listen(&mut self, text: &str, at: &At) -> Result<(), String> {
        let listen: Listen = text.parse().map_err(|why| at.refuses(text, why))?;
        // Port 0 asks for any free port: two of them are two listeners.
        if self.listen.contains(&listen) && !text.ends_with(":0") {
            return Err(at.refuses(text, "is given twice"));
        }
        self.listen.push(listen);
        Ok(())
    }

    /// Serves with so many threads.
    pub(crate) fn workers(&mut self, text: &str, at: At) -> Result<(), String> {
        let count = text.parse().ok().filter(|count| (1..=MAX_WORKERS).contains(count));
        let why = || at.refuses(text, format!("takes a number from 1 to {MAX_WORKERS}"));
        let count = count.ok_or_else(why)?;
        self.workers = Some((count, at));
        Ok(())
    }

    /// Sets a key of [`Config`].
    pub(crate) fn set(&mut self, key: &str, value: &str, at: At) -> Result<(), String> {
        Config::default().set(key, value).map_err(|error| match error {
            SettingError::Value { why, .. } => at.refuses(value, why),
            other => at.says(other),
        })?;
        self.settings.push(Setting { key: key.to_owned(), value: value.to_owned(), at });
        Ok(())
    }

    /// Both sources as one; where both say something, `self` is right.
    ///
    /// A service that both know has the endpoints of `self`, and keeps its balancer.
    pub(crate) fn over(self, mut base: Draft) -> Draft {
        if !self.listen.is_empty() {
            base.listen = self.listen;
        }
        base.balancing = self.balancing.or(base.balancing);
        base.workers = self.workers.or(base.workers);
        for service in self.services {
            let name = &service.route.service;
            match base.services.iter_mut().find(|known| known.route.service == *name) {
                Some(known) => {
                    let balancing = service.balancing.or(known.balancing.take());
                    *known = Service { balancing, ..service };
                }
                None => base.services.push(service),
            }
        }
        let overridden = |old: &Setting| self.settings.iter().any(|new| new.key == old.key);
        base.settings.retain(|old| !overridden(old));
        base.settings.extend(self.settings);
        base
    }

    /// How many threads serve; every one of them must have a share of `config` that it can work
    /// with.
    pub(crate) fn count_workers(&self, config: &Config) -> Result<usize, String> {
        let Some((count, at)) = &self.workers else { return Ok(1) };
        config.share(*count).map_err(|why| at.says(why))?;
        Ok(*count)
    }

    /// The settings together, if they make sense together.
    ///
    /// One that makes none is blamed on the first key from which on it stays so: settings may
    /// contradict each other until the next one has been read.
    pub(crate) fn config(&self) -> Result<Config, String> {
        let mut config = Config::default();
        let mut wrong = None;
        for Setting { key, value, at } in &self.settings {
            config.set(key, value).map_err(|error| at.says(error))?;
            wrong = match (config.check(), wrong) {
                (Ok(()), _) => None,
                (Err(_), Some(first)) => Some(first),
                (Err(error), None) => Some((key, at, error.to_string())),
            };
        }
        match wrong {
            None => Ok(config),
            Some((_, At::Argument(_), why)) => Err(one_line(why)),
            Some((key, at, why)) => {
                let short = why.strip_prefix(key.as_str()).map(str::trim_start);
                Err(at.says(short.unwrap_or(&why)))
            }
        }
    }
}

/// What was written may hold line breaks and terminal escapes; what is said about it may not.
pub(crate) fn one_line(text: impl Display) -> String {
    let mut line = String::new();
    for letter in text.to_string().chars() {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    line
}

/// The word of `words` that `wrong` was probably meant to be.
pub(crate) fn meant<'a>(wrong: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (steps, word) = nearest(wrong, words)?;
    (steps <= 1 + word.len() / 4).then_some(word)
}

/// The word of `words` that is most like `wrong`, and how many letters are between them: none if
/// it begins like it. Case does not count, and `_` is `-`.
pub(crate) fn nearest<'a>(
    wrong: &str,
    words: impl Iterator<Item = &'a str>,
) -> Option<(usize, &'a str)> {
    let wrong = wrong.to_lowercase().replace('_', "-");
    let steps = |word: &str| match !wrong.is_empty() && word.starts_with(&wrong) {
        true => 0,
        false => distance(&wrong, word),
    };
    words.map(|word| (steps(word), word)).min_by_key(|(steps, _)| *steps)
}

/// How many letters must be put in, taken out or changed to make one word of the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut left = i + 1;
        let mut corner = i;
        for (b, above) in to.chars().zip(1..) {
            let Some(cell) = row.get_mut(above) else { break };
            let cost = (corner + usize::from(a != b)).min(left + 1).min(*cell + 1);
            corner = std::mem::replace(cell, cost);
            left = cost;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (from, to, steps) in
            [("", "abc", 3), ("abc", "abc", 0), ("conect", "connect", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(from, to), steps, "{from} {to}");
        }
    }
}
