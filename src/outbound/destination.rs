//! Destinations: which addresses usher connects to of its own accord (S44).
//!
//! Whoever may name a URL could otherwise have usher call what only usher can reach: the machine itself, its neighbours, the metadata
//! service of a cloud. So only addresses that the whole Internet shares are connected to, and the networks that the operator lists. What
//! is judged is the address that the connection then goes to, not the name that led to it; see [`super::hook`].

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Where usher may connect to.
#[derive(Clone, Debug, Default)]
pub struct Destinations {
    allowed: Vec<IpNet>,
}

/// Blocks of IPv4 that are not shared by the whole Internet (the registry of RFC 6890), and one public address of a metadata service.
const SPECIAL_V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local, 169.254.169.254 included: the metadata of most clouds.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    // Azure's, reachable from within alone.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

/// Blocks of the global unicast space of IPv6, 2000::/3, that are not to be connected to; outside of it nothing is.
const SPECIAL_V6: &[(Ipv6Addr, u8)] = &[
    // Protocol assignments, Teredo among them, which carries an IPv4 address along.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4, likewise.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Global unicast.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// How an IPv4 address is written where the network has IPv6 alone (RFC 6052, section 2.1).
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

impl Destinations {
    /// Public addresses, and these networks.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Whether usher may connect to `address`.
    pub fn admit(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|network| network.contains(&address)) || (is_public(address) && !is_own(address))
    }
}

/// Whether an address belongs to the whole Internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !SPECIAL_V4.iter().any(|block| holds_v4(*block, v4)),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped().or_else(|| behind_nat64(v6)) {
            Some(v4) => is_public(v4.into()),
            None => holds_v6(GLOBAL_V6, v6) && !SPECIAL_V6.iter().any(|block| holds_v6(*block, v6)),
        },
    }
}

fn behind_nat64(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., a, b, c, d] = v6.octets();
    holds_v6(NAT64, v6).then(|| Ipv4Addr::new(a, b, c, d))
}

fn holds_v4((network, prefix): (Ipv4Addr, u8), address: Ipv4Addr) -> bool {
    let shift = 32 - u32::from(prefix);
    (u32::from(network) ^ u32::from(address)).checked_shr(shift).unwrap_or(0) == 0
}

fn holds_v6((network, prefix): (Ipv6Addr, u8), address: Ipv6Addr) -> bool {
    let shift = 128 - u32::from(prefix);
    (u128::from(network) ^ u128::from(address)).checked_shr(shift).unwrap_or(0) == 0
}

/// Whether it is an address of this machine: one can be bound to. Nothing is sent.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn admitted(allowed: &[&str], address: &str) -> bool {
        Destinations::new(allowed.iter().map(|n| n.parse().unwrap()).collect()).admit(address.parse().unwrap())
    }

    /// S44, R19: loopback, private, link-local, ULA, CGNAT, metadata, multicast and their spellings in IPv6.
    #[test]
    fn what_is_not_connected_to() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.254",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "168.63.129.16",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!admitted(&[], address), "{address}");
        }
        for address in ["1.1.1.1", "100.63.255.255", "100.128.0.0", "172.32.0.0", "192.0.1.0", "2606:4700::1", "64:ff9b::101:101"]
        {
            assert!(admitted(&[], address), "{address}");
        }
    }

    #[test]
    fn what_the_operator_lists_is_connected_to() {
        assert!(admitted(&["10.1.0.0/16"], "10.1.2.3") && admitted(&["10.1.0.0/16"], "::ffff:10.1.2.3"));
        assert!(!admitted(&["10.1.0.0/16"], "10.2.0.1") && !admitted(&["10.1.0.0/16"], "127.0.0.1"));
        assert!(admitted(&["::1/128"], "::1") && !admitted(&["::/0"], "127.0.0.1"));
        assert!(admitted(&["127.0.0.0/8"], "127.0.0.1") && !admitted(&["127.0.0.0/8"], "::1"));
    }

    /// S44: a public address of this machine is this machine's all the same.
    #[test]
    fn own_addresses_are_known() {
        assert!(is_own("127.0.0.1".parse().unwrap()));
        assert!(!is_own("192.0.2.1".parse().unwrap()) && !is_own("1.1.1.1".parse().unwrap()));
    }

    proptest! {
        /// The standard library's own notions of what is not public are all contained, in whichever spelling.
        #[test]
        fn nothing_that_is_known_to_be_special_is_public(bits in any::<u32>(), pick in 0usize..8) {
            let special = [0x7f00_0000u32, 0x0a00_0000, 0xac10_0000, 0xc0a8_0000, 0xa9fe_0000, 0xe000_0000, 0x6440_0000, 0];
            let width = [8, 8, 12, 16, 16, 4, 10, 8][pick];
            let address = Ipv4Addr::from(special[pick] | (bits >> width));
            prop_assert!(!is_public(address.into()), "{}", address);
            prop_assert!(!is_public(address.to_ipv6_mapped().into()) && !is_public(address.to_ipv6_compatible().into()));
            let [a, b, c, d] = address.octets();
            let behind = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            prop_assert!(!is_public(behind.into()));
        }

        #[test]
        fn what_is_public_has_no_special_property(bits in any::<u128>()) {
            let v4 = Ipv4Addr::from((bits >> 96) as u32);
            if is_public(v4.into()) {
                prop_assert!(!v4.is_loopback() && !v4.is_private() && !v4.is_link_local() && !v4.is_multicast() && !v4.is_broadcast());
                prop_assert!(!v4.is_unspecified() && !v4.is_documentation());
            }
            for v6 in [Ipv6Addr::from(bits), Ipv6Addr::from(bits >> 3 | 1 << 125)] {
                if is_public(v6.into()) && behind_nat64(v6).is_none() {
                    prop_assert!(!v6.is_loopback() && !v6.is_unspecified() && !v6.is_multicast());
                    prop_assert!(!v6.is_unique_local() && !v6.is_unicast_link_local());
                }
            }
        }
    }
}
