//! A service with an `x-rouse` block: a function.

use super::bucket::{Rule, parse_rule};
use super::code::{Said, parse_run};
use super::concurrency::parse_scaling;
use super::dependency::check_depends_on;
use super::fields::Fields;
use super::labels::parse_unkept;
use super::node::{Key, Node};
use super::place::{Place, Result};
use super::quantity::{parse_bytes, parse_cpus, parse_duration};
use super::queue::parse_mappings;
use super::schedule::parse_schedules;
use super::secret::parse_use;
use super::settings::{CodeSource, accept_chosen, parse_environment, parse_name, set_limit};
use super::target::parse_destinations;
use super::trigger::parse_bus_triggers;
use super::words::parse_command;
use super::{Context, assured, compose, network};
use model::{
    BucketName, Code, Contract, DeclaredRule, Destinations, Driver, Egress, Fresh, FunctionName,
    FunctionSpec, Limits, MappingSpec, Networks, RetryPolicy, RuntimeName, Scaling, ScheduleSpec,
    SecretUse, Snapshot, Target,
};
use std::collections::BTreeMap;

const MIB: u64 = 1024 * 1024;

/// A function, but for its code's address, which is not known before the folder is archived.
#[derive(Debug, Clone)]
pub(crate) struct DeclaredFunction {
    /// Its name.
    pub(crate) name: FunctionName,
    /// Where its code comes from.
    pub(crate) code: CodeSource,
    /// Where its name stands.
    pub(crate) place: Place,
    /// What wakes it, by bucket.
    pub(crate) triggers: Vec<(BucketName, Place, Rule)>,
    /// What wakes it, by the clock.
    pub(crate) schedules: Vec<ScheduleSpec>,
    /// Which queues it reads.
    pub(crate) mappings: Vec<MappingSpec>,
    /// What wakes it, by bus.
    pub(crate) rules: Vec<DeclaredRule>,
    description: String,
    runtime: RuntimeName,
    handler: Option<String>,
    contract: Contract,
    follow: bool,
    entrypoint: Option<Vec<String>>,
    command: Option<Vec<String>>,
    working_dir: Option<String>,
    environment: BTreeMap<String, String>,
    secrets: SecretUse,
    limits: Limits,
    scaling: Scaling,
    fresh: Fresh,
    snapshot: Snapshot,
    egress: Option<Egress>,
    networks: Networks,
    driver: Option<Driver>,
    retry: RetryPolicy,
    destinations: Destinations,
}

impl DeclaredFunction {
    /// The declaration with its code; the rules of the model are checked.
    pub(crate) fn with_code(&self, code: Code) -> Result<FunctionSpec> {
        let declared = self.clone();
        let spec = FunctionSpec {
            name: declared.name,
            description: declared.description,
            runtime: declared.runtime,
            handler: declared.handler,
            code,
            follow: declared.follow,
            contract: declared.contract,
            entrypoint: declared.entrypoint,
            command: declared.command,
            working_dir: declared.working_dir,
            environment: declared.environment,
            secrets: declared.secrets,
            limits: declared.limits,
            scaling: declared.scaling,
            fresh: declared.fresh,
            snapshot: declared.snapshot,
            egress: declared.egress,
            networks: declared.networks,
            driver: declared.driver,
            retry: declared.retry,
            destinations: declared.destinations,
            role: String::new(),
        };
        match spec.check() {
            Ok(()) => Ok(spec),
            Err(invalid) => {
                let message = format!("function \"{}\": {invalid}", self.name);
                Err(self.place.error(message))
            }
        }
    }
}

