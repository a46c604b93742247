//! The pcapng file format (draft-ietf-opsawg-pcapng): a section, one interface of raw IP packets,
//! and an enhanced packet block per packet.
//!
//! RTP was inside SRTP inside UDP; what is written is RTP in UDP in IP, as it would have been
//! without encryption. Pure: blocks are appended to a buffer. Little-endian throughout.

use std::net::{IpAddr, SocketAddr};

use crate::model::capture::Captured;

/// Appends the blocks that a file begins with.
pub fn begin(out: &mut Vec<u8>) {
    let mut section = Vec::new();
    section.extend_from_slice(&BYTE_ORDER.to_le_bytes());
    section.extend_from_slice(&1u16.to_le_bytes());
    section.extend_from_slice(&0u16.to_le_bytes());
    section.extend_from_slice(&u64::MAX.to_le_bytes());
    option(
        &mut section,
        SHB_USERAPPL,
        concat!("Leafcutter ", env!("CARGO_PKG_VERSION")).as_bytes(),
    );
    option(&mut section, END, &[]);
    block(out, SECTION_HEADER, &section);

    let mut interface = Vec::new();
    interface.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
    interface.extend_from_slice(&0u16.to_le_bytes());
    interface.extend_from_slice(&0u32.to_le_bytes());
    option(&mut interface, END, &[]);
    block(out, INTERFACE_DESCRIPTION, &interface);
}

/// Appends one packet that went from `from` to `to`, both of one address family.
pub fn packet(
    out: &mut Vec<u8>,
    captured: &Captured,
    (from, to): (SocketAddr, SocketAddr),
    is_incoming: bool,
) {
    let mut bytes = Vec::with_capacity(captured.bytes.len() + 48);
    let headers = write_headers(&mut bytes, captured.len, from, to);
    bytes.extend_from_slice(&captured.bytes);
    let mut body = Vec::with_capacity(bytes.len() + 40);
    body.extend_from_slice(&0u32.to_le_bytes());
    body.extend_from_slice(&((captured.unix_us >> 32) as u32).to_le_bytes());
    body.extend_from_slice(&(captured.unix_us as u32).to_le_bytes());
    body.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    body.extend_from_slice(&((headers + captured.len) as u32).to_le_bytes());
    body.extend_from_slice(&bytes);
    pad(&mut body);
    let direction: u32 = if is_incoming { 1 } else { 2 };
    option(&mut body, EPB_FLAGS, &direction.to_le_bytes());
    option(&mut body, END, &[]);
    block(out, ENHANCED_PACKET, &body);
}

/// IP (RFC 791, RFC 8200) and UDP (RFC 768) in front of `payload_len` bytes; how long they are.
/// The UDP checksum is left out: the payload was another one.
fn write_headers(out: &mut Vec<u8>, payload_len: usize, from: SocketAddr, to: SocketAddr) -> usize {
    let udp_len = (UDP_LEN + payload_len) as u16;
    match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = [0; IPV4_LEN];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&(udp_len + IPV4_LEN as u16).to_be_bytes());
            header[6] = 0x40; // do not fragment
            header[8] = 64;
            header[9] = PROTOCOL_UDP;
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            out.extend_from_slice(&header);
        }
        (source, destination) => {
            let v6 = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            out.extend_from_slice(&[0x60, 0, 0, 0]);
            out.extend_from_slice(&udp_len.to_be_bytes());
            out.extend_from_slice(&[PROTOCOL_UDP, 64]);
            out.extend_from_slice(&v6(source).octets());
            out.extend_from_slice(&v6(destination).octets());
        }
    }
    for number in [from.port(), to.port(), udp_len, 0] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.len()
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks_exact(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Type, length, body, and the length again.
fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let len = (12 + body.len()) as u32;
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(&len.to_le_bytes());
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    pad(out);
}

/// Fills up to a multiple of four.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

/// Packets begin with an IP header, of either version.
const LINKTYPE_RAW: u16 = 101;

const END: u16 = 0;
const SHB_USERAPPL: u16 = 4;
const EPB_FLAGS: u16 = 2;

const IPV4_LEN: usize = 20;
const UDP_LEN: usize = 8;
const PROTOCOL_UDP: u8 = 17;

#[cfg(test)]
mod tests {
    use super::*;

    /// Each block's type and body.
    fn blocks(mut file: &[u8]) -> Vec<(u32, &[u8])> {
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap());
        let mut blocks = Vec::new();
        while !file.is_empty() {
            let len = word(&file[4..]) as usize;
            assert_eq!(len % 4, 0);
            assert_eq!(word(&file[len - 4..]) as usize, len);
            blocks.push((word(file), &file[8..len - 4]));
            file = &file[len..];
        }
        blocks
    }

    #[test]
    fn blocks_are_framed_and_headers_hold_lengths_and_addresses() {
        let mut file = Vec::new();
        begin(&mut file);
        let captured = Captured {
            unix_us: (5 << 32) + 6,
            bytes: vec![0x80; 13].into(),
            len: 100,
        };
        let from = "192.0.2.1:50000".parse().unwrap();
        packet(
            &mut file,
            &captured,
            (from, "192.0.2.9:7".parse().unwrap()),
            false,
        );
        let v6 = (
            "[2001:db8::1]:1".parse().unwrap(),
            "[2001:db8::2]:2".parse().unwrap(),
        );
        packet(&mut file, &captured, v6, true);
        let blocks = blocks(&file);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [SECTION_HEADER, 1, 6, 6]);
        let body = blocks[2].1;
        assert_eq!(body[4..12], [5, 0, 0, 0, 6, 0, 0, 0]);
        assert_eq!((body[12], body[16]), (41, 128), "kept and whole length");
        let ip = &body[20..];
        assert_eq!(ip[..4], [0x45, 0, 0, 128]);
        assert_eq!(checksum(&ip[..20]), 0, "the checksum holds");
        assert_eq!(ip[20..28], [0xc3, 0x50, 0, 7, 0, 108, 0, 0]);
        assert_eq!(blocks[3].1[20], 0x60);
    }
}
