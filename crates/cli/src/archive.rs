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
mod tests;
