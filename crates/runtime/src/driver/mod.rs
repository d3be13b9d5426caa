//! Drivers: what makes the container.

pub(crate) mod fake;
