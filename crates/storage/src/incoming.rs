//! A file while it comes in: buffered, digested on the way, and gone if nobody keeps it.

use crate::folders::{self, Discarded};
use crate::{Error, Result, blocking};
use bytes::Bytes;
use md5::Md5;
use sha2::{Digest as _, Sha256};
use state::crash;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Bytes that are gathered before they go to the disk and through the digests.
const BUFFER: usize = 256 * 1024;

/// Which digests are taken of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Digests {
    None,
    Sha256,
    Md5AndSha256,
}

/// A file while it comes in. Dropped before it was kept, it is deleted.
pub(crate) struct Incoming {
    what: &'static str,
    limit: u64,
    size: u64,
    buffer: Vec<u8>,
    /// Absent while a write is under way, and for good if that write was given up.
    sink: Option<Sink>,
}

struct Sink {
    /// Made with the first bytes that are flushed: what is small costs one trip to the disk's threads.
    file: Option<File>,
    path: PathBuf,
    discarded: Discarded,
    md5: Option<Md5>,
    sha256: Option<Sha256>,
}

impl Sink {
    fn flush(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(folders::make_file(&self.path)?),
        };
        file.write_all(bytes)
            .map_err(|error| Error::io("writing", &self.path, error))
    }
}

impl Incoming {
    /// Nothing is on the disk yet. `what` names it in the error past `limit` bytes.
    pub(crate) fn new(path: PathBuf, what: &'static str, limit: u64, digests: Digests) -> Self {
        let sink = Sink {
            file: None,
            discarded: Discarded::new(path.clone()),
            path,
            md5: (digests == Digests::Md5AndSha256).then(Md5::new),
            sha256: (digests != Digests::None).then(Sha256::new),
        };
        Self {
            what,
            limit,
            size: 0,
            buffer: Vec::new(),
            sink: Some(sink),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes.
    pub(crate) async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let size = self.size.saturating_add(chunk.len() as u64);
        if size > self.limit {
            let what = self.what.to_owned();
            let limit = self.limit;
            return Err(Error::TooLarge { what, limit });
        }
        self.size = size;
        if self.buffer.len() + chunk.len() < BUFFER {
            self.buffer.extend_from_slice(&chunk);
            return Ok(());
        }
        let buffered = std::mem::take(&mut self.buffer);
        let mut sink = self.take_sink()?;
        let (sink, mut buffered) = blocking::on_disk(move || {
            sink.flush(&buffered)?;
            sink.flush(&chunk)?;
            Ok((sink, buffered))
        })
        .await?;
        buffered.clear();
        self.buffer = buffered;
        self.sink = Some(sink);
        Ok(())
    }

    fn take_sink(&mut self) -> Result<Sink> {
        self.sink.take().ok_or_else(|| {
            let reason = format!(
                "the {} broke off in an earlier write; send it again",
                self.what
            );
            Error::Invalid(reason)
        })
    }

    /// Hex MD5 of the bytes so far; empty if it is not taken.
    pub(crate) fn md5(&self) -> String {
        let digest = self.sink.as_ref().and_then(|sink| sink.md5.clone());
        digest.map_or_else(String::new, |digest| {
            hex::encode(digest.chain_update(&self.buffer).finalize())
        })
    }

    /// Hex SHA-256 of the bytes so far; empty if it is not taken.
    pub(crate) fn sha256(&self) -> String {
        let digest = self.sink.as_ref().and_then(|sink| sink.sha256.clone());
        digest.map_or_else(String::new, |digest| {
            hex::encode(digest.chain_update(&self.buffer).finalize())
        })
    }

    /// Brings every byte and the name to the disk, durably.
    pub(crate) async fn settle(self) -> Result<Complete> {
        self.finish(|file, path| {
            crash::point("file-written");
            sync(file, path)?;
            crash::point("file-synced");
            folders::sync_parent(path)?;
            crash::point("file-named");
            Ok(())
        })
        .await
    }

    /// Brings every byte to the disk, durably, for a file that will be renamed.
    pub(crate) async fn sync(self) -> Result<Complete> {
        self.finish(sync).await
    }

    /// Brings every byte to the file, for someone who reads it now and needs it no longer.
    pub(crate) async fn close(self) -> Result<Complete> {
        self.finish(|_, _| Ok(())).await
    }

    async fn finish(mut self, settle: fn(&File, &Path) -> Result<()>) -> Result<Complete> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut sink = self.take_sink()?;
        let size = self.size;
        blocking::on_disk(move || {
            sink.flush(&buffer)?;
            if let Some(file) = &sink.file {
                settle(file, &sink.path)?;
            }
            let hex = |bytes: &[u8]| hex::encode(bytes);
            Ok(Complete {
                size,
                md5: sink
                    .md5
                    .map_or_else(String::new, |md5| hex(&md5.finalize())),
                sha256: sink
                    .sha256
                    .map_or_else(String::new, |sha| hex(&sha.finalize())),
                path: sink.path,
                discarded: sink.discarded,
            })
        })
        .await
    }
}

fn sync(file: &File, path: &Path) -> Result<()> {
    file.sync_all()
        .map_err(|error| Error::io("syncing", path, error))
}

/// A file whose bytes are all there. Dropped before it was kept, it is deleted.
pub(crate) struct Complete {
    path: PathBuf,
    pub(crate) size: u64,
    /// Hex; empty if it was not taken.
    pub(crate) md5: String,
    /// Hex; empty if it was not taken.
    pub(crate) sha256: String,
    discarded: Discarded,
}

impl Complete {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on the file stays.
    pub(crate) fn keep(self) {
        self.discarded.keep();
    }

    /// What deletes the file unless it is kept.
    pub(crate) fn into_discarded(self) -> Discarded {
        self.discarded
    }
}
