//! What each of several proxies may have of limits that hold for all of them together (`B9.5`).
//! This file does not know who shares.

use super::{Config, SettingError, refuse};

impl Config {
    /// The part of one of `workers` proxies that serve together: what holds for the process as a
    /// whole is divided, so that the sum never passes it; times and sizes of messages stay.
    ///
    /// `max-connections`, `memory` and `max-inflight` must be enough for a part that works. The
    /// others (`idle-per-endpoint`, `idle-total`, `wait-requests`, `retry-per-second`) are one at
    /// least, unless they are 0.
    pub fn share(&self, workers: usize) -> Result<Config, SettingError> {
        self.check()?;
        let mut share = self.clone();
        if workers <= 1 {
            return Ok(share);
        }
        let inflight = self.max_inflight as usize;
        for (key, value) in [("max-connections", self.max_connections), ("max-inflight", inflight)]
        {
            let too_few = (1..workers).contains(&value);
            refuse(too_few, || format!("{key} {value} is too few for {workers} workers"))?;
        }
        share.max_connections /= workers;
        share.memory_bytes /= workers;
        share.max_inflight = u32::try_from(inflight / workers).unwrap_or(u32::MAX);
        for value in [&mut share.idle_per_endpoint, &mut share.idle_total, &mut share.wait_requests]
        {
            *value = (*value / workers).max((*value).min(1));
        }
        let retries = share.retry_per_second;
        share.retry_per_second = (retries / workers as u64).max(retries.min(1));
        share.check().map_err(|error| {
            SettingError::Contradiction(format!("for one of {workers} workers: {error}"))
        })?;
        Ok(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // B9.5: the shares together are no more than the whole.
    #[test]
    fn b9_5_shares_do_not_pass_the_whole() {
        let whole = Config { max_inflight: 7, ..Config::default() };
        assert_eq!(whole.share(1), Ok(whole.clone()));
        assert_eq!(whole.share(0), Ok(whole.clone()));
        for workers in 2..=7 {
            let share = whole.share(workers).unwrap();
            let sum = share.memory_ceiling_bytes() * workers as u64;
            assert!(sum <= whole.memory_ceiling_bytes(), "{workers}");
            assert!(share.max_connections * workers <= whole.max_connections, "{workers}");
            assert!(share.max_inflight * workers as u32 <= 7, "{workers}");
            assert!(share.idle_total * workers <= whole.idle_total, "{workers}");
            assert_eq!(share.first_byte_ms, whole.first_byte_ms);
            assert_eq!(share.buffer_bytes, whole.buffer_bytes);
        }
    }

    // B9.5: 0 keeps its meaning, and where a part can be too small for its purpose, it is not.
    #[test]
    fn b9_5_small_numbers() {
        let few = Config { idle_per_endpoint: 1, idle_total: 0, ..Config::default() };
        let share = few.share(4).unwrap();
        assert_eq!((share.idle_per_endpoint, share.idle_total, share.max_inflight), (1, 0, 0));
        assert_eq!(few.share(16).unwrap().retry_per_second, 1);
        for (config, said) in [
            (Config { max_connections: 1, ..few.clone() }, "max-connections 1 is too few for 2"),
            (Config { max_inflight: 1, ..few.clone() }, "max-inflight 1 is too few for 2 workers"),
            (
                Config { memory_bytes: 1 << 20, ..few.clone() },
                "for one of 2 workers: memory 524288 is too small for 16 requests",
            ),
        ] {
            let error = config.share(2).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
