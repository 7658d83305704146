//! An address as text, for the field that says who asked.
//!
//! This file does not know fields.

use std::io::Write as _;
use std::net::IpAddr;

/// Appends the address as text: v4 by hand, because every request of every client pays for it.
pub(super) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    let IpAddr::V4(v4) = ip.to_canonical() else {
        let _ = write!(out, "{ip}");
        return;
    };
    for (place, octet) in v4.octets().into_iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        if octet >= 100 {
            out.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            out.push(b'0' + octet / 10 % 10);
        }
        out.push(b'0' + octet % 10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_everybody_writes_them() {
        for text in ["0.0.0.0", "9.10.99.100", "101.199.200.255", "::1", "2001:db8::7"] {
            let mut out = Vec::new();
            push_ip(&mut out, text.parse().expect("an address"));
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
        let mut out = Vec::new();
        push_ip(&mut out, "::ffff:10.0.0.1".parse().expect("an address"));
        assert_eq!(out, b"10.0.0.1", "a mapped one as what it is");
    }
}
