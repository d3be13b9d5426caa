//! Events that wait for longer than they may, while their target takes none.

use crate::leases::{Leased, due, take};
use crate::row::{all, json, time};
use crate::{Result, State, partitions};
use model::{Delivery, Qualifier, Target, Timestamp};
use rusqlite::params;
use std::collections::BTreeMap;

/// How many of a target's oldest due events are looked at.
const LOOKED_AT: u32 = 100;

fn oldest_sql(part: i64) -> String {
    format!(
        "SELECT accepted, delivery FROM event_{part} INDEXED BY event_due_{part}
         WHERE target = ?1 AND due IS NOT NULL AND due <= ?2 ORDER BY due, seq LIMIT ?3"
    )
}

/// How old the events of a target may get, in milliseconds after acceptance; what an event says itself goes before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaxAges {
    /// Of events that say a qualifier, if something holds for it.
    pub qualified: BTreeMap<Qualifier, u64>,
    /// Of all others.
    pub others: u64,
}

impl MaxAges {
    /// Whether an event that was accepted then is as old as it may get.
    fn are_reached(&self, accepted: Timestamp, delivery: &Delivery, now: Timestamp) -> bool {
        let qualified = || self.qualified.get(delivery.qualifier.as_ref()?).copied();
        let max_age = delivery.max_age.or_else(qualified).unwrap_or(self.others);
        now.since(accepted) >= max_age
    }
}

impl State {
    /// Leases those of a target's 100 oldest due events that are as old as they may get.
    ///
    /// # Errors
    /// Of the store.
    pub async fn lease_overdue(
        &self,
        target: &Target,
        ages: MaxAges,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Leased>> {
        let key = target.key();
        let (wanted, looked_for) = (key.clone(), ages.clone());
        // Looked at first, without a writer's turn and without payloads: mostly there are none.
        let any = self.read("looking for overdue events", move |db| {
            for part in partitions::unsettled(db)? {
                let range = params![wanted, now.0, LOOKED_AT];
                let oldest = all(db, &oldest_sql(part), range, |row| {
                    let delivery = match row.get::<_, Option<String>>("delivery")? {
                        Some(_) => json(row, "delivery")?,
                        None => Delivery::default(),
                    };
                    Ok((time(row, "accepted")?, delivery))
                })?;
                let mut oldest = oldest.into_iter();
                if oldest.any(|(accepted, own)| looked_for.are_reached(accepted, &own, now)) {
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
                ages.are_reached(new.accepted, &new.delivery, now)
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
        let said = |qualifier: &str, at| NewEvent {
            delivery: Delivery {
                qualifier: Some(qualifier.parse().unwrap()),
                ..Delivery::default()
            },
            ..event(&target, at)
        };
        let events = vec![
            event(&target, 100),
            event(&target, 700),
            own(5_000, 100),
            own(10, 900),
            said("beta", 100),
            said("beta", 80),
            said("other", 80),
        ];
        state.put_events(events.clone()).await.unwrap();
        let ages = MaxAges {
            qualified: BTreeMap::from([("beta".parse().unwrap(), 910)]),
            others: 500,
        };
        let now = Timestamp(1_000);
        let lease = || state.lease_overdue(&target, ages.clone(), now, Timestamp(2_000));
        let leased = lease().await.unwrap();
        let mut ids: Vec<_> = leased.iter().map(|one| one.event.accepted.id).collect();
        let mut overdue = [0, 3, 5, 6].map(|number: usize| events[number].id);
        ids.sort_unstable();
        overdue.sort_unstable();
        assert_eq!(ids, overdue);
        assert!(leased.iter().all(|one| one.event.epoch == 1));
        assert!(lease().await.unwrap().is_empty());
    }
}
