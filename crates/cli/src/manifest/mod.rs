//! The manifest: a Compose file.
//!
//! A service with an `x-rouse` block is a function, one without is a resident microservice, and the
//! top-level `x-rouse` block declares buckets and queues. What rouse does not serve is refused by name at its
//! line, never passed over.

mod bucket;
mod compose;
mod concurrency;
mod delivery;
mod fields;
mod function;
mod interpolate;
mod node;
mod place;
mod ports;
mod quantity;
mod queue;
mod schedule;
mod secret;
mod service;
mod settings;
mod target;
#[cfg(test)]
mod tests;
mod trigger;
mod volume;
mod words;

pub(crate) use bucket::DeclaredBucket;
pub(crate) use function::DeclaredFunction;
pub(crate) use interpolate::Variables;
pub(crate) use place::{ManifestError, Place, Source};
pub(crate) use quantity::{parse_bytes, parse_duration};
pub(crate) use queue::DeclaredQueue;
pub(crate) use secret::{DeclaredSecret, Origin};
pub(crate) use service::DeclaredService;
pub(crate) use settings::CodeSource;

use fields::Fields;
use model::SecretKind;
use node::Node;
use place::Result;
use std::path::PathBuf;
use std::sync::Arc;

/// Largest manifest that is read: 1 MiB.
pub(crate) const MAX_MANIFEST: u64 = 1024 * 1024;

/// What one or more manifests declare.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    /// `name`, if a file says it.
    pub(crate) project: Option<String>,
    /// Buckets with all their rules.
    pub(crate) buckets: Vec<DeclaredBucket>,
    /// Queues in the order of the files.
    pub(crate) queues: Vec<DeclaredQueue>,
    /// Functions in the order of the files.
    pub(crate) functions: Vec<DeclaredFunction>,
    /// Services in the order of the files.
    pub(crate) services: Vec<DeclaredService>,
    /// Secrets and configs in the order of the files.
    pub(crate) secrets: Vec<DeclaredSecret>,
    /// What the user should know and is no error.
    pub(crate) notes: Vec<String>,
}

/// What the parsers of one file need to know of the rest.
pub(crate) struct Context {
    /// The manifest's folder.
    folder: PathBuf,
    variables: Variables,
    /// Names of all services and functions.
    names: Vec<String>,
    /// Those of `names` that are functions.
    functions: Vec<String>,
    /// Names of declared volumes.
    volumes: Vec<String>,
    /// Declared secrets and configs.
    secrets: Vec<DeclaredSecret>,
    notes: Vec<String>,
}

impl Context {
    /// Refuses a target that is declared here and is not a `sort` (`function` or `service`).
    fn expect_sort(&self, node: &Node, sort: &str) -> Result<()> {
        let name = node.text(sort)?;
        let is_function = self.functions.iter().any(|known| known == name);
        let declared = self.names.iter().any(|known| known == name);
        if declared && is_function != (sort == "function") {
            let other = if is_function { "function" } else { "service" };
            return Err(node
                .error(format!("\"{name}\" is a {other}"))
                .hint(format!("write `{other}: {name}`")));
        }
        Ok(())
    }
}

