//! A service without an `x-rouse` block: a resident microservice.

use super::fields::Fields;
use super::function::{parse_runtime, text, words};
use super::node::{Key, Node, Value};
use super::place::{Place, Result};
use super::quantity::{parse_bytes, parse_cpus, parse_duration};
use super::schedule::parse_schedules;
use super::secret::parse_use;
use super::settings::{
    CodeSource, accept_labels_and_depends_on, parse_code, parse_egress, parse_environment,
    parse_name, set_limit,
};
use super::trigger::parse_bus_triggers;
use super::{Context, compose, ports, volume};
use model::{
    Code, DeclaredRule, Egress, HealthCheck, Limits, RuntimeName, ScheduleSpec, SecretUse,
    ServiceName, ServiceSpec, Target, VolumeMount,
};
use std::collections::BTreeMap;

/// Memory of a service that sets no limit: 512 MiB.
const DEFAULT_MEMORY: u64 = 512 * 1024 * 1024;

/// A service, but for its code's address, which is not known before the folder is archived.
#[derive(Debug, Clone)]
pub(crate) struct DeclaredService {
    /// Its name.
    pub(crate) name: ServiceName,
    /// Where its code comes from.
    pub(crate) code: CodeSource,
    /// Where its name stands.
    pub(crate) place: Place,
    /// What wakes it, by the clock.
    pub(crate) schedules: Vec<ScheduleSpec>,
    /// What wakes it, by bus.
    pub(crate) rules: Vec<DeclaredRule>,
    runtime: RuntimeName,
    command: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    working_dir: Option<String>,
    environment: BTreeMap<String, String>,
    secrets: SecretUse,
    ports: Vec<u16>,
    replicas: u32,
    health: HealthCheck,
    volumes: Vec<VolumeMount>,
    limits: Limits,
    egress: Option<Egress>,
}

impl DeclaredService {
    /// The declaration with its code; the rules of the model are checked.
    pub(crate) fn with_code(&self, code: Code) -> Result<ServiceSpec> {
        let declared = self.clone();
        let spec = ServiceSpec {
            name: declared.name,
            runtime: declared.runtime,
            code,
            command: declared.command,
            entrypoint: declared.entrypoint,
            working_dir: declared.working_dir,
            environment: declared.environment,
            secrets: declared.secrets,
            ports: declared.ports,
            replicas: declared.replicas,
            health: declared.health,
            volumes: declared.volumes,
            limits: declared.limits,
            egress: declared.egress,
        };
        match spec.check() {
            Ok(()) => Ok(spec),
            Err(invalid) => {
                let message = format!("service \"{}\": {invalid}", self.name);
                Err(self.place.error(message))
            }
        }
    }
}

/// Reads one service.
pub(crate) fn parse_service(
    context: &mut Context,
    key: &Key,
    node: &Node,
) -> Result<DeclaredService> {
    let name: ServiceName = parse_name(key)?;
    let what = format!("service \"{name}\"");
    let mut fields = Fields::of(node, what.as_str())?;
    let code = parse_code(context, &what, &mut fields, None, &key.place)?;
    let runtime = parse_runtime(&what, &code, fields.take("x-rouse-base"), &key.place)?;
    let (replicas, limits) = parse_deploy(fields.take("deploy"))?;
    let command = words(&mut fields, "command")?;
    if matches!(code, CodeSource::Folder { .. }) && command.is_none() {
        return Err(key
            .place
            .error(format!("{what} has no command"))
            .hint("a service from a folder needs one, such as `command: node server.js`"));
    }
    let (schedules, rules) = parse_triggers(fields.take("x-rouse-triggers"), &name)?;
    let declared = DeclaredService {
        runtime,
        command,
        entrypoint: words(&mut fields, "entrypoint")?,
        working_dir: text(&mut fields, "working_dir")?,
        environment: parse_environment(context, &mut fields)?,
        secrets: {
            let variables = fields.take("x-rouse-secret-environment");
            parse_use(context, &mut fields, variables)?
        },
        ports: ports::parse_ports(context, &name, &mut fields)?,
        replicas,
        health: parse_health(&mut fields)?,
        volumes: volume::parse_mounts(context, fields.take("volumes"))?,
        limits,
        egress: parse_egress(fields.take("x-rouse-egress"))?,
        schedules,
        rules,
        place: key.place.clone(),
        name,
        code,
    };
    if let Some(node) = fields.take("restart") {
        node.parsed("restart", |text| match text {
            "always" | "unless-stopped" => Ok(()),
            other => Err(format!(
                "must be always or unless-stopped, since a resident service is always started \
                 again; and is {other:?}"
            )),
        })?;
    }
    accept_labels_and_depends_on(context, &mut fields)?;
    fields.finish(compose::SERVICE)?;
    Ok(declared)
}

