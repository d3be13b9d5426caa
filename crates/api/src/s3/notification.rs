//! What a bucket wakes, in AWS's words
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/EventNotifications.html>).
//!
//! A function is a `LambdaFunctionConfiguration`, a queue a `QueueConfiguration`, the default bus an
//! `EventBridgeConfiguration`. S3 has no word for a
//! resident service, a bus or a webhook; they are shown and taken as a `TopicConfiguration` with their
//! own ARN.

use super::Handlers;
use super::access::Caller;
use super::error::{invalid_argument, of_bucket, of_engine, of_invalid};
use crate::arn;
use crate::whole::whole;
use model::{BusName, ChangeForm, EventPattern, Kind, NotificationRule, Qualifier, Target};
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result};
use std::collections::HashSet;

/// Most rules of one bucket, as on AWS.
const MAX_RULES: usize = 100;

/// The id of the rule that an `EventBridgeConfiguration` stands for.
const EVENT_BRIDGE: &str = "EventBridgeConfiguration";

/// Longest path of a service, prefix or suffix that a rule may name, in bytes.
const MAX_TEXT: usize = 1024;

pub(super) async fn get(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<GetBucketNotificationConfigurationInput>,
) -> S3Result<S3Response<GetBucketNotificationConfigurationOutput>> {
    let rules = handlers.bucket(&request.input.bucket).await?.notify;
    let mut functions = Vec::new();
    let mut topics = Vec::new();
    let mut queues = Vec::new();
    let mut event_bridge = None;
    for rule in rules {
        if rule.form == ChangeForm::EventBridge {
            event_bridge = Some(EventBridgeConfiguration {});
            continue;
        }
        let events = rule
            .events
            .iter()
            .map(|event| Event::from(event.as_str().to_owned()));
        let events: Vec<Event> = events.collect();
        let filter = shown_filter(&rule);
        let (id, target) = (Some(rule.id), rule.target);
        let arn = arn::of_woken(&target, rule.qualifier.as_ref(), &handlers.region);
        match target {
            Target::Function { .. } => functions.push(LambdaFunctionConfiguration {
                events,
                filter,
                id,
                lambda_function_arn: arn,
            }),
            Target::Queue { .. } => queues.push(QueueConfiguration {
                events,
                filter,
                id,
                queue_arn: arn,
            }),
            // No rule names a bucket; one that did would be shown.
            Target::Service { .. }
            | Target::Bus { .. }
            | Target::Webhook { .. }
            | Target::Bucket { .. } => {
                topics.push(TopicConfiguration {
                    events,
                    filter,
                    id,
                    topic_arn: arn,
                });
            }
        }
    }
    Ok(S3Response::new(GetBucketNotificationConfigurationOutput {
        lambda_function_configurations: (!functions.is_empty()).then_some(functions),
        queue_configurations: (!queues.is_empty()).then_some(queues),
        topic_configurations: (!topics.is_empty()).then_some(topics),
        event_bridge_configuration: event_bridge,
    }))
}

/// Replaces all rules of the bucket. Every target must exist.
pub(super) async fn put(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<PutBucketNotificationConfigurationInput>,
) -> S3Result<S3Response<PutBucketNotificationConfigurationOutput>> {
    let bucket = handlers.bucket(&request.input.bucket).await?.name;
    let rules = rules_of(request.input.notification_configuration)?;
    for rule in &rules {
        must_exist(handlers, rule).await?;
    }
    let storage = handlers.storage().clone();
    whole(async move {
        storage
            .put_notification(&bucket, rules)
            .await
            .map_err(of_bucket)
    })
    .await?;
    Ok(S3Response::new(
        PutBucketNotificationConfigurationOutput::default(),
    ))
}

