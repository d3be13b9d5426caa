//! Layers against a naive reading of the image spec.

use super::*;
use crate::testing::image::{Change as C, layer};
use crate::tree::Links;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// What a naive reading of the image spec makes of layers: whiteouts first, then the entries.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Folder,
    File(String),
}

type Files = BTreeMap<String, Node>;

fn below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn naive(lower: &mut Files, whiteouts: &[String], opaque: &[String], entries: &Files) {
    for hidden in whiteouts {
        lower.retain(|path, _| path != hidden && !below(path, hidden));
    }
    for folder in opaque {
        lower.retain(|path, _| !below(path, folder));
    }
    for (path, node) in entries {
        if *node != Node::Folder || lower.get(path).is_some_and(|found| *found != Node::Folder) {
            lower.retain(|other, _| other != path && !below(other, path));
        }
        lower.insert(path.clone(), node.clone());
    }
}

/// Closes a set of paths to a tree: what has something below it is a folder.
fn closed(paths: &BTreeMap<String, bool>, layer: usize) -> Files {
    let mut files = Files::new();
    for (path, folder) in paths {
        for (end, _) in path.match_indices('/') {
            files.insert(path[..end].to_owned(), Node::Folder);
        }
        let node = if *folder {
            Node::Folder
        } else {
            Node::File(format!("{path} {layer}"))
        };
        files.entry(path.clone()).or_insert(node);
    }
    // A file that another path goes through was put before its folder was known.
    let all: Vec<String> = files.keys().cloned().collect();
    for (path, node) in &mut files {
        if all.iter().any(|other| below(other, path)) {
            *node = Node::Folder;
        }
    }
    files
}

fn read_back(root: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root.join(&folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            if root.join(&path).is_dir() {
                files.insert(path.clone(), Node::Folder);
                folders.push(path);
            } else {
                files.insert(
                    path.clone(),
                    Node::File(std::fs::read_to_string(root.join(&path)).unwrap()),
                );
            }
        }
    }
    files
}

prop_compose! {
    fn any_layer()(
        paths in proptest::collection::btree_map("[abc](/[abc]){0,2}", any::<bool>(), 0..6),
        whiteouts in proptest::collection::vec("[abc](/[abc]){0,2}", 0..3),
        opaque in proptest::collection::vec("[abc](/[abc])?", 0..2),
        late: bool,
    ) -> (BTreeMap<String, bool>, Vec<String>, Vec<String>, bool) {
        (paths, whiteouts, opaque, late)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// Layers give what the naive reading gives, whether whiteouts stand before or after what the
    /// same layer brings.
    #[test]
    fn layers_are_applied_as_the_spec_says(layers in proptest::collection::vec(any_layer(), 1..5)) {
        let folder = tempfile::tempdir().unwrap();
        let tree = Tree::open(folder.path(), Links::Followed).unwrap();
        let mut expected = Files::new();
        for (number, (paths, whiteouts, opaque, late)) in layers.iter().enumerate() {
            let entries = closed(paths, number);
            naive(&mut expected, whiteouts, opaque, &entries);
            let hidden = whiteouts.iter().map(|path| match path.rsplit_once('/') {
                Some((parent, name)) => format!("{parent}/.wh.{name}"),
                None => format!(".wh.{path}"),
            });
            let opaque = opaque.iter().map(|path| format!("{path}/.wh..wh..opq"));
            let marks: Vec<String> = hidden.chain(opaque).collect();
            let marks = marks.iter().map(|path| C::File(path, "", 0o644));
            let brought = entries.iter().map(|(path, node)| match node {
                Node::Folder => C::Folder(path, 0o755),
                Node::File(content) => C::File(path, content, 0o644),
            });
            let changes: Vec<C<'_>> =
                if *late { brought.chain(marks).collect() } else { marks.chain(brought).collect() };
            let mut file = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut file, &layer(&changes)).unwrap();
            io::Seek::rewind(&mut file).unwrap();
            let mut budget = Budget { bytes: 1 << 20, entries: 1_000 };
            apply(&tree, file, &mut budget, |_| {}).unwrap();
        }
        prop_assert_eq!(read_back(folder.path()), expected);
    }
}
