//! Bytes of a file as a stream. The file is opened before the first byte is asked for, so that one
//! that is replaced or deleted meanwhile is still read to its end.

use crate::{Body, ByteRange, Error, Result, blocking};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Bytes read at once.
const CHUNK: u64 = 256 * 1024;

struct Rest {
    file: File,
    at: u64,
    left: u64,
}

/// All of the file or a range of it; `None` if there is no such file.
///
/// # Errors
/// `Invalid` if the range is not within the file.
pub(crate) async fn open(path: PathBuf, range: Option<ByteRange>) -> Result<Option<Body>> {
    let first = blocking::on_disk(move || {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("opening", &path, error)),
        };
        let size = file
            .metadata()
            .map_err(|error| Error::io("looking at", &path, error))?
            .len();
        let (at, left) = range.map_or((0, size), |range| (range.start, range.length));
        if at.checked_add(left).is_none_or(|end| end > size) {
            let reason = format!("the range of {left} bytes from {at} is not within {size} bytes");
            return Err(Error::Invalid(reason));
        }
        let (chunk, rest) =
            next(Rest { file, at, left }).map_err(|error| Error::io("reading", &path, error))?;
        Ok(Some((chunk, rest)))
    })
    .await?;
    let Some((chunk, rest)) = first else {
        return Ok(None);
    };
    let head = stream::iter((!chunk.is_empty()).then_some(Ok(chunk)));
    Ok(Some(head.chain(tail(rest)).boxed()))
}

fn tail(rest: Option<Rest>) -> impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(rest, |rest| async {
        let Some(rest) = rest else { return Ok(None) };
        tokio::task::spawn_blocking(move || next(rest).map(Some))
            .await
            .map_err(io::Error::other)?
    })
}

fn next(rest: Rest) -> io::Result<(Bytes, Option<Rest>)> {
    let Rest { file, at, left } = rest;
    let length = left.min(CHUNK);
    let mut chunk = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut chunk, at)?;
    let rest = (left > length).then_some(Rest {
        file,
        at: at + length,
        left: left - length,
    });
    Ok((Bytes::from(chunk), rest))
}

/// All bytes of a stream, for tests.
#[cfg(test)]
pub(crate) async fn collect(mut body: Body) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(chunk) = body.next().await {
        all.extend_from_slice(&chunk?);
    }
    Ok(all)
}
