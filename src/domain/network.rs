//! Networks that someone may come from: lists of address blocks in CIDR notation (RFC 4632, section 3.1; RFC 4291, section 2.3).
//!
//! An empty list is no limit. Where there is a list, an address that is not known is in none of its networks. An IPv4 address that is
//! written as an IPv6 one (RFC 4291, section 2.5.5.2) is the IPv4 address, in lists as in calls, so no block of IPv6 holds one of IPv4.

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;
use std::net::IpAddr;

/// Networks in a list at most.
pub const MOST_NETWORKS: usize = 64;

/// A list of networks; empty is anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromSqlRow, AsExpression)]
#[diesel(sql_type = diesel::sql_types::Text)]
pub struct Networks {
    blocks: Vec<IpNet>,
    /// What is stored and is no block to this program. Nobody comes from there, and the list is none of anywhere.
    unread: Vec<String>,
}

impl Serialize for Networks {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.texts())
    }
}

impl Networks {
    /// Reads blocks such as `10.0.0.0/8` and `2001:db8::/32`; those named twice are kept once.
    ///
    /// # Errors
    /// A text that completes "the value …".
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, String> {
        if texts.len() > MOST_NETWORKS {
            return Err(format!("has more than {MOST_NETWORKS} networks"));
        }
        let mut networks = Vec::new();
        for (number, text) in texts.iter().enumerate() {
            let network = parse_one(text.as_ref()).map_err(|flaw| format!("has as its network {}: what {flaw}", number + 1))?;
            if !networks.contains(&network) {
                networks.push(network);
            }
        }
        Ok(Self { blocks: networks, unread: Vec::new() })
    }

    /// Reads blocks with commas between; an empty text is an empty list.
    ///
    /// # Errors
    /// Those of [`Networks::parse`].
    pub fn parse_text(text: &str) -> Result<Self, String> {
        let texts: Vec<&str> = if text.is_empty() { Vec::new() } else { text.split(',').map(str::trim).collect() };
        Self::parse(&texts)
    }

    /// From the database's text: it was judged when it was written, by whichever build.
    pub fn stored(text: &str) -> Self {
        let mut networks = Self::default();
        for text in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
            match parse_one(text) {
                Ok(network) => networks.blocks.push(network),
                Err(_) => networks.unread.push(text.to_owned()),
            }
        }
        networks
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        self.blocks.iter().map(ToString::to_string).chain(self.unread.iter().cloned())
    }

    /// The blocks with commas between.
    pub fn to_text(&self) -> String {
        self.texts().collect::<Vec<_>>().join(",")
    }

    /// Whether the list limits nothing.
    pub fn is_anywhere(&self) -> bool {
        self.blocks.is_empty() && self.unread.is_empty()
    }

    /// Whether someone at `address` may come; nobody knows where they are if there is none.
    pub fn admit(&self, address: Option<IpAddr>) -> bool {
        let holds = |address: IpAddr| self.blocks.iter().any(|network| network.contains(&address));
        self.is_anywhere() || address.map(|a| a.to_canonical()).is_some_and(holds)
    }
}

/// Bits of an IPv4-mapped IPv6 address before those of the IPv4 address.
const MAPPED: u8 = 96;

fn parse_one(text: &str) -> Result<IpNet, &'static str> {
    let network: IpNet = text.parse().map_err(|_| "is no network such as 10.0.0.0/8 or 2001:db8::/32")?;
    let network = match network {
        IpNet::V6(v6) if v6.prefix_len() >= MAPPED => match v6.addr().to_ipv4_mapped() {
            Some(v4) => IpNet::V4(Ipv4Net::new(v4, v6.prefix_len() - MAPPED).map_err(|_| "is no network")?),
            None => network,
        },
        IpNet::V4(_) | IpNet::V6(_) => network,
    };
    // Who writes 10.1.2.3/8 may have meant the one address.
    if network.trunc() == network { Ok(network) } else { Err("has bits set beyond its prefix") }
}

