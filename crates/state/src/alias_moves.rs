//! Table `function_alias_move`.

use crate::error::Done;
use crate::job::Tx;
use crate::row::{all, count, json, name, run, time, to_json};
use crate::{Result, State, versions};
use model::{AliasMove, AliasName, Digest, FunctionName, MAX_ALIAS_MOVES, Routing, Timestamp};
use rusqlite::{Connection, Row, params};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// A change of an alias as it is made.
pub(crate) struct Moved<'a> {
    pub(crate) function: &'a FunctionName,
    pub(crate) alias: &'a AliasName,
    pub(crate) at: Timestamp,
    pub(crate) by: &'a str,
    pub(crate) from: Option<Routing>,
    pub(crate) to: Option<Routing>,
    pub(crate) back: bool,
}

fn optional<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Done<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|_| json(row, column)).transpose()
}

fn read(row: &Row<'_>) -> Done<AliasMove> {
    let digest: Option<String> = row.get("digest")?;
    Ok(AliasMove {
        number: count(row, "number")?,
        alias: name(row, "alias")?,
        at: time(row, "at")?,
        by: row.get("by")?,
        from: optional(row, "before")?,
        to: optional(row, "after")?,
        back: row.get("back")?,
        digest: digest.map(|hex| Digest::from_hex(&hex)).transpose()?,
        labels: json(row, "labels")?,
    })
}

/// Writes a change down, if it is one. Of more than [`MAX_ALIAS_MOVES`] of a function the oldest go.
pub(crate) fn note(tx: &Tx<'_>, moved: Moved<'_>) -> Done<()> {
    let stays = match (&moved.from, &moved.to) {
        (Some(from), Some(to)) => from.is_like(to),
        (from, to) => from.is_none() && to.is_none(),
    };
    if stays {
        return Ok(());
    }
    let version = match &moved.to {
        Some(to) => versions::find(tx, moved.function, to.version)?,
        None => None,
    };
    let none = BTreeMap::new();
    let labels = version.as_ref().map_or(&none, |version| &version.labels);
    let sql =
        "INSERT INTO function_alias_move (function, number, alias, at, by, before, after, back,
                   digest, labels)
               VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM function_alias_move
                            WHERE function = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let function = moved.function.as_str();
    let row = params![
        function,
        moved.alias.as_str(),
        moved.at.0,
        moved.by,
        moved.from.as_ref().map(to_json).transpose()?,
        moved.to.as_ref().map(to_json).transpose()?,
        moved.back,
        version.as_ref().map(|version| version.digest().hex()),
        to_json(labels)?
    ];
    run(tx, sql, row)?;
    let sql = "DELETE FROM function_alias_move WHERE function = ?1 AND number <=
                   (SELECT max(number) FROM function_alias_move WHERE function = ?1) - ?2";
    run(tx, sql, params![function, MAX_ALIAS_MOVES])?;
    Ok(())
}

fn of_alias(
    db: &Connection,
    function: &FunctionName,
    alias: Option<&AliasName>,
    limit: u32,
) -> Done<Vec<AliasMove>> {
    let sql = "SELECT * FROM function_alias_move
               WHERE function = ?1 AND (?2 IS NULL OR alias = ?2)
               ORDER BY number DESC LIMIT ?3";
    let alias = alias.map(AliasName::as_str);
    all(db, sql, params![function.as_str(), alias, limit], read)
}

