//! The range of addresses that team networks are cut from. Which part is free is the host's business.

use std::{fmt, net::Ipv4Addr, str::FromStr};

/// Bits of one team network: 64 addresses, 61 of them for containers.
pub const TEAM_PREFIX: u8 = 26;

/// An IPv4 range such as `10.201.0.0/16` that is cut into networks of [`TEAM_PREFIX`] bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubnetPool {
    base: u32,
    prefix: u8,
}

/// One IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

impl SubnetPool {
    /// How many team networks fit.
    pub const fn len(self) -> u32 {
        1 << (TEAM_PREFIX - self.prefix)
    }

    /// Never: a pool holds one network at least.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// All team networks, beginning at number `first` and going round.
    pub fn from(self, first: u32) -> impl Iterator<Item = Subnet> {
        (0..self.len()).map(move |step| {
            let number = first.wrapping_add(step) % self.len();
            Subnet { base: self.base + (number << (32 - TEAM_PREFIX)), prefix: TEAM_PREFIX }
        })
    }
}

impl Subnet {
    /// Whether the two share an address.
    pub fn overlaps(self, other: Subnet) -> bool {
        let shorter = self.prefix.min(other.prefix);
        network_bits(self.base, shorter) == network_bits(other.base, shorter)
    }
}

fn network_bits(address: u32, prefix: u8) -> u32 {
    address & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn parse(text: &str) -> Option<Subnet> {
    let (address, prefix) = text.split_once('/')?;
    let base = u32::from(address.parse::<Ipv4Addr>().ok()?);
    let prefix = prefix.parse().ok().filter(|bits| *bits <= 32)?;
    (network_bits(base, prefix) == base).then_some(Subnet { base, prefix })
}

impl FromStr for Subnet {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| format!("expected an IPv4 network such as 10.201.0.64/26, got {text}"))
    }
}

impl FromStr for SubnetPool {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse =
            || format!("expected an IPv4 range of /8 to /{TEAM_PREFIX} such as 10.201.0.0/16, got {text}");
        let whole = parse(text).ok_or_else(refuse)?;
        let fits = (8..=TEAM_PREFIX).contains(&whole.prefix);
        fits.then_some(Self { base: whole.base, prefix: whole.prefix }).ok_or_else(refuse)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

impl fmt::Display for SubnetPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_cut_into_networks_that_do_not_overlap_and_goes_round() {
        let pool: SubnetPool = "10.201.0.0/24".parse().unwrap();
        let cut: Vec<Subnet> = pool.from(6).collect();
        let texts: Vec<String> = cut.iter().map(Subnet::to_string).collect();
        assert_eq!(texts, ["10.201.0.128/26", "10.201.0.192/26", "10.201.0.0/26", "10.201.0.64/26"]);
        for (i, one) in cut.iter().enumerate() {
            assert_eq!(cut.iter().filter(|other| one.overlaps(**other)).count(), 1, "number {i}");
        }
    }

    #[test]
    fn a_wider_network_overlaps_all_within_it() {
        let wide: Subnet = "10.201.0.0/16".parse().unwrap();
        let inner: Subnet = "10.201.9.64/26".parse().unwrap();
        let other: Subnet = "10.202.0.0/26".parse().unwrap();
        assert!(wide.overlaps(inner) && inner.overlaps(wide) && !wide.overlaps(other));
        assert!("0.0.0.0/0".parse::<Subnet>().unwrap().overlaps(other));
    }

    #[test]
    fn host_bits_and_ranges_that_are_too_small_are_refused() {
        for bad in ["10.201.0.1/16", "10.0.0.0/27", "10.0.0.0", "10.0.0.0/33", "fd00::/64", "0.0.0.0/0"] {
            assert!(bad.parse::<SubnetPool>().is_err(), "{bad}");
        }
    }
}
