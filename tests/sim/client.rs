//! A WebRTC client in memory: `str0m::Rtc` behind the server's own JSON protocol.
//!
//! A publisher sends what its [`Studio`] captures, a viewer keeps every RTP packet it is given.
//! Sans-IO like the engine: `world.rs` brings texts, datagrams and time in and takes texts and
//! datagrams out.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use leafcutter::base::codec::MediaKind;
use leafcutter::base::ids::ConnId;
use serde_json::{Value, json};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelId};
use str0m::config::DtlsVersion;
use str0m::format::Codec;
use str0m::media::{Direction, KeyframeRequestKind, Mid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::rtp::rtcp::Rtcp;
use str0m::rtp::{ExtensionValues, RawPacket, RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig, RtcError};

use super::media::{Cameras, Identity, Published, Studio, is_key_frame_start};

/// A client on one WebSocket with one peer connection.
#[derive(Debug)]
pub struct Client {
    /// Its WebSocket.
    pub conn: ConnId,
    /// What it publishes or plays.
    pub stream: String,
    /// Everything the server said, in order.
    pub heard: Vec<Value>,
    /// Packets handed to the RTP stack.
    pub published: Vec<Published>,
    /// Packets received, in order of arrival, repaired ones in their original form.
    pub received: Vec<Received>,
    /// RTP packets as they came, retransmissions too.
    pub wire: Vec<WirePacket>,
    /// Sender reports received.
    pub reports: Vec<Report>,
    /// How often each video sequence number was asked for again.
    pub asked: HashMap<u16, u32>,
    /// Key frame requests received.
    pub key_frame_requests: Vec<Instant>,
    /// What is captured; `None` for a viewer.
    pub studio: Option<Studio>,
    /// What is captured in several encodings at once.
    pub cameras: Option<Cameras>,
    /// Publishes its video in several encodings.
    pub simulcast: bool,
    /// Datagrams and texts to be sent.
    pub out: Out,
    /// Opens a data channel of its own, labelled as its stream is.
    pub opens_channel: bool,
    /// Labels of the data channels that are open, in the order that they came to be.
    pub channels: Vec<String>,
    /// Data channel messages received, in order.
    pub messages: Vec<Message>,
    /// How loud its audio says it is (RFC 6464); `None`: it does not say.
    pub level: Option<u8>,
    /// It answers that it takes neither RTX nor NACKs.
    pub refuses_repair: bool,
    /// Every datagram sent, from when a scenario puts a tape in.
    pub tape: Option<Vec<Vec<u8>>>,
    role: Role,
    local: SocketAddr,
    rtc: Option<Link>,
    /// It had a peer connection and gave it up.
    gave_up: bool,
    timeout: Option<Instant>,
    /// Video sources that began in the middle of a frame, and when to ask again.
    key_frame_retries: BTreeMap<u32, Instant>,
    /// Whose track each source is, and its kind, as the offers say.
    labels: HashMap<u32, (Arc<str>, MediaKind)>,
}

/// What a client has to send.
#[derive(Debug, Default)]
pub struct Out {
    /// Datagrams with their destination.
    pub datagrams: Vec<(SocketAddr, Vec<u8>)>,
    /// WebSocket messages.
    pub texts: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Publisher { seed: u64, audio: bool, video: bool },
    Viewer,
}

struct Link {
    rtc: Rtc,
    channels: Vec<ChannelId>,
    pending: Option<SdpPendingOffer>,
    audio: Option<Mid>,
    video: Option<Mid>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// A data channel message received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A string.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

/// One RTP packet received.
#[derive(Clone, Debug)]
pub struct Received {
    /// Audio or video.
    pub kind: MediaKind,
    /// Whose track it is: the broadcast's id.
    pub label: Arc<str>,
    /// Source.
    pub ssrc: u32,
    /// When it came.
    pub at: Instant,
    /// Extended sequence number.
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// RTP payload.
    pub payload: Arc<[u8]>,
}

impl Received {
    /// Which packet it says it is.
    pub fn identity(&self) -> Identity {
        Identity::of(&self.payload).expect("the payload holds an identity")
    }
}

/// One RTP packet as it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WirePacket {
    /// When.
    pub at: Instant,
    /// Payload type; tells retransmissions apart.
    pub pt: u8,
    /// Source.
    pub ssrc: u32,
    /// Sequence number.
    pub seq: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Bytes of payload.
    pub len: usize,
}

/// A sender report of the server.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Which source.
    pub ssrc: u32,
    /// The server's wall clock.
    pub ntp: SystemTime,
    /// The RTP timestamp that belongs to it.
    pub rtp: u32,
}

