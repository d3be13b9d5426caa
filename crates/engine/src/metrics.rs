//! How many events and messages are where, for who watches. Nothing is counted for it: the cost is some
//! seeks for each target and each queue.

use crate::{Engine, Result};
use model::{QueueCounts, QueueName, Timestamp};
use state::{EventCounts, EventTotals, QueueTotals};
use std::collections::BTreeMap;

/// Queues that are read at a time.
const PAGE: u32 = 1_000;

/// The events of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventMetrics {
    /// How many are where.
    pub counts: EventCounts,
    /// What happened since the server was started.
    pub totals: EventTotals,
    /// When the oldest was accepted that waits.
    pub oldest: Option<Timestamp>,
}

/// The messages of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueMetrics {
    /// How many are where.
    pub counts: QueueCounts,
    /// What happened since the server was started.
    pub totals: QueueTotals,
    /// When the oldest was sent.
    pub oldest: Option<Timestamp>,
}

impl Engine {
    /// The events of each target key that has or had some.
    ///
    /// # Errors
    /// Of the store.
    pub async fn event_metrics(&self) -> Result<BTreeMap<String, EventMetrics>> {
        let store = &self.corridor.state;
        let mut metrics: BTreeMap<String, EventMetrics> = BTreeMap::new();
        for (target, counts) in store.count_events().await? {
            metrics.entry(target).or_default().counts = counts;
        }
        for (target, totals) in store.event_totals() {
            metrics.entry(target).or_default().totals = totals;
        }
        for (target, oldest) in store.oldest_waiting().await? {
            metrics.entry(target).or_default().oldest = Some(oldest);
        }
        Ok(metrics)
    }

    /// The messages of the first `most` queues by name, and whether there are more.
    ///
    /// # Errors
    /// Of the store.
    pub async fn queue_metrics(
        &self,
        most: usize,
    ) -> Result<(BTreeMap<QueueName, QueueMetrics>, bool)> {
        let store = &self.corridor.state;
        let mut metrics = BTreeMap::new();
        let mut after = String::new();
        loop {
            let page = self.list_queues(String::new(), after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok((metrics, false));
            };
            after = last.name.to_string();
            for queue in page {
                if metrics.len() == most {
                    return Ok((metrics, true));
                }
                let counts = self.queue_counts(&queue.name).await;
                let oldest = store.oldest_message(queue.name.clone()).await;
                let (counts, oldest) = match (counts, oldest) {
                    (Ok(counts), Ok(oldest)) => (counts, oldest),
                    // It was deleted meanwhile.
                    (Err(error), _) if error.kind() == model::Kind::NotFound => continue,
                    (_, Err(error)) if error.kind() == model::Kind::NotFound => continue,
                    (Err(error), _) => return Err(error),
                    (_, Err(error)) => return Err(error.into()),
                };
                let totals = store.queue_totals(&queue.name);
                let one = QueueMetrics {
                    counts,
                    totals,
                    oldest,
                };
                metrics.insert(queue.name, one);
            }
        }
    }
}
