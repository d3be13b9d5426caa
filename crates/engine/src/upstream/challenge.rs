//! What a registry asks for with 401: `WWW-Authenticate` (RFC 9110, section 11.6.1;
//! <https://distribution.github.io/distribution/spec/auth/token/>).

/// Longest header that is looked at, in bytes.
const MAX_HEADER: usize = 8 * 1024;

/// One way to say who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password in the request itself.
    Basic,
    /// A token, which `realm` gives.
    Bearer {
        /// The address that gives tokens.
        realm: String,
        /// What the token is for, told to the realm as it is.
        service: Option<String>,
        /// What the token must be good for.
        scope: Option<String>,
    },
}

/// The challenges of a header that are known.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    if header.len() > MAX_HEADER {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut open: Option<Offer> = None;
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            match after.chars().next() {
                // A sign where a word should be: what follows it may still be read.
                Some(odd) => rest = &after[odd.len_utf8()..],
                None => break,
            }
            continue;
        }
        match after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            Some(value) => {
                let (value, next) = value_of(value.trim_start_matches([' ', '\t']));
                if let Some(offer) = &mut open {
                    offer.set(word, value);
                }
                rest = next;
            }
            None => {
                found.extend(open.take().and_then(Offer::known));
                open = Some(Offer::new(word));
                rest = after;
            }
        }
    }
    found.extend(open.and_then(Offer::known));
    found
}

/// A value, quoted or not, and what comes after it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, letter) in quoted.char_indices() {
        match letter {
            _ if escaped => {
                value.push(letter);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            _ => value.push(letter),
        }
    }
    (value, "")
}

/// A challenge while it is read.
struct Offer {
    scheme: String,
    realm: Option<String>,
    service: Option<String>,
    scope: Option<String>,
}

impl Offer {
    fn new(scheme: &str) -> Self {
        Self {
            scheme: scheme.to_ascii_lowercase(),
            realm: None,
            service: None,
            scope: None,
        }
    }

    fn set(&mut self, name: &str, value: String) {
        match name.to_ascii_lowercase().as_str() {
            "realm" => self.realm = Some(value),
            "service" => self.service = Some(value),
            "scope" => self.scope = Some(value),
            _ => {}
        }
    }

    fn known(self) -> Option<Challenge> {
        match (self.scheme.as_str(), self.realm) {
            ("basic", _) => Some(Challenge::Basic),
            ("bearer", Some(realm)) => Some(Challenge::Bearer {
                realm,
                service: self.service,
                scope: self.scope,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_of_registries_are_read() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull,push""#,
                vec![bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:library/x:pull,push"),
                )],
            ),
            (r#"Basic realm="basic-realm""#, vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                r#"Negotiate, BEARER realm = "a\"b" , service=c, Basic realm="x""#,
                vec![bearer("a\"b", Some("c"), None), Challenge::Basic],
            ),
            ("Bearer service=x", vec![]),
            ("Digest realm=\"x\", nonce=\"y\"", vec![]),
            ("realm=x", vec![]),
            ("", vec![]),
            ("=,=\"", vec![]),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
        assert!(parse(&format!("Basic {}", " ".repeat(MAX_HEADER))).is_empty());
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_read_or_left(header in "\\PC{0,200}") {
            drop(parse(&header));
        }

        #[test]
        fn signs_in_any_order_are_no_trouble(header in "[ ,=\"\\\\aé]{0,40}") {
            drop(parse(&header));
        }

        #[test]
        fn what_is_quoted_comes_back(realm in "[ -~]{1,60}", service in "[ -~]{0,40}") {
            let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("Bearer realm=\"{}\", service=\"{}\"", quote(&realm), quote(&service));
            prop_assert_eq!(parse(&header), vec![bearer(&realm, Some(&service), None)]);
        }
    }
}
