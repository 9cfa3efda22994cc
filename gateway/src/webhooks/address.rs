//! Which addresses a delivery may go to: an endpoint is named by whoever may add webhooks, and must not become a way
//! into the network of the nodes. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// The longest URL of an endpoint, in bytes.
pub(super) const URL_BYTES_MAX: usize = 2048;

/// Reads the URL of an endpoint.
///
/// # Errors
/// What it has to be.
pub(super) fn endpoint(text: &str, allow_private: bool) -> Result<Url, String> {
    if text.len() > URL_BYTES_MAX {
        return Err(format!("must be at most {URL_BYTES_MAX} bytes"));
    }
    let url = Url::parse(text).map_err(|error| format!("must be a URL: {error}"))?;
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        "http" => return Err("must be https://; http:// needs WEBHOOKS_ALLOW_PRIVATE".to_owned()),
        _ => return Err("must be https://".to_owned()),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password: the signature tells who sends".to_owned());
    }
    check_literal(&url, allow_private)?;
    Ok(url)
}

/// Checks the address of a URL that names one: no resolver is asked about it.
///
/// # Errors
/// When it is private and must not be.
pub(super) fn check_literal(url: &Url, allow_private: bool) -> Result<(), String> {
    let host = url.host_str().ok_or("must have a host")?;
    let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    match address {
        Some(address) if !allow_private && !is_public(address) => Err(refusal(address)),
        _ => Ok(()),
    }
}

/// Says that an address is refused.
pub(super) fn refusal(address: IpAddr) -> String {
    format!("{address} is a private address, which WEBHOOKS_ALLOW_PRIVATE does not allow")
}

/// Returns whether an address is one of the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// The networks that are not public (IANA IPv4 Special-Purpose Address Registry), multicast, and what is reserved.
fn is_public_v4(address: Ipv4Addr) -> bool {
    const OTHERS: [(Ipv4Addr, u32); 16] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        // Carrier-grade NAT.
        (Ipv4Addr::new(100, 64, 0, 0), 10),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        // Link-local: where clouds have their metadata.
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 0, 0, 0), 24),
        (Ipv4Addr::new(192, 0, 2, 0), 24),
        // Relays of 6to4.
        (Ipv4Addr::new(192, 88, 99, 0), 24),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(198, 18, 0, 0), 15),
        (Ipv4Addr::new(198, 51, 100, 0), 24),
        (Ipv4Addr::new(203, 0, 113, 0), 24),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
        (Ipv4Addr::new(240, 0, 0, 0), 4),
        (Ipv4Addr::new(255, 255, 255, 255), 32),
    ];
    let bits = u32::from(address);
    OTHERS.iter().all(|(network, length)| (bits ^ u32::from(*network)) >> (32 - length) != 0)
}

/// Global unicast is all in 2000::/3, so that loopback, unique local, link-local, multicast, NAT64 (64:ff9b::/96) and
/// IPv4 in IPv6 are outside. Of that, what leads to IPv4 addresses or is for documentation is left out.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let special = match first {
        // 2001::/23: assignments of the IETF, Teredo among them; 2001:db8::/32: documentation.
        0x2001 => second < 0x0200 || second == 0x0db8,
        // 6to4.
        0x2002 => true,
        // Documentation.
        0x3fff => second < 0x1000,
        _ => false,
    };
    first & 0xe000 == 0x2000 && !special
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_told_from_all_others() {
        for address in
            ["8.8.8.8", "100.63.255.255", "172.32.0.1", "198.20.0.1", "223.255.255.255", "2606:4700::1"]
        {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:808:808::1",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address} was taken");
        }
    }

    #[test]
    fn endpoints_are_urls_without_ways_around() {
        for url in ["https://app.example.com/hook?a=1", "https://8.8.8.8/", "https://[2606:4700::1]:8443/"] {
            endpoint(url, false).unwrap();
        }
        for url in [
            "http://app.example.com/",
            "ftp://app.example.com/",
            "https://user:pass@app.example.com/",
            "https://127.0.0.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "app.example.com",
            &format!("https://app.example.com/{}", "x".repeat(URL_BYTES_MAX)),
        ] {
            assert!(endpoint(url, false).is_err(), "{url} was taken");
        }
        for url in ["http://127.0.0.1:1/", "http://localhost/", "https://[::1]/"] {
            endpoint(url, true).unwrap();
        }
        assert!(endpoint("file:///etc/passwd", true).is_err());
    }
}
