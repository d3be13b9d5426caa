//! `ports` and `expose`: which TCP ports a service listens on.

use super::Context;
use super::fields::Fields;
use super::node::{Node, Value};
use super::place::Result;
use model::ServiceName;

/// Most ports of one service.
const MAX_PORTS: usize = 8;

/// The container ports in the order of the file; the first is the service's HTTP port.
pub(crate) fn parse_ports(
    context: &Context,
    name: &ServiceName,
    fields: &mut Fields<'_>,
) -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    let nodes = [
        ("ports", fields.take("ports")),
        ("expose", fields.take("expose")),
    ];
    for (what, node) in nodes {
        let Some(node) = node else { continue };
        for entry in node.list(what)? {
            let port = match &entry.value {
                Value::Map(_) => parse_long(context, name, entry)?,
                _ => parse_short(context, name, entry, what)?,
            };
            if !ports.contains(&port) {
                ports.push(port);
            }
            if ports.len() > MAX_PORTS {
                return Err(entry.error(format!("a service has at most {MAX_PORTS} ports")));
            }
        }
    }
    Ok(ports)
}

/// `8080`, `8080:8080`, `127.0.0.1:8080:8080/tcp`: the last number counts.
fn parse_short(context: &Context, name: &ServiceName, node: &Node, what: &str) -> Result<u16> {
    let text = node.text(what)?;
    let (addresses, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if protocol != "tcp" {
        return Err(node.error(format!(
            "{what}: only TCP is served, and this is {protocol:?}"
        )));
    }
    let (published, target) = match addresses.rsplit_once(':') {
        Some((published, target)) => (Some(published), target),
        None => (None, addresses),
    };
    let port = parse_port(node, what, target)?;
    if let Some(published) = published {
        note_published(context, name, published);
    }
    Ok(port)
}

fn parse_long(context: &Context, name: &ServiceName, node: &Node) -> Result<u16> {
    let mut fields = Fields::of(node, "port")?;
    let target = fields.require("target", "8080")?;
    let port = parse_port(target, "target", target.text("target")?)?;
    if let Some(protocol) = fields
        .take("protocol")
        .filter(|node| node.text("").ok() != Some("tcp"))
    {
        return Err(protocol.error("ports: only TCP is served"));
    }
    if let Some(published) = fields.take("published") {
        note_published(context, name, published.text("published")?);
    }
    for accepted in ["mode", "host_ip", "app_protocol", "name"] {
        fields.take(accepted);
    }
    fields.finish(&[])?;
    Ok(port)
}

fn parse_port(node: &Node, what: &str, text: &str) -> Result<u16> {
    match text.parse() {
        Ok(0) | Err(_) if text.contains('-') => Err(node
            .error(format!(
                "{what}: ranges are not served, and this is {text:?}"
            ))
            .hint("write each port by itself")),
        Ok(0) | Err(_) => Err(node.error(format!(
            "{what}: must be a port from 1 to 65535, and is {text:?}"
        ))),
        Ok(port) => Ok(port),
    }
}

fn note_published(context: &Context, name: &ServiceName, published: &str) {
    context.note(format!(
        "service {name}: port {published} is not opened on this machine; it answers below /svc/{name}/"
    ));
}
