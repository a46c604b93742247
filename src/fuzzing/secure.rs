//! SRTP and its replay window: what was protected comes out as it went in, and nothing else does.

use std::collections::BTreeSet;

use crate::base::bytes::Reader;
use crate::base::limits::REPLAY_WINDOW;
use crate::rtp::RtpHeader;
use crate::srtp::{MasterKey, Profile, Protect, ReplayWindow, Unprotect};

/// An arbitrary packet, as it is and protected, with one bit of it changed.
pub fn srtp(bytes: &[u8]) {
    let mut input = Reader::new(bytes);
    let (Some(what), Some(bit), Some(roc)) = (input.u8(), input.u16(), input.u32()) else {
        return;
    };
    let profile = Profile::ALL[usize::from(what) % Profile::ALL.len()];
    let key = vec![what; profile.key_len()];
    let salt = vec![0x55; profile.salt_len()];
    let master = MasterKey::new(profile, &key, &salt).expect("lengths of the profile");
    let mut ends = Ends {
        protect: Protect::new(&master).expect("a key"),
        unprotect: Unprotect::new(&master).expect("a key"),
    };
    let packet = input.rest();
    ends.forged(packet, roc);
    ends.rtp(packet, roc, usize::from(bit));
    ends.rtcp(packet, usize::from(bit));
}

struct Ends {
    protect: Protect,
    unprotect: Unprotect,
}

impl Ends {
    /// Without the key a packet does not authenticate.
    fn forged(&mut self, packet: &[u8], roc: u32) {
        let mut bytes = packet.to_vec();
        assert!(self.unprotect.unprotect_rtcp(&mut bytes).is_err());
        let Some(header) = RtpHeader::parse(packet) else {
            return;
        };
        let index = u64::from(roc) << 16 | u64::from(header.seq.0);
        let mut bytes = packet.to_vec();
        let opened = self
            .unprotect
            .unprotect_rtp(&mut bytes, header.header_len, index);
        assert!(opened.is_err());
        assert_eq!(bytes[..header.header_len], packet[..header.header_len]);
    }

    fn rtp(&self, packet: &[u8], roc: u32, bit: usize) {
        let Some(header) = RtpHeader::parse(packet) else {
            return;
        };
        let index = u64::from(roc) << 16 | u64::from(header.seq.0);
        let mut sealed = packet.to_vec();
        sealed.resize(packet.len() + MAX_OVERHEAD, 0);
        let len = self
            .protect
            .protect_rtp(&mut sealed, header.header_len, packet.len(), index);
        sealed.truncate(len.expect("room and an index of 48 bits"));
        assert_eq!(sealed[..header.header_len], packet[..header.header_len]);

        let open = |bytes: &mut [u8], index| {
            self.unprotect
                .unprotect_rtp(bytes, header.header_len, index)
        };
        let mut changed = sealed.clone();
        flip(&mut changed, bit);
        assert!(
            open(&mut changed, index).is_err(),
            "bit {bit} does not count"
        );
        let other = u64::from(roc ^ 1) << 16 | u64::from(header.seq.0);
        assert!(
            open(&mut sealed.clone(), other).is_err(),
            "another roll-over"
        );
        let opened = open(&mut sealed, index);
        assert_eq!(opened, Ok(packet.len()));
        assert_eq!(sealed[..packet.len()], *packet);
    }

    fn rtcp(&mut self, packet: &[u8], bit: usize) {
        if packet.len() < 8 {
            return;
        }
        let mut sealed = packet.to_vec();
        sealed.resize(packet.len() + MAX_OVERHEAD, 0);
        let len = self.protect.protect_rtcp(&mut sealed, packet.len());
        sealed.truncate(len.expect("room"));
        let mut changed = sealed.clone();
        flip(&mut changed, bit);
        let opened = self.unprotect.unprotect_rtcp(&mut changed);
        assert!(opened.is_err(), "bit {bit} does not count");
        let mut again = sealed.clone();
        assert_eq!(self.unprotect.unprotect_rtcp(&mut sealed), Ok(packet.len()));
        assert_eq!(sealed[..packet.len()], *packet);
        assert!(
            self.unprotect.unprotect_rtcp(&mut again).is_err(),
            "a replay"
        );
    }
}

fn flip(bytes: &mut [u8], bit: usize) {
    let bit = bit % (8 * bytes.len());
    bytes[bit / 8] ^= 1 << (bit % 8);
}

/// Tag, SRTCP index and room.
const MAX_OVERHEAD: usize = 32;

/// Steps of a replay window against the set of all indices: nothing comes through twice, and
/// nothing new within the window is refused (RFC 3711 §3.3.2).
pub fn replay(bytes: &[u8]) {
    let mut input = Reader::new(bytes);
    let (mut window, mut seen) = (ReplayWindow::default(), BTreeSet::new());
    let mut at = u64::from(input.u16().unwrap_or(0));
    while let Some(what) = input.u8() {
        at = match what {
            0..0x60 => at + u64::from(what),
            0x60..0xc0 => at.saturating_sub(u64::from(what - 0x60)),
            0xc0..0xe0 => at + u64::from(input.u16().unwrap_or(0)),
            0xe0..0xff => at.saturating_sub(u64::from(input.u16().unwrap_or(0))),
            0xff => input.u64().unwrap_or(0) >> 16,
        };
        let highest = seen.last().copied().unwrap_or(0);
        let is_old = at + (REPLAY_WINDOW as u64) <= highest;
        let passes = window.check(at).is_ok();
        assert_eq!(passes, !is_old && !seen.contains(&at), "{at} of {highest}");
        if passes {
            window.record(at);
            seen.insert(at);
        }
    }
}
