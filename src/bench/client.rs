//! One client of the server: a WebSocket, and the PeerConnection it leads to.
//!
//! Speaks the Ant Media protocol of `docs/signalling.md`, or Janus's to compare: publishes
//! generated traffic, or plays and checks what it gets. Its two sockets are non-blocking; the
//! caller polls them. Used by the load tester and by end-to-end tests.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

use super::description::{self, Flow, Tracks};
use super::janus::{self, Janus, Step};
use super::link::{Identity, Incoming, Link, LinkError};
use super::publisher::Publisher;
use super::traffic::Shape;
use super::viewer::{Feedback, Viewer};
use super::wire::{STREAM_LEN, Wire};
use crate::base::clock::Now;
use crate::base::limits::MAX_DATAGRAM_LEN;
use crate::net::{TimedBatch, note_times};
use crate::srtp::Profile;
use crate::transport::framing::Frames;
use crate::worker::clock::Clock;

/// A client and how far it is.
#[derive(Debug)]
pub struct Client {
    /// What it publishes or plays.
    pub stream: String,
    /// How far it is.
    pub phase: Phase,
    /// Sends or receives.
    pub role: Role,
    /// The notifications and errors that the server sent: their definitions, in order.
    pub heard: Vec<String>,
    /// RTCP datagrams sent.
    pub feedback_sent: u64,
    /// RTCP datagrams received.
    pub reports_received: u64,
    /// Janus's session; `None` where the Ant Media protocol is spoken.
    janus: Option<Janus>,
    socket: WebSocket<mio::net::TcpStream>,
    wire: Wire,
    /// Media is to go over TCP: with what a connection is polled.
    over_tcp: Option<(Registry, Token)>,
    link: Link,
    identity: Identity,
    server: SocketAddr,
    candidates: Vec<String>,
    description: Option<crate::sdp::Description>,
    flows: Vec<Flow>,
    next_report: Instant,
}

/// How far a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The WebSocket is open.
    Open,
    /// `publish` or `play` was sent then.
    Asked(Instant),
    /// ICE and DTLS are up; packets flow, or will.
    Connected,
    /// Over, and why.
    Failed(String),
}

/// Which signalling is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Front {
    /// Ant Media's.
    #[default]
    Ant,
    /// Janus's, with its video room plugin.
    Janus,
}

/// Sends or receives.
#[derive(Debug)]
pub enum Role {
    /// Publishes these shapes.
    Publisher {
        /// What it offers.
        tracks: Tracks,
        /// The generators, once connected.
        sending: Box<Publisher>,
    },
    /// Plays.
    Viewer(Box<Viewer>),
}

impl Role {
    /// A publisher of `shapes`.
    pub fn publisher(shapes: &[Shape], now: Now, rng: &mut StdRng) -> Self {
        let sending = Publisher::new(shapes, now, rng);
        Self::Publisher {
            tracks: sending.tracks(),
            sending: Box::new(sending),
        }
    }

    /// A viewer; with `verify` it decrypts and checks every packet.
    pub fn viewer(verify: bool) -> Self {
        Self::viewer_with(verify, Feedback::default())
    }

    /// The same with other feedback than transport-wide.
    pub fn viewer_with(verify: bool, feedback: Feedback) -> Self {
        Self::Viewer(Box::new(Viewer::new(verify, feedback)))
    }
}

