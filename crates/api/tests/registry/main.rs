//! The registry door by plain HTTP: each line of the OCI distribution specification.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod blobs;
mod client;
mod manifests;
#[path = "../server/mod.rs"]
mod server;
