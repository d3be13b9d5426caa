//! The runtime: starting instances.

use crate::driver::sandbox::{Kept, SandboxDriver};
use crate::{Fake, Inbound, Instance, InstanceSpec, Result};
use launcher::Launcher;
use model::Egress;
use std::net::SocketAddr;
use std::path::PathBuf;
use storage::Storage;
use tokio::sync::mpsc;

/// Settings of the runtime.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the server's own files for instances go (bootstraps); below the data folder.
    pub folder: PathBuf,
    /// The region that instances are told: `us-east-1` by default.
    pub region: String,
    /// Where instances may connect to whose specification says nothing of it.
    pub egress: Egress,
    /// The name servers that instances' questions are passed on to, in turn; none: those of the host's
    /// `/etc/resolv.conf`.
    pub dns: Vec<SocketAddr>,
    /// Sandboxes that wait for each shape in use, without a program; 0: none is made ahead.
    pub armed: usize,
    /// Interpreters that wait for each kind of function in use; 0: none is started ahead.
    pub stems: usize,
    /// Modules that Python instances have imported before they get a function; those that are not
    /// installed are left out.
    pub preload: Vec<String>,
    /// Most bytes of the managed runtimes' files that are kept in memory; 0: none.
    pub pin: u64,
}

/// Keeps sandboxes ready for a function for as long as it exists.
pub struct Prepared {
    _kept: Option<Kept>,
}

/// Starts instances. A cheap handle.
#[derive(Clone)]
pub struct Runtime {
    driver: Driver,
}

/// What makes the containers.
#[derive(Clone)]
enum Driver {
    Sandbox(Box<SandboxDriver>),
    Fake(Fake),
}

impl Runtime {
    /// With the `sandbox` driver. Connections out of instances go to `inbound` (bounded; a full
    /// channel makes the instance wait).
    ///
    /// # Errors
    /// When the bootstraps cannot be written.
    pub async fn sandbox(
        options: Options,
        launcher: Launcher,
        storage: Storage,
        inbound: mpsc::Sender<Inbound>,
    ) -> Result<Self> {
        let driver = SandboxDriver::new(options, launcher, storage, inbound).await?;
        Ok(Self {
            driver: Driver::Sandbox(Box::new(driver)),
        })
    }

    /// With the `fake` driver, for tests of what is above.
    pub fn fake(fake: Fake) -> Self {
        Self {
            driver: Driver::Fake(fake),
        }
    }

    /// From now on keeps sandboxes ready for instances like this one, made off the critical path.
    ///
    /// # Errors
    /// As of [`Self::start`]: when such an instance could not be made at all.
    pub async fn prepare(&self, spec: &InstanceSpec) -> Result<Prepared> {
        let _kept = match &self.driver {
            Driver::Sandbox(sandbox) => Some(sandbox.prepare(spec).await?),
            Driver::Fake(_) => None,
        };
        Ok(Prepared { _kept })
    }

    /// Says whether the machine is short of memory: then nothing is made ahead.
    pub fn set_scarce(&self, scarce: bool) {
        if let Driver::Sandbox(sandbox) = &self.driver {
            sandbox.set_scarce(scarce);
        }
    }

    /// Starts an instance and waits until it is ready: `lambda`: its first `next`; `http`: its port
    /// takes a connection; a service: its program runs. At most 10 s (Lambda's bound for init), and as
    /// long again, or the function's time limit, if it is one that must be initialised first.
    ///
    /// # Errors
    /// `Init` if its own code failed; else the platform's or the deployer's fault. Nothing is left.
    pub async fn start(&self, spec: InstanceSpec) -> Result<Instance> {
        match &self.driver {
            Driver::Sandbox(sandbox) => Ok(Instance::contained(sandbox.start(spec).await?)),
            Driver::Fake(fake) => {
                let id = spec.id.clone();
                Ok(Instance::fake(id, fake.start(spec).await?))
            }
        }
    }

    /// Whether this machine can run that runtime; the error says what is missing and how to get it.
    /// May block for some tens of milliseconds until an interpreter was found once.
    ///
    /// # Errors
    /// `Missing`.
    pub fn check(&self, runtime: model::RuntimeName) -> Result<()> {
        match &self.driver {
            Driver::Sandbox(sandbox) => sandbox.check(runtime),
            Driver::Fake(_) => Ok(()),
        }
    }
}