/// A service is woken by buckets' rules, by the clock and by buses; what buckets wake is declared with
/// them.
fn parse_triggers(
    node: Option<&Node>,
    name: &ServiceName,
) -> Result<(Vec<ScheduleSpec>, Vec<DeclaredRule>)> {
    let target = Target::Service {
        name: name.clone(),
        path: "/".to_owned(),
    };
    let entries = node.map(|node| node.list("x-rouse-triggers")).transpose()?;
    let mut entries = entries.unwrap_or_default().iter();
    if let Some(entry) = entries.find(|entry| !entry.has("schedule") && !entry.has("bus")) {
        return Err(entry
            .error("a service's trigger must have a schedule or a bus")
            .hint("write `schedule: rate(5 minutes)`, or `{bus: default, pattern: {source: [shop]}}`; what a bucket wakes stands in its `notify`"));
    }
    Ok((
        parse_schedules(node, &target)?,
        parse_bus_triggers(node, &target)?,
    ))
}

fn parse_deploy(node: Option<&Node>) -> Result<(u32, Limits)> {
    let mut limits = Limits {
        memory: DEFAULT_MEMORY,
        ..Limits::default()
    };
    let mut replicas = 1;
    let Some(node) = node else {
        return Ok((replicas, limits));
    };
    let mut fields = Fields::of(node, "deploy")?;
    if let Some(node) = fields.take("replicas") {
        replicas = node.number("deploy.replicas")?;
        if replicas > 100 {
            return Err(node.error("deploy.replicas must be 0 to 100"));
        }
    }
    if let Some(node) = fields.take("resources") {
        let mut resources = Fields::of(node, "deploy.resources")?;
        if let Some(node) = resources.take("limits") {
            parse_limits(node, &mut limits)?;
        }
        resources.finish(&[(
            "reservations",
            "nothing is reserved on one machine; leave it out",
        )])?;
    }
    fields.finish(compose::DEPLOY)?;
    Ok((replicas, limits))
}

fn parse_limits(node: &Node, limits: &mut Limits) -> Result<()> {
    let mut fields = Fields::of(node, "deploy.resources.limits")?;
    set_limit(limits, fields.take("memory"), |limits, node| {
        limits.memory = node.parsed("memory", |text| parse_bytes(text, 1))?;
        Ok(())
    })?;
    set_limit(limits, fields.take("cpus"), |limits, node| {
        limits.cpu = node.parsed("cpus", parse_cpus)?;
        Ok(())
    })?;
    set_limit(limits, fields.take("pids"), |limits, node| {
        limits.pids = node.number("pids")?;
        Ok(())
    })?;
    fields.finish(&[])
}

fn parse_health(fields: &mut Fields<'_>) -> Result<HealthCheck> {
    let mut health = HealthCheck::default();
    if let Some(node) = fields.take("healthcheck") {
        let mut fields = Fields::of(node, "healthcheck")?;
        let mut set = |name: &'static str, value: &mut u64| -> Result<()> {
            let Some(node) = fields.take(name) else {
                return Ok(());
            };
            *value = node.parsed(name, parse_duration)?;
            if (1..=3_600_000).contains(value) || name == "start_period" {
                return Ok(());
            }
            Err(node.error(format!("healthcheck.{name} must be 1 ms to 1 h")))
        };
        set("interval", &mut health.interval)?;
        set("timeout", &mut health.timeout)?;
        set("start_period", &mut health.start_period)?;
        if let Some(node) = fields.take("retries") {
            health.retries = node.number("healthcheck.retries")?;
            if health.retries == 0 {
                return Err(node.error("healthcheck.retries must be 1 or more"));
            }
        }
        fields.finish(compose::HEALTHCHECK)?;
    }
    if let Some(node) = fields.take("x-rouse-health") {
        let mut fields = Fields::of(node, "x-rouse-health")?;
        let path = fields.require("path", "/health")?;
        let text = path.text("x-rouse-health.path")?;
        if !text.starts_with('/') || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(path.error(format!("path must begin with /, and is {text:?}")));
        }
        health.path = Some(text.to_owned());
        fields.finish(&[])?;
    }
    Ok(health)
}

/// The text of a node that may be a number or a text, or the entries of its long form.
pub(crate) fn is_mapping(node: &Node) -> bool {
    matches!(node.value, Value::Map(_))
}
