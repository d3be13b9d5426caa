//! Applying one layer of an image: a tar of changes (OCI image spec, "Image Layer Filesystem
//! Changeset", <https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md>).
//!
//! Whiteouts hide only what lower layers brought, in whatever order they stand. Links in the middle
//! of a path mean what they mean to a process whose root is the image. Owners and extended
//! attributes are not kept; files stay readable and executable for everyone, since the sandbox's
//! user is not who the image's author had in mind.

use crate::entry_path::{Dialect, EntryPath, MAX_PATH, shown};
use crate::entry_size;
use crate::inflate::{self, Allowance};
use crate::tree::{self, Tree};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes that may follow the end of a layer's archive.
const MAX_TRAILER: u64 = 64 << 20;
/// What begins the name of a whiteout.
const WHITEOUT: &[u8] = b".wh.";
/// The whiteout of all that lower layers have in a folder.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What begins the name of an entry that only the tool that wrote it understands.
const PRIVATE: &[u8] = b".wh..wh.";

/// What may still be unpacked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// Why a layer was refused: at which entry, if at one.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) entry: Option<String>,
    pub(crate) error: io::Error,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self { entry: None, error }
    }
}

fn refuse(rule: impl Into<String>) -> io::Error {
    io::Error::other(rule.into())
}

/// Applies a layer to the tree, and gives the hex SHA-256 of the inflated archive (its diff id).
pub(crate) fn apply(
    tree: &Tree,
    layer: File,
    budget: &mut Budget,
    mut progress: impl FnMut(&Budget),
) -> Result<String, Refusal> {
    let allowance = Allowance::default();
    let mut archive = tar::Archive::new(inflate::open(layer, allowance.clone())?);
    let mut changes = Changes {
        tree,
        budget,
        made: HashSet::new(),
        hasher: RandomState::new(),
    };
    allowance.for_headers();
    let entries = archive.entries()?;
    for entry in entries {
        let mut entry = entry?;
        allowance.for_content();
        if let Err(error) = changes.entry(&mut entry) {
            let entry = Some(shown(&entry.path_bytes()));
            return Err(Refusal { entry, error });
        }
        progress(changes.budget);
        allowance.for_headers();
    }
    Ok(archive.into_inner().finish(MAX_TRAILER)?)
}

/// The changes of one layer.
struct Changes<'a> {
    tree: &'a Tree,
    budget: &'a mut Budget,
    /// What this layer made: the folder's inode and a hash of the name. A folder has one name, so
    /// this stays true whatever links lead to it.
    made: HashSet<(u64, u64)>,
    hasher: RandomState,
}

