//! `X-Forwarded-For`: the client is the peer, or an address that stands in a line that a trusted proxy sent, or the call is refused.
#![no_main]

use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;
use std::net::{IpAddr, Ipv4Addr};
use usher::http::outside;

fuzz_target!(|bytes: &[u8]| {
    let lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').take(4).collect();
    let trusted: Vec<IpNet> = ["10.0.0.0/8", "2001:db8::/32"].iter().filter_map(|net| net.parse().ok()).collect();
    let stranger = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    if let Some(client) = outside::forwarded_for(stranger, &lines, &trusted) {
        assert_eq!(client.ok().flatten(), Some(stranger));
    }
    let proxy = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    if let Some(Ok(client)) = outside::forwarded_for(proxy, &lines, &trusted) {
        let text = String::from_utf8_lossy(bytes);
        let named = |address: IpAddr| {
            text.split([',', '\n']).filter_map(|entry| entry.trim().parse::<IpAddr>().ok()).any(|entry| entry.to_canonical() == address)
        };
        assert!(client.is_some_and(|address| address == proxy || named(address)));
    }
});
