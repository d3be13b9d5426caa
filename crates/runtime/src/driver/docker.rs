//! The driver `docker`: instances in containers of a Docker Engine on this machine.
//!
//! Docker makes the container and its limits; its network, its log and its program are ours, as in a
//! sandbox (`docs/adr/0008-containers-are-furnished.md`). The container begins with the launcher's gate,
//! which knocks at a socket that is mounted into it. Then the launcher puts listeners into the
//! container's own network namespace, which has a loopback link and nothing else, and the gate becomes
//! the program.

mod container;
mod definition;
mod engine;
mod image;
mod keeper;
mod made;

pub(crate) use container::Container;
pub use engine::{Reached, reach};

use super::body::Body;
use super::contained::Contained;
use super::files::Files;
use super::plan::{self, Plan};
use super::surroundings::{Parts, Surroundings};
use crate::{Error, InstanceSpec, Options, Result};
use engine::Engine;
use image::Images;
use launcher::{Bind, Launcher};
use made::Made;
use model::{Snapshot, StartKind};
use std::time::Instant;

/// Makes instances. A cheap handle.
#[derive(Clone)]
pub(crate) struct DockerDriver {
    engine: Engine,
    images: Images,
    launcher: Launcher,
    surroundings: Surroundings,
    files: Files,
}

impl DockerDriver {
    /// Connects to nothing yet.
    pub(crate) fn new(options: &Options, launcher: Launcher, surroundings: Surroundings) -> Self {
        Self {
            engine: Engine::new(options, surroundings.storage.clone()),
            images: Images::default(),
            files: Files::new(&options.secrets),
            launcher,
            surroundings,
        }
    }

    /// Where the engine is looked for.
    pub(crate) fn host(&self) -> &str {
        self.engine.host()
    }

    /// Removes what an earlier server of the same data folder left, if there was one with this driver.
    pub(crate) async fn sweep(&self) {
        if !self.engine.was_used() {
            return;
        }
        if let Err(error) = self.engine.connect().await {
            tracing::warn!(
                %error,
                "containers of an earlier server may be left; they are removed once Docker can be reached"
            );
        }
    }

    /// Whether such an instance can be made.
    ///
    /// # Errors
    /// When Docker cannot be reached, and for a snapshot.
    pub(crate) async fn check(&self, snapshot: Snapshot) -> Result<()> {
        if snapshot == Snapshot::Init {
            return Err(only_in_sandboxes());
        }
        self.engine.connect().await.map(drop)
    }

    /// Brings the image to Docker, so that the first start need not.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub(crate) async fn prepare(&self, spec: &InstanceSpec) -> Result<()> {
        let sources = self.surroundings.sources(spec).await?;
        let plan = plan::plan(spec, &sources)?;
        let place = self.engine.connect().await?;
        self.images.ensure(&place, spec, &plan.shape.root).await?;
        Ok(())
    }

    /// See [`crate::Runtime::start`].
    pub(crate) async fn start(&self, spec: InstanceSpec) -> Result<Contained> {
        let begun = Instant::now();
        if spec.snapshot == Snapshot::Init {
            return Err(only_in_sandboxes());
        }
        let sources = self.surroundings.sources(&spec).await?;
        let plan = plan::plan(&spec, &sources)?;
        let files = self.files.lay(&spec).await?;
        let shown: Vec<Bind> = files.iter().flat_map(|laid| laid.binds()).collect();
        let (api, doors) = (plan.api, plan.doors.clone());
        let Made {
            container,
            stdout,
            stderr,
            listeners,
            egress,
        } = match self.make(&spec, plan.clone(), shown.clone()).await {
            // Somebody has removed the image from Docker: it is known now, and brought there again.
            Err(Error::Docker { missing: true, .. }) => self.make(&spec, plan, shown).await?,
            made => made?,
        };
        let parts = Parts {
            body: Body::Docker(container),
            stdout: Some(stdout),
            stderr: Some(stderr),
            listeners,
            egress,
            warmth: None,
            made: (StartKind::Cold, begun.elapsed()),
        };
        let mut instance = self.surroundings.assemble(spec, parts, api, doors)?;
        instance.files = files;
        instance.get_ready().await?;
        Ok(instance)
    }

    async fn make(&self, spec: &InstanceSpec, plan: Plan, files: Vec<Bind>) -> Result<Made> {
        let place = self.engine.connect().await?;
        let image = self.images.ensure(&place, spec, &plan.shape.root).await?;
        let definition = definition::definition(spec, &plan, &image.id, &place);
        let (launcher, id) = (self.launcher.clone(), spec.id.clone());
        // On its own, so that what Docker has begun to make is known, and removed, if nobody waits any more.
        let making = tokio::spawn(async move {
            made::make(&launcher, place, &id, definition, plan, files).await
        });
        let made = making.await;
        let made = made.map_err(|error| engine::failed("making a container", &error))?;
        if let Err(Error::Docker { missing: true, .. }) = &made {
            self.images.forget(&image);
        }
        made
    }
}

fn only_in_sandboxes() -> Error {
    let reason = "snapshot: init needs the driver sandbox: Docker cannot fork a container";
    Error::Missing(reason.to_owned())
}