impl Changes<'_> {
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
        self.budget.entries = self
            .budget
            .entries
            .checked_sub(1)
            .ok_or_else(|| refuse("the image has more entries than are allowed"))?;
        entry_size::check(entry)?;
        let path = entry.path_bytes().into_owned();
        let path = EntryPath::parse(&path, Dialect::Layer).map_err(refuse)?;
        let kind = entry.header().entry_type();
        match path.split() {
            // The root is there already, as what it must be.
            None => {}
            Some(_) if kind.is_pax_global_extensions() => {}
            Some((parent, name)) if name.starts_with(WHITEOUT) => self.hide(&parent, name)?,
            Some((parent, name)) => self.change(entry, &parent, name)?,
        }
        // What an entry holds beyond what was wanted of it still has to be inflated to be passed.
        let passed = io::copy(&mut entry.take(self.budget.bytes), &mut io::sink())?;
        self.budget.bytes -= passed;
        Ok(())
    }

    fn hide(&mut self, parent: &EntryPath, name: &[u8]) -> io::Result<()> {
        let folder = match self.tree.folder(parent) {
            // Nothing to hide.
            Err(error)
                if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) =>
            {
                return Ok(());
            }
            folder => folder?,
        };
        if name == OPAQUE {
            let folder = tree::listed(&folder, b".")?;
            let inode = inode(&folder)?;
            return tree::each_name(folder, |folder, name| self.hide_lower(folder, inode, name));
        }
        match &name[WHITEOUT.len()..] {
            _ if name.starts_with(PRIVATE) => Ok(()),
            b"" | b"." | b".." => Err(refuse("the whiteout names nothing")),
            hidden => {
                let inode = inode(&folder)?;
                self.hide_lower(folder.as_fd(), inode, hidden)
            }
        }
    }

    /// Deletes what stands under a name, except what this layer made.
    fn hide_lower(&self, folder: BorrowedFd<'_>, inode: u64, name: &[u8]) -> io::Result<()> {
        let keep = self.made.contains(&self.mark(inode, name));
        match tree::kind(folder, name)? {
            Some(FileType::Directory) => {
                let inner = tree::listed(folder, name)?;
                let inner_inode = self::inode(&inner)?;
                tree::each_name(inner, |inner, name| {
                    self.hide_lower(inner, inner_inode, name)
                })?;
                if keep {
                    return Ok(());
                }
                match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
                    Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
                    removed => Ok(removed?),
                }
            }
            Some(_) if !keep => tree::remove(folder, name),
            _ => Ok(()),
        }
    }

    fn mark(&self, folder: u64, name: &[u8]) -> (u64, u64) {
        (folder, self.hasher.hash_one(name))
    }

    fn change<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        parent: &EntryPath,
        name: &[u8],
    ) -> io::Result<()> {
        let kind = entry.header().entry_type();
        if kind.is_character_special() || kind.is_block_special() || kind.is_fifo() {
            return Ok(());
        }
        let folder = self.tree.make_folders(parent)?;
        let mode = entry.header().mode().unwrap_or(0);
        if kind.is_dir() {
            if tree::kind(&folder, name)? != Some(FileType::Directory) {
                tree::remove(&folder, name)?;
            }
            tree::make_folder(&folder, name)?;
            // Sticky and open folders such as /var/tmp stay what they are.
            tree::set_mode(&folder, name, 0o755 | mode & 0o1022)?;
        } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            tree::remove(&folder, name)?;
            let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
            let modified = entry.header().mtime().ok();
            tree::make_file(&folder, name, entry, mode, modified, &mut self.budget.bytes)?;
        } else if kind.is_symlink() {
            let target = link_target(entry)?;
            tree::remove(&folder, name)?;
            tree::make_link(&folder, name, &target)?;
        } else if kind.is_hard_link() {
            self.hard_link(&link_target(entry)?, &folder, name)?;
        } else {
            let kind = char::from(kind.as_byte()).escape_debug().to_string();
            return Err(refuse(format!("is of the unknown kind '{kind}'")));
        }
        let mark = self.mark(inode(&folder)?, name);
        self.made.insert(mark);
        Ok(())
    }

    fn hard_link(&self, target: &[u8], folder: &OwnedFd, name: &[u8]) -> io::Result<()> {
        let target = EntryPath::parse(target, Dialect::Layer).map_err(refuse)?;
        let missing = || {
            refuse(format!(
                "is a hard link to \"{target}\", which is not there"
            ))
        };
        let (target_parent, target_name) = target.split().ok_or_else(missing)?;
        let target_folder = match self.tree.folder(&target_parent) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing()),
            folder => folder?,
        };
        match tree::kind(&target_folder, target_name)? {
            None => return Err(missing()),
            Some(FileType::Directory) => return Err(refuse("is a hard link to a folder")),
            Some(_) => {}
        }
        if inode(&target_folder)? == inode(folder)? && target_name == name {
            return Ok(());
        }
        tree::remove(folder, name)?;
        // A link is linked itself, not what it leads to.
        let flags = AtFlags::empty();
        Ok(rustix::fs::linkat(
            &target_folder,
            target_name,
            folder,
            name,
            flags,
        )?)
    }
}

fn link_target<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<Vec<u8>> {
    let target = entry.link_name_bytes().unwrap_or_default().into_owned();
    if target.is_empty() || target.len() >= MAX_PATH || target.contains(&0) {
        return Err(refuse(
            "is a link whose target is not 1 to 4095 bytes without NUL",
        ));
    }
    Ok(target)
}

fn inode(folder: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(folder)?.st_ino)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
