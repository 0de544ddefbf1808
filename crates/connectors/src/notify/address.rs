//! Where a webhook may go.
//!
//! Whoever writes the config may post anywhere, also into the own network: that is what webhooks are for. What
//! they cannot mean are addresses that answer to anybody on the machine or the link, the credentials of a cloud's
//! machine above all. A name is looked up by us, what it leads to is checked, and only that is connected to, so
//! a name that leads elsewhere a moment later leads nowhere.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What clouds call their own, in ranges that are otherwise in use.
const CLOUD: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Whether a host, as it is written, is this machine.
pub(super) fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || literal(host).is_some_and(|ip| ip.to_canonical().is_loopback())
}

/// The address, if the host is written as one.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// Why nothing is posted to an address, if so.
pub(super) fn refused(ip: IpAddr) -> Option<&'static str> {
    let ip = ip.to_canonical();
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if link_local || CLOUD.contains(&ip) {
        return Some("it is an address of the link, where clouds keep credentials");
    }
    let nowhere = match ip {
        IpAddr::V4(ip) => ip.octets().first() == Some(&0) || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    (nowhere || ip.is_multicast()).then_some("it is the address of no host")
}

/// Looks names up and leaves out what is refused.
pub(super) struct CheckedNames;

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // A name that the world can set must not lead to what listens on this machine only.
            let may_be_here = is_this_machine(name.as_str());
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|at| refused(at.ip()).is_none())
                .filter(|at| may_be_here || !at.ip().to_canonical().is_loopback())
                .collect();
            if allowed.is_empty() {
                return Err("the name leads to no address that may be posted to".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_to_anybody_on_the_link_is_refused() {
        for (ip, expected) in [
            ("169.254.169.254", true),
            ("::ffff:169.254.169.254", true),
            ("fe80::1", true),
            ("fd00:ec2::254", true),
            ("100.100.100.200", true),
            ("0.0.0.0", true),
            ("0.1.2.3", true),
            ("::", true),
            ("255.255.255.255", true),
            ("224.0.0.1", true),
            ("ff02::1", true),
            ("10.0.0.7", false),
            ("192.168.1.1", false),
            ("127.0.0.1", false),
            ("::1", false),
            ("203.0.113.9", false),
            ("fd00::1", false),
        ] {
            assert_eq!(refused(ip.parse().unwrap()).is_some(), expected, "{ip}");
        }
    }

    #[test]
    fn this_machine_is_known_however_it_is_written() {
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("localhost.example.com", false),
            ("10.0.0.7", false),
        ] {
            assert_eq!(is_this_machine(host), expected, "{host}");
        }
    }

    #[tokio::test]
    async fn a_name_leads_to_this_machine_only_if_it_says_so() {
        let resolve = |name: &str| CheckedNames.resolve(name.parse().unwrap());
        assert!(resolve("localhost").await.unwrap().all(|at| at.ip().is_loopback()));
        // A name server is not needed to look up an address, and this one is no name for this machine.
        let refused = resolve("0").await.err().expect("0 leads to 0.0.0.0");
        assert!(refused.to_string().contains("no address that may be posted to"), "{refused}");
    }
}
