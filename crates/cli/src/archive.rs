//! Folders as zip archives that are the same for the same content: sorted, without times, with two
//! modes.

use crate::error::{Error, Result};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use model::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::{DirEntry, File};
use std::io::{BufWriter, Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// Deepest nesting of folders.
const MAX_DEPTH: usize = 64;
/// Most entries of one archive.
const MAX_ENTRIES: usize = 200_000;

/// An archive in a temporary file, which is deleted when this is dropped.
#[derive(Debug)]
pub(crate) struct Archive {
    /// The file, at any position.
    pub(crate) file: File,
    /// SHA-256 of all of it.
    pub(crate) digest: Digest,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// How many files, links and empty folders are in it.
    pub(crate) entries: usize,
}

/// Archives a folder. What `.rouseignore` (gitignore's rules) or else `.dockerignore` names is left
/// out, and `.git`. Executable bits are kept; links are kept if they stay within the folder. `tick`
/// is called for each entry.
///
/// # Errors
/// Names the file: one that cannot be read, a link out of the folder, a device or socket.
pub(crate) fn pack(folder: &Path, tick: impl FnMut(&str)) -> Result<Archive> {
    let file = tempfile::tempfile().map_err(Error::io("making a temporary file"))?;
    let mut packer = Packer {
        zip: ZipWriter::new(BufWriter::new(file)),
        ignored: ignore_rules(folder)?,
        folder,
        entries: 0,
        tick,
    };
    packer.pack_folder(folder, 0)?;
    let entries = packer.entries;
    if entries == 0 {
        return Err(Error::Usage(format!(
            "the folder {} has no files that are not ignored",
            folder.display()
        )));
    }
    let doing = || Error::io(format!("archiving {}", folder.display()));
    let writer = packer.zip.finish().map_err(|error| doing()(error.into()))?;
    let file = writer
        .into_inner()
        .map_err(|error| doing()(error.into_error()))?;
    let (file, digest, size) = digest(file).map_err(doing())?;
    let digest = Digest::from_hex(&digest).map_err(|error| Error::Failed(error.to_string()))?;
    Ok(Archive {
        file,
        digest,
        size,
        entries,
    })
}

fn digest(mut file: File) -> std::io::Result<(File, String, u64)> {
    file.rewind()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    file.rewind()?;
    Ok((file, hex::encode(hasher.finalize()), size))
}

struct Packer<'a, F> {
    zip: ZipWriter<BufWriter<File>>,
    ignored: Gitignore,
    folder: &'a Path,
    entries: usize,
    tick: F,
}

