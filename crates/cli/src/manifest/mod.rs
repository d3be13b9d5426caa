//! The manifest: a Compose file.
//!
//! A service with an `x-rouse` block is a function, one without is a resident microservice, and the
//! top-level `x-rouse` block declares buckets and queues. What rouse does not serve is refused by name at its
//! line, never passed over.
//!
//! One pass each: [`project`] finds the files and the variables, [`node`] reads a file and replaces its variables,
//! [`extends`] and [`merge`] make one tree of them, and the rest says what it means.

mod assured;
mod bucket;
mod code;
mod compose;
mod concurrency;
mod delivery;
mod dependency;
mod disguise;
mod dotenv;
mod env_file;
mod extends;
mod fields;
mod function;
mod health;
mod include;
mod interpolate;
mod labels;
mod merge;
mod network;
mod node;
mod place;
mod ports;
mod profile;
mod project;
mod quantity;
mod queue;
mod resources;
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
pub(crate) use disguise::looks_secret;
pub(crate) use function::DeclaredFunction;
pub(crate) use node::{Node, Value};
pub(crate) use place::{ManifestError, Place};
pub(crate) use project::ProjectOptions;
pub(crate) use quantity::{parse_bytes, parse_duration};
pub(crate) use queue::DeclaredQueue;
pub(crate) use secret::{DeclaredSecret, Origin};
pub(crate) use service::DeclaredService;
pub(crate) use settings::CodeSource;

use fields::Fields;
use interpolate::Variables;
use model::SecretKind;
use place::Result;
use project::Project;
use std::cell::RefCell;
use std::path::PathBuf;

/// Largest file of a manifest, or of variables, that is read: 1 MiB.
pub(crate) const MAX_MANIFEST: u64 = 1024 * 1024;

/// What a project declares.
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

/// What the parsers of one part need to know of the rest.
pub(crate) struct Context {
    /// To what paths are relative.
    folder: PathBuf,
    variables: Variables,
    /// Names of all services and functions that are deployed.
    names: Vec<String>,
    /// Names of those that are not, because no profile of theirs is active.
    inactive: Vec<String>,
    /// Those of `names` that are functions.
    functions: Vec<String>,
    /// Names of declared volumes.
    volumes: Vec<volume::DeclaredVolume>,
    /// Declared networks.
    networks: Vec<network::DeclaredNetwork>,
    /// Declared secrets and configs.
    secrets: Vec<DeclaredSecret>,
    notes: RefCell<Vec<String>>,
}

impl Context {
    /// Tells the user something that is no error.
    fn note(&self, text: String) {
        self.notes.borrow_mut().push(text);
    }

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
    /// Reads everything that a project's files say together.
    pub(crate) fn of(project: Project) -> Result<Self> {
        let root = &project.root;
        let mut manifest = Self::default();
        let mut fields = Fields::of(root, "the manifest")?;
        if let Some(node) = fields.take("name") {
            manifest.project = Some(node.text("name")?.to_owned());
        }
        fields.take("version");
        let services = match fields.take("services") {
            Some(node) => node.map("services")?,
            None => &[],
        };
        let profile::Chosen { services, inactive } = profile::choose(services, &project.profiles)?;
        let functions = services.iter().filter(|(_, node)| node.has("x-rouse"));
        let mut context = Context {
            names: services.iter().map(|(key, _)| key.text.clone()).collect(),
            inactive,
            functions: functions.map(|(key, _)| key.text.clone()).collect(),
            volumes: volume::parse_declared(fields.take("volumes"))?,
            networks: network::parse_declared(fields.take("networks"))?,
            secrets: Vec::new(),
            notes: RefCell::default(),
            folder: project.folder,
            variables: project.variables,
        };
        secret::parse_declared(&mut context, SecretKind::Secret, fields.take("secrets"))?;
        secret::parse_declared(&mut context, SecretKind::Config, fields.take("configs"))?;
        for (key, node) in services {
            match node.get("x-rouse") {
                Some(block) => {
                    let function = function::parse_function(&context, key, node, block)?;
                    manifest.functions.push(function);
                }
                None => {
                    let service = service::parse_service(&context, key, node)?;
                    manifest.services.push(service);
                }
            }
        }
        if let Some(block) = fields.take("x-rouse") {
            let mut block = Fields::of(block, "x-rouse")?;
            manifest.queues = queue::parse_queues(block.take("queues"))?;
            manifest.buckets = bucket::parse_buckets(&context, block.take("buckets"))?;
            block.finish(&[])?;
        }
        fields.finish(compose::TOP)?;
        let unset = context.variables.unset();
        let first = &project.first;
        let unset = unset.map(|name| format!("{first}: ${name} is not set; it is taken as empty"));
        manifest.notes = unset.collect();
        manifest.notes.append(&mut context.notes.into_inner());
        for secret in context.secrets {
            manifest.refuse_second_secret(&secret)?;
            manifest.secrets.push(secret);
        }
        manifest.finish()?;
        Ok(manifest)
    }

    /// Gives each function's triggers to the buckets.
    fn finish(&mut self) -> Result<()> {
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

    /// Two keys that mean the same name in the server.
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
                .hint("give it another `name`, or use the first one")),
        }
    }
}
