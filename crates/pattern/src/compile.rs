//! From a pattern's JSON to what is matched. Refusals are in AWS's words.

use crate::Invalid;
use crate::address::Network;
use crate::matching::{Fields, Node, Test, fold};
use crate::number::{Edge, Fixed, Range};
use crate::tree::Tree;
use crate::wildcard::Wildcard;

/// Names that must not be fields inside of `$or`: operators, and those that AWS reserves.
const RESERVED: [&str; 24] = [
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
    "in-date-range",
    "ip-address-in-range",
    "ip-address-not-in-range",
];

/// A pattern is an object with at least one field.
pub(crate) fn pattern(tree: &Tree) -> Result<Fields, Invalid> {
    match tree {
        Tree::Object(object) => fields(object, false),
        _ => Err(Invalid::new("Filter is not an object")),
    }
}

fn fields(object: &[(String, Tree)], inside_or: bool) -> Result<Fields, Invalid> {
    if object.is_empty() {
        return Err(Invalid::new("Empty objects are not allowed"));
    }
    let mut all = Vec::new();
    let mut any = Vec::new();
    for (name, value) in object {
        if name == "$or" {
            any = alternatives(value)?;
            continue;
        }
        if inside_or && RESERVED.contains(&name.as_str()) {
            return Err(Invalid::new(format!(
                "{name} is Ruler reserved fieldName which cannot be used inside $or."
            )));
        }
        let node = match value {
            Tree::Object(inner) => Node::Object(fields(inner, inside_or)?),
            Tree::List(values) => Node::Leaf(leaf(values)?),
            _ => {
                let reason = format!("\"{name}\" must be an object or an array");
                return Err(Invalid::new(reason));
            }
        };
        all.push((name.clone(), node));
    }
    Ok(Fields { all, any })
}

fn alternatives(value: &Tree) -> Result<Vec<Fields>, Invalid> {
    let Tree::List(list) = value else {
        return Err(Invalid::new("It must be an Array followed with $or."));
    };
    let mut found = Vec::new();
    for alternative in list {
        let Tree::Object(object) = alternative else {
            let reason = "Only JSON object is allowed in array of $or relationship.";
            return Err(Invalid::new(reason));
        };
        found.push(fields(object, true)?);
    }
    if found.len() < 2 {
        let reason = "There must have at least 2 Objects in $or relationship.";
        return Err(Invalid::new(reason));
    }
    Ok(found)
}

fn leaf(values: &[Tree]) -> Result<Vec<Test>, Invalid> {
    if values.is_empty() {
        return Err(Invalid::new("Empty arrays are not allowed"));
    }
    let test = |value: &Tree| match value {
        Tree::Object(object) => expression(object),
        Tree::Null => Ok(Test::Null),
        Tree::Bool(value) => Ok(Test::Bool(*value)),
        Tree::Number(number) => Ok(Test::Number(number.clone())),
        Tree::Text(text) => Ok(match text.parse() {
            Ok(address) => Test::Address(address),
            Err(_) => Test::Exact(text.clone()),
        }),
        Tree::List(_) => Err(Invalid::new(
            "Match value must be String, number, true, false, or null",
        )),
    };
    values.iter().map(test).collect()
}

/// `{"prefix": "x"}` and its like.
fn expression(object: &[(String, Tree)]) -> Result<Test, Invalid> {
    let (operator, value) = only(object)?;
    let text = || text_of(operator, value);
    Ok(match operator {
        "exactly" => Test::Exact(
            value
                .text()
                .ok_or_else(|| Invalid::new("exact match pattern must be a string"))?
                .to_owned(),
        ),
        "prefix" => match folded(operator, value)? {
            Some(text) => Test::PrefixIgnoreCase(text),
            None => Test::Prefix(text()?),
        },
        "suffix" => match folded(operator, value)? {
            Some(text) => Test::SuffixIgnoreCase(text),
            None => Test::Suffix(text()?),
        },
        "equals-ignore-case" => Test::EqualsIgnoreCase(fold(&text()?)),
        "wildcard" => Test::Wildcard(Wildcard::parse(&text()?)?),
        "exists" => match value {
            Tree::Bool(wanted) => Test::Exists(*wanted),
            _ => {
                let reason = "exists match pattern must be either true or false.";
                return Err(Invalid::new(reason));
            }
        },
        "cidr" => match value.text() {
            Some(text) => Test::Network(Network::parse(text)?),
            None => return Err(Invalid::new("prefix match pattern must be a string")),
        },
        "numeric" => match value {
            Tree::List(terms) => Test::Range(range(terms)?),
            _ => return Err(Invalid::new("Value of numeric must be an array.")),
        },
        "anything-but" => Test::AnythingBut(excluded(value)?),
        other => {
            let reason = format!("Unrecognized match type {other}");
            return Err(Invalid::new(reason));
        }
    })
}

fn only(object: &[(String, Tree)]) -> Result<(&str, &Tree), Invalid> {
    match object {
        [(operator, value)] => Ok((operator, value)),
        [] => Err(Invalid::new("Match expression name not found")),
        _ => Err(Invalid::new("Only one key allowed in match expression")),
    }
}

fn text_of(operator: &str, value: &Tree) -> Result<String, Invalid> {
    match value.text() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Invalid::new(format!(
            "{operator} match pattern must be a string"
        ))),
    }
}

/// The text of `{"equals-ignore-case": "x"}` inside of `prefix` and `suffix`; `None` if it is a text.
fn folded(operator: &str, value: &Tree) -> Result<Option<String>, Invalid> {
    let Tree::Object(object) = value else {
        return Ok(None);
    };
    match only(object)? {
        ("equals-ignore-case", inner) => Ok(Some(fold(&text_of("equals-ignore-case", inner)?))),
        (other, _) => Err(Invalid::new(format!(
            "Unsupported {operator} pattern: {other}"
        ))),
    }
}

