//! Whether an instance may connect to an address, and ask for a name.

use super::address::{is_private_network, special};
use super::names::Names;
use model::{Destination, Egress};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Mail between servers. Open to all, it would send spam in the host's name.
const SMTP: u16 = 25;

/// One instance's policy.
#[derive(Debug)]
pub(super) struct Policy {
    egress: Egress,
}

/// Why not; ends `egress to 10.0.0.1:80 refused: `.
pub(super) type Refusal = String;

impl Policy {
    pub(super) fn new(egress: Egress) -> Self {
        Self { egress }
    }

    /// Whether it may connect there. `names`: what it was told of names. `leaves_host`: whether packets
    /// to that address leave the host, or the error that there is no route.
    ///
    /// # Errors
    /// Says why not.
    pub(super) fn check(
        &self,
        to: SocketAddrV4,
        names: &Names,
        leaves_host: impl FnOnce(Ipv4Addr) -> io::Result<bool>,
    ) -> Result<(), Refusal> {
        let address = *to.ip();
        let own = |allowed: Result<(), Refusal>| {
            allowed?;
            match leaves_host(address) {
                Ok(true) => Ok(()),
                Ok(false) => Err("it is an address of the host itself".to_owned()),
                Err(error) => Err(format!("the host has no route to it: {error}")),
            }
        };
        match &self.egress {
            Egress::None => Err("its egress is none".to_owned()),
            Egress::Public if to.port() == SMTP => {
                Err("port 25 needs an entry of its own: HOST:25".to_owned())
            }
            Egress::Public => own(match special(address) {
                Some(sort) => Err(sort.to_owned()),
                None => Ok(()),
            }),
            Egress::List(list) => {
                let list = || list.iter().filter(|entry| has_port(entry, to.port()));
                if list().any(|entry| entry.host.is_address(address)) {
                    return Ok(());
                }
                own(check_list(address, list, names))
            }
        }
    }

    /// Whether answers for a name are given, and are to be remembered.
    pub(super) fn check_name(&self, name: &str) -> Asking {
        match &self.egress {
            Egress::None => Asking::Refused,
            Egress::Public => Asking::Allowed,
            Egress::List(list) if list.iter().any(|entry| entry.host.has_name(name)) => {
                Asking::Remembered
            }
            Egress::List(_) => Asking::Refused,
        }
    }
}

/// What becomes of a question for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// Nobody is asked.
    Refused,
    /// It is passed on.
    Allowed,
    /// It is passed on, and the addresses that come are open by this name.
    Remembered,
}

fn has_port(entry: &Destination, port: u16) -> bool {
    match entry.port {
        Some(own) => own == port,
        None => port != SMTP,
    }
}

