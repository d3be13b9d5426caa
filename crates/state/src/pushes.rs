//! Table `function_push`.

use crate::error::{Done, Failure};
use crate::row::{all, first, int, run, time};
use crate::{Result, State};
use model::{FunctionName, Push};
use rusqlite::{Row, params};

/// How many pushes of one function are kept: the newest.
const KEPT: u64 = 50;

fn read(row: &Row<'_>) -> Done<Push> {
    let digest: String = row.get("digest")?;
    let version: Option<i64> = row.get("version")?;
    Ok(Push {
        reference: row.get("reference")?,
        digest: digest.parse()?,
        pushed: time(row, "pushed")?,
        settled: time(row, "settled")?,
        by: row.get("by")?,
        version: version.and_then(|number| number.try_into().ok()),
        failure: row.get("failure")?,
    })
}

impl State {
    /// Keeps what became of a push, in the place of what was known of it before. Of more than fifty of
    /// a function those go that were settled first.
    ///
    /// # Errors
    /// `NotFound`, the function.
    pub async fn put_push(&self, function: FunctionName, push: Push) -> Result<()> {
        self.write("keeping what became of a push", move |tx| {
            let name = function.as_str();
            let sql = "SELECT 1 FROM function WHERE name = ?1";
            first(tx, sql, [name], |_| Ok(()))?
                .ok_or_else(|| Failure::not_found("function", function.clone()))?;
            let sql =
                "REPLACE INTO function_push (function, pushed, digest, reference, settled, by,
                           version, failure)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let row = params![
                name,
                push.pushed.0,
                push.digest.as_str(),
                push.reference,
                push.settled.0,
                push.by,
                push.version.map(int),
                push.failure
            ];
            run(tx, sql, row)?;
            let sql = "DELETE FROM function_push WHERE function = ?1 AND (pushed, digest) NOT IN
                           (SELECT pushed, digest FROM function_push WHERE function = ?1
                            ORDER BY settled DESC, pushed DESC LIMIT ?2)";
            run(tx, sql, params![name, int(KEPT)])?;
            Ok(())
        })
        .await
    }

    /// The pushes of a function that became a version or failed, the newest first.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_pushes(&self, function: FunctionName) -> Result<Vec<Push>> {
        self.read("listing pushes", move |db| {
            let sql = "SELECT * FROM function_push WHERE function = ?1
                       ORDER BY settled DESC, pushed DESC";
            all(db, sql, [function.as_str()], read)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::store;
    use model::{Function, Kind, Timestamp};
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

    fn push(pushed: i64, settled: i64) -> Push {
        Push {
            reference: "shop/thumb:prod".into(),
            digest: format!("sha256:{}", "b".repeat(64)).parse().unwrap(),
            pushed: Timestamp(pushed),
            settled: Timestamp(settled),
            by: "root".into(),
            version: None,
            failure: Some("ä".into()),
        }
    }

    #[tokio::test]
    async fn the_newest_are_kept_and_go_with_their_function() {
        let (_folder, state) = store().await;
        let name: FunctionName = "f".parse().unwrap();
        let missing = state.put_push(name.clone(), push(1, 1)).await.unwrap_err();
        assert_eq!(missing.kind(), Kind::NotFound);
        state.create_function(function()).await.unwrap();
        for time in 0..60 {
            let put = state.put_push(name.clone(), push(time, time));
            put.await.unwrap();
        }
        let kept = state.list_pushes(name.clone()).await.unwrap();
        let times: Vec<i64> = kept.iter().map(|push| push.pushed.0).collect();
        assert_eq!(times, (10..60).rev().collect::<Vec<_>>());
        state.delete_function(name.clone()).await.unwrap();
        assert!(state.list_pushes(name).await.unwrap().is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn a_push_is_read_as_it_was_put(
            reference in "\\PC{0,40}", pushed in 0i64.., settled in 0i64.., by in "\\PC{0,10}",
            version in proptest::option::of(1u64..1 << 40), failure in proptest::option::of("\\PC{0,60}"),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let put = Push { reference, by, version, failure, ..push(pushed, settled) };
            runtime.block_on(async {
                let (_folder, state) = store().await;
                state.create_function(function()).await.unwrap();
                let name: FunctionName = "f".parse().unwrap();
                // The second takes the place of the first.
                state.put_push(name.clone(), push(pushed, 0)).await.unwrap();
                state.put_push(name.clone(), put.clone()).await.unwrap();
                prop_assert_eq!(state.list_pushes(name).await.unwrap(), [put]);
                Ok(())
            })?;
        }
    }
}