impl State {
    /// What was done to the aliases of a function, or to one of them: the newest `limit` moves, the
    /// newest first.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_alias_moves(
        &self,
        function: FunctionName,
        alias: Option<AliasName>,
        limit: u32,
    ) -> Result<Vec<AliasMove>> {
        self.read("reading the history of aliases", move |db| {
            of_alias(db, &function, alias.as_ref(), limit)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::PutAlias;
    use crate::fixture::store;
    use model::{Alias, Function, FunctionVersion, Share};
    use proptest::prelude::*;

    fn function() -> Function {
        let spec = serde_json::json!({
            "name": "f", "runtime": "nodejs20.x", "handler": "index.handler",
            "code": {"zip": {"digest": format!("sha256:{}", "a".repeat(64)), "size": 1}},
        });
        Function {
            spec: serde_json::from_value(spec).unwrap(),
            revision: 1,
            revision_id: "r1".into(),
            created: Timestamp(1),
            modified: Timestamp(2),
        }
    }

    async fn with_versions(state: &State, count: u64) -> FunctionName {
        state.create_function(function()).await.unwrap();
        for number in 1..=count {
            let version = FunctionVersion {
                number: 0,
                spec: function().spec,
                revision: 1,
                revision_id: "v".into(),
                description: String::new(),
                created: Timestamp(3),
                by: "root".into(),
                labels: [(
                    "org.opencontainers.image.version".to_owned(),
                    number.to_string(),
                )]
                .into(),
            };
            let published = state.publish_version(version, "r1".into(), 100);
            published.await.unwrap();
        }
        "f".parse().unwrap()
    }

    fn alias(name: &str, version: u64, share: Option<(u64, f64)>, at: i64) -> Alias {
        Alias {
            name: name.parse().unwrap(),
            version,
            share: share.map(|(version, weight)| Share { version, weight }),
            description: String::new(),
            revision_id: "r".into(),
            leads: false,
            modified: Timestamp(at),
            by: format!("user-{at}"),
        }
    }

    #[tokio::test]
    async fn moves_tell_who_when_from_where_and_what_it_is() {
        let (folder, state) = store().await;
        let f = with_versions(&state, 2).await;
        let put = |alias, put| state.put_alias(f.clone(), alias, put);
        put(alias("a", 1, None, 10), PutAlias::Create)
            .await
            .unwrap();
        put(alias("a", 2, Some((1, 0.5)), 11), PutAlias::Upsert)
            .await
            .unwrap();
        // Neither a description nor a new revision id is a move.
        put(alias("a", 2, Some((1, 0.5)), 12), PutAlias::Upsert)
            .await
            .unwrap();
        put(alias("b", 1, None, 13), PutAlias::Upsert)
            .await
            .unwrap();
        put(alias("a", 1, None, 14), PutAlias::Back).await.unwrap();
        let a: AliasName = "a".parse().unwrap();
        state
            .delete_alias(f.clone(), a.clone(), "root".into(), Timestamp(15))
            .await
            .unwrap();
        state
            .delete_alias(f.clone(), a.clone(), "root".into(), Timestamp(16))
            .await
            .unwrap();
        state.close().await;
        let state = State::open(folder.path()).await.unwrap();
        let all = state.list_alias_moves(f.clone(), None, 100).await.unwrap();
        assert_eq!(
            all.iter().map(|one| one.number).collect::<Vec<_>>(),
            [5, 4, 3, 2, 1]
        );
        let of_a = state
            .list_alias_moves(f.clone(), Some(a), 100)
            .await
            .unwrap();
        let told: Vec<_> = of_a
            .iter()
            .map(|one| {
                let version = |routing: &Option<Routing>| routing.as_ref().map(|to| to.version);
                (one.at.0, version(&one.from), version(&one.to), one.back)
            })
            .collect();
        assert_eq!(
            told,
            [
                (15, Some(1), None, false),
                (14, Some(2), Some(1), true),
                (11, Some(1), Some(2), false),
                (10, None, Some(1), false)
            ]
        );
        let shared = &of_a[2];
        assert_eq!(
            (
                shared.by.as_str(),
                shared.labels.values().next().unwrap().as_str()
            ),
            ("user-11", "2")
        );
        assert_eq!(
            shared.to.as_ref().unwrap().share.as_ref().unwrap().weight,
            0.5
        );
        assert_eq!(shared.digest.as_ref().unwrap().hex(), "a".repeat(64));
        assert_eq!(of_a[0].digest, None);
        state.delete_function(f.clone()).await.unwrap();
        assert!(
            state
                .list_alias_moves(f, None, 100)
                .await
                .unwrap()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn the_oldest_go_past_the_bound() {
        let (_folder, state) = store().await;
        let f = with_versions(&state, 2).await;
        let most = i64::from(MAX_ALIAS_MOVES);
        for at in 0..most + 2 {
            let version = u64::from(at % 2 == 0) + 1;
            let put = state.put_alias(f.clone(), alias("a", version, None, at), PutAlias::Upsert);
            put.await.unwrap();
        }
        let all = state
            .list_alias_moves(f.clone(), None, u32::MAX)
            .await
            .unwrap();
        assert_eq!(all.len(), MAX_ALIAS_MOVES as usize);
        assert_eq!(all.last().unwrap().number, 3);
        assert_eq!(
            state.list_alias_moves(f, None, 1).await.unwrap()[0].at.0,
            most + 1
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn every_move_begins_where_the_one_before_ended(
            steps in proptest::collection::vec((1..=3u64, proptest::option::of((1..=3u64, 0.0..=1.0))), 1..12),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (_folder, state) = store().await;
                let f = with_versions(&state, 3).await;
                let mut last = None;
                for (at, (version, share)) in steps.into_iter().enumerate() {
                    let share = share.filter(|(second, _)| *second != version);
                    let one = alias("a", version, share, at as i64);
                    last = Some(Routing::of(&one));
                    state.put_alias(f.clone(), one, PutAlias::Upsert).await.unwrap();
                }
                let mut all = state.list_alias_moves(f, None, 100).await.unwrap();
                let like = |one: &Option<Routing>, two: &Option<Routing>| match (one, two) {
                    (Some(one), Some(two)) => one.is_like(two),
                    (one, two) => one.is_none() && two.is_none(),
                };
                prop_assert!(like(&all[0].to, &last));
                all.reverse();
                let mut before = None;
                for one in all {
                    prop_assert!(like(&one.from, &before), "{:?} after {:?}", one, before);
                    prop_assert!(!like(&one.from, &one.to), "{:?}", one);
                    before = one.to;
                }
                Ok(())
            })?;
        }
    }
}
