//! Targets of rules.

use super::error::{Error, Result};
use super::page::Page;
use super::{Asked, names, without_null};
use crate::arn;
use crate::delivery::Wanted;
use model::{BusName, RuleName, RuleTarget, Transformer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most targets or ids of one request (EventBridge's bound).
const MAX_REQUEST: usize = 100;
/// Longest ARN of a target or a role (EventBridge's bound).
const MAX_ARN: usize = 1600;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Target {
    id: String,
    arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_transformer: Option<InputTransformer>,
    #[serde(flatten)]
    delivery: Wanted,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct InputTransformer {
    #[serde(default)]
    input_paths_map: BTreeMap<String, String>,
    input_template: String,
}

impl Target {
    fn checked(self) -> Result<RuleTarget> {
        let role = self.role_arn.as_ref().map_or(0, String::len);
        if self.arn.len() > MAX_ARN || role > MAX_ARN {
            return Err(Error::validation("an ARN has more than 1600 bytes"));
        }
        let (target, qualifier) = arn::woken_of(&self.arn).map_err(Error::validation)?;
        let mut delivery = self.delivery.checked().map_err(Error::validation)?;
        delivery.qualifier = qualifier;
        Ok(RuleTarget {
            target,
            delivery,
            id: self.id,
            arn: self.arn,
            role: self.role_arn,
            input: self.input,
            input_path: self.input_path,
            transformer: self.input_transformer.map(|transformer| Transformer {
                paths: transformer.input_paths_map,
                template: transformer.input_template,
            }),
        })
    }

    fn of(target: RuleTarget, region: &str) -> Self {
        Self {
            delivery: Wanted::of(&target.delivery, region),
            id: target.id,
            arn: target.arn,
            role_arn: target.role,
            input: target.input,
            input_path: target.input_path,
            input_transformer: target.transformer.map(|transformer| InputTransformer {
                input_paths_map: transformer.paths,
                input_template: transformer.template,
            }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Put {
    rule: String,
    event_bus_name: Option<String>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Remove {
    rule: String,
    event_bus_name: Option<String>,
    ids: Vec<String>,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct List {
    rule: String,
    event_bus_name: Option<String>,
    limit: Option<usize>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RulesOf {
    target_arn: String,
    event_bus_name: Option<String>,
    limit: Option<usize>,
    next_token: Option<String>,
}

fn named(rule: &str, bus: Option<&str>) -> Result<(BusName, RuleName)> {
    Ok((names::bus(bus)?, rule.parse()?))
}

fn check_count(count: usize) -> Result<()> {
    match (1..=MAX_REQUEST).contains(&count) {
        true => Ok(()),
        false => Err(Error::validation("a request must name 1 to 100 targets")),
    }
}

/// PutTargets: all of them, or an error.
pub(super) async fn put(asked: Asked) -> Result<Value> {
    let put: Put = asked.read()?;
    check_count(put.targets.len())?;
    let (bus, rule) = named(&put.rule, put.event_bus_name.as_deref())?;
    let targets = put.targets.into_iter().map(Target::checked);
    let targets = targets.collect::<Result<_>>()?;
    asked.doors.engine.put_targets(&bus, &rule, targets).await?;
    Ok(json!({"FailedEntryCount": 0, "FailedEntries": []}))
}

/// RemoveTargets: an id that is not there is told as a failed entry.
pub(super) async fn remove(asked: Asked) -> Result<Value> {
    let remove: Remove = asked.read()?;
    check_count(remove.ids.len())?;
    let (bus, rule) = named(&remove.rule, remove.event_bus_name.as_deref())?;
    let engine = &asked.doors.engine;
    let unknown = engine
        .remove_targets(&bus, &rule, remove.ids, remove.force)
        .await?;
    let failed: Vec<Value> = unknown
        .iter()
        .map(|id| {
            json!({
                "TargetId": id,
                "ErrorCode": "ResourceNotFoundException",
                "ErrorMessage": format!("rule {rule} has no target \"{id}\""),
            })
        })
        .collect();
    Ok(json!({"FailedEntryCount": failed.len(), "FailedEntries": failed}))
}

/// ListTargetsByRule.
pub(super) async fn list(asked: Asked) -> Result<Value> {
    let list: List = asked.read()?;
    let (bus, rule) = named(&list.rule, list.event_bus_name.as_deref())?;
    let page = Page {
        limit: list.limit,
        token: list.next_token,
    };
    let mut targets = asked.doors.engine.get_rule(&bus, &rule).await?.targets;
    targets.sort_by(|one, other| one.id.cmp(&other.id));
    let (targets, token) = page.of(targets.into_iter(), |target| target.id.clone())?;
    let targets: Vec<Target> = targets
        .into_iter()
        .map(|target| Target::of(target, &asked.doors.options.region))
        .collect();
    Ok(without_null(
        json!({"Targets": targets, "NextToken": token}),
    ))
}

/// ListRuleNamesByTarget.
pub(super) async fn rules_of(asked: Asked) -> Result<Value> {
    let list: RulesOf = asked.read()?;
    let bus = names::bus(list.event_bus_name.as_deref())?;
    let target = arn::woken_of(&list.target_arn).map_err(Error::validation)?;
    let page = Page {
        limit: list.limit,
        token: list.next_token,
    };
    let rules = asked.doors.engine.rules_by_target(&bus, &target).await?;
    let (rules, token) = page.of(rules.into_iter(), ToString::to_string)?;
    Ok(without_null(
        json!({"RuleNames": rules, "NextToken": token}),
    ))
}
