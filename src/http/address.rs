//! From where a request comes: the peer, or what trusted proxies say of it (S43).
//!
//! `X-Forwarded-For` is read from the right, where the nearest proxy wrote; each entry is believed only because a trusted proxy wrote it.
//! The first address that is not a trusted proxy's is the client's. No other header says anything about the address.

use crate::error::{Code, Error, Result};
use actix_web::http::header::HeaderMap;
use ipnet::IpNet;
use std::net::IpAddr;

const HEADER: &str = "x-forwarded-for";

/// The client's address, given the peer's.
///
/// # Errors
/// [`Code::BadRequest`] if a trusted proxy passes something on that is no address.
pub fn client(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Result<Option<IpAddr>> {
    let Some(peer) = peer.map(canonical) else { return Ok(None) };
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    if !is_trusted(peer) {
        return Ok(Some(peer));
    }
    let bad = || Error::new(Code::BadRequest).because("forwarded_for_malformed");
    let mut client = peer;
    for line in headers.get_all(HEADER).collect::<Vec<_>>().into_iter().rev() {
        for entry in line.to_str().map_err(|_| bad())?.rsplit(',') {
            client = canonical(entry.trim().parse().map_err(|_| bad())?);
            if !is_trusted(client) {
                return Ok(Some(client));
            }
        }
    }
    Ok(Some(client))
}

/// IPv4 addresses that came through an IPv6 socket are IPv4 addresses.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn client_of(peer: &str, lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HeaderName::from_static(HEADER), HeaderValue::from_str(line).unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let client = client(Some(peer.parse().unwrap()), &headers, &trusted).ok()?;
        client.map(|a| a.to_string())
    }

    proptest::proptest! {
        /// S43, R20: whatever stands in the header, the client is the peer, or an address that a trusted proxy wrote, or the call is refused.
        #[test]
        fn any_header_names_an_address_or_is_refused(
            peer in "(10\\.0\\.0\\.[1-9]|192\\.0\\.2\\.[1-9])",
            lines in proptest::collection::vec("([0-9.:a-f, ]{0,30}|10\\.0\\.0\\.[1-9]|[ -~]{0,20})", 0..3),
        ) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            match client_of(&peer, &lines) {
                None => proptest::prop_assert!(peer.starts_with("10.")),
                Some(client) if client == peer => {}
                Some(client) => {
                    proptest::prop_assert!(peer.starts_with("10."));
                    let mut entries = lines.iter().flat_map(|line| line.split(','));
                    proptest::prop_assert!(entries.any(|entry| entry.trim().parse::<IpAddr>().is_ok_and(|a| canonical(a).to_string() == client)));
                }
            }
        }
    }

    /// S43: only trusted proxies are believed, from the right, and nonsense is refused.
    #[test]
    fn forwarded_addresses() {
        assert_eq!(client_of("192.0.2.1", &["198.51.100.7"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client_of("10.0.0.1", &["198.51.100.7"]).as_deref(), Some("198.51.100.7"));
        assert_eq!(client_of("10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.0.0.2"]).as_deref(), Some("198.51.100.7"));
        assert_eq!(client_of("10.0.0.1", &["1.1.1.1", "198.51.100.7,10.9.9.9"]).as_deref(), Some("198.51.100.7"));
        assert_eq!(client_of("10.0.0.1", &[]).as_deref(), Some("10.0.0.1"));
        assert_eq!(client_of("::ffff:10.0.0.1", &["198.51.100.7"]).as_deref(), Some("198.51.100.7"));
        for nonsense in ["", "unknown", "198.51.100.7:80", "198.51.100.7, ", "<script>"] {
            assert_eq!(client_of("10.0.0.1", &[nonsense]), None, "{nonsense}");
        }
    }
}
