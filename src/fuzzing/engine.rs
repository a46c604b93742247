//! A whole engine and the directory, with clients that have shaken hands and then do what they
//! like.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{chunk, pass, start};
use crate::base::bytes::Reader;
use crate::base::clock::Now;
use crate::base::egress::{Egress, Route};
use crate::base::ids::{ConnId, Ssrc, WorkerId};
use crate::base::limits::MAX_DATAGRAM_LEN;
use crate::base::seq::{RtpTime, SeqNo};
use crate::bench::description::{self, Tracks};
use crate::bench::link::{Identity, Incoming, Link};
use crate::control::Directory;
use crate::engine::{self, ConnOpened, ConnOutput, Engine, Progress};
use crate::model::mail::{AppName, Outgoing};
use crate::model::settings::AppSettings;
use crate::rtp::RtpHeader;
use crate::transport::certificate::Certificate;

/// Clients that publish, play and stop, datagrams from anywhere, and protected RTP and RTCP with
/// any content, over virtual time: viewers are sent what they can open, no number is used for two
/// packets, everything said is JSON, and nothing is left when all have gone.
pub fn engine(bytes: &[u8]) {
    let mut input = Reader::new(bytes);
    let mut world = World::new();
    while world.step(&mut input).is_some() {
        world.settle();
    }
    world.end();
}

struct World {
    now: Now,
    engine: Engine,
    directory: Directory,
    egress: Egress,
    clients: [Client; 4],
    /// RTP that was sent, by receiver, source and number: timestamp and bytes.
    written: HashMap<(SocketAddr, Ssrc, SeqNo), (RtpTime, Vec<u8>)>,
    conns: u64,
}

/// A WebSocket with one PeerConnection.
struct Client {
    conn: Option<ConnId>,
    stream: &'static str,
    publishes: bool,
    address: SocketAddr,
    link: Option<Link>,
    candidates: Vec<String>,
    description: Option<crate::sdp::Description>,
    texts: Vec<String>,
    /// Next packet index towards the server.
    index: u64,
}

impl World {
    fn new() -> Self {
        let app = AppName::from(APP);
        let apps = BTreeMap::from([(app, Arc::new(AppSettings::default()))]);
        let client = |number: u8, stream, publishes| Client {
            conn: None,
            stream,
            publishes,
            address: ([127, 0, 0, 1], 4000 + u16::from(number)).into(),
            link: None,
            candidates: Vec::new(),
            description: None,
            texts: Vec::new(),
            index: 0,
        };
        Self {
            now: start(),
            engine: Engine::new(engine::Config {
                worker: WorkerId(0),
                candidates: vec![server()],
                tcp_candidates: Vec::new(),
                port_shared_by: 1,
                seed: [7; 32],
                even_lengths: true,
                certificate: certificate(),
            }),
            directory: Directory::new(apps),
            egress: Egress::default(),
            clients: [
                client(0, "a", true),
                client(1, "a", false),
                client(2, "b", true),
                client(3, "b", false),
            ],
            written: HashMap::new(),
            conns: 0,
        }
    }

    fn step(&mut self, input: &mut Reader<'_>) -> Option<()> {
        let what = input.u8()?;
        let at = usize::from(what >> 6);
        match what % 16 {
            0 => self.open(at),
            1 => self.close(at),
            2 => self.say_own(at, input.u8()?),
            3 => {
                let text = String::from_utf8_lossy(chunk(input, 3000)?).into_owned();
                self.clients[at].texts.push(text);
            }
            4 => {
                let then = pass(input, self.now)?;
                self.run(then.instant - self.now.instant);
            }
            5 => self.connect(at),
            6 => {
                let from = self.clients[at].address;
                let datagram = chunk(input, MAX_DATAGRAM_LEN)?;
                self.deliver(from, datagram);
            }
            7 => {
                let from = ([198, 51, 100, 1], 9).into();
                let datagram = chunk(input, MAX_DATAGRAM_LEN)?;
                self.deliver(from, datagram);
            }
            8..=12 => self.rtp(at, input)?,
            _ => {
                let compound = chunk(input, 1200)?;
                self.rtcp(at, compound);
            }
        }
        Some(())
    }

