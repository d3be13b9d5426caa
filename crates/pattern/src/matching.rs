//! A compiled pattern, and whether an event fits it.

use crate::address::Network;
use crate::number::{self, Range};
use crate::tree::Tree;
use crate::wildcard::Wildcard;
use crate::{Invalid, MAX_PATTERN, compile};
use serde_json::{Map, Number, Value};
use std::net::IpAddr;

/// An event pattern (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html>).
///
/// Where the event has an array, its elements are alternatives: one value that fits is enough, and
/// fields below an array of objects must fit in one and the same object. `exists: false` holds where
/// no leaf of that name is; `exists: true` asks for a leaf, not for an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    fields: Fields,
}

/// What an object must have: all of `all`, and one of `any` unless that is empty.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fields {
    pub(crate) all: Vec<(String, Node)>,
    pub(crate) any: Vec<Fields>,
}

/// What a field must be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Object(Fields),
    /// One of these.
    Leaf(Vec<Test>),
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    Null,
    Bool(bool),
    Number(Number),
    Exact(String),
    Address(IpAddr),
    Exists(bool),
    Prefix(String),
    PrefixIgnoreCase(String),
    Suffix(String),
    SuffixIgnoreCase(String),
    EqualsIgnoreCase(String),
    Wildcard(Wildcard),
    Range(Range),
    Network(Network),
    /// None of these.
    AnythingBut(Vec<Test>),
}

impl Pattern {
    /// Compiles a pattern: JSON of at most [`MAX_PATTERN`] bytes.
    ///
    /// # Errors
    /// The reason, in the words of AWS's `InvalidEventPatternException` without its lead "Event
    /// pattern is not valid. Reason: ".
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > MAX_PATTERN {
            return Err(Invalid::new(format!(
                "the pattern has {} bytes, more than {MAX_PATTERN}",
                text.len()
            )));
        }
        let fields = compile::pattern(&Tree::parse(text)?)?;
        Ok(Self { fields })
    }

    /// Whether an event fits.
    pub fn matches(&self, event: &Value) -> bool {
        self.fields.fit(event)
    }
}

impl Fields {
    /// Whether a value fits: an object by its fields, an array by one of its elements. What has no
    /// fields at all fits where only absence is asked for.
    fn fit(&self, value: &Value) -> bool {
        match value {
            Value::Object(object) => self.fit_object(object),
            Value::Array(list) if list.is_empty() => self.fit_object(&Map::new()),
            Value::Array(list) if self.is_absence() => list.iter().all(|one| self.fit(one)),
            Value::Array(list) => list.iter().any(|one| self.fit(one)),
            _ => self.fit_object(&Map::new()),
        }
    }

    fn fit_object(&self, object: &Map<String, Value>) -> bool {
        let fits = |(name, node): &(String, Node)| match (node, object.get(name)) {
            (Node::Object(fields), Some(value)) => fields.fit(value),
            (Node::Object(fields), None) => fields.fit_object(&Map::new()),
            (Node::Leaf(tests), value) => {
                let there = value.is_some_and(|value| any_leaf(value, &|_| true));
                tests.iter().any(|test| match test {
                    Test::Exists(wanted) => *wanted == there,
                    test => value.is_some_and(|value| any_leaf(value, &|leaf| test.fits(leaf))),
                })
            }
        };
        self.all.iter().all(fits)
            && (self.any.is_empty() || self.any.iter().any(|fields| fields.fit_object(object)))
    }

    /// Whether nothing is asked but that leaves are absent: of an array, in every element then.
    fn is_absence(&self) -> bool {
        let absence = |node: &Node| match node {
            Node::Object(fields) => fields.is_absence(),
            Node::Leaf(tests) => tests.iter().all(|test| *test == Test::Exists(false)),
        };
        self.any.is_empty() && self.all.iter().all(|(_, node)| absence(node))
    }
}

/// Whether a value, or an element of an array at any depth, is a leaf for which `fits` holds.
fn any_leaf(value: &Value, fits: &dyn Fn(&Value) -> bool) -> bool {
    match value {
        Value::Array(list) => list.iter().any(|one| any_leaf(one, fits)),
        Value::Object(_) => false,
        leaf => fits(leaf),
    }
}

impl Test {
    fn fits(&self, leaf: &Value) -> bool {
        match (self, leaf) {
            (Self::AnythingBut(tests), leaf) => !tests.iter().any(|test| test.fits(leaf)),
            (Self::Exists(wanted), _) => *wanted,
            (Self::Null, leaf) => leaf.is_null(),
            (Self::Bool(wanted), Value::Bool(value)) => wanted == value,
            (Self::Number(wanted), Value::Number(value)) => number::equal(wanted, value),
            (Self::Range(range), Value::Number(value)) => range.contains(value),
            (test, Value::String(text)) => test.fits_text(text),
            _ => false,
        }
    }

    fn fits_text(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => wanted == text,
            Self::Address(wanted) => text.parse() == Ok(*wanted),
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Self::PrefixIgnoreCase(prefix) => fold(text).starts_with(prefix.as_str()),
            Self::SuffixIgnoreCase(suffix) => fold(text).ends_with(suffix.as_str()),
            Self::EqualsIgnoreCase(wanted) => fold(text) == *wanted,
            Self::Wildcard(wildcard) => wildcard.matches(text),
            Self::Network(network) => network.contains(text),
            _ => false,
        }
    }
}

/// A text without its case. Each character by itself, so that the fold of a prefix is a prefix of the
/// fold (`str::to_lowercase` looks at the end of a word for Greek).
pub(crate) fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests;