/// Reads one function: its name, the whole service, and the `x-rouse` block in it.
pub(crate) fn parse_function(
    context: &Context,
    key: &Key,
    node: &Node,
    block: &Node,
) -> Result<DeclaredFunction> {
    let name: FunctionName = parse_name(key)?;
    let what = format!("function \"{name}\"");
    let mut outer = Fields::of(node, what.as_str())?;
    outer.take("x-rouse");
    let mut inner = Fields::of(block, format!("{what}, x-rouse"))?;
    let contract = inner.take("contract").map(parse_contract).transpose()?;
    let said = Said {
        what: &what,
        place: &key.place,
        code: inner.take("code"),
        runtime: inner.take("runtime"),
        base: inner.take("base"),
        handler: text(&mut inner, "handler")?,
        contract: contract.unwrap_or_default(),
    };
    let run = parse_run(context, &mut outer, said)?;
    let target = Target::Function { name: name.clone() };
    let joined = network::parse_joined_by_function(context, &name, outer.take("networks"))?;
    let triggers = inner.take("triggers");
    let declared = DeclaredFunction {
        runtime: run.runtime,
        handler: run.handler,
        contract: contract.unwrap_or_default(),
        follow: parse_follow(inner.take("follow"), &run.code)?,
        description: text(&mut inner, "description")?.unwrap_or_default(),
        entrypoint: run.entrypoint,
        command: run.command,
        working_dir: text(&mut outer, "working_dir")?,
        environment: parse_environment(context, &mut outer)?,
        secrets: parse_use(context, &mut outer, inner.take("secret_environment"))?,
        limits: parse_limits(&mut inner)?,
        scaling: parse_scaling(inner.take("concurrency"), contract.unwrap_or_default())?,
        fresh: inner
            .take("fresh")
            .map(parse_fresh)
            .transpose()?
            .unwrap_or_default(),
        snapshot: match inner.take("snapshot") {
            Some(node) => parse_snapshot(node, run.runtime, contract.unwrap_or_default())?,
            None => Snapshot::None,
        },
        egress: joined.bound(inner.take("egress"))?,
        networks: joined.networks,
        driver: inner.take("driver").map(parse_driver).transpose()?,
        retry: parse_retry(inner.take("retry"))?,
        destinations: parse_destinations(context, &mut inner, &target)?,
        triggers: parse_triggers(triggers, &target)?,
        schedules: parse_schedules(triggers, &target)?,
        mappings: parse_mappings(triggers, &name)?,
        rules: parse_bus_triggers(triggers, &target)?,
        place: key.place.clone(),
        name,
        code: run.code,
    };
    check_depends_on(context, &mut outer)?;
    parse_unkept(context, &what, &mut outer)?;
    accept_chosen(&mut outer);
    assured::check(&what, &mut outer)?;
    inner.finish(&[])?;
    outer.finish(&[compose::FUNCTION, compose::SERVICE].concat())?;
    let managed = matches!(
        declared.runtime,
        RuntimeName::Nodejs20 | RuntimeName::Python311
    );
    if managed && declared.contract == Contract::Lambda && declared.handler.is_none() {
        return Err(block
            .error(format!("{what} has no handler"))
            .hint("add `handler: index.handler`: the file without its ending, and the function"));
    }
    Ok(declared)
}

