//! Bytes that stream in and are never held whole.

use super::error::{Error, Result};
use axum::body::Body;
use futures::StreamExt as _;
use model::Kind;
use storage::BlobWriter;

/// What of an upload past its bound is still taken and thrown away, so that a client that does not
/// read while it writes sees the refusal and not a broken connection.
const SPILL: usize = 16 * 1024 * 1024;

/// Writes the body down. The writer knows the bound.
pub(super) async fn receive(body: Body, writer: &mut BlobWriter) -> Result<()> {
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            Error::invalid(format!("the upload broke off: {error}; send it again"))
        })?;
        if let Err(error) = writer.write(chunk).await {
            if error.kind() == Kind::TooLarge {
                spill(stream).await;
            }
            return Err(error.into());
        }
    }
    Ok(())
}

async fn spill(mut stream: axum::body::BodyDataStream) {
    let mut spilt = 0;
    while spilt < SPILL {
        match stream.next().await {
            Some(Ok(chunk)) => spilt += chunk.len(),
            _ => return,
        }
    }
}