fn check_list<'a, L: Iterator<Item = &'a Destination>>(
    address: Ipv4Addr,
    list: impl Fn() -> L,
    names: &Names,
) -> Result<(), Refusal> {
    let sort = special(address);
    let mut networks = list().filter(|entry| entry.host.has_address(address));
    match (networks.next(), sort) {
        (Some(_), None) => return Ok(()),
        (Some(_), Some(_)) if is_private_network(address) => return Ok(()),
        (Some(_), Some(sort)) => {
            return Err(format!("{sort}, which must be written exactly: {address}"));
        }
        (None, _) => {}
    }
    let known = names.of(address);
    let named = known
        .into_iter()
        .find(|name| list().any(|entry| entry.host.has_name(name)));
    match (named, sort) {
        (Some(_), None) => Ok(()),
        // A name says where it leads, and may say anything: it does not open a private network.
        (Some(name), Some(sort)) => Err(format!(
            "{sort}, to which {name} leads; the list must have it as an address too"
        )),
        (None, _) => Err("it is not on the list".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const OWN: Ipv4Addr = Ipv4Addr::new(203, 0, 114, 1);

    fn list(entries: &[&str]) -> Policy {
        Policy::new(Egress::list(entries.iter().copied()).unwrap())
    }

    fn ask(policy: &Policy, names: &Names, to: &str) -> Result<(), Refusal> {
        policy.check(to.parse().unwrap(), names, |address| Ok(address != OWN))
    }

    #[test]
    fn public_is_the_internet_without_mail_and_without_the_host() {
        let (policy, names) = (Policy::new(Egress::Public), Names::default());
        assert_eq!(ask(&policy, &names, "93.184.216.34:443"), Ok(()));
        for (to, word) in [
            ("10.0.0.1:80", "private"),
            ("169.254.169.254:80", "metadata"),
            ("127.0.0.1:61900", "loopback"),
            ("93.184.216.34:25", "port 25"),
            ("203.0.114.1:80", "host itself"),
        ] {
            let refusal = ask(&policy, &names, to).unwrap_err();
            assert!(refusal.contains(word), "{to}: {refusal}");
        }
        let lost = policy.check("9.9.9.9:80".parse().unwrap(), &names, |_| {
            Err(io::ErrorKind::NetworkUnreachable.into())
        });
        assert!(lost.unwrap_err().contains("no route"));
        assert_eq!(policy.check_name("example.com"), Asking::Allowed);
    }

    #[test]
    fn none_is_nowhere() {
        let policy = Policy::new(Egress::None);
        assert!(ask(&policy, &Names::default(), "93.184.216.34:443").is_err());
        assert_eq!(policy.check_name("example.com"), Asking::Refused);
    }

    #[test]
    fn a_list_opens_networks_but_nothing_special_by_the_way() {
        let names = Names::default();
        let policy = list(&[
            "0.0.0.0/0",
            "10.1.2.0/24:80",
            "203.0.114.1:5432",
            "169.254.1.1",
        ]);
        for to in [
            "10.1.2.3:80",
            "10.9.9.9:1",
            "8.8.8.8:53",
            "203.0.114.1:5432",
            "169.254.1.1:9",
        ] {
            assert_eq!(ask(&policy, &names, to), Ok(()), "{to}");
        }
        for (to, word) in [
            ("169.254.169.254:80", "exactly"),
            ("168.63.129.16:80", "exactly"),
            ("100.100.100.200:80", "exactly"),
            ("203.0.114.1:80", "host itself"),
            ("8.8.8.8:25", "not on the list"),
        ] {
            let refusal = ask(&policy, &names, to).unwrap_err();
            assert!(refusal.contains(word), "{to}: {refusal}");
        }
        let mail = list(&["8.8.8.8:25"]);
        assert_eq!(ask(&mail, &names, "8.8.8.8:25"), Ok(()));
        assert!(ask(&mail, &names, "8.8.8.8:26").is_err());
    }

    #[test]
    fn a_name_opens_the_public_addresses_that_were_told_for_it() {
        let policy = list(&["api.example.com:443", "*.internal"]);
        let names = Names::default();
        let told = Duration::from_secs(60);
        assert!(ask(&policy, &names, "93.184.216.34:443").is_err());
        names.remember("api.example.com", [93, 184, 216, 34].into(), told);
        names.remember("db.internal", [10, 0, 0, 7].into(), told);
        names.remember("other.example.com", [8, 8, 8, 8].into(), told);
        names.remember("api.example.com", OWN, told);
        assert_eq!(ask(&policy, &names, "93.184.216.34:443"), Ok(()));
        for (to, word) in [
            ("93.184.216.34:80", "not on the list"),
            ("8.8.8.8:443", "not on the list"),
            ("10.0.0.7:443", "to which db.internal leads"),
            ("203.0.114.1:443", "host itself"),
        ] {
            let refusal = ask(&policy, &names, to).unwrap_err();
            assert!(refusal.contains(word), "{to}: {refusal}");
        }
        let both = list(&["*.internal", "10.0.0.0/8"]);
        assert_eq!(ask(&both, &names, "10.0.0.7:443"), Ok(()));
        assert_eq!(policy.check_name("api.example.com"), Asking::Remembered);
        assert_eq!(policy.check_name("example.com"), Asking::Refused);
    }

    proptest! {
        #[test]
        fn public_never_leads_to_a_special_address(bits: u32, port: u16) {
            let address = Ipv4Addr::from_bits(bits);
            let to = SocketAddrV4::new(address, port);
            let allowed = Policy::new(Egress::Public).check(to, &Names::default(), |_| Ok(true)).is_ok();
            prop_assert_eq!(allowed, special(address).is_none() && port != SMTP);
        }
    }
}
