//! Table `rule`.

use crate::error::{Done, Failure};
use crate::row::{all, first, json, run, to_json};
use crate::{Result, State, buses};
use model::{BusName, MAX_RULES, Rule, RuleName};
use rusqlite::{Connection, params};

fn find(db: &Connection, bus: &BusName, name: &RuleName) -> Done<Option<Rule>> {
    let sql = "SELECT spec FROM rule WHERE bus = ?1 AND name = ?2";
    first(db, sql, [bus.as_str(), name.as_str()], |row| {
        json(row, "spec")
    })
}

fn store(db: &Connection, rule: &Rule) -> Done<()> {
    let sql = "REPLACE INTO rule (bus, name, spec) VALUES (?1, ?2, ?3)";
    let row = params![rule.bus.as_str(), rule.name.as_str(), to_json(rule)?];
    run(db, sql, row).map(drop)
}

fn remove(db: &Connection, bus: &BusName, name: &RuleName) -> Done<bool> {
    let sql = "DELETE FROM rule WHERE bus = ?1 AND name = ?2";
    Ok(run(db, sql, [bus.as_str(), name.as_str()])? > 0)
}

/// Refuses one rule too many.
fn room(db: &Connection, rule: &Rule) -> Done<()> {
    let sql = "SELECT count(*) AS n FROM rule WHERE bus = ?1";
    let count = first(db, sql, [rule.bus.as_str()], |row| {
        Ok(row.get::<_, i64>("n")?)
    })?;
    if count.unwrap_or(0) >= MAX_RULES as i64 {
        let reason = "there are 300 rules on its bus, which is the most; delete one first";
        return Err(Failure::conflict("rule", rule.name.as_str(), reason));
    }
    Ok(())
}

impl State {
    /// Makes or changes a rule, in one step: `change` is given the rule that is there, if there is
    /// one, and gives what is to be there.
    ///
    /// # Errors
    /// `NotFound` (bus), `Conflict` when the bus has too many rules.
    pub async fn put_rule(
        &self,
        bus: BusName,
        name: RuleName,
        change: impl FnOnce(Option<Rule>) -> Rule + Send + 'static,
    ) -> Result<Rule> {
        self.write("storing a rule", move |tx| {
            buses::require(tx, &bus)?;
            let old = find(tx, &bus, &name)?;
            let is_new = old.is_none();
            let rule = change(old);
            if is_new {
                room(tx, &rule)?;
            }
            store(tx, &rule)?;
            Ok(rule)
        })
        .await
    }

