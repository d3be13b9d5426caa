//! Uploads in pieces: a file that grows by whole chunks and becomes a blob.

use crate::folders::{self, Folders};
use crate::{Error, Result, Storage, blocking};
use bytes::Bytes;
use model::{Algorithm, ContentDigest, RepositoryName, Timestamp};
use sha2::{Digest as _, Sha256, Sha512};
use state::BlobUploadRow;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// Bytes that are gathered before they go to the disk and through the digest.
const BUFFER: usize = 256 * 1024;

/// How long a chunk waits for the one before it.
const TURN_WAIT: Duration = Duration::from_secs(30);

/// How far the digest of each open upload is, so that no byte is read again for it.
#[derive(Default)]
pub(crate) struct Hashing {
    open: Mutex<HashMap<String, Turn>>,
}

type Turn = Arc<tokio::sync::Mutex<Option<Hashed>>>;

#[derive(Clone)]
struct Hashed {
    size: u64,
    sha256: Sha256,
}

impl Hashing {
    /// The turn to write to an upload: one chunk at a time. `Busy` past [`TURN_WAIT`].
    async fn turn(&self, id: &str) -> Result<OwnedMutexGuard<Option<Hashed>>> {
        let turn = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(open.entry(id.to_owned()).or_default())
        };
        let turn = tokio::time::timeout(TURN_WAIT, turn.lock_owned()).await;
        turn.map_err(|_| Error::Busy(format!("the upload {id}")))
    }

    pub(crate) fn forget(&self, id: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(id);
    }
}

/// The file of an upload, at its end.
struct Growing {
    file: File,
    path: PathBuf,
    hashed: Hashed,
}

impl Growing {
    /// Opens the file at the end of what is durable; what a chunk that broke off has left is cut. `None`
    /// if the bytes are gone: a crash has left a row behind.
    fn open(path: PathBuf, size: u64, hashed: Option<Hashed>) -> Result<Option<Self>> {
        let failed = |error| Error::io("opening", &path, error);
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(size == 0)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let mut file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        if file.metadata().map_err(failed)?.len() < size {
            return Ok(None);
        }
        file.set_len(size).map_err(failed)?;
        let hashed = match hashed.filter(|hashed| hashed.size == size) {
            Some(hashed) => hashed,
            None => Hashed {
                size,
                sha256: hash::<Sha256>(&mut file).map_err(failed)?,
            },
        };
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Some(Self { file, path, hashed }))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.hashed.sha256.update(bytes);
        self.hashed.size += bytes.len() as u64;
        let written = self.file.write_all(bytes);
        written.map_err(|error| Error::io("writing", &self.path, error))
    }

    fn sync(&self) -> Result<()> {
        let synced = self.file.sync_all();
        synced.map_err(|error| Error::io("syncing", &self.path, error))
    }

    /// The digest of all bytes.
    fn digest(&mut self, algorithm: Algorithm) -> Result<String> {
        match algorithm {
            Algorithm::Sha256 => Ok(hex::encode(self.hashed.sha256.clone().finalize())),
            Algorithm::Sha512 => {
                let hashed = hash::<Sha512>(&mut self.file);
                let hashed = hashed.map_err(|error| Error::io("reading", &self.path, error))?;
                Ok(hex::encode(hashed.finalize()))
            }
        }
    }
}

