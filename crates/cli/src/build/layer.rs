//! One layer: a compressed tar whose bytes depend on its content alone.

use super::{Blob, LAYER_GZIP};
use crate::error::{Error, Result};
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use model::ContentDigest;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::path::PathBuf;
use tar::{Builder, EntryType, Header};

/// What stands at one place of a layer.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// A file of the disk.
    File {
        /// Where it is.
        path: PathBuf,
        /// Mode 755, else 644.
        is_executable: bool,
    },
    /// A file of ours, mode 644.
    Text(&'static str),
    /// A symbolic link.
    Link(String),
    /// A folder with its mode.
    Folder(u32),
}

/// A layer in a temporary file, which is deleted when this is dropped.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) blob: Blob,
    /// The digest of the tar before it was compressed.
    pub(crate) diff_id: ContentDigest,
    pub(crate) file: File,
}

impl Layer {
    /// From what stands where: paths without a slash at the beginning. The folders above each are made.
    ///
    /// # Errors
    /// A file that cannot be read, or that changed meanwhile.
    pub(crate) fn pack(mut items: BTreeMap<String, Item>) -> Result<Self> {
        let folders: Vec<String> = items.keys().flat_map(|name| above(name)).collect();
        for folder in folders {
            items.entry(folder).or_insert(Item::Folder(0o755));
        }
        let doing = || Error::io("writing the layer");
        let file = tempfile::tempfile().map_err(doing())?;
        let zipped = GzBuilder::new().mtime(0).operating_system(255).write(
            Hashed::new(BufWriter::new(file)),
            // Level 6: what most registries hold.
            Compression::new(6),
        );
        let mut tar = Builder::new(Hashed::new(zipped));
        for (name, item) in &items {
            append(&mut tar, name, item)?;
        }
        let packed = tar.into_inner().map_err(doing())?;
        let (zipped, diff_id, _) = packed.end()?;
        let zipped: Hashed<BufWriter<File>> = zipped.finish().map_err(doing())?;
        let (file, digest, size) = zipped.end()?;
        let mut file = file
            .into_inner()
            .map_err(|error| doing()(error.into_error()))?;
        file.rewind().map_err(doing())?;
        Ok(Self {
            blob: Blob {
                digest,
                size,
                media_type: LAYER_GZIP.to_owned(),
            },
            diff_id,
            file,
        })
    }
}

/// The folders above a name, outermost first.
fn above(name: &str) -> Vec<String> {
    let slashes = name.match_indices('/').map(|(at, _)| name[..at].to_owned());
    slashes.collect()
}

type Tar = Builder<Hashed<GzEncoder<Hashed<BufWriter<File>>>>>;

fn append(tar: &mut Tar, name: &str, item: &Item) -> Result<()> {
    let doing = || Error::io(format!("packing {name}"));
    let mut header = Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    match item {
        Item::Folder(mode) => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(*mode);
            header.set_size(0);
            let name = format!("{name}/");
            tar.append_data(&mut header, name, std::io::empty())
                .map_err(doing())
        }
        Item::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            tar.append_link(&mut header, name, target).map_err(doing())
        }
        Item::Text(text) => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o644);
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, name, text.as_bytes())
                .map_err(doing())
        }
        Item::File {
            path,
            is_executable,
        } => {
            let reading = || Error::io(format!("reading {}", path.display()));
            let file = File::open(path).map_err(reading())?;
            let size = file.metadata().map_err(reading())?.len();
            header.set_entry_type(EntryType::Regular);
            header.set_mode(if *is_executable { 0o755 } else { 0o644 });
            header.set_size(size);
            let mut bytes = file.take(size);
            tar.append_data(&mut header, name, &mut bytes)
                .map_err(reading())?;
            if bytes.limit() == 0 {
                return Ok(());
            }
            let message = format!("{} became shorter while it was read", path.display());
            Err(Error::Failed(format!("{message}; build again")))
        }
    }
}

