//! Code: a zip archive unpacked once, by digest, with every path held below its folder.

use crate::entry_path::{Dialect, EntryPath, MAX_PATH, shown};
use crate::folders::{self, Discarded, Folders};
use crate::store::names_in;
use crate::tree::{self, Links, Tree};
use crate::{Error, Result, Storage, blocking, page_cache};
use model::Digest;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use zip::ZipReadOptions;
use zip::read::{Config, ZipFileEntry};
use zip::unstable::read::ZipIterable;

/// Most bytes of one archive, unpacked: 1 GiB.
const MAX_UNPACKED: u64 = 1 << 30;
/// Most entries of one archive.
const MAX_ENTRIES: usize = 200_000;
/// Most bytes of memory for the links of one archive, which are kept to its end: 64 MiB.
const MAX_LINKS: usize = 64 << 20;

impl Storage {
    /// Unpacks a zip blob if that was not done yet, and gives the folder. Refused: absolute paths,
    /// `..`, backslashes, links that lead out, devices, an entry that stands twice, more than
    /// 200 000 entries or 1 GiB unpacked. Nothing half-made stays.
    ///
    /// # Errors
    /// `NotFound` (blob), `Archive` with the entry and the rule.
    pub async fn ensure_code(&self, archive: &Digest) -> Result<PathBuf> {
        let turn = self.unpacking().turn(archive).await;
        let (folders, archive) = (Arc::clone(self.folders()), archive.clone());
        blocking::on_disk(move || {
            let _turn = turn;
            ensure(&folders, &archive)
        })
        .await
    }

    /// Deletes unpacked code and blobs that are not in `keep`; what the registry knows stays. Gives how
    /// many. For a server that takes nothing in yet.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn sweep_code(&self, keep: &[Digest]) -> Result<u64> {
        let mut keep: Vec<String> = keep.iter().map(|digest| digest.hex().to_owned()).collect();
        let code = self.folders().code();
        let mut swept = self.sweep_folder(code, &keep).await?;
        let folder = self.folders().blobs();
        let names = blocking::on_disk(move || names_in(&folder)).await?;
        keep.extend(self.registry_names(names).await?);
        swept += self.sweep_folder(self.folders().blobs(), &keep).await?;
        Ok(swept)
    }

    async fn sweep_folder(&self, folder: PathBuf, keep: &[String]) -> Result<u64> {
        let folders = Arc::clone(self.folders());
        let keep: HashSet<String> = keep.iter().cloned().collect();
        blocking::on_disk(move || {
            let mut swept = 0;
            for name in names_in(&folder)? {
                // What is told of code goes with it.
                let suffixes = [folders::WARM, folders::BYTECODE];
                let of = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
                let of = of.unwrap_or(&name);
                if !keep.contains(of) {
                    retire(&folders, &folder.join(name))?;
                    swept += 1;
                }
            }
            Ok(swept)
        })
        .await
    }
}

/// Takes something out of its place in one step, then deletes it: a crash leaves no half of it.
pub(crate) fn retire(folders: &Folders, path: &Path) -> Result<()> {
    let out = folders.fresh_staging();
    std::fs::rename(path, &out).map_err(|error| Error::io("moving away", path, error))?;
    drop(Discarded::new(out));
    Ok(())
}

/// Who unpacks which archive now: whoever comes second waits for the first.
#[derive(Default)]
pub(crate) struct Unpacking {
    turns: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

impl Unpacking {
    async fn turn(&self, archive: &Digest) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let known = turns.get(archive).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::default();
                turns.insert(archive.clone(), Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}

fn ensure(folders: &Folders, archive: &Digest) -> Result<PathBuf> {
    let code = folders.code().join(archive.hex());
    if code.is_dir() {
        return Ok(code);
    }
    let blob = folders.blob(archive);
    let file = File::open(&blob).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::NotFound {
            what: "blob",
            name: archive.to_string(),
        },
        _ => Error::io("opening", &blob, error),
    })?;
    let staged = folders.fresh_staging();
    let discarded = Discarded::new(staged.clone());
    folders::make_folder(&staged)?;
    unpack(file, &blob, &staged)?;
    // Of a folder that was lost.
    folders::remove_file(&folders.code_bytecode(archive.hex()))?;
    std::fs::rename(&staged, &code).map_err(|error| Error::io("renaming to", &code, error))?;
    discarded.keep();
    folders::sync_folder(&folders.code())?;
    Ok(code)
}

/// Unpacks a zip into an empty folder, durably.
fn unpack(archive: File, blob: &Path, into: &Path) -> Result<()> {
    let second = File::open(blob).map_err(|error| Error::io("opening", blob, error))?;
    let at_root = |error: io::Error| Error::io("unpacking to", into, error);
    let tree = Tree::open(into, Links::Refused).map_err(at_root)?;
    let unpacked = lay_out(archive, second, &tree, MAX_UNPACKED)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(into, mode).map_err(at_root)?;
    tree.sync().map_err(at_root)?;
    page_cache::let_go(into, unpacked).map_err(at_root)
}

