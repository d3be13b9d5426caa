//! An image of a Dockerfile, which the user's own builder makes: Docker, Podman or Buildah.

use super::Base;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::Command;

/// What is built, and how.
#[derive(Debug, Clone)]
pub(crate) struct Dockerfile {
    /// The folder that the builder is given. It heeds its `.dockerignore`.
    pub(crate) context: PathBuf,
    /// The Dockerfile.
    pub(crate) file: PathBuf,
    /// Values of its `ARG`s. Every user of this machine sees them while it builds, as with Docker itself.
    pub(crate) arguments: BTreeMap<String, String>,
    /// The stage to stop at; without, the last one.
    pub(crate) target: Option<String>,
}

/// An image as a builder has left it, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Made {
    /// The image.
    pub(crate) base: Base,
    /// Has the layers, in a file.
    _folder: TempDir,
}

/// A program that follows Dockerfiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Builder {
    Docker,
    Podman,
    Buildah,
}

/// Chooses the builder.
const VARIABLE: &str = "ROUSE_BUILDER";

impl Builder {
    const ALL: [Self; 3] = [Self::Docker, Self::Podman, Self::Buildah];

    fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Buildah => "buildah",
        }
    }

    /// The one that is asked for, or the first that is here and works.
    async fn find() -> Result<Self> {
        if let Some(wanted) = std::env::var_os(VARIABLE).filter(|wanted| !wanted.is_empty()) {
            let known = Self::ALL
                .into_iter()
                .find(|builder| wanted == builder.program());
            return known.ok_or_else(|| {
                Error::Usage(format!("{VARIABLE} must be docker, podman or buildah"))
            });
        }
        for builder in Self::ALL {
            if builder.works().await {
                return Ok(builder);
            }
        }
        Err(Error::Usage(format!(
            "a Dockerfile is built by docker (with a daemon that answers), podman or buildah, and none of them is \
             here: install one, or build the image elsewhere, `docker push` it to this server's registry, and write \
             `image:` in place of `build:`; {VARIABLE} chooses one"
        )))
    }

    /// Docker's client may be here without its daemon.
    async fn works(self) -> bool {
        let mut command = Command::new(self.program());
        match self {
            Self::Docker => command.args(["version", "--format", "{{.Server.Version}}"]),
            Self::Podman | Self::Buildah => command.arg("--version"),
        };
        let command = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().await.is_ok_and(|status| status.success())
    }

    fn build(self, source: &Dockerfile, name: &str) -> Command {
        let mut command = Command::new(self.program());
        command.args(["build", "--tag", name, "--file"]);
        command.arg(&source.file);
        if self == Self::Buildah {
            // It keeps no steps between builds, so without this the same files were another image each time.
            command.args(["--timestamp", "0"]);
        }
        for (key, value) in &source.arguments {
            command.arg("--build-arg").arg(format!("{key}={value}"));
        }
        if let Some(target) = &source.target {
            command.arg("--target").arg(target);
        }
        command.arg(&source.context);
        command
    }

    fn save(self, name: &str, path: &Path) -> Command {
        let mut command = Command::new(self.program());
        match self {
            Self::Docker => command.args(["save", "--output"]).arg(path).arg(name),
            Self::Podman => command
                .args(["save", "--quiet", "--format", "oci-archive", "--output"])
                .arg(path)
                .arg(name),
            Self::Buildah => command
                .args(["push", "--quiet", name])
                .arg(format!("oci-archive:{}", path.display())),
        };
        command
    }
}

impl Dockerfile {
    /// Builds it under this name, which it keeps in the builder's own store.
    ///
    /// # Errors
    /// There is no builder, it fails, or what it made is no image of this machine.
    pub(crate) async fn build(&self, name: &str) -> Result<Made> {
        let builder = Builder::find().await?;
        run(builder, builder.build(self, name), "build").await?;
        let folder = tempfile::tempdir().map_err(Error::io("making a temporary folder"))?;
        let path = folder.path().join("image.tar");
        run(builder, builder.save(name, &path), "save").await?;
        let mut base = Base::of_file(&path)?;
        name.clone_into(&mut base.name);
        Ok(Made {
            base,
            _folder: folder,
        })
    }
}

/// Runs a builder; what it says goes to standard error, since standard output is for results.
async fn run(builder: Builder, mut command: Command, doing: &str) -> Result<()> {
    let program = builder.program();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::io::stderr()))
        .kill_on_drop(true);
    let status = command.status().await;
    let status = status.map_err(Error::io(format!("running {program} {doing}")))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "`{program} {doing}` failed with {status}; what it said is above"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> Vec<String> {
        let words = command.as_std().get_args();
        words
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn what_a_manifest_says_stands_in_words_of_its_own() {
        let source = Dockerfile {
            context: "/code".into(),
            file: "/code/Dockerfile.prod".into(),
            arguments: [("A".to_owned(), "--privileged; rm $HOME".to_owned())].into(),
            target: Some("run".to_owned()),
        };
        for builder in Builder::ALL {
            let command = builder.build(&source, "shop/page:latest");
            let words = words(&command).into_iter();
            let words = words.filter(|word| !matches!(word.as_str(), "--timestamp" | "0"));
            assert_eq!(
                words.collect::<Vec<_>>(),
                [
                    "build",
                    "--tag",
                    "shop/page:latest",
                    "--file",
                    "/code/Dockerfile.prod",
                    "--build-arg",
                    "A=--privileged; rm $HOME",
                    "--target",
                    "run",
                    "/code",
                ]
            );
        }
        let saved = words(&Builder::Docker.save("a:b", Path::new("/t/x")));
        assert_eq!(saved, ["save", "--output", "/t/x", "a:b"]);
        let saved = words(&Builder::Buildah.save("a:b", Path::new("/t/x")));
        assert_eq!(saved.last().map(String::as_str), Some("oci-archive:/t/x"));
    }
}
