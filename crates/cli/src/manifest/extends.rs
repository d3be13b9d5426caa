//! `extends`: a service that begins as a copy of another, of its own file or of one beside it.

use super::interpolate::Variables;
use super::merge::merge_service;
use super::node::{Key, Node, Value};
use super::place::Result as PlaceResult;
use super::project::read_one;
use crate::error::Result;
use std::path::{Component, Path, PathBuf};

/// Longest chain of services that extend each other.
const MAX_CHAIN: usize = 16;

/// The same file with every `extends` carried out.
///
/// # Errors
/// What is named is not there, extends itself, or stands in another folder, whose paths would mean other files.
pub(super) fn resolve(root: Node, path: &Path, variables: &mut Variables) -> Result<Node> {
    let Some(services) = root.get("services") else {
        return Ok(root);
    };
    let Value::Map(services) = &services.value else {
        return Ok(root);
    };
    if !services.iter().any(|(_, service)| service.has("extends")) {
        return Ok(root);
    }
    let mut extended = Vec::with_capacity(services.len());
    for (key, service) in services {
        let service = extend(service.clone(), &root, path, variables, 0)?;
        extended.push((key.clone(), service));
    }
    Ok(with(root, "services", extended))
}

/// One service with what it extends.
fn extend(
    service: Node,
    root: &Node,
    path: &Path,
    variables: &mut Variables,
    depth: usize,
) -> Result<Node> {
    let Some(extends) = service.get("extends").cloned() else {
        return Ok(service);
    };
    if depth == MAX_CHAIN {
        let message =
            format!("services extend each other in a circle, or more than {MAX_CHAIN} times");
        return Err(extends.error(message).into());
    }
    let (name, file) = names(&extends)?;
    let other: Option<(PathBuf, Node)> = match file {
        Some(file) => Some(open(&file, path, variables)?),
        None => None,
    };
    let (path, root) = match &other {
        Some((path, root)) => (path.as_path(), root),
        None => (path, root),
    };
    let services = root.get("services");
    let Some(base) = services.and_then(|services| services.get(name.text("service").unwrap_or("")))
    else {
        let shown = name.text("service").unwrap_or("").escape_debug();
        let message = format!("extends: {} has no service \"{shown}\"", path.display());
        return Err(name.error(message).into());
    };
    let base = extend(base.clone(), root, path, variables, depth + 1)?;
    Ok(merge_service(base, without(service, "extends"))?)
}

/// The service that is named, and the file if it is another.
fn names(extends: &Node) -> PlaceResult<(Node, Option<Node>)> {
    if let Value::Text(_) = extends.value {
        return Ok((extends.clone(), None));
    }
    let mut fields = super::fields::Fields::of(extends, "extends")?;
    let service = fields.require("service", "other")?;
    service.text("extends.service")?;
    let file = fields.take("file").cloned();
    fields.finish(&[])?;
    Ok((service.clone(), file))
}

fn open(file: &Node, path: &Path, variables: &mut Variables) -> Result<(PathBuf, Node)> {
    let written = Path::new(file.text("extends.file")?);
    let mut parts = written
        .components()
        .filter(|part| *part != Component::CurDir);
    let (Some(Component::Normal(_)), None) = (parts.next(), parts.next()) else {
        return Err(file
            .error("extends.file must be a file beside this one")
            .hint("paths in a file of another folder would mean other files; move it here, or give it with -f")
            .into());
    };
    let other = path.with_file_name(written);
    if !other.is_file() {
        let message = format!("the file {} does not exist", other.display());
        return Err(file.error(message).into());
    }
    let root = read_one(&other, variables)?;
    Ok((other, root))
}

fn with(root: Node, name: &str, entries: Vec<(Key, Node)>) -> Node {
    let Value::Map(map) = root.value else {
        return root;
    };
    let mut entries = Some(entries);
    let map = map.into_iter().map(|(key, node)| {
        if key.text != name {
            return (key, node);
        }
        let entries = entries.take().unwrap_or_default();
        let value = Value::Map(entries);
        (key, Node { value, ..node })
    });
    Node {
        value: Value::Map(map.collect()),
        ..root
    }
}

fn without(service: Node, name: &str) -> Node {
    let Value::Map(mut map) = service.value else {
        return service;
    };
    map.retain(|(key, _)| key.text != name);
    Node {
        value: Value::Map(map),
        ..service
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::manifest::place::Source;
    use std::sync::Arc;

    /// The merged service `a`, as key and text of its keys.
    fn resolved(text: &str, other: &str) -> std::result::Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("other.yaml"), other).unwrap();
        let source = Arc::new(Source {
            name: "compose.yaml".to_owned(),
            text: text.to_owned(),
        });
        let mut variables = Variables::default();
        let root = Node::parse(&source, &mut variables).unwrap();
        let path = folder.path().join("compose.yaml");
        let root = resolve(root, &path, &mut variables).map_err(|error| error.to_string())?;
        let service = root.get("services").unwrap().get("a").unwrap().clone();
        let keys = service.map("").unwrap().iter();
        let shown =
            keys.map(|(key, node)| format!("{}={}", key.text, node.text("").unwrap_or("…")));
        Ok(shown.collect())
    }

    #[test]
    fn a_service_begins_as_a_copy() {
        let text = "services:
  a: {extends: b, image: own}
  b: {extends: {service: c, file: ./other.yaml}, user: of b}";
        let other = "services: {c: {image: of c, restart: always}}";
        let found = resolved(text, other).unwrap();
        assert_eq!(found, ["image=own", "restart=always", "user=of b"]);
    }

    #[test]
    fn what_cannot_be_extended_is_named_at_its_place() {
        let cases = [
            (
                "services:\n  a: {extends: none}",
                "2:16",
                "has no service \"none\"",
            ),
            ("services:\n  a: {extends: a}", "2:16", "in a circle"),
            (
                "services:\n  a: {extends: {service: c, file: gone.yaml}}",
                "2:35",
                "does not exist",
            ),
            (
                "services:\n  a: {extends: {service: c, file: ../other.yaml}}",
                "2:35",
                "beside this one",
            ),
            (
                "services:\n  a: {extends: {file: other.yaml}}",
                "2:16",
                "has no \"service\"",
            ),
        ];
        for (text, place, words) in cases {
            let error = resolved(text, "services: {}").unwrap_err();
            assert!(
                error.starts_with(&format!("compose.yaml:{place}: ")),
                "{error}"
            );
            assert!(error.contains(words), "{error}");
        }
    }
}