impl Client {
    /// A client that asks to publish; its studio starts when it is connected.
    pub fn publisher(conn: ConnId, local: SocketAddr, stream: &str, seed: u64) -> Self {
        Self::new(
            conn,
            local,
            stream,
            Role::Publisher {
                seed,
                audio: true,
                video: true,
            },
            json!({}),
        )
    }

    /// As [`publisher`](Self::publisher), into the main track `room`.
    pub fn participant(
        conn: ConnId,
        local: SocketAddr,
        stream: &str,
        seed: u64,
        room: &str,
    ) -> Self {
        let role = Role::Publisher {
            seed,
            audio: true,
            video: true,
        };
        Self::new(conn, local, stream, role, json!({ "mainTrack": room }))
    }

    /// A client that asks to play.
    pub fn viewer(conn: ConnId, local: SocketAddr, stream: &str) -> Self {
        Self::new(conn, local, stream, Role::Viewer, json!({}))
    }

    fn new(conn: ConnId, local: SocketAddr, stream: &str, role: Role, mut request: Value) -> Self {
        let command = match role {
            Role::Publisher { .. } => "publish",
            Role::Viewer => "play",
        };
        let mut client = Self {
            conn,
            stream: stream.to_owned(),
            heard: Vec::new(),
            published: Vec::new(),
            received: Vec::new(),
            wire: Vec::new(),
            reports: Vec::new(),
            asked: HashMap::new(),
            key_frame_requests: Vec::new(),
            studio: None,
            cameras: None,
            simulcast: false,
            out: Out::default(),
            opens_channel: false,
            refuses_repair: false,
            channels: Vec::new(),
            messages: Vec::new(),
            level: None,
            tape: None,
            role,
            local,
            rtc: None,
            gave_up: false,
            timeout: None,
            key_frame_retries: BTreeMap::new(),
            labels: HashMap::new(),
        };
        request["command"] = json!(command);
        client.say(request);
        client
    }

    /// Where its datagrams come from.
    pub fn address(&self) -> SocketAddr {
        self.local
    }

    /// Adds members to the command that it begins with.
    pub fn with(mut self, members: Value) -> Self {
        let first = self.out.texts.pop().expect("a first command");
        let mut first: Value = serde_json::from_str(&first).expect("its own JSON");
        for (name, value) in members.as_object().expect("members") {
            first[name] = value.clone();
        }
        self.out.texts.push(first.to_string());
        self
    }

    /// A publisher without audio and video.
    pub fn data_only(mut self) -> Self {
        if let Role::Publisher { audio, video, .. } = &mut self.role {
            (*audio, *video) = (false, false);
        }
        self.opens_channel = true;
        self
    }

    /// A publisher without audio.
    pub fn video_only(mut self) -> Self {
        if let Role::Publisher { audio, .. } = &mut self.role {
            *audio = false;
        }
        self
    }

    /// Sends over the data channel that was opened last; false when the stack takes no more.
    pub fn send(&mut self, now: Instant, message: &Message) -> bool {
        let link = self.rtc.as_mut().expect("a connection");
        let id = *link.channels.last().expect("an open channel");
        let mut channel = link.rtc.channel(id).expect("an open channel");
        let sent = match message {
            Message::Text(text) => channel.write(false, text.as_bytes()),
            Message::Binary(bytes) => channel.write(true, bytes),
        };
        self.run(now);
        sent.expect("a channel that works")
    }

    /// Sends a message, its stream id added.
    pub fn say(&mut self, mut message: Value) {
        message["streamId"] = json!(self.stream);
        self.out.texts.push(message.to_string());
    }

    /// The definitions and commands heard, in order, candidates and measurements left out.
    pub fn story(&self) -> Vec<&str> {
        let words = self.heard.iter().map(|message| {
            let word = &message["definition"];
            word.as_str().or(message["command"].as_str()).unwrap_or("?")
        });
        let told = |word: &&str| !matches!(*word, "takeCandidate" | "bitrateMeasurement");
        words.filter(told).collect()
    }

