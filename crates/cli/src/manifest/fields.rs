//! Reading a mapping key by key, so that what nobody asked for is refused by name at its place.

use super::node::{Key, Node};
use super::place::Result;

/// A mapping that is being read.
pub(crate) struct Fields<'a> {
    /// What it is, such as `service "catalog"`.
    what: String,
    node: &'a Node,
    entries: &'a [(Key, Node)],
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// Begins to read `node`, which must be a mapping.
    pub(crate) fn of(node: &'a Node, what: impl Into<String>) -> Result<Self> {
        let what = what.into();
        Ok(Self {
            entries: node.map(&what)?,
            what,
            node,
            asked: Vec::new(),
        })
    }

    /// The value of a key, if it is there and not null.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<&'a Node> {
        self.take_entry(name).map(|(_, node)| node)
    }

    /// As `take`, with the key.
    pub(crate) fn take_entry(&mut self, name: &'static str) -> Option<(&'a Key, &'a Node)> {
        self.asked.push(name);
        let (key, node) = self.entries.iter().find(|(key, _)| key.text == name)?;
        (!matches!(node.value, super::node::Value::Null)).then_some((key, node))
    }

    /// The value of a key that must be there; `example` shows what to write.
    pub(crate) fn require(&mut self, name: &'static str, example: &str) -> Result<&'a Node> {
        let what = self.what.clone();
        self.take(name).ok_or_else(|| {
            let error = self.node.error(format!("{what} has no \"{name}\""));
            error.hint(format!("add `{name}: {example}`"))
        })
    }

    /// Refuses every key that was not asked for. `unsupported` knows keys of Compose that rouse does
    /// not serve, with what to do instead; keys beginning with `x-` are free, but for `x-rouse…`.
    pub(crate) fn finish(self, unsupported: &[(&str, &str)]) -> Result<()> {
        for (key, _) in self.entries {
            let name = key.text.as_str();
            let free = name.starts_with("x-") && !name.starts_with("x-rouse");
            if free || self.asked.contains(&name) {
                continue;
            }
            let shown = name.escape_debug();
            if let Some((_, remedy)) = unsupported.iter().find(|(known, _)| *known == name) {
                let message = format!("{}: \"{shown}\" is not supported", self.what);
                return Err(key.place.error(message).hint(*remedy));
            }
            let error = key
                .place
                .error(format!("{}: \"{shown}\" is not known", self.what));
            return Err(match nearest(name, &self.asked) {
                Some(nearest) => error.hint(format!("did you mean \"{nearest}\"?")),
                None => error.hint(format!("known here: {}", self.asked.join(", "))),
            });
        }
        Ok(())
    }
}

/// The known name that differs least from a wrong one, if it is near enough to be meant.
fn nearest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, name) = known
        .iter()
        .map(|name| (distance(wrong, name), *name))
        .min()?;
    (distance <= 2 && distance < name.len()).then_some(name)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(80).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            let replaced = diagonal + usize::from(x != *y);
            row[j + 1] = replaced.min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_and_suggestions() {
        assert_eq!(distance("imago", "image"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(
            nearest("enviroment", &["image", "environment"]),
            Some("environment")
        );
        assert_eq!(nearest("networks", &["image", "environment"]), None);
    }
}
