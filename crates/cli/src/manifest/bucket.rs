//! Buckets and what they wake: the top-level `x-rouse` block.

use super::Context;
use super::fields::Fields;
use super::node::{Key, Node};
use super::place::{Place, Result};
use super::settings::parse_name;
use super::target::parse_target;
use model::{BucketName, BucketSpec, ChangeForm, EventPattern, NotificationRule, Target};

/// A rule that has no id yet.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    events: Vec<EventPattern>,
    prefix: String,
    suffix: String,
    target: Target,
}

/// A bucket that is declared.
#[derive(Debug, Clone)]
pub(crate) struct DeclaredBucket {
    /// The bucket with the rules found so far.
    pub(crate) spec: BucketSpec,
}

/// Most rules of one bucket, as S3 has it.
const MAX_RULES: usize = 100;

impl DeclaredBucket {
    /// Adds a rule and names it after its target and its number, so that the same manifest always
    /// gives the same ids.
    pub(crate) fn add(&mut self, rule: Rule, place: &Place) -> Result<()> {
        let rules = &mut self.spec.notify;
        if rules.len() == MAX_RULES {
            let message = format!(
                "bucket \"{}\" has more than {MAX_RULES} rules",
                self.spec.name
            );
            return Err(place.error(message));
        }
        let name = match &rule.target {
            Target::Function { name } => format!("function-{name}"),
            Target::Service { name, .. } => format!("service-{name}"),
            Target::Queue { name } => format!("queue-{}", name.as_str().replace('.', "-")),
            Target::Bus { name } => format!("bus-{name}"),
            Target::Webhook { name } => format!("webhook-{name}"),
            Target::Bucket { name } => format!("bucket-{name}"),
        };
        rules.push(NotificationRule {
            id: format!("{name}-{}", rules.len() + 1),
            events: rule.events,
            prefix: rule.prefix,
            suffix: rule.suffix,
            // A bus is told as S3 tells EventBridge.
            form: match rule.target {
                Target::Bus { .. } => ChangeForm::EventBridge,
                _ => ChangeForm::Records,
            },
            target: rule.target,
            qualifier: None,
        });
        Ok(())
    }
}

/// `buckets` of the top-level `x-rouse` block, each with its `notify` rules.
pub(crate) fn parse_buckets(context: &Context, node: Option<&Node>) -> Result<Vec<DeclaredBucket>> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    let entries = node.map("buckets")?.iter();
    let buckets = entries.map(|(key, node)| parse_bucket(context, key, node));
    buckets.collect()
}

fn parse_bucket(context: &Context, key: &Key, node: &Node) -> Result<DeclaredBucket> {
    let name: BucketName = parse_name(key)?;
    let mut fields = Fields::of(node, format!("bucket \"{name}\""))?;
    let mut bucket = DeclaredBucket {
        spec: BucketSpec {
            name,
            notify: Vec::new(),
        },
    };
    if let Some(node) = fields.take("notify") {
        for entry in node.list("notify")? {
            let rule = parse_notification(context, entry)?;
            bucket.add(rule, &entry.place)?;
        }
    }
    fields.finish(&[])?;
    Ok(bucket)
}

fn parse_notification(context: &Context, node: &Node) -> Result<Rule> {
    let mut fields = Fields::of(node, "notify")?;
    let sorts = ["function", "service", "queue", "bus"];
    let target = parse_target(context, &mut fields, node, "a rule", &sorts)?;
    if let Target::Queue { name } = &target
        && name.is_fifo()
    {
        let message = format!("\"{name}\" is a FIFO queue, and an event has no message group");
        return Err(node.error(message).hint("name a standard queue"));
    }
    let rule = parse_rule(&mut fields, target)?;
    fields.finish(&[])?;
    Ok(rule)
}

/// A URL's path.
pub(crate) fn parse_path(node: &Node) -> Result<String> {
    node.parsed("path", |text| {
        let legal = |b: u8| b.is_ascii_graphic() && b != b'#';
        if text.starts_with('/') && text.len() <= 1024 && text.bytes().all(legal) {
            Ok(text.to_owned())
        } else {
            Err(format!(
                "must begin with / and be a URL's path, and is {text:?}"
            ))
        }
    })
}

/// `events`, `prefix` and `suffix` of a rule or trigger.
pub(crate) fn parse_rule(fields: &mut Fields<'_>, target: Target) -> Result<Rule> {
    let mut events = Vec::new();
    if let Some(node) = fields.take("events") {
        for entry in node.list("events")? {
            let text = entry.text("event")?.to_owned();
            events.push(EventPattern::try_from(text).map_err(|invalid| {
                entry.error(format!("{}: {}", invalid.field, invalid.reason))
            })?);
        }
        if events.is_empty() {
            return Err(node
                .error("events is empty")
                .hint("leave it out for s3:ObjectCreated:*"));
        }
    } else {
        let created = EventPattern::try_from("s3:ObjectCreated:*".to_owned());
        events.extend(created.ok());
    }
    let mut filter = |name: &'static str| -> Result<String> {
        let Some(node) = fields.take(name) else {
            return Ok(String::new());
        };
        let text = node.text(name)?;
        if text.len() > 1024 {
            return Err(node.error(format!("{name} is longer than 1024 bytes, a key's bound")));
        }
        Ok(text.to_owned())
    };
    Ok(Rule {
        events,
        prefix: filter("prefix")?,
        suffix: filter("suffix")?,
        target,
    })
}
