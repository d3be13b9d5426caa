//! Messages that were received and are given to nobody.

use super::counts::Delta;
use super::messages::{held, remove};
use super::receive::{bury, dead_letter};
use super::{groups, require};
use crate::counters::Change;
use crate::job::Tx;
use crate::{Result, State, partitions, runs};
use model::{QueueName, ReceiptHandle, Run, Timestamp};

impl State {
    /// Moves received messages to the dead-letter queue, however often they were received, or deletes them when
    /// there is none, and records why, all in one transaction. A handle that is not of the last receive
    /// changes nothing. Gives the dead-letter queue.
    ///
    /// # Errors
    /// `NotFound` (the queue).
    pub async fn refuse_messages(
        &self,
        name: QueueName,
        refused: Vec<(ReceiptHandle, Run)>,
        now: Timestamp,
    ) -> Result<Option<QueueName>> {
        let work = move |tx: &Tx<'_>| {
            let kept = require(tx, &name)?;
            let to = dead_letter(tx, &kept)?.map(|(to, _)| to);
            let part = partitions::newest(tx)?;
            let (mut delta, mut buried, mut deleted) =
                (Delta::default(), Delta::default(), Delta::default());
            for (handle, record) in &refused {
                let Some(place) = held(tx, kept.number, handle)? else {
                    continue;
                };
                match &to {
                    Some(to) => {
                        bury(tx, &kept, to, &place, now, &mut buried)?;
                        delta.remove(place.hidden);
                    }
                    None => remove(tx, &place, &mut deleted)?,
                }
                if let Some(group) = place.group {
                    groups::refresh(tx, group)?;
                }
                runs::insert(tx, part, record)?;
            }
            tx.count(Change::Messages(name, deleted.deleted()));
            delta.apply(tx, kept.number)?;
            deleted.apply(tx, kept.number)?;
            if let Some(to) = &to {
                buried.apply(tx, to.number)?;
            }
            Ok(to.map(|to| to.queue.name))
        };
        self.write("refusing messages", work).await
    }
}