fn hash<D: sha2::Digest>(file: &mut File) -> io::Result<D> {
    file.rewind()?;
    let (mut hash, mut buffer) = (D::new(), vec![0; BUFFER]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// A chunk of an upload while it comes in. Dropped before its end, it is as if it had never begun.
pub struct ChunkWriter {
    storage: Storage,
    row: BlobUploadRow,
    limit: u64,
    size: u64,
    buffer: Vec<u8>,
    /// Absent while a write is under way, and for good if that write was given up.
    held: Option<Held>,
}

/// The file and the turn to write to it. They go to the disk's thread together, so that nobody else
/// has the turn while a write that nobody waits for any more is still under way.
struct Held {
    growing: Growing,
    turn: OwnedMutexGuard<Option<Hashed>>,
}

impl ChunkWriter {
    /// Bytes of the upload so far, this chunk's included.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// `TooLarge`, or of the file system.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let size = self.size.saturating_add(chunk.len() as u64);
        if size > self.limit {
            let (what, limit) = ("blob".to_owned(), self.limit);
            return Err(Error::TooLarge { what, limit });
        }
        self.size = size;
        self.buffer.extend_from_slice(&chunk);
        match self.buffer.len() < BUFFER {
            true => Ok(()),
            false => self.flush().await,
        }
    }

    async fn flush(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut held = self.take()?;
        let (held, mut buffer) = blocking::on_disk(move || {
            held.growing.append(&buffer)?;
            Ok((held, buffer))
        })
        .await?;
        buffer.clear();
        self.buffer = buffer;
        self.held = Some(held);
        Ok(())
    }

    fn take(&mut self) -> Result<Held> {
        self.held.take().ok_or_else(|| {
            Error::Invalid("the upload broke off in an earlier write; send it again".to_owned())
        })
    }

    /// Keeps the chunk, durably. Gives the upload's size.
    ///
    /// # Errors
    /// `NotFound` when the upload was cancelled meanwhile.
    pub async fn commit(mut self) -> Result<u64> {
        blocking::to_the_end(async move {
            self.flush().await?;
            let held = self.take()?;
            let folders = Arc::clone(self.storage.folders());
            let mut held = blocking::on_disk(move || {
                held.growing.sync()?;
                folders::sync_folder(&folders.uploads())?;
                Ok(held)
            })
            .await?;
            let (id, now) = (self.row.id.clone(), Timestamp::now());
            let state = self.storage.state();
            state.grow_blob_upload(id, self.size, now).await?;
            *held.turn = Some(held.growing.hashed);
            Ok(self.size)
        })
        .await
    }

    /// Makes all bytes of the upload a blob of its repository, durably, if they are those of `digest`;
    /// else the upload is over. Gives the blob's size.
    ///
    /// # Errors
    /// `Mismatch`; `NotFound` when the upload was cancelled meanwhile.
    pub async fn finish(mut self, digest: ContentDigest) -> Result<u64> {
        blocking::to_the_end(async move {
            self.flush().await?;
            let mut held = self.take()?;
            let algorithm = digest.algorithm();
            let (held, found) = blocking::on_disk(move || {
                let found = held.growing.digest(algorithm)?;
                held.growing.sync()?;
                Ok((held, found))
            })
            .await?;
            let storage = self.storage.clone();
            if found != digest.hex() {
                storage
                    .cancel_blob_upload(&self.row.repository, &self.row.id)
                    .await?;
                return Err(Error::Mismatch(format!(
                    "the bytes sent have the digest {}:{found}, not {digest}; send them again",
                    algorithm.as_str()
                )));
            }
            storage
                .get_blob_upload(&self.row.repository, &self.row.id)
                .await?;
            // From the name to the row nothing may take the bytes for unused.
            let _kept = storage.registry_turn().read_owned().await;
            place(storage.folders(), held.growing.path, &digest).await?;
            let (size, now) = (self.size, Timestamp::now());
            let state = storage.state();
            state
                .finish_blob_upload(self.row.clone(), digest, size, now)
                .await?;
            storage.hashing().forget(&self.row.id);
            Ok(size)
        })
        .await
    }
}

/// Gives an upload's file its name as a blob.
async fn place(folders: &Arc<Folders>, from: PathBuf, digest: &ContentDigest) -> Result<()> {
    let path = folders.content(digest);
    blocking::on_disk(move || {
        std::fs::rename(&from, &path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NotFound {
                what: "upload, which was given up meanwhile,",
                name: from
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into(),
            },
            _ => Error::io("renaming the blob to", &path, error),
        })?;
        folders::sync_parent(&path)
    })
    .await
}

impl Storage {
    /// Begins an upload into a repository.
    ///
    /// # Errors
    /// `State` (`Bound`) when too many are under way.
    pub async fn begin_blob_upload(&self, repository: &RepositoryName) -> Result<BlobUploadRow> {
        let upload = BlobUploadRow {
            id: folders::fresh_name(),
            repository: repository.clone(),
            size: 0,
            touched: Timestamp::now(),
        };
        self.state().begin_blob_upload(upload.clone()).await?;
        Ok(upload)
    }

    /// How far an upload is.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_blob_upload(
        &self,
        repository: &RepositoryName,
        id: &str,
    ) -> Result<BlobUploadRow> {
        Ok(self.state().get_blob_upload(repository.clone(), id).await?)
    }

    /// Takes the turn to add a chunk to an upload, which may have `limit` bytes in all.
    ///
    /// # Errors
    /// `NotFound`; `Busy` when another chunk takes too long.
    pub async fn begin_chunk(
        &self,
        repository: &RepositoryName,
        id: &str,
        limit: u64,
    ) -> Result<ChunkWriter> {
        // Only what is an upload gets a turn that is remembered.
        self.get_blob_upload(repository, id).await?;
        let turn = self.hashing().turn(id).await?;
        let row = self.get_blob_upload(repository, id).await?;
        let path = self.folders().uploads().join(&row.id);
        let (size, hashed) = (row.size, turn.clone());
        let growing = blocking::on_disk(move || Growing::open(path, size, hashed)).await?;
        let Some(growing) = growing else {
            return Err(Error::NotFound {
                what: "upload",
                name: row.id,
            });
        };
        Ok(ChunkWriter {
            storage: self.clone(),
            size: row.size,
            row,
            limit,
            buffer: Vec::new(),
            held: Some(Held { growing, turn }),
        })
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn cancel_blob_upload(&self, repository: &RepositoryName, id: &str) -> Result<()> {
        let state = self.state();
        state.cancel_blob_upload(repository.clone(), id).await?;
        self.delete_uploads(vec![id.to_owned()]).await
    }

    /// Deletes the files of uploads that have no row any more.
    pub(crate) async fn delete_uploads(&self, ids: Vec<String>) -> Result<()> {
        for id in &ids {
            self.hashing().forget(id);
        }
        let folder = self.folders().uploads();
        let remove = |path: &Path| folders::remove_file(path);
        blocking::on_disk(move || ids.iter().try_for_each(|id| remove(&folder.join(id)))).await
    }
}
