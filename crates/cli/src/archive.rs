//! Folders as zip archives that are the same for the same content: sorted, without times, with two
//! modes.

pub(crate) mod tree;

use crate::error::{Error, Result};
use model::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{BufWriter, Read, Seek};
use std::path::Path;
use tree::{Entry, Sort};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

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
pub(crate) fn pack(folder: &Path, mut tick: impl FnMut(&str)) -> Result<Archive> {
    let file = tempfile::tempfile().map_err(Error::io("making a temporary file"))?;
    let mut zip = ZipWriter::new(BufWriter::new(file));
    let found = tree::entries(folder)?;
    let entries = found.len();
    for entry in &found {
        tick(&entry.name);
        add(&mut zip, entry)?;
    }
    let doing = || Error::io(format!("archiving {}", folder.display()));
    let writer = zip.finish().map_err(|error| doing()(error.into()))?;
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

/// The SHA-256 of a file in hex digits, and its size; the file is at its beginning again.
pub(crate) fn digest(mut file: File) -> std::io::Result<(File, String, u64)> {
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

/// Puts one entry into the zip.
fn add(zip: &mut ZipWriter<BufWriter<File>>, entry: &Entry) -> Result<()> {
    let path = &entry.path;
    match &entry.sort {
        Sort::EmptyFolder => {
            let added = zip.add_directory(entry.name.as_str(), options(0o755));
            added.map_err(|error| at(path, error))
        }
        Sort::Link { target } => {
            let added = zip.add_symlink(entry.name.as_str(), target.as_str(), options(0o777));
            added.map_err(|error| at(path, error))
        }
        Sort::File {
            is_executable,
            size,
        } => {
            let doing = || Error::io(format!("reading {}", path.display()));
            let mut file = File::open(path).map_err(doing())?;
            let options = options(if *is_executable { 0o755 } else { 0o644 })
                .large_file(*size >= u64::from(u32::MAX));
            let started = zip.start_file(entry.name.as_str(), options);
            started.map_err(|error| at(path, error))?;
            std::io::copy(&mut file, zip).map_err(doing())?;
            Ok(())
        }
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

#[cfg(test)]
mod tests;
