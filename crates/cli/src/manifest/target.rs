//! What something wakes or tells: `{queue: done}`, `{service: catalog, path: /failed}`.

use super::Context;
use super::bucket::parse_path;
use super::fields::Fields;
use super::node::Node;
use super::place::Result;
use model::{Destinations, QueueName, Target};

/// Reads the one key of `sorts` that names a target, and a service's `path`. `what` is what must name
/// one, such as "a rule".
pub(crate) fn parse_target(
    context: &Context,
    fields: &mut Fields<'_>,
    at: &Node,
    what: &str,
    sorts: &[&'static str],
) -> Result<Target> {
    let mut named = Vec::new();
    for sort in sorts {
        named.extend(fields.take(sort).map(|node| (*sort, node)));
    }
    let path = fields.take("path");
    let [(sort, node)] = named[..] else {
        let message = format!("{what} must name exactly one of: {}", sorts.join(", "));
        let hint = "such as `service: catalog` with `path: /events`, or `function: thumbnail`";
        return Err(at.error(message).hint(hint));
    };
    if let (Some(path), true) = (path, sort != "service") {
        return Err(path.error(format!("a {sort} takes no path; only a service does")));
    }
    if matches!(sort, "function" | "service") {
        context.expect_sort(node, sort)?;
    }
    Ok(match sort {
        "function" => Target::Function {
            name: name(node, sort)?,
        },
        "service" => Target::Service {
            name: name(node, sort)?,
            path: path.map_or(Ok("/".to_owned()), parse_path)?,
        },
        "queue" => Target::Queue {
            name: name(node, sort)?,
        },
        "bus" => Target::Bus {
            name: name(node, sort)?,
        },
        "bucket" => Target::Bucket {
            name: name(node, sort)?,
        },
        _ => Target::Webhook {
            name: name(node, sort)?,
        },
    })
}

fn name<T>(node: &Node, sort: &str) -> Result<T>
where
    T: std::str::FromStr<Err = model::Invalid>,
{
    let told =
        |invalid: model::Invalid| node.error(format!("{}: {}", invalid.field, invalid.reason));
    node.text(sort)?.parse().map_err(told)
}

/// The queue of `dead_letter`.
pub(crate) fn parse_dead_letter(node: &Node) -> Result<QueueName> {
    let queue: QueueName = name(node, "dead_letter")?;
    if queue.is_fifo() {
        return Err(node.error("dead_letter must be a standard queue"));
    }
    Ok(queue)
}

/// `on_success`, `on_failure` and `dead_letter` of a function.
pub(crate) fn parse_destinations(
    context: &Context,
    fields: &mut Fields<'_>,
    own: &Target,
) -> Result<Destinations> {
    const SORTS: [&str; 6] = ["function", "service", "queue", "bus", "bucket", "webhook"];
    let mut parse = |key: &'static str| -> Result<Option<Target>> {
        let Some(node) = fields.take(key) else {
            return Ok(None);
        };
        let mut inner = Fields::of(node, key)?;
        let target = parse_target(context, &mut inner, node, key, &SORTS)?;
        inner.finish(&[])?;
        let one = Destinations {
            on_success: Some(target.clone()),
            ..Destinations::default()
        };
        one.check(own)
            .map_err(|invalid| node.error(format!("{key} {}", invalid.reason)))?;
        Ok(Some(target))
    };
    let (on_success, on_failure) = (parse("on_success")?, parse("on_failure")?);
    let dead_letter = fields.take("dead_letter");
    let dead_letter = dead_letter.map(parse_dead_letter).transpose()?;
    Ok(Destinations {
        on_success,
        on_failure,
        dead_letter,
        modified: None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::interpolate::Variables;
    use super::super::place::Source;
    use super::*;
    use std::sync::Arc;

    fn parse(text: &str) -> Result<Destinations> {
        let source = Arc::new(Source {
            name: "compose.yaml".into(),
            text: text.into(),
        });
        let context = Context {
            folder: ".".into(),
            variables: Variables::default(),
            names: vec!["f".into(), "g".into(), "s".into()],
            functions: vec!["f".into(), "g".into()],
            volumes: Vec::new(),
            networks: Vec::new(),
            secrets: Vec::new(),
            inactive: Vec::new(),
            notes: Default::default(),
        };
        let node = Node::parse(&source, &mut Variables::default()).unwrap();
        let mut fields = Fields::of(&node, "x-rouse").unwrap();
        let own = Target::Function {
            name: "f".parse().unwrap(),
        };
        parse_destinations(&context, &mut fields, &own)
    }

    #[test]
    fn each_sort_of_destination_is_read() {
        let keys = |text: &str| {
            let parsed = parse(text).unwrap();
            (
                parsed.on_success.map(|target| target.key()),
                parsed.on_failure.map(|target| target.key()),
            )
        };
        let some = |key: &str| Some(key.to_owned());
        let text = "on_success: {service: s, path: /done}\non_failure: {bucket: records}";
        assert_eq!(keys(text), (some("service:s/done"), some("bucket:records")));
        let text = "on_success: {function: g}\non_failure: {bus: default}";
        assert_eq!(keys(text), (some("function:g"), some("bus:default")));
        let letters = parse("dead_letter: letters").unwrap().dead_letter;
        assert_eq!(letters.unwrap().as_str(), "letters");
    }

    #[test]
    fn what_cannot_be_told_is_refused_at_its_line() {
        for (text, said) in [
            ("on_failure: {function: f}", "itself"),
            ("on_failure: {function: s}", "is a service"),
            ("on_failure: {queue: q.fifo}", "FIFO"),
            ("on_failure: {queue: q, bus: b}", "exactly one"),
            ("on_failure: {}", "exactly one"),
            ("on_failure: {queue: q, path: /a}", "takes no path"),
            ("dead_letter: q.fifo", "standard"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
