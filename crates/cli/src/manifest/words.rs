//! Command lines: a list of words, or one text that is split as a shell would split it.

use super::node::{Node, Value};
use super::place::Result;

/// The words of `command` or `entrypoint`.
pub(crate) fn parse_command(node: &Node, what: &str) -> Result<Vec<String>> {
    let words = match &node.value {
        Value::List(_) => node.texts(what)?,
        _ => node.parsed(what, split_words)?,
    };
    if words.is_empty() {
        return Err(node.error(format!("{what} is empty")));
    }
    Ok(words)
}

/// Splits at blanks; quotes and backslashes work as in a POSIX shell, nothing else does.
fn split_words(text: &str) -> std::result::Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some('"'), '\\') if matches!(characters.peek(), Some('"' | '\\')) => {
                word.get_or_insert_default().extend(characters.next());
            }
            (None, '\\') => match characters.next() {
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => return Err("ends with a backslash".to_owned()),
            },
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(format!("has no closing {open}"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        let cases: [(&str, &[&str]); 5] = [
            ("node server.js", &["node", "server.js"]),
            ("  sh -c 'echo \"a b\"' ", &["sh", "-c", "echo \"a b\""]),
            (r#"say "a \"b\" \n" c\ d"#, &["say", r#"a "b" \n"#, "c d"]),
            ("a '' b", &["a", "", "b"]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(split_words(text).unwrap(), expected, "{text}");
        }
        assert!(split_words("say 'x").is_err());
        assert!(split_words("say \\").is_err());
    }
}
