//! Where the server may send messages to: public addresses, and what the operator names besides.
//!
//! A team chooses the address of a webhook, and the server sends from inside the operator's network. Without this rule
//! a webhook would be a way to talk to what only that network can reach.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// What the operator allows besides public addresses: `webhooks.allow`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed {
    hosts: Vec<String>,
    blocks: Vec<Block>,
}

/// A block of addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    first: IpAddr,
    prefix: u8,
}

impl Allowed {
    /// Whether the operator named this host.
    pub fn names_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|named| named.eq_ignore_ascii_case(host.trim_end_matches('.')))
    }

    /// Whether messages may be sent to this address.
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.blocks.iter().any(|block| block.holds(address))
    }
}

impl Block {
    fn holds(self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let fixed = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                first.to_bits() & fixed == address.to_bits() & fixed
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let fixed = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                first.to_bits() & fixed == address.to_bits() & fixed
            }
            _ => false,
        }
    }
}

/// Whether an address belongs to the public internet, and to a single machine there.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        || (a, b & 0xc0) == (100, 64)
        || (a, b, c) == (192, 0, 0)
        || (a, b & 0xfe) == (198, 18)
        || a >= 224;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded =
        |high: u16, low: u16| is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match segments {
        // The well-known prefix of translators: the address behind it counts.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Tunnels and special registrations, and the addresses of examples.
        [0x2001, second, ..] => second >= 0x200 && second != 0xdb8,
        [first, ..] => (0x2000..=0x3fff).contains(&first) && first != 0x3fff,
    }
}

impl FromStr for Block {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let first: IpAddr = address.parse().map_err(|_| ())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), str::parse).map_err(|_| ())?;
        if prefix <= most { Ok(Self { first, prefix }) } else { Err(()) }
    }
}

impl FromStr for Allowed {
    type Err = ();
    /// Reads hosts, addresses and blocks with commas between them.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut allowed = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            match word.parse() {
                Ok(block) => allowed.blocks.push(block),
                Err(()) if word.chars().all(name) => allowed.hosts.push(word.to_ascii_lowercase()),
                Err(()) => return Err(()),
            }
        }
        Ok(allowed)
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks = self.blocks.iter().map(|block| format!("{}/{}", block.first, block.prefix));
        let words: Vec<String> = self.hosts.iter().cloned().chain(blocks).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(allowed: &str, address: &str) -> bool {
        allowed.parse::<Allowed>().unwrap().admits(address.parse().unwrap())
    }

    #[test]
    fn only_public_addresses_are_admitted_unless_the_operator_says_so() {
        let inside = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
            "2001:db8::1",
            "2001::1",
            "::127.0.0.1",
        ];
        for address in inside {
            assert!(!admits("", address), "{address}");
        }
        for address in
            ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "64:ff9b::101:101", "2001:4860:4860::8888"]
        {
            assert!(admits("", address), "{address}");
        }
        assert!(admits("10.0.0.0/8", "10.1.2.3") && !admits("10.0.0.0/8", "192.168.0.1"));
        assert!(admits("127.0.0.1, hooks.lan", "127.0.0.1") && !admits("127.0.0.1", "127.0.0.2"));
        assert!(admits("fd00::/8", "fd12::1") && admits("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(admits("0.0.0.0/0", "127.0.0.1") && admits("::/0", "::1"));
    }

    #[test]
    fn a_list_is_read_as_a_whole_or_not_at_all() {
        let allowed: Allowed = "Hooks.lan, 10.0.0.0/8".parse().unwrap();
        assert!(allowed.names_host("hooks.LAN") && !allowed.names_host("hooks"));
        assert_eq!(allowed.to_string(), "hooks.lan,10.0.0.0/8");
        for wrong in ["10.0.0.0/33", "http://hooks.lan", "a b", "10.0.0.0/x"] {
            assert!(wrong.parse::<Allowed>().is_err(), "{wrong}");
        }
    }
}
