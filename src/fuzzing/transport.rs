//! STUN, DTLS and SCTP through our wrappers: forged input changes nothing, and limits hold.

use std::sync::OnceLock;

use bytes::Bytes;
use dimpl::Output;
use rand::SeedableRng;
use rand::rngs::StdRng;
use ring::hmac;
use str0m::ice::{StunMessage, TransId};

use super::{chunk, pass, start};
use crate::base::bytes::Reader;
use crate::base::clock::Now;
use crate::base::egress::Route;
use crate::base::limits::{
    MAX_DATA_BACKLOG_LEN, MAX_DATA_CHUNKS, MAX_DATA_MESSAGE_LEN, MAX_DATAGRAM_LEN,
};
use crate::datachannel::{CRC32C, DataChannels, DataEvent, MAX_PACKET_LEN, Remote};
use crate::model::data::DataMessage;
use crate::srtp::{Keys, Protect};
use crate::transport::SrtpKeys;
use crate::transport::certificate::{Certificate, Fingerprint};
use crate::transport::dtls::Dtls;
use crate::transport::framing::{Deframer, Frames, MAX_FRAME_LEN};
use crate::transport::ice::{Credentials, Ice};

/// A stream of frames that comes in pieces: the same frames come out as when it comes whole, an
/// error ends both at the same place, and at most one frame is kept (RFC 4571 §2).
pub fn framing(bytes: &[u8]) {
    let mut input = Reader::new(bytes);
    let (mut deframer, mut whole) = (Deframer::default(), Vec::new());
    let (mut came, mut ended) = (Vec::new(), false);
    let mut buffer = vec![0; MAX_FRAME_LEN + MAX_PIECE_LEN];
    while let Some(piece) = chunk(&mut input, MAX_PIECE_LEN)
        && !ended
    {
        whole.extend_from_slice(piece);
        let kept = deframer.resume(&mut buffer);
        assert!(kept < MAX_FRAME_LEN);
        let end = kept + piece.len();
        buffer[kept..end].copy_from_slice(piece);
        let (frames, rest) = take_all(&mut buffer[..end]);
        came.extend(frames);
        match rest {
            Some(rest) => deframer.keep(&rest),
            None => ended = true,
        }
    }
    let (frames, rest) = take_all(&mut whole);
    assert_eq!((frames, rest.is_none()), (came, ended));
}

/// The frames of `stream`, and what is left; `None` when one is too long.
fn take_all(stream: &mut [u8]) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let (mut out, mut frames) = (Vec::new(), Frames::of(stream));
    loop {
        match frames.take() {
            Ok(Some(frame)) => out.push(frame.to_vec()),
            Ok(None) => return (out, Some(frames.rest().to_vec())),
            Err(_) => return (out, None),
        }
    }
}

/// Longer than a frame.
const MAX_PIECE_LEN: usize = 2000;

/// Messages to an ICE agent: only a genuine request is answered, to where it came from, and one of
/// which a bit was changed is none (RFC 8445 §7.3, RFC 8489 §14.5).
pub fn stun(bytes: &[u8]) {
    let mut input = Reader::new(bytes);
    let mut agent = Ice::new(Credentials::random(&mut StdRng::seed_from_u64(1)));
    while let Some(what) = input.u8() {
        let route = Route::udp(([127, 0, 0, 1], 4000 + u16::from(what >> 6)).into(), None);
        match what % 4 {
            0 => agent.set_remote(Credentials {
                ufrag: "them".to_owned(),
                password: "their password, of 22+".to_owned(),
            }),
            1 => {
                let request = request(&agent, what);
                let message = StunMessage::parse(&request).expect("genuine");
                let known = agent.handle_stun(route, true, &message);
                assert_eq!(
                    known.is_ok(),
                    what & 0x20 == 0,
                    "controlled clients are told"
                );
            }
            2 => {
                let Some(bit) = input.u16() else { return };
                let mut request = request(&agent, what);
                // What follows the integrity is not covered by it: the fingerprint.
                let covered = request.len() - FINGERPRINT_LEN;
                let bit = usize::from(bit) % (8 * covered);
                request[bit / 8] ^= 1 << (bit % 8);
                offer_forged(&mut agent, route, &request);
            }
            _ => {
                let Some(message) = chunk(&mut input, 600) else {
                    return;
                };
                offer_forged(&mut agent, route, message);
            }
        }
        for (to, answer) in agent.drain_answers() {
            assert_eq!(to.local, None);
            let answer = StunMessage::parse(&answer).expect("an answer");
            assert!(!answer.is_binding_request());
        }
    }
}