/// Counts and digests what is written.
struct Hashed<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W> Hashed<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            size: 0,
        }
    }

    fn end(self) -> Result<(W, ContentDigest, u64)> {
        let digest = sha256(&hex::encode(self.hasher.finalize()))?;
        Ok((self.inner, digest, self.size))
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// A digest from its hex digits.
pub(super) fn sha256(hex: &str) -> Result<ContentDigest> {
    let parsed = format!("sha256:{hex}").parse();
    parsed.map_err(|error: model::Invalid| Error::Failed(error.to_string()))
}

/// The digest of bytes in memory.
pub(super) fn digest_of(bytes: &[u8]) -> Result<ContentDigest> {
    sha256(&hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    fn items(
        folder: &std::path::Path,
        files: &[(String, Vec<u8>, bool)],
    ) -> BTreeMap<String, Item> {
        let mut items = BTreeMap::new();
        for (name, content, is_executable) in files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            let mode = std::fs::Permissions::from_mode(if *is_executable { 0o700 } else { 0o600 });
            std::fs::set_permissions(&path, mode).unwrap();
            let is_executable = *is_executable;
            let item = Item::File {
                path,
                is_executable,
            };
            items.insert(format!("var/task/{name}"), item);
        }
        items
    }

    fn entries(layer: &mut Layer) -> Vec<(String, u32, u64, Vec<u8>)> {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&layer.file));
        let all = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let header = entry.header().clone();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let name = entry.path().unwrap().display().to_string();
            (name, header.mode().unwrap(), header.mtime().unwrap(), bytes)
        });
        all.collect()
    }

    #[test]
    fn a_layer_has_the_folders_above_and_no_time() {
        let folder = tempfile::tempdir().unwrap();
        let long = format!("deep/{}/x", "n".repeat(180));
        let mut items = items(folder.path(), &[(long.clone(), b"x".to_vec(), true)]);
        items.insert("var/runtime/a.py".into(), Item::Text("text"));
        items.insert("tmp".into(), Item::Folder(0o1777));
        items.insert("var/task/link".into(), Item::Link("deep".into()));
        let mut layer = Layer::pack(items).unwrap();
        let found = entries(&mut layer);
        let names: Vec<&str> = found.iter().map(|entry| entry.0.as_str()).collect();
        let middle = format!("var/task/deep/{}/", "n".repeat(180));
        let last = format!("var/task/{long}");
        let expected = [
            "tmp/",
            "var/",
            "var/runtime/",
            "var/runtime/a.py",
            "var/task/",
            "var/task/deep/",
            &middle,
            &last,
            "var/task/link",
        ];
        assert_eq!(names, expected);
        assert_eq!((found[0].1, found[1].1, found[7].1), (0o1777, 0o755, 0o755));
        assert!(found.iter().all(|entry| entry.2 == 0));
        assert_eq!(layer.blob.size, layer.file.metadata().unwrap().len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_order_and_the_times_of_files_do_not_matter(
            files in proptest::collection::btree_map("[a-c]{1,2}/[a-z]{1,8}", (proptest::collection::vec(any::<u8>(), 0..2_000), any::<bool>()), 0..12)
        ) {
            let files: Vec<_> = files.into_iter().map(|(name, (bytes, bit))| (name, bytes, bit)).collect();
            let reversed: Vec<_> = files.iter().rev().cloned().collect();
            let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let mut first = Layer::pack(items(one.path(), &files)).unwrap();
            let second = items(two.path(), &reversed);
            for item in second.values() {
                if let Item::File { path, .. } = item {
                    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000);
                    File::open(path).unwrap().set_modified(time).unwrap();
                }
            }
            let second = Layer::pack(second).unwrap();
            prop_assert_eq!(&first.blob, &second.blob);
            prop_assert_eq!(&first.diff_id, &second.diff_id);
            let found = entries(&mut first);
            for (name, bytes, bit) in &files {
                let name = format!("var/task/{name}");
                let entry = found.iter().find(|entry| entry.0 == name).unwrap();
                prop_assert_eq!(&entry.3, bytes);
                prop_assert_eq!(entry.1, if *bit { 0o755 } else { 0o644 });
            }
        }
    }
}