/// What `anything-but` excludes: values, or one operator with a text or a list of texts.
fn excluded(value: &Tree) -> Result<Vec<Test>, Invalid> {
    match value {
        Tree::Object(object) => {
            let (operator, inner) = match object.as_slice() {
                [] => return Err(Invalid::new("Anything-But expression name not found")),
                _ => only(object)?,
            };
            let build: fn(&str) -> Result<Test, Invalid> = match operator {
                "prefix" => |text| Ok(Test::Prefix(text.to_owned())),
                "suffix" => |text| Ok(Test::Suffix(text.to_owned())),
                "equals-ignore-case" => |text| Ok(Test::EqualsIgnoreCase(fold(text))),
                "wildcard" => |text| Ok(Test::Wildcard(Wildcard::parse(text)?)),
                other => {
                    let reason = format!("Unsupported anything-but pattern: {other}");
                    return Err(Invalid::new(reason));
                }
            };
            texts(operator, inner)?.into_iter().map(build).collect()
        }
        Tree::List(values) => {
            let numbers = values.iter().all(|v| matches!(v, Tree::Number(_)));
            let texts = values.iter().all(|v| matches!(v, Tree::Text(_)));
            if values
                .iter()
                .any(|v| !matches!(v, Tree::Number(_) | Tree::Text(_)))
            {
                return Err(Invalid::new(
                    "Inside anything but list, start|null|boolean is not supported.",
                ));
            }
            if values.is_empty() || !(numbers || texts) {
                return Err(Invalid::new(
                    "Inside anything but list, either all values are number or string, mixed type \
                     is not supported",
                ));
            }
            values.iter().map(plain).collect()
        }
        Tree::Text(_) | Tree::Number(_) => Ok(vec![plain(value)?]),
        Tree::Null | Tree::Bool(_) => Err(Invalid::new(
            "Value of anything-but must be an array or single string/number value.",
        )),
    }
}

fn plain(value: &Tree) -> Result<Test, Invalid> {
    match value {
        Tree::Number(number) => {
            Fixed::required(number)?;
            Ok(Test::Number(number.clone()))
        }
        other => Ok(Test::Exact(other.shown())),
    }
}

fn texts<'a>(operator: &str, value: &'a Tree) -> Result<Vec<&'a str>, Invalid> {
    let refused = || {
        Invalid::new(format!(
            "Inside anything-but/{operator} list, number|start|null|boolean is not supported."
        ))
    };
    let found: Vec<&str> = match value {
        Tree::Text(text) => vec![text.as_str()],
        Tree::List(values) if !values.is_empty() => {
            let texts = values.iter().map(|value| value.text().ok_or_else(refused));
            texts.collect::<Result<_, _>>()?
        }
        _ => return Err(refused()),
    };
    if operator != "equals-ignore-case" && found.contains(&"") {
        return Err(Invalid::new(format!("Null {operator} not allowed")));
    }
    Ok(found)
}

/// `["=", 5]`, `[">", 0, "<=", 5]` and the like.
fn range(terms: &[Tree]) -> Result<Range, Invalid> {
    let operator = match terms.first() {
        Some(Tree::Text(operator)) => operator.as_str(),
        other => {
            let shown = other.map_or("]".to_owned(), Tree::shown);
            let reason = format!("Invalid member in numeric match: {shown}");
            return Err(Invalid::new(reason));
        }
    };
    if !["=", "<", "<=", ">", ">="].contains(&operator) {
        let reason = format!("Unrecognized numeric range operator: {operator}");
        return Err(Invalid::new(reason));
    }
    let at = bound(operator, terms.get(1))?;
    let closed = Edge { at, open: false };
    let edge = Edge {
        at,
        open: operator == "<" || operator == ">",
    };
    let single = match operator {
        "=" => Range {
            bottom: Some(closed),
            top: Some(closed),
        },
        "<" | "<=" => Range {
            bottom: None,
            top: Some(edge),
        },
        _ if terms.len() == 2 => Range {
            bottom: Some(edge),
            top: None,
        },
        _ => return between(edge, &terms[2..]),
    };
    match terms.len() {
        2 => Ok(single),
        _ => Err(Invalid::new("Too many elements in numeric expression")),
    }
}

fn between(bottom: Edge, terms: &[Tree]) -> Result<Range, Invalid> {
    let operator = match terms.first() {
        Some(Tree::Text(operator)) => operator.as_str(),
        other => {
            let shown = other.map_or("]".to_owned(), Tree::shown);
            return Err(Invalid::new(format!("Bad value in numeric range: {shown}")));
        }
    };
    if operator != "<" && operator != "<=" {
        let reason = format!("Bad numeric range operator: {operator}");
        return Err(Invalid::new(reason));
    }
    let at = bound(operator, terms.get(1))?;
    if terms.len() > 2 {
        return Err(Invalid::new("Too many terms in numeric range expression"));
    }
    if at <= bottom.at {
        return Err(Invalid::new("Bottom must be less than top"));
    }
    let open = operator == "<";
    Ok(Range {
        bottom: Some(bottom),
        top: Some(Edge { at, open }),
    })
}

fn bound(operator: &str, term: Option<&Tree>) -> Result<Fixed, Invalid> {
    match term {
        Some(Tree::Number(number)) => Fixed::required(number),
        _ => {
            let operator = if operator == "=" { "equals" } else { operator };
            Err(Invalid::new(format!("Value of {operator} must be numeric")))
        }
    }
}
