//! Connections that the server itself makes because somebody named an address.

use super::address::{is_private_network, special};
use super::names::Names;
use super::policy::Policy;
use model::Egress;
use std::net::SocketAddrV4;

/// Whether the server may connect to `to`: as with an instance whose egress is `public`, so to no
/// private network and not to the host itself. With `private` to those too, loopback included, and
/// still to no metadata, multicast or other special address.
///
/// # Errors
/// Says why not.
pub fn may_dial(to: SocketAddrV4, private: bool) -> Result<(), String> {
    if !private {
        return Policy::new(Egress::Public).check(to, &Names::default(), launcher::leaves_host);
    }
    match special(*to.ip()) {
        Some(sort) if !is_private_network(*to.ip()) && !to.ip().is_loopback() => {
            Err(sort.to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn home_is_dialled_only_if_that_is_allowed_and_metadata_never() {
        let ask = |to: &str, private| may_dial(to.parse().unwrap(), private).is_ok();
        for to in ["127.0.0.1:80", "10.1.2.3:443", "192.168.1.1:8080"] {
            assert!(!ask(to, false), "{to}");
            assert!(ask(to, true), "{to}");
        }
        for to in [
            "169.254.169.254:80",
            "100.100.100.200:80",
            "0.0.0.0:80",
            "224.0.0.1:80",
        ] {
            assert!(!ask(to, false) && !ask(to, true), "{to}");
        }
        assert!(!ask("8.8.8.8:25", false), "mail");
    }
}
