//! `deploy`, and the older keys for the same: how many replicas, what each may use, when it is started again.

use super::compose;
use super::dependency::{parse_restart, parse_restart_policy};
use super::fields::Fields;
use super::labels::parse_labels;
use super::node::Node;
use super::place::Result;
use super::quantity::{parse_bytes, parse_cpus};
use super::settings::set_limit;
use model::{Limits, Restart};

/// Memory of a service that sets no limit: 512 MiB.
const DEFAULT_MEMORY: u64 = 512 * 1024 * 1024;

/// What the keys say together.
pub(super) struct Resources {
    pub(super) replicas: u32,
    pub(super) limits: Limits,
    pub(super) restart: Restart,
}

/// Reads `deploy`, `scale`, `mem_limit`, `cpus`, `pids_limit` and `restart`.
///
/// # Errors
/// Besides those of the values: one thing is said in both ways.
pub(super) fn parse_resources(fields: &mut Fields<'_>) -> Result<Resources> {
    let mut resources = Resources {
        replicas: 1,
        limits: Limits {
            memory: DEFAULT_MEMORY,
            ..Limits::default()
        },
        restart: Restart::default(),
    };
    let replicas = fields.take("scale");
    let memory = fields.take("mem_limit");
    let cpus = fields.take("cpus");
    let pids = fields.take("pids_limit");
    let restart = fields.take("restart");
    let mut limits = Keys { memory, cpus, pids };
    let mut policy = None;
    let mut replicas = Once::of("scale", replicas);
    if let Some(node) = fields.take("deploy") {
        let mut fields = Fields::of(node, "deploy")?;
        replicas.or("deploy.replicas", fields.take("replicas"))?;
        if let Some(node) = fields.take("resources") {
            parse_limits(node, &mut limits)?;
        }
        policy = fields.take("restart_policy");
        if let Some(mode) = fields
            .take("mode")
            .filter(|node| node.text("").ok() != Some("replicated"))
        {
            return Err(mode
                .error("deploy.mode must be replicated")
                .hint("replicas are counted; write deploy.replicas"));
        }
        // Labels of a Swarm service. They are read, so that a mistake in them is seen.
        let labels = fields.take("labels");
        if !parse_labels(labels)?.is_empty() {
            let node = labels.unwrap_or(node);
            let message = "deploy: \"labels\" is not supported";
            return Err(node
                .error(message)
                .hint("write them as `labels` of the service"));
        }
        fields.finish(compose::DEPLOY)?;
    }
    if let Some(node) = replicas.node {
        resources.replicas = node.number("deploy.replicas")?;
        if resources.replicas > 100 {
            return Err(node.error("deploy.replicas must be 0 to 100"));
        }
    }
    set_limits(&limits, &mut resources.limits)?;
    resources.restart = match (policy, restart) {
        (Some(policy), Some(_)) => {
            let message = "the service has both `restart` and `deploy.restart_policy`";
            return Err(policy.error(message).hint("keep one of them"));
        }
        (Some(policy), None) => parse_restart_policy(policy)?,
        (None, Some(restart)) => parse_restart(restart)?,
        (None, None) => Restart::default(),
    };
    Ok(resources)
}

/// A value that may stand under one of two keys.
struct Once<'a> {
    key: &'static str,
    node: Option<&'a Node>,
}

impl<'a> Once<'a> {
    fn of(key: &'static str, node: Option<&'a Node>) -> Self {
        Self { key, node }
    }

    fn or(&mut self, key: &'static str, node: Option<&'a Node>) -> Result<()> {
        let Some(node) = node else {
            return Ok(());
        };
        let same = |other: &Node| other.text("").ok() == node.text("").ok();
        if self.node.is_some_and(|other| !same(other)) {
            let message = format!("`{key}` and `{}` say different things", self.key);
            return Err(node.error(message).hint("keep one of them"));
        }
        self.node = Some(node);
        Ok(())
    }
}

struct Keys<'a> {
    memory: Option<&'a Node>,
    cpus: Option<&'a Node>,
    pids: Option<&'a Node>,
}

fn parse_limits<'a>(node: &'a Node, keys: &mut Keys<'a>) -> Result<()> {
    let mut resources = Fields::of(node, "deploy.resources")?;
    if let Some(node) = resources.take("limits") {
        let mut fields = Fields::of(node, "deploy.resources.limits")?;
        let mut of = |old: &'static str, before: Option<&'a Node>, key: &'static str, name| {
            let mut once = Once::of(old, before);
            once.or(name, fields.take(key))?;
            Result::Ok(once.node)
        };
        keys.memory = of(
            "mem_limit",
            keys.memory,
            "memory",
            "deploy.resources.limits.memory",
        )?;
        keys.cpus = of("cpus", keys.cpus, "cpus", "deploy.resources.limits.cpus")?;
        keys.pids = of(
            "pids_limit",
            keys.pids,
            "pids",
            "deploy.resources.limits.pids",
        )?;
        fields.finish(&[])?;
    }
    resources.finish(&[(
        "reservations",
        "nothing is reserved on one machine; leave it out, and give the others limits",
    )])
}

fn set_limits(keys: &Keys<'_>, limits: &mut Limits) -> Result<()> {
    set_limit(limits, keys.memory, |limits, node| {
        limits.memory = node.parsed("memory", |text| parse_bytes(text, 1))?;
        Ok(())
    })?;
    set_limit(limits, keys.cpus, |limits, node| {
        limits.cpu = node.parsed("cpus", parse_cpus)?;
        Ok(())
    })?;
    set_limit(limits, keys.pids, |limits, node| {
        limits.pids = node.number("pids")?;
        Ok(())
    })
}
