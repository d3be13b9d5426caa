//! Drivers: what makes the container.

mod contained;
pub(crate) mod fake;
mod kind;
mod plan;
pub(crate) mod sandbox;
mod shelf;
mod snapshots;
mod zygotes;

pub(crate) use contained::Contained;
pub(crate) use shelf::Announced;
