//! What a program needs to start, as far as its first bytes tell.

use crate::error::{Error, Result};
use std::io::Read as _;
use std::path::Path;

/// Of a program that has to be looked at, so many bytes tell how it is linked.
const HEAD: u64 = 64 * 1024;

/// What a program needs beside itself: its interpreter.
pub(super) fn needs(path: &Path) -> Result<Option<String>> {
    let doing = || Error::io(format!("reading {}", path.display()));
    let file = std::fs::File::open(path).map_err(doing())?;
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head).map_err(doing())?;
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|b| *b == b'\n').next().unwrap_or_default();
        return Ok(Some(
            String::from_utf8_lossy(line)
                .trim()
                .chars()
                .take(100)
                .collect(),
        ));
    }
    Ok(interpreter(&head))
}

/// The dynamic linker that a 64-bit little-endian ELF file names in its `PT_INTERP` (ELF-64 object file
/// format, "Program header").
fn interpreter(head: &[u8]) -> Option<String> {
    let number = |at: usize, bytes: usize| {
        let slice = head.get(at..at.checked_add(bytes)?)?;
        let number = slice
            .iter()
            .rev()
            .fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
        usize::try_from(number).ok()
    };
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (start, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    for index in 0..count {
        let at = start.checked_add(index.checked_mul(size)?)?;
        if number(at, 4)? == 3 {
            let (from, length) = (number(at + 8, 8)?, number(at + 0x20, 8)?);
            let name = head.get(from..from.checked_add(length)?)?;
            let name = String::from_utf8_lossy(name)
                .trim_end_matches('\0')
                .to_owned();
            return Some(format!("the dynamic linker {name} and its libraries"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_look_at_a_program_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut whole = b"\x7fELF\x02\x01".to_vec();
            whole.extend(bytes);
            drop(interpreter(&whole));
        }
    }
}
