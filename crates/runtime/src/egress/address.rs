//! What sort of address an address is.

use std::net::Ipv4Addr;

/// Why an address is not one of the public internet, or `None` if it is. By IANA's registry of
/// special-purpose addresses (RFC 6890), and the addresses at which clouds tell a machine its secrets.
pub(super) fn special(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, d] = address.octets();
    Some(match (a, b, c, d) {
        // Azure's; the others' are link-local (AWS, Google, OpenStack), 192.0.0.192 (Oracle) and
        // 100.100.100.200 (Alibaba), which are refused below with their networks.
        (168, 63, 129, 16) => "cloud metadata address",
        (0, ..) => "address of no network",
        (10, ..) | (172, 16..=31, ..) | (192, 168, ..) => "private address",
        (100, 64..=127, ..) => "address of a carrier's private network",
        (127, ..) => "loopback address",
        (169, 254, ..) => "link-local or metadata address",
        (192, 0, 0, _) => "address for protocols",
        (192, 88, 99, _) => "address of a relay",
        (192, 0, 2, _) | (198, 51, 100, _) | (203, 0, 113, _) => "address for documentation",
        (198, 18..=19, ..) => "address for benchmarks",
        (224..=239, ..) => "multicast address",
        (255, 255, 255, 255) => "broadcast address",
        (240..=255, ..) => "reserved address",
        _ => return None,
    })
}

/// Whether an address of no public network may be granted by a wider network of a list. Others, such
/// as metadata, must be written exactly.
pub(super) fn is_private_network(address: Ipv4Addr) -> bool {
    let shared = matches!(address.octets(), [100, 64..=127, ..]);
    // Alibaba's metadata lies in a network that is otherwise ordinary.
    let metadata = address.octets() == [100, 100, 100, 200];
    let tests = matches!(
        address.octets(),
        [198, 18..=19, ..] | [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _]
    );
    (address.is_private() || shared || tests) && !metadata
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_edges_of_each_network_are_known() {
        for (first, last) in [
            ([0, 0, 0, 0], [0, 255, 255, 255]),
            ([10, 0, 0, 0], [10, 255, 255, 255]),
            ([100, 64, 0, 0], [100, 127, 255, 255]),
            ([127, 0, 0, 0], [127, 255, 255, 255]),
            ([168, 63, 129, 16], [168, 63, 129, 16]),
            ([169, 254, 0, 0], [169, 254, 255, 255]),
            ([172, 16, 0, 0], [172, 31, 255, 255]),
            ([192, 0, 0, 0], [192, 0, 0, 255]),
            ([192, 0, 2, 0], [192, 0, 2, 255]),
            ([192, 88, 99, 0], [192, 88, 99, 255]),
            ([192, 168, 0, 0], [192, 168, 255, 255]),
            ([198, 18, 0, 0], [198, 19, 255, 255]),
            ([198, 51, 100, 0], [198, 51, 100, 255]),
            ([203, 0, 113, 0], [203, 0, 113, 255]),
            ([224, 0, 0, 0], [255, 255, 255, 255]),
        ] {
            let (first, last) = (Ipv4Addr::from(first), Ipv4Addr::from(last));
            assert!(
                special(first).is_some() && special(last).is_some(),
                "{first}"
            );
            let before = first.to_bits().checked_sub(1).map(Ipv4Addr::from_bits);
            let after = last.to_bits().checked_add(1).map(Ipv4Addr::from_bits);
            for outside in [before, after].into_iter().flatten() {
                assert_eq!(special(outside), None, "{outside}");
            }
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_standard_library(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let known = address.is_private() || address.is_loopback() || address.is_link_local()
                || address.is_multicast() || address.is_broadcast() || address.is_documentation()
                || address.is_unspecified();
            prop_assert!(!known || special(address).is_some());
            prop_assert!(!is_private_network(address) || special(address).is_some());
        }
    }
}
