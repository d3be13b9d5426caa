//! Reading archives: plain, gzip or zstd, with bounds on what their headers may take and on what comes
//! out of how little.

use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::rc::Rc;

/// Bytes that the headers of one entry may take, long names and extensions included.
const MAX_HEADERS: u64 = 1 << 20;
/// Bytes that any archive may inflate to, however small it is: 1 GiB.
const FREE: u64 = 1 << 30;
/// Beyond that, how many times as large as itself. Software compresses 2- to 20-fold; a bomb 1,000-fold
/// with gzip, and without end with zstd.
const MAX_RATIO: u64 = 100;

/// The bytes of a file, inflated if they begin as gzip (RFC 1952) or zstd (RFC 8878): at most 1 GiB, or
/// 100 times the file's size if that is more.
pub(crate) fn open(mut file: File, allowance: Allowance) -> io::Result<Metered<Box<dyn Read>>> {
    let size = file.metadata()?.len();
    let mut magic = Vec::new();
    (&mut file).take(4).read_to_end(&mut magic)?;
    file.rewind()?;
    let buffered = BufReader::with_capacity(128 * 1024, file);
    let inflated: Box<dyn Read> = match magic.as_slice() {
        [0x1F, 0x8B, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
        [0x28, 0xB5, 0x2F, 0xFD] => Box::new(zstd::stream::read::Decoder::with_buffer(buffered)?),
        _ => Box::new(buffered),
    };
    let most = size.saturating_mul(MAX_RATIO).max(FREE);
    Ok(Metered::new(inflated, allowance, most))
}

/// How many bytes may still be read. Shared between a reader deep in an archive and who reads it.
#[derive(Clone, Default)]
pub(crate) struct Allowance {
    left: Rc<Cell<u64>>,
}

impl Allowance {
    /// Enough for the headers of one entry.
    pub(crate) fn for_headers(&self) {
        self.left.set(MAX_HEADERS);
    }

    /// Without end: who reads counts.
    pub(crate) fn for_content(&self) {
        self.left.set(u64::MAX);
    }
}

/// A reader that takes the digest of what goes through it, and keeps to an allowance.
pub(crate) struct Metered<R> {
    inner: R,
    digest: Sha256,
    allowance: Allowance,
    /// Bytes that may still come out.
    most: u64,
}

impl<R: Read> Metered<R> {
    fn new(inner: R, allowance: Allowance, most: u64) -> Self {
        Self {
            inner,
            digest: Sha256::new(),
            allowance,
            most,
        }
    }

    /// Reads to the end, at most `limit` bytes more, and gives the hex SHA-256 of all.
    pub(crate) fn finish(mut self, limit: u64) -> io::Result<String> {
        self.allowance.for_content();
        let rest = io::copy(&mut (&mut self).take(limit), &mut io::sink())?;
        if rest == limit {
            return Err(io::Error::other("too much follows the archive's end"));
        }
        Ok(hex::encode(self.digest.finalize()))
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.allowance.left.get();
        if left == 0 {
            return Err(io::Error::other(
                "the headers of one entry are larger than 1 MiB",
            ));
        }
        let room = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let length = self.inner.read(&mut into[..room])?;
        self.allowance.left.set(left - length as u64);
        self.most = self.most.checked_sub(length as u64).ok_or_else(|| {
            io::Error::other(format!(
                "the archive inflates to more than 1 GiB and {MAX_RATIO} times its size"
            ))
        })?;
        self.digest.update(&into[..length]);
        Ok(length)
    }
}

/// Hex SHA-256 of a whole file.
pub(crate) fn digest_of(mut file: File) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(hex::encode(digest.finalize()));
        }
        digest.update(&buffer[..length]);
    }
}