async fn must_exist(handlers: &Handlers, rule: &NotificationRule) -> S3Result<()> {
    let (target, qualifier) = (&rule.target, rule.qualifier.as_ref());
    let missing = || {
        let version = qualifier.map_or_else(String::new, |one| format!(":{one}"));
        let message = format!(
            "the destination {target}{version} does not exist; deploy it first, then set the notification"
        );
        invalid_argument(message)
    };
    match target {
        Target::Function { name } => match handlers.engine.get_qualified(name, qualifier).await {
            Ok(_) => Ok(()),
            Err(fault) if fault.kind() == Kind::NotFound => Err(missing()),
            Err(fault) => Err(of_engine(fault)),
        },
        Target::Service { name, .. } => {
            let services = handlers.engine.list_services().await.map_err(of_engine)?;
            let known = services
                .iter()
                .any(|known| known.service.spec.name == *name);
            if known { Ok(()) } else { Err(missing()) }
        }
        Target::Queue { name } => match handlers.engine.get_queue(name).await {
            Ok(_) => Ok(()),
            Err(fault) if fault.kind() == Kind::NotFound => Err(missing()),
            Err(fault) => Err(of_engine(fault)),
        },
        Target::Bus { name } => match handlers.engine.get_bus(name).await {
            Ok(_) => Ok(()),
            Err(fault) if fault.kind() == Kind::NotFound => Err(missing()),
            Err(fault) => Err(of_engine(fault)),
        },
        Target::Webhook { name } => match handlers.engine.get_webhook(name) {
            Ok(_) => Ok(()),
            Err(_) => Err(missing()),
        },
        Target::Bucket { name } => handlers.bucket(name.as_str()).await.map(drop),
    }
}

fn rules_of(configuration: NotificationConfiguration) -> S3Result<Vec<NotificationRule>> {
    let mut rules = Vec::new();
    if configuration.event_bridge_configuration.is_some() {
        rules.push(event_bridge()?);
    }
    for entry in configuration
        .lambda_function_configurations
        .unwrap_or_default()
    {
        let (target, qualifier) = function_target(&entry.lambda_function_arn)?;
        let rule = rule(entry.id, entry.events, entry.filter, target)?;
        rules.push(NotificationRule { qualifier, ..rule });
    }
    for entry in configuration.topic_configurations.unwrap_or_default() {
        let target = topic_target(&entry.topic_arn)?;
        rules.push(rule(entry.id, entry.events, entry.filter, target)?);
    }
    for entry in configuration.queue_configurations.unwrap_or_default() {
        let target = queue_target(&entry.queue_arn)?;
        rules.push(rule(entry.id, entry.events, entry.filter, target)?);
    }
    if rules.len() > MAX_RULES {
        return Err(invalid_argument(format!(
            "a bucket has at most {MAX_RULES} rules"
        )));
    }
    let ids: HashSet<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
    if ids.len() < rules.len() {
        return Err(invalid_argument("two configurations have the same Id"));
    }
    Ok(rules)
}

/// All changes, to the default bus, in EventBridge's own form.
fn event_bridge() -> S3Result<NotificationRule> {
    let all = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"];
    let events = all.map(|event| EventPattern::try_from(event.to_owned()));
    let events = events.into_iter().collect::<Result<_, _>>();
    Ok(NotificationRule {
        id: EVENT_BRIDGE.to_owned(),
        events: events.map_err(of_invalid(S3ErrorCode::InvalidArgument))?,
        prefix: String::new(),
        suffix: String::new(),
        target: Target::Bus {
            name: BusName::default_bus(),
        },
        qualifier: None,
        form: ChangeForm::EventBridge,
    })
}

fn rule(
    id: Option<String>,
    events: EventList,
    filter: Option<NotificationConfigurationFilter>,
    target: Target,
) -> S3Result<NotificationRule> {
    let id = id.filter(|id| !id.is_empty());
    let id = id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    if id.len() > 255 {
        return Err(invalid_argument("an Id has at most 255 characters"));
    }
    if events.is_empty() {
        return Err(invalid_argument(format!(
            "the configuration {id} names no event"
        )));
    }
    let pattern = |event: Event| {
        let pattern = EventPattern::try_from(String::from(event));
        pattern.map_err(of_invalid(S3ErrorCode::InvalidArgument))
    };
    let events = events
        .into_iter()
        .map(pattern)
        .collect::<S3Result<Vec<_>>>()?;
    let (prefix, suffix) = filter_of(filter)?;
    Ok(NotificationRule {
        id,
        events,
        prefix,
        suffix,
        target,
        qualifier: None,
        form: ChangeForm::Records,
    })
}

