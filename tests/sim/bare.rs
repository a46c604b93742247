//! A peer without an RTP stack: it holds its own ICE password and SRTP keys, so that a test can
//! write any datagram it likes, genuine or not.
//!
//! Its handshake is genuine: our protocol, STUN and DTLS as a client does them.

use std::net::SocketAddr;
use std::time::Duration;

use leafcutter::base::ids::{ConnId, Ssrc};
use leafcutter::rtcp::{Compound, Packet};
use leafcutter::rtp::RtpHeader;
use leafcutter::srtp::{Keys, Profile, Protect, Unprotect};
use leafcutter::transport::demux::{Protocol, classify};
use serde_json::{Value, json};
use str0m::crypto::dtls::{DtlsInstance, DtlsOutput, DtlsVersion, SrtpProfile};
use str0m::crypto::from_feature_flags;
use str0m::ice::{StunMessage, TransId};

use super::world::World;

/// One peer on one WebSocket.
pub struct Bare {
    /// Its WebSocket.
    pub conn: ConnId,
    /// The worker it is on.
    pub worker: usize,
    /// Where it sends from.
    pub address: SocketAddr,
    /// The server's description.
    pub remote_sdp: String,
    /// Protects what it sends.
    pub protect: Protect,
    /// Opens what it is sent.
    pub unprotect: Unprotect,
    fingerprint: String,
}

impl std::fmt::Debug for Bare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bare")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A peer whose description is known to the server; no datagram was sent.
pub struct Negotiated {
    /// Its WebSocket.
    pub conn: ConnId,
    /// The worker it is on.
    pub worker: usize,
    /// Where it sends from.
    pub address: SocketAddr,
    /// The server's description.
    pub remote_sdp: String,
    dtls: Box<dyn DtlsInstance>,
    fingerprint: String,
}

impl Negotiated {
    /// Asks to publish audio ([`AUDIO_SSRC`]) and video ([`VIDEO_SSRC`]) on `worker`.
    ///
    /// # Panics
    /// When the server does not answer as it should.
    pub fn publisher(world: &mut World, worker: u16, stream: &str) -> Self {
        Self::publisher_certified(world, worker, stream, |_| {})
    }

    /// As [`publisher`](Self::publisher), with a certificate that `spoil` has changed; what it
    /// promises is the changed one.
    ///
    /// # Panics
    /// When the server does not answer as it should.
    pub fn publisher_certified(
        world: &mut World,
        worker: u16,
        stream: &str,
        spoil: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        let dtls = Certified::with(world, spoil);
        Self::publisher_with(world, worker, stream, dtls, &[])
    }

    /// As [`publisher`](Self::publisher), with an offer in which each first text of `changes` is
    /// replaced by the second.
    ///
    /// # Panics
    /// When the server does not answer as it should.
    pub fn publisher_that_offers(
        world: &mut World,
        worker: u16,
        stream: &str,
        changes: &[(&str, &str)],
    ) -> Self {
        let dtls = Certified::new(world);
        Self::publisher_with(world, worker, stream, dtls, changes)
    }

    fn publisher_with(
        world: &mut World,
        worker: u16,
        stream: &str,
        dtls: Certified,
        changes: &[(&str, &str)],
    ) -> Self {
        let conn = world.open_conn(worker);
        tell(world, conn, stream, json!({ "command": "publish" }));
        assert_eq!(hear(world, conn, "start")["streamId"], stream);
        let sdp = changed_offer(&dtls.fingerprint, changes);
        tell(world, conn, stream, configuration("offer", &sdp));
        let answer = hear(world, conn, "takeConfiguration");
        Self::new(world, worker, conn, dtls, &answer)
    }

    /// An offer that [`publisher`](Self::publisher) could make.
    pub fn offer_text(world: &World) -> String {
        offer(&Certified::new(world).fingerprint)
    }

    /// Asks to play on `worker`.
    ///
    /// # Panics
    /// When the server does not offer as it should.
    pub fn viewer(world: &mut World, worker: u16, stream: &str) -> Self {
        Self::viewer_that_takes(world, worker, stream, |_, _| true)
    }

    /// As [`viewer`](Self::viewer), with an answer that keeps only the lines of the offer's formats
    /// for which `takes` holds, given the kind of the m-line and the line.
    ///
    /// # Panics
    /// When the server does not offer as it should.
    pub fn viewer_that_takes(
        world: &mut World,
        worker: u16,
        stream: &str,
        takes: fn(&str, &str) -> bool,
    ) -> Self {
        let dtls = Certified::new(world);
        let conn = world.open_conn(worker);
        tell(world, conn, stream, json!({ "command": "play" }));
        let offer = hear(world, conn, "takeConfiguration");
        let offered = offer["sdp"].as_str().expect("an offer");
        let sdp = answer(offered, &dtls.fingerprint, takes);
        tell(world, conn, stream, configuration("answer", &sdp));
        world.run(Duration::from_millis(30));
        Self::new(world, worker, conn, dtls, &offer)
    }