    fn open(&mut self, at: usize) {
        if self.clients[at].conn.is_some() {
            return;
        }
        let conn = ConnId {
            worker: WorkerId(0),
            serial: self.conns,
        };
        self.conns += 1;
        let opened = ConnOpened {
            conn,
            app: APP.into(),
            settings: Arc::new(AppSettings::default()),
            client: Arc::default(),
        };
        self.engine.handle_conn_opened(self.now, opened);
        self.clients[at].conn = Some(conn);
        let command = if self.clients[at].publishes {
            "publish"
        } else {
            "play"
        };
        self.clients[at].say(json!({ "command": command }));
    }

    fn close(&mut self, at: usize) {
        if let Some(conn) = self.clients[at].conn.take() {
            self.engine.handle_conn_closed(self.now, conn);
            self.clients[at].forget();
        }
    }

    fn say_own(&mut self, at: usize, number: u8) {
        let client = &mut self.clients[at];
        let message = match number % 8 {
            0 => json!({"command": "stop"}),
            1 => json!({"command": "publish"}),
            2 => json!({"command": "play"}),
            3 => {
                json!({"command": "toggleVideo", "trackId": client.stream, "enabled": number > 99})
            }
            4 => json!({"command": "forceStreamQuality", "streamHeight": number}),
            5 => json!({"command": "getDebugInfo"}),
            6 => json!({"command": "getStreamInfo"}),
            _ => json!({"command": "enableTrack", "trackId": client.stream,
                "enabled": number > 99}),
        };
        if number.is_multiple_of(8) {
            client.forget();
        }
        client.say(message);
    }

    /// Goes on until a client is connected, or does not get there.
    fn connect(&mut self, at: usize) {
        for _ in 0..40 {
            let link = self.clients[at].link.as_ref();
            if link.is_some_and(Link::is_connected) || self.clients[at].conn.is_none() {
                return;
            }
            self.run(Duration::from_millis(5));
        }
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        for _ in 0..1000 {
            self.settle();
            let due = self.engine.poll_timeout();
            let links = self.clients.iter_mut().filter_map(|c| c.link.as_mut());
            let due = links.filter_map(Link::poll_timeout).chain(due);
            let due = due.chain(self.directory.poll_timeout()).min();
            let Some(due) = due.filter(|due| *due <= end.instant) else {
                break;
            };
            // Never earlier, and never by so little that nothing comes of it.
            let step = (due - self.now.instant.min(due)).max(Duration::from_millis(1));
            self.now = self.now.after(step.min(end.instant - self.now.instant));
            self.tick();
            if self.now.instant >= end.instant {
                break;
            }
        }
        self.now = end;
        self.tick();
        self.settle();
    }

    fn tick(&mut self) {
        self.engine.handle_timeout(self.now);
        self.directory.handle_timeout(self.now);
        for client in &mut self.clients {
            if let Some(link) = &mut client.link
                && link.handle_timeout(self.now.instant).is_err()
            {
                client.link = None;
            }
        }
    }

    /// A packet with any header and payload, protected with the client's keys.
    fn rtp(&mut self, at: usize, input: &mut Reader<'_>) -> Option<()> {
        let [marker_and_pt, source, skip, ticks] = input.array()?;
        let body = chunk(input, 1200)?;
        let client = &mut self.clients[at];
        client.index += match skip {
            0..0xf0 => u64::from(skip % 4),
            0xf0..=0xff => u64::from(skip) * 400,
        };
        let index = client.index;
        let [high, low] = (index as u16).to_be_bytes();
        let ssrc = match source % 4 {
            0 => AUDIO,
            1 => VIDEO,
            2 => AUDIO + u32::from(source),
            _ => u32::from(source),
        };
        let mut packet = vec![0x80 | source & 0x10 << 1, marker_and_pt, high, low];
        packet.extend_from_slice(&(u32::from(ticks) * 480).to_be_bytes());
        packet.extend_from_slice(&ssrc.to_be_bytes());
        if source & 0x80 != 0 {
            packet[0] |= 0x10;
        }
        packet.extend_from_slice(body);
        let header_len = RtpHeader::parse(&packet).map_or(12, |header| header.header_len);
        let len = packet.len();
        packet.resize(len + 20, 0);
        let keys = client.link.as_mut().and_then(Link::keys_mut);
        if let Some(keys) = keys
            && let Some(len) = keys
                .protect
                .protect_rtp(&mut packet, header_len, len, index)
        {
            let from = client.address;
            self.deliver(from, &packet[..len]);
        }
        Some(())
    }