fn filter_of(filter: Option<NotificationConfigurationFilter>) -> S3Result<(String, String)> {
    let rules = filter
        .and_then(|filter| filter.key)
        .and_then(|key| key.filter_rules);
    let (mut prefix, mut suffix) = (None, None);
    for rule in rules.unwrap_or_default() {
        let name = rule.name.map(|name| name.as_str().to_ascii_lowercase());
        let place = match name.as_deref() {
            Some("prefix") => &mut prefix,
            Some("suffix") => &mut suffix,
            _ => return Err(invalid_argument("a filter rule is named prefix or suffix")),
        };
        let value = rule.value.unwrap_or_default();
        if value.len() > MAX_TEXT {
            return Err(invalid_argument(format!(
                "a filter has at most {MAX_TEXT} bytes"
            )));
        }
        if place.replace(value).is_some() {
            return Err(invalid_argument(
                "a filter has one prefix and one suffix at most",
            ));
        }
    }
    Ok((prefix.unwrap_or_default(), suffix.unwrap_or_default()))
}

fn shown_filter(rule: &NotificationRule) -> Option<NotificationConfigurationFilter> {
    let entry = |name: &'static str, value: &str| FilterRule {
        name: Some(FilterRuleName::from_static(name)),
        value: Some(value.to_owned()),
    };
    let mut rules = Vec::new();
    if !rule.prefix.is_empty() {
        rules.push(entry(FilterRuleName::PREFIX, &rule.prefix));
    }
    if !rule.suffix.is_empty() {
        rules.push(entry(FilterRuleName::SUFFIX, &rule.suffix));
    }
    let key = S3KeyFilter {
        filter_rules: Some(rules),
    };
    let filtered = !(rule.prefix.is_empty() && rule.suffix.is_empty());
    filtered.then_some(NotificationConfigurationFilter { key: Some(key) })
}

fn function_target(text: &str) -> S3Result<(Target, Option<Qualifier>)> {
    let (target, qualifier) = arn::woken_of(text).map_err(invalid_argument)?;
    match target {
        Target::Function { .. } => Ok((target, qualifier)),
        _ => Err(invalid_argument(
            "a CloudFunction is arn:aws:lambda:REGION:ACCOUNT:function:NAME, with :VERSION or :ALIAS if you want",
        )),
    }
}

fn queue_target(text: &str) -> S3Result<Target> {
    let target = arn::destination_of(text).map_err(invalid_argument)?;
    match target {
        Target::Queue { .. } => Ok(target),
        _ => Err(invalid_argument(
            "a Queue is arn:aws:sqs:REGION:ACCOUNT:NAME",
        )),
    }
}

