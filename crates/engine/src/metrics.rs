//! How many events and messages are where, for who watches. Nothing is counted for it: the cost is some
//! seeks for each target and each queue.

use crate::{Engine, Result};
use model::{Kind, QueueCounts, QueueName, Timestamp};
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
                if let Some(one) = self.metrics_of_queue(&queue.name).await? {
                    metrics.insert(queue.name, one);
                }
            }
        }
    }

    /// The messages of one queue; `None` if there is no such queue any more.
    ///
    /// # Errors
    /// Of the store.
    pub async fn metrics_of_queue(&self, name: &QueueName) -> Result<Option<QueueMetrics>> {
        let store = &self.corridor.state;
        let counts = self.queue_counts(name).await;
        let oldest = store.oldest_message(name.clone()).await;
        match (counts, oldest) {
            (Ok(counts), Ok(oldest)) => Ok(Some(QueueMetrics {
                counts,
                totals: store.queue_totals(name),
                oldest,
            })),
            (Err(error), _) if error.kind() == Kind::NotFound => Ok(None),
            (_, Err(error)) if error.kind() == Kind::NotFound => Ok(None),
            (Err(error), _) => Err(error),
            (_, Err(error)) => Err(error.into()),
        }
    }
}
