//! Queues: kept in the store; here is who waits for their messages.

mod enqueue;
mod moves;
mod sweep;

pub(crate) use enqueue::{enqueue, settled};
pub(crate) use moves::resume;
pub(crate) use sweep::run as sweep;

use crate::{Engine, Result};
use model::{
    Invalid, NewMessage, Queue, QueueAttributes, QueueCounts, QueueName, ReceiptHandle, Timestamp,
};
use state::{Accepted, Changed, Deleted, Receive, Received, crash};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Who waits for messages looks at least this often, should the clock be set.
const LOOK: Duration = Duration::from_secs(5);

/// A bell for each queue that somebody waits for.
#[derive(Default)]
pub(crate) struct Bells {
    bells: Mutex<HashMap<QueueName, Arc<Notify>>>,
}

impl Bells {
    /// Says that `count` messages of a queue became visible: as many of those who wait look.
    pub(crate) fn ring(&self, name: &QueueName, count: usize) {
        let bell = self.lock().get(name).cloned();
        if let Some(bell) = bell {
            for _ in 0..count {
                bell.notify_one();
            }
        }
    }

    /// Listens from now on, so that what is rung between a look and the wait is not missed.
    fn listen(&self, name: &QueueName) -> Listener<'_> {
        let bell = self.lock().entry(name.clone()).or_default().clone();
        Listener {
            bells: self,
            name: name.clone(),
            bell,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<QueueName, Arc<Notify>>> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits.
struct Listener<'a> {
    bells: &'a Bells,
    name: QueueName,
    bell: Arc<Notify>,
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        let mut bells = self.bells.lock();
        // Itself and the table.
        if Arc::strong_count(&self.bell) <= 2 {
            bells.remove(&self.name);
        }
    }
}

impl Engine {
    /// Makes a queue; one that is there is given with `false` and left as it is.
    ///
    /// # Errors
    /// `Invalid`; `Conflict` when its dead-letter queue cannot be used.
    pub async fn create_queue(
        &self,
        name: QueueName,
        attributes: QueueAttributes,
        tags: BTreeMap<String, String>,
    ) -> Result<(Queue, bool)> {
        attributes.check(&name)?;
        let now = Timestamp::now();
        let queue = Queue {
            name,
            created: now,
            modified: now,
            attributes,
            tags,
        };
        Ok(self.corridor.state.create_queue(queue).await?)
    }

