//! A network of addresses, as `10.0.0.0/8`, `fd00::/8` or a single address.
//!
//! A v4-mapped v6 address is the v4 address: whether a client came through a socket of the one
//! family or the other makes no difference to who it is. This file does not know who is trusted.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// Never a v4-mapped v6 address; all bits behind the prefix are 0.
    base: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether `addr` is one of them. `::/0` holds no v4 address, mapped or not.
    pub fn contains(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        addr.is_ipv4() == self.base.is_ipv4() && masked(addr, self.prefix) == self.base
    }
}

impl From<IpAddr> for Network {
    /// The network of this one address.
    fn from(addr: IpAddr) -> Network {
        let base = addr.to_canonical();
        Network { base, prefix: width(base) }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let wrong = |hint| NetworkError { text: text.to_owned(), hint };
        let (addr, prefix) = match text.split_once('/') {
            Some((addr, prefix)) => (addr, Some(prefix)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| wrong(None))?;
        let Some(prefix) = prefix else { return Ok(Network::from(addr)) };
        let digits = (1..=3).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix: u8 = prefix.parse().ok().filter(|_| digits).ok_or_else(|| wrong(None))?;
        if prefix > width(addr) {
            return Err(wrong(None));
        }
        let base = masked(addr, prefix);
        // The 96 bits in front of a mapped address go with the mapping.
        let (network, base_is_mapped) = match (base.to_canonical(), prefix.checked_sub(96)) {
            (v4 @ IpAddr::V4(_), Some(prefix)) if base.is_ipv6() => {
                (Network { base: v4, prefix }, true)
            }
            _ => (Network { base, prefix }, false),
        };
        let written = if base_is_mapped { addr.to_canonical() } else { addr };
        if network.base == written { Ok(network) } else { Err(wrong(Some(network))) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// What was written is no network. Its text is one line that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkError {
    text: String,
    /// The network that it would be without the bits behind its prefix.
    hint: Option<Network>,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NetworkError { text, hint } = self;
        match hint {
            Some(hint) => write!(f, "{text:?} has bits behind its prefix; did you mean {hint}?"),
            None => write!(f, "{text:?} is not an address or a network, as in 10.0.0.0/8"),
        }
    }
}

impl std::error::Error for NetworkError {}

/// How many bits an address has.
fn width(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

/// `addr` with every bit behind the first `prefix` set to 0.
fn masked(addr: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match addr {
        IpAddr::V4(addr) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V4((addr.to_bits() & mask).into())
        }
        IpAddr::V6(addr) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // B7.5
    #[test]
    fn what_a_network_holds() {
        for (network, addr, want) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::a00:1", false),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.6", false),
            ("10.0.0.7/32", "::ffff:10.0.0.7", true),
            ("192.168.128.0/17", "192.168.127.255", false),
            ("192.168.128.0/17", "192.168.128.0", true),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "1.2.3.4", false),
            ("::/0", "::ffff:1.2.3.4", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::1", "::1", true),
            ("::1/128", "::2", false),
            ("2001:db8::/33", "2001:db8:7fff::", true),
            ("2001:db8::/33", "2001:db8:8000::", false),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
            ("::ffff:10.0.0.0/104", "11.9.9.9", false),
            ("::ffff:10.0.0.7", "10.0.0.7", true),
            ("::ffff:0:0/96", "1.2.3.4", true),
        ] {
            let parsed: Network = network.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(parsed.contains(addr.parse().unwrap()), want, "{network} {addr}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{network}");
        }
    }

    // B1.5
    #[test]
    fn what_is_no_network() {
        for text in [
            "",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0/8",
            "::/129",
            "::/0128",
            "::/256",
            "[::1]",
            "10.0.0.0/8/8",
            "10.0.0.0 /8",
            "localhost",
            "10.0.0.0/255.0.0.0",
        ] {
            let error = text.parse::<Network>().expect_err(text).to_string();
            assert!(error.starts_with(&format!("{text:?} is not an address")), "{error}");
        }
        for (text, hint) in [
            ("10.0.0.1/8", "did you mean 10.0.0.0/8?"),
            ("fd00::1/8", "did you mean fd00::/8?"),
            ("::ffff:10.0.0.1/104", "did you mean 10.0.0.0/8?"),
        ] {
            let error = text.parse::<Network>().expect_err(text).to_string();
            assert!(error.ends_with(hint), "{error}");
        }
    }
}