    /// True once this definition or command was heard.
    pub fn has_heard(&self, word: &str) -> bool {
        self.story().contains(&word)
    }

    /// True from the end of the handshake on, until the server says goodbye.
    pub fn is_connected(&self) -> bool {
        let link = self.rtc.as_ref();
        link.is_some_and(|link| link.rtc.is_connected() && link.rtc.is_alive())
    }

    /// Gives up the peer connection without a word.
    pub fn vanish(&mut self) {
        self.give_up();
        self.studio = None;
        self.cameras = None;
    }

    /// Asks for a key frame of the video.
    pub fn request_key_frame(&mut self, now: Instant) {
        let Some(link) = &mut self.rtc else { return };
        let Some(mid) = link.video else { return };
        if let Some(stream) = link.rtc.direct_api().stream_rx_by_mid(mid, None) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
        self.run(now);
    }

    /// Asks for a key frame of one of several videos.
    fn request_key_frame_of(&mut self, now: Instant, ssrc: u32) {
        let Some(link) = &mut self.rtc else { return };
        if let Some(stream) = link.rtc.direct_api().stream_rx(&ssrc.into()) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
        self.run(now);
    }

    /// A message of the server.
    pub fn handle_text(&mut self, now: Instant, text: &str) {
        let message: Value = serde_json::from_str(text).expect("the server writes JSON");
        match message["command"].as_str() {
            Some("start") => self.make_offer(now),
            Some("takeConfiguration") => {
                let sdp = message["sdp"].as_str().expect("a description");
                match message["type"].as_str() {
                    Some("offer") => self.take_offer(now, sdp),
                    _ => self.take_answer(now, sdp),
                }
            }
            Some("takeCandidate") => {
                let text = message["candidate"].as_str().expect("a candidate");
                if let (Some(link), Ok(candidate)) =
                    (&mut self.rtc, Candidate::from_sdp_string(text))
                {
                    link.rtc.add_remote_candidate(candidate);
                }
                self.run(now);
            }
            _ => {}
        }
        self.heard.push(message);
    }

    /// A datagram of the server.
    pub fn handle_datagram(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) {
        let Some(link) = &mut self.rtc else { return };
        let Ok(received) = Receive::new(Protocol::Udp, source, self.local, datagram) else {
            return;
        };
        let taken = link.rtc.handle_input(Input::Receive(now, received));
        if self.goes_on(taken).is_some() {
            self.poll(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let capture = self.studio.as_ref().and_then(Studio::next_due);
        let cameras = self.cameras.as_ref().and_then(Cameras::next_due);
        let retry = self.key_frame_retries.values().min().copied();
        [self.timeout, capture, cameras, retry]
            .into_iter()
            .flatten()
            .min()
    }

    /// Captures, sends feedback, runs ICE and DTLS.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(mut studio) = self.studio.take() {
            for packet in studio.capture(now) {
                self.publish(now, packet);
            }
            self.studio = Some(studio);
        }
        if let Some(mut cameras) = self.cameras.take() {
            for (encoding, packet) in cameras.capture(now) {
                self.write_encoding(now, &packet, Codec::Vp8, Some(encoding));
                self.published.push(packet);
            }
            self.cameras = Some(cameras);
        }
        let due: Vec<u32> = self
            .key_frame_retries
            .iter()
            .filter(|(_, due)| **due <= now)
            .map(|(ssrc, _)| *ssrc)
            .collect();
        for ssrc in due {
            self.key_frame_retries.insert(ssrc, now + KEY_FRAME_RETRY);
            self.request_key_frame_of(now, ssrc);
        }
        if self.timeout.is_some_and(|due| due <= now) {
            self.run(now);
        }
    }

    /// Hands one packet to the RTP stack.
    pub fn publish(&mut self, now: Instant, packet: Published) {
        let codec = match packet.kind {
            MediaKind::Audio => Codec::Opus,
            MediaKind::Video => Codec::Vp8,
        };
        self.write(now, &packet, codec);
        self.published.push(packet);
    }