/// Lays a zip out in an empty folder, at most that many bytes, and gives how many. `archive` and `contents`
/// are the same file, opened twice.
pub(crate) fn lay_out(archive: File, contents: File, tree: &Tree, most: u64) -> Result<u64> {
    let mut zip =
        ZipIterable::try_new(BufReader::new(archive), Config::default()).map_err(not_zip)?;
    if zip.len() > MAX_ENTRIES {
        let count = zip.len();
        let reason = format!("the zip has {count} entries, more than {MAX_ENTRIES}");
        return Err(Error::Archive(reason));
    }
    let mut unpacker = Unpacker {
        tree,
        contents: BufReader::new(contents),
        left: most,
        links: Vec::new(),
        links_left: MAX_LINKS,
    };
    for entry in zip.files().map_err(not_zip)? {
        unpacker.entry(entry.map_err(not_zip)?)?;
    }
    unpacker.link_all()?;
    Ok(most - unpacker.left)
}

fn not_zip(error: zip::result::ZipError) -> Error {
    match error {
        zip::result::ZipError::Io(source) if source.kind() == ErrorKind::StorageFull => Error::Io {
            doing: "unpacking",
            path: "a zip".to_owned(),
            source,
        },
        error => Error::Archive(format!("the zip cannot be read: {error}; make it anew")),
    }
}

/// A zip that is being unpacked. Its directory is read entry by entry (`zip::unstable` holds the only
/// reader that does), so that memory does not grow with what an archive claims, and a name that stands
/// twice is seen.
struct Unpacker<'a> {
    tree: &'a Tree,
    contents: BufReader<File>,
    left: u64,
    links_left: usize,
    /// Made last, so that no entry can go through one.
    links: Vec<(EntryPath, Vec<u8>)>,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: ZipFileEntry<'_>) -> Result<()> {
        let name = entry.name().map_err(not_zip)?.into_owned();
        let refuse = |rule: &str| {
            Error::Archive(format!("zip entry \"{}\": {rule}", shown(name.as_bytes())))
        };
        let path = EntryPath::parse(name.as_bytes(), Dialect::Zip).map_err(refuse)?;
        let mode = entry.unix_mode().unwrap_or(0);
        // The type bits of `st_mode`; a zip that was not made on Unix has none.
        if ![0, 0o040_000, 0o100_000, 0o120_000].contains(&(mode & 0o170_000)) {
            return Err(refuse("is neither file, folder nor link"));
        }
        let failed = |error: io::Error| unpack_error(&name, error);
        if entry.is_dir() {
            self.tree.make_folders(&path).map_err(failed)?;
            return Ok(());
        }
        let Some((parent, own)) = path.split() else {
            return Err(refuse("has no name"));
        };
        let is_link = entry.is_symlink();
        let mut content = entry
            .with_reader(&mut self.contents, ZipReadOptions::default())
            .map_err(|error| refuse(&error.to_string()))?;
        if is_link {
            let mut target = Vec::new();
            let mut bounded = (&mut content).take(MAX_PATH as u64 + 1);
            bounded.read_to_end(&mut target).map_err(failed)?;
            path.check_link(&target).map_err(refuse)?;
            let size = target.len() + path.memory();
            let left = self.links_left.checked_sub(size);
            self.links_left = left.ok_or_else(|| refuse("the links are more than is allowed"))?;
            self.links.push((path, target));
            return Ok(());
        }
        let folder = self.tree.make_folders(&parent).map_err(failed)?;
        let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        tree::make_file(&folder, own, &mut content, mode, None, &mut self.left).map_err(failed)
    }

    fn link_all(&self) -> Result<()> {
        for (path, target) in &self.links {
            let failed = |error: io::Error| unpack_error(&path.to_string(), error);
            if let Some((parent, name)) = path.split() {
                let folder = self.tree.make_folders(&parent).map_err(failed)?;
                tree::make_link(&folder, name, target).map_err(failed)?;
            }
        }
        for (path, _) in &self.links {
            let failed = |error: io::Error| unpack_error(&path.to_string(), error);
            if self.tree.leads_out(path).map_err(failed)? {
                let rule = "the link leads out of the archive by way of another";
                return Err(Error::Archive(format!("zip entry \"{path}\": {rule}")));
            }
        }
        Ok(())
    }
}

fn unpack_error(name: &str, error: io::Error) -> Error {
    Error::of_entry(format!("zip entry \"{}\"", shown(name.as_bytes())), error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
pub(crate) mod tests;