    fn new(world: &mut World, worker: u16, conn: ConnId, dtls: Certified, said: &Value) -> Self {
        Self {
            conn,
            worker: usize::from(worker),
            address: world.network.fresh_address(),
            remote_sdp: said["sdp"].as_str().expect("a description").to_owned(),
            dtls: dtls.instance,
            fingerprint: dtls.fingerprint,
        }
    }

    /// Sends one genuine binding request that nominates this address.
    pub fn bind(&self, world: &mut World) {
        let request = self.binding_request();
        world.inject(self.worker, self.address, &request);
        world.run(Duration::from_millis(2));
    }

    /// A genuine binding request.
    pub fn binding_request(&self) -> Vec<u8> {
        binding_request(&self.remote_sdp, None)
    }

    /// The first flight of the handshake.
    pub fn first_flight(&mut self) -> Vec<Vec<u8>> {
        self.flight().0
    }

    /// Takes the certificate of `other` instead of the one that was promised.
    pub fn take_certificate_of(&mut self, other: Negotiated) {
        self.dtls = other.dtls;
    }

    /// Shakes hands.
    ///
    /// # Panics
    /// When that does not end with keys.
    pub fn connect(self, world: &mut World) -> Bare {
        self.connect_among(world, &[])
    }

    /// As [`connect`](Self::connect), while somebody sends `forged` from the same address in front
    /// of and behind each of its flights.
    ///
    /// # Panics
    /// When that does not end with keys.
    pub fn connect_among(mut self, world: &mut World, forged: &[Vec<u8>]) -> Bare {
        self.bind(world);
        let keys = self.shake_hands_among(world, forged).expect("keys");
        world.run(Duration::from_millis(50));
        Bare {
            conn: self.conn,
            worker: self.worker,
            address: self.address,
            remote_sdp: self.remote_sdp,
            protect: Protect::new(&keys.client).expect("a key"),
            unprotect: Unprotect::new(&keys.server).expect("a key"),
            fingerprint: self.fingerprint,
        }
    }

    /// Handshake flights to and fro; `None` when they do not lead to keys.
    pub fn shake_hands(&mut self, world: &mut World) -> Option<Keys> {
        self.shake_hands_among(world, &[])
    }

    fn shake_hands_among(&mut self, world: &mut World, forged: &[Vec<u8>]) -> Option<Keys> {
        for _ in 0..50 {
            let (packets, keys) = self.flight();
            for packet in forged.iter().chain(&packets).chain(forged) {
                world.inject(self.worker, self.address, packet);
                // Not more at once than wait for their turn.
                world.run(Duration::from_micros(100));
            }
            world.run(Duration::from_millis(2));
            if keys.is_some() {
                return keys;
            }
            for record in take(world, self.address) {
                if classify(&record) == Some(Protocol::Dtls) {
                    self.dtls.handle_packet(&record).ok()?;
                }
            }
            self.dtls.handle_timeout(world.now.instant).ok()?;
        }
        None
    }

    fn flight(&mut self) -> (Vec<Vec<u8>>, Option<Keys>) {
        let (mut packets, mut keys) = (Vec::new(), None);
        let mut buf = [0; 3000];
        loop {
            match self.dtls.poll_output(&mut buf) {
                DtlsOutput::Packet(packet) => packets.push(packet.to_vec()),
                DtlsOutput::KeyingMaterial(material, profile) => {
                    let profile = match profile {
                        SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
                        SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
                        other => panic!("{other:?} was chosen"),
                    };
                    keys = Keys::from_dtls(profile, &material);
                }
                DtlsOutput::Timeout(_) => return (packets, keys),
                _ => {}
            }
        }
    }
}

impl Bare {
    /// Sends a datagram as it is.
    pub fn send(&self, world: &mut World, datagram: &[u8]) {
        world.inject(self.worker, self.address, datagram);
    }

    /// A genuine binding request, with `password` instead of the right one if given.
    pub fn binding_request(&self, password: Option<&str>) -> Vec<u8> {
        binding_request(&self.remote_sdp, password)
    }

