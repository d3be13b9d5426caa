//! The connection to Docker Engine, and the folder with what containers mount.

use super::image;
use crate::{Error, Options, Result};
use bollard::Docker;
use bollard::errors::Error as Refusal;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use launcher::Gate;
use std::collections::HashMap;
use std::fmt::Display;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::Storage;
use tokio::sync::Mutex;

/// Names the data folder whose server made a container or image.
pub(super) const DATA: &str = "rouse.data";
/// Seconds that one request may take, but for waiting.
const TIMEOUT: u64 = 60;
/// The oldest API that is spoken (Docker Engine 20.10).
const OLDEST: bollard::ClientVersion = bollard::ClientVersion {
    major_version: 1,
    minor_version: 41,
};

/// Connects once it is needed. A cheap handle.
#[derive(Clone)]
pub(super) struct Engine {
    host: Arc<str>,
    folder: Arc<Path>,
    storage: Storage,
    connected: Arc<Mutex<Option<Place>>>,
}

/// An engine that answers, and where things are that its containers mount. A cheap handle.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) docker: Docker,
    /// One folder for each container, the gate, and an empty file.
    pub(super) folder: Arc<Path>,
    /// The value of [`DATA`].
    pub(super) data: Arc<str>,
}

impl Place {
    /// The program with which containers begin.
    pub(super) fn gate(&self) -> PathBuf {
        self.folder.join("gate")
    }

    /// An empty file, which Docker mounts where a secret or config will be: so that there is a place for it.
    pub(super) fn empty(&self) -> PathBuf {
        self.folder.join("empty")
    }
}

impl Engine {
    pub(super) fn new(options: &Options, storage: Storage) -> Self {
        Self {
            host: options.docker_host.as_str().into(),
            folder: options.folder.join("docker").into(),
            storage,
            connected: Arc::default(),
        }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Whether this data folder has had containers.
    pub(super) fn was_used(&self) -> bool {
        self.folder.exists()
    }

    /// The engine; the first time, what an earlier server left there is removed.
    ///
    /// # Errors
    /// `Docker`, when nobody answers, or one that is too old.
    pub(super) async fn connect(&self) -> Result<Place> {
        let mut connected = self.connected.lock().await;
        if let Some(place) = &*connected {
            return Ok(place.clone());
        }
        let docker = connect(&self.host).await?;
        let folder = furnish(&self.folder)
            .map_err(|error| failed(&format!("writing to {}", self.folder.display()), &error))?;
        let place = Place {
            docker,
            data: folder.display().to_string().into(),
            folder: folder.into(),
        };
        sweep(&place).await?;
        image::sweep(&place, &self.storage).await;
        *connected = Some(place.clone());
        Ok(place)
    }
}

/// A Docker Engine that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Its own version, such as `20.10.24+dfsg1`.
    pub version: String,
    /// The version of its API that is spoken with it, such as `1.41`.
    pub api: String,
}

/// Looks whether the driver `docker` could use the Docker Engine at `host` (`unix:///path`). Changes nothing.
///
/// # Errors
/// `Docker`, as the driver's own: when nobody answers, or one that is too old; says what to do.
pub async fn reach(host: &str) -> Result<Reached> {
    let docker = connect(host).await?;
    let told = docker.version().await;
    let told = told.map_err(|error| failed(&format!("asking Docker Engine at {host}"), &error))?;
    Ok(Reached {
        version: told.version.unwrap_or_default(),
        api: docker.client_version().to_string(),
    })
}

async fn connect(host: &str) -> Result<Docker> {
    let step = format!("reaching Docker Engine at {host}");
    let Some(path) = host.strip_prefix("unix://") else {
        let reason =
            "it must be on this machine, at a Unix socket: give unix:///path (--docker-host)";
        return Err(failed(&step, &reason));
    };
    let refused = |error: &dyn Display| {
        let advice =
            "is it installed and running (apt-get install docker.io; systemctl start docker)?";
        failed(&step, &format!("{error}; {advice}"))
    };
    let docker = Docker::connect_with_unix(path, TIMEOUT, bollard::API_DEFAULT_VERSION)
        .map_err(|error| refused(&error))?;
    let docker = docker.negotiate_version().await;
    let docker = docker.map_err(|error| refused(&error))?;
    let version = docker.client_version();
    if version < OLDEST {
        let reason =
            format!("it speaks API {version}; 1.41 (Docker Engine 20.10) is needed at least");
        return Err(failed(&step, &reason));
    }
    tracing::info!(host, api = %version, "reached Docker Engine");
    Ok(docker)
}

/// Makes the folder, without the folders that an earlier server left; gives its real path.
fn furnish(folder: &Path) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let folder = std::fs::canonicalize(folder)?;
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.is_dir() {
            std::fs::remove_dir_all(path)?;
        }
    }
    // A container that is still ending may have the old one open: replace it whole.
    for (name, content, mode) in [("gate", Gate::program(), 0o555), ("empty", &[], 0o444)] {
        let fresh = folder.join(format!("{name}.new"));
        std::fs::write(&fresh, content)?;
        std::fs::set_permissions(&fresh, PermissionsExt::from_mode(mode))?;
        std::fs::rename(&fresh, folder.join(name))?;
    }
    Ok(folder)
}

/// Removes the containers of an earlier server of the same data folder.
async fn sweep(place: &Place) -> Result<()> {
    const STEP: &str = "looking for containers of an earlier server";
    let label = format!("{DATA}={}", place.data);
    let filters = HashMap::from([("label", vec![label.as_str()])]);
    let options = ListContainersOptionsBuilder::new();
    let options = options.all(true).filters(&filters).build();
    let found = place.docker.list_containers(Some(options)).await;
    for orphan in found.map_err(|error| failed(STEP, &error))? {
        let Some(id) = orphan.id else { continue };
        match remove(&place.docker, &id).await {
            Ok(()) => tracing::info!(container = id, "removed a container of an earlier server"),
            // One that is stuck shall not hold up the server.
            Err(error) => {
                tracing::warn!(%error, container = id, "a container of an earlier server stays")
            }
        }
    }
    Ok(())
}

/// Removes a container, running or not; one whose removal is under way is left to that.
///
/// # Errors
/// `Docker`; not for one that is gone.
pub(super) async fn remove(docker: &Docker, id: &str) -> Result<()> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
    match docker.remove_container(id, Some(options.build())).await {
        Err(error) if !is_missing(&error) && !is_going(&error) => {
            Err(failed("removing a container", &error))
        }
        _ => Ok(()),
    }
}

/// Whether somebody else's removal of it is under way.
fn is_going(error: &Refusal) -> bool {
    matches!(
        error,
        Refusal::DockerResponseServerError {
            status_code: 409,
            ..
        }
    )
}

/// Whether what was asked about is not there.
pub(super) fn is_missing(error: &Refusal) -> bool {
    matches!(
        error,
        Refusal::DockerResponseServerError {
            status_code: 404,
            ..
        }
    )
}

/// A step in which Docker failed.
pub(super) fn failed(step: &str, error: &dyn Display) -> Error {
    Error::Docker {
        step: step.to_owned(),
        reason: error.to_string(),
        missing: false,
    }
}
