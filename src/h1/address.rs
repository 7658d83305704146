//! An address as text, for the field that says who asked.
//!
//! This file does not know fields.

use std::io::Write as _;
use std::net::IpAddr;

/// Appends the address as text: v4 by hand, because every request of every client pays for it. Four
/// bytes are written for each octet, whatever its length, and the next ones begin where it ends.
pub(super) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    let IpAddr::V4(v4) = ip.to_canonical() else {
        let _ = write!(out, "{ip}");
        return;
    };
    for octet in v4.octets() {
        let [text @ .., len] = &OCTETS[usize::from(octet)];
        out.extend_from_slice(text);
        out.truncate(out.len() - 4 + usize::from(*len));
    }
    out.pop();
}

/// Every octet with a dot behind it, and the length of that.
static OCTETS: [[u8; 5]; 256] = {
    let mut table = [[b'.'; 5]; 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let mut place = if octet >= 100 {
            0
        } else if octet >= 10 {
            1
        } else {
            2
        };
        table[octet][4] = 4 - place as u8;
        let mut at = 0;
        while place < 3 {
            table[octet][at] = b'0' + digits[place] as u8;
            (place, at) = (place + 1, at + 1);
        }
        octet += 1;
    }
    table
};

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
        for octet in 0..=255 {
            let (mut out, ip) = (b"for=".to_vec(), std::net::Ipv4Addr::from([octet, 0, 7, octet]));
            push_ip(&mut out, ip.into());
            assert_eq!(String::from_utf8_lossy(&out), format!("for={ip}"));
        }
        let mut out = Vec::new();
        push_ip(&mut out, "::ffff:10.0.0.1".parse().expect("an address"));
        assert_eq!(out, b"10.0.0.1", "a mapped one as what it is");
    }
}
