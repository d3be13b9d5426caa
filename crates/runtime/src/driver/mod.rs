//! Drivers: what makes the container.

mod contained;
pub(crate) mod fake;
mod plan;
pub(crate) mod sandbox;

pub(crate) use contained::Contained;