fn offer_forged(agent: &mut Ice, route: Route, bytes: &[u8]) {
    if let Ok(message) = StunMessage::parse(bytes) {
        assert!(agent.handle_stun(route, true, &message).is_err(), "forged");
        assert_eq!(agent.drain_answers().count(), 0, "and answered");
    }
}

/// A genuine request with a transaction of its own; with bit 5 of `what` of a controlled agent.
fn request(agent: &Ice, what: u8) -> Vec<u8> {
    let username = format!("{}:them", agent.credentials().ufrag);
    let controlling = what & 0x20 == 0;
    let request = StunMessage::binding_request(&username, TransId::new(), controlling, 7, 1, false);
    let mut buf = [0; 256];
    let password = agent.credentials().password.as_bytes();
    let len = request
        .to_bytes(Some(password), &mut buf, hmac_sha1)
        .expect("room");
    buf[..len].to_vec()
}

fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let tag = hmac::sign(&key, &parts.concat());
    tag.as_ref().try_into().expect("20 bytes")
}

/// The FINGERPRINT attribute (RFC 8489 §14.7).
const FINGERPRINT_LEN: usize = 8;

/// Flights of a genuine handshake that are lost, doubled, changed and forged: it never ends with
/// different keys, and records stay within a datagram.
pub fn dtls(bytes: &[u8]) {
    let mut input = Reader::new(bytes);
    let mut now = start();
    let certificate = certificate();
    let mut client = certificate.association(now.instant);
    client.set_active(true);
    client.handle_timeout(now.instant).expect("a first flight");
    let mut server = Dtls::new(now.instant, certificate).expect("an association");
    let mut exported: Option<Option<Keys>> = None;
    let (mut to_server, mut to_client) = (Vec::<Vec<u8>>::new(), Vec::<Vec<u8>>::new());
    let mut forged = 0;
    while let Some(what) = input.u8() {
        drain(&mut client, &mut to_server, &mut exported);
        match what % 8 {
            0 => {
                to_server.pop();
            }
            1 => {
                let Some(then) = pass(&mut input, now) else {
                    return;
                };
                now = then;
                if client.handle_timeout(now.instant).is_err()
                    || server.handle_timeout(now.instant).is_err()
                {
                    return;
                }
            }
            2 => {
                let (Some(bit), Some(packet)) = (input.u16(), to_server.first_mut()) else {
                    continue;
                };
                flip(packet, bit);
            }
            3 => {
                let Some(record) = chunk(&mut input, MAX_DATAGRAM_LEN) else {
                    return;
                };
                forged += 1;
                to_server.insert(0, record.to_vec());
            }
            4 => {
                if let Some(first) = to_server.first().cloned() {
                    to_server.push(first);
                }
            }
            _ => {
                for packet in std::mem::take(&mut to_server) {
                    if server.handle_packet(now.instant, &packet).is_err() {
                        return;
                    }
                }
                for packet in std::mem::take(&mut to_client) {
                    let _ = client.handle_packet(&packet);
                }
            }
        }
        for packet in server.drain_packets() {
            assert!(packet.len() <= MAX_DATAGRAM_LEN, "{} bytes", packet.len());
            to_client.push(packet);
        }
        assert!(to_client.len() <= 64 + forged, "more than a few flights");
    }
    drain(&mut client, &mut to_server, &mut exported);
    let expected = [Fingerprint::Sha256(certificate.fingerprint())];
    if let (Ok(Some(keys)), Some(Some(theirs))) = (server.take_keys(&expected), exported) {
        assert_same(&keys, &theirs);
    }
}

