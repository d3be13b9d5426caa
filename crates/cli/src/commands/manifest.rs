//! `rouse manifest`: the manifest as rouse understands it.

use crate::error::{Error, Result};
use crate::manifest::{Node, ProjectOptions, Value, looks_secret};
use crate::output;
use saphyr::{Mapping, ScalarStyle, Yaml, YamlEmitter};

/// Show the manifest with its files merged and its variables replaced
///
/// Examples:
///   rouse manifest                                    # and whether it can be deployed
///   rouse manifest -f compose.yaml -f production.yaml
///   rouse manifest --profile metrics --json
///
/// It asks no server and changes nothing. Values of variables in `environment`, `labels` and build arguments that
/// look like secrets are not shown.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(flatten)]
    project: ProjectOptions,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    /// Print nothing: only check it
    #[arg(short, long)]
    quiet: bool,
}

/// Stands in the place of a value that is not shown.
const HIDDEN: &str = "(not shown)";

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<()> {
    let project = options.project.read()?;
    let mut root = project.root.clone();
    let (manifest, name) = project.manifest()?;
    for note in &manifest.notes {
        output::note(format_args!("note: {}", output::clean(note, false)));
    }
    if options.quiet {
        return Ok(());
    }
    hide(&mut root, "");
    if options.json {
        return output::json(&json(&root));
    }
    let mut text = String::new();
    let mut emitter = YamlEmitter::new(&mut text);
    let emitted = emitter.dump(&yaml(&root));
    emitted.map_err(|error| Error::Failed(format!("writing YAML: {error}")))?;
    let text = text.strip_prefix("---\n").unwrap_or(&text);
    output::line(format_args!(
        "# {}\n{}",
        output::clean(&name, false),
        output::clean(text, true)
    ))
}

/// Takes secrets out of mappings and lists of variables.
fn hide(node: &mut Node, key: &str) {
    let variables = matches!(key, "environment" | "labels" | "args");
    match &mut node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                match &mut value.value {
                    Value::Text(text) if variables && looks_secret(&key.text, text) => {
                        HIDDEN.clone_into(text);
                    }
                    _ => hide(value, &key.text),
                }
            }
        }
        Value::List(entries) => {
            for entry in entries {
                match &mut entry.value {
                    Value::Text(text) if variables => {
                        let (name, value) = text.split_once('=').unwrap_or((text, ""));
                        if looks_secret(name, value) && !value.is_empty() {
                            *text = format!("{name}={HIDDEN}");
                        }
                    }
                    _ => hide(entry, ""),
                }
            }
        }
        Value::Null | Value::Text(_) => {}
    }
}

fn yaml(node: &Node) -> Yaml<'_> {
    match &node.value {
        Value::Null => Yaml::Representation("".into(), ScalarStyle::Plain, None),
        Value::Text(text) if node.plain && is_plain(text) => {
            Yaml::Representation(text.replace('$', "$$").into(), ScalarStyle::Plain, None)
        }
        Value::Text(text) => Yaml::scalar_from_string(text.replace('$', "$$")),
        Value::List(entries) => Yaml::Sequence(entries.iter().map(yaml).collect()),
        Value::Map(entries) => {
            let pairs = entries.iter();
            let pairs =
                pairs.map(|(key, value)| (Yaml::scalar_from_string(key.text.clone()), yaml(value)));
            Yaml::Mapping(pairs.collect::<Mapping<'_>>())
        }
    }
}

/// Whether a text is a number or a word that needs no quotes. Others are quoted where YAML needs it.
fn is_plain(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/');
    !text.is_empty() && text.bytes().all(legal)
}

fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Text(text) if node.plain => match text.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            text => match text.parse::<i64>() {
                // A number that is written otherwise, such as 007, is a text.
                Ok(number) if number.to_string() == text => number.into(),
                _ => text.into(),
            },
        },
        Value::Text(text) => text.as_str().into(),
        Value::List(entries) => entries.iter().map(json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.text.clone(), json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}
