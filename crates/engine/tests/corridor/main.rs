//! The corridor from door to end, over a real store and storage, with a driver that only plays instances. One
//! program: to link one for each of these files took longer than to run all of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod buses;
mod delivery;
mod dependencies;
mod events;
mod follow;
mod functions;
mod house;
mod queues;
mod scaling;
mod schedules;
mod secrets;
mod services;
mod upstreams;
mod versions;
