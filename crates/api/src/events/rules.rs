//! Rules.

use super::buses::check_description;
use super::error::{Error, Result};
use super::page::Page;
use super::tags::{Tag, tags_of};
use super::{Asked, names, without_null};
use crate::arn::ACCOUNT;
use engine::{PutRule, rule_arn};
use model::{BusName, Rule, RuleName};
use serde::Deserialize;
use serde_json::{Value, json};

/// Longest ARN of a role (EventBridge's bound).
const MAX_ROLE: usize = 1600;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Put {
    name: String,
    schedule_expression: Option<String>,
    event_pattern: Option<String>,
    state: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    role_arn: String,
    #[serde(default)]
    tags: Vec<Tag>,
    event_bus_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Named {
    name: String,
    event_bus_name: Option<String>,
    #[serde(default)]
    force: bool,
}

impl Named {
    fn parsed(&self) -> Result<(BusName, RuleName)> {
        let bus = names::bus(self.event_bus_name.as_deref())?;
        Ok((bus, self.name.parse()?))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct List {
    name_prefix: Option<String>,
    event_bus_name: Option<String>,
    limit: Option<usize>,
    next_token: Option<String>,
}

fn shown(rule: &Rule, region: &str) -> Value {
    without_null(json!({
        "Name": rule.name,
        "Arn": rule_arn(region, &rule.bus, &rule.name),
        "EventPattern": rule.pattern,
        "State": if rule.enabled { "ENABLED" } else { "DISABLED" },
        "Description": (!rule.description.is_empty()).then_some(&rule.description),
        "RoleArn": (!rule.role.is_empty()).then_some(&rule.role),
        "ManagedBy": rule.owner,
        "EventBusName": rule.bus,
    }))
}

/// PutRule.
pub(super) async fn put(asked: Asked) -> Result<Value> {
    let put: Put = asked.read()?;
    if put.schedule_expression.is_some_and(|text| !text.is_empty()) {
        return Err(Error::validation(
            "Parameter ScheduleExpression is not supported: make a schedule of EventBridge Scheduler \
             (`aws scheduler create-schedule`) in place of a rule",
        ));
    }
    let pattern = put
        .event_pattern
        .filter(|text| !text.is_empty())
        .ok_or_else(|| {
            Error::validation("Parameter(s) EventPattern or ScheduleExpression must be specified.")
        })?;
    let enabled = match put.state.as_deref() {
        None | Some("ENABLED") => true,
        Some("DISABLED") => false,
        Some(_) => return Err(Error::validation("State must be ENABLED or DISABLED")),
    };
    check_description(&put.description)?;
    if put.role_arn.len() > MAX_ROLE {
        return Err(Error::validation("RoleArn has more than 1600 bytes"));
    }
    let put = PutRule {
        bus: names::bus(put.event_bus_name.as_deref())?,
        name: put.name.parse()?,
        description: put.description,
        pattern,
        enabled,
        role: put.role_arn,
        tags: tags_of(put.tags)?,
    };
    let rule = asked.doors.engine.put_rule(put).await?;
    let region = &asked.doors.options.region;
    Ok(json!({"RuleArn": rule_arn(region, &rule.bus, &rule.name)}))
}

/// DeleteRule.
pub(super) async fn delete(asked: Asked) -> Result<Value> {
    let named: Named = asked.read()?;
    let (bus, name) = named.parsed()?;
    asked
        .doors
        .engine
        .delete_rule(&bus, &name, named.force)
        .await?;
    Ok(Value::Null)
}

/// DescribeRule.
pub(super) async fn describe(asked: Asked) -> Result<Value> {
    let named: Named = asked.read()?;
    let (bus, name) = named.parsed()?;
    let rule = asked.doors.engine.get_rule(&bus, &name).await?;
    let mut shown = shown(&rule, &asked.doors.options.region);
    shown["CreatedBy"] = ACCOUNT.into();
    Ok(shown)
}

/// ListRules.
pub(super) async fn list(asked: Asked) -> Result<Value> {
    let list: List = asked.read()?;
    let bus = names::bus(list.event_bus_name.as_deref())?;
    let prefix = list.name_prefix.unwrap_or_default();
    let page = Page {
        limit: list.limit,
        token: list.next_token,
    };
    let rules = asked.doors.engine.list_rules(&bus).await?.into_iter();
    let rules = rules.filter(|rule| rule.name.as_str().starts_with(&prefix));
    let (rules, token) = page.of(rules, |rule| rule.name.to_string())?;
    let region = &asked.doors.options.region;
    let shown: Vec<Value> = rules.iter().map(|rule| shown(rule, region)).collect();
    Ok(without_null(json!({"Rules": shown, "NextToken": token})))
}

/// EnableRule and DisableRule.
pub(super) async fn switch(asked: Asked, enabled: bool) -> Result<Value> {
    let named: Named = asked.read()?;
    let (bus, name) = named.parsed()?;
    let change = move |rule: &mut Rule| rule.enabled = enabled;
    asked.doors.engine.update_rule(&bus, &name, change).await?;
    Ok(Value::Null)
}
