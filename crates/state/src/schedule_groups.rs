//! Table `schedule_group`.

use crate::error::{Done, Failure};
use crate::row::{all, first, json, name, run, time, to_json};
use crate::schedule_requests::Once;
use crate::{Result, State};
use model::{ScheduleGroup, ScheduleGroupName, Timestamp};
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;

/// Most groups (AWS's bound).
const MAX_GROUPS: u32 = 500;

fn read(row: &Row<'_>) -> Done<ScheduleGroup> {
    Ok(ScheduleGroup {
        name: name(row, "name")?,
        tags: json(row, "tags")?,
        created: time(row, "created")?,
        modified: time(row, "modified")?,
    })
}

/// The group; `NotFound` if there is none.
pub(crate) fn require(db: &Connection, name: &ScheduleGroupName) -> Done<ScheduleGroup> {
    let sql = "SELECT * FROM schedule_group WHERE name = ?1";
    first(db, sql, [name.as_str()], read)?
        .ok_or_else(|| Failure::not_found("schedule group", name.as_str()))
}

impl State {
    /// Adds a group.
    ///
    /// # Errors
    /// `Conflict` when the name is taken, `Bound` past 500 groups.
    pub async fn create_schedule_group(
        &self,
        group: ScheduleGroup,
        once: Option<Once>,
    ) -> Result<()> {
        self.write("creating a schedule group", move |tx| {
            if !Once::is_new(once.as_ref(), tx)? {
                return Ok(());
            }
            let sql = "INSERT INTO schedule_group (name, tags, created, modified)
                       VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO NOTHING";
            let ScheduleGroup {
                name,
                tags,
                created,
                modified,
            } = &group;
            let row = params![name.as_str(), to_json(tags)?, created.0, modified.0];
            if run(tx, sql, row)? == 0 {
                let reason = "exists already";
                return Err(Failure::conflict("schedule group", name.as_str(), reason));
            }
            let sql = "SELECT count(*) FROM schedule_group";
            let count: u32 = tx.query_row(sql, [], |row| row.get(0))?;
            if count > MAX_GROUPS {
                return Err(Failure::bound("schedule groups", MAX_GROUPS));
            }
            Ok(())
        })
        .await
    }

    /// One group.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_schedule_group(&self, name: ScheduleGroupName) -> Result<ScheduleGroup> {
        self.read("reading a schedule group", move |db| require(db, &name))
            .await
    }

    /// Groups by name: those that begin with `prefix` and come after `after`, at most `limit`.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_schedule_groups(
        &self,
        prefix: String,
        after: String,
        limit: u32,
    ) -> Result<Vec<ScheduleGroup>> {
        self.read("listing schedule groups", move |db| {
            let sql = "SELECT * FROM schedule_group
                       WHERE name > ?1 AND substr(name, 1, length(?2)) = ?2
                       ORDER BY name LIMIT ?3";
            all(db, sql, params![after, prefix, limit], read)
        })
        .await
    }

    /// Replaces a group's tags by what `change` makes of them.
    ///
    /// # Errors
    /// `NotFound`, and those of `change`.
    pub async fn tag_schedule_group(
        &self,
        name: ScheduleGroupName,
        now: Timestamp,
        change: impl FnOnce(&mut BTreeMap<String, String>) + Send + 'static,
    ) -> Result<()> {
        self.write("changing the tags of a schedule group", move |tx| {
            let mut group = require(tx, &name)?;
            change(&mut group.tags);
            let sql = "UPDATE schedule_group SET tags = ?2, modified = ?3 WHERE name = ?1";
            let tags = to_json(&group.tags)?;
            run(tx, sql, params![name.as_str(), tags, now.0])?;
            Ok(())
        })
        .await
    }

    /// Removes a group and all of its schedules.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for the group `default`.
    pub async fn delete_schedule_group(
        &self,
        name: ScheduleGroupName,
        once: Option<Once>,
    ) -> Result<()> {
        self.write("deleting a schedule group", move |tx| {
            if !Once::is_new(once.as_ref(), tx)? {
                return Ok(());
            }
            require(tx, &name)?;
            if name.is_default() {
                let reason = "is always there";
                return Err(Failure::conflict("schedule group", name.as_str(), reason));
            }
            let sql = "DELETE FROM schedule_group WHERE name = ?1";
            run(tx, sql, [name.as_str()])?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::store;
    use model::Kind;

    fn group(name: &str) -> ScheduleGroup {
        ScheduleGroup {
            name: name.parse().unwrap(),
            tags: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            created: Timestamp(5),
            modified: Timestamp(5),
        }
    }

    #[tokio::test]
    async fn groups_are_made_listed_tagged_and_deleted() {
        let (_folder, state) = store().await;
        for name in ["b", "a", "ab"] {
            let made = state.create_schedule_group(group(name), None).await;
            made.unwrap();
        }
        let taken = state.create_schedule_group(group("a"), None).await;
        assert_eq!(taken.unwrap_err().kind(), Kind::Conflict);
        let list = async |prefix: &str, after: &str, limit| {
            let found = state.list_schedule_groups(prefix.into(), after.into(), limit);
            let found = found.await.unwrap().into_iter();
            found
                .map(|group| group.name.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(list("", "", 9).await, ["a", "ab", "b", "default"]);
        assert_eq!(list("a", "", 9).await, ["a", "ab"]);
        assert_eq!(list("", "a", 2).await, ["ab", "b"]);
        let name = || "a".parse().unwrap();
        let tag = |tags: &mut BTreeMap<String, String>| {
            tags.insert("c".into(), "d".into());
        };
        state
            .tag_schedule_group(name(), Timestamp(9), tag)
            .await
            .unwrap();
        let tagged = state.get_schedule_group(name()).await.unwrap();
        assert_eq!((tagged.tags.len(), tagged.modified), (2, Timestamp(9)));
        state.delete_schedule_group(name(), None).await.unwrap();
        let gone = state.get_schedule_group(name()).await.unwrap_err();
        assert_eq!(gone.kind(), Kind::NotFound);
        let default = state.delete_schedule_group(ScheduleGroupName::default(), None);
        assert_eq!(default.await.unwrap_err().kind(), Kind::Conflict);
    }

    #[tokio::test]
    async fn a_token_makes_a_request_happen_once() {
        let (_folder, state) = store().await;
        let once = |digest: &str, now| {
            Some(Once {
                token: "t".into(),
                digest: digest.into(),
                now: Timestamp(now),
            })
        };
        let make = |name: &str, once| state.create_schedule_group(group(name), once);
        make("a", once("1", 10)).await.unwrap();
        make("a", once("1", 20)).await.unwrap();
        let other = make("b", once("2", 20)).await.unwrap_err();
        assert_eq!(other.kind(), Kind::Conflict);
        // A day later it is forgotten, and the name is taken.
        let later = make("a", once("1", 90_000_000)).await.unwrap_err();
        assert!(later.to_string().contains("exists already"), "{later}");
        // What was refused is not taken for done.
        let again = make("a", once("1", 90_000_000)).await.unwrap_err();
        assert!(again.to_string().contains("exists already"), "{again}");
    }
}
