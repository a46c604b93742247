//! Lists of address ranges (RFC 4632 §3.1), separated by commas.

use std::net::IpAddr;

use ipnet::IpNet;

/// Whether `ip` is in one of the comma-separated `ranges`: `10.0.0.0/8, 192.0.2.7, 2001:db8::/32`.
/// An IPv4 address that came through an IPv6 socket counts as IPv4. An empty list holds nobody,
/// and what cannot be read holds nobody either.
pub fn holds(ranges: &str, ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ranges.split(',').map(str::trim).any(|range| {
        let net = range.parse::<IpNet>();
        let net = net.or_else(|_| range.parse::<IpAddr>().map(IpNet::from));
        net.is_ok_and(|net| net.contains(&ip))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_matched_against_every_range() {
        let cases = [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("10.0.0.0/8, 192.168.1.0/24", "192.168.1.9", true),
            ("10.0.0.0/8, 192.168.1.0/24", "192.168.2.9", false),
            ("2001:db8::/32", "2001:db8::7", true),
            ("2001:db8::/32", "2001:db9::7", false),
            ("", "127.0.0.1", false),
            ("everybody", "127.0.0.1", false),
            ("10.0.0.0/99", "10.0.0.1", false),
        ];
        for (ranges, ip, expected) in cases {
            assert_eq!(
                holds(ranges, ip.parse().unwrap()),
                expected,
                "{ranges} {ip}"
            );
        }
    }
}
