//! Table `function_event_invoke`.

use crate::error::{Done, Failure};
use crate::job::Tx;
use crate::row::{all, first, json, name, run, to_json};
use crate::{Result, State, versions};
use model::{EventInvoke, FunctionName, Qualifier};
use rusqlite::params;

/// Whether the function has what a qualifier names; `NotFound` if not.
fn require(tx: &Tx<'_>, function: &FunctionName, qualifier: &Qualifier) -> Done<()> {
    match qualifier {
        Qualifier::Version(number) => versions::require(tx, function, *number),
        Qualifier::Alias(alias) => {
            let sql = "SELECT 1 FROM function_alias WHERE function = ?1 AND name = ?2";
            let key = [function.as_str(), alias.as_str()];
            let missing = || Failure::not_found("alias", format!("{function}:{alias}"));
            first(tx, sql, key, |_| Ok(()))?.ok_or_else(missing)
        }
        Qualifier::Latest => {
            let sql = "SELECT 1 FROM function WHERE name = ?1";
            let missing = || Failure::not_found("function", function.clone());
            first(tx, sql, [function.as_str()], |_| Ok(()))?.ok_or_else(missing)
        }
    }
}

/// Forgets what is said of a version or an alias that goes.
pub(crate) fn forget(tx: &Tx<'_>, function: &FunctionName, qualifier: &str) -> Done<()> {
    let sql = "DELETE FROM function_event_invoke WHERE function = ?1 AND qualifier = ?2";
    run(tx, sql, [function.as_str(), qualifier])?;
    Ok(())
}

impl State {
    /// Keeps how events that say a qualifier are delivered; `None` forgets it.
    ///
    /// # Errors
    /// `NotFound`, the function or what the qualifier names.
    pub async fn put_event_invoke(
        &self,
        function: FunctionName,
        qualifier: Qualifier,
        config: Option<EventInvoke>,
    ) -> Result<()> {
        self.write("keeping how events are delivered", move |tx| {
            require(tx, &function, &qualifier)?;
            let qualifier = qualifier.to_string();
            let Some(config) = &config else {
                return forget(tx, &function, &qualifier);
            };
            let sql = "REPLACE INTO function_event_invoke (function, qualifier, config)
                       VALUES (?1, ?2, ?3)";
            run(
                tx,
                sql,
                params![function.as_str(), qualifier, to_json(config)?],
            )?;
            Ok(())
        })
        .await
    }

    /// All of them, by function and qualifier.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_event_invokes(&self) -> Result<Vec<(FunctionName, Qualifier, EventInvoke)>> {
        self.read("listing how events are delivered", |db| {
            let sql = "SELECT * FROM function_event_invoke ORDER BY function, qualifier";
            all(db, sql, [], |row| {
                let qualifier: String = row.get("qualifier")?;
                Ok((
                    name(row, "function")?,
                    qualifier.parse()?,
                    json(row, "config")?,
                ))
            })
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
    use model::{Alias, Function, FunctionVersion, Kind, Timestamp};
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

    async fn published(state: &State) -> FunctionName {
        state.create_function(function()).await.unwrap();
        let version = FunctionVersion {
            number: 0,
            spec: function().spec,
            revision: 1,
            revision_id: "v".into(),
            description: String::new(),
            created: Timestamp(3),
            by: "root".into(),
            labels: Default::default(),
        };
        let one = state.publish_version(version, "r1".into(), 9);
        one.await.unwrap();
        "f".parse().unwrap()
    }

    #[tokio::test]
    async fn it_goes_with_what_it_is_said_of() {
        let (_folder, state) = store().await;
        let f = published(&state).await;
        let alias = Alias {
            name: "beta".parse().unwrap(),
            version: 1,
            share: None,
            description: String::new(),
            revision_id: "r".into(),
            leads: false,
            modified: Timestamp(4),
            by: "root".into(),
        };
        let put = |qualifier: &str, config: Option<EventInvoke>| {
            state.put_event_invoke(f.clone(), qualifier.parse().unwrap(), config)
        };
        let some = || Some(EventInvoke::default());
        for missing in ["2", "beta"] {
            assert_eq!(
                put(missing, some()).await.unwrap_err().kind(),
                Kind::NotFound
            );
        }
        let made = state.put_alias(f.clone(), alias, PutAlias::Create);
        made.await.unwrap();
        put("1", some()).await.unwrap();
        put("beta", some()).await.unwrap();
        let left = async || -> Vec<String> {
            let all = state.list_event_invokes().await.unwrap();
            all.into_iter()
                .map(|(_, qualifier, _)| qualifier.to_string())
                .collect()
        };
        assert_eq!(left().await, ["1", "beta"]);
        let beta = "beta".parse().unwrap();
        let gone = state.delete_alias(f.clone(), beta, "root".into(), Timestamp(5));
        gone.await.unwrap();
        assert_eq!(left().await, ["1"]);
        state.delete_version(f.clone(), 1).await.unwrap();
        assert!(left().await.is_empty());
        assert_eq!(put("1", some()).await.unwrap_err().kind(), Kind::NotFound);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn what_is_kept_is_read_back(attempts in 1..100u32, age in 0..u64::from(u32::MAX), queue in "[a-z]{1,9}") {
            let mut config = EventInvoke::default();
            config.retry.max_attempts = attempts;
            config.retry.max_age = age;
            config.destinations.on_success = Some(model::Target::Queue { name: queue.parse().unwrap() });
            config.destinations.modified = Some(Timestamp(7));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let read = runtime.block_on(async {
                let (folder, state) = store().await;
                let f = published(&state).await;
                let put = state.put_event_invoke(f, Qualifier::Version(1), Some(config.clone()));
                put.await.unwrap();
                state.close().await;
                let state = State::open(folder.path()).await.unwrap();
                state.list_event_invokes().await.unwrap()
            });
            prop_assert_eq!(read, [("f".parse().unwrap(), Qualifier::Version(1), config)]);
        }
    }
}
