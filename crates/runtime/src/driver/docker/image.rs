//! Images in Docker: the flattened roots that sandboxes have too, by their digest, and the base of what
//! runs on the host's own programs.

use super::engine::{DATA, Place, failed, is_missing};
use crate::{InstanceSpec, Result};
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use launcher::Root;
use model::Code;
use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use storage::Storage;
use tokio::sync::mpsc;

/// Repository of the flattened images; the tag is the digest.
const REPOSITORY: &str = "rouse/image";
/// Repository of the base; the tag changes with what is in it.
const BASE: &str = "rouse/base";
const BASE_TAG: &str = "1";
/// How long Docker may take to unpack an image before it answers.
const IMPORT: Duration = Duration::from_secs(1800);
/// What is sent at once.
const CHUNK: usize = 256 * 1024;
/// Chunks that may wait to be sent.
const AHEAD: usize = 4;

/// What Docker has. A cheap handle.
#[derive(Clone, Default)]
pub(super) struct Images {
    /// Ids by tag.
    known: Arc<std::sync::Mutex<HashMap<String, String>>>,
    /// One is imported at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// An image in Docker.
pub(super) struct Image {
    /// What a container is made from: nobody can give it another meaning.
    pub(super) id: String,
    name: String,
}

impl Images {
    /// The image of an instance, imported if Docker does not have it.
    pub(super) async fn ensure(
        &self,
        place: &Place,
        spec: &InstanceSpec,
        root: &Root,
    ) -> Result<Image> {
        let (repository, tag, source) = match (&spec.code, root) {
            (Code::Image { digest, .. }, Root::Image { folder }) => {
                (REPOSITORY, digest.hex().to_owned(), Some(folder.clone()))
            }
            _ => (BASE, BASE_TAG.to_owned(), None),
        };
        let name = format!("{repository}:{tag}");
        if let Some(id) = self.known(&name) {
            return Ok(Image { id, name });
        }
        let _turn = self.turn.lock().await;
        let id = match find(place, &name).await? {
            Some(id) => id,
            None => {
                import(place, repository, &tag, source).await?;
                let found = find(place, &name).await?;
                found.ok_or_else(|| failed("importing an image", &"it is not there afterwards"))?
            }
        };
        self.lock().insert(name.clone(), id.clone());
        Ok(Image { id, name })
    }

    /// Somebody has removed it.
    pub(super) fn forget(&self, image: &Image) {
        self.lock().remove(&image.name);
    }

    fn known(&self, name: &str) -> Option<String> {
        self.lock().get(name).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn find(place: &Place, name: &str) -> Result<Option<String>> {
    match place.docker.inspect_image(name).await {
        Ok(image) => Ok(image.id),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(failed("looking for an image", &error)),
    }
}

/// Sends a folder, or without one the base, as a root file system.
async fn import(place: &Place, repository: &str, tag: &str, source: Option<PathBuf>) -> Result<()> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let packing = tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(CHUNK, Chunks(sender.clone()));
        let packed = match &source {
            Some(folder) => pack(folder, &mut out),
            None => pack_base(&mut out),
        };
        if let Err(error) = packed.and_then(|()| out.flush()) {
            // Docker refuses half an archive, and says so.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let changes = vec![format!("LABEL {DATA}={}", quoted(&place.data))];
    let options = CreateImageOptionsBuilder::new()
        .from_src("-")
        .repo(repository);
    let options = options.tag(tag).changes(changes).build();
    let body = stream::unfold(receiver, |mut receiver| async {
        let chunk = receiver.recv().await?;
        Some((chunk, receiver))
    });
    let body = bollard::body_try_stream(body);
    let docker = place.docker.clone().with_timeout(IMPORT);
    let mut told = docker.create_image(Some(options), Some(body), None);
    while let Some(word) = told.next().await {
        word.map_err(|error| failed("importing an image", &error))?;
    }
    // It has ended: its channel is closed.
    let _ = packing.await;
    Ok(())
}

/// As a Dockerfile's instruction takes it.
fn quoted(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('$', "\\$");
    format!("\"{escaped}\"")
}

fn pack(folder: &Path, out: &mut impl Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(out);
    archive.follow_symlinks(false);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        match entry.file_type()?.is_dir() {
            // What the image has there is mounted over.
            true if name == "tmp" => append_folder(&mut archive, "tmp/", OPEN)?,
            // A link there would lead the gate, or its door, elsewhere.
            _ if name == ".rouse" => {}
            true => archive.append_dir_all(name, path)?,
            false => archive.append_path_with_name(path, name)?,
        }
    }
    append_folder(&mut archive, ".rouse/", 0o755)?;
    archive.finish()
}

/// What is mounted over a folder takes its mode on (runc), whatever mode is asked for.
const OPEN: u32 = 0o1777;

fn append_folder(archive: &mut tar::Builder<impl Write>, name: &str, mode: u32) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    header.set_mode(mode);
    archive.append_data(&mut header, name, io::empty())
}

/// A root with nothing but users: all else is mounted over it.
fn pack_base(out: &mut impl Write) -> io::Result<()> {
    const FILES: [(&str, &str); 3] = [
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/tmp:/bin/sh\n\
             nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        ),
        ("etc/group", "root:x:0:\napp:x:1000:\nnogroup:x:65534:\n"),
        (
            "etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n",
        ),
    ];
    let mut archive = tar::Builder::new(out);
    for name in ["dev/", "etc/", "proc/", "sys/", "var/"] {
        append_folder(&mut archive, name, 0o755)?;
    }
    append_folder(&mut archive, "tmp/", OPEN)?;
    for (name, text) in FILES {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, text.as_bytes())?;
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    archive.append_link(&mut header, "var/tmp", "/tmp")?;
    archive.finish()
}

/// Sends what is written.
struct Chunks(mpsc::Sender<io::Result<Bytes>>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Removes images of this data folder that it has no more. What is in use stays.
pub(super) async fn sweep(place: &Place, storage: &Storage) {
    let label = format!("{DATA}={}", place.data);
    let filters = HashMap::from([("label", vec![label.as_str()])]);
    let options = ListImagesOptionsBuilder::new().filters(&filters).build();
    let found = match place.docker.list_images(Some(options)).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "images of an earlier server may be left in Docker");
            return;
        }
    };
    for name in found.iter().flat_map(|image| &image.repo_tags) {
        let digest = name
            .strip_prefix(REPOSITORY)
            .and_then(|rest| rest.strip_prefix(':'));
        let digest = digest.and_then(|hex| model::Digest::from_hex(hex).ok());
        if digest.is_none_or(|digest| storage.image_root(&digest).is_ok()) {
            continue;
        }
        let options = RemoveImageOptionsBuilder::new().build();
        match place.docker.remove_image(name, Some(options), None).await {
            Ok(_) => tracing::info!(name, "removed an image that no function has any more"),
            Err(error) => tracing::debug!(%error, name, "an image is left in Docker"),
        }
    }
}
