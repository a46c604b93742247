//! Engines, control plane, clients and the network between them, in virtual time.
//!
//! One step takes the earliest of what is pending (an arrival, a timer of anybody), moves the
//! clock there and lets everybody act. Nothing reads a clock and nothing sleeps. Datagrams reach
//! an engine on a grid of [`TURN`], so that its turns hold several.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use leafcutter::base::clock::Now;
use leafcutter::base::egress::{Egress, Route, TcpId};
use leafcutter::base::fault::DropReason;
use leafcutter::base::ids::{ConnId, Ssrc, TrackId, WorkerId};
use leafcutter::base::seq::SeqUnwrapper;
use leafcutter::engine::{self, ConnOpened, ConnOutput, Counters, Engine, Progress};
use leafcutter::model::mail::{Outgoing, WorkerMail};
use leafcutter::rtp::RtpHeader;
use leafcutter::transport::certificate::Certificate;
use leafcutter::transport::demux::{Protocol, classify};

use super::agenda::{Agenda, What};
use super::client::{Client, Message};
use super::control::Control;
use super::network::{Direction, Link, Network};

/// Everything there is.
#[derive(Debug)]
pub struct World {
    /// The virtual clock.
    pub now: Now,
    /// The engines.
    pub servers: Vec<Server>,
    /// The clients, numbered as the network numbers them.
    pub clients: Vec<Client>,
    /// Between clients and engines.
    pub network: Network,
    /// The control plane.
    pub control: Control,
    /// Datagrams that engines sent to addresses of no client.
    pub strays: Vec<(SocketAddr, Vec<u8>)>,
    /// Connections of clients whose datagrams go over TCP, by their addresses.
    pub tcp: HashMap<SocketAddr, TcpId>,
    /// Datagrams that engines sent over TCP connections that were closed before.
    pub lost_with_tcp: u64,
    /// RTP packets that clients sent, retransmissions included.
    pub rtp_sent: u64,
    /// When an engine last sent RTP to each client that ever was sent any.
    pub last_rtp: HashMap<usize, Instant>,
    /// WebSockets whose messages take longer, both ways.
    pub slow: HashMap<ConnId, Duration>,
    /// When the last message of a WebSocket arrives, each way: none overtakes it.
    last_texts: HashMap<(ConnId, bool), Instant>,
    /// Texts to WebSockets without a client.
    pub unheard: Vec<(ConnId, String)>,
    /// The RTP packets that engines sent, by source and extended number: a hash of all bytes.
    written: HashMap<((SocketAddr, Ssrc), u64), u64>,
    /// The extended numbers of each source that engines send.
    numbers: HashMap<(SocketAddr, Ssrc), SeqUnwrapper>,
    seed: u64,
    one_port: bool,
    tcp_opened: u32,
    agenda: Agenda,
    conns: Vec<u64>,
}

/// An engine with what a worker has around it.
#[derive(Debug)]
pub struct Server {
    /// The engine.
    pub engine: Engine,
    /// Its media address.
    pub address: SocketAddr,
    /// Mails with media to other workers, one entry per mail: the instant of the turn, the track,
    /// the receiver, and the packets in it.
    pub relayed: Vec<(Instant, TrackId, WorkerId, usize)>,
    /// Key frame requests mailed to other workers.
    pub relayed_key_frames: u64,
    egress: Egress,
    dirty: bool,
}

impl World {
    /// `workers` engines and nobody else.
    pub fn new(seed: u64, workers: u16) -> Self {
        Self::with_ports(seed, workers, false)
    }

    /// The same with one port for all engines: what clients send arrives at the engine behind the
    /// one that serves them.
    pub fn on_one_port(seed: u64, workers: u16) -> Self {
        Self::with_ports(seed, workers, true)
    }