    /// Answers the latest offer to play `stream`, as [`Negotiated::viewer_that_takes`] does.
    ///
    /// # Panics
    /// When there was none.
    pub fn answer(&self, world: &mut World, stream: &str, takes: fn(&str, &str) -> bool) {
        let offered = latest(world, self.conn, "offer");
        let sdp = answer(&offered, &self.fingerprint, takes);
        tell(world, self.conn, stream, configuration("answer", &sdp));
    }

    /// Offers to publish `stream` anew, as [`Negotiated::publisher_that_offers`] does; returns the
    /// server's description.
    ///
    /// # Panics
    /// When there is none.
    pub fn offer(&self, world: &mut World, stream: &str, changes: &[(&str, &str)]) -> String {
        let sdp = changed_offer(&self.fingerprint, changes);
        tell(world, self.conn, stream, configuration("offer", &sdp));
        latest(world, self.conn, "answer")
    }

    /// A genuine binding request that nominates nothing.
    pub fn check(&self) -> Vec<u8> {
        request(&self.remote_sdp, None, false)
    }

    /// A protected RTP packet; `seq` counts from 0 within the first 2^15.
    pub fn rtp(&self, packet: &Rtp<'_>) -> Vec<u8> {
        self.rtp_late(packet, 0)
    }

    /// A protected RTP packet after `seq` has wrapped so many times.
    pub fn rtp_late(&self, packet: &Rtp<'_>, wraps: u32) -> Vec<u8> {
        let mut datagram = vec![0x90, packet.pt | u8::from(packet.marker) << 7];
        datagram.extend_from_slice(&packet.seq.to_be_bytes());
        datagram.extend_from_slice(&packet.timestamp.to_be_bytes());
        datagram.extend_from_slice(&packet.ssrc.to_be_bytes());
        // RFC 8285 §4.2: one element, the transport-wide sequence number.
        let [high, low] = packet.transport_seq.to_be_bytes();
        datagram.extend_from_slice(&[0xbe, 0xde, 0, 1, TRANSPORT_CC_ID << 4 | 1, high, low, 0]);
        let header_len = datagram.len();
        datagram.extend_from_slice(packet.payload);
        let len = datagram.len();
        datagram.resize(len + 16, 0);
        let index = u64::from(wraps) << 16 | u64::from(packet.seq);
        let sealed = self
            .protect
            .protect_rtp(&mut datagram, header_len, len, index);
        assert_eq!(sealed, Some(datagram.len()));
        datagram
    }

    /// A protected RTP packet with any header, its number below 2^15; the server takes the same
    /// bytes for the header only when it parses.
    pub fn sealed(&self, header: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut datagram = [header, payload].concat();
        let len = datagram.len();
        datagram.resize(len + 16, 0);
        let index = u64::from(u16::from_be_bytes([header[2], header[3]]));
        let sealed = self
            .protect
            .protect_rtp(&mut datagram, header.len(), len, index);
        assert_eq!(sealed, Some(datagram.len()));
        datagram
    }

    /// A protected RTCP compound.
    pub fn rtcp(&mut self, compound: &[u8]) -> Vec<u8> {
        let mut datagram = compound.to_vec();
        datagram.resize(compound.len() + 20, 0);
        let sealed = self
            .protect
            .protect_rtcp(&mut datagram, compound.len())
            .expect("room");
        datagram.truncate(sealed);
        datagram
    }

    /// The headers of the RTP packets that came since the last call, in order.
    pub fn rtp_received(&self, world: &mut World) -> Vec<RtpHeader> {
        let packets = self.packets_received(world);
        let headers = packets.iter().map(|packet| RtpHeader::parse(packet));
        headers.flatten().collect()
    }

    /// Payload type and payload of the RTP packets that came since the last call, in order.
    ///
    /// # Panics
    /// When one of them cannot be opened.
    pub fn payloads_received(&self, world: &mut World) -> Vec<(u8, Vec<u8>)> {
        self.opened(self.packets_received(world))
    }

    /// Payload type and payload of protected RTP packets.
    ///
    /// # Panics
    /// When one of them cannot be opened.
    pub fn opened(&self, packets: Vec<Vec<u8>>) -> Vec<(u8, Vec<u8>)> {
        let open = |mut packet: Vec<u8>| {
            let header = RtpHeader::parse(&packet).expect("RTP");
            let (at, index) = (header.header_len, u64::from(header.seq.0));
            let len = self.unprotect.unprotect_rtp(&mut packet, at, index);
            packet.truncate(len.expect("it is genuine"));
            let payload = header.payload(&packet).expect("a payload");
            (header.pt.0, payload.to_vec())
        };
        packets.into_iter().map(open).collect()
    }