impl schemars::JsonSchema for Networks {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Networks".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "array", "maxItems": MOST_NETWORKS, "items": {"type": "string", "examples": ["10.0.0.0/8"]}})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn admits(networks: &[&str], address: &str) -> bool {
        Networks::parse(networks).unwrap().admit(Some(address.parse().unwrap()))
    }

    #[test]
    fn who_is_admitted() {
        assert!(Networks::default().admit(None));
        assert!(admits(&[], "192.0.2.1"));
        assert!(!Networks::parse(&["0.0.0.0/0", "::/0"]).unwrap().admit(None));
        assert!(admits(&["10.0.0.0/8", "192.0.2.1/32"], "192.0.2.1"));
        assert!(!admits(&["10.0.0.0/8", "192.0.2.1/32"], "192.0.2.2"));
        for network in ["10.0.0.0/8", "::ffff:10.0.0.0/104"] {
            assert!(admits(&[network], "10.9.9.9") && admits(&[network], "::ffff:10.9.9.9"), "{network}");
            assert!(!admits(&[network], "11.0.0.1") && !admits(&[network], "::ffff:11.0.0.1"), "{network}");
        }
        assert!(admits(&["2001:db8::/32"], "2001:db8:1::1") && !admits(&["2001:db8::/32"], "2001:db9::1"));
        assert!(!admits(&["::/0"], "10.0.0.1") && !admits(&["0.0.0.0/0"], "2001:db8::1"));
    }

    #[test]
    fn what_is_no_network() {
        let nonsense = [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0/8",
            "10.0.0.0/8 ",
            "example.com/8",
            "10.1.2.3/8",
            "2001:db8::1/32",
        ];
        for text in nonsense {
            assert!(Networks::parse(&[text]).is_err(), "{text}");
        }
        assert!(Networks::parse_text("10.0.0.0/8,").is_err());
        let many = |count: u8| (0..count).map(|n| format!("10.{n}.0.0/16")).collect::<Vec<_>>();
        assert!(Networks::parse(&many(64)).is_ok() && Networks::parse(&many(65)).is_err());
    }

    #[test]
    fn what_is_stored_and_cannot_be_read_lets_nobody_in() {
        let networks = Networks::stored("10.0.0.0/8,elsewhere");
        assert_eq!(networks.to_text(), "10.0.0.0/8,elsewhere");
        assert!(networks.admit(Some("10.1.2.3".parse().unwrap())) && !networks.admit(Some("192.0.2.1".parse().unwrap())));
        assert!(!Networks::stored("elsewhere").admit(Some("192.0.2.1".parse().unwrap())));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(blocks in prop::collection::vec((any::<u128>(), 0u8..=128, any::<bool>()), 0..20)) {
            let block = |(bits, prefix, is_v4): (u128, u8, bool)| -> IpNet {
                let address = if is_v4 { IpAddr::from(((bits >> 96) as u32).to_be_bytes()) } else { IpAddr::from(bits.to_be_bytes()) };
                IpNet::new(address, if is_v4 { prefix % 33 } else { prefix }).unwrap().trunc()
            };
            let texts: Vec<String> = blocks.into_iter().map(|b| block(b).to_string()).collect();
            let networks = Networks::parse(&texts).unwrap();
            prop_assert_eq!(Networks::stored(&networks.to_text()), networks.clone());
            prop_assert_eq!(Networks::parse_text(&networks.to_text()), Ok(networks));
        }

        /// An address is in a block exactly if they agree in the bits of the prefix.
        #[test]
        fn membership_is_by_prefix(block in any::<u32>(), address in any::<u32>(), prefix in 0u32..=32) {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            let network = format!("{}/{prefix}", std::net::Ipv4Addr::from(block & mask));
            let admitted = Networks::parse(&[network]).unwrap().admit(Some(std::net::Ipv4Addr::from(address).into()));
            prop_assert_eq!(admitted, block & mask == address & mask);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "([0-9a-f:./,]{0,50}|.{0,40})") {
            if let Ok(networks) = Networks::parse_text(&text) {
                prop_assert_eq!(Networks::parse_text(&networks.to_text()), Ok(networks));
            }
        }
    }
}