    fn rtcp(&mut self, at: usize, compound: &[u8]) {
        let client = &mut self.clients[at];
        let mut packet = compound.to_vec();
        packet.resize(compound.len() + 24, 0);
        let keys = client.link.as_mut().and_then(Link::keys_mut);
        if let Some(keys) = keys
            && let Some(len) = keys.protect.protect_rtcp(&mut packet, compound.len())
        {
            let from = client.address;
            self.deliver(from, &packet[..len]);
        }
    }

    fn deliver(&mut self, remote: SocketAddr, datagram: &[u8]) {
        let route = Route::udp(remote, None);
        self.engine
            .handle_datagram(self.now, route, &mut datagram.to_vec());
    }

    /// Until nobody has anything to say at this instant.
    fn settle(&mut self) {
        for _ in 0..100 {
            let mut quiet = true;
            for at in 0..self.clients.len() {
                quiet &= !self.hear_client(at);
            }
            quiet &= !self.forward();
            quiet &= !self.mails();
            quiet &= !self.outputs();
            if quiet {
                return;
            }
        }
        panic!("they do not come to an end");
    }

    fn hear_client(&mut self, at: usize) -> bool {
        let (texts, conn) = (
            std::mem::take(&mut self.clients[at].texts),
            self.clients[at].conn,
        );
        let mut said = false;
        if let Some(conn) = conn {
            for text in &texts {
                self.engine.handle_message(self.now, conn, text);
                said = true;
            }
        }
        while let Some(datagram) = self.clients[at].link.as_mut().and_then(Link::poll_transmit) {
            self.deliver(self.clients[at].address, &datagram);
            said = true;
        }
        said
    }

    fn forward(&mut self) -> bool {
        while self.engine.shake_hands(self.now) {}
        let mut said = false;
        loop {
            let progress = self.engine.forward(self.now, &mut self.egress);
            let mut datagrams = Vec::new();
            for run in self.egress.runs() {
                for datagram in self.egress.bytes_of(run).chunks(run.segment_len) {
                    assert!(datagram.len() <= MAX_DATAGRAM_LEN);
                    datagrams.push((run.route.remote, datagram.to_vec()));
                }
            }
            self.egress.clear();
            for (to, datagram) in datagrams {
                said = true;
                self.receive(to, datagram);
            }
            if progress == Progress::Done {
                return said;
            }
        }
    }

    fn receive(&mut self, to: SocketAddr, mut datagram: Vec<u8>) {
        let client = self.clients.iter_mut().find(|c| c.address == to);
        // A stranger is answered with nothing at all.
        let client = client.expect("sent to nobody that was heard of");
        let Some(link) = &mut client.link else {
            return;
        };
        match link.handle_datagram(self.now.instant, &datagram) {
            Ok(Incoming::Rtp) => {
                let header = RtpHeader::parse(&datagram).expect("our own");
                let key = (to, header.ssrc, header.seq);
                let entry = (header.timestamp, datagram);
                let before = self.written.insert(key, entry.clone());
                // Another timestamp is another cycle of the numbers.
                let is_other = before.is_some_and(|b| b.0 == entry.0 && b.1 != entry.1);
                assert!(!is_other, "{key:?}: other bytes under one number");
            }
            Ok(Incoming::Rtcp) => {
                let keys = link.keys_mut().expect("keys before SRTCP");
                let len = keys
                    .unprotect
                    .unprotect_rtcp(&mut datagram)
                    .expect("genuine");
                let packets = crate::rtcp::Compound::new(&datagram[..len]);
                assert!(packets.into_iter().all(|packet| packet.is_ok()));
            }
            Ok(Incoming::Nothing) => {}
            Err(_) => client.link = None,
        }
    }