    /// Whose key frames it was asked for since the last call.
    ///
    /// # Panics
    /// When what came cannot be opened.
    pub fn key_frames_asked(&mut self, world: &mut World) -> Vec<Ssrc> {
        let mut asked = Vec::new();
        for mut datagram in take(world, self.address) {
            if classify(&datagram) == Some(Protocol::Rtcp) {
                let opened = self.unprotect.unprotect_rtcp(&mut datagram);
                let packets = Compound::new(&datagram[..opened.expect("genuine")]).flatten();
                asked.extend(packets.filter_map(|packet| match packet {
                    Packet::Pli { media, .. } => Some(media),
                    _ => None,
                }));
            }
        }
        asked
    }

    /// How many DTLS alerts of the association's time (RFC 6347 §4.1) came since the last call.
    pub fn alerts_received(&self, world: &mut World) -> usize {
        let is_alert = |datagram: &&Vec<u8>| datagram.starts_with(&[21, 254, 253, 0, 1]);
        take(world, self.address).iter().filter(is_alert).count()
    }

    /// The protected RTP packets that came since the last call, in order.
    pub fn packets_received(&self, world: &mut World) -> Vec<Vec<u8>> {
        let mut datagrams = take(world, self.address);
        datagrams.retain(|datagram| classify(datagram) == Some(Protocol::Rtp));
        datagrams
    }
}

/// What goes into [`Bare::rtp`].
#[derive(Clone, Copy, Debug)]
pub struct Rtp<'a> {
    /// Payload type.
    pub pt: u8,
    /// Source.
    pub ssrc: u32,
    /// Sequence number.
    pub seq: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Transport-wide sequence number.
    pub transport_seq: u16,
    /// Payload.
    pub payload: &'a [u8],
}

impl Rtp<'_> {
    /// 20 ms of Opus.
    pub fn opus(seq: u16) -> Self {
        Self {
            pt: 111,
            ssrc: AUDIO_SSRC,
            seq,
            timestamp: u32::from(seq) * 960,
            marker: false,
            transport_seq: seq,
            payload: &[0xf8, 1, 2, 3, 4, 5, 6, 7],
        }
    }
}

/// Takes what was sent to an address of no client.
pub fn take(world: &mut World, address: SocketAddr) -> Vec<Vec<u8>> {
    let all = std::mem::take(&mut world.strays);
    let (mine, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(to, _)| *to == address);
    world.strays = others;
    mine.into_iter().map(|(_, datagram)| datagram).collect()
}

/// A binding request to the peer that `remote_sdp` describes, from the one with [`UFRAG`]; it
/// nominates the way that it takes.
pub fn binding_request(remote_sdp: &str, password: Option<&str>) -> Vec<u8> {
    request(remote_sdp, password, true)
}

fn request(remote_sdp: &str, password: Option<&str>, nominates: bool) -> Vec<u8> {
    let username = format!("{}:{UFRAG}", attribute(remote_sdp, "ice-ufrag"));
    let password = password.unwrap_or_else(|| attribute(remote_sdp, "ice-pwd"));
    let message = StunMessage::binding_request(&username, TransId::new(), true, 1, 1, nominates);
    let hmac = from_feature_flags().sha1_hmac_provider;
    let mut buf = [0; 300];
    let sign = |key: &[u8], parts: &[&[u8]]| hmac.sha1_hmac(key, parts);
    let len = message
        .to_bytes(Some(password.as_bytes()), &mut buf, sign)
        .expect("room");
    buf[..len].to_vec()
}

/// The value of the first `a=name:` line.
fn attribute<'a>(sdp: &'a str, name: &str) -> &'a str {
    let find = |line: &'a str| {
        line.strip_prefix("a=")?
            .strip_prefix(name)?
            .strip_prefix(':')
    };
    sdp.lines().find_map(find).expect("the attribute")
}

struct Certified {
    instance: Box<dyn DtlsInstance>,
    fingerprint: String,
}

impl Certified {
    fn new(world: &World) -> Self {
        Self::with(world, |_| {})
    }

    fn with(world: &World, spoil: impl FnOnce(&mut Vec<u8>)) -> Self {
        let provider = from_feature_flags();
        let mut certificate = provider
            .dtls_provider
            .generate_certificate()
            .expect("a certificate");
        spoil(&mut certificate.certificate);
        let digest = provider.sha256_provider.sha256(&certificate.certificate);
        let hex: Vec<_> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        let now = world.now.instant;
        let mut instance = provider
            .dtls_provider
            .new_dtls(&certificate, now, DtlsVersion::Dtls12, Some(1200))
            .expect("an instance");
        instance.set_active(true);
        instance.handle_timeout(now).expect("time passes");
        Self {
            instance,
            fingerprint: hex.join(":"),
        }
    }
}

