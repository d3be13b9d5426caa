//! Making one container: from its definition to its program's first instruction.

use super::container::Container;
use super::engine::{self, Place, failed, is_missing, remove};
use crate::driver::plan::Plan;
use crate::{Error, Result};
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::CreateContainerOptionsBuilder;
use launcher::{Belongings, Bind, Furniture, Gate, Launcher, Visitor, Volume, Work};
use model::InstanceId;
use rustix::pipe::{PipeFlags, pipe_with};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a container's first program may take to knock.
const KNOCK: Duration = Duration::from_secs(30);
/// The socket's name in the container's folder.
const DOOR: &str = "door";

/// What Docker says of a mount whose source it does not find.
const UNSEEN: &str = "bind source path does not exist";

/// A container and its ends.
pub(super) struct Made {
    pub(super) container: Container,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) listeners: Vec<TcpListener>,
    pub(super) egress: Option<launcher::Egress>,
}

/// The folder of a container on the host, while it exists.
pub(super) fn folder(place: &Place, id: &InstanceId) -> PathBuf {
    place.folder.join(id.as_str())
}

/// The socket that the container mounts.
pub(super) fn door(place: &Place, id: &InstanceId) -> PathBuf {
    folder(place, id).join(DOOR)
}

/// Makes it. What fails leaves nothing.
pub(super) async fn make(
    launcher: &Launcher,
    place: Place,
    id: &InstanceId,
    definition: ContainerCreateBody,
    plan: Plan,
    files: Vec<Bind>,
) -> Result<Made> {
    let folder = folder(&place, id);
    let (gate, empty) = (open(&folder)?, place.empty());
    let number = match create(&place, id, definition).await {
        Ok(number) => number,
        Err(error) => {
            discard(&folder);
            return Err(error);
        }
    };
    let container = match start(&place, &number).await {
        Ok(pid) => Container::keep(place, number, pid, folder, plan.assignment.limits.memory),
        Err(error) => {
            // Why it was not started counts; what is left is removed by the next server at the latest.
            if let Err(error) = engine::remove(&place.docker, &number).await {
                tracing::warn!(%error, container = number, "a container that did not start is left");
            }
            discard(&folder);
            return Err(error);
        }
    };
    // From here on it is removed when it is dropped.
    let visitor = tokio::select! {
        biased;
        visitor = gate.visitor() => visitor?,
        exit = container.exited() => {
            let reason = format!("its first program ended: {}", exit.describe());
            return Err(failed("starting a container", &reason));
        }
        () = tokio::time::sleep(KNOCK) => {
            return Err(failed("starting a container", &"its first program does not knock in 30 s"));
        }
    };
    furnish(launcher, container, visitor, plan, (empty, files)).await
}

/// Puts listeners into its network and its files into its mounts, and hands it its output and its work.
async fn furnish(
    launcher: &Launcher,
    mut container: Container,
    visitor: Visitor,
    plan: Plan,
    (place, files): (PathBuf, Vec<Bind>),
) -> Result<Made> {
    let Visitor {
        network, mounts, ..
    } = &visitor;
    let network = network.try_clone().map_err(Error::Register)?;
    let mounts = mounts.try_clone().map_err(Error::Register)?;
    let writable = |volume: &Volume| (!volume.read_only).then(|| volume.source.clone());
    let belongings = Belongings {
        user: visitor.user,
        place,
        files,
        folders: plan.shape.volumes.iter().filter_map(writable).collect(),
    };
    if !belongings.files.is_empty() || !belongings.folders.is_empty() {
        launcher.endow(mounts, belongings).await?;
    }
    let furniture = Furniture {
        listen: plan.shape.listen,
        serves: plan.shape.serves,
        egress: plan.shape.egress,
    };
    let mut network = launcher.furnish(network, furniture).await?;
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| Error::Register(error.into()));
    let ((stdout, out), (stderr, err)) = (pipe()?, pipe()?);
    let Work::Execute {
        argv,
        environment,
        working_dir,
    } = plan.assignment.work
    else {
        return Err(Error::Missing(
            "a container is never told, but executed".to_owned(),
        ));
    };
    let handed = visitor.hand(&out, &err, (&argv, &environment, &working_dir))?;
    let listeners = std::mem::take(&mut network.listeners);
    let egress = network.egress.take();
    container.begin(handed, network);
    Ok(Made {
        container,
        stdout,
        stderr,
        listeners,
        egress,
    })
}

fn open(folder: &Path) -> Result<Gate> {
    let made = std::fs::create_dir(folder);
    made.map_err(|error| failed(&format!("making {}", folder.display()), &error))?;
    let gate = Gate::open(folder, DOOR);
    if gate.is_err() {
        discard(folder);
    }
    Ok(gate?)
}

/// Removes a container's folder; what is left is removed by the next server.
pub(super) fn discard(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        tracing::warn!(%error, folder = %folder.display(), "a container's folder is left");
    }
}

/// Its number.
async fn create(place: &Place, id: &InstanceId, definition: ContainerCreateBody) -> Result<String> {
    let name = format!("rouse-{id}");
    let options = CreateContainerOptionsBuilder::new().name(&name).build();
    let created = place.docker.create_container(Some(options), definition);
    match created.await {
        Ok(created) => Ok(created.id),
        Err(error) => {
            let missing = is_missing(&error);
            if !missing {
                // Docker may have made it all the same, after we stopped waiting.
                let _ = remove(&place.docker, &name).await;
            }
            let mut reason = error.to_string();
            if reason.contains(UNSEEN) {
                reason.push_str(
                    "; Docker Engine must see the same files as this server: run both outside of containers, \
                     and keep the data folder (--data) out of what a service manager hides (PrivateTmp)",
                );
            }
            Err(Error::Docker {
                step: "creating a container".to_owned(),
                missing,
                reason,
            })
        }
    }
}

/// The process id of its first program.
async fn start(place: &Place, number: &str) -> Result<u32> {
    let step = |error| failed("starting a container", &error);
    let docker = &place.docker;
    docker.start_container(number, None).await.map_err(step)?;
    let found = docker.inspect_container(number, None).await.map_err(step)?;
    let pid = found.state.and_then(|state| state.pid);
    Ok(pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0))
}
