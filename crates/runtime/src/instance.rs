//! One instance.

use model::{InstanceId, Invocation, Outcome};
use std::time::Duration;
use tokio::net::TcpStream;

/// One running instance. Dropped, it is killed.
pub struct Instance {}

impl Instance {
    /// Its identity.
    pub fn id(&self) -> &InstanceId {
        todo!()
    }

    /// Process id of its first process as the host sees it.
    pub fn pid(&self) -> u32 {
        todo!()
    }

    /// Microseconds: making the sandbox, and from there to being ready.
    pub fn start_timing(&self) -> (u64, u64) {
        todo!()
    }

    /// Hands one call to the instance and waits for its end, at most `invocation.timeout`; then it is
    /// killed. After any end but `Succeeded`, `Failed` and `ResponseTooLarge` the instance is gone:
    /// ask [`Instance::is_alive`]. Children that outlive the call are left until the instance ends.
    /// `cold` and `queued` of the outcome are for the caller to fill in.
    pub async fn call(&mut self, invocation: Invocation) -> Outcome {
        let _ = invocation;
        todo!()
    }

    /// Whether it can take another call.
    pub fn is_alive(&self) -> bool {
        todo!()
    }

    /// Resolves when it has ended, with how (`exit status 1`); any number of waiters.
    pub async fn exited(&self) -> String {
        todo!()
    }

    /// A connection to a port inside it (services, `http` contract).
    ///
    /// # Errors
    /// Of connecting; the instance may have ended or not listen.
    pub async fn connect(&self, port: u16) -> std::io::Result<TcpStream> {
        let _ = port;
        todo!()
    }

    /// Asks it to end (SIGTERM), waits at most `grace`, then kills it, and waits until nothing of it
    /// is left.
    pub async fn stop(self, grace: Duration) {
        let _ = grace;
        todo!()
    }
}
