//! IP addresses: an exact one is the same however it is written, and networks (CIDR).

use crate::Invalid;
use std::net::IpAddr;

/// A network, from its first address to its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Reads `10.0.0.0/24` or `2001:db8::/32`. Errors are in AWS's words; a mask of all bits, which
    /// AWS refuses, is one address.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let mut parts = text.split('/');
        let (Some(address), Some(bits), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Invalid::new("Malformed CIDR, one '/' required"));
        };
        let bits: i64 = bits
            .parse()
            .map_err(|_| Invalid::new("Malformed CIDR, mask bits must be an integer"))?;
        if bits < 0 {
            let reason = "Malformed CIDR, mask bits must not be negative";
            return Err(Invalid::new(reason));
        }
        let address: IpAddr = address
            .parse()
            .map_err(|_| Invalid::new(format!("Nonstandard IP address: {address}")))?;
        let (most, version) = match address {
            IpAddr::V4(_) => (32, 4),
            IpAddr::V6(_) => (128, 6),
        };
        match u32::try_from(bits) {
            Ok(bits) if bits <= most => Ok(Self { address, bits }),
            _ => Err(Invalid::new(format!(
                "IPv{version} mask bits must be < {}",
                most + 1
            ))),
        }
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        let keep = |all: u32| all - self.bits;
        match (self.address, text.parse()) {
            (IpAddr::V4(net), Ok(IpAddr::V4(address))) => {
                let differ = net.to_bits() ^ address.to_bits();
                differ.checked_shr(keep(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), Ok(IpAddr::V6(address))) => {
                let differ = net.to_bits() ^ address.to_bits();
                differ.checked_shr(keep(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    #[test]
    fn networks_of_both_versions() {
        let inside =
            |network: &str, address: &str| Network::parse(network).unwrap().contains(address);
        assert!(inside("10.0.0.0/24", "10.0.0.255"));
        assert!(!inside("10.0.0.0/24", "10.0.1.0"));
        assert!(inside("0.0.0.0/0", "255.255.255.255"));
        assert!(inside("10.1.2.3/32", "10.1.2.3"));
        assert!(inside("2001:db8::/32", "2001:DB8:0:1::5"));
        assert!(!inside("2001:db8::/32", "2001:db9::"));
        assert!(inside("::/0", "::1"));
        assert!(!inside("::/0", "10.0.0.1"));
        assert!(!inside("0.0.0.0/0", "example.com"));
    }

    #[test]
    fn what_is_no_network_is_refused_in_aws_words() {
        for (text, reason) in [
            ("10.0.0.0", "Malformed CIDR, one '/' required"),
            ("1/2/3", "Malformed CIDR, one '/' required"),
            ("10.0.0.0/x", "Malformed CIDR, mask bits must be an integer"),
            (
                "10.0.0.0/-1",
                "Malformed CIDR, mask bits must not be negative",
            ),
            ("10.0.0/8", "Nonstandard IP address: 10.0.0"),
            ("10.0.0.0/33", "IPv4 mask bits must be < 33"),
            ("::/129", "IPv6 mask bits must be < 129"),
        ] {
            assert_eq!(Network::parse(text).unwrap_err().0, reason, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_network_holds_what_shares_its_first_bits(net: u32, other: u32, bits in 0u32..=32) {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            let network = format!("{}/{bits}", Ipv4Addr::from_bits(net));
            let found = Network::parse(&network).unwrap()
                .contains(&Ipv4Addr::from_bits(other).to_string());
            prop_assert_eq!(found, net & mask == other & mask);
        }
    }
}
