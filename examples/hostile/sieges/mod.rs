//! All sieges, in the order in which they are laid.

mod bombs;
mod limits;
mod origins;
mod patience;
mod tunnels;

use crate::siege::Siege;

pub(crate) fn all() -> Vec<Siege> {
    let mut all = patience::sieges();
    all.extend(bombs::sieges());
    all.extend(origins::sieges());
    all.extend(tunnels::sieges());
    all.extend(limits::sieges());
    all
}
