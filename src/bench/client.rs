//! One client of the server: a WebSocket, and the PeerConnection it leads to.
//!
//! Speaks the Ant Media protocol of `docs/signalling.md`: publishes generated traffic, or plays
//! and checks what it gets. Its two sockets are non-blocking; the caller polls them. Used by the
//! load tester and by end-to-end tests.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::description::{self, Flow, Tracks};
use super::link::{Identity, Incoming, Link};
use super::publisher::Publisher;
use super::traffic::Shape;
use super::viewer::Viewer;
use crate::base::clock::Now;
use crate::base::limits::MAX_DATAGRAM_LEN;

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
    socket: WebSocket<mio::net::TcpStream>,
    udp: mio::net::UdpSocket,
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
        Self::Viewer(Box::new(Viewer::new(verify)))
    }
}

impl Client {
    /// Opens the WebSocket `ws://server{path}` and a UDP socket, and registers both: tokens
    /// `token` (WebSocket) and `token + 1` (UDP).
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
        let url = format!("ws://{}{}", place.server, place.path);
        let (socket, _) =
            tungstenite::client(url, tcp).map_err(|error| io::Error::other(error.to_string()))?;
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
        let mut local = udp.local_addr()?;
        if local.ip().is_unspecified() {
            local.set_ip(socket.get_ref().local_addr()?.ip());
        }
        let link = Link::new(now.instant, place.identity, local, rng)
            .ok_or_else(|| io::Error::other("no DTLS instance"))?;
        Ok(Self {
            stream: stream.to_owned(),
            phase: Phase::Open,
            role,
            heard: Vec::new(),
            socket,
            udp,
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
        let command = match self.role {
            Role::Publisher { .. } => "publish",
            Role::Viewer(_) => "play",
        };
        let mut message = json!({"command": command, "streamId": self.stream});
        if let (Some(message), Some(extra)) = (message.as_object_mut(), extra.as_object()) {
            message.extend(extra.clone());
        }
        self.phase = Phase::Asked(now.instant);
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
        let text = |key: &str| message.get(key).and_then(Value::as_str).unwrap_or_default();
        match text("command") {
            "start" => {
                if let Role::Publisher { tracks, .. } = &self.role {
                    let sdp = description::offer(*tracks, self.link.credentials(), &self.identity);
                    self.say(
                        &json!({"command": "takeConfiguration", "streamId": self.stream,
                        "type": "offer", "sdp": sdp}),
                    );
                }
            }
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
                let sdp = description::answer(&described, self.link.credentials(), &self.identity);
                self.say(
                    &json!({"command": "takeConfiguration", "streamId": self.stream,
                    "type": "answer", "sdp": sdp}),
                );
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
        let described = self.description.as_ref();
        let remote = described.and_then(|d| description::remote(d, &self.candidates, self.server));
        let Some(remote) = remote else { return };
        if let Err(error) = self.udp.connect(remote.address) {
            return self.fail(&format!("UDP: {error}"));
        }
        if let Err(error) = self.link.set_remote(now.instant, remote) {
            self.fail(&format!("{error:?}"));
        }
        self.flush();
    }

    /// The UDP socket is readable; returns the datagrams read.
    pub fn handle_datagrams(&mut self, now: Now) -> usize {
        let mut buf = [0; 2 * MAX_DATAGRAM_LEN];
        let mut read = 0;
        while let Ok(len) = self.udp.recv(&mut buf) {
            read += 1;
            let Some(datagram) = buf.get_mut(..len) else {
                continue;
            };
            match self.link.handle_datagram(now.instant, datagram) {
                Ok(Incoming::Rtp) => {
                    if let (Role::Viewer(viewer), Some(keys)) =
                        (&mut self.role, self.link.keys_mut())
                    {
                        viewer.receive(now, datagram, &keys.unprotect);
                    }
                }
                Ok(Incoming::Rtcp) => self.take_feedback(datagram),
                Ok(Incoming::Nothing) => {
                    if self.link.is_connected() && matches!(self.phase, Phase::Asked(_)) {
                        self.connected(now);
                    }
                    self.flush();
                }
                Err(error) => {
                    self.fail(&format!("{error:?}"));
                    return read;
                }
            }
        }
        read
    }

    fn connected(&mut self, now: Now) {
        self.phase = Phase::Connected;
        self.next_report = now.instant + REPORT_INTERVAL;
        if let Role::Publisher { sending, .. } = &mut self.role {
            sending.start(now.instant, &self.flows);
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
        self.send_media(now) + self.send_reports(now)
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
        let udp = &self.udp;
        sending.send(now, &keys.protect, |packet| udp.send(packet).is_ok())
    }

    fn send_reports(&mut self, now: Now) -> u64 {
        let Role::Viewer(viewer) = &mut self.role else {
            return 0;
        };
        if self.next_report > now.instant || self.phase != Phase::Connected {
            return 0;
        }
        self.next_report = now.instant + REPORT_INTERVAL;
        let Some(keys) = self.link.keys_mut() else {
            return 0;
        };
        let mut buf = [0; MAX_DATAGRAM_LEN];
        let len = viewer.write_reports(now, &mut buf);
        if len > 0
            && let Some(len) = keys.protect.protect_rtcp(&mut buf, len)
        {
            // A report that the socket does not take is followed by the next.
            let _ = self.udp.send(buf.get(..len).unwrap_or_default());
        }
        0
    }

    fn flush(&mut self) {
        while let Some(datagram) = self.link.poll_transmit() {
            // Lost like any other datagram: the timers send it again.
            let _ = self.udp.send(&datagram);
        }
    }

    fn fail(&mut self, why: &str) {
        if !matches!(self.phase, Phase::Failed(_)) {
            self.phase = Phase::Failed(why.to_owned());
        }
    }

    /// The UDP port it receives on, for the kernel's own count of drops.
    pub fn port(&self) -> Option<u16> {
        self.udp.local_addr().ok().map(|addr| addr.port())
    }
}

/// Where a client connects, and under which tokens it is polled.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The server's HTTP address.
    pub server: SocketAddr,
    /// `/{app}/websocket`.
    pub path: &'a str,
    /// The certificate.
    pub identity: &'a Identity,
    /// The poll.
    pub registry: &'a Registry,
    /// The WebSocket's token; the UDP socket has the next one.
    pub token: Token,
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

/// As browsers: transport-wide feedback every 50 to 250 ms.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);
