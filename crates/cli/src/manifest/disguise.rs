//! Which values of variables are secrets, as far as their names and looks tell.

/// Parts of names, in capitals.
const NAMES: [&str; 12] = [
    "PASS",
    "PWD",
    "SECRET",
    "TOKEN",
    "KEY",
    "CRED",
    "AUTH",
    "PRIVATE",
    "SALT",
    "DSN",
    "SIGNATURE",
    "COOKIE",
];

/// Whether a variable's value is better not shown: its name says so, or it is a URL with a password, or a private key.
pub(crate) fn looks_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    if NAMES.iter().any(|part| name.contains(part)) {
        return true;
    }
    let mut urls = value.split("://").skip(1);
    let with_password = |rest: &str| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
        authority
            .rsplit_once('@')
            .is_some_and(|(user, _)| user.contains(':'))
    };
    urls.any(with_password) || value.contains("-----BEGIN")
}

#[cfg(test)]
mod tests {
    use super::looks_secret;

    #[test]
    fn names_and_looks() {
        for (name, value) in [
            ("DB_PASSWORD", "x"),
            ("github_token", "x"),
            ("AWS_ACCESS_KEY_ID", "x"),
            ("DATABASE_URL", "postgres://shop:hunter2@db:5432/shop"),
            ("CERT", "-----BEGIN PRIVATE KEY-----"),
            ("BROKERS", "amqp://a, amqp://u:p@b/"),
        ] {
            assert!(looks_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("LEVEL", "debug"),
            ("URL", "http://catalog:8080/a@b:c"),
            ("MAIL", "me@example.com"),
        ] {
            assert!(!looks_secret(name, value), "{name}");
        }
    }
}
