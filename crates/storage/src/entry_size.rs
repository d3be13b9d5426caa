//! The size that a tar's entry has, where readers of tars differ: what one takes for an entry's content
//! another would take for the next entry. Such an archive is refused.

use std::io::{self, Read};

/// The bit that says a number is binary, not octal, and the bytes of such a number that are more than 64 bits.
const BINARY: u8 = 0x80;
const BEYOND_64_BITS: std::ops::Range<usize> = 1..4;

/// Largest global header: 1 MiB.
const MAX_GLOBAL: u64 = 1 << 20;

/// Refuses an entry whose header's size is more than 64 bits hold or negative, or whose extended header (pax)
/// has a size that is no number, or two different ones.
/// One for all entries (a global extended header) is refused too, since not every reader knows it.
pub(crate) fn check<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
    let refuse = || Err(io::Error::other("has a size that can be read in two ways"));
    let field = entry.header().as_old().size;
    let binary = field[0] & BINARY != 0;
    if binary && (field[0] != BINARY || field[BEYOND_64_BITS].iter().any(|byte| *byte != 0)) {
        return refuse();
    }
    let size = entry.size();
    // A global header's records are its content, which is read whole below.
    if entry.header().entry_type().is_pax_global_extensions() && size > MAX_GLOBAL {
        return Err(io::Error::other("is a global header of more than 1 MiB"));
    }
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        let is_size = record.key_bytes() == b"size";
        if is_size && record.value().ok().and_then(|text| text.parse().ok()) != Some(size) {
            return refuse();
        }
    }
    Ok(())
}
