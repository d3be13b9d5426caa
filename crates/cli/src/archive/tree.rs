//! What of a folder is sent: its entries, sorted, without what is ignored.

use crate::error::{Error, Result};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::fs::DirEntry;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// Deepest nesting of folders.
const MAX_DEPTH: usize = 64;
/// Most entries of one folder and all below it.
const MAX_ENTRIES: usize = 200_000;

/// A file, a link or an empty folder.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Relative to the top, with slashes.
    pub(crate) name: String,
    /// What it is.
    pub(crate) sort: Sort,
}

/// What an entry is.
#[derive(Debug)]
pub(crate) enum Sort {
    /// A regular file.
    File {
        /// Whether anybody may execute it.
        is_executable: bool,
        /// Bytes, when it was looked at.
        size: u64,
    },
    /// A symbolic link that stays within the folder.
    Link {
        /// As it is written.
        target: String,
    },
    /// A folder without entries.
    EmptyFolder,
}

/// The entries of a folder, depth first and by name. What `.rouseignore` (gitignore's rules) or else
/// `.dockerignore` names is left out, and `.git`.
///
/// # Errors
/// Names the file: one that cannot be read, a link out of the folder, a device or socket; a folder with
/// nothing in it.
pub(crate) fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let mut walk = Walk {
        ignored: ignore_rules(folder)?,
        folder,
        found: Vec::new(),
    };
    walk.folder(folder, 0)?;
    if walk.found.is_empty() {
        return Err(Error::Usage(format!(
            "the folder {} has no files that are not ignored",
            folder.display()
        )));
    }
    Ok(walk.found)
}

struct Walk<'a> {
    ignored: Gitignore,
    folder: &'a Path,
    found: Vec<Entry>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, depth: usize) -> Result<()> {
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
            self.put(folder.to_owned(), Sort::EmptyFolder)?;
        }
        for entry in entries {
            let path = entry.path();
            let sort = entry.file_type().map_err(doing())?;
            if self.is_ignored(&path, sort.is_dir()) {
                continue;
            }
            if sort.is_dir() {
                self.folder(&path, depth + 1)?;
            } else if sort.is_symlink() {
                let target = self.target(&path)?;
                self.put(path, Sort::Link { target })?;
            } else if sort.is_file() {
                let metadata = entry.metadata().map_err(doing())?;
                let is_executable = metadata.permissions().mode() & 0o111 != 0;
                let size = metadata.len();
                let sort = Sort::File {
                    is_executable,
                    size,
                };
                self.put(path, sort)?;
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

    fn put(&mut self, path: PathBuf, sort: Sort) -> Result<()> {
        if self.found.len() == MAX_ENTRIES {
            return Err(Error::Usage(format!(
                "{} has more than {MAX_ENTRIES} files: name what is not needed in .rouseignore",
                self.folder.display()
            )));
        }
        let name = self.name_of(&path)?;
        self.found.push(Entry { path, name, sort });
        Ok(())
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

    fn target(&self, path: &Path) -> Result<String> {
        let name = self.name_of(path)?;
        let target =
            std::fs::read_link(path).map_err(Error::io(format!("reading {}", path.display())))?;
        let within = stays_within(Path::new(&name), &target);
        match target.to_str().filter(|_| within) {
            Some(text) => Ok(text.to_owned()),
            None => Err(Error::Usage(format!(
                "the link {} leads out of its folder, to {}: replace it by a copy, or name it in \
                 .rouseignore",
                path.display(),
                target.display()
            ))),
        }
    }
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
