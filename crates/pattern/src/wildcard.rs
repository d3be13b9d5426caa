//! Wildcards: `*` stands for any characters or none, `\*` and `\\` for themselves.

use crate::Invalid;

/// A compiled wildcard: the literal pieces between the stars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wildcard {
    /// One more than there are stars.
    pieces: Vec<String>,
}

impl Wildcard {
    /// Reads one. Errors are in AWS's words; positions count bytes from the opening quote.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let mut pieces = vec![String::new()];
        let mut piece = String::new();
        let mut starred = false;
        let mut characters = text.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            match character {
                '*' if starred => {
                    let reason = format!("Consecutive wildcard characters at pos {at}");
                    return Err(Invalid::new(reason));
                }
                '*' => {
                    close(&mut pieces, &mut piece);
                    starred = true;
                    continue;
                }
                '\\' => match characters.next() {
                    Some((_, next @ ('*' | '\\'))) => piece.push(next),
                    _ => {
                        let reason = format!("Invalid escape character at pos {}", at + 1);
                        return Err(Invalid::new(reason));
                    }
                },
                other => piece.push(other),
            }
            starred = false;
        }
        if let Some(last) = pieces.last_mut() {
            *last = piece;
        }
        Ok(Self { pieces })
    }

    /// Takes the first place for each piece and never goes back, which is enough: a later place
    /// leaves less text for the rest.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let [first, rest @ ..] = self.pieces.as_slice() else {
            return false;
        };
        let Some((last, between)) = rest.split_last() else {
            return text == first;
        };
        let Some(mut text) = text.strip_prefix(first.as_str()) else {
            return false;
        };
        for piece in between {
            match text.find(piece.as_str()) {
                Some(at) => text = &text[at + piece.len()..],
                None => return false,
            }
        }
        text.ends_with(last.as_str())
    }
}

/// Ends the piece that is being read and begins the next.
fn close(pieces: &mut Vec<String>, piece: &mut String) {
    if let Some(last) = pieces.last_mut() {
        *last = std::mem::take(piece);
    }
    pieces.push(String::new());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_escapes() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("dir/*.png", "dir/a/b.png", true),
            ("dir/*.png", "dir/.pngx", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*ab*ab", "abab", true),
            ("*ab*ab", "ab", false),
            ("", "", true),
            ("", "x", false),
            (r"\**", "*x", true),
            (r"\**", "x", false),
            (r"a\\b", r"a\b", true),
        ] {
            let found = Wildcard::parse(pattern).unwrap().matches(text);
            assert_eq!(found, expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn errors_are_in_aws_words() {
        for (pattern, reason) in [
            ("abc**def", "Consecutive wildcard characters at pos 4"),
            (r"he\llo", "Invalid escape character at pos 3"),
            (r"x\", "Invalid escape character at pos 2"),
        ] {
            assert_eq!(Wildcard::parse(pattern).unwrap_err().0, reason);
        }
    }

    /// The textbook matcher, which tries everything.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|from| slow(rest, &text[from..])),
            Some((one, rest)) => text.first() == Some(one) && slow(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_trying_everything(
            pattern in "[ab*é]{0,8}", text in "[abé]{0,10}",
        ) {
            prop_assume!(!pattern.contains("**"));
            let expected = slow(
                &pattern.chars().collect::<Vec<_>>(),
                &text.chars().collect::<Vec<_>>(),
            );
            prop_assert_eq!(Wildcard::parse(&pattern).unwrap().matches(&text), expected);
        }
    }

    #[test]
    fn what_makes_backtracking_explode_is_quick() {
        let wildcard = Wildcard::parse(&"a*".repeat(500)).unwrap();
        assert!(!wildcard.matches(&("a".repeat(499) + &"b".repeat(200_000))));
    }
}