    /// Changes a rule that is there, in one step. What `change` gives is passed on; the rule is kept
    /// as it has become.
    ///
    /// # Errors
    /// `NotFound`, the bus or the rule.
    pub async fn update_rule<T: Send + 'static>(
        &self,
        bus: BusName,
        name: RuleName,
        change: impl FnOnce(&mut Rule) -> T + Send + 'static,
    ) -> Result<T> {
        self.write("changing a rule", move |tx| {
            buses::require(tx, &bus)?;
            let missing = || Failure::not_found("rule", name.as_str());
            let mut rule = find(tx, &bus, &name)?.ok_or_else(missing)?;
            let result = change(&mut rule);
            store(tx, &rule)?;
            Ok(result)
        })
        .await
    }

    /// One rule.
    ///
    /// # Errors
    /// `NotFound`, the bus or the rule.
    pub async fn get_rule(&self, bus: BusName, name: RuleName) -> Result<Rule> {
        self.read("reading a rule", move |db| {
            buses::require(db, &bus)?;
            find(db, &bus, &name)?.ok_or_else(|| Failure::not_found("rule", name.as_str()))
        })
        .await
    }

    /// The rules of a bus, by name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn list_rules(&self, bus: BusName) -> Result<Vec<Rule>> {
        self.read("listing rules", move |db| {
            buses::require(db, &bus)?;
            let sql = "SELECT spec FROM rule WHERE bus = ?1 ORDER BY name";
            all(db, sql, [bus.as_str()], |row| json(row, "spec"))
        })
        .await
    }

    /// Removes a rule; nothing happens if there is none.
    ///
    /// # Errors
    /// Of the store.
    pub async fn delete_rule(&self, bus: BusName, name: RuleName) -> Result<()> {
        self.write("deleting a rule", move |tx| {
            remove(tx, &bus, &name).map(drop)
        })
        .await
    }

    /// Makes the rules of these owners be `rules` and no others, in one step. Gives the names of those
    /// that were made or changed.
    ///
    /// # Errors
    /// `NotFound` (bus); `Conflict` when a name is taken by a rule of somebody else, or a bus is full.
    pub async fn put_owned_rules(
        &self,
        owners: Vec<String>,
        rules: Vec<Rule>,
    ) -> Result<Vec<(RuleName, bool)>> {
        self.write("storing rules", move |tx| {
            let all: Vec<Rule> = all(tx, "SELECT spec FROM rule", [], |row| json(row, "spec"))?;
            let owned = |rule: &Rule| {
                let owner = rule.owner.as_ref();
                owner.is_some_and(|owner| owners.contains(owner))
            };
            for old in all.iter().filter(|old| owned(old)) {
                let kept = |new: &Rule| new.bus == old.bus && new.name == old.name;
                if !rules.iter().any(kept) {
                    remove(tx, &old.bus, &old.name)?;
                }
            }
            let mut changed = Vec::new();
            for mut rule in rules {
                buses::require(tx, &rule.bus)?;
                let old = find(tx, &rule.bus, &rule.name)?;
                match &old {
                    None => room(tx, &rule)?,
                    Some(old) if old.owner != rule.owner => {
                        let reason = "exists already and was not made by this manifest";
                        return Err(Failure::conflict("rule", rule.name.as_str(), reason));
                    }
                    Some(old) => rule.created = old.created,
                }
                if old.as_ref() != Some(&rule) {
                    store(tx, &rule)?;
                    changed.push((rule.name.clone(), old.is_none()));
                }
            }
            Ok(changed)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::store;
    use model::{Kind, Timestamp};

    fn rule(name: &str, owner: Option<&str>) -> Rule {
        Rule {
            bus: BusName::default_bus(),
            name: name.parse().unwrap(),
            description: String::new(),
            pattern: r#"{"a":[1]}"#.into(),
            enabled: true,
            targets: Vec::new(),
            role: String::new(),
            tags: Default::default(),
            owner: owner.map(str::to_owned),
            created: Timestamp(1),
        }
    }

    async fn names(state: &State) -> Vec<String> {
        let rules = state.list_rules(BusName::default_bus()).await.unwrap();
        rules.iter().map(|rule| rule.name.to_string()).collect()
    }

    #[tokio::test]
    async fn a_rule_is_made_changed_and_deleted() {
        let (_folder, state) = store().await;
        let bus = BusName::default_bus;
        let name: RuleName = "r".parse().unwrap();
        let made = state.put_rule(bus(), name.clone(), |old| {
            assert!(old.is_none());
            rule("r", None)
        });
        assert_eq!(made.await.unwrap(), rule("r", None));
        let change = state.update_rule(bus(), name.clone(), |rule| {
            rule.enabled = false;
            7
        });
        assert_eq!(change.await.unwrap(), 7);
        assert!(!state.get_rule(bus(), name.clone()).await.unwrap().enabled);
        for _ in 0..2 {
            state.delete_rule(bus(), name.clone()).await.unwrap();
        }
        assert_eq!(
            state.get_rule(bus(), name).await.unwrap_err().kind(),
            Kind::NotFound
        );
        let other = state
            .list_rules("other".parse().unwrap())
            .await
            .unwrap_err();
        assert_eq!(other.kind(), Kind::NotFound);
    }

    #[tokio::test]
    async fn a_bus_with_rules_stays_and_is_full_at_its_bound() {
        let (_folder, state) = store().await;
        for n in 0..MAX_RULES {
            let new = rule(&format!("r{n}"), None);
            let (bus, name) = (new.bus.clone(), new.name.clone());
            state.put_rule(bus, name, |_| new).await.unwrap();
        }
        let more = state.put_rule(BusName::default_bus(), "x".parse().unwrap(), |_| {
            rule("x", None)
        });
        assert_eq!(more.await.unwrap_err().kind(), Kind::Conflict);
        let ruled = state.delete_bus(BusName::default_bus()).await.unwrap_err();
        assert_eq!(ruled.kind(), Kind::Conflict);
    }

    #[tokio::test]
    async fn rules_of_an_owner_follow_its_manifest() {
        let (_folder, state) = store().await;
        let mine = || vec!["function:f".to_owned()];
        let put = |rules| state.put_owned_rules(mine(), rules);
        let (a, b) = (rule("a", Some("function:f")), rule("b", Some("function:f")));
        assert_eq!(put(vec![a.clone(), b.clone()]).await.unwrap().len(), 2);
        assert!(put(vec![a.clone(), b]).await.unwrap().is_empty());
        let other = vec![rule("o", Some("function:g"))];
        state
            .put_owned_rules(vec!["function:g".into()], other)
            .await
            .unwrap();
        put(vec![a.clone()]).await.unwrap();
        assert_eq!(names(&state).await, ["a", "o"]);
        let taken = put(vec![rule("o", Some("function:f"))]).await.unwrap_err();
        assert_eq!(taken.kind(), Kind::Conflict);
        assert_eq!(names(&state).await, ["a", "o"], "all or nothing");
    }
}