    fn mails(&mut self) -> bool {
        let mut said = false;
        while let Some(mail) = self.engine.poll_mail() {
            said = true;
            if let Outgoing::Control(mail) = mail {
                self.directory.handle_mail(self.now, *mail);
            }
            while let Some((id, step)) = self.directory.poll_step() {
                let result = step.in_an_empty_world();
                self.directory.handle_step(self.now, id, result);
            }
        }
        while let Some((_, mail)) = self.directory.poll_mail() {
            said = true;
            self.engine.handle_mail(self.now, mail);
        }
        while self.directory.poll_event().is_some() {}
        said
    }

    fn outputs(&mut self) -> bool {
        let mut said = false;
        while let Some((conn, output)) = self.engine.poll_conn() {
            said = true;
            let client = self.clients.iter().position(|c| c.conn == Some(conn));
            match (output, client) {
                (ConnOutput::Text(text), client) => {
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    if let Some(at) = client {
                        self.clients[at].hear(self.now, &message);
                    }
                }
                (ConnOutput::Close, Some(at)) => self.close(at),
                (ConnOutput::Close, None) => {}
            }
        }
        said
    }

    /// Everybody goes, and after a while nothing is left.
    fn end(&mut self) {
        for at in 0..self.clients.len() {
            self.close(at);
        }
        self.run(Duration::from_secs(60));
        let counters = self.engine.counters();
        assert_eq!(
            (counters.conns, counters.peers, counters.tracks),
            (0, 0, 0),
            "left over"
        );
        assert_eq!(self.directory.broadcasts(APP).count(), 0, "left over");
        assert_eq!(self.engine.poll_timeout(), None, "waits for nobody");
    }
}

impl Client {
    fn say(&mut self, mut message: Value) {
        message["streamId"] = json!(self.stream);
        self.texts.push(message.to_string());
    }

    fn forget(&mut self) {
        self.link = None;
        self.description = None;
        self.candidates.clear();
        self.texts.clear();
        self.index = 0;
    }

    fn hear(&mut self, now: Now, message: &Value) {
        let text = |key: &str| message[key].as_str().unwrap_or_default();
        match text("command") {
            "start" => {
                let tracks = Tracks {
                    video: Some(Ssrc(VIDEO)),
                    audio: Some(Ssrc(AUDIO)),
                };
                let link = self.link(now);
                let sdp = description::offer(tracks, link.credentials(), identity(), "actpass");
                self.configure("offer", &sdp);
            }
            "takeConfiguration" => {
                let Some(described) = description::read(text("sdp")) else {
                    return;
                };
                if text("type") == "offer" {
                    let link = self.link(now);
                    let credentials = link.credentials().clone();
                    let sdp = description::answer(&described, &credentials, identity(), true);
                    self.configure("answer", &sdp);
                }
                self.description = Some(described);
                self.begin(now);
            }
            "takeCandidate" => {
                self.candidates.push(text("candidate").to_owned());
                self.begin(now);
            }
            _ => {}
        }
    }

    fn configure(&mut self, kind: &str, sdp: &str) {
        self.say(json!({"command": "takeConfiguration", "type": kind, "sdp": sdp}));
    }

    /// The link, made when there is none.
    fn link(&mut self, now: Now) -> &Link {
        let seed = u64::from(self.address.port());
        let mut rng = StdRng::seed_from_u64(seed);
        let address = self.address;
        self.link.get_or_insert_with(|| {
            Link::new(now.instant, identity(), address, &mut rng).expect("a link")
        })
    }

    fn begin(&mut self, now: Now) {
        let (Some(link), Some(described)) = (&mut self.link, &self.description) else {
            return;
        };
        if link.remote().is_some() {
            return;
        }
        let remote = description::remote(described, &self.candidates, server(), false);
        if let Some(remote) = remote
            && link.set_remote(now.instant, remote).is_err()
        {
            self.link = None;
        }
    }
}

fn server() -> SocketAddr {
    ([127, 0, 0, 1], 50_000).into()
}

/// One for all: making one costs a key generation.
fn certificate() -> Arc<Certificate> {
    static CERTIFICATE: OnceLock<Arc<Certificate>> = OnceLock::new();
    let make = || Arc::new(Certificate::generate().expect("a certificate"));
    CERTIFICATE.get_or_init(make).clone()
}

fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| Identity::generate().expect("a certificate"))
}

const APP: &str = "live";
const AUDIO: u32 = 0x1000;
const VIDEO: u32 = 0x2000;
