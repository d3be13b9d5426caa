//! The names by which images of this server's registry are called.

use super::image::{local, registry_tag};
use crate::Storage;
use model::{ManifestReference, RepositoryName, Tag};
use std::net::SocketAddr;

/// Names of this machine's own loopback.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// The port by which instances reach the server, whichever it has itself.
const INSIDE: u16 = 4566;

/// What may stand before a repository's name and means this server.
#[derive(Debug)]
pub(crate) struct Names {
    /// Its port, on loopback.
    port: u16,
    /// Others, `host` or `host:port`, in lower case.
    others: Vec<String>,
}

impl Names {
    pub(crate) fn new(address: SocketAddr, others: &[String]) -> Self {
        let mut others: Vec<String> = others.iter().map(|name| name.to_lowercase()).collect();
        if !address.ip().is_unspecified() {
            others.push(address.to_string());
        }
        let port = address.port();
        Self { port, others }
    }

    /// What is left of an image's name without the registry's; `None` if it names another registry.
    fn strip<'a>(&self, name: &'a str) -> Option<&'a str> {
        let Some((host, rest)) = name.split_once('/') else {
            return Some(name);
        };
        if !host.contains(['.', ':']) && host != "localhost" {
            return Some(name);
        }
        let own = |port: &str| port.parse() == Ok(self.port) || port.parse() == Ok(INSIDE);
        let on_loopback = match host.rsplit_once(':') {
            Some((host, port)) if LOOPBACK.contains(&host) => own(port),
            // So podman names images that are on this machine.
            _ => LOOPBACK.contains(&host),
        };
        let named = || self.others.contains(&host.to_lowercase());
        (on_loopback || named()).then_some(rest)
    }
}

impl Storage {
    /// Says at which address this server is, and by which other names (`host` or `host:port`) images of its registry
    /// are called. Until then every port of this machine is taken for it, and no other name. Said once.
    pub fn name_registry(&self, address: SocketAddr, others: &[String]) {
        // Somebody who says it again changes nothing.
        let _ = self.own_names().set(Names::new(address, others));
    }

    /// The repository and the reference in it that an image's name means here; `None` if it names another registry,
    /// or is none.
    pub fn local_image(&self, name: &str) -> Option<(RepositoryName, ManifestReference)> {
        local(self.without_registry(name)?)
    }

    /// The repository and tag that an image's name means in this server's registry. A digest is no tag.
    pub fn local_tag(&self, name: &str) -> Option<(RepositoryName, Tag)> {
        registry_tag(self.without_registry(name)?)
    }

    fn without_registry<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self.own_names().get() {
            Some(names) => names.strip(name),
            None => Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_own_addresses_and_names_mean_this_server() {
        let others = ["Registry.lan".to_owned(), "shop.example:443".to_owned()];
        let names = Names::new("192.0.2.7:5001".parse().unwrap(), &others);
        for own in [
            "a/b:1",
            "b",
            "localhost:5001/a/b:1",
            "127.0.0.1:5001/a/b:1",
            "[::1]:5001/a/b:1",
            "localhost:4566/a/b:1",
            "localhost/a/b:1",
            "192.0.2.7:5001/a/b:1",
            "registry.lan/a/b:1",
            "SHOP.example:443/a/b:1",
        ] {
            let left = names.strip(own).unwrap();
            assert!(local(left).is_some() && !left.contains(":5001"), "{own}");
        }
        for other in [
            "localhost:5000/a/b:1",
            "127.0.0.1:5002/a/b:1",
            "localhost:x/a/b:1",
            "192.0.2.7:5000/a/b:1",
            "192.0.2.8:5001/a/b:1",
            "shop.example/a/b:1",
            "registry.lan:5001/a/b:1",
            "docker.io/library/busybox",
        ] {
            assert_eq!(names.strip(other), None, "{other}");
        }
        let everywhere = Names::new("0.0.0.0:5001".parse().unwrap(), &[]);
        assert_eq!(everywhere.strip("0.0.0.0:5001/a"), None);
    }
}
