//! Egress: where an instance may connect to outside the platform.

use crate::Invalid;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// Most entries of one list.
pub const MAX_DESTINATIONS: usize = 100;
/// Longest name of a host, by DNS.
const MAX_NAME: usize = 253;

/// Where an instance may connect to. Written as `none`, `public` or a list of destinations. What the
/// platform itself offers inside (its client port, services) is always reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Egress {
    /// Nowhere.
    None,
    /// Every address that is reached by all the internet, and none of a private network or of the host.
    #[default]
    Public,
    /// These alone: 1 to 100.
    List(Vec<Destination>),
}

/// How it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Word(String),
    List(Vec<String>),
}

impl TryFrom<Written> for Egress {
    type Error = Invalid;
    fn try_from(written: Written) -> Result<Self, Invalid> {
        match written {
            Written::Word(word) => word.parse(),
            Written::List(list) => Self::list(list.iter().map(String::as_str)),
        }
    }
}

impl From<Egress> for Written {
    fn from(egress: Egress) -> Self {
        match egress {
            Egress::None => Self::Word("none".to_owned()),
            Egress::Public => Self::Word("public".to_owned()),
            Egress::List(list) => Self::List(list.iter().map(ToString::to_string).collect()),
        }
    }
}

impl FromStr for Egress {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "none" => Ok(Self::None),
            "public" => Ok(Self::Public),
            other => Err(invalid(
                other,
                "is not known: write none, public, or a list of destinations",
            )),
        }
    }
}

impl Egress {
    /// A list of destinations.
    ///
    /// # Errors
    /// Names the first that breaks a rule, and a list that is empty or too long.
    pub fn list<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, Invalid> {
        let entries = entries.into_iter().take(MAX_DESTINATIONS + 1);
        let list: Vec<Destination> = entries.map(str::parse).collect::<Result<_, _>>()?;
        match list.len() {
            0 => Err(Invalid::new("egress", "is an empty list: write none")),
            count if count > MAX_DESTINATIONS => {
                let reason = format!("has more than {MAX_DESTINATIONS} destinations");
                Err(Invalid::new("egress", reason))
            }
            _ => Ok(Self::List(list)),
        }
    }
}

/// An entry of a list: `HOST` or `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Which hosts.
    pub host: Host,
    /// The one port; without, every port but 25.
    pub port: Option<u16>,
}

/// Which hosts a [`Destination`] means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// One name, lower case, without a dot at its end: `example.com`.
    Name(String),
    /// Every name below one, at any depth, and not itself: `*.example.com`. Kept without `*.`.
    Below(String),
    /// Addresses: `10.1.2.0/24`, or `10.1.2.3` with 32 bits.
    Network {
        /// The first of them.
        address: Ipv4Addr,
        /// How many leading bits are the same: 0 to 32.
        bits: u8,
    },
}

impl Host {
    /// Whether a name (lower case, without a dot at its end) is meant.
    pub fn has_name(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Below(parent) => name
                .strip_suffix(parent.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            Self::Network { .. } => false,
        }
    }

    /// Whether an address is meant, other than by a name.
    pub fn has_address(&self, asked: Ipv4Addr) -> bool {
        match self {
            Self::Network { address, bits } => mask(asked, *bits) == *address,
            Self::Name(_) | Self::Below(_) => false,
        }
    }

    /// Whether just this one address is written.
    pub fn is_address(&self, asked: Ipv4Addr) -> bool {
        matches!(self, Self::Network { address, bits: 32 } if *address == asked)
    }
}

fn mask(address: Ipv4Addr, bits: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

impl FromStr for Destination {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) || text.starts_with('[') {
            return Err(invalid(
                text,
                "is IPv6: instances reach IPv4 addresses only",
            ));
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => match port.parse::<u16>() {
                Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => {
                    (host, Some(number))
                }
                _ => return Err(invalid(text, "has no port from 1 to 65535 after its ':'")),
            },
            None => (text, None),
        };
        let host = host.parse().map_err(|reason| invalid(text, reason))?;
        Ok(Self { host, port })
    }
}

impl FromStr for Host {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const NOWHERE: &str = "is the instance's own loopback, or no address to connect to";
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let last = text.rsplit('.').next().unwrap_or_default();
        if !text.contains('/') && !digits(last) {
            let name = text.to_ascii_lowercase();
            return match name.strip_prefix("*.") {
                Some(parent) => check_name(parent).map(|()| Self::Below(parent.to_owned())),
                None => check_name(&name).map(|()| Self::Name(name)),
            };
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) if digits(bits) => (address, bits.parse().unwrap_or(u8::MAX)),
            Some(_) => return Err("has no number of bits from 0 to 32 after its '/'"),
            None => (text, 32),
        };
        let address: Ipv4Addr = address.parse().map_err(|_| NO_HOST)?;
        if bits > 32 {
            return Err("has no number of bits from 0 to 32 after its '/'");
        }
        if mask(address, bits) != address {
            return Err("has bits set past its '/': write the network's first address");
        }
        let nowhere = [("0.0.0.0", 8), ("127.0.0.0", 8), ("224.0.0.0", 3)];
        let within =
            |(first, least): (&str, u8)| bits >= least && first.parse() == Ok(mask(address, least));
        if nowhere.into_iter().any(within) {
            return Err(NOWHERE);
        }
        Ok(Self::Network { address, bits })
    }
}

