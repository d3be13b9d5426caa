//! Events that wait for longer than they may, while their target takes none.

use crate::leases::{Leased, due, take};
use crate::row::{all, json, time};
use crate::{Result, State, partitions};
use model::{Delivery, Target, Timestamp};
use rusqlite::params;

/// How many of a target's oldest due events are looked at.
const LOOKED_AT: u32 = 100;

fn oldest_sql(part: i64) -> String {
    format!(
        "SELECT accepted, delivery FROM event_{part} INDEXED BY event_due_{part}
         WHERE target = ?1 AND due IS NOT NULL AND due <= ?2 ORDER BY due, seq LIMIT ?3"
    )
}

/// Whether an event that was accepted then is as old as it may get.
fn is_overdue(accepted: Timestamp, own: Option<u64>, max_age: u64, now: Timestamp) -> bool {
    now.since(accepted) >= own.unwrap_or(max_age)
}

impl State {
    /// Leases those of a target's 100 oldest due events that were accepted `max_age` milliseconds
    /// ago or longer; an event's own bound goes before that.
    ///
    /// # Errors
    /// Of the store.
    pub async fn lease_overdue(
        &self,
        target: &Target,
        max_age: u64,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Leased>> {
        let key = target.key();
        let wanted = key.clone();
        // Looked at first, without a writer's turn and without payloads: mostly there are none.
        let any = self.read("looking for overdue events", move |db| {
            for part in partitions::unsettled(db)? {
                let range = params![wanted, now.0, LOOKED_AT];
                let oldest = all(db, &oldest_sql(part), range, |row| {
                    let delivery = match row.get::<_, Option<String>>("delivery")? {
                        Some(_) => json(row, "delivery")?,
                        None => Delivery::default(),
                    };
                    Ok((time(row, "accepted")?, delivery.max_age))
                })?;
                let mut oldest = oldest.into_iter();
                if oldest.any(|(accepted, own)| is_overdue(accepted, own, max_age, now)) {
                    return Ok(true);
                }
            }
            Ok(false)
        });
        if !any.await? {
            return Ok(Vec::new());
        }
        self.write("leasing overdue events", move |tx| {
            let places = due(tx, &key, LOOKED_AT, now)?;
            take(tx, &key, &places, until, |event| {
                let new = &event.accepted;
                is_overdue(new.accepted, new.delivery.max_age, max_age, now)
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{event, function, store};
    use model::{Delivery, NewEvent};

    #[tokio::test]
    async fn only_what_is_too_old_is_leased_and_an_events_own_bound_counts() {
        let (_folder, state) = store().await;
        let target = function("f");
        let own = |max_age, at| NewEvent {
            delivery: Delivery {
                max_age: Some(max_age),
                ..Delivery::default()
            },
            ..event(&target, at)
        };
        let events = vec![
            event(&target, 100),
            event(&target, 700),
            own(5_000, 100),
            own(10, 900),
        ];
        state.put_events(events.clone()).await.unwrap();
        let lease = || state.lease_overdue(&target, 500, Timestamp(1_000), Timestamp(2_000));
        let leased = lease().await.unwrap();
        let ids: Vec<_> = leased.iter().map(|one| one.event.accepted.id).collect();
        assert_eq!(ids, [events[0].id, events[3].id]);
        assert!(leased.iter().all(|one| one.event.epoch == 1));
        assert!(lease().await.unwrap().is_empty());
    }
}
