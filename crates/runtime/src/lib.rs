//! Start, call and stop one contained instance.
//!
//! A *driver* makes the container (`sandbox`; `fake` for tests of what is above). A *contract* talks
//! to what runs in it (`lambda`: it polls us; `http`: we post to it). Above this room there is only
//! [`Instance::call`].

mod contract;
mod driver;
mod error;
mod gateway;
mod host;
mod instance;
mod logs;
mod runtime;
mod spec;

pub use driver::fake::{Fake, FakeStart};
pub use error::{Error, Result};
pub use gateway::{Door, Inbound};
pub use instance::Instance;
pub use runtime::{Options, Runtime};
pub use spec::{InstanceSpec, Peer};