/// Both ends have the same keys.
fn assert_same(server: &SrtpKeys, client: &Keys) {
    let protect = Protect::new(&client.client).expect("a key");
    let mut packet = vec![0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9];
    packet.resize(14 + 32, 0);
    let len = protect.protect_rtp(&mut packet, 12, 14, 1).expect("room");
    let opened = server.unprotect.unprotect_rtp(&mut packet[..len], 12, 1);
    assert_eq!(opened, Ok(14));
}

fn drain(client: &mut dimpl::Dtls, packets: &mut Vec<Vec<u8>>, keys: &mut Option<Option<Keys>>) {
    let mut buf = [0; 2 * MAX_DATAGRAM_LEN];
    loop {
        match client.poll_output(&mut buf) {
            Output::Packet(packet) => packets.push(packet.to_vec()),
            Output::KeyingMaterial(material, profile) => {
                let profile = crate::transport::dtls::profile_of(profile);
                *keys = profile.map(|profile| Keys::from_dtls(profile, &material));
            }
            Output::Timeout(_) => return,
            _ => {}
        }
    }
}

fn flip(packet: &mut [u8], bit: u16) {
    let bit = usize::from(bit) % (8 * packet.len().max(1));
    if let Some(byte) = packet.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

/// One for all: making one costs a key generation.
fn certificate() -> &'static Certificate {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    CERTIFICATE.get_or_init(|| Certificate::generate().expect("a certificate"))
}

/// Two ends of data channels, one of which writes what it likes into its packets, and gets the
/// checksum right: nothing grows beyond its limit, and what comes out is what may be sent.
pub fn sctp(bytes: &[u8]) {
    let mut input = Reader::new(bytes);
    let mut pair = Pair::new();
    while pair.step(&mut input).is_some() {
        for end in &pair.ends {
            assert!(end.backlog_len() <= MAX_DATA_BACKLOG_LEN);
            assert!(end.held_chunks() <= 2 * MAX_DATA_CHUNKS);
        }
        assert!(
            pair.read <= MAX_READ,
            "{} messages out of nothing",
            pair.read
        );
    }
}

struct Pair {
    now: Now,
    ends: [DataChannels; 2],
    /// What the hostile end has under way.
    packets: Vec<Vec<u8>>,
    /// Its header, and its first TSN.
    header: Vec<u8>,
    tsn: u32,
    read: usize,
}

impl Pair {
    fn new() -> Self {
        let now = start();
        let remote = Remote {
            port: 5000,
            max_message_len: MAX_DATA_MESSAGE_LEN as u32,
        };
        let end = || {
            let mut end = DataChannels::new(remote);
            end.start(now.instant);
            end
        };
        Self {
            now,
            ends: [end(), end()],
            packets: Vec::new(),
            header: Vec::new(),
            tsn: 0,
            read: 0,
        }
    }

    fn step(&mut self, input: &mut Reader<'_>) -> Option<()> {
        let what = input.u8()?;
        let at = usize::from(what >> 7);
        match what % 16 {
            0 | 1 => {
                self.now = pass(input, self.now)?;
                // Where both initiate, a peer takes part in resolving that, and this one does not.
                self.ends[1].handle_timeout(self.now.instant);
            }
            2 => self.ends[0].handle_timeout(self.now.instant),
            3 => self.ends[at].open(self.now.instant, "label"),
            4 => {
                let text = chunk(input, 300)?;
                let message = DataMessage::binary(Bytes::copy_from_slice(text));
                let _ = self.ends[at].send(self.now.instant, &message);
            }
            5 => {
                let message = DataMessage::binary(vec![what; usize::from(input.u8()?) * 1000]);
                let _ = self.ends[at].send(self.now.instant, &message);
            }
            6 => {
                // Chunks of its own behind a genuine header.
                let chunks = chunk(input, MAX_PACKET_LEN)?;
                if let Some(header) = self.packets.last().and_then(|p| p.get(..12)) {
                    let packet = [header, chunks].concat();
                    self.packets.push(packet);
                }
            }
            7 => {
                let (place, value) = (usize::from(input.u16()?), input.u8()?);
                if let Some(packet) = self.packets.last_mut() {
                    let len = packet.len().max(1);
                    if let Some(byte) = packet.get_mut(place % len) {
                        *byte = value;
                    }
                }
            }
            8 => {
                self.packets.pop();
            }
            9 => {
                let packet = chunk(input, MAX_PACKET_LEN)?.to_vec();
                self.packets.push(packet);
            }
            15 => {
                let packet = self.forge(input)?;
                self.packets.push(packet);
                self.exchange();
            }
            _ => self.exchange(),
        }
        Some(())
    }

