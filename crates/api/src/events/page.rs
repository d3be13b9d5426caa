//! Pages of listings.

use super::error::{Error, Result};
use serde::Deserialize;

/// Entries of a page (EventBridge's bound).
const MAX_PAGE: usize = 100;

/// Which page is asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Page {
    #[serde(rename = "Limit")]
    pub(super) limit: Option<usize>,
    /// The name of the last entry of the page before.
    #[serde(rename = "NextToken")]
    pub(super) token: Option<String>,
}

impl Page {
    /// The page of entries that are sorted by name, and the token of the next.
    pub(super) fn of<T>(
        self,
        all: impl Iterator<Item = T>,
        name: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>)> {
        let limit = self.limit.unwrap_or(MAX_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            let message = format!("Limit is {limit} and must be 1 to {MAX_PAGE}");
            return Err(Error::validation(message));
        }
        let after = |one: &T| self.token.as_ref().is_none_or(|token| name(one) > *token);
        let mut rest = all.filter(after);
        let page: Vec<T> = rest.by_ref().take(limit).collect();
        let more = rest.next().is_some();
        let token = page.last().filter(|_| more).map(&name);
        Ok((page, token))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pages_are_whole_and_end() {
        let all = || ["a", "b", "c", "d", "e"].into_iter();
        let mut seen = Vec::new();
        let mut token = None;
        loop {
            let page = Page {
                limit: Some(2),
                token,
            };
            let (found, next) = page.of(all(), ToString::to_string).unwrap();
            seen.extend(found);
            token = next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, all().collect::<Vec<_>>());
        let page = Page {
            limit: Some(0),
            token: None,
        };
        assert!(page.of(all(), ToString::to_string).is_err());
    }
}