impl Manifest {
    /// Reads one more file. Its names must not be declared yet.
    pub(crate) fn add(
        &mut self,
        source: &Arc<Source>,
        folder: PathBuf,
        mut variables: Variables,
    ) -> Result<()> {
        let root = Node::parse(source, &mut variables)?;
        let mut fields = Fields::of(&root, "the manifest")?;
        if let Some(node) = fields.take("name") {
            let name = node.text("name")?.to_owned();
            self.project.get_or_insert(name);
        }
        fields.take("version");
        let services = match fields.take("services") {
            Some(node) => node.map("services")?,
            None => &[],
        };
        let block = |node: &Node| -> Option<Node> {
            let entries = node.map("").ok()?.iter();
            let mut blocks = entries.filter(|(key, _)| key.text == "x-rouse");
            blocks.next().map(|(_, node)| node.clone())
        };
        let functions = services.iter().filter(|(_, node)| block(node).is_some());
        let mut context = Context {
            folder,
            names: services.iter().map(|(key, _)| key.text.clone()).collect(),
            functions: functions.map(|(key, _)| key.text.clone()).collect(),
            volumes: volume::parse_declared(fields.take("volumes"))?,
            secrets: Vec::new(),
            notes: Vec::new(),
            variables,
        };
        secret::parse_declared(&mut context, SecretKind::Secret, fields.take("secrets"))?;
        secret::parse_declared(&mut context, SecretKind::Config, fields.take("configs"))?;
        for (key, node) in services {
            self.refuse_second(&key.text, &key.place)?;
            match block(node) {
                Some(block) => {
                    let function = function::parse_function(&context, key, node, &block)?;
                    self.functions.push(function);
                }
                None => {
                    let service = service::parse_service(&mut context, key, node)?;
                    self.services.push(service);
                }
            }
        }
        if let Some(block) = fields.take("x-rouse") {
            let mut block = Fields::of(block, "x-rouse")?;
            for queue in queue::parse_queues(block.take("queues"))? {
                self.refuse_second_queue(&queue)?;
                self.queues.push(queue);
            }
            for bucket in bucket::parse_buckets(&context, block.take("buckets"))? {
                self.refuse_second_bucket(&bucket)?;
                self.buckets.push(bucket);
            }
            block.finish(&[])?;
        }
        fields.finish(compose::TOP)?;
        let unset = context.variables.unset();
        let unset =
            unset.map(|name| format!("{}: ${name} is not set; it is taken as empty", source.name));
        self.notes.extend(unset);
        self.notes.append(&mut context.notes);
        for secret in context.secrets {
            self.refuse_second_secret(&secret)?;
            self.secrets.push(secret);
        }
        Ok(())
    }

    /// Gives each function's triggers to the buckets, once all files are read.
    pub(crate) fn finish(&mut self) -> Result<()> {
        for function in &self.functions {
            for (name, place, rule) in &function.triggers {
                let bucket = self
                    .buckets
                    .iter_mut()
                    .find(|bucket| bucket.spec.name == *name);
                let Some(bucket) = bucket else {
                    return Err(place
                        .error(format!("no bucket \"{name}\" is declared"))
                        .hint(format!(
                            "add `x-rouse: {{buckets: {{{name}: {{}}}}}}` at the top level"
                        )));
                };
                bucket.add(rule.clone(), place)?;
            }
        }
        Ok(())
    }

    fn refuse_second(&self, name: &str, place: &Place) -> Result<()> {
        let functions = self.functions.iter().map(|f| (f.name.as_str(), &f.place));
        let services = self.services.iter().map(|s| (s.name.as_str(), &s.place));
        match functions.chain(services).find(|(known, _)| *known == name) {
            None => Ok(()),
            Some((_, first)) => Err(place
                .error(format!("\"{name}\" is declared already, at {first}"))
                .hint("files do not override each other; declare each thing once")),
        }
    }

    fn refuse_second_secret(&self, secret: &DeclaredSecret) -> Result<()> {
        let same =
            |known: &&DeclaredSecret| (known.kind, &known.name) == (secret.kind, &secret.name);
        match self.secrets.iter().find(same) {
            None => Ok(()),
            Some(first) => Err(secret
                .place
                .error(format!(
                    "{} \"{}\" is declared already, at {}",
                    secret.kind, secret.name, first.place
                ))
                .hint("files do not override each other; declare each thing once")),
        }
    }

    fn refuse_second_queue(&self, queue: &DeclaredQueue) -> Result<()> {
        let name = &queue.spec.name;
        match self.queues.iter().find(|known| known.spec.name == *name) {
            None => Ok(()),
            Some(first) => Err(queue
                .place
                .error(format!(
                    "queue \"{name}\" is declared already, at {}",
                    first.place
                ))
                .hint("files do not override each other; declare each thing once")),
        }
    }

    fn refuse_second_bucket(&self, bucket: &DeclaredBucket) -> Result<()> {
        let name = &bucket.spec.name;
        match self.buckets.iter().find(|known| known.spec.name == *name) {
            None => Ok(()),
            Some(first) => Err(bucket
                .place
                .error(format!(
                    "bucket \"{name}\" is declared already, at {}",
                    first.place
                ))
                .hint("files do not override each other; declare each thing once")),
        }
    }
}
