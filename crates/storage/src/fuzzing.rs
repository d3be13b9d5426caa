//! What a fuzzer calls, and the tests below with a kept corpus: everything that parses what somebody pushed.
//!
//! Each target takes any bytes and panics if what must hold does not: nothing is made outside of the
//! folder that is filled, and nothing in it that an image or code must not have. `fuzz/` has a program for
//! each; `./test fuzz` runs them under libFuzzer.
#![allow(clippy::expect_used)]

use crate::layer::{self, Budget};
use crate::layout::Layout;
use crate::registry::{image, manifest};
use crate::tree::{Links, Tree};
use crate::{archive, code, reference};
use bytes::Bytes;
use model::{Algorithm, ManifestReference, RepositoryName};
use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A target and its name, which is that of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 5] = [
    ("layer", layer),
    ("image", image_archive),
    ("zip", zip),
    ("manifest", pushed_manifest),
    ("reference", name),
];

/// Bytes that one run may unpack to.
const MOST: u64 = 1 << 20;
/// Entries that one layer may have in a run.
const ENTRIES: u64 = 1_000;
/// Where the magic of a tar's header stands, and its checksum (POSIX.1-1988, ustar).
const MAGIC: std::ops::Range<usize> = 257..262;
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// A folder to fill, and beside it what must stay as it is.
struct Place {
    around: tempfile::TempDir,
    into: PathBuf,
}

impl Place {
    fn new() -> Self {
        let around = tempfile::tempdir().expect("a folder");
        let into = around.path().join("into");
        fs::create_dir(&into).expect("a folder to fill");
        fs::write(around.path().join("canary"), "whole").expect("a canary");
        Self { around, into }
    }

    /// Panics unless all that was made is below the folder, and is files, folders and links.
    fn check(&self) {
        let canary = self.around.path().join("canary");
        assert_eq!(fs::read(&canary).expect("the canary"), b"whole");
        assert_eq!(fs::metadata(&canary).expect("the canary").nlink(), 1);
        let beside = fs::read_dir(self.around.path()).expect("the folder around");
        assert_eq!(beside.count(), 2, "something was made beside the folder");
        check_below(&self.into);
    }
}

fn check_below(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder that was filled") {
        let path = entry.expect("an entry").path();
        let found = fs::symlink_metadata(&path).expect("what was made");
        let kind = found.file_type();
        let special = kind.is_fifo() || kind.is_socket() || kind.is_char_device();
        assert!(!special && !kind.is_block_device(), "{path:?} is special");
        let mode = found.permissions().mode();
        assert_eq!(mode & 0o6000, 0, "{path:?} has the mode {mode:o}");
        if kind.is_dir() {
            check_below(&path);
        }
    }
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("writing a file");
    file.rewind().expect("rewinding a file");
    file
}

/// The bytes with the checksums of a tar's headers made right: else hardly a change would get past them.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(512) {
        if &block[MAGIC] == b"ustar" {
            block[CHECKSUM].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    bytes
}

/// A layer, plain or compressed, applied twice over: the second time to what the first one made.
pub fn layer(bytes: &[u8]) {
    let place = Place::new();
    let tree = Tree::open(&place.into, Links::Followed).expect("a tree");
    for bytes in [bytes.to_vec(), repaired(bytes)] {
        apply(&tree, file(&bytes));
        place.check();
    }
}

fn apply(tree: &Tree, layer: File) {
    let mut budget = Budget {
        bytes: MOST,
        entries: ENTRIES,
    };
    let applied = layer::apply(tree, layer, &mut budget, |_| {});
    if let Ok(digest) = applied {
        assert_eq!(digest.len(), 64);
    }
}

/// The archive of an image: laid out, its index, manifest and configuration read, its layers applied.
pub fn image_archive(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), repaired(bytes)] {
        let place = Place::new();
        let laid_out = archive::lay_out(file(&bytes), &place.into, MOST);
        place.check();
        if laid_out.is_ok() {
            unpack(&Layout::open(&place.into).expect("a layout"));
        }
    }
}

fn unpack(layout: &Layout) {
    let Ok(chosen) = layout.choose(None) else {
        return;
    };
    let place = Place::new();
    let tree = Tree::open(&place.into, Links::Followed).expect("a tree");
    for one in &chosen.layers {
        if let Ok(packed) = layout.layer(one) {
            apply(&tree, packed);
        }
    }
    let prepared = crate::rootfs::prepare(&place.into, &chosen.config.working_dir);
    place.check();
    if prepared.is_ok() {
        crate::rootfs::size(&place.into).expect("a root is measured");
    }
}

/// A zip of code.
pub fn zip(bytes: &[u8]) {
    let place = Place::new();
    let tree = Tree::open(&place.into, Links::Refused).expect("a tree");
    // As errors, whatever it is: they are told to who sent it.
    let unpacked = code::lay_out(file(bytes), file(bytes), &tree, MOST);
    place.check();
    assert!(unpacked.is_err() || unpacked.is_ok_and(|bytes| bytes <= MOST));
}

/// A manifest as it is pushed. What stands before the first line's end is its media type.
pub fn pushed_manifest(bytes: &[u8]) {
    let (kind, body) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (&bytes[..0], bytes),
    };
    let kind = std::str::from_utf8(kind)
        .ok()
        .filter(|kind| !kind.is_empty());
    let digest = manifest::digest_of(body, Algorithm::Sha256).expect("a digest");
    let parsed = manifest::parse(
        kind.map(str::to_owned),
        Bytes::copy_from_slice(body),
        digest,
    );
    if let Ok(new) = parsed {
        assert_eq!(new.body, body, "a manifest is kept byte for byte");
        let both = new.references.len() + new.optional.len();
        assert!(both <= 10_000, "{both} are named");
        assert!(!new.row.media_type.contains(['\r', '\n']));
    }
}

/// The name of an image, of a repository, and of what is in one.
pub fn name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(form) = reference::parse(text) {
        let again = reference::parse(&form).expect("one form is a name");
        assert_eq!(again, form, "one form stays what it is");
    }
    if let Some((repository, found)) = image::local(text) {
        assert!(!repository.as_str().contains(".."));
        let again = image::local(&format!("localhost/{repository}@{found}"));
        match found {
            ManifestReference::Digest(_) => assert_eq!(again, Some((repository, found))),
            ManifestReference::Tag(_) => assert_eq!(again, None, "a tag stands behind a colon"),
        }
    }
    if let Ok(repository) = text.parse::<RepositoryName>() {
        assert_eq!(repository.as_str(), text);
    }
}

#[cfg(test)]
mod tests;
