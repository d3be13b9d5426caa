//! Pulling through from other registries: repositories whose first part is an upstream's name hold what somebody asked
//! for of its images, checked by digest and kept as if it had been pushed.

mod answer;
mod blob;
mod challenge;
mod client;
mod fault;
mod pull;
mod table;

pub(crate) use table::Upstreams;
