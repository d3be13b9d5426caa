//! The archive around an image: a tar, plain or compressed, laid out as a folder.

use crate::entry_path::{Dialect, EntryPath, shown};
use crate::entry_size;
use crate::inflate::{self, Allowance};
use crate::tree::{self, Links, Tree};
use crate::{Error, Result};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Most entries: blobs, and four files for each layer that an old `docker save` wrote.
const MAX_ENTRIES: usize = 10_000;
/// Most bytes of memory for the links of one archive, which are kept to its end: 16 MiB.
const MAX_LINKS: usize = 16 << 20;

/// Lays the archive out in an empty folder; at most `limit` bytes of it.
pub(crate) fn lay_out(archive: File, into: &Path, mut limit: u64) -> Result<()> {
    let whole = |error| unpack_error(None, error);
    let tree =
        Tree::open(into, Links::Refused).map_err(|error| Error::io("unpacking to", into, error))?;
    let allowance = Allowance::default();
    let metered = inflate::open(archive, allowance.clone()).map_err(whole)?;
    let mut archive = tar::Archive::new(metered);
    let mut links = Held::default();
    let mut count = 0;
    allowance.for_headers();
    let entries = archive.entries().map_err(whole)?;
    for entry in entries {
        let mut entry = entry.map_err(whole)?;
        allowance.for_content();
        count += 1;
        if count > MAX_ENTRIES {
            let reason = format!("the image's archive has more than {MAX_ENTRIES} entries");
            return Err(Error::Archive(reason));
        }
        let unpacked = unpack(&tree, &mut entry, &mut limit, &mut links);
        unpacked.map_err(|error| unpack_error(Some(&entry.path_bytes()), error))?;
        allowance.for_headers();
    }
    for (path, target) in links.links {
        if let Some((parent, name)) = path.split() {
            tree.make_folders(&parent)
                .and_then(|folder| tree::make_link(folder, name, &target))
                .map_err(|error| unpack_error(Some(&path.bytes()), error))?;
        }
    }
    Ok(())
}

/// Links, which are made last, so that no entry can go through one.
#[derive(Default)]
struct Held {
    links: Vec<(EntryPath, Vec<u8>)>,
    /// About how many bytes of memory they take.
    memory: usize,
}

impl Held {
    fn push(&mut self, path: EntryPath, target: Vec<u8>) -> io::Result<()> {
        self.memory += path.memory() + target.len();
        if self.memory > MAX_LINKS {
            return Err(io::Error::other("the links are more than is allowed"));
        }
        self.links.push((path, target));
        Ok(())
    }
}

fn unpack<R: Read>(
    tree: &Tree,
    entry: &mut tar::Entry<'_, R>,
    limit: &mut u64,
    links: &mut Held,
) -> io::Result<()> {
    entry_size::check(entry)?;
    let path = entry.path_bytes().into_owned();
    let path = EntryPath::parse(&path, Dialect::Zip).map_err(io::Error::other)?;
    let kind = entry.header().entry_type();
    match path.split() {
        _ if kind.is_pax_global_extensions() => {}
        None if kind.is_dir() => {}
        None => return Err(io::Error::other("has no name")),
        Some(_) if kind.is_dir() => drop(tree.make_folders(&path)?),
        Some((parent, name)) if kind.is_file() => {
            let folder = tree.make_folders(&parent)?;
            tree::make_file(&folder, name, entry, 0o600, None, limit)?;
        }
        // An old `docker save` writes equal layers once, and links to them.
        Some(_) if kind.is_symlink() => {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            path.check_link(&target).map_err(io::Error::other)?;
            links.push(path, target)?;
        }
        Some(_) => {
            return Err(io::Error::other(
                "is neither file, folder nor symbolic link",
            ));
        }
    }
    let passed = io::copy(&mut entry.take(*limit), &mut io::sink())?;
    *limit -= passed;
    Ok(())
}

fn unpack_error(entry: Option<&[u8]>, error: io::Error) -> Error {
    let place = entry.map_or_else(
        || "the image's archive".to_owned(),
        |entry| format!("the image's archive, entry \"{}\"", shown(entry)),
    );
    Error::of_entry(place, error)
}