    /// Hands one packet to the RTP stack under the payload type of `codec`, unrecorded.
    pub fn write(&mut self, now: Instant, packet: &Published, codec: Codec) {
        self.write_encoding(now, packet, codec, None);
    }

    fn write_encoding(
        &mut self,
        now: Instant,
        packet: &Published,
        codec: Codec,
        encoding: Option<usize>,
    ) {
        let Some(link) = &mut self.rtc else { return };
        let mid = match packet.kind {
            MediaKind::Audio => link.audio,
            MediaKind::Video => link.video,
        };
        let pt = link
            .rtc
            .codec_config()
            .find(|p| p.spec().codec == codec)
            .map(|p| p.pt());
        let (mid, pt) = (mid.expect("an m-line"), pt.expect("a payload type"));
        let mut direct = link.rtc.direct_api();
        let stream = direct
            .stream_tx_by_mid(mid, encoding.map(|at| Cameras::RIDS[at].0.into()))
            .expect("a stream to send on");
        let write = RtpWrite::new(
            pt,
            packet.seq.into(),
            packet.timestamp,
            packet.at,
            packet.payload.as_slice(),
        );
        let nackable = packet.kind == MediaKind::Video;
        let mut extensions = ExtensionValues::default();
        if packet.kind == MediaKind::Audio {
            extensions.audio_level = self.level.map(|level| -(level as i8));
            extensions.voice_activity = self.level.map(|level| level < 127);
        }
        let write = write.ext_vals(extensions);
        stream.write_rtp(write.marker(packet.marker).nackable(nackable));
        self.run(now);
    }

    fn make_offer(&mut self, now: Instant) {
        let Role::Publisher { audio, video, .. } = self.role else {
            return;
        };
        let mut rtc = self.build(now, DtlsVersion::Dtls12);
        let mut api = rtc.sdp_api();
        let mut add = |wanted: bool, kind, simulcast| {
            wanted.then(|| api.add_media(kind, Direction::SendOnly, None, None, simulcast))
        };
        let simulcast = self.simulcast.then(|| {
            let layers = Cameras::RIDS
                .iter()
                .map(|(rid, _)| SimulcastLayer::new(rid));
            Simulcast {
                send: layers.collect(),
                recv: Vec::new(),
            }
        });
        let audio = add(audio, str0m::media::MediaKind::Audio, None);
        let video = add(video, str0m::media::MediaKind::Video, simulcast);
        if self.opens_channel {
            api.add_channel(self.stream.clone());
        }
        let (offer, pending) = api.apply().expect("something to offer");
        self.say(json!({
            "command": "takeConfiguration", "type": "offer", "sdp": offer.to_sdp_string(),
        }));
        self.say_candidates();
        self.rtc = Some(Link {
            rtc,
            channels: Vec::new(),
            pending: Some(pending),
            audio,
            video,
        });
        self.run(now);
    }

    fn take_answer(&mut self, now: Instant, sdp: &str) {
        let answer = SdpAnswer::from_sdp_string(sdp).expect("an answer that parses");
        let Some(link) = &mut self.rtc else {
            assert!(self.gave_up, "an answer to no offer");
            return;
        };
        let pending = link.pending.take().expect("one answer per offer");
        link.rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .expect("an acceptable answer");
        // The server asks for what it lacks; whether it is sent again is not under test here.
        let rids = Cameras::RIDS.map(|(rid, _)| Some(rid.into()));
        for mid in [link.audio, link.video].into_iter().flatten() {
            for rid in std::iter::once(None).chain(rids) {
                if let Some(stream) = link.rtc.direct_api().stream_tx_by_mid(mid, rid) {
                    stream.set_rtx_cache(4096, Duration::from_secs(3), None);
                }
            }
        }
        self.run(now);
    }