fn topic_target(text: &str) -> S3Result<Target> {
    let target = arn::target_of(text).map_err(invalid_argument)?;
    match target {
        Target::Service { .. } | Target::Bus { .. } | Target::Webhook { .. } => Ok(target),
        _ => Err(invalid_argument(
            "a Topic here is a service, bus or webhook: arn:rouse:service:REGION:ACCOUNT:NAME/path, \
             arn:aws:events:REGION:ACCOUNT:event-bus/NAME or arn:rouse:webhook:REGION:ACCOUNT:NAME",
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use model::{FunctionName, ServiceName};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_name_survives_its_arn(
            function in "[A-Za-z0-9_-]{1,64}",
            service in "[a-z0-9]{1,20}",
            path in "/[a-z0-9:/._-]{0,40}",
        ) {
            let name: FunctionName = function.parse().unwrap();
            let found = function_target(&arn::of(&Target::Function { name: name.clone() }, "eu-west-1")).unwrap();
            prop_assert_eq!(found, (Target::Function { name }, None));
            let name: ServiceName = service.parse().unwrap();
            let target = Target::Service { name, path };
            let found = topic_target(&arn::of(&target, "eu-west-1")).unwrap();
            prop_assert_eq!(found, target);
        }

        #[test]
        fn no_arn_breaks_the_door(text in "(arn:)?[a-z:/$ ]{0,60}") {
            let _ = function_target(&text);
            let _ = topic_target(&text);
        }
    }

    fn function(id: &str, arn: &str) -> LambdaFunctionConfiguration {
        LambdaFunctionConfiguration {
            events: vec![Event::from("s3:ObjectCreated:*".to_owned())],
            filter: None,
            id: Some(id.to_owned()),
            lambda_function_arn: arn.to_owned(),
        }
    }

    fn of_functions(list: Vec<LambdaFunctionConfiguration>) -> NotificationConfiguration {
        NotificationConfiguration {
            lambda_function_configurations: Some(list),
            ..NotificationConfiguration::default()
        }
    }

    #[test]
    fn arns_lead_to_targets_and_back() {
        let name: FunctionName = "thumbnail".parse().unwrap();
        let arn = arn::of(&Target::Function { name: name.clone() }, "us-east-1");
        assert_eq!(
            arn,
            "arn:aws:lambda:us-east-1:000000000000:function:thumbnail"
        );
        assert_eq!(
            function_target(&arn).unwrap(),
            (Target::Function { name }, None)
        );
        let name: ServiceName = "catalog".parse().unwrap();
        let arn = arn::of(
            &Target::Service {
                name: name.clone(),
                path: "/events".into(),
            },
            "us-east-1",
        );
        let path = "/events".to_owned();
        assert_eq!(topic_target(&arn).unwrap(), Target::Service { name, path });
    }

    #[test]
    fn other_arns_are_refused() {
        for arn in ["", "thumbnail", "arn:aws:sns:us-east-1:000000000000:topic"] {
            assert!(function_target(arn).is_err(), "{arn}");
            assert!(topic_target(arn).is_err(), "{arn}");
        }
        assert!(function_target("arn:aws:lambda:r:a:function:f:v 1").is_err());
        let (target, qualifier) = function_target("arn:aws:lambda:r:a:function:f:v1").unwrap();
        assert_eq!(target.key(), "function:f");
        assert_eq!(qualifier.unwrap().to_string(), "v1");
        assert!(topic_target("arn:rouse:service:r:a:catalog/a b").is_err());
    }

    #[test]
    fn ids_are_unique_and_rules_are_bounded() {
        let arn = "arn:aws:lambda:r:a:function:f";
        assert!(rules_of(of_functions(vec![function("a", arn), function("a", arn)])).is_err());
        let many = (0..101).map(|n| function(&n.to_string(), arn)).collect();
        assert!(rules_of(of_functions(many)).is_err());
        let bridge = NotificationConfiguration {
            event_bridge_configuration: Some(EventBridgeConfiguration {}),
            ..of_functions(vec![function("a", arn)])
        };
        let rules = rules_of(bridge).unwrap();
        assert_eq!(rules[0].form, ChangeForm::EventBridge);
        assert_eq!(rules[0].target.key(), "bus:default");
        assert_eq!(rules[1].form, ChangeForm::Records);
        let unnamed = rules_of(of_functions(vec![function("", arn)])).unwrap();
        assert!(!unnamed[0].id.is_empty());
    }

    #[test]
    fn filters_are_read_in_any_case_and_once_each() {
        let filter = |names: &[&'static str]| {
            let rules = names.iter().map(|name| FilterRule {
                name: Some(FilterRuleName::from_static(name)),
                value: Some("x".to_owned()),
            });
            let key = S3KeyFilter {
                filter_rules: Some(rules.collect()),
            };
            Some(NotificationConfigurationFilter { key: Some(key) })
        };
        let both = filter_of(filter(&["Prefix", "suffix"])).unwrap();
        assert_eq!(both, ("x".to_owned(), "x".to_owned()));
        assert!(filter_of(filter(&["prefix", "Prefix"])).is_err());
        assert!(filter_of(filter(&["infix"])).is_err());
    }
}