    fn with_ports(seed: u64, workers: u16, one_port: bool) -> Self {
        let now = Now {
            instant: epoch(),
            unix_us: EPOCH_UNIX_US,
        };
        let server = |worker: u16| {
            let port = 50_000 + if one_port { 0 } else { worker };
            let address = SocketAddr::from((Ipv4Addr::new(203, 0, 113, 5), port));
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_be_bytes());
            bytes[8..10].copy_from_slice(&worker.to_be_bytes());
            Server {
                engine: Engine::new(engine::Config {
                    worker: WorkerId(worker),
                    candidates: vec![address],
                    tcp_candidates: Vec::new(),
                    port_shared_by: if one_port { workers } else { 1 },
                    seed: bytes,
                    even_lengths: true,
                    certificate: certificate(),
                }),
                address,
                relayed: Vec::new(),
                relayed_key_frames: 0,
                egress: Egress::default(),
                dirty: false,
            }
        };
        Self {
            now,
            servers: (0..workers).map(server).collect(),
            clients: Vec::new(),
            network: Network::new(seed),
            control: Control::default(),
            strays: Vec::new(),
            tcp: HashMap::new(),
            lost_with_tcp: 0,
            rtp_sent: 0,
            last_rtp: HashMap::new(),
            slow: HashMap::new(),
            last_texts: HashMap::new(),
            unheard: Vec::new(),
            written: HashMap::new(),
            numbers: HashMap::new(),
            seed,
            one_port,
            tcp_opened: 0,
            agenda: Agenda::default(),
            conns: vec![0; usize::from(workers)],
        }
    }

    /// Adds a publisher on `worker`; returns its number.
    pub fn publish(&mut self, worker: u16, stream: &str) -> usize {
        let (conn, number, local) = self.open(worker);
        let seed = self.seed ^ (number as u64) << 32;
        self.clients
            .push(Client::publisher(conn, local, stream, seed));
        self.collect(number);
        number
    }

    /// Adds a publisher on `worker` of video without audio; returns its number.
    pub fn publish_video(&mut self, worker: u16, stream: &str) -> usize {
        let (conn, number, local) = self.open(worker);
        let client = Client::publisher(conn, local, stream, self.seed);
        self.clients.push(client.video_only());
        self.collect(number);
        number
    }

    /// Adds a publisher on `worker` whose video has several encodings; returns its number.
    pub fn publish_simulcast(&mut self, worker: u16, stream: &str) -> usize {
        let (conn, number, local) = self.open(worker);
        let seed = self.seed ^ (number as u64) << 32;
        let mut client = Client::publisher(conn, local, stream, seed);
        client.simulcast = true;
        self.clients.push(client);
        self.collect(number);
        number
    }

    /// Adds a viewer on `worker`; returns its number.
    pub fn play(&mut self, worker: u16, stream: &str) -> usize {
        let (conn, number, local) = self.open(worker);
        self.clients.push(Client::viewer(conn, local, stream));
        self.collect(number);
        number
    }

    /// Adds a publisher on `worker` that opens a data channel; returns its number. `members` are
    /// added to its command.
    pub fn publish_data(&mut self, worker: u16, stream: &str, members: serde_json::Value) -> usize {
        let (conn, number, local) = self.open(worker);
        let client = Client::publisher(conn, local, stream, self.seed).with(members);
        self.clients.push(client.data_only());
        self.collect(number);
        number
    }

    /// A client sends over its data channel; false when its stack takes no more.
    pub fn send_data(&mut self, client: usize, message: &Message) -> bool {
        let sent = self.clients[client].send(self.now.instant, message);
        self.collect(client);
        sent
    }

    /// Forgets the data channel messages that clients received.
    pub fn forget_messages(&mut self) {
        for client in &mut self.clients {
            client.messages.clear();
        }
    }

    /// Delivers what a scenario had the directory do.
    pub fn tell_control(&mut self) {
        self.collect_control();
    }

    /// Adds a participant of a room on `worker`: over one WebSocket it publishes `stream` into the
    /// main track `room` and plays `room`. Returns the numbers of publisher and viewer.
    pub fn participate(&mut self, worker: u16, stream: &str, room: &str) -> (usize, usize) {
        self.participate_with(worker, stream, room, false)
    }

    /// As [`participate`](Self::participate), with video in several encodings.
    pub fn participate_simulcast(
        &mut self,
        worker: u16,
        stream: &str,
        room: &str,
    ) -> (usize, usize) {
        self.participate_with(worker, stream, room, true)
    }

    fn participate_with(
        &mut self,
        worker: u16,
        stream: &str,
        room: &str,
        simulcast: bool,
    ) -> (usize, usize) {
        let (conn, publisher, local) = self.open(worker);
        let seed = self.seed ^ (publisher as u64) << 32;
        let mut client = Client::participant(conn, local, stream, seed, room);
        client.simulcast = simulcast;
        self.clients.push(client);
        let (viewer, local) = self.connect_client();
        self.clients.push(Client::viewer(conn, local, room));
        self.collect(publisher);
        self.collect(viewer);
        (publisher, viewer)
    }

    fn open(&mut self, worker: u16) -> (ConnId, usize, SocketAddr) {
        let conn = self.open_conn(worker);
        let (number, local) = self.connect_client();
        (conn, number, local)
    }

    fn connect_client(&mut self) -> (usize, SocketAddr) {
        let number = self.network.connect();
        let [high, low] = (number as u16).to_be_bytes();
        let local = SocketAddr::from((Ipv4Addr::new(10, 0, high, low + 1), 4000));
        (number, local)
    }

    /// Opens a WebSocket to an engine, without a client behind it.
    pub fn open_conn(&mut self, worker: u16) -> ConnId {
        let serial = &mut self.conns[usize::from(worker)];
        let conn = ConnId {
            worker: WorkerId(worker),
            serial: *serial,
        };
        *serial += 1;
        let opened = ConnOpened {
            conn,
            app: self.control.app(),
            settings: self.control.settings(),
            client: Arc::default(),
        };
        let server = &mut self.servers[usize::from(worker)];
        server.engine.handle_conn_opened(self.now, opened);
        server.dirty = true;
        conn
    }

    /// The client's WebSocket goes away.
    pub fn close(&mut self, client: usize) {
        self.close_conn(self.clients[client].conn);
    }

    /// A WebSocket goes away.
    pub fn close_conn(&mut self, conn: ConnId) {
        let delay = self.text_delay(conn, true);
        self.schedule(delay, What::Close { conn });
    }

    /// How long a message of a WebSocket is under way, to the engine (`up`) or from it.
    fn text_delay(&mut self, conn: ConnId, up: bool) -> Duration {
        let delay = TEXT_DELAY + self.slow.get(&conn).copied().unwrap_or_default();
        let at = self.now.instant + delay;
        let last = self.last_texts.entry((conn, up)).or_insert(at);
        *last = at.max(*last);
        *last - self.now.instant
    }

    /// When what was said last over a WebSocket is heard by its engine.
    pub fn heard_at(&self, conn: ConnId) -> Instant {
        let last = self.last_texts.get(&(conn, true)).copied();
        last.unwrap_or(self.now.instant)
    }

    /// A client says something more.
    pub fn say(&mut self, client: usize, message: serde_json::Value) {
        self.clients[client].say(message);
        self.collect(client);
    }

    /// A WebSocket without a client says something.
    pub fn tell(&mut self, conn: ConnId, text: String) {
        let delay = self.text_delay(conn, true);
        self.schedule(delay, What::TextToEngine { conn, text });
    }

    /// Sets both directions of a client.
    pub fn set_links(&mut self, client: usize, up: Link, down: Link) {
        self.network.set(client, Direction::Up, up);
        self.network.set(client, Direction::Down, down);
    }

    /// From here on a client's datagrams go over a TCP connection; over another one if they did.
    pub fn open_tcp(&mut self, client: usize) {
        let serial = self.tcp_opened;
        self.tcp_opened += 1;
        let id = TcpId { slot: 7, serial };
        self.tcp.insert(self.clients[client].address(), id);
    }

    /// The TCP connection of a client closes, and its engine is told: what it sends goes by UDP.
    pub fn close_tcp(&mut self, client: usize) {
        let Client { conn, .. } = self.clients[client];
        let closed = self.tcp.remove(&self.clients[client].address());
        let (now, server) = (self.now, self.server(conn.worker));
        server.engine.handle_tcp_closed(now, closed.expect("open"));
        server.dirty = true;
    }

    /// A datagram from anywhere reaches an engine in its next turn.
    pub fn inject(&mut self, worker: usize, from: SocketAddr, datagram: &[u8]) {
        let datagram = datagram.to_vec();
        self.schedule(
            Duration::ZERO,
            What::ToEngine {
                worker,
                from,
                datagram,
            },
        );
    }

    /// Runs for `duration`.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now.instant + duration;
        while let Some(at) = self.next().filter(|at| *at <= end) {
            self.step(at);
        }
        self.advance(end);
    }

    /// Runs until `done`, at most for `most`; says whether it came to be.
    pub fn run_until(&mut self, most: Duration, done: impl Fn(&World) -> bool) -> bool {
        let end = self.now.instant + most;
        while !done(self) {
            let Some(at) = self.next().filter(|at| *at <= end) else {
                self.advance(end);
                return false;
            };
            self.step(at);
        }
        true
    }

    /// Runs until every client is heard to be connected.
    pub fn connect(&mut self) {
        let connected = self.run_until(Duration::from_secs(20), |world| {
            world.clients.iter().all(|client| {
                client.has_heard("publish_started") || client.has_heard("play_started")
            })
        });
        let stories: Vec<_> = self.clients.iter().map(Client::story).collect();
        assert!(
            connected,
            "not connected: {stories:?}, drops: {:?}",
            self.drops()
        );
    }

    /// Runs until those of `clients` are heard to be connected, others ended or not.
    pub fn connect_late(&mut self, clients: &[usize]) {
        let connected = self.run_until(Duration::from_secs(20), |world| {
            clients
                .iter()
                .map(|&client| &world.clients[client])
                .all(|client| {
                    client.has_heard("publish_started") || client.has_heard("play_started")
                })
        });
        assert!(connected, "not connected, drops: {:?}", self.drops());
    }

    /// Counters of one engine.
    pub fn counters(&self, worker: usize) -> Counters {
        self.servers[worker].engine.counters()
    }

    /// Packets dropped by all engines for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.servers
            .iter()
            .map(|s| s.engine.counters().dropped.get(reason))
            .sum()
    }

    /// Every reason that was counted, and how often.
    pub fn drops(&self) -> Vec<(DropReason, u64)> {
        let all = DropReason::ALL
            .into_iter()
            .map(|reason| (reason, self.dropped(reason)));
        all.filter(|(_, count)| *count > 0).collect()
    }

    fn next(&self) -> Option<Instant> {
        let arrival = self.agenda.next();
        let clients = self.clients.iter().filter_map(Client::poll_timeout).min();
        let engines = self
            .servers
            .iter()
            .filter_map(|s| s.engine.poll_timeout())
            .min();
        let turn = self
            .servers
            .iter()
            .any(|s| s.dirty)
            .then_some(self.now.instant);
        let due = [arrival, clients, engines, self.control.poll_timeout(), turn];
        due.into_iter()
            .flatten()
            .min()
            .map(|at| whole_us(at.max(self.now.instant)))
    }

    fn step(&mut self, at: Instant) {
        self.advance(at);
        while let Some(what) = self.agenda.take(at) {
            self.deliver(what);
        }
        for number in 0..self.clients.len() {
            if self.clients[number]
                .poll_timeout()
                .is_some_and(|due| due <= at)
            {
                self.clients[number].handle_timeout(at);
                self.collect(number);
            }
        }
        if self.control.poll_timeout().is_some_and(|due| due <= at) {
            self.control.handle_timeout(self.now);
            self.collect_control();
        }
        for worker in 0..self.servers.len() {
            self.turn(worker);
        }
    }

    fn advance(&mut self, at: Instant) {
        self.now = self
            .now
            .after(at.saturating_duration_since(self.now.instant));
    }

    fn deliver(&mut self, what: What) {
        let now = self.now;
        match what {
            What::ToEngine {
                worker,
                from,
                mut datagram,
            } => {
                let tcp = self.tcp.get(&from).copied();
                let route = Route {
                    tcp,
                    ..Route::udp(from, None)
                };
                let server = &mut self.servers[worker];
                server.engine.handle_datagram(now, route, &mut datagram);
                server.dirty = true;
            }
            What::ToClient {
                client,
                from,
                datagram,
            } => {
                self.clients[client].handle_datagram(now.instant, from, &datagram);
                self.collect(client);
            }
            What::TextToEngine { conn, text } => {
                let server = self.server(conn.worker);
                server.engine.handle_message(now, conn, &text);
                server.dirty = true;
            }
            What::TextToClient { client, text } => {
                self.clients[client].handle_text(now.instant, &text);
                self.collect(client);
            }
            What::Close { conn } => {
                let server = self.server(conn.worker);
                server.engine.handle_conn_closed(now, conn);
                server.dirty = true;
            }
            What::ToControl(mail) => {
                self.control.handle_mail(now, *mail);
                self.collect_control();
            }
            What::ToWorker(worker, mail) => {
                let server = self.server(worker);
                server.engine.handle_mail(now, mail);
                server.dirty = true;
            }
        }
    }

    fn server(&mut self, worker: WorkerId) -> &mut Server {
        &mut self.servers[usize::from(worker.0)]
    }

    /// What `worker/run.rs` does behind its receive step: forward, handshakes, timers, flush.
    fn turn(&mut self, worker: usize) {
        let now = self.now;
        let due = |server: &Server| {
            server
                .engine
                .poll_timeout()
                .is_some_and(|at| at <= now.instant)
        };
        if !self.servers[worker].dirty && !due(&self.servers[worker]) {
            return;
        }
        self.servers[worker].dirty = false;
        self.forward(worker);
        while self.servers[worker].engine.shake_hands(now) {}
        self.forward(worker);
        let mut rounds = 0;
        while due(&self.servers[worker]) {
            self.servers[worker].engine.handle_timeout(now);
            self.forward(worker);
            rounds += 1;
            assert!(
                rounds < 100,
                "the timers of engine {worker} do not come to rest"
            );
        }
        while let Some(mail) = self.servers[worker].engine.poll_mail() {
            self.post(worker, mail);
        }
        while let Some((conn, output)) = self.servers[worker].engine.poll_conn() {
            self.output(conn, output);
        }
    }

    fn forward(&mut self, worker: usize) {
        loop {
            let server = &mut self.servers[worker];
            let progress = server.engine.forward(self.now, &mut server.egress);
            self.assert_same_bytes(worker);
            self.send(worker);
            if progress == Progress::Done {
                return;
            }
        }
    }

    /// Puts what an engine wrote on the network.
    fn send(&mut self, worker: usize) {
        let Self {
            servers,
            network,
            agenda,
            strays,
            last_rtp,
            tcp,
            lost_with_tcp,
            now,
            ..
        } = self;
        let Server {
            egress,
            address: from,
            ..
        } = &mut servers[worker];
        for run in egress.runs() {
            if run.route.tcp != tcp.get(&run.route.remote).copied() {
                assert!(run.route.tcp.is_some(), "UDP to a client behind TCP");
                *lost_with_tcp += run.segments as u64;
                continue;
            }
            for datagram in egress.bytes_of(run).chunks(run.segment_len) {
                let Some(client) = network.client_at(run.route.remote) else {
                    strays.push((run.route.remote, datagram.to_vec()));
                    continue;
                };
                if classify(datagram) == Some(Protocol::Rtp) {
                    last_rtp.insert(client, now.instant);
                }
                for after in network.carry(now.instant, client, Direction::Down, datagram) {
                    let (from, datagram) = (*from, datagram.to_vec());
                    agenda.add(
                        *now,
                        after,
                        What::ToClient {
                            client,
                            from,
                            datagram,
                        },
                    );
                }
            }
        }
        egress.clear();
    }

    /// With AES-GCM, other bytes under the same number give the authentication key away (RFC 7714
    /// §8.4): no RTP packet is sent a second time unless it is the same.
    fn assert_same_bytes(&mut self, worker: usize) {
        let egress = &self.servers[worker].egress;
        for run in egress.runs() {
            for datagram in egress.bytes_of(run).chunks(run.segment_len) {
                if classify(datagram) != Some(Protocol::Rtp) {
                    continue;
                }
                let header = RtpHeader::parse(datagram).expect("our own");
                let source = (run.route.remote, header.ssrc);
                let numbers = self.numbers.entry(source).or_default();
                let number = numbers.peek(header.seq);
                numbers.record(number);
                let mut hasher = DefaultHasher::new();
                datagram.hash(&mut hasher);
                let sent = hasher.finish();
                let before = self.written.insert((source, number), sent);
                let is_same = before.is_none_or(|before| before == sent);
                assert!(is_same, "{number} of {source:?} was sent twice");
            }
        }
    }

    fn post(&mut self, worker: usize, mail: Outgoing) {
        match mail {
            Outgoing::Control(mail) => self.schedule(MAIL_DELAY, What::ToControl(mail)),
            Outgoing::Worker(to, mail) => {
                let now = self.now.instant;
                let server = &mut self.servers[worker];
                match &mail {
                    WorkerMail::RelayPackets(batch) => {
                        let track = batch.track.expect("a batch of a track");
                        server.relayed.push((now, track, to, batch.packets.len()));
                    }
                    WorkerMail::RelayKeyFrame { .. } => server.relayed_key_frames += 1,
                    _ => {}
                }
                self.schedule(MAIL_DELAY, What::ToWorker(to, mail));
            }
            Outgoing::Others(mail) => {
                let others = (0..self.servers.len()).filter(|other| *other != worker);
                for other in others.map(|other| WorkerId(other as u16)) {
                    self.schedule(MAIL_DELAY, What::ToWorker(other, mail.clone()));
                }
            }
        }
    }

    fn output(&mut self, conn: ConnId, output: ConnOutput) {
        let client = match &output {
            ConnOutput::Text(text) => self.listener(conn, text),
            ConnOutput::Close => None,
        };
        match (output, client) {
            (ConnOutput::Text(text), Some(client)) => {
                let delay = self.text_delay(conn, false);
                self.schedule(delay, What::TextToClient { client, text });
            }
            (ConnOutput::Text(text), None) => self.unheard.push((conn, text)),
            (ConnOutput::Close, _) => self.close_conn(conn),
        }
    }

    /// Who on a WebSocket a message is for: the client whose id it names, or else the first.
    fn listener(&self, conn: ConnId, text: &str) -> Option<usize> {
        let message: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let named = ["streamId", "mainTrack", "room"].map(|key| message[key].as_str());
        let named = named.into_iter().flatten().next();
        let on_conn = |client: &Client| client.conn == conn;
        let is_meant = |client: &Client| on_conn(client) && named == Some(&*client.stream);
        let meant = self.clients.iter().position(is_meant);
        meant.or_else(|| self.clients.iter().position(on_conn))
    }

    /// Puts what a client wants sent on its way.
    fn collect(&mut self, client: usize) {
        let conn = self.clients[client].conn;
        for text in std::mem::take(&mut self.clients[client].out.texts) {
            let delay = self.text_delay(conn, true);
            self.schedule(delay, What::TextToEngine { conn, text });
        }
        let from = self.network.public(client);
        for (to, datagram) in std::mem::take(&mut self.clients[client].out.datagrams) {
            if let Some(tape) = &mut self.clients[client].tape {
                tape.push(datagram.clone());
            }
            let Some(mut worker) = self.servers.iter().position(|s| s.address == to) else {
                continue;
            };
            if self.one_port {
                worker = (usize::from(conn.worker.0) + 1) % self.servers.len();
            }
            self.rtp_sent += u64::from(classify(&datagram) == Some(Protocol::Rtp));
            let now = self.now.instant;
            for after in self.network.carry(now, client, Direction::Up, &datagram) {
                let datagram = datagram.clone();
                self.schedule(
                    after,
                    What::ToEngine {
                        worker,
                        from,
                        datagram,
                    },
                );
            }
        }
    }

    fn collect_control(&mut self) {
        while let Some((worker, mail)) = self.control.poll_mail() {
            self.schedule(MAIL_DELAY, What::ToWorker(worker, mail));
        }
    }

    fn schedule(&mut self, after: Duration, what: What) {
        self.agenda.add(self.now, after, what);
    }
}

/// The instant at which every world begins.
pub fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant has no other constructor"
    )]
    *EPOCH.get_or_init(Instant::now)
}

/// One certificate for all worlds: making one costs more than a handshake.
fn certificate() -> Arc<Certificate> {
    static CERTIFICATE: OnceLock<Arc<Certificate>> = OnceLock::new();
    let make = || Arc::new(Certificate::generate().expect("a certificate"));
    CERTIFICATE.get_or_init(make).clone()
}

/// The wall clock of every world's beginning.
pub const EPOCH_UNIX_US: u64 = 1_760_000_000_000_000;

/// At most one turn per engine and this long.
pub const TURN: Duration = Duration::from_micros(500);

/// Between a client and its WebSocket's other end.
pub const TEXT_DELAY: Duration = Duration::from_millis(10);

/// Between threads.
pub const MAIL_DELAY: Duration = Duration::from_micros(100);

/// The next whole microsecond. Clients' own timers have fractions that differ from run to run, and
/// the wall clock, which counts microseconds, would lose each of them.
fn whole_us(at: Instant) -> Instant {
    let rest = at.duration_since(epoch()).subsec_nanos() % 1000;
    at + Duration::from_nanos(u64::from((1000 - rest) % 1000))
}