    /// One queue.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_queue(&self, name: &QueueName) -> Result<Queue> {
        Ok(self.corridor.state.get_queue(name.clone()).await?)
    }

    /// Up to `limit` queues by name, after `after`, whose names begin with `prefix`.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_queues(
        &self,
        prefix: String,
        after: String,
        limit: u32,
    ) -> Result<Vec<Queue>> {
        Ok(self
            .corridor
            .state
            .list_queues(prefix, after, limit)
            .await?)
    }

    /// Names of queues whose dead-letter queue this is.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn dead_letter_sources(
        &self,
        of: &QueueName,
        after: String,
        limit: u32,
    ) -> Result<Vec<QueueName>> {
        let sources = self
            .corridor
            .state
            .dead_letter_sources(of.clone(), after, limit);
        Ok(sources.await?)
    }

    /// Changes a queue's settings by `change`, which sees those of now.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`; `Conflict` when its dead-letter queue cannot be used.
    pub async fn change_queue(
        &self,
        name: &QueueName,
        change: impl FnOnce(&mut QueueAttributes) -> std::result::Result<(), Invalid> + Send + 'static,
    ) -> Result<Queue> {
        let checked = name.clone();
        let change = move |attributes: &mut QueueAttributes| {
            change(attributes)?;
            attributes.check(&checked)
        };
        let state = &self.corridor.state;
        let changed = state
            .change_queue(name.clone(), Timestamp::now(), change)
            .await?;
        Ok(changed?)
    }

    /// Adds and removes tags.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` past 50 tags.
    pub async fn tag_queue(
        &self,
        name: &QueueName,
        put: BTreeMap<String, String>,
        remove: Vec<String>,
    ) -> Result<()> {
        Ok(self
            .corridor
            .state
            .tag_queue(name.clone(), put, remove)
            .await?)
    }

    /// Removes a queue with all its messages. Who waits for one finds that it is gone.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_queue(&self, name: &QueueName) -> Result<()> {
        self.corridor.state.delete_queue(name.clone()).await?;
        self.corridor.bells.ring(name, usize::from(u16::MAX));
        Ok(())
    }

    /// Removes all messages of a queue.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn purge_queue(&self, name: &QueueName) -> Result<()> {
        Ok(self.corridor.state.purge_queue(name.clone()).await?)
    }

    /// How many messages of a queue are where.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn queue_counts(&self, name: &QueueName) -> Result<QueueCounts> {
        let state = &self.corridor.state;
        Ok(state.queue_counts(name.clone(), Timestamp::now()).await?)
    }

    /// Accepts messages, each by itself; when this answers, those that were are on disk.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn send_messages(
        &self,
        name: &QueueName,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<std::result::Result<Accepted, Invalid>>> {
        let fifo = name.is_fifo();
        let checked: Vec<_> = messages.iter().map(|message| message.check(fifo)).collect();
        let good = messages.into_iter().zip(&checked);
        let good = good.filter(|(_, checked)| checked.is_ok());
        let good: Vec<NewMessage> = good.map(|(message, _)| message).collect();
        let count = good.len();
        let state = &self.corridor.state;
        let mut accepted = state.send_messages(name.clone(), good).await?.into_iter();
        crash::point("messages-accepted");
        self.corridor.bells.ring(name, count);
        let merged = checked.into_iter().filter_map(|checked| match checked {
            Ok(()) => accepted.next(),
            Err(invalid) => Some(Err(invalid)),
        });
        Ok(merged.collect())
    }

    /// Receives messages, and waits for the first one as long as `wait` says, or the queue if it does
    /// not. Gives none when the time is over or the server shuts down.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn receive_messages(
        &self,
        asked: Receive,
        wait: Option<Duration>,
    ) -> Result<Received> {
        let corridor = &self.corridor;
        corridor
            .receive_until(asked, wait, &corridor.draining)
            .await
    }

    /// Deletes messages that were received.
    ///
    /// # Errors
    /// `NotFound` (the queue).
    pub async fn delete_messages(
        &self,
        name: &QueueName,
        handles: Vec<ReceiptHandle>,
    ) -> Result<Vec<Deleted>> {
        let state = &self.corridor.state;
        let deleted = state
            .delete_messages(name.clone(), handles, Timestamp::now())
            .await?;
        if name.is_fifo() {
            // What waited behind them is free.
            self.corridor.bells.ring(name, deleted.len());
        }
        Ok(deleted)
    }

    /// Hides received messages for so many seconds from now instead.
    ///
    /// # Errors
    /// `NotFound` (the queue).
    pub async fn hide_messages(
        &self,
        name: &QueueName,
        handles: Vec<(ReceiptHandle, u32)>,
    ) -> Result<Vec<Changed>> {
        let count = handles.len();
        let state = &self.corridor.state;
        let changed = state
            .hide_messages(name.clone(), handles, Timestamp::now())
            .await?;
        // Those who wait look anew when the next one becomes visible.
        self.corridor.bells.ring(name, count);
        Ok(changed)
    }
}

impl crate::engine::Corridor {
    /// As [`Engine::receive_messages`]; waits no longer than until `stop`.
    pub(crate) async fn receive_until(
        &self,
        asked: Receive,
        wait: Option<Duration>,
        stop: &CancellationToken,
    ) -> Result<Received> {
        let began = Instant::now();
        let listener = self.bells.listen(&asked.queue);
        loop {
            // Nothing is taken for somebody who is told to stop.
            if stop.is_cancelled() {
                return Ok(Received::default());
            }
            let now = Timestamp::now();
            let received = self.state.receive_messages(asked.clone(), now).await?;
            if let Some(buried_in) = &received.buried_in {
                self.bells.ring(buried_in, 1);
            }
            if !received.messages.is_empty() {
                if received.more {
                    listener.bell.notify_one();
                }
                return Ok(received);
            }
            if received.more {
                continue;
            }
            let wait = wait.unwrap_or(Duration::from_secs(received.wait.into()));
            let left = wait.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(received);
            }
            let next = received.next.map_or(LOOK, |next| {
                Duration::from_millis(next.since(now).saturating_add(1))
            });
            tokio::select! {
                () = listener.bell.notified() => {}
                () = tokio::time::sleep(left.min(next).min(LOOK)) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_bell_lives_as_long_as_somebody_listens_and_rings_for_who_listened_before() {
        let bells = Bells::default();
        let name: QueueName = "q".parse().unwrap();
        bells.ring(&name, 1);
        assert!(bells.lock().is_empty());
        let (first, second) = (bells.listen(&name), bells.listen(&name));
        bells.ring(&name, 1);
        first.bell.notified().await;
        drop(first);
        assert_eq!(bells.lock().len(), 1);
        drop(second);
        assert!(bells.lock().is_empty());
    }
}
