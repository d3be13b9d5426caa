//! `include`: files that are read by themselves, each in its own folder, and whose services and other things are then
//! among those of the project. Other than with `-f` nothing is merged: what stands twice is an error.

use super::extends;
use super::fields::Fields;
use super::interpolate::Variables;
use super::merge::{merge, settle};
use super::node::{Key, Node, Value};
use super::place::Result as PlaceResult;
use super::project::read_one;
use crate::error::Result;
use std::path::Path;

/// Deepest chain of files that include each other.
const MAX_DEPTH: usize = 16;
/// Most files that are included in all.
const MAX_FILES: usize = 64;
/// At the top of a file: mappings of things that have names.
const NAMED: [&str; 5] = ["services", "networks", "volumes", "secrets", "configs"];
/// At the top of a file: what says nothing of what is in it.
const ITS_OWN: [&str; 3] = ["name", "version", "include"];

/// The merged files of a project with all that they include.
///
/// # Errors
/// A file cannot be read; a thing is declared twice, and differently.
pub(super) fn resolve(root: Node, folder: &Path, variables: &mut Variables) -> Result<Node> {
    let mut reading = Reading {
        folder,
        variables,
        files: 0,
    };
    reading.carry_out(root, "", 0)
}

struct Reading<'a> {
    /// The project's, to which the paths of the result are relative.
    folder: &'a Path,
    variables: &'a mut Variables,
    files: usize,
}

impl Reading<'_> {
    /// `root` is a file whose own folder is `below` the project's.
    fn carry_out(&mut self, mut root: Node, below: &str, depth: usize) -> Result<Node> {
        let Some(include) = root.get("include").cloned() else {
            return Ok(root);
        };
        if depth == MAX_DEPTH {
            let message =
                format!("files include each other in a circle, or more than {MAX_DEPTH} deep");
            return Err(include.error(message).into());
        }
        let mut entries = match &mut root.value {
            Value::Map(entries) => std::mem::take(entries),
            _ => Vec::new(),
        };
        entries.retain(|(key, _)| key.text != "include");
        for entry in include.list("include")? {
            let Value::Map(included) = self.read(entry, below, depth)?.value else {
                continue;
            };
            for (key, node) in included {
                add(&mut entries, key, node)?;
            }
        }
        Ok(Node {
            value: Value::Map(entries),
            ..root
        })
    }

    /// One entry, its paths as from the project's folder.
    fn read(&mut self, entry: &Node, below: &str, depth: usize) -> Result<Node> {
        let (paths, directory) = parse(entry)?;
        let first = paths.first().map(|path| path.text("include"));
        let first = first.transpose()?.unwrap_or_default();
        let own = match directory {
            Some(node) => node.text("project_directory")?,
            None => Path::new(first)
                .parent()
                .and_then(Path::to_str)
                .unwrap_or(""),
        };
        let own = at(below, own);
        if !own.is_empty() && self.folder.join(&own).join(".env").exists() {
            let message = format!("{own} has a .env of its own, which is not read");
            let hint = "variables come from the .env of the project's folder; write them there, and remove it";
            return Err(entry.error(message).hint(hint).into());
        }
        let mut merged: Option<Node> = None;
        for path in paths {
            self.files += 1;
            if self.files > MAX_FILES {
                let message = format!("more than {MAX_FILES} files are included");
                return Err(path.error(message).into());
            }
            let file = self.folder.join(at(below, path.text("include")?));
            if !file.is_file() {
                let message = format!("the file {} does not exist", file.display());
                let hint = "paths are relative to the folder of the file that includes";
                return Err(path.error(message).hint(hint).into());
            }
            let root = read_one(&file, self.variables)?;
            let root = extends::resolve(root, &file, self.variables)?;
            merged = Some(match merged {
                None => settle(root),
                Some(base) => merge(base, root)?,
            });
        }
        let Some(mut root) = merged else {
            return Err(entry.error("include names no file").into());
        };
        move_paths(&mut root, &own);
        self.carry_out(root, &own, depth + 1)
    }
}

/// The files of an entry, and their folder if it says one.
fn parse(entry: &Node) -> PlaceResult<(Vec<&Node>, Option<&Node>)> {
    if !matches!(entry.value, Value::Map(_)) {
        return Ok((vec![entry], None));
    }
    let mut fields = Fields::of(entry, "include")?;
    let path = fields.require("path", "./other.yaml")?;
    let directory = fields.take("project_directory");
    fields.finish(&[(
        "env_file",
        "variables come from the .env of the project's folder, or `rouse deploy --env-file`; leave it out",
    )])?;
    let paths = match &path.value {
        Value::List(paths) => paths.iter().collect(),
        _ => vec![path],
    };
    Ok((paths, directory))
}