    /// A packet of whole chunks, with numbers near the hostile end's own or of any kind.
    fn forge(&self, input: &mut Reader<'_>) -> Option<Vec<u8>> {
        let mut packet = self.header.clone();
        for _ in 0..input.u8()? % 64 {
            let kind = input.u8()?;
            let tsn = self.tsn.wrapping_add(u32::from(input.u8()?));
            let (flags, stream, ssn) = (input.u8()?, u16::from(input.u8()?), input.u16()?);
            match kind % 4 {
                0 | 1 => {
                    packet.extend([0, flags % 16, 0, 17]);
                    packet.extend(tsn.to_be_bytes());
                    packet.extend(stream.to_be_bytes());
                    packet.extend(ssn.to_be_bytes());
                    packet.extend([0, 0, 0, 51, b'x', 0, 0, 0]);
                }
                2 => {
                    packet.extend([192, 0, 0, 12]);
                    packet.extend(tsn.to_be_bytes());
                    packet.extend(stream.to_be_bytes());
                    packet.extend(ssn.to_be_bytes());
                }
                // The next request has the number of the first TSN, and so on.
                _ => {
                    packet.extend([130, 0, 0, 22, 0, 13, 0, 18]);
                    let number = self.tsn.wrapping_add(u32::from(flags));
                    packet.extend(number.to_be_bytes());
                    packet.extend([0; 4]);
                    packet.extend(tsn.to_be_bytes());
                    packet.extend(stream.to_be_bytes());
                    packet.extend([0; 2]);
                }
            }
        }
        Some(packet)
    }

    /// Both ends send, and take what was sent.
    fn exchange(&mut self) {
        let now = self.now.instant;
        while let Some(packet) = self.ends[1].poll_transmit(now) {
            assert!(packet.len() <= MAX_PACKET_LEN);
            self.header = packet.get(..12).unwrap_or_default().to_vec();
            if let (Some(1), Some(tsn)) = (packet.get(12), packet.get(28..32)) {
                self.tsn = Reader::new(tsn).u32().unwrap_or_default();
            }
            self.packets.push(packet.to_vec());
        }
        for mut packet in std::mem::take(&mut self.packets) {
            summed(&mut packet);
            self.ends[0].handle_packet(now, packet.into());
            self.read(0);
        }
        let mut sent = 0;
        while let Some(packet) = self.ends[0].poll_transmit(now) {
            assert!(packet.len() <= MAX_PACKET_LEN);
            sent += packet.len();
            self.ends[1].handle_packet(now, packet);
            self.read(1);
        }
        assert!(sent <= 2 * MAX_DATA_BACKLOG_LEN, "{sent} bytes at once");
    }

    fn read(&mut self, at: usize) {
        while let Some(event) = self.ends[at].poll_event(self.now.instant) {
            if let DataEvent::Message(message) = event {
                self.read += 1;
                assert!(message.bytes.len() <= MAX_DATA_MESSAGE_LEN);
            }
        }
    }
}

/// More messages than the longest input can have sent.
const MAX_READ: usize = 100_000;

/// Puts the checksum of the rest into an SCTP packet (RFC 9260 §6.8): CRC32c, little-endian.
fn summed(packet: &mut [u8]) {
    let Some(place) = packet.get_mut(8..12) else {
        return;
    };
    place.fill(0);
    let sum = CRC32C.checksum(packet).to_le_bytes();
    packet[8..12].copy_from_slice(&sum);
}
