//! The data folder: where it is, whose it is, and what the command finds in it.

use crate::error::{Error, Result};
use rustix::fs::FlockOperation;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder in which a server keeps everything.
#[derive(Debug, Clone)]
pub(crate) struct DataFolder {
    path: PathBuf,
}

/// Proof that no other server uses the folder; held as long as the server runs.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
    folder: PathBuf,
    /// Whether the folder was made just now.
    made: bool,
}

impl Lock {
    /// For a server that cannot start: nothing half-made stays, if the folder was made for it.
    pub(crate) fn abandon(self) {
        if !self.made {
            return;
        }
        let removed = std::fs::remove_file(self.folder.join(LOCK_FILE))
            .and_then(|()| std::fs::remove_dir(&self.folder));
        if let Err(error) = removed {
            tracing::debug!(%error, "the data folder that was made is not empty, and stays");
        }
    }
}

const LOCK_FILE: &str = "rouse.lock";
/// How often the lock is tried, and how long after one another: 2 s in all.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// `server.json`: where the server of this folder answers, while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerRecord {
    /// Such as `http://127.0.0.1:4566`.
    pub(crate) url: String,
    /// Its process.
    pub(crate) pid: u32,
}

impl DataFolder {
    /// The named folder, or `$XDG_DATA_HOME/rouse`, or `~/.local/share/rouse`.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => default_path(std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME"))
                .ok_or_else(|| {
                    Error::Usage(
                        "neither XDG_DATA_HOME nor HOME is set: name a data folder with --data"
                            .to_owned(),
                    )
                })?,
        };
        let path =
            std::path::absolute(&path).map_err(Error::io(format!("finding {}", path.display())))?;
        Ok(Self { path })
    }

    /// As an absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where what must not be on a disk is, in memory, while a server runs.
    pub(crate) fn memory(&self) -> PathBuf {
        self.path.join("memory")
    }

    /// Where the root credential is.
    pub(crate) fn credentials(&self) -> PathBuf {
        self.path.join("credentials.json")
    }

    /// Makes the folder if it is not there (0700), checks that it is ours, and locks it.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let shown = self.path.display();
        let made = !self.path.exists();
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&self.path)
            .map_err(Error::io(format!("making the data folder {shown}")))?;
        self.check_owner()?;
        match wait_for(&self.path.join(LOCK_FILE)) {
            Ok(Some(file)) => Ok(Lock {
                _file: file,
                folder: self.path.clone(),
                made,
            }),
            Ok(None) => {
                let holder = match self.server() {
                    Ok(Some(record)) => format!(" at {} (process {})", record.url, record.pid),
                    _ => String::new(),
                };
                Err(Error::Failed(format!(
                    "another rouse serves {shown}{holder}: stop it, or name another folder with --data"
                )))
            }
            Err(error) => Err(Error::io(format!("locking {shown}/{LOCK_FILE}"))(error)),
        }
    }

    /// After start the server has no privilege left, not even root's to write where it is not owner.
    fn check_owner(&self) -> Result<()> {
        let shown = self.path.display();
        let metadata = std::fs::metadata(&self.path)
            .map_err(Error::io(format!("reading the data folder {shown}")))?;
        let user = rustix::process::geteuid().as_raw();
        if metadata.uid() != user {
            return Err(Error::Failed(format!(
                "the data folder {shown} belongs to user {}, and rouse runs as user {user}: \
                 chown it, or name another with --data",
                metadata.uid()
            )));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(Error::Failed(format!(
                "the data folder {shown} can be written by others: run `chmod 700 {shown}`, or name \
                 another with --data"
            )));
        }
        Ok(())
    }

    /// Says where the server answers.
    pub(crate) fn write_server(&self, record: &ServerRecord) -> Result<()> {
        let text = serde_json::to_vec(record)
            .map_err(|error| Error::Failed(format!("writing server.json: {error}")))?;
        let doing = || format!("writing {}", self.server_file().display());
        let temporary = self.path.join("server.json.new");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(Error::io(doing()))?;
        file.write_all(&text).map_err(Error::io(doing()))?;
        std::fs::rename(&temporary, self.server_file()).map_err(Error::io(doing()))
    }

    /// Says that the server has ended.
    pub(crate) fn remove_server(&self) {
        if let Err(error) = std::fs::remove_file(self.server_file()) {
            tracing::debug!(%error, "server.json could not be removed");
        }
    }

    /// Where the server of this folder answers, if it runs. A server that was killed leaves its file,
    /// and its port may be another's by now, who must not be sent the token: its process must live.
    pub(crate) fn server(&self) -> Result<Option<ServerRecord>> {
        let record: Option<ServerRecord> = read_json(&self.server_file())?;
        Ok(record.filter(|record| is_alive(record.pid)))
    }

    /// The root credential, if a server was ever started here.
    pub(crate) fn credential(&self) -> Result<Option<api::RootCredential>> {
        read_json(&self.credentials())
    }

    fn server_file(&self) -> PathBuf {
        self.path.join("server.json")
    }
}

fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // A process of another user may not be signalled, and is there.
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

fn default_path(
    xdg: Option<std::ffi::OsString>,
    home: Option<std::ffi::OsString>,
) -> Option<PathBuf> {
    // The XDG specification: a relative path is invalid and is to be ignored.
    let xdg = xdg.map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.map(PathBuf::from).filter(|path| path.is_absolute());
    let base = xdg.or_else(|| Some(home?.join(".local/share")))?;
    Some(base.join("rouse"))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(Error::Usage(format!(
                "{} cannot be read by this user: run as the server's user, or set ROUSE_URL and \
                 ROUSE_TOKEN",
                path.display()
            )));
        }
        Err(error) => return Err(Error::io(format!("reading {}", path.display()))(error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        // The error of serde_json names the kind and the place, never the value.
        Error::Failed(format!("{} does not parse: {error}", path.display()))
    })
}

/// Makes the file if it is not there and locks it; `None` if another holds it. A server that is just ending
/// is waited for, and the launcher of one that was killed while it started: it holds the lock until it
/// executes its program.
#[expect(
    clippy::disallowed_methods,
    reason = "before a thread exists that could wait for this one"
)]
fn wait_for(path: &Path) -> std::io::Result<Option<File>> {
    for _ in 0..LOCK_TRIES {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Who held it may have removed it at its end.
            Ok(()) if is_at(&file, path)? => return Ok(Some(file)),
            Ok(()) | Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Whether this is still the file at that path.
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(there) => Ok(there.ino() == file.metadata()?.ino()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_default_follows_xdg() {
        let path = |xdg: Option<&str>, home: Option<&str>| {
            default_path(xdg.map(Into::into), home.map(Into::into))
        };
        assert_eq!(path(Some("/x"), Some("/h")), Some("/x/rouse".into()));
        assert_eq!(
            path(Some("x"), Some("/h")),
            Some("/h/.local/share/rouse".into())
        );
        assert_eq!(path(None, Some("/h")), Some("/h/.local/share/rouse".into()));
        assert_eq!(path(None, None), None);
    }

    #[test]
    fn only_one_server_locks_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::find(Some(&folder.path().join("data"))).unwrap();
        let lock = data.lock().unwrap();
        let record = ServerRecord {
            url: "http://127.0.0.1:1".to_owned(),
            pid: std::process::id(),
        };
        data.write_server(&record).unwrap();
        let error = data.lock().unwrap_err().to_string();
        assert!(error.contains("at http://127.0.0.1:1 (process "), "{error}");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(data.path()), 0o700);
        assert_eq!(mode(&data.server_file()), 0o600);
        drop(lock);
        data.write_server(&ServerRecord {
            pid: killed(),
            ..record
        })
        .unwrap();
        assert_eq!(data.server().unwrap(), None, "its process has ended");
        data.remove_server();
        assert_eq!(data.server().unwrap(), None);
        data.lock().unwrap().abandon();
        assert!(data.path().exists(), "it was there before");
    }

    /// The id of a process that has just ended.
    fn killed() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn a_folder_made_in_vain_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::find(Some(&folder.path().join("data"))).unwrap();
        data.lock().unwrap().abandon();
        assert!(!data.path().exists());
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let permissions = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(folder.path(), permissions).unwrap();
        let data = DataFolder::find(Some(folder.path())).unwrap();
        assert!(data.lock().unwrap_err().to_string().contains("chmod 700"));
    }
}
