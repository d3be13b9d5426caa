//! The small privileged process that makes sandboxes, and the client that asks it to.
//!
//! `rouse serve` starts itself a second time as the launcher ([`spawn`]) before it has threads, then
//! gives up its own privilege. The launcher is single-threaded, parses nothing from outside, and is
//! the only place with `unsafe`. It ends, with every sandbox, when the server's socket closes.
//!
//! [`Launcher::arm`] makes a sandbox that waits, [`Armed::assign`] lets it run; [`Launcher::start`] does
//! both. What sandboxes use one after the other is a slot (`slot`); what can be forked into them is a
//! [`Zygote`]. Why: `docs/adr/0005-armed-sandboxes.md`.

mod assign;
mod assignment;
mod bare;
mod bounds;
mod capabilities;
mod cgroup;
mod child;
mod client;
mod descriptors;
mod devices;
mod entry;
mod error;
mod etc;
mod exec;
mod exit;
mod kernel;
mod memory;
mod mounts;
mod namespaces;
mod nested;
mod network;
mod pin;
pub mod probe;
mod proc;
mod process;
mod ranges;
mod redirect;
pub mod residency;
mod root;
mod rootless;
mod route;
mod sandbox;
mod seccomp;
mod shape;
mod skeleton;
mod slot;
mod snapshot;
mod spaces;
mod userns;
mod wire;
mod zygote;

pub use assignment::{Assignment, Stem, Work};
pub use client::{
    Armed, Belongings, Egress, Foreign, Furniture, Gate, Handed, Launcher, Pinned, Sandbox,
    Snapshot, Visitor, Zygote,
};
pub use entry::{Connection, drop_privilege, run_if_launcher, spawn};
pub use error::{Error, Result};
pub use exit::{Exit, Usage, status_of};
pub use memory::hold_in_memory;
pub use ranges::most_sandboxes;
pub use root::inodes;
pub use rootless::enter as enter_without_root;
pub use route::leaves_host;
pub use shape::{Bind, Root, Shape, User, Volume};