const NO_HOST: &str = "is no name, IPv4 address or network";

/// A name as DNS has it; `_` is in use too.
fn check_name(name: &str) -> Result<(), &'static str> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(legal);
    if name.len() > MAX_NAME || !name.split('.').all(label) {
        return Err(NO_HOST);
    }
    Ok(())
}

fn invalid(text: &str, reason: &str) -> Invalid {
    let shown: String = text.chars().take(80).collect();
    Invalid::new("egress", format!("\"{}\" {reason}", shown.escape_debug()))
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::Below(parent) => write!(f, "*.{parent}")?,
            Host::Network { address, bits: 32 } => write!(f, "{address}")?,
            Host::Network { address, bits } => write!(f, "{address}/{bits}")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn host(text: &str) -> Host {
        text.parse::<Destination>().unwrap().host
    }

    #[test]
    fn it_is_written_as_a_word_or_a_list() {
        for text in [
            r#""none""#,
            r#""public""#,
            r#"["example.com","*.example.com:443","10.1.2.0/24","10.1.2.3:5432","0.0.0.0/0"]"#,
        ] {
            let egress: Egress = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&egress).unwrap(), text);
        }
        for text in [r#""all""#, "[]", r#"["a b"]"#, "{}", "7"] {
            assert!(serde_json::from_str::<Egress>(text).is_err(), "{text}");
        }
        assert!(Egress::list(std::iter::repeat_n("a.com", 100)).is_ok());
        let error = Egress::list(std::iter::repeat_n("a.com", 101)).unwrap_err();
        assert!(error.to_string().contains("100"), "{error}");
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, word) in [
            ("", "no name"),
            ("*", "no name"),
            ("a..b", "no name"),
            ("a.*.com", "no name"),
            ("https://a.com", "port"),
            ("a.com:0", "port"),
            ("a.com:65536", "port"),
            ("a.com:+1", "port"),
            ("10.0.0.300", "no name"),
            ("10.0.0", "no name"),
            ("10.0.0.0/33", "bits"),
            ("10.0.0.0/+8", "bits"),
            ("10.0.0.1/8", "first address"),
            ("a.com/8", "no name"),
            ("127.0.0.1", "loopback"),
            ("0.0.0.0", "no address"),
            ("224.0.0.0/4", "no address"),
            ("::1", "IPv6"),
            ("[::1]:80", "IPv6"),
        ] {
            let error = text.parse::<Destination>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let long = format!("{}.com", "a".repeat(64));
        assert!(long.parse::<Destination>().is_err());
    }

    #[test]
    fn names_and_networks_mean_what_they_say() {
        assert!(host("Example.COM").has_name("example.com"));
        assert!(!host("example.com").has_name("www.example.com"));
        let below = host("*.example.com");
        assert!(below.has_name("a.b.example.com"));
        for other in ["example.com", ".example.com", "badexample.com", "com", ""] {
            assert!(!below.has_name(other), "{other}");
        }
        let network = host("10.1.2.0/24");
        assert!(network.has_address([10, 1, 2, 255].into()));
        assert!(!network.has_address([10, 1, 3, 0].into()));
        assert!(!network.is_address([10, 1, 2, 0].into()));
        assert!(host("10.1.2.3").is_address([10, 1, 2, 3].into()));
        assert!(host("0.0.0.0/0").has_address([255, 0, 0, 1].into()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(address: u32, bits in 0..=32_u8, port: Option<u16>, name in "(\\*\\.)?[a-z][a-z0-9_-]{0,20}(\\.[a-z][a-z0-9]{0,9}){0,3}") {
            let port = port.filter(|port| *port > 0);
            let network = mask(Ipv4Addr::from_bits(address), bits);
            let suffix = port.map(|port| format!(":{port}")).unwrap_or_default();
            let named = format!("{name}{suffix}");
            prop_assert!(named.parse::<Destination>().is_ok());
            for text in [named, format!("{network}/{bits}{suffix}")] {
                let Ok(read) = text.parse::<Destination>() else { continue };
                prop_assert_eq!(read.port, port);
                prop_assert_eq!(&read.to_string().parse::<Destination>().unwrap(), &read);
            }
        }

        #[test]
        fn anything_else_is_refused_without_harm(text in ".{0,60}") {
            if let Ok(read) = text.parse::<Destination>() {
                prop_assert_eq!(&read.to_string().parse::<Destination>().unwrap(), &read);
            }
        }

        #[test]
        fn a_network_has_just_its_addresses(address: u32, bits in 0..=32_u8, asked: u32) {
            let network = Host::Network { address: mask(Ipv4Addr::from_bits(address), bits), bits };
            let same = bits == 0 || address >> (32 - bits) == asked >> (32 - bits);
            prop_assert_eq!(network.has_address(Ipv4Addr::from_bits(asked)), same);
        }
    }
}
