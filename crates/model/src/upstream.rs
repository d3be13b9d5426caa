//! Upstreams: other registries, whose images the own registry brings in when somebody asks for them.

use crate::{Invalid, RepositoryName, Timestamp, UpstreamName};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Most upstreams of a server.
pub const MAX_UPSTREAMS: usize = 100;
/// Longest password or token, in bytes: those of Amazon ECR have some 2 000.
pub const MAX_UPSTREAM_PASSWORD: usize = 16 * 1024;
/// Longest name of a user, in bytes.
const MAX_USER: usize = 255;
/// Longest address, in bytes.
const MAX_URL: usize = 300;
/// Most bytes of certificates.
const MAX_CERTIFICATES: usize = 256 * 1024;
/// The host that short names of images mean, and those at which its registry is.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_HOSTS: [&str; 2] = ["registry-1.docker.io", "index.docker.io"];

/// Another registry. Repositories of the own registry whose first part is its name are its images. Its password
/// is kept apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its name.
    pub name: UpstreamName,
    /// `https://HOST[:PORT]`, or `http://` where that is allowed; in lower case, without a path.
    pub url: String,
    /// Who the server is there; without, nobody.
    pub username: Option<String>,
    /// Certificates in PEM that are trusted for it in place of the host's.
    pub certificates: Option<String>,
    /// Whether it may be spoken to without TLS though it is not this machine.
    pub insecure: bool,
    /// Whether its name, and where it sends to, may lead to private networks and to this machine.
    pub private: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub modified: Timestamp,
}

impl Upstream {
    /// Checks what was declared.
    ///
    /// # Errors
    /// Names the first field that breaks a rule.
    pub fn check(&self) -> Result<(), Invalid> {
        let Some((scheme, host, _)) = parts(&self.url) else {
            let reason = "must be https://HOST or https://HOST:PORT in lower case, without a path";
            return Err(Invalid::new("url", reason));
        };
        if scheme == "http" && !self.insecure && !is_loopback(host) {
            let reason = "is http:// to another machine, which everybody between can read: say https://, or \
                          allow it with --insecure";
            return Err(Invalid::new("url", reason));
        }
        if let Some(user) = &self.username {
            let legal = |b: u8| (b' '..=b'~').contains(&b) && b != b':';
            if user.is_empty() || user.len() > MAX_USER || !user.bytes().all(legal) {
                let reason = "must be 1 to 255 printable ASCII characters without a colon";
                return Err(Invalid::new("username", reason));
            }
        }
        if let Some(pem) = &self.certificates
            && (pem.len() > MAX_CERTIFICATES || !pem.contains("-----BEGIN CERTIFICATE-----"))
        {
            let reason = "must be certificates in PEM, 256 KiB at most";
            return Err(Invalid::new("certificates", reason));
        }
        Ok(())
    }

    /// Its host, with the port if one is said.
    pub fn authority(&self) -> &str {
        let rest = self.url.split_once("://");
        rest.map_or("", |(_, rest)| rest)
    }

    /// Whether it, and where it sends to, may be on a private network: because that was allowed, or because
    /// its address says so itself.
    pub fn may_be_private(&self) -> bool {
        let host = parts(&self.url).map_or("", |(_, host, _)| host);
        let address = host.parse::<Ipv4Addr>();
        self.private || is_loopback(host) || address.is_ok_and(|address| address.is_private())
    }

    /// Whether images of this host are its images.
    pub fn serves(&self, host: &str) -> bool {
        let own = self.authority();
        own == host || (host == DOCKER_HUB && DOCKER_HUB_HOSTS.contains(&own))
    }

    /// The name that one of its repositories has here; `None` if that would be too long.
    pub fn local(&self, repository: &RepositoryName) -> Option<RepositoryName> {
        format!("{}/{repository}", self.name).parse().ok()
    }
}

/// Scheme, host and port.
fn parts(url: &str) -> Option<(&str, &str, Option<u16>)> {
    let (scheme, authority) = url.split_once("://")?;
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port > 0)?)),
        None => (authority, None),
    };
    let legal =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_');
    let is_host = !host.is_empty() && host.bytes().all(legal) && !host.starts_with(['.', '-']);
    let known = matches!(scheme, "https" | "http");
    (known && is_host && url.len() <= MAX_URL).then_some((scheme, host, port))
}