/// Puts what a file has at its top among what there is.
fn add(entries: &mut Vec<(Key, Node)>, key: Key, node: Node) -> PlaceResult<()> {
    let name = key.text.as_str();
    let fragment = name.starts_with("x-") && !name.starts_with("x-rouse");
    if fragment || ITS_OWN.contains(&name) || matches!(node.value, Value::Null) {
        return Ok(());
    }
    let known = entries.iter_mut().find(|(known, _)| known.text == name);
    let Some((_, known)) = known else {
        entries.push((key, node));
        return Ok(());
    };
    match (&mut known.value, node.value) {
        (Value::Null, value) => known.value = value,
        (Value::Map(known), Value::Map(new)) if NAMED.contains(&name) => add_all(known, new)?,
        (Value::Map(known), Value::Map(new)) if name == "x-rouse" => {
            for (key, node) in new {
                match known.iter_mut().find(|(known, _)| known.text == key.text) {
                    None => known.push((key, node)),
                    Some((
                        _,
                        Node {
                            value: Value::Map(known),
                            ..
                        },
                    )) => {
                        add_all(known, node.map(&key.text)?.to_vec())?;
                    }
                    Some((_, known)) => *known = node,
                }
            }
        }
        (_, value) => {
            let place = node.place;
            let node = Node {
                value,
                place,
                plain: node.plain,
                amend: node.amend,
            };
            if !same(known, &node) {
                return Err(twice(&key, known.place.to_string()));
            }
        }
    }
    Ok(())
}

/// Things with names; the same may stand twice, since a file may be included by two.
fn add_all(known: &mut Vec<(Key, Node)>, new: Vec<(Key, Node)>) -> PlaceResult<()> {
    for (key, node) in new {
        match known.iter().find(|(known, _)| known.text == key.text) {
            None => known.push((key, node)),
            Some((_, other)) if same(other, &node) => {}
            Some((first, _)) => return Err(twice(&key, first.place.to_string())),
        }
    }
    Ok(())
}

fn twice(key: &Key, first: String) -> Box<super::ManifestError> {
    let message = format!(
        "\"{}\" is declared already, at {first}",
        key.text.escape_debug()
    );
    let hint = "what is included is not merged: give one another name, or give the files with -f";
    key.place.error(message).hint(hint)
}

/// Whether two values are written alike, wherever they stand.
fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Null, Value::Null) => true,
        (Value::Text(one), Value::Text(other)) => one == other,
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Map(one), Value::Map(entries)) => {
            let mut each = one.iter();
            let found = |(key, node): &(Key, Node)| {
                other.get(&key.text).is_some_and(|other| same(node, other))
            };
            one.len() == entries.len() && each.all(found)
        }
        _ => false,
    }
}

/// A path that is written in a file whose folder is `below` the project's.
fn at(below: &str, written: &str) -> String {
    match (below.is_empty(), written.is_empty()) {
        _ if written.starts_with('/') => written.to_owned(),
        (true, _) => written.to_owned(),
        (false, true) => below.to_owned(),
        (false, false) => format!("{below}/{written}"),
    }
}

/// Makes the paths of a file those of the project.
fn move_paths(root: &mut Node, below: &str) {
    if below.is_empty() {
        return;
    }
    let to = |node: &mut Node| {
        if let Value::Text(written) = &mut node.value {
            *written = at(below, written);
        }
    };
    for service in each(root, "services") {
        if let Some(build) = child(service, "build") {
            match child(build, "context") {
                Some(context) => to(context),
                None => to(build),
            }
        }
        let code = child(service, "x-rouse").and_then(|block| child(block, "code"));
        code.into_iter().for_each(to);
        if let Some(files) = child(service, "env_file") {
            let files = match &mut files.value {
                Value::List(files) => files.as_mut_slice(),
                _ => std::slice::from_mut(files),
            };
            for file in files {
                match child(file, "path") {
                    Some(path) => to(path),
                    None => to(file),
                }
            }
        }
    }
    for sort in ["secrets", "configs"] {
        for declared in each(root, sort) {
            child(declared, "file").into_iter().for_each(to);
        }
    }
}

