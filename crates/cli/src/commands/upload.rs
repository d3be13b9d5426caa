//! Bodies that are read from a file while they are sent.

use crate::archive::Archive;
use crate::client::Client;
use crate::commands::progress::byte_bar;
use crate::error::{Error, Result};
use indicatif::ProgressBar;
use model::Kind;
use reqwest::{Body, Method};
use tokio::io::AsyncRead;
use tokio_util::io::{InspectReader, ReaderStream};

/// A body that moves a bar as it is sent.
pub(crate) fn body(reader: impl AsyncRead + Send + 'static, bar: ProgressBar) -> Body {
    let reader = InspectReader::new(reader, move |bytes| bar.inc(bytes.len() as u64));
    Body::wrap_stream(ReaderStream::with_capacity(reader, 64 * 1024))
}

/// Uploads an archive, if the server does not have it. Says whether it did.
pub(crate) async fn upload(client: &Client, name: &str, archive: Archive) -> Result<bool> {
    let path = format!("blobs/{}", archive.digest);
    match client.send(client.request(Method::HEAD, &path)).await {
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == Kind::NotFound => {}
        Err(error) => return Err(error),
    }
    let bar = byte_bar(format!("uploading {name}"), archive.size);
    let file = tokio::fs::File::from_std(archive.file);
    let request = client
        .request(Method::PUT, &path)
        .header("content-type", "application/zip")
        .header("content-length", archive.size)
        .body(body(file, bar.clone()));
    let result = client.send(request).await;
    bar.finish_and_clear();
    result.map(|_| true).map_err(|error| match error {
        Error::Refused { kind, message } => Error::Refused {
            kind,
            message: format!("uploading {name}: {message}"),
        },
        other => other,
    })
}
