//! `images` and `images/REFERENCE`: imported, listed, resolved, removed.

use super::error::{Error, Result};
use super::owner::Owner;
use super::query::Query;
use super::upload;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::Stream;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use model::{ImageRecord, Kind};
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use storage::ImportProgress;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Longest reference, in bytes.
const MAX_REFERENCE: usize = 255;

/// The query of an import.
#[derive(Debug, Deserialize)]
pub(super) struct Naming {
    /// Names the image; without it the archive's own name is taken.
    reference: Option<String>,
}

/// `POST`: the body is a tar (OCI layout or `docker save`), `max_upload` bytes at most. When it is
/// here the answer begins: lines of JSON that say how far the import is
/// (`{"progress":{"layer":1,"layers":3,"bytes":4096}}`), then one with `image` or `error`. The import
/// goes on if the client goes away.
pub(super) async fn create(
    _: Owner,
    State(doors): State<Doors>,
    Query(naming): Query<Naming>,
    body: Body,
) -> Result<Response> {
    if let Some(reference) = &naming.reference {
        check_reference(reference)?;
    }
    let storage = doors.engine.storage().clone();
    let mut archive = storage.begin_archive(doors.options.max_upload).await?;
    upload::receive(body, &mut archive).await?;
    // Only the newest progress matters: a client that reads slowly misses some of it.
    let (sender, receiver) = watch::channel(None);
    let import = tokio::spawn(async move {
        let report = move |progress| drop(sender.send(Some(progress)));
        let reference = naming.reference.as_deref();
        storage.import_archive(archive, reference, report).await
    });
    let lines = Body::from_stream(progress(receiver, import));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
}

/// The query of a pull.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    reference: String,
}

/// `POST pulls`: brings here what an image lacks, if its name is an upstream's, and makes it ready to run. Answers
/// as an import does, and goes on like it if the client goes away.
pub(super) async fn pull(
    _: Owner,
    State(doors): State<Doors>,
    Query(Named { reference }): Query<Named>,
) -> Result<Response> {
    check_reference(&reference)?;
    let (sender, receiver) = watch::channel(None);
    let engine = doors.engine.clone();
    let pull = tokio::spawn(async move {
        let report = move |progress| drop(sender.send(Some(progress)));
        engine.ready_image(&reference, report).await
    });
    let lines = Body::from_stream(progress(receiver, pull));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
}

/// Work that ends with an image.
type Import<E> = JoinHandle<std::result::Result<ImageRecord, E>>;

/// Lines of progress until the sender is gone, then the end.
fn progress<E: Send + 'static>(
    receiver: watch::Receiver<Option<ImportProgress>>,
    import: Import<E>,
) -> impl Stream<Item = std::result::Result<Bytes, Infallible>>
where
    Error: From<E>,
{
    futures::stream::unfold(Some((receiver, import)), |state| async move {
        let (mut receiver, import) = state?;
        if receiver.changed().await.is_ok() {
            let now = receiver.borrow_and_update().clone();
            let line = now.map_or_else(String::new, |now| {
                let shown = json!({
                    "layer": now.layer, "layers": now.layers, "bytes": now.bytes,
                });
                format!("{}\n", json!({"progress": shown}))
            });
            return Some((Ok(Bytes::from(line)), Some((receiver, import))));
        }
        let line = format!("{}\n", end_of(import.await));
        Some((Ok(Bytes::from(line)), None))
    })
}

fn end_of<E>(
    result: std::result::Result<std::result::Result<ImageRecord, E>, tokio::task::JoinError>,
) -> Value
where
    Error: From<E>,
{
    match result {
        Ok(Ok(image)) => json!({"image": image}),
        Ok(Err(error)) => Error::from(error).json(),
        Err(error) => {
            tracing::error!(%error, "an import ended badly");
            Error::new(
                Kind::Internal,
                "the import ended badly; the server's log says how",
            )
            .json()
        }
    }
}

/// `GET`: all of them.
pub(super) async fn list(_: Owner, State(doors): State<Doors>) -> Result<Json<Vec<ImageRecord>>> {
    Ok(Json(doors.engine.storage().list_images().await?))
}

/// `GET images/REFERENCE`: what a name means now, in the registry before what was imported, and in an upstream if it
/// is one's.
pub(super) async fn resolve(
    _: Owner,
    State(doors): State<Doors>,
    Path(reference): Path<String>,
) -> Result<Json<Value>> {
    check_reference(&reference)?;
    let (digest, pulled) = doors.engine.resolve_image(&reference).await?;
    Ok(Json(
        json!({"reference": reference, "digest": digest, "pulled": pulled}),
    ))
}

/// `DELETE images/REFERENCE`: the name goes; the files too, if no other name means them. The last name
/// of an image that a function or service runs on is refused.
pub(super) async fn delete(
    _: Owner,
    State(doors): State<Doors>,
    Path(reference): Path<String>,
) -> Result<StatusCode> {
    check_reference(&reference)?;
    let engine = doors.engine.clone();
    whole(async move { engine.delete_image(&reference).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_reference(text: &str) -> Result<()> {
    if text.is_empty() || text.len() > MAX_REFERENCE || text.chars().any(char::is_control) {
        let reason = format!("a reference must be 1 to {MAX_REFERENCE} printable characters");
        return Err(Error::invalid(reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::StreamExt as _;

    #[tokio::test]
    async fn progress_is_followed_by_one_end() {
        let (sender, receiver) = watch::channel(None);
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let import = tokio::spawn(async move {
            wait.await.unwrap();
            let now = ImportProgress {
                layer: 1,
                layers: 2,
                bytes: 7,
            };
            sender.send(Some(now)).unwrap();
            drop(sender);
            Err(storage::Error::Archive("layer 2: a/../b leads out".into()))
        });
        go.send(()).unwrap();
        let lines: Vec<_> = progress(receiver, import)
            .map(|line| serde_json::from_slice::<Value>(&line.unwrap()).unwrap())
            .collect()
            .await;
        let end = lines.last().unwrap();
        assert_eq!(end["error"]["kind"], "invalid");
        assert_eq!(end["error"]["message"], "layer 2: a/../b leads out");
        for line in &lines[..lines.len() - 1] {
            assert_eq!(line["progress"]["layers"], 2);
        }
    }

    #[test]
    fn a_reference_is_bounded() {
        assert!(check_reference("shop/thumb:1").is_ok());
        for bad in ["", "a\nb", &"x".repeat(256)] {
            assert!(check_reference(bad).is_err(), "{bad:?}");
        }
    }
}
