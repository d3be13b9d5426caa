//! Secrets and configs as files: laid out in a folder that lives in memory, from which containers show them.
//! Instances of one owner with one driver and the same code share what was laid out, as long as one of them needs
//! it. With other code they may run as another user, who alone may read what is laid out for them.

use super::surroundings::blocking;
use crate::{Error, InstanceSpec, Result, SecretFile};
use launcher::{Bind, Volume};
use model::{Code, Owner};
use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// See the module; one for each driver, since each gives files to its own users. A cheap handle.
#[derive(Clone)]
pub(super) struct Files {
    folder: Arc<Path>,
    laid: Arc<Mutex<HashMap<Owner, Weak<Laid>>>>,
}

/// What tells two files apart, without their content.
type Mark = (String, u32, String);

/// The files of one owner. When nobody needs them any more they are emptied, since what a sandbox has shown is
/// kept by the kernel for a while, and removed.
pub(super) struct Laid {
    folder: PathBuf,
    code: Code,
    marks: Vec<Mark>,
    files: Vec<File>,
}

impl Drop for Laid {
    fn drop(&mut self) {
        for file in &self.files {
            if let Err(error) = file.set_len(0) {
                tracing::warn!(%error, "a secret that is not used any more could not be emptied");
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, "secrets that are not used any more could not be removed");
        }
    }
}

impl Laid {
    /// Where each is, and where it is shown.
    pub(super) fn binds(&self) -> impl Iterator<Item = Bind> {
        let files = self.marks.iter().enumerate();
        files.map(|(index, (target, ..))| Bind {
            source: self.folder.join(index.to_string()),
            target: PathBuf::from(target),
        })
    }

    /// How a sandbox shows them.
    pub(super) fn volumes(&self) -> impl Iterator<Item = Volume> {
        self.binds().map(|Bind { source, target }| Volume {
            source,
            target,
            read_only: true,
        })
    }

    fn write(folder: PathBuf, code: Code, files: &[SecretFile]) -> std::io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&folder)?;
        let mut laid = Self {
            folder,
            code,
            marks: marks(files),
            files: Vec::with_capacity(files.len()),
        };
        for (index, file) in files.iter().enumerate() {
            let path = laid.folder.join(index.to_string());
            let mut options = OpenOptions::new();
            let mut opened = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            opened.write_all(&file.content)?;
            opened.set_permissions(std::fs::Permissions::from_mode(file.mode))?;
            laid.files.push(opened);
        }
        Ok(laid)
    }
}

fn marks(files: &[SecretFile]) -> Vec<Mark> {
    let mark = |file: &SecretFile| (file.target.clone(), file.mode, file.revision_id.clone());
    files.iter().map(mark).collect()
}

impl Files {
    /// Below `folder`, which must be in memory.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
            laid: Arc::default(),
        }
    }

    fn laid(&self) -> MutexGuard<'_, HashMap<Owner, Weak<Laid>>> {
        self.laid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of an instance, laid out; `None` if it has none.
    ///
    /// # Errors
    /// `Missing` when there is no room for them.
    pub(super) async fn lay(&self, spec: &InstanceSpec) -> Result<Option<Arc<Laid>>> {
        if spec.files.is_empty() {
            return Ok(None);
        }
        let marks = marks(&spec.files);
        let there = self.laid().get(&spec.owner).and_then(Weak::upgrade);
        if let Some(there) = there.filter(|laid| laid.marks == marks && laid.code == spec.code) {
            return Ok(Some(there));
        }
        let folder = self.folder.join(uuid::Uuid::new_v4().to_string());
        let (code, files) = (spec.code.clone(), spec.files.clone());
        let written = blocking(move || {
            Laid::write(folder, code, &files).map_err(|error| {
                Error::Missing(format!(
                    "the memory for secrets and configs in use has no room: {error}; use fewer or smaller ones"
                ))
            })
        });
        let written = Arc::new(written.await?);
        let mut laid = self.laid();
        laid.retain(|_, laid| laid.strong_count() > 0);
        laid.insert(spec.owner.clone(), Arc::downgrade(&written));
        Ok(Some(written))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::spec::tests::spec;
    use std::io::Read as _;

    fn with(revision_id: &str, content: &str) -> InstanceSpec {
        let mut spec = spec();
        spec.files = vec![SecretFile {
            target: "/run/secrets/a".to_owned(),
            mode: 0o400,
            revision_id: revision_id.to_owned(),
            content: content.as_bytes().into(),
        }];
        spec
    }

    /// Each is given to the user of its own image.
    #[tokio::test]
    async fn what_runs_other_code_has_files_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path());
        let old = files.lay(&with("r1", "same")).await.unwrap().unwrap();
        let mut other = with("r1", "same");
        other.code = Code::Zip {
            digest: model::Digest::from_hex(&"d".repeat(64)).unwrap(),
            size: 1,
        };
        assert_ne!(other.code, spec().code);
        let new = files.lay(&other).await.unwrap().unwrap();
        let source = |laid: &Laid| laid.volumes().next().unwrap().source;
        assert_ne!(source(&old), source(&new));
        let again = files.lay(&other).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&new, &again));
    }

    #[tokio::test]
    async fn instances_share_what_is_the_same_and_the_last_one_empties_it() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path());
        assert!(files.lay(&spec()).await.unwrap().is_none());
        let first = files.lay(&with("r1", "old")).await.unwrap().unwrap();
        let again = files.lay(&with("r1", "old")).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let volume = first.volumes().next().unwrap();
        assert_eq!(volume.target, Path::new("/run/secrets/a"));
        let mode = std::fs::metadata(&volume.source)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o400);
        let next = files.lay(&with("r2", "new")).await.unwrap().unwrap();
        let read = |laid: &Laid| std::fs::read_to_string(laid.volumes().next().unwrap().source);
        assert_eq!(
            (read(&first).unwrap(), read(&next).unwrap()),
            ("old".into(), "new".into())
        );
        let mut held = File::open(&volume.source).unwrap();
        drop((first, again));
        let mut left = String::new();
        held.read_to_string(&mut left).unwrap();
        assert_eq!(left, "");
        assert!(!volume.source.exists());
        assert_eq!(read(&next).unwrap(), "new");
    }
}
