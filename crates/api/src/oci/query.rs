//! The parameters of a request.

use percent_encoding::percent_decode_str;

/// Most parameters that are looked at.
const MAX_PARAMETERS: usize = 64;

/// Names and values, decoded.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query or a form.
    pub(super) fn of(text: &str) -> Self {
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.take(MAX_PARAMETERS).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// The first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let named = self.0.iter().find(|(found, _)| found == name);
        named.map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(found, _)| found == name);
        named.map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_may_come_twice() {
        let query = Query::of("scope=a%3Ab&scope=c+d&x&n=5");
        assert_eq!(query.all("scope").collect::<Vec<_>>(), ["a:b", "c d"]);
        assert_eq!(
            (query.get("x"), query.get("n"), query.get("y")),
            (Some(""), Some("5"), None)
        );
    }
}
