//! Start, call and stop one contained instance.
//!
//! A *driver* makes the container (`sandbox`, `docker`; `fake` for tests of what is above). A *contract* talks
//! to what runs in it (`lambda`: it polls us; `http`: we post to it). Above this room there is only
//! [`Instance::call`].

mod bootstrap;
mod contract;
mod driver;
mod egress;
mod environment;
mod error;
mod gateway;
mod host;
mod instance;
mod logs;
mod report;
mod runtime;
mod spec;

pub use bootstrap::bootstrap_of;
pub use contract::http::cloudevent::headers as cloudevent_headers;
pub use driver::docker::{Reached as DockerEngine, reach as reach_docker};
pub use driver::fake::{Fake, FakeStart, FakeStep};
pub use egress::may_dial;
pub use error::{Error, Result};
pub use gateway::{Door, Inbound};
pub use instance::Instance;
pub use runtime::{Options, Prepared, Runtime};
pub use spec::{InstanceSpec, Peer, SecretFile};
