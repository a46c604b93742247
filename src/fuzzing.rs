//! Bodies of the fuzz targets: they live here so that a change of an API breaks them at once.
//!
//! Each takes arbitrary bytes and asserts only what must hold for all of them. `fuzz/` wraps them
//! for cargo-fuzz; the tests below replay the committed inputs.

use crate::base::extension::ExtensionMap;
use crate::rtcp::Compound;
use crate::rtp::RtpHeader;
use crate::rtp::extension::Known;
use crate::sdp::{self, CodecPolicy, answer};
use crate::signal::message;

/// RTP header, extensions and payload of one packet (RFC 3550 §5.1, RFC 8285).
pub fn rtp(bytes: &[u8]) {
    let Some(header) = RtpHeader::parse(bytes) else {
        return;
    };
    assert!(header.header_len <= bytes.len());
    let _ = Known::read(bytes, &header, &ExtensionMap::server());
    if let Some(payload) = header.payload(bytes) {
        assert!(payload.len() <= bytes.len() - header.header_len);
    }
}

/// One RTCP compound, every packet of it; an error ends the compound.
pub fn rtcp(bytes: &[u8]) {
    let mut packets = Compound::new(bytes);
    while let Some(packet) = packets.next() {
        if packet.is_err() {
            assert!(packets.next().is_none());
        }
    }
}

/// A publisher's description, parsed and negotiated.
pub fn sdp_offer(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(offer) = sdp::parse(text) else {
        return;
    };
    if let Ok(negotiated) = answer::negotiate(&offer, &CodecPolicy::default()) {
        assert_eq!(negotiated.sections.len(), offer.media.len());
    }
}

/// One signalling message of a client.
pub fn signalling_message(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = message::parse(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// Feeds every file below `folder`, and each of its lines, to `body`.
    fn replay(folder: &str, body: fn(&[u8])) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut files = 0;
        for entry in fs::read_dir(root).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            body(&bytes);
            for line in bytes.split(|&b| b == b'\n') {
                body(line.strip_prefix(b"> ").unwrap_or(line));
            }
            for cut in (0..bytes.len()).step_by(97) {
                body(&bytes[..cut]);
            }
            files += 1;
        }
        assert!(files > 0, "{folder} holds inputs");
    }

    #[test]
    fn descriptions_of_real_clients_do_no_harm_whole_or_cut() {
        replay("tests/data/sdp", sdp_offer);
    }

    #[test]
    fn messages_of_the_transcripts_do_no_harm_whole_or_cut() {
        replay("tests/data/signalling", signalling_message);
    }

    #[test]
    fn text_is_neither_rtp_nor_rtcp_worth_a_panic() {
        replay("tests/data/sdp", rtp);
        replay("tests/data/signalling", rtcp);
    }
}