/// Whether a host, by what is written, is this machine.
pub fn is_loopback(host: &str) -> bool {
    let address = host.parse::<Ipv4Addr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The host and the repository in it that an image's name means outside of this server, as docker reads it:
/// `redis:7` is `docker.io` and `library/redis`. `None` if it has no such form.
pub fn outside(name: &str) -> Option<(String, RepositoryName)> {
    let (host, rest) = match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => (DOCKER_HUB, name),
    };
    let rest = rest.split_once('@').map_or(rest, |(named, _)| named);
    // A colon behind the last slash begins a tag.
    let repository = match rest.rsplit_once(':') {
        Some((named, tag)) if !tag.contains('/') => named,
        _ => rest,
    };
    let is_hub = host == DOCKER_HUB || DOCKER_HUB_HOSTS.contains(&host);
    let host = if is_hub { DOCKER_HUB } else { host };
    let repository = match is_hub && !repository.contains('/') {
        true => format!("library/{repository}"),
        false => repository.to_owned(),
    };
    Some((host.to_owned(), repository.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn upstream(url: &str) -> Upstream {
        Upstream {
            name: "hub".parse().unwrap(),
            url: url.to_owned(),
            username: None,
            certificates: None,
            insecure: false,
            private: false,
            created: Timestamp(0),
            modified: Timestamp(0),
        }
    }

    #[test]
    fn an_address_is_a_host_and_plain_http_stays_at_home() {
        for good in [
            "https://registry-1.docker.io",
            "https://a:5000",
            "http://127.0.0.1:5000",
            "http://localhost",
        ] {
            assert_eq!(upstream(good).check(), Ok(()), "{good}");
        }
        for bad in [
            "registry.example",
            "ftp://a",
            "https://",
            "https://a/",
            "https://a/v2",
            "https://A",
            "https://u:p@a",
            "https://a:0",
            "https://a:99999",
            "https://a?x",
            "http://example.com",
            "http://10.0.0.1",
        ] {
            assert_eq!(upstream(bad).check().unwrap_err().field, "url", "{bad}");
        }
        let mut plain = upstream("http://example.com");
        plain.insecure = true;
        assert!(plain.check().is_ok());
        for user in ["", "a:b", "a\nb"] {
            plain.username = Some(user.to_owned());
            assert_eq!(plain.check().unwrap_err().field, "username");
        }
    }

    #[test]
    fn what_is_at_home_by_its_address_may_be() {
        for (url, expected) in [
            ("http://127.0.0.1:1", true),
            ("http://localhost", true),
            ("https://10.1.2.3", true),
            ("https://8.8.8.8", false),
            ("https://localhost.example", false),
        ] {
            assert_eq!(upstream(url).may_be_private(), expected, "{url}");
        }
    }

    #[test]
    fn names_mean_what_docker_takes_them_for() {
        for (name, host, repository) in [
            ("redis:7", "docker.io", "library/redis"),
            ("redis", "docker.io", "library/redis"),
            ("grafana/loki:3.0", "docker.io", "grafana/loki"),
            ("docker.io/library/alpine:3", "docker.io", "library/alpine"),
            ("index.docker.io/alpine", "docker.io", "library/alpine"),
            ("ghcr.io/a/b/c@sha256:0", "ghcr.io", "a/b/c"),
            ("ghcr.io/a:1@sha256:0", "ghcr.io", "a"),
            ("r.example:5000/a", "r.example:5000", "a"),
            ("localhost:5000/a/b:1", "localhost:5000", "a/b"),
        ] {
            let found = outside(name).unwrap();
            assert_eq!((found.0.as_str(), found.1.as_str()), (host, repository));
        }
        for none in ["", "A", "a b", "ghcr.io/", "/a", ":1"] {
            assert_eq!(outside(none), None, "{none:?}");
        }
        assert!(upstream("https://registry-1.docker.io").serves("docker.io"));
        assert!(!upstream("https://registry-1.docker.io").serves("ghcr.io"));
        assert!(upstream("https://r.example:5000").serves("r.example:5000"));
    }

    proptest! {
        #[test]
        fn any_name_is_read_or_none(name in "\\PC{0,60}") {
            if let Some((host, repository)) = outside(&name) {
                prop_assert!(!host.is_empty() && !repository.as_str().is_empty());
            }
        }

        #[test]
        fn a_full_name_comes_back(
            host in "[a-z]{1,8}\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?",
            repository in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,2}",
            tag in "(:[a-z0-9.]{1,8})?",
        ) {
            prop_assume!(!DOCKER_HUB_HOSTS.contains(&host.as_str()) && host != DOCKER_HUB);
            let found = outside(&format!("{host}/{repository}{tag}")).unwrap();
            prop_assert_eq!((found.0, found.1.as_str().to_owned()), (host, repository));
        }
    }
}