    fn take_offer(&mut self, now: Instant, sdp: &str) {
        self.labels.extend(labels(sdp));
        let known = self.rtc.take();
        let is_first = known.is_none();
        let mut link = known.unwrap_or_else(|| Link {
            rtc: self.build(now, DtlsVersion::Auto),
            channels: Vec::new(),
            pending: None,
            audio: None,
            video: None,
        });
        // INTEROP(str0m): it would take the passive part, which the server keeps for itself;
        // browsers take the active one, as RFC 5763 §5 recommends.
        let sdp = sdp.replace("a=setup:actpass", "a=setup:passive");
        let offer = SdpOffer::from_sdp_string(&sdp).expect("an offer that parses");
        let answer = link
            .rtc
            .sdp_api()
            .accept_offer(offer)
            .expect("an acceptable offer");
        let mut sdp = answer.to_sdp_string();
        if self.refuses_repair {
            let repairs =
                |l: &&str| l.contains("rtx/") || l.contains("apt=") || l.ends_with(" nack");
            let lines = sdp.lines().filter(|line| !repairs(line));
            let lines = lines.flat_map(|line| [line, "\r\n"]).collect::<String>();
            sdp = lines.replace("SAVPF 96 97", "SAVPF 96");
        }
        self.say(json!({ "command": "takeConfiguration", "type": "answer", "sdp": sdp }));
        if is_first {
            self.say_candidates();
            if self.opens_channel {
                link.rtc.direct_api().create_data_channel(ChannelConfig {
                    label: "fileTransfer".to_owned(),
                    ..ChannelConfig::default()
                });
            }
        }
        self.rtc = Some(link);
        self.run(now);
    }

    fn build(&self, now: Instant, dtls: DtlsVersion) -> Rtc {
        let mut rtc = RtcConfig::new()
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .enable_vp9(true)
            .enable_h264(true)
            .set_rtp_mode(true)
            .enable_raw_packets(true)
            .set_dtls_version(dtls)
            .set_rtcp_report_interval_audio(REPORT_INTERVAL)
            .set_rtcp_report_interval_video(REPORT_INTERVAL)
            .build(now);
        let candidate = Candidate::host(self.local, "udp").expect("a usable address");
        rtc.add_local_candidate(candidate);
        rtc
    }

    /// As browsers do: the real one behind one that nobody can resolve, then the end.
    fn say_candidates(&mut self) {
        let (ip, port) = (self.local.ip(), self.local.port());
        for candidate in [
            "candidate:1 1 udp 2122260223 8ad0e4b8.local 50123 typ host".to_owned(),
            format!("candidate:2 1 udp 2122194687 {ip} {port} typ host"),
            String::new(),
        ] {
            self.say(json!({
                "command": "takeCandidate", "label": 0, "id": "0", "candidate": candidate,
            }));
        }
    }

    fn run(&mut self, now: Instant) {
        let Some(link) = &mut self.rtc else { return };
        let result = link.rtc.handle_input(Input::Timeout(now));
        if self.goes_on(result).is_some() {
            self.poll(now);
        }
    }

    /// What came out, unless the handshake found no end, or the server's goodbye overtook that of
    /// SCTP, which is an error too: then its peer is given up.
    fn goes_on<T>(&mut self, result: Result<T, RtcError>) -> Option<T> {
        match result {
            Err(RtcError::Dtls(_) | RtcError::Sctp(_)) => {
                self.give_up();
                None
            }
            result => Some(result.expect("a client that goes on")),
        }
    }

    fn give_up(&mut self) {
        self.gave_up |= self.rtc.is_some();
        (self.rtc, self.timeout) = (None, None);
    }

    fn poll(&mut self, now: Instant) {
        while let Some(link) = &mut self.rtc {
            let output = link.rtc.poll_output();
            let Some(output) = self.goes_on(output) else {
                return;
            };
            match output {
                Output::Timeout(at) => {
                    self.timeout = Some(at.max(now + MIN_TIMEOUT));
                    return;
                }
                Output::Transmit(t) => {
                    self.out
                        .datagrams
                        .push((t.destination, t.contents.to_vec()));
                }
                Output::Event(event) => self.handle_event(now, event),
            }
        }
    }

    fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => {
                if let Role::Publisher { seed, audio, video } = self.role {
                    self.studio = Some(Studio::new(seed, now, audio, video && !self.simulcast));
                    self.cameras = self.simulcast.then(|| Cameras::new(seed, now));
                }
            }
            Event::MediaAdded(added) => {
                let Some(link) = &mut self.rtc else { return };
                match added.kind {
                    str0m::media::MediaKind::Audio => link.audio = Some(added.mid),
                    str0m::media::MediaKind::Video => link.video = Some(added.mid),
                }
            }
            Event::RtpPacket(packet) => self.receive(now, &packet),
            Event::KeyframeRequest(request) => {
                self.key_frame_requests.push(now);
                let is_asked = |(rid, _): &(&str, u16)| request.rid == Some((*rid).into());
                let encoding = Cameras::RIDS.iter().position(is_asked);
                if let (Some(cameras), Some(at)) = (&mut self.cameras, encoding) {
                    cameras.want_key_frame(at);
                }
                if let Some(studio) = &mut self.studio {
                    studio.want_key_frame();
                }
            }
            Event::RawPacket(packet) => self.note(now, *packet),
            Event::ChannelOpen(id, label) => {
                self.channels.push(label);
                if let Some(link) = &mut self.rtc {
                    link.channels.push(id);
                }
            }
            Event::ChannelData(data) => self.messages.push(match data.binary {
                true => Message::Binary(data.data),
                false => Message::Text(String::from_utf8(data.data).expect("text")),
            }),
            _ => {}
        }
    }

    fn receive(&mut self, now: Instant, packet: &RtpPacket) {
        let kind = match *packet.header.payload_type {
            111 => MediaKind::Audio,
            _ => MediaKind::Video,
        };
        let ssrc = *packet.header.ssrc;
        let announced = self.labels.get(&ssrc).cloned();
        let (label, of) = announced.expect("the offer announces every source");
        assert_eq!(kind, of, "{label}: a payload type of the other m-line");
        let received = Received {
            kind,
            label,
            ssrc,
            at: now,
            seq: *packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload: packet.payload.clone(),
        };
        // A decoder that is given the middle of a frame first cannot start and asks for another.
        if kind == MediaKind::Video {
            let first = !self.received.iter().any(|r| r.ssrc == ssrc);
            let starts = is_key_frame_start(&received.payload);
            if first && !starts {
                self.key_frame_retries.insert(ssrc, now + KEY_FRAME_RETRY);
            } else if starts {
                self.key_frame_retries.remove(&ssrc);
            }
        }
        self.received.push(received);
    }

    fn note(&mut self, now: Instant, packet: RawPacket) {
        match packet {
            RawPacket::RtpRx(header, payload) => self.wire.push(WirePacket {
                at: now,
                pt: *header.payload_type,
                ssrc: *header.ssrc,
                seq: header.sequence_number,
                timestamp: header.timestamp,
                len: payload.len(),
            }),
            RawPacket::RtcpRx(Rtcp::SenderReport(report)) => self.reports.push(Report {
                ssrc: *report.sender_info.ssrc,
                ntp: report.sender_info.ntp_time,
                rtp: report.sender_info.rtp_time.numer() as u32,
            }),
            RawPacket::RtcpTx(Rtcp::Nack(nack)) => {
                for entry in nack.reports.iter() {
                    let more = (0..16).filter(|bit| entry.blp >> bit & 1 == 1);
                    for distance in std::iter::once(0).chain(more.map(|bit| bit + 1)) {
                        *self
                            .asked
                            .entry(entry.pid.wrapping_add(distance))
                            .or_default() += 1;
                    }
                }
            }
            RawPacket::RtcpRx(_) | RawPacket::RtcpTx(_) | RawPacket::RtpTx(..) => {}
        }
    }
}

/// The first token of each source's msid, which says whose it is, and its m-line's kind.
fn labels(sdp: &str) -> Vec<(u32, (Arc<str>, MediaKind))> {
    let mut kind = MediaKind::Audio;
    let mut labels = Vec::new();
    for line in sdp.lines() {
        if line.starts_with("m=") {
            kind = match line.starts_with("m=audio") {
                true => MediaKind::Audio,
                false => MediaKind::Video,
            };
        }
        let source = line
            .strip_prefix("a=ssrc:")
            .and_then(|line| line.split_once(" msid:"));
        let Some((ssrc, msid)) = source else { continue };
        let label = msid.split(' ').next().unwrap_or_default();
        labels.push((ssrc.parse().expect("a number"), (Arc::from(label), kind)));
    }
    labels
}

/// Of both kinds, as browsers do for video.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How long a decoder waits for a start before it asks.
const KEY_FRAME_RETRY: Duration = Duration::from_millis(300);

/// The stack asks to be called again at once now and then; this keeps time moving.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
