//! What reads the queue of one mapping, batch by batch.

use super::batch::Batch;
use super::{Place, Progress, filter_of};
use crate::engine::Corridor;
use crate::{Error, Result};
use model::{Mapping, Message, Queue, Timestamp};
use state::{Receive, crash};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bytes of messages after which a batch is full: room is left for what JSON adds.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// How long one receive waits.
const POLL: Duration = Duration::from_secs(20);
/// How long a mapping waits that cannot work now: its function or queue is not there.
const PAUSE: Duration = Duration::from_secs(2);
/// A mapping that has no place looks at least this often.
const LOOK: Duration = Duration::from_millis(500);

/// What reads the queue of one mapping.
pub(super) struct Reader {
    pub(super) corridor: Arc<Corridor>,
    pub(super) mapping: Mapping,
    pub(super) stop: CancellationToken,
    pub(super) progress: Arc<Progress>,
}

impl Reader {
    /// Runs until the mapping is changed or the engine drains.
    pub(super) async fn run(self) {
        while !self.stop.is_cancelled() {
            let wait = match self.turn().await {
                Ok(()) => continue,
                Err(Error::Throttled { .. }) => LOOK,
                Err(error) => {
                    self.progress.say(format!("PROBLEM: {error}"));
                    tracing::debug!(mapping = %self.mapping.id, %error, "a mapping cannot work now");
                    PAUSE
                }
            };
            tokio::select! {
                () = self.corridor.mappings.freed.notified() => {}
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// One batch: taken from the queue and left to a task of its own.
    async fn turn(&self) -> Result<()> {
        let spec = &self.mapping.spec;
        let pool = match &spec.qualifier {
            None => self.corridor.functions.pool(&spec.function)?,
            named => {
                let pool = self.corridor.pool_for(&spec.function, named.as_ref());
                pool.await?
            }
        };
        let filter = filter_of(spec)?;
        let queue = self.corridor.state.get_queue(spec.queue.clone()).await?;
        let places = pool.places();
        let most = spec
            .max_concurrency
            .map_or(places, |most| places.min(most as usize));
        let mappings = &self.corridor.mappings;
        if pool.room() == 0 || !mappings.may(self.mapping.id, most) {
            return Err(Error::Throttled {
                name: spec.function.to_string(),
                waiting: places,
            });
        }
        let visibility = visibility(&queue, pool.function().spec.limits.timeout, spec.window);
        let messages = self.gather(visibility).await?;
        if messages.is_empty() {
            return Ok(());
        }
        crash::point("batch-received");
        mappings.take(self.mapping.id);
        let place = Place {
            corridor: self.corridor.clone(),
            id: self.mapping.id,
        };
        let batch = Batch {
            corridor: self.corridor.clone(),
            spec: spec.clone(),
            filter,
            visibility: queue.attributes.visibility,
            received: Timestamp::now(),
            messages,
        };
        let progress = self.progress.clone();
        self.corridor.attempts.spawn(async move {
            progress.say(batch.carry_out().await);
            drop(place);
        });
        Ok(())
    }

    /// Messages of one batch. None when there are none within the time of one poll.
    async fn gather(&self, visibility: u32) -> Result<Vec<Message>> {
        let spec = &self.mapping.spec;
        let mut messages: Vec<Message> = Vec::new();
        let (mut wait, mut bytes) = (POLL, MAX_BYTES);
        let mut until = None;
        loop {
            let asked = Receive {
                queue: spec.queue.clone(),
                limit: spec.batch as usize - messages.len(),
                bytes,
                visibility: Some(visibility),
            };
            let received = self
                .corridor
                .receive_until(asked, Some(wait), &self.stop)
                .await;
            let received = match received {
                Ok(received) => received.messages,
                // What was taken before is worked on; the next turn finds out what is wrong.
                Err(_) if !messages.is_empty() => return Ok(messages),
                Err(error) => return Err(error),
            };
            let got = received.iter().map(|message| message.sent.size());
            bytes = bytes.saturating_sub(got.sum());
            messages.extend(received);
            let window = Duration::from_secs(spec.window.into());
            let end = *until.get_or_insert_with(|| Instant::now() + window);
            wait = end.saturating_duration_since(Instant::now());
            let full = messages.len() >= spec.batch as usize || bytes == 0;
            if messages.is_empty() || full || wait.is_zero() || self.stop.is_cancelled() {
                return Ok(messages);
            }
        }
    }
}

/// Seconds that a batch is hidden: AWS advises six times the function's timeout and the window, and
/// the queue may say more.
fn visibility(queue: &Queue, timeout: u64, window: u32) -> u32 {
    let six = u32::try_from((timeout * 6).div_ceil(1000)).unwrap_or(u32::MAX);
    six.saturating_add(window)
        .max(queue.attributes.visibility)
        .min(43_200)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_batch_is_hidden_for_six_timeouts_or_as_the_queue_says() {
        let queue = Queue {
            name: "q".parse().unwrap(),
            created: Timestamp(0),
            modified: Timestamp(0),
            attributes: model::QueueAttributes::default(),
            tags: BTreeMap::new(),
        };
        assert_eq!(visibility(&queue, 3_000, 0), 30);
        assert_eq!(visibility(&queue, 10_001, 5), 66);
        assert_eq!(visibility(&queue, 900_000, 300), 5_700);
    }
}
