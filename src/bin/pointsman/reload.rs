//! From one plan to the next while the proxy runs (`B9.1`, SIGHUP): what changes, and what cannot.
//!
//! This file compares; it reads no file and knows no signal.

use std::io;
use std::time::Duration;

use pointsman::{Config, Handle, Listen, Resolver};

use crate::plan::{Balancers, Plan};

/// What the proxy runs with now.
pub(crate) struct Running {
    listen: Vec<Listen>,
    balancers: Balancers,
    workers: usize,
    pub(crate) config: Config,
    pub(crate) demo: bool,
    /// Knows the services and endpoints.
    resolver: Resolver,
    handle: Handle,
}

impl Running {
    /// The proxy behind `handle` was built from `plan`.
    pub(crate) fn begin(plan: Plan, handle: Handle) -> io::Result<Running> {
        let every = Duration::from_millis(plan.config.resolve_ms);
        let resolver = Resolver::start(handle.clone(), plan.names, every)?;
        let Plan { listen, balancers, config, workers, demo, .. } = plan;
        Ok(Running { listen, balancers, workers, config, demo, resolver, handle })
    }

    /// Brings the proxy to `plan`, or changes nothing: then the text says why. Endpoints come
    /// before others go, so that no service is without any in between; a service of which nothing
    /// is said any more stays known and has none.
    pub(crate) fn change(&mut self, plan: Plan) -> Result<(), String> {
        let Plan { listen, names, balancers, workers, mut config, .. } = plan;
        if listen != self.listen {
            let why = "the addresses to listen at have changed, which takes SIGUSR2 or a restart";
            return Err(why.to_owned());
        }
        let mut kept = config.keep_fixed(&self.config);
        self.handle.configure(config.clone()).map_err(|why| why.to_string())?;
        if workers != self.workers {
            kept.push("workers");
        }
        if !kept.is_empty() {
            log::warn!("reload: it takes SIGUSR2 or a restart to change {}", kept.join(" and "));
        }
        if balancers != self.balancers {
            let balancers = balancers.clone();
            self.handle.balancer(move |service| balancers.build(service));
        }
        let every = Duration::from_millis(config.resolve_ms);
        if let Err(error) = self.resolver.replace(names, every) {
            log::error!("reload: some names will not be asked for again: {error}");
        }
        (self.config, self.balancers) = (config, balancers);
        Ok(())
    }
}
