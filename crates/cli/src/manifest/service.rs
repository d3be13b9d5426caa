//! A service without an `x-rouse` block: a resident microservice.

use super::code::{Said, is_base, parse_run};
use super::dependency::parse_depends_on;
use super::fields::Fields;
use super::function::{parse_driver, text};
use super::health::parse_health;
use super::labels::parse_labels;
use super::node::{Key, Node};
use super::place::{Place, Result};
use super::resources::parse_resources;
use super::schedule::parse_schedules;
use super::secret::parse_use;
use super::settings::{CodeSource, accept_chosen, parse_environment, parse_name};
use super::trigger::parse_bus_triggers;
use super::{Context, assured, compose, network, ports, volume};
use model::{
    Code, Contract, DeclaredRule, Dependency, Driver, Egress, HealthCheck, Limits, Networks,
    Restart, RuntimeName, ScheduleSpec, SecretUse, ServiceName, ServiceSpec, Target, VolumeMount,
};
use std::collections::BTreeMap;

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
    networks: Networks,
    restart: Restart,
    depends_on: Vec<Dependency>,
    labels: BTreeMap<String, String>,
    driver: Option<Driver>,
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
            networks: declared.networks,
            restart: declared.restart,
            depends_on: declared.depends_on,
            labels: declared.labels,
            driver: declared.driver,
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
pub(crate) fn parse_service(context: &Context, key: &Key, node: &Node) -> Result<DeclaredService> {
    let name: ServiceName = parse_name(key)?;
    let what = format!("service \"{name}\"");
    let mut fields = Fields::of(node, what.as_str())?;
    let base = fields.take("x-rouse-base");
    let is_image = base.is_some_and(|node| node.text("").is_ok_and(is_base));
    let said = Said {
        what: &what,
        place: &key.place,
        code: None,
        runtime: base.filter(|_| !is_image),
        base: base.filter(|_| is_image),
        handler: None,
        contract: Contract::Http,
    };
    let run = parse_run(context, &mut fields, said)?;
    let resources = parse_resources(&mut fields)?;
    let joined = network::parse_joined(context, &name, fields.take("networks"))?;
    let ports = ports::parse_ports(context, &name, &mut fields)?;
    if matches!(run.code, CodeSource::Folder { .. }) && run.command.is_none() {
        return Err(key
            .place
            .error(format!("{what} has no command"))
            .hint("a service from a folder needs one, such as `command: node server.js`"));
    }
    let (schedules, rules) = parse_triggers(fields.take("x-rouse-triggers"), &name)?;
    let declared = DeclaredService {
        runtime: run.runtime,
        command: run.command,
        entrypoint: run.entrypoint,
        working_dir: text(&mut fields, "working_dir")?,
        environment: parse_environment(context, &mut fields)?,
        secrets: {
            let variables = fields.take("x-rouse-secret-environment");
            parse_use(context, &mut fields, variables)?
        },
        health: parse_health(&mut fields, ports.first().copied())?,
        ports,
        replicas: resources.replicas,
        volumes: volume::parse_mounts(context, fields.take("volumes"))?,
        limits: resources.limits,
        restart: resources.restart,
        depends_on: parse_depends_on(context, &mut fields)?,
        labels: parse_labels(fields.take("labels"))?,
        driver: fields
            .take("x-rouse-driver")
            .map(parse_driver)
            .transpose()?,
        egress: joined.bound(fields.take("x-rouse-egress"))?,
        networks: joined.networks,
        schedules,
        rules,
        place: key.place.clone(),
        name,
        code: run.code,
    };
    accept_chosen(&mut fields);
    assured::check(&what, &mut fields)?;
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
