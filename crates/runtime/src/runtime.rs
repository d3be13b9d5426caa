//! The runtime: starting instances.

use crate::driver::docker::DockerDriver;
use crate::driver::sandbox::{Kept, SandboxDriver};
use crate::driver::surroundings::Surroundings;
use crate::{Fake, Inbound, Instance, InstanceSpec, Result};
use launcher::Launcher;
use model::{Driver, Egress, RuntimeName, Snapshot};
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
    /// Where secrets and configs are laid out for instances; a folder in memory
    /// ([`launcher::hold_in_memory`]).
    pub secrets: PathBuf,
    /// Most bytes of the managed runtimes' files that are kept in memory; 0: none.
    pub pin: u64,
    /// What makes the containers of instances whose specification does not say it.
    pub driver: Driver,
    /// Where Docker Engine listens, such as `unix:///var/run/docker.sock`; looked at once it is needed.
    pub docker_host: String,
}

/// Keeps sandboxes ready for a function for as long as it exists; with Docker, nothing.
pub struct Prepared {
    _kept: Option<Kept>,
}

/// Starts instances. A cheap handle.
#[derive(Clone)]
pub struct Runtime {
    drivers: Drivers,
}

/// What makes the containers.
#[derive(Clone)]
enum Drivers {
    Real(Box<Real>),
    Fake(Fake),
}

/// The real drivers, and what they share.
#[derive(Clone)]
struct Real {
    sandbox: SandboxDriver,
    docker: DockerDriver,
    surroundings: Surroundings,
    default: Driver,
}

impl Runtime {
    /// With the drivers `sandbox` and `docker`. Connections out of instances go to `inbound` (bounded; a
    /// full channel makes the instance wait). What an earlier server with the same folder left in Docker
    /// is removed.
    ///
    /// # Errors
    /// When the bootstraps cannot be written; when Docker is the default driver and cannot be reached.
    pub async fn open(
        options: Options,
        launcher: Launcher,
        storage: Storage,
        inbound: mpsc::Sender<Inbound>,
    ) -> Result<Self> {
        let can_egress = launcher.can_egress();
        let surroundings = Surroundings::new(&options, can_egress, storage, inbound).await?;
        let sandbox = SandboxDriver::new(&options, launcher.clone(), surroundings.clone());
        let docker = DockerDriver::new(&options, launcher, surroundings.clone());
        match options.driver {
            Driver::Docker => docker.check(Snapshot::None).await?,
            Driver::Sandbox => docker.sweep().await,
        }
        let real = Real {
            sandbox,
            docker,
            surroundings,
            default: options.driver,
        };
        Ok(Self {
            drivers: Drivers::Real(Box::new(real)),
        })
    }

    /// With the `fake` driver, for tests of what is above.
    pub fn fake(fake: Fake) -> Self {
        Self {
            drivers: Drivers::Fake(fake),
        }
    }

    /// What makes the container of an instance that chooses this, or nothing.
    pub fn driver(&self, chosen: Option<Driver>) -> Driver {
        let default = match &self.drivers {
            Drivers::Real(real) => real.default,
            Drivers::Fake(_) => Driver::default(),
        };
        chosen.unwrap_or(default)
    }

    /// Where Docker Engine is looked for once it is needed, such as `unix:///var/run/docker.sock`; empty with the
    /// `fake` driver.
    pub fn docker_host(&self) -> &str {
        match &self.drivers {
            Drivers::Real(real) => real.docker.host(),
            Drivers::Fake(_) => "",
        }
    }

    /// From now on keeps sandboxes ready for instances like this one, made off the critical path. With
    /// Docker, brings the image there.
    ///
    /// # Errors
    /// As of [`Self::start`]: when such an instance could not be made at all.
    pub async fn prepare(&self, spec: &InstanceSpec) -> Result<Prepared> {
        let _kept = match &self.drivers {
            Drivers::Real(real) => match self.driver(spec.driver) {
                Driver::Sandbox => Some(real.sandbox.prepare(spec).await?),
                Driver::Docker => {
                    real.docker.prepare(spec).await?;
                    None
                }
            },
            Drivers::Fake(_) => None,
        };
        Ok(Prepared { _kept })
    }

    /// Says whether the machine is short of memory: then nothing is made ahead.
    pub fn set_scarce(&self, scarce: bool) {
        if let Drivers::Real(real) = &self.drivers {
            real.sandbox.set_scarce(scarce);
        }
    }

    /// Starts an instance and waits until it is ready: `lambda`: its first `next`; `http`: its port
    /// takes a connection; a service: its program runs. At most 10 s (Lambda's bound for init), and as
    /// long again, or the function's time limit, if it is one that must be initialised first.
    ///
    /// # Errors
    /// `Init` if its own code failed; else the platform's or the deployer's fault. Nothing is left.
    pub async fn start(&self, spec: InstanceSpec) -> Result<Instance> {
        match &self.drivers {
            Drivers::Real(real) => Ok(Instance::contained(match self.driver(spec.driver) {
                Driver::Sandbox => real.sandbox.start(spec).await?,
                Driver::Docker => real.docker.start(spec).await?,
            })),
            Drivers::Fake(fake) => {
                let id = spec.id.clone();
                Ok(Instance::fake(id, fake.start(spec).await?))
            }
        }
    }

    /// Whether this machine can run that runtime, and has that driver, which can do that; the error says what is
    /// missing and how to get it. May block for some tens of milliseconds until an interpreter was found once.
    ///
    /// # Errors
    /// `Missing`, `Docker`.
    pub async fn check(
        &self,
        runtime: RuntimeName,
        driver: Option<Driver>,
        snapshot: Snapshot,
    ) -> Result<()> {
        let Drivers::Real(real) = &self.drivers else {
            return Ok(());
        };
        real.surroundings.check(runtime)?;
        match self.driver(driver) {
            Driver::Sandbox => Ok(()),
            Driver::Docker => real.docker.check(snapshot).await,
        }
    }
}