impl<F: FnMut(&str)> Packer<'_, F> {
    fn pack_folder(&mut self, folder: &Path, depth: usize) -> Result<()> {
        let doing = || Error::io(format!("reading {}", folder.display()));
        if depth > MAX_DEPTH {
            let message = format!(
                "{} is nested deeper than {MAX_DEPTH} folders",
                folder.display()
            );
            return Err(Error::Usage(message));
        }
        let entries = std::fs::read_dir(folder).map_err(doing())?;
        let mut entries: Vec<DirEntry> = entries.collect::<std::io::Result<_>>().map_err(doing())?;
        entries.sort_by_key(DirEntry::file_name);
        if entries.is_empty() && depth > 0 {
            let name = self.name_of(folder)?;
            self.count(&name)?;
            let added = self.zip.add_directory(name, options(0o755));
            added.map_err(|error| at(folder, error))?;
        }
        for entry in entries {
            let path = entry.path();
            let sort = entry.file_type().map_err(doing())?;
            if self.is_ignored(&path, sort.is_dir()) {
                continue;
            }
            let name = self.name_of(&path)?;
            if sort.is_dir() {
                self.pack_folder(&path, depth + 1)?;
            } else if sort.is_symlink() {
                self.count(&name)?;
                self.pack_link(&path, &name)?;
            } else if sort.is_file() {
                self.count(&name)?;
                self.pack_file(&path, &name)?;
            } else {
                return Err(Error::Usage(format!(
                    "{} is neither a file, a folder nor a link: remove it, or name it in .rouseignore",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    fn is_ignored(&self, path: &Path, is_folder: bool) -> bool {
        let top = path.parent() == Some(self.folder);
        let ours = [".git", ".rouseignore", ".dockerignore"];
        let name = path.file_name().and_then(|name| name.to_str());
        (top && name.is_some_and(|name| ours.contains(&name)))
            || self.ignored.matched(path, is_folder).is_ignore()
    }

    fn name_of(&self, path: &Path) -> Result<String> {
        let relative = path.strip_prefix(self.folder).unwrap_or(path);
        match relative.to_str() {
            Some(name) => Ok(name.to_owned()),
            None => Err(Error::Usage(format!(
                "the name of {} is not UTF-8: rename it, or name it in .rouseignore",
                path.display()
            ))),
        }
    }

    fn count(&mut self, name: &str) -> Result<()> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(Error::Usage(format!(
                "{} has more than {MAX_ENTRIES} files: name what is not needed in .rouseignore",
                self.folder.display()
            )));
        }
        (self.tick)(name);
        Ok(())
    }

    fn pack_file(&mut self, path: &Path, name: &str) -> Result<()> {
        let doing = || Error::io(format!("reading {}", path.display()));
        let mut file = File::open(path).map_err(doing())?;
        let metadata = file.metadata().map_err(doing())?;
        let executable = metadata.permissions().mode() & 0o111 != 0;
        let options = options(if executable { 0o755 } else { 0o644 })
            .large_file(metadata.len() >= u64::from(u32::MAX));
        let started = self.zip.start_file(name, options);
        started.map_err(|error| at(path, error))?;
        std::io::copy(&mut file, &mut self.zip).map_err(doing())?;
        Ok(())
    }

    fn pack_link(&mut self, path: &Path, name: &str) -> Result<()> {
        let target =
            std::fs::read_link(path).map_err(Error::io(format!("reading {}", path.display())))?;
        let Some(text) = target
            .to_str()
            .filter(|_| stays_within(Path::new(name), &target))
        else {
            return Err(Error::Usage(format!(
                "the link {} leads out of its folder, to {}: replace it by a copy, or name it in \
                 .rouseignore",
                path.display(),
                target.display()
            )));
        };
        let added = self.zip.add_symlink(name, text, options(0o777));
        added.map_err(|error| at(path, error))
    }
}

fn at(path: &Path, error: zip::result::ZipError) -> Error {
    Error::io(format!("archiving {}", path.display()))(error.into())
}

/// No time (1980-01-01, the first that a zip knows) and the fastest compression: archives go to a
/// server nearby and are unpacked once.
fn options(mode: u32) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(1))
        .last_modified_time(DateTime::default())
        .unix_permissions(mode)
}

/// Whether a link at `name` (relative to the top) to `target` stays below the top at every step.
fn stays_within(name: &Path, target: &Path) -> bool {
    let mut depth = name.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// `.rouseignore` by gitignore's rules; without it `.dockerignore`, whose patterns are anchored at
/// the folder.
fn ignore_rules(folder: &Path) -> Result<Gitignore> {
    let mut builder = GitignoreBuilder::new(folder);
    let read = |name: &str| -> Result<Option<(PathBuf, String)>> {
        let path = folder.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some((path, text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("reading {}", path.display()))(error)),
        }
    };
    let (path, lines) = if let Some((path, text)) = read(".rouseignore")? {
        (path, text.lines().map(str::to_owned).collect::<Vec<_>>())
    } else if let Some((path, text)) = read(".dockerignore")? {
        (path, text.lines().map(anchored).collect())
    } else {
        return Ok(Gitignore::empty());
    };
    let wrong = |error: ignore::Error| Error::Usage(format!("{}: {error}", path.display()));
    for line in lines {
        builder.add_line(None, &line).map_err(wrong)?;
    }
    builder.build().map_err(wrong)
}

fn anchored(line: &str) -> String {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return line.to_owned();
    }
    let (not, pattern) = match line.strip_prefix('!') {
        Some(pattern) => ("!", pattern),
        None => ("", line),
    };
    let pattern = pattern.trim_start_matches("./").trim_start_matches('/');
    format!("{not}/{pattern}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn names(archive: Archive) -> Vec<String> {
        let zip = zip::ZipArchive::new(archive.file).unwrap();
        zip.file_names()
            .map(|name| name.unwrap().into_owned())
            .collect()
    }

    #[test]
    fn the_same_content_gives_the_same_digest() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = ["b.js", "a/z.js", "a/b/c.txt"];
        for name in files {
            write(one.path(), name, name);
        }
        for name in files.iter().rev() {
            write(two.path(), name, name);
        }
        let modes = [(one.path(), 0o700), (two.path(), 0o755)];
        for (folder, mode) in modes {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(folder.join("b.js"), mode).unwrap();
        }
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        File::open(two.path().join("b.js"))
            .unwrap()
            .set_modified(time)
            .unwrap();
        let (one, two) = (
            pack(one.path(), |_| ()).unwrap(),
            pack(two.path(), |_| ()).unwrap(),
        );
        assert_eq!(one.digest, two.digest);
        assert_eq!(one.size, two.size);
        assert_eq!(names(one), ["a/b/c.txt", "a/z.js", "b.js"]);
    }

    #[test]
    fn bits_links_and_empty_folders_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "bin/run", "#!/bin/sh");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path().join("bin/run"), mode).unwrap();
        symlink("../bin/run", folder.path().join("bin/link")).unwrap();
        std::fs::create_dir(folder.path().join("empty")).unwrap();
        let archive = pack(folder.path(), |_| ()).unwrap();
        assert_eq!(archive.entries, 3);
        let mut zip = zip::ZipArchive::new(archive.file).unwrap();
        let mode = |zip: &mut zip::ZipArchive<File>, name: &str| {
            zip.by_name(name).unwrap().unix_mode().unwrap()
        };
        assert_eq!(mode(&mut zip, "bin/run") & 0o777, 0o755);
        assert_eq!(mode(&mut zip, "bin/link") & 0o170_000, 0o120_000);
        let mut target = String::new();
        zip.by_name("bin/link")
            .unwrap()
            .read_to_string(&mut target)
            .unwrap();
        assert_eq!(target, "../bin/run");
        assert!(zip.by_name("empty/").unwrap().is_dir());
    }

    #[test]
    fn links_out_of_the_folder_are_refused_by_name() {
        for target in ["/etc/passwd", "../x", "a/../../x"] {
            let folder = tempfile::tempdir().unwrap();
            symlink(target, folder.path().join("link")).unwrap();
            let error = pack(folder.path(), |_| ()).unwrap_err().to_string();
            assert!(error.contains("link") && error.contains(target), "{error}");
        }
    }

    #[test]
    fn ignored_files_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "keep.js",
            "a.log",
            "deep/b.log",
            ".git/config",
            "node_modules/x/y.js",
        ] {
            write(folder.path(), name, "x");
        }
        write(folder.path(), ".dockerignore", "*.log\nnode_modules\n");
        let packed = names(pack(folder.path(), |_| ()).unwrap());
        assert_eq!(
            packed,
            ["deep/b.log", "keep.js"],
            "Docker's rules are anchored"
        );
        write(folder.path(), ".rouseignore", "*.log\n");
        let packed = names(pack(folder.path(), |_| ()).unwrap());
        assert_eq!(packed, ["keep.js", "node_modules/x/y.js"], "git's are not");
    }

    #[test]
    fn an_empty_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(pack(folder.path(), |_| ()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_is_packed_is_what_was_there(
            files in proptest::collection::btree_map("[a-z]{1,6}(/[a-z]{7,9}){0,2}", ".{0,64}", 1..8)
        ) {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in &files {
                write(folder.path(), name, text);
            }
            let archive = pack(folder.path(), |_| ()).unwrap();
            let again = pack(folder.path(), |_| ()).unwrap();
            prop_assert_eq!(&archive.digest, &again.digest);
            let mut zip = zip::ZipArchive::new(archive.file).unwrap();
            let mut found = BTreeMap::new();
            for index in 0..zip.len() {
                let mut file = zip.by_index(index).unwrap();
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                found.insert(file.name().unwrap().into_owned(), text);
            }
            prop_assert_eq!(found, files);
        }
    }
}
