//! The files of an image on the disk: an OCI layout's folder, or a plain tar of one or of `docker save`.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// Most entries of an archive that are looked at.
const MAX_ENTRIES: usize = 100_000;
/// Longest chain of links to one file.
const MAX_LINKS: usize = 8;

/// A part of a file: bytes of a blob.
#[derive(Debug, Clone)]
pub(crate) struct Stretch {
    path: PathBuf,
    offset: u64,
    /// Bytes.
    pub(crate) size: u64,
}

impl Stretch {
    /// The file at the beginning of the part; its end is [`Stretch::size`] bytes further.
    ///
    /// # Errors
    /// Of the file system.
    pub(crate) fn open(&self) -> Result<File> {
        let doing = || Error::io(format!("reading {}", self.path.display()));
        let mut file = File::open(&self.path).map_err(doing())?;
        file.seek(SeekFrom::Start(self.offset)).map_err(doing())?;
        Ok(file)
    }

    /// All of it, `most` bytes at most.
    ///
    /// # Errors
    /// One that is larger, and those of the file system.
    pub(crate) fn read(&self, most: u64) -> Result<Vec<u8>> {
        let path = self.path.display();
        if self.size > most {
            let reason = format!("{path} has a description of more than {most} bytes");
            return Err(Error::Usage(reason));
        }
        let mut bytes = Vec::new();
        let read = self.open()?.take(self.size).read_to_end(&mut bytes);
        read.map_err(Error::io(format!("reading {path}")))?;
        Ok(bytes)
    }
}

/// Files by their names in the image's folder or archive.
#[derive(Debug)]
pub(super) enum Files {
    Folder(PathBuf),
    Tar {
        files: BTreeMap<String, Stretch>,
        links: BTreeMap<String, String>,
    },
}

impl Files {
    /// Looks at a folder or an archive.
    ///
    /// # Errors
    /// What is neither; a compressed archive.
    pub(super) fn of(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let doing = || Error::io(format!("reading {}", path.display()));
        let file = File::open(path).map_err(doing())?;
        let mut archive = tar::Archive::new(file);
        let (mut files, mut links) = (BTreeMap::new(), BTreeMap::new());
        let no_tar = |error: std::io::Error| {
            let path = path.display();
            Error::Usage(format!(
                "{path} is no tar of an image ({error}): give an OCI layout or what `docker save` writes, \
                 decompressed"
            ))
        };
        for (count, entry) in archive.entries_with_seek().map_err(no_tar)?.enumerate() {
            let entry = entry.map_err(no_tar)?;
            if count >= MAX_ENTRIES {
                let reason = format!("{} has more than {MAX_ENTRIES} entries", path.display());
                return Err(Error::Usage(reason));
            }
            let name = plain(&entry.path().map_err(no_tar)?);
            let kind = entry.header().entry_type();
            if kind.is_file() {
                let stretch = Stretch {
                    path: path.to_owned(),
                    offset: entry.raw_file_position(),
                    size: entry.size(),
                };
                files.insert(name, stretch);
            } else if let Some(target) = entry.link_name().map_err(no_tar)? {
                let target = match kind.is_symlink() {
                    true => Path::new(&name).with_file_name("").join(target),
                    false => target.into_owned(),
                };
                links.insert(name, plain(&target));
            }
        }
        Ok(Self::Tar { files, links })
    }

    /// The file of a name, if there is one.
    pub(super) fn find(&self, name: &str) -> Option<Stretch> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(plain(Path::new(name)));
                let size = path.metadata().ok().filter(|found| found.is_file())?.len();
                Some(Stretch {
                    path,
                    offset: 0,
                    size,
                })
            }
            Self::Tar { files, links } => {
                let mut name = plain(Path::new(name));
                for _ in 0..MAX_LINKS {
                    match links.get(&name) {
                        Some(target) => name.clone_from(target),
                        None => break,
                    }
                }
                files.get(&name).cloned()
            }
        }
    }
}

/// Without what leads up or to the root, and without `.`.
fn plain(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn links_of_an_archive_lead_to_files_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        tar.append_data(&mut header, "./one/layer.tar", &b"bytes"[..])
            .unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "two/layer.tar", "../one/layer.tar")
            .unwrap();
        tar.append_link(&mut header, "round", "round").unwrap();
        tar.into_inner().unwrap();
        let files = Files::of(&path).unwrap();
        for name in ["one/layer.tar", "two/layer.tar"] {
            assert_eq!(files.find(name).unwrap().read(5).unwrap(), b"bytes");
        }
        assert!(files.find("round").is_none());
        assert!(files.find("one/layer.tar").unwrap().read(4).is_err());
    }

    #[test]
    fn what_is_no_tar_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar.gz");
        std::fs::write(&path, [0x1f, 0x8b, 8, 0].repeat(200)).unwrap();
        let error = Files::of(&path).unwrap_err().to_string();
        assert!(error.contains("decompressed"), "{error}");
    }

    #[test]
    fn names_stay_below() {
        for (name, is) in [
            ("./a/b", "a/b"),
            ("/a/../b", "b"),
            ("../../x", "x"),
            ("", ""),
        ] {
            assert_eq!(plain(Path::new(name)), is);
        }
    }
}