fn child<'a>(node: &'a mut Node, name: &str) -> Option<&'a mut Node> {
    let Value::Map(entries) = &mut node.value else {
        return None;
    };
    let mut entries = entries.iter_mut();
    entries
        .find(|(key, _)| key.text == name)
        .map(|(_, node)| node)
}

fn each<'a>(root: &'a mut Node, name: &str) -> impl Iterator<Item = &'a mut Node> {
    let entries = match child(root, name).map(|node| &mut node.value) {
        Some(Value::Map(entries)) => entries.as_mut_slice(),
        _ => &mut [],
    };
    entries.iter_mut().map(|(_, node)| node)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::manifest::place::Source;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn node(text: &str) -> Node {
        let source = Arc::new(Source {
            name: "compose.yaml".to_owned(),
            text: text.to_owned(),
        });
        Node::parse(&source, &mut Variables::default()).unwrap()
    }

    /// What `text` is with what it includes of these files.
    fn resolved(text: &str, files: &[(&str, &str)]) -> std::result::Result<Node, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let root = resolve(node(text), folder.path(), &mut Variables::default());
        root.map_err(|error| error.to_string())
    }

    #[test]
    fn things_are_joined_and_paths_are_of_the_file_that_says_them() {
        let text = "{name: shop, include: [a/one.yaml, {path: [b/two.yaml, b/more.yaml]}], \
                    services: {s: {image: x}}, x-rouse: {queues: {q: }}}";
        let one = "{name: other, x-free: 1, include: [deep/three.yaml], volumes: {v: }, services: {t: {build: ./t, \
                   env_file: [e.env, {path: /abs.env}], x-rouse: {code: c}}}, x-rouse: {queues: {r: }}}";
        let two =
            "{services: {u: {build: {context: ../u}, env_file: u.env}}, secrets: {k: {file: k}}}";
        let files = [
            ("a/one.yaml", one),
            ("a/deep/three.yaml", "services: {w: {build: .}}"),
            ("b/two.yaml", two),
            ("b/more.yaml", "services: {u: {image: more}}"),
        ];
        let found = resolved(text, &files).unwrap();
        let expected = node(
            "{name: shop, services: {s: {image: x}, t: {build: a/./t, env_file: [a/e.env, {path: /abs.env}], \
             x-rouse: {code: a/c}}, w: {build: a/deep/.}, u: {build: {context: b/../u}, env_file: b/u.env, \
             image: more}}, x-rouse: {queues: {q: , r: }}, volumes: {v: }, secrets: {k: {file: b/k}}}",
        );
        assert!(same(&found, &expected), "{found:#?}");
    }

    #[test]
    fn the_same_twice_is_one_and_another_is_an_error() {
        let shared = "services: {s: {image: x}}";
        let files = [
            ("a.yaml", shared),
            ("b.yaml", shared),
            ("c.yaml", "services: {s: {image: y}}"),
        ];
        assert!(resolved("include: [a.yaml, b.yaml]", &files).is_ok());
        let cases = [
            (
                "include: [a.yaml, c.yaml]",
                "c.yaml:1:12",
                "\"s\" is declared already",
            ),
            (
                "include: [gone.yaml]",
                "compose.yaml:1:11",
                "does not exist",
            ),
            ("include: a.yaml", "compose.yaml:1:10", "must be a list"),
            (
                "include: [{path: []}]",
                "compose.yaml:1:11",
                "names no file",
            ),
            (
                "include: [{path: a.yaml, env_file: b}]",
                "compose.yaml:1:26",
                "not supported",
            ),
        ];
        for (text, place, words) in cases {
            let error = resolved(text, &files).unwrap_err();
            assert!(error.contains(&format!("{place}: ")), "{error}");
            assert!(error.contains(words), "{error}");
        }
        let circle = [("d/a.yaml", "include: [../d/a.yaml]")];
        let error = resolved("include: [d/a.yaml]", &circle).unwrap_err();
        assert!(error.contains("in a circle"), "{error}");
        let own = [("d/a.yaml", shared), ("d/.env", "A=b")];
        let error = resolved("include: [d/a.yaml]", &own).unwrap_err();
        assert!(error.contains(".env of its own"), "{error}");
    }

    proptest! {
        #[test]
        fn a_path_leads_where_its_file_meant(below in "[a-c./]{0,6}", written in "[a-c./]{0,6}") {
            let moved = at(&below, &written);
            let meant = Path::new("/project").join(&below).join(&written);
            let components = |path: &Path| path.components().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
            prop_assert_eq!(components(&Path::new("/project").join(moved)), components(&meant));
        }
    }
}
