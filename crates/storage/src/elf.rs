//! What a program needs to start: itself, its interpreter and its libraries, as far as that is quickly
//! told from its headers (ELF, <https://refspecs.linuxfoundation.org/elf/elf.pdf>).

use crate::page_cache::open_below;
use crate::warm_list::Warm;
use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;

/// Most files that are followed.
const MAX_FILES: usize = 64;
/// Most bytes of program headers, of the dynamic section, of a name.
const MAX_HEADERS: u64 = 64 * 1024;
const MAX_DYNAMIC: u64 = 64 * 1024;
const MAX_NAME: usize = 1024;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;

/// Where distributions have their libraries.
const FOLDERS: [&str; 8] = [
    "lib64",
    "usr/lib64",
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "lib",
    "usr/lib",
];

/// The first of these programs that is there, and what it needs, each file as a whole.
pub(crate) fn needed(root: &OwnedFd, programs: &[PathBuf]) -> Vec<Warm> {
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    let mut next: VecDeque<Vec<Vec<u8>>> = VecDeque::new();
    let paths = programs
        .iter()
        .map(|path| path.as_os_str().as_bytes().to_vec());
    next.push_back(paths.collect());
    while let Some(candidates) = next.pop_front() {
        let opened = candidates.into_iter().find_map(|path| {
            let file = File::from(open_below(root, &path).ok()?);
            Some((path, file))
        });
        let Some((path, file)) = opened else {
            continue;
        };
        let Ok(found) = file.metadata() else { continue };
        if files.len() == MAX_FILES || !seen.insert(found.ino()) {
            continue;
        }
        let whole = 0..found.len();
        files.extend(Warm::new(path, std::slice::from_ref(&whole)));
        // What is no ELF program, such as a script, needs what cannot be told here.
        for name in names(&file).unwrap_or_default() {
            next.push_back(places(name));
        }
    }
    files
}

/// Where a file of this name may be.
fn places(name: Vec<u8>) -> Vec<Vec<u8>> {
    if name.contains(&b'/') {
        return vec![name];
    }
    let within = |folder: &&str| [folder.as_bytes(), b"/", name.as_slice()].concat();
    FOLDERS.iter().map(within).collect()
}

/// The interpreter and the libraries that a 64-bit little-endian ELF file names.
fn names(file: &File) -> io::Result<Vec<Vec<u8>>> {
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0)?;
    if header.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Ok(Vec::new());
    }
    let offset = long(&header, 32);
    let (size, count) = (word(&header, 54), word(&header, 56));
    let length = u64::from(size) * u64::from(count);
    if size < 56 || length > MAX_HEADERS {
        return Ok(Vec::new());
    }
    let headers = read(file, offset, length)?;
    let mut names = Vec::new();
    let mut loads = Vec::new();
    let mut dynamic = None;
    for header in headers.chunks_exact(usize::from(size)) {
        let (offset, address) = (long(header, 8), long(header, 16));
        let length = long(header, 32);
        match int(header, 0) {
            PT_LOAD => loads.push((address, length, offset)),
            PT_DYNAMIC => dynamic = Some(read(file, offset, length.min(MAX_DYNAMIC))?),
            PT_INTERP => names.push(name(file, offset)?),
            _ => {}
        }
    }
    let dynamic = dynamic.unwrap_or_default();
    let entries = || {
        dynamic
            .chunks_exact(16)
            .map(|entry| (long(entry, 0), long(entry, 8)))
    };
    let strings = entries().find(|(tag, _)| *tag == DT_STRTAB);
    let strings = strings.and_then(|(_, address)| {
        loads.iter().find_map(|(start, length, offset)| {
            let within = address
                .checked_sub(*start)
                .filter(|within| within < length)?;
            offset.checked_add(within)
        })
    });
    if let Some(strings) = strings {
        let libraries = entries().filter(|(tag, _)| *tag == DT_NEEDED);
        for (_, at) in libraries.take(MAX_FILES) {
            names.push(name(file, strings.saturating_add(at))?);
        }
    }
    Ok(names)
}

/// At most so many bytes; fewer at the file's end.
fn read(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..)
        && !rest.is_empty()
    {
        match file.read_at(rest, offset.saturating_add(filled as u64))? {
            0 => break,
            more => filled += more,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// A string that ends with a zero.
fn name(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = read(file, offset, MAX_NAME as u64)?;
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.truncate(end.ok_or(io::ErrorKind::InvalidData)?);
    Ok(bytes)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn int(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn word(bytes: &[u8], at: usize) -> u16 {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn root() -> OwnedFd {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
        rustix::fs::open("/", flags, rustix::fs::Mode::empty()).unwrap()
    }

    #[test]
    fn a_shell_needs_its_interpreter_and_the_c_library() {
        let programs = ["/no/such".into(), "/bin/sh".into()];
        let files = needed(&root(), &programs);
        let paths: Vec<String> = files
            .iter()
            .map(|file| String::from_utf8_lossy(&file.path).into_owned())
            .collect();
        assert_eq!(paths.first().map(String::as_str), Some("/bin/sh"));
        assert!(
            paths.iter().any(|path| path.contains("ld-linux")),
            "{paths:?}"
        );
        assert!(
            paths.iter().any(|path| path.ends_with("/libc.so.6")),
            "{paths:?}"
        );
        assert!(files.iter().all(|file| file.bytes() > 0));
        assert_eq!(needed(&root(), &["/no/such".into()]), []);
        // A script is all that is known of it.
        assert_eq!(needed(&root(), &["/etc/passwd".into()]).len(), 1);
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(
            mut bytes in prop::collection::vec(any::<u8>(), 64..600),
            offset in 0..600_u64,
            kinds in prop::collection::vec(0..5_u32, 4),
        ) {
            bytes.splice(..6, *b"\x7fELF\x02\x01");
            bytes.splice(32..40, offset.to_le_bytes());
            bytes.splice(54..58, [56, 0, 4, 0]);
            for (index, kind) in kinds.iter().enumerate() {
                let at = usize::try_from(offset).unwrap() + 56 * index;
                if at + 4 <= bytes.len() {
                    bytes.splice(at..at + 4, kind.to_le_bytes());
                }
            }
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            if let Ok(names) = names(&file) {
                prop_assert!(names.len() <= MAX_FILES + 4);
            }
        }
    }
}
