//! Which machines may be asked: others than those of the server's own network.
//!
//! A client names an address and the server asks it, so a client could have the server ask what only
//! the server reaches: its own machine, its network, a cloud's metadata. So an address must be a
//! public one, by HTTPS, unless the configuration allows its host; each that a redirect leads to as
//! well; and a name's addresses are looked at when they're connected to, not before, since they may
//! be others by then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Hosts that may be asked whatever their addresses are, also without TLS: `HOST`, or `HOST:PORT`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed(Vec<String>);

/// Why an address isn't asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Forbidden {
    #[error("{0} is asked by https only")]
    NotHttps(String),
    #[error("{0} is an address of this machine or of a private network")]
    Private(String),
}

/// How an address may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As long as its host has public addresses.
    Public,
    /// Whatever addresses its host has.
    Any,
}

impl Allowed {
    pub(crate) fn new(hosts: Vec<String>) -> Self {
        Self(hosts)
    }

    /// Allows `url`'s host at its port.
    pub(crate) fn and(mut self, url: &Url) -> Self {
        self.0.extend(with_port(url));
        self
    }

    /// Whether `url` may be asked, and how.
    pub(crate) fn check(&self, url: &Url) -> Result<Way, Forbidden> {
        let host = url.host_str().unwrap_or_default();
        let (with_port, is) =
            (with_port(url), |allowed: &String| allowed.eq_ignore_ascii_case(host));
        if self.0.iter().any(|allowed| is(allowed) || Some(allowed) == with_port.as_ref()) {
            return Ok(Way::Any);
        }
        if url.scheme() != "https" {
            return Err(Forbidden::NotHttps(host.to_owned()));
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        if address.is_some_and(|address| !is_public(address)) {
            return Err(Forbidden::Private(host.to_owned()));
        }
        Ok(Way::Public)
    }
}

fn with_port(url: &Url) -> Option<String> {
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

/// Whether an address is one that all of the internet knows, by the registries of special addresses
/// (RFC 6890 and what IANA has added to it).
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        // Carriers' networks, protocols' assignments, benchmarks; multicast and what is reserved.
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && matches!(b, 18 | 19))
        || a >= 224;
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let octets = address.octets();
    let embedded = |at: usize| {
        is_public_v4(Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]))
    };
    match (a, b) {
        // An IPv4 address by another name: mapped, NAT64, 6to4.
        _ if address.to_ipv4_mapped().is_some() => embedded(12),
        (0x64, 0xff9b) => address.segments()[2..6] == [0; 4] && embedded(12),
        (0x2002, _) => embedded(2),
        // Teredo and other protocols' assignments, documentation.
        (0x2001, 0..0x200 | 0xdb8) | (0x3fff, 0..0x1000) => false,
        // What is given out at all.
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_ones_own_are_not_public() {
        for address in [
            "127.0.0.1",
            "127.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "240.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::808:808",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "::7f00:1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::",
            "2001:4860::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn other_ways_to_write_an_address_change_nothing() {
        let allowed = Allowed::default();
        for url in [
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://[::ffff:7f00:1]/",
            "https://[0:0:0:0:0:0:0:1]/",
            "https://127.0.0.1./",
        ] {
            let found = allowed.check(&Url::parse(url).unwrap());
            assert!(matches!(found, Err(Forbidden::Private(_))), "{url}: {found:?}");
        }
    }

    #[test]
    fn a_host_is_allowed_by_its_name_or_at_a_port() {
        let hosts = ["models.lan".to_owned(), "10.0.0.7:8080".to_owned()];
        let allowed = Allowed::new(hosts.into());
        let check = |url: &str| allowed.check(&Url::parse(url).unwrap());
        assert_eq!(check("http://models.lan/a.gguf"), Ok(Way::Any));
        assert_eq!(check("http://MODELS.lan:81/a.gguf"), Ok(Way::Any));
        assert_eq!(check("http://10.0.0.7:8080/a.gguf"), Ok(Way::Any));
        assert_eq!(check("https://example.org/a.gguf"), Ok(Way::Public));
        assert_eq!(
            check("http://example.org/a.gguf"),
            Err(Forbidden::NotHttps("example.org".to_owned()))
        );
        assert_eq!(
            check("https://10.0.0.7/a.gguf"),
            Err(Forbidden::Private("10.0.0.7".to_owned()))
        );
        let mirror = Url::parse("http://mirror.lan:9000").unwrap();
        assert_eq!(allowed.clone().and(&mirror).check(&mirror), Ok(Way::Any));
    }
}
