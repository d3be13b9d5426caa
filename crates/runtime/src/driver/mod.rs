//! Drivers: what makes the container.

mod contained;
pub(crate) mod fake;
mod kind;
mod pins;
mod plan;
pub(crate) mod sandbox;
mod shelf;
mod snapshots;
mod warmth;
mod zygotes;

pub(crate) use contained::Contained;
