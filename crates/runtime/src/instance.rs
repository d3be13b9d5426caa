//! One instance.

use crate::driver::Contained;
use crate::driver::fake::FakeInstance;
use model::{InstanceId, Invocation, Outcome, StartKind};
use std::time::Duration;
use tokio::net::TcpStream;

/// One running instance. Dropped, it is killed.
pub struct Instance {
    id: InstanceId,
    driven: Driven,
}

/// Really, or as a test says.
enum Driven {
    Contained(Box<Contained>),
    Fake(FakeInstance),
}

impl Instance {
    pub(crate) fn fake(id: InstanceId, instance: FakeInstance) -> Self {
        Self {
            id,
            driven: Driven::Fake(instance),
        }
    }

    pub(crate) fn contained(instance: Contained) -> Self {
        Self {
            id: instance.id().clone(),
            driven: Driven::Contained(Box::new(instance)),
        }
    }

    /// Its identity.
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// Process id of its first process as the host sees it.
    pub fn pid(&self) -> u32 {
        match &self.driven {
            Driven::Contained(instance) => instance.pid(),
            Driven::Fake(instance) => instance.pid,
        }
    }

    /// Microseconds: making the sandbox, and from there to being ready.
    pub fn start_timing(&self) -> (u64, u64) {
        match &self.driven {
            Driven::Contained(instance) => instance.start_timing(),
            Driven::Fake(instance) => (instance.start, 0),
        }
    }

    /// How it came to be.
    pub fn start_kind(&self) -> StartKind {
        match &self.driven {
            Driven::Contained(instance) => instance.start_kind(),
            Driven::Fake(instance) => instance.start_kind,
        }
    }

    /// Hands one call to the instance and waits for its end, at most `invocation.timeout`; then it is
    /// killed, or, while it answers other calls, takes no further one. After any end but `Succeeded`,
    /// `Failed` and `ResponseTooLarge` it is of no more use: ask [`Instance::is_alive`]. Children
    /// that outlive the call are left until the instance is frozen or ends.
    ///
    /// With the `http` contract any number of calls may be under way, each over a connection of its
    /// own; with the `lambda` contract one. `cold`, `start_kind` and `queued` of the outcome are for
    /// the caller to fill in.
    pub async fn call(&self, invocation: Invocation) -> Outcome {
        match &self.driven {
            Driven::Contained(instance) => instance.call(invocation).await,
            Driven::Fake(instance) => instance.call(invocation).await,
        }
    }

    /// Whether it can take another call.
    pub fn is_alive(&self) -> bool {
        match &self.driven {
            Driven::Contained(instance) => instance.is_alive(),
            Driven::Fake(instance) => instance.is_alive(),
        }
    }

    /// Stops every process of it without their noticing, until [`Instance::thaw`]. There must be no
    /// call under way. No effect if it is frozen already, has ended, or its machine has no freezer.
    pub fn freeze(&self) {
        match &self.driven {
            Driven::Contained(instance) => instance.freeze(),
            Driven::Fake(instance) => instance.freeze(),
        }
    }

    /// Lets it go on; no effect if it is not frozen. [`Instance::stop`] and dropping it do so too.
    pub fn thaw(&self) {
        match &self.driven {
            Driven::Contained(instance) => instance.thaw(),
            Driven::Fake(instance) => instance.thaw(),
        }
    }

    /// Resolves when it has ended, with how (`exit status 1`); any number of waiters.
    pub async fn exited(&self) -> String {
        match &self.driven {
            Driven::Contained(instance) => instance.exited().await,
            Driven::Fake(instance) => instance.exited().await,
        }
    }

    /// A connection to a port inside it (services, `http` contract).
    ///
    /// # Errors
    /// Of connecting; the instance may have ended or not listen.
    pub async fn connect(&self, port: u16) -> std::io::Result<TcpStream> {
        match &self.driven {
            Driven::Contained(instance) => instance.connect(port).await,
            Driven::Fake(instance) => instance.connect().await,
        }
    }

    /// Asks it to end (SIGTERM), waits at most `grace`, then kills it, and waits until nothing of it
    /// is left. With the `lambda` contract the grace is half a second at most: there is no call under
    /// way, and few of those programs heed SIGTERM.
    pub async fn stop(self, grace: Duration) {
        match self.driven {
            Driven::Contained(instance) => instance.stop(grace).await,
            Driven::Fake(instance) => instance.stop(),
        }
    }
}