fn tell(world: &mut World, conn: ConnId, stream: &str, mut message: Value) {
    message["streamId"] = json!(stream);
    world.tell(conn, message.to_string());
    world.run(Duration::from_millis(30));
}

/// The first message of a kind that `conn` was told.
///
/// # Panics
/// When there is none.
pub fn hear(world: &mut World, conn: ConnId, command: &str) -> Value {
    let texts = world.unheard.iter().filter(|(to, _)| *to == conn);
    let mut messages = texts.map(|(_, text)| serde_json::from_str::<Value>(text).expect("JSON"));
    messages
        .find(|message| message["command"] == command)
        .expect("an answer")
}

/// The latest description of a kind.
fn latest(world: &World, conn: ConnId, kind: &str) -> String {
    let texts = world.unheard.iter().filter(|(to, _)| *to == conn);
    let mut messages = texts.map(|(_, text)| serde_json::from_str::<Value>(text).expect("JSON"));
    let message = messages.rfind(|message| message["type"] == kind);
    let message = message.expect("a description");
    message["sdp"].as_str().expect("its text").to_owned()
}

fn changed_offer(fingerprint: &str, changes: &[(&str, &str)]) -> String {
    let mut sdp = offer(fingerprint);
    for (from, to) in changes {
        assert!(sdp.contains(from), "{from}");
        sdp = sdp.replace(from, to);
    }
    sdp
}

fn configuration(kind: &str, sdp: &str) -> Value {
    json!({ "command": "takeConfiguration", "type": kind, "sdp": sdp })
}

fn transport(fingerprint: &str, setup: &str) -> String {
    format!(
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:{UFRAG}\r\na=ice-pwd:{PASSWORD}\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=setup:{setup}\r\na=rtcp-mux\r\n"
    )
}

fn offer(fingerprint: &str) -> String {
    let transport = transport(fingerprint, "actpass");
    let cc = format!("a=extmap:{TRANSPORT_CC_ID} {TRANSPORT_CC_URI}\r\n");
    format!(
        "{SESSION}a=group:BUNDLE 0 1\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{transport}a=mid:0\r\na=sendonly\r\n{cc}\
         a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
         a=ssrc:{AUDIO_SSRC} cname:bare\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n{transport}a=mid:1\r\na=sendonly\r\n{cc}\
         a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 nack\r\n\
         a=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
         a=ssrc-group:FID {VIDEO_SSRC} {RTX_SSRC}\r\na=ssrc:{VIDEO_SSRC} cname:bare\r\n\
         a=ssrc:{RTX_SSRC} cname:bare\r\n"
    )
}

/// Accepts every m-line of `offer` with transport-wide numbers and every line of its formats for
/// which `takes` holds.
fn answer(offer: &str, fingerprint: &str, takes: fn(&str, &str) -> bool) -> String {
    let transport = transport(fingerprint, "active");
    let mut mids = Vec::new();
    let mut sections = String::new();
    for section in offer.split("\r\nm=").skip(1) {
        let (media, rest) = section.split_once("\r\n").expect("lines");
        let mid = attribute(rest, "mid");
        mids.push(mid);
        let kind = media.split(' ').next().expect("a word");
        let is_left_out = |pt: &&str| {
            let map = format!("a=rtpmap:{pt} ");
            rest.lines()
                .any(|line| line.starts_with(&map) && !takes(kind, line))
        };
        let words: Vec<_> = media.split(' ').filter(|word| !is_left_out(word)).collect();
        let media = words.join(" ");
        sections.push_str(&format!(
            "m={media}\r\n{transport}a=mid:{mid}\r\na=recvonly\r\n"
        ));
        let kept = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"];
        for line in rest.lines() {
            let wanted = kept.iter().any(|start| line.starts_with(start)) && takes(kind, line);
            if wanted || line.contains(TRANSPORT_CC_URI) {
                sections.push_str(line);
                sections.push_str("\r\n");
            }
        }
    }
    format!("{SESSION}a=group:BUNDLE {}\r\n{sections}", mids.join(" "))
}

/// Sources of a bare publisher.
pub const AUDIO_SSRC: u32 = 1001;
pub const VIDEO_SSRC: u32 = 2001;
pub const RTX_SSRC: u32 = 2002;

/// The user fragment of every bare peer.
pub const UFRAG: &str = "bare";
const PASSWORD: &str = "a-password-of-22-letters";

const SESSION: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
const TRANSPORT_CC_ID: u8 = 3;
const TRANSPORT_CC_URI: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
