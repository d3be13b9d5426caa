//! Which parts of a file are in memory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd as _;

/// The parts of a file that the page cache holds now, in bytes, ascending and apart; whole pages, the
/// last of which may reach past the file's end. It reads nothing and brings nothing in. (preadv2(2) with
/// `RWF_NOWAIT` starts to read ahead; cachestat(2) is not there before Linux 6.5.)
///
/// The kernel tells the truth only to the file's owner and to who may write to it; to others everything
/// is in memory (mincore(2), since Linux 5.2).
///
/// # Errors
/// When the file cannot be mapped.
pub fn resident(file: &File) -> io::Result<Vec<Range<u64>>> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    if length == 0 {
        return Ok(Vec::new());
    }
    let page = rustix::param::page_size();
    let mut pages = vec![0_u8; length.div_ceil(page)];
    // SAFETY: a new mapping at an address that the kernel chooses; nobody reads it, so a file that
    // shrinks meanwhile harms nothing.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is ours and of this length; `pages` has a byte for each of its pages.
    let told = unsafe { libc::mincore(at, length, pages.as_mut_ptr()) };
    let told = if told == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    };
    // SAFETY: the mapping is ours, of this length, and nobody refers to it.
    unsafe { libc::munmap(at, length) };
    told?;
    Ok(runs(&pages, page as u64))
}

/// Where neighbours are in memory, as one range.
fn runs(pages: &[u8], page: u64) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    let mut start = 0;
    for (state, next) in pages.iter().zip(1_u64..) {
        let end = next * page;
        if state & 1 == 1 {
            match runs.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => runs.push(start..end),
            }
        }
        start = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]
    use super::*;
    use rustix::fs::{Advice, fadvise};
    use std::io::Write as _;

    #[test]
    fn neighbours_are_one_range() {
        assert_eq!(runs(&[], 4096), []);
        assert_eq!(runs(&[0, 1, 1, 0, 1], 10), [10..30, 40..50]);
        // Other bits than the lowest are undefined.
        assert_eq!(runs(&[2, 3], 10), [10..20]);
    }

    #[test]
    fn what_was_written_is_in_memory_until_it_is_let_go() {
        // Not on a tmpfs, whose files are nowhere else.
        let mut file = tempfile::tempfile_in("/var/tmp").unwrap();
        let length = 64 * 1024;
        file.write_all(&vec![7; length]).unwrap();
        file.sync_all().unwrap();
        assert_eq!(resident(&file).unwrap(), [0..length as u64]);
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        assert_eq!(resident(&file).unwrap(), []);
        assert_eq!(resident(&tempfile::tempfile().unwrap()).unwrap(), []);
    }
}