/// A text at a key, if there is one.
pub(crate) fn text(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<String>> {
    let node = fields.take(name);
    node.map(|node| node.text(name).map(str::to_owned))
        .transpose()
}

/// A command line at a key, if there is one.
pub(crate) fn words(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<Vec<String>>> {
    let node = fields.take(name);
    node.map(|node| parse_command(node, name)).transpose()
}

fn parse_contract(node: &Node) -> Result<Contract> {
    node.parsed("contract", |text| match text {
        "lambda" => Ok(Contract::Lambda),
        "http" => Ok(Contract::Http),
        other => Err(format!("must be lambda or http, and is {other:?}")),
    })
}

pub(crate) fn parse_driver(node: &Node) -> Result<Driver> {
    node.parsed("driver", |text| match text.parse() {
        Ok(driver) => Ok(driver),
        Err(_) => Err(format!("must be sandbox or docker, and is {text:?}")),
    })
}

fn parse_follow(node: Option<&Node>, code: &CodeSource) -> Result<bool> {
    let Some(node) = node else {
        return Ok(false);
    };
    let follow = node.parsed("follow", |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(format!("must be true or false, and is {other:?}")),
    })?;
    match code {
        CodeSource::Image { .. } => Ok(follow),
        _ if follow => Err(node
            .error("follow is for an image, and the code is a folder")
            .hint("write `image: localhost:4566/shop/thumbnail:prod`, a tag of this server's registry")),
        _ => Ok(follow),
    }
}

fn parse_fresh(node: &Node) -> Result<Fresh> {
    node.parsed("fresh", |text| match text {
        "reuse" => Ok(Fresh::Reuse),
        "always" => Ok(Fresh::Always),
        other => Err(format!("must be always or reuse, and is {other:?}")),
    })
}

fn parse_snapshot(node: &Node, runtime: RuntimeName, contract: Contract) -> Result<Snapshot> {
    let snapshot = node.parsed("snapshot", |text| match text {
        "init" => Ok(Snapshot::Init),
        "none" => Ok(Snapshot::None),
        other => Err(format!("must be init or none, and is {other:?}")),
    })?;
    match snapshot.check(runtime, contract) {
        Ok(()) => Ok(snapshot),
        Err(invalid) => Err(node.error(invalid.to_string())),
    }
}

/// The runtime of a folder must be said; that of an image is the image.
pub(crate) fn parse_runtime(
    what: &str,
    code: &CodeSource,
    node: Option<&Node>,
    place: &Place,
) -> Result<RuntimeName> {
    let runtime = match node {
        Some(node) => Some((
            node,
            node.text("runtime")?
                .parse::<RuntimeName>()
                .map_err(|invalid| node.error(format!("{what}, runtime: {}", invalid.reason)))?,
        )),
        None => None,
    };
    let is_folder = matches!(code, CodeSource::Folder { .. });
    match runtime {
        None | Some((_, RuntimeName::Image)) if !is_folder => Ok(RuntimeName::Image),
        Some((node, _)) if !is_folder => Err(node
            .error(format!("{what} has an image and a runtime"))
            .hint("an image brings its own; leave the runtime out, or use `build: ./folder`")),
        Some((node, RuntimeName::Image)) => Err(node
            .error(format!("{what} is a folder, and its runtime is \"image\""))
            .hint("use nodejs20.x, python3.11 or provided; or `image: NAME` in place of `build`")),
        Some((_, runtime)) => Ok(runtime),
        None => Err(place
            .error(format!("{what} does not say what runs its folder"))
            .hint("functions: `x-rouse: {runtime: nodejs20.x}`, services: `x-rouse-base: nodejs20.x`; or python3.11, provided; a folder with a Dockerfile needs none")),
    }
}

fn parse_limits(fields: &mut Fields<'_>) -> Result<Limits> {
    let mut limits = Limits::default();
    set_limit(&mut limits, fields.take("memory"), |limits, node| {
        limits.memory = node.parsed("memory", |text| parse_bytes(text, MIB))?;
        Ok(())
    })?;
    set_limit(&mut limits, fields.take("timeout"), |limits, node| {
        limits.timeout = node.parsed("timeout", parse_duration)?;
        Ok(())
    })?;
    set_limit(&mut limits, fields.take("cpu"), |limits, node| {
        limits.cpu = node.parsed("cpu", parse_cpus)?;
        Ok(())
    })?;
    set_limit(&mut limits, fields.take("tmp"), |limits, node| {
        limits.tmp = node.parsed("tmp", |text| parse_bytes(text, MIB))?;
        Ok(())
    })?;
    set_limit(&mut limits, fields.take("pids"), |limits, node| {
        limits.pids = node.number("pids")?;
        Ok(())
    })?;
    set_limit(&mut limits, fields.take("files"), |limits, node| {
        limits.files = node.number("files")?;
        Ok(())
    })?;
    Ok(limits)
}

fn parse_retry(node: Option<&Node>) -> Result<RetryPolicy> {
    let mut retry = RetryPolicy::default();
    let Some(node) = node else {
        return Ok(retry);
    };
    let mut fields = Fields::of(node, "retry")?;
    if let Some(node) = fields.take("attempts") {
        retry.max_attempts = node.number("retry.attempts")?;
        if !(1..=100).contains(&retry.max_attempts) {
            return Err(node.error("retry.attempts must be 1 to 100"));
        }
    }
    if let Some(node) = fields.take("base_delay") {
        retry.base_delay = node.parsed("retry.base_delay", parse_duration)?;
    }
    if let Some(node) = fields.take("max_delay") {
        retry.max_delay = node.parsed("retry.max_delay", parse_duration)?;
    }
    if let Some(node) = fields.take("max_age") {
        retry.max_age = node.parsed("retry.max_age", parse_duration)?;
    }
    if let Some(node) = fields.take("jitter") {
        let wrong = |_| "must be full, half or none".to_owned();
        retry.jitter = node.parsed("retry.jitter", |text| text.parse().map_err(wrong))?;
    }
    fields.finish(&[])?;
    Ok(retry)
}

fn parse_triggers(node: Option<&Node>, target: &Target) -> Result<Vec<(BucketName, Place, Rule)>> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    let mut triggers = Vec::new();
    let entries = node.list("triggers")?.iter();
    let others = ["schedule", "queue", "bus"];
    for entry in entries.filter(|entry| !others.iter().any(|key| entry.has(key))) {
        let mut fields = Fields::of(entry, "trigger")?;
        let bucket = fields.require("bucket", "photos")?;
        let name = bucket
            .text("bucket")?
            .parse()
            .map_err(|invalid: model::Invalid| {
                bucket.error(format!("{}: {}", invalid.field, invalid.reason))
            })?;
        let rule = parse_rule(&mut fields, target.clone())?;
        fields.finish(&[])?;
        triggers.push((name, bucket.place.clone(), rule));
    }
    Ok(triggers)
}
