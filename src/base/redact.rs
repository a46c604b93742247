//! Wrappers that keep secrets and personal data out of logs.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A text that identifies or authorises somebody (token, credential); prints as its length only.
#[derive(Clone, Copy)]
pub struct Secret<'a>(pub &'a str);

impl fmt::Display for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A transport address in a log line: IPv4 keeps its first two octets, IPv6 its first 32 bits.
#[derive(Clone, Copy)]
pub struct Address(pub SocketAddr);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.ip() {
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                write!(f, "{a}.{b}.x.x:{}", self.0.port())
            }
            IpAddr::V6(ip) => {
                let [a, b, ..] = ip.segments();
                write!(f, "[{a:x}:{b:x}:x]:{}", self.0.port())
            }
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_neither_token_nor_full_address() {
        assert_eq!(Secret("hunter2").to_string(), "<7 bytes>");
        let v4: SocketAddr = "203.0.113.9:4242".parse().unwrap();
        assert_eq!(Address(v4).to_string(), "203.0.x.x:4242");
    }
}
