//! Blobs that are pulled: taken in as a push would be, gone on with where they broke off.

use super::answer::Answer;
use super::client::Ask;
use super::fault::Fault;
use super::table::Place;
use crate::engine::Corridor;
use crate::{Error, Result};
use http::Method;
use http::header::CONTENT_RANGE;
use model::{ContentDigest, Kind, Timestamp};
use std::time::Duration;
use storage::ChunkWriter;
use tokio::time::{Instant, timeout_at};

/// Largest blob: 10 GiB, what a push may have by default.
const MAX_BLOB: u64 = 10 << 30;
/// How long a blob may take in all.
const MAX_TIME: Duration = Duration::from_secs(2 * 3600);
/// How often a blob that broke off is gone on with, and how long is waited before each time, the first.
const RETRIES: u32 = 4;
const RETRY_WAIT: Duration = Duration::from_millis(500);
impl Corridor {
    /// Brings a blob here, once however many ask.
    pub(super) async fn blob(
        &self,
        place: &Place,
        digest: &ContentDigest,
        report: impl Fn(u64) + Send + Sync,
    ) -> Result<()> {
        let (storage, repository) = (&self.storage, &place.repository);
        let _turn = self.upstreams.turn(repository, digest).await;
        match storage.registry_blob_size(repository, digest).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let now = Timestamp::now();
        let adopted = self
            .state
            .adopt_registry_blob(repository.clone(), digest.clone(), now);
        if adopted.await? {
            return Ok(());
        }
        let _permit = self.upstreams.permit().await;
        let upload = storage.begin_blob_upload(repository).await?;
        let writer = storage
            .begin_chunk(repository, &upload.id, MAX_BLOB)
            .await?;
        let received = match self.receive(place, digest, writer, &report).await {
            Ok(writer) => {
                self.is_still(place, &format!("the blob {digest}"))?;
                let finished = writer.finish(digest.clone()).await;
                finished.map(|_| ()).map_err(|error| match error.kind() {
                    Kind::Invalid => blob_error(place, digest, Fault::wrong(error.to_string())),
                    _ => error.into(),
                })
            }
            Err(error) => Err(error),
        };
        if received.is_err() {
            // One that is over already is as good as cancelled.
            let cancelled = storage.cancel_blob_upload(repository, &upload.id).await;
            if let Err(error) = cancelled
                && error.kind() != Kind::NotFound
            {
                tracing::warn!(%error, "a pull that failed stays until it is collected");
            }
        }
        received
    }

    /// Takes the bytes of a blob in, and goes on where it broke off.
    async fn receive(
        &self,
        place: &Place,
        digest: &ContentDigest,
        mut writer: ChunkWriter,
        report: &(impl Fn(u64) + Send + Sync),
    ) -> Result<ChunkWriter> {
        let deadline = Instant::now() + MAX_TIME;
        let mut broken = 0;
        loop {
            let receiving = go_on(place, digest, &mut writer, report);
            let late = || {
                let seconds = MAX_TIME.as_secs();
                let fault = Fault::wrong(format!("it is not whole after {seconds} s"));
                Err(blob_error(place, digest, fault))
            };
            let fault = match timeout_at(deadline, receiving).await {
                Ok(Ok(())) => return Ok(writer),
                Ok(Err(Stop::Fault(fault))) => fault,
                Ok(Err(Stop::Error(error))) => return Err(error),
                Err(_) => return late(),
            };
            broken += 1;
            if !fault.passing || broken > RETRIES {
                return Err(blob_error(place, digest, fault));
            }
            tracing::warn!(
                upstream = %place.upstream.spec().name, %digest, bytes = writer.size(),
                reason = fault.reason, "a blob broke off; going on with it"
            );
            tokio::time::sleep(RETRY_WAIT * broken).await;
        }
    }
}

/// Why bytes do not come any more.
enum Stop {
    /// Because of the upstream.
    Fault(Fault),
    /// Because of this server.
    Error(Error),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Asks for what the writer does not have yet, and writes it.
async fn go_on(
    place: &Place,
    digest: &ContentDigest,
    writer: &mut ChunkWriter,
    report: &(impl Fn(u64) + Send + Sync),
) -> std::result::Result<(), Stop> {
    let from = writer.size();
    let ask = Ask {
        method: Method::GET,
        repository: &place.remote,
        path: format!("blobs/{digest}"),
        accept: "*/*",
        from,
    };
    let client = place.client().map_err(Stop::Error)?;
    let mut answer = match client.ask(&ask).await {
        // It broke off behind its last byte.
        Err(fault) if fault.kind == Kind::Invalid && from > 0 => return Ok(()),
        answer => answer?,
    };
    let mut skip = skipped(&answer, from)?;
    while let Some(mut chunk) = answer.chunk().await? {
        let over = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
        let _ = chunk.split_to(over);
        skip -= over as u64;
        if chunk.is_empty() {
            continue;
        }
        let written = writer.write(chunk).await;
        written.map_err(|error| match error.kind() {
            Kind::TooLarge => Stop::Fault(Fault::wrong(error.to_string())),
            _ => Stop::Error(error.into()),
        })?;
        report(writer.size());
    }
    Ok(())
}

/// How many bytes of the answer are here already: all before `from`, if it does not begin there.
fn skipped(answer: &Answer, from: u64) -> std::result::Result<u64, Fault> {
    if answer.parts.status != http::StatusCode::PARTIAL_CONTENT {
        return Ok(from);
    }
    let range = answer.header(CONTENT_RANGE).unwrap_or_default();
    let range = range.strip_prefix("bytes ").unwrap_or_default();
    let first = range.split_once('-').map(|(first, _)| first.parse::<u64>());
    match first {
        Some(Ok(first)) if first == from => Ok(0),
        _ => Err(Fault::wrong(
            "it answers another range than it was asked for",
        )),
    }
}

fn blob_error(place: &Place, digest: &ContentDigest, fault: Fault) -> Error {
    place.error(&format!("the blob {digest}"), fault)
}