impl Client {
    /// Opens the WebSocket `ws://server{path}` and a UDP socket, and registers both: tokens
    /// `token` (WebSocket) and `token + 1` (UDP, or the TCP connection that media goes over).
    ///
    /// # Errors
    /// What the operating system or the WebSocket handshake said.
    pub fn open(
        place: Place<'_>,
        stream: &str,
        role: Role,
        now: Now,
        rng: &mut StdRng,
    ) -> io::Result<Self> {
        let tcp = TcpStream::connect(place.server)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(HANDSHAKE_TIME))?;
        let socket = shake_hands(tcp, &place)?;
        let socket = into_non_blocking(socket, place.registry, place.token)?;
        let any = match place.server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let local = if place.server.ip().is_loopback() {
            SocketAddr::new(place.server.ip(), 0)
        } else {
            any
        };
        let mut udp = mio::net::UdpSocket::bind(local)?;
        let interest = Interest::READABLE;
        let token = Token(place.token.0 + 1);
        place.registry.register(&mut udp, token, interest)?;
        note_times(&udp)?;
        let mut local = udp.local_addr()?;
        if local.ip().is_unspecified() {
            local.set_ip(socket.get_ref().local_addr()?.ip());
        }
        let link = Link::new(now.instant, place.identity, local, rng)
            .ok_or_else(|| io::Error::other("no DTLS instance"))?;
        let publishes = matches!(role, Role::Publisher { .. });
        Ok(Self {
            stream: stream.to_owned(),
            phase: Phase::Open,
            role,
            heard: Vec::new(),
            feedback_sent: 0,
            reports_received: 0,
            janus: match place.front {
                Front::Ant => None,
                Front::Janus => Some(Janus::new(stream, publishes)),
            },
            socket,
            wire: Wire::Udp(udp),
            over_tcp: match place.over_tcp {
                true => Some((place.registry.try_clone()?, token)),
                false => None,
            },
            link,
            identity: place.identity.clone(),
            server: place.server,
            candidates: Vec::new(),
            description: None,
            flows: Vec::new(),
            next_report: now.instant,
        })
    }

    /// Sends `publish` or `play`, with `extra` members.
    pub fn ask(&mut self, now: Now, extra: &Value) {
        self.phase = Phase::Asked(now.instant);
        if let Some(janus) = &mut self.janus {
            let message = janus.begin();
            return self.say(&message);
        }
        let command = match self.role {
            Role::Publisher { .. } => "publish",
            Role::Viewer(_) => "play",
        };
        let mut message = json!({"command": command, "streamId": self.stream});
        if let (Some(message), Some(extra)) = (message.as_object_mut(), extra.as_object()) {
            message.extend(extra.clone());
        }
        self.say(&message);
    }

    /// Sends any message.
    pub fn say(&mut self, message: &Value) {
        let sent = self.socket.send(Message::text(message.to_string()));
        match sent {
            Ok(()) => {}
            Err(tungstenite::Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.fail(&format!("WebSocket: {error}")),
        }
    }

    /// The WebSocket is readable.
    pub fn handle_messages(&mut self, now: Now) {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    if let Ok(message) = serde_json::from_str::<Value>(&text) {
                        self.handle_message(now, &message);
                    }
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.fail(&format!("WebSocket: {error}")),
            }
        }
    }

    fn handle_message(&mut self, now: Now, message: &Value) {
        if let Some(janus) = &mut self.janus {
            let step = janus.handle(message);
            return self.follow(now, step);
        }
        let text = |key: &str| message.get(key).and_then(Value::as_str).unwrap_or_default();
        match text("command") {
            "start" => self.offer(),
            "takeConfiguration" => self.take_description(now, text("sdp")),
            "takeCandidate" => {
                self.candidates.push(text("candidate").to_owned());
                self.begin_checks(now);
            }
            "error" => {
                self.heard.push(text("definition").to_owned());
                if !matches!(self.phase, Phase::Connected) {
                    self.fail(text("definition"));
                }
            }
            "notification" => self.heard.push(text("definition").to_owned()),
            "pong" => self.heard.push("pong".to_owned()),
            _ => {}
        }
    }

    /// What Janus asks for.
    fn follow(&mut self, now: Now, step: Step) {
        match step {
            Step::Nothing => {}
            Step::Send(message) => self.say(&message),
            Step::Offer => self.offer(),
            Step::Describe(sdp) => {
                self.take_description(now, &sdp);
                if let Some(janus) = &mut self.janus {
                    let message = janus.candidates_end();
                    self.say(&message);
                }
            }
            Step::Up if matches!(self.role, Role::Publisher { .. }) => {
                self.heard.push("publish_started".to_owned());
            }
            Step::Up => {}
            Step::Failed(why) => self.fail(&why),
        }
    }

    /// A publisher's tracks.
    fn offer(&mut self) {
        let Role::Publisher { tracks, .. } = &self.role else {
            return;
        };
        let credentials = self.link.credentials();
        let setup = if self.janus.is_some() {
            // Janus would be the DTLS client if it could choose, and so is this client.
            "active"
        } else {
            "actpass"
        };
        let sdp = description::offer(*tracks, credentials, &self.identity, setup);
        let message = match &mut self.janus {
            Some(janus) => janus.publish(&sdp),
            None => json!({"command": "takeConfiguration", "streamId": self.stream,
                "type": "offer", "sdp": sdp}),
        };
        self.say(&message);
    }

    /// The server's offer (a viewer's first or a later one) or answer (a publisher's).
    fn take_description(&mut self, now: Now, sdp: &str) {
        let Some(described) = description::read(sdp) else {
            return self.fail("the server's description cannot be read");
        };
        match &mut self.role {
            Role::Publisher { tracks, .. } => {
                self.flows = description::answered_flows(&described, *tracks);
            }
            Role::Viewer(viewer) => {
                self.flows = description::offered_flows(&described);
                viewer.set_flows(&self.flows);
                let transport_cc = viewer.feedback() == Feedback::TransportCc;
                let credentials = self.link.credentials();
                let sdp =
                    description::answer(&described, credentials, &self.identity, transport_cc);
                let message = match &mut self.janus {
                    Some(janus) => janus.start(&sdp),
                    None => json!({"command": "takeConfiguration", "streamId": self.stream,
                        "type": "answer", "sdp": sdp}),
                };
                self.say(&message);
            }
        }
        self.description = Some(described);
        self.begin_checks(now);
    }

    /// Begins ICE once the server's description and a candidate are there.
    fn begin_checks(&mut self, now: Now) {
        if self.link.remote().is_some() {
            return;
        }
        let over_tcp = self.over_tcp.is_some();
        let described = self.description.as_ref();
        let remote =
            described.and_then(|d| description::remote(d, &self.candidates, self.server, over_tcp));
        let Some(remote) = remote else { return };
        if let Err(error) = self.connect_wire(remote.address) {
            return self.fail(&format!("media socket: {error}"));
        }
        if let Err(error) = self.link.set_remote(now.instant, remote) {
            self.fail(&format!("{error:?}"));
        }
        self.flush();
    }

    fn connect_wire(&mut self, server: SocketAddr) -> io::Result<()> {
        match (&mut self.wire, &self.over_tcp) {
            (wire, Some((registry, token))) => {
                wire.deregister(registry)?;
                *wire = Wire::connect(server, registry, *token)?;
                Ok(())
            }
            (Wire::Udp(udp), None) => udp.connect(server),
            (Wire::Tcp(_), None) => Ok(()),
        }
    }

    /// Reads what waits at the media socket, through `batch` if it is UDP; returns the datagrams
    /// read. Each counts from when the kernel took it, not from when it is read, but from then
    /// over TCP.
    pub fn handle_datagrams(&mut self, clock: &mut Clock, batch: &mut TimedBatch) -> usize {
        let mut read = 0;
        while let Some(more) = self.wire.receive(batch) {
            for (arrived_us, datagram) in batch.datagrams() {
                read += 1;
                let now = match arrived_us {
                    Some(us) => clock.at_host_us(us),
                    None => clock.now(),
                };
                if let Err(error) = self.handle_datagram(now, datagram) {
                    self.fail(&format!("{error:?}"));
                    return read;
                }
            }
            if !more {
                return read;
            }
        }
        self.handle_frames(clock)
    }

    /// The same from a TCP connection.
    fn handle_frames(&mut self, clock: &mut Clock) -> usize {
        let mut read = 0;
        let mut buffer = [0; STREAM_LEN];
        while let Some(len) = self.wire.read(&mut buffer) {
            let mut frames = Frames::of(buffer.get_mut(..len).unwrap_or_default());
            while let Ok(Some(datagram)) = frames.take() {
                read += 1;
                if let Err(error) = self.handle_datagram(clock.now(), datagram) {
                    self.fail(&format!("{error:?}"));
                    return read;
                }
            }
            self.wire.keep(frames.rest());
        }
        read
    }

    fn handle_datagram(&mut self, now: Now, datagram: &mut [u8]) -> Result<(), LinkError> {
        match self.link.handle_datagram(now.instant, datagram)? {
            Incoming::Rtp => {
                if let (Role::Viewer(viewer), Some(keys)) = (&mut self.role, self.link.keys_mut()) {
                    viewer.receive(now, datagram, &keys.unprotect);
                }
            }
            Incoming::Rtcp => {
                self.reports_received += 1;
                self.take_feedback(datagram);
            }
            Incoming::Nothing => {
                if self.link.is_connected() && matches!(self.phase, Phase::Asked(_)) {
                    self.connected(now);
                }
                self.flush();
            }
        }
        Ok(())
    }

    /// Takes a viewer whose media flows out of the poll of its UDP socket: the caller looks at it
    /// from time to time instead, so that no datagram wakes anybody up. True when it did.
    ///
    /// # Errors
    /// The operating system's.
    pub fn leave_poll(&mut self, registry: &Registry) -> io::Result<bool> {
        let leaves = self.phase == Phase::Connected && matches!(self.role, Role::Viewer(_));
        if leaves {
            self.wire.deregister(registry)?;
        }
        Ok(leaves)
    }

    fn connected(&mut self, now: Now) {
        self.phase = Phase::Connected;
        match &mut self.role {
            Role::Publisher { sending, .. } => sending.start(now.instant, &self.flows),
            Role::Viewer(viewer) => self.next_report = now.instant + viewer.feedback().interval(),
        }
    }

    fn take_feedback(&mut self, datagram: &mut [u8]) {
        if let (Role::Publisher { sending, .. }, Some(keys)) =
            (&mut self.role, self.link.keys_mut())
            && let Ok(len) = keys.unprotect.unprotect_rtcp(datagram)
            && let Some(compound) = datagram.get(..len)
        {
            sending.handle_rtcp(compound);
        }
    }

    /// Runs what is due: handshakes, frames, reports. Returns the media packets sent.
    pub fn handle_timeout(&mut self, now: Now) -> u64 {
        if matches!(self.phase, Phase::Failed(_)) {
            return 0;
        }
        if self.link.remote().is_some()
            && let Err(error) = self.link.handle_timeout(now.instant)
        {
            self.fail(&format!("{error:?}"));
            return 0;
        }
        if self.link.is_connected() && matches!(self.phase, Phase::Asked(_)) {
            self.connected(now);
        }
        self.flush();
        self.send_reports(now);
        self.send_media(now)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` when nothing is pending.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let link = self.link.remote().and_then(|_| self.link.poll_timeout());
        let due = match (&self.phase, &self.role) {
            (Phase::Connected, Role::Publisher { sending, .. }) => sending.due(),
            (Phase::Connected, Role::Viewer(_)) => Some(self.next_report),
            (Phase::Failed(_), _) => return None,
            (Phase::Open | Phase::Asked(_), _) => None,
        };
        [link, due].into_iter().flatten().min()
    }

    fn send_media(&mut self, now: Now) -> u64 {
        let Role::Publisher { sending, .. } = &mut self.role else {
            return 0;
        };
        let Some(keys) = self.link.keys_mut() else {
            return 0;
        };
        let wire = &mut self.wire;
        sending.send(now, &keys.protect, |packet| wire.send(packet))
    }

    fn send_reports(&mut self, now: Now) {
        let Role::Viewer(viewer) = &mut self.role else {
            return;
        };
        if self.next_report > now.instant || self.phase != Phase::Connected {
            return;
        }
        self.next_report = now.instant + viewer.feedback().interval();
        let Some(keys) = self.link.keys_mut() else {
            return;
        };
        let mut buf = [0; MAX_DATAGRAM_LEN];
        let len = viewer.write_reports(now, &mut buf);
        if len > 0
            && let Some(len) = keys.protect.protect_rtcp(&mut buf, len)
        {
            // A report that the socket does not take is followed by the next.
            let sent = self.wire.send(buf.get(..len).unwrap_or_default());
            self.feedback_sent += u64::from(sent);
        }
    }

    /// The cipher that was agreed on; `None` before.
    pub fn profile(&self) -> Option<Profile> {
        self.link.profile()
    }

    fn flush(&mut self) {
        while let Some(datagram) = self.link.poll_transmit() {
            // Lost like any other datagram: the timers send it again.
            let _ = self.wire.send(&datagram);
        }
    }

    fn fail(&mut self, why: &str) {
        if !matches!(self.phase, Phase::Failed(_)) {
            self.phase = Phase::Failed(why.to_owned());
        }
    }

    /// The port it receives on, for the kernel's own count of drops.
    pub fn port(&self) -> Option<u16> {
        self.wire.local_addr().ok().map(|addr| addr.port())
    }
}

/// Where a client connects, and under which tokens it is polled.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The server's HTTP address.
    pub server: SocketAddr,
    /// `/{app}/websocket`.
    pub path: &'a str,
    /// Media goes over TCP.
    pub over_tcp: bool,
    /// Which signalling it speaks.
    pub front: Front,
    /// The certificate.
    pub identity: &'a Identity,
    /// The poll.
    pub registry: &'a Registry,
    /// The WebSocket's token; the UDP socket has the next one.
    pub token: Token,
}

fn shake_hands(tcp: TcpStream, place: &Place<'_>) -> io::Result<WebSocket<TcpStream>> {
    let wrong = |error: String| io::Error::other(error);
    let url = format!("ws://{}{}", place.server, place.path);
    let mut request = url
        .into_client_request()
        .map_err(|e| wrong(e.to_string()))?;
    if place.front == Front::Janus {
        let value = HeaderValue::from_static(janus::SUBPROTOCOL);
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", value);
    }
    let opened = tungstenite::client(request, tcp);
    opened
        .map(|(socket, _)| socket)
        .map_err(|e| wrong(e.to_string()))
}

/// Moves an open WebSocket onto a non-blocking socket. What the server sent so far is nothing:
/// it speaks only when spoken to.
fn into_non_blocking(
    socket: WebSocket<TcpStream>,
    registry: &Registry,
    token: Token,
) -> io::Result<WebSocket<mio::net::TcpStream>> {
    let tcp = socket.into_inner();
    tcp.set_nonblocking(true)?;
    let mut tcp = mio::net::TcpStream::from_std(tcp);
    registry.register(&mut tcp, token, Interest::READABLE)?;
    let role = tungstenite::protocol::Role::Client;
    Ok(WebSocket::from_raw_socket(tcp, role, None))
}

/// Hang guard of the opening handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(30);
