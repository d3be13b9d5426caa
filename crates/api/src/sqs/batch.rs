//! Batches: up to ten entries, each of which is done or fails by itself.

use super::error::{Error, Result};
use super::messages::{self, Content, changed, deleted, handle, seconds};
use super::operation::{Call, OfQueue, number};
use model::{MAX_BATCH, MAX_MESSAGE};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Batch<T> {
    #[serde(flatten)]
    queue: OfQueue,
    #[serde(default = "Vec::new")]
    entries: Vec<Entry<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<T> {
    id: String,
    #[serde(flatten)]
    what: T,
}

impl<T> Batch<T> {
    /// Entries are one to ten, with different ids.
    fn check(&self) -> Result<()> {
        if self.entries.is_empty() {
            return Err(Error::empty_batch());
        }
        if self.entries.len() > MAX_BATCH {
            return Err(Error::large_batch(self.entries.len()));
        }
        let mut seen = BTreeSet::new();
        for Entry { id, .. } in &self.entries {
            let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if id.is_empty() || id.len() > 80 || !id.bytes().all(legal) {
                return Err(Error::batch_id(id));
            }
            if !seen.insert(id) {
                return Err(Error::same_batch_ids(id));
            }
        }
        Ok(())
    }
}

/// What became of each entry.
#[derive(Default)]
struct Results {
    successful: Vec<Value>,
    failed: Vec<Value>,
}

impl Results {
    fn put(&mut self, id: String, result: Result<Value>) {
        match result {
            Ok(mut answer) => {
                answer["Id"] = id.into();
                self.successful.push(answer);
            }
            Err(error) => self.failed.push(json!({
                "Id": id,
                "SenderFault": error.is_senders(),
                "Code": error.code(),
                "Message": error.message(),
            })),
        }
    }

    fn answer(self) -> Value {
        let mut answer = json!({"Successful": self.successful});
        if !self.failed.is_empty() {
            answer["Failed"] = self.failed.into();
        }
        answer
    }
}

/// Entries that can be tried, in their order, with their ids; the others have failed in `results`.
fn sift<T, U>(
    entries: Vec<Entry<T>>,
    results: &mut Results,
    take: impl Fn(T) -> Result<U>,
) -> (Vec<String>, Vec<U>) {
    let (mut ids, mut taken) = (Vec::new(), Vec::new());
    for Entry { id, what } in entries {
        match take(what) {
            Ok(good) => {
                ids.push(id);
                taken.push(good);
            }
            Err(error) => results.put(id, Err(error)),
        }
    }
    (ids, taken)
}

pub(super) async fn send(call: &Call, input: Batch<Content>) -> Result<Value> {
    input.check()?;
    let name = input.queue.name()?;
    let fifo = name.is_fifo();
    let mut results = Results::default();
    let (ids, outgoing) = sift(input.entries, &mut results, |content| {
        content.take(call, fifo)
    });
    let size: usize = outgoing
        .iter()
        .map(|outgoing| outgoing.message.size())
        .sum();
    if size > MAX_MESSAGE {
        return Err(Error::long_batch(size));
    }
    let (batch, digests): (Vec<_>, Vec<_>) =
        outgoing.into_iter().map(messages::Outgoing::split).unzip();
    let accepted = call.doors.engine.send_messages(&name, batch).await?;
    for ((id, digests), accepted) in ids.into_iter().zip(digests).zip(accepted) {
        let result = accepted.map_err(|invalid| Error::of_message(&invalid));
        results.put(
            id,
            result.map(|accepted| messages::sent(digests, accepted, fifo)),
        );
    }
    Ok(results.answer())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteEntry {
    receipt_handle: String,
}

pub(super) async fn delete(call: &Call, input: Batch<DeleteEntry>) -> Result<Value> {
    input.check()?;
    let name = input.queue.name()?;
    let mut results = Results::default();
    let (ids, handles) = sift(input.entries, &mut results, |entry| {
        handle(&entry.receipt_handle)
    });
    let done = call.doors.engine.delete_messages(&name, handles).await?;
    for (id, one) in ids.into_iter().zip(done) {
        results.put(id, deleted(one).map(|()| json!({})));
    }
    Ok(results.answer())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HideEntry {
    receipt_handle: String,
    #[serde(deserialize_with = "number")]
    visibility_timeout: u32,
}

pub(super) async fn hide(call: &Call, input: Batch<HideEntry>) -> Result<Value> {
    input.check()?;
    let name = input.queue.name()?;
    let mut results = Results::default();
    let (ids, hidden) = sift(input.entries, &mut results, |entry| {
        Ok((
            handle(&entry.receipt_handle)?,
            seconds(entry.visibility_timeout)?,
        ))
    });
    let done = call.doors.engine.hide_messages(&name, hidden).await?;
    for (id, one) in ids.into_iter().zip(done) {
        results.put(id, changed(one).map(|()| json!({})));
    }
    Ok(results.answer())
}
