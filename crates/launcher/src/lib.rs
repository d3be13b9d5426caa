//! The small privileged process that makes sandboxes, and the client that asks it to.
//!
//! `rouse serve` starts itself a second time as the launcher ([`spawn`]) before it has threads, then
//! gives up its own privilege. The launcher is single-threaded, parses nothing from outside, and is
//! the only place with `unsafe`. It ends, with every sandbox, when the server's socket closes.

mod client;
mod error;
pub mod probe;
mod spec;

pub use client::{Connection, Launcher, Sandbox, drop_privilege, run_if_launcher, spawn};
pub use error::{Error, Result};
pub use spec::{Bind, Exit, Root, SandboxSpec, Usage, User, Volume};
