//! Drivers: what makes the container.

mod body;
mod bytecode;
mod contained;
pub(crate) mod docker;
pub(crate) mod fake;
mod files;
mod kind;
mod pins;
mod plan;
pub(crate) mod sandbox;
mod shelf;
mod snapshots;
pub(crate) mod surroundings;
mod warmth;
mod zygotes;

pub(crate) use body::Body;
pub(crate) use contained::Contained;
