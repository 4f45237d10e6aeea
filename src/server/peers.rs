//! Who a connection belongs to, as far as its address says: the prefix that
//! limits count, and the prefixes that have logged in before.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// Prefixes that are remembered; the one whose last login is the oldest makes
/// room for another.
const MAX_KNOWN: usize = 4096;

/// What limits count as one peer: an IPv4 address or an IPv6 /64, which is what
/// one IPv6 site has at least (RFC 6177 2). An IPv4-mapped address counts as
/// IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Prefix(IpAddr);

impl Prefix {
    /// The prefix that `address` is in.
    pub(crate) fn of(address: IpAddr) -> Prefix {
        Prefix(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << 64);
                Ipv6Addr::from(network).into()
            }
        })
    }
}

/// Prefixes from which a login succeeded since the server started, at most
/// [`MAX_KNOWN`] of them.
#[derive(Default)]
pub(crate) struct KnownPeers {
    /// The number of its last login, counted over all prefixes.
    last_login: HashMap<Prefix, u64>,
    logins: u64,
}

impl KnownPeers {
    /// Notes a successful login.
    pub(crate) fn remember(&mut self, prefix: Prefix) {
        self.logins += 1;
        self.last_login.insert(prefix, self.logins);
        if self.last_login.len() > MAX_KNOWN {
            if let Some((&oldest, _)) = self.last_login.iter().min_by_key(|(_, login)| **login) {
                self.last_login.remove(&oldest);
            }
        }
    }

    /// Whether a login from there is remembered.
    pub(crate) fn contains(&self, prefix: Prefix) -> bool {
        self.last_login.contains_key(&prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::of(text.parse().unwrap())
    }

    #[test]
    fn a_prefix_is_an_ipv4_address_or_an_ipv6_64() {
        assert_eq!(prefix("192.0.2.1"), prefix("::ffff:192.0.2.1"));
        assert_ne!(prefix("192.0.2.1"), prefix("192.0.2.2"));
        assert_eq!(prefix("2001:db8:0:1::1"), prefix("2001:db8:0:1:ffff::2"));
        assert_ne!(prefix("2001:db8:0:1::1"), prefix("2001:db8:0:2::1"));
    }

    #[test]
    fn the_memory_of_logins_is_bounded_and_keeps_the_latest() {
        let mut known = KnownPeers::default();
        let address = |number: u32| Prefix::of(std::net::Ipv4Addr::from(number).into());
        for number in 0..=MAX_KNOWN as u32 {
            known.remember(address(0));
            known.remember(address(number));
        }
        assert_eq!(known.last_login.len(), MAX_KNOWN);
        assert!(known.contains(address(0)) && !known.contains(address(1)));
        assert!(known.contains(address(2)) && known.contains(address(MAX_KNOWN as u32)));
    }
}
