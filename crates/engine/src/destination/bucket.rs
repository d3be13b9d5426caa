//! Events for buckets: each is one object, under one key however often it is tried.

use crate::Result;
use crate::attempt::{Attempted, Record, micros, record};
use crate::delivery::failed;
use crate::engine::Corridor;
use crate::pool::unavailable;
use bytes::Bytes;
use model::{BucketName, Ending, Event, Kind, Principal, RequestId, Target, Timestamp};
use std::collections::BTreeMap;
use storage::{Precondition, PutObject};
use tokio::time::Instant;

/// Writes the event's payload as an object. One that is there under its key is the event's own.
///
/// # Errors
/// `NotFound` (bucket).
pub(crate) async fn deliver(
    corridor: &Corridor,
    name: &BucketName,
    event: Event,
) -> Result<Attempted> {
    let started = Timestamp::now();
    let began = Instant::now();
    let ending = match put(corridor, name, &event).await {
        Ok(()) => Ending::Succeeded {
            payload: Bytes::new(),
            http: None,
        },
        Err(error) if error.kind() == Kind::NotFound => return Err(error.into()),
        Err(error) if matches!(error.kind(), Kind::Invalid | Kind::TooLarge) => {
            failed("Bucket.Refused", error.to_string())
        }
        Err(error) => Ending::Unavailable {
            reason: error.to_string(),
        },
    };
    let mut outcome = unavailable(String::new());
    outcome.ending = ending;
    outcome.timing.run = micros(began.elapsed());
    let told = Record {
        request_id: RequestId::generate(),
        target: Target::Bucket { name: name.clone() }.key(),
        event: Some(event.accepted.id),
        attempt: event.attempts + 1,
        started,
    };
    let run = record(&outcome, told);
    Ok(Attempted { outcome, run })
}

async fn put(corridor: &Corridor, name: &BucketName, event: &Event) -> storage::Result<()> {
    let accepted = &event.accepted;
    let key = accepted.delivery.object.clone();
    let put = PutObject {
        bucket: name.clone(),
        key: key.unwrap_or_else(|| accepted.id.to_string()),
        headers: BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]),
        metadata: BTreeMap::new(),
        precondition: Precondition::Absent,
        event: "ObjectCreated:Put",
        principal: Principal::Root,
        cause: Some(accepted.id),
    };
    let mut writer = corridor.storage.begin_object().await?;
    writer.write(accepted.payload.clone()).await?;
    match corridor.storage.commit_object(writer, put).await {
        Ok(_) => Ok(()),
        // Written before, by an attempt whose settlement was lost.
        Err(error) if error.kind() == Kind::Conflict => Ok(()),
        Err(error) => Err(error),
    }
}
