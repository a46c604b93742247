//! Data channels: who receives what a client sends, on this worker and on the others.
//!
//! Messages pass as they are (text or binary, whole, in the order of their sender). Towards peers
//! of this worker there is back-pressure: while a receiver's backlog is long, its sender is not
//! read, and SCTP makes it wait. A receiver on another worker that cannot keep up goes without
//! some messages; so does one that is slow for longer than a peer is waited for.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tracing::info;

use super::{Engine, Progress};
use crate::base::clock::Now;
use crate::base::egress::Egress;
use crate::base::ids::{ConnId, PeerId};
use crate::base::limits::{MAX_DATA_RELAYED, MAX_DATA_RELAYED_LEN};
use crate::datachannel::{DataChannels, DataEvent, Remote};
use crate::model::data::{DataMessage, DataRelay, DataTarget, DataTargets};
use crate::model::mail::{AppName, ControlMail, Outgoing, WorkerMail};
use crate::model::settings::DataDistribution;
use crate::model::track::StreamId;
use crate::peer::{Peer, Side};
use crate::sdp::answer::DataSection;

/// What an engine knows of data channels besides the peers' own.
#[derive(Debug, Default)]
pub(super) struct DataPlane {
    groups: HashMap<(AppName, StreamId), Group>,
    /// Where each peer with data channels is in `groups`.
    memberships: HashMap<PeerId, Membership>,
    /// Peers that may have packets to write.
    ready: BTreeSet<PeerId>,
    /// Senders that are not read until those who receive have caught up.
    waiting: BTreeSet<PeerId>,
    /// When they are looked at again, whatever happens.
    look_at: Option<Instant>,
    /// A receiver has caught up since they were looked at.
    relieved: bool,
    /// Messages that others may still hold.
    relayed: VecDeque<Arc<DataRelay>>,
    relayed_len: usize,
    /// Receivers of the message at hand.
    receivers: Vec<PeerId>,
}

/// The peers with data channels in one broadcast or room.
#[derive(Debug, Default)]
struct Group {
    publishers: Vec<PeerId>,
    players: Vec<PeerId>,
}

#[derive(Clone, Debug)]
struct Membership {
    app: AppName,
    targets: DataTargets,
}

impl DataPlane {
    fn join(&mut self, peer: PeerId, app: &AppName, targets: DataTargets) {
        for target in &targets {
            let (stream, plays) = match target {
                DataTarget::Publishers(stream) => (stream, false),
                DataTarget::Players(stream) => (stream, true),
            };
            let group = self.groups.entry((app.clone(), stream.clone()));
            let group = group.or_default();
            let peers = if plays {
                &mut group.players
            } else {
                &mut group.publishers
            };
            peers.push(peer);
        }
        let app = app.clone();
        self.memberships.insert(peer, Membership { app, targets });
    }

    fn leave(&mut self, peer: PeerId) {
        let Some(Membership { app, targets }) = self.memberships.remove(&peer) else {
            return;
        };
        for target in targets {
            let (DataTarget::Publishers(stream) | DataTarget::Players(stream)) = target;
            let key = (app.clone(), stream);
            if let Some(group) = self.groups.get_mut(&key) {
                group.publishers.retain(|id| *id != peer);
                group.players.retain(|id| *id != peer);
                if group.publishers.is_empty() && group.players.is_empty() {
                    self.groups.remove(&key);
                }
            }
        }
    }

    /// Lists who is in `to`, each once.
    fn find(&self, app: &AppName, to: &[DataTarget], receivers: &mut Vec<PeerId>) {
        receivers.clear();
        for target in to {
            let (DataTarget::Publishers(stream) | DataTarget::Players(stream)) = target;
            let Some(group) = self.groups.get(&(app.clone(), stream.clone())) else {
                continue;
            };
            receivers.extend(match target {
                DataTarget::Publishers(_) => &group.publishers,
                DataTarget::Players(_) => &group.players,
            });
        }
        receivers.sort_unstable();
        receivers.dedup();
    }

    /// Remembers a message that is on its way to other threads.
    fn note_relayed(&mut self, relay: &Arc<DataRelay>) {
        self.relayed_len += relay.message.bytes.len();
        self.relayed.push_back(relay.clone());
    }

    /// True while other threads hold as much as they may.
    fn is_congested(&mut self) -> bool {
        while let Some(oldest) = self.relayed.front()
            && Arc::strong_count(oldest) == 1
        {
            self.relayed_len -= oldest.message.bytes.len();
            self.relayed.pop_front();
        }
        if !self.has_too_many() {
            return false;
        }
        // Workers let go in order; control keeps some for long, for a web hook that is slow. What
        // is behind one of those was handed over all the same.
        let relayed_len = &mut self.relayed_len;
        self.relayed.retain(|relay| {
            let is_held = Arc::strong_count(relay) > 1;
            if !is_held {
                *relayed_len -= relay.message.bytes.len();
            }
            is_held
        });
        self.has_too_many()
    }

    fn has_too_many(&self) -> bool {
        self.relayed_len > MAX_DATA_RELAYED_LEN || self.relayed.len() > MAX_DATA_RELAYED
    }

    fn mark_ready(&mut self, peer: PeerId) {
        self.ready.insert(peer);
    }
}

impl Engine {
    /// Data channels were negotiated with a peer, now or before.
    pub(super) fn add_data(&mut self, now: Now, id: PeerId, section: Option<&DataSection>) {
        let (Some(section), Some(peer)) = (section, self.peers.get_mut(id)) else {
            return;
        };
        if peer.data.is_some() {
            return;
        }
        let mut data = DataChannels::new(Remote {
            port: section.sctp_port,
            max_message_len: section.max_message_size,
        });
        let (conn, stream) = (peer.conn, peer.stream.clone());
        let plays = matches!(peer.side, Side::Subscriber(_));
        // INTEROP(antmedia js): its player listens and opens none of its own.
        if plays {
            data.open(now.instant, &stream);
        }
        peer.data = Some(Box::new(data));
        let is_connected = peer.transport.is_connected();
        let targets = match plays {
            true => DataTargets::from_iter([DataTarget::Players(stream)]),
            false => self.publisher_targets(conn, &stream),
        };
        if let Some(app) = self.app_of(conn) {
            self.data.join(id, &app, targets);
        }
        if is_connected {
            self.start_data(now, id);
        }
    }

    /// DTLS of a peer is up.
    pub(super) fn start_data(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if let Some(data) = &mut peer.data {
            data.start(now.instant);
            let due = peer.poll_timeout(now);
            self.arm(id, due);
        }
    }

    /// A peer is gone.
    pub(super) fn drop_data(&mut self, id: PeerId) {
        self.data.leave(id);
        self.data.ready.remove(&id);
        self.data.waiting.remove(&id);
        // Others may have waited for it.
        self.data.relieved = true;
    }

    /// A publish belongs to another room: who speaks to whom changes with it.
    pub(super) fn move_data(&mut self, conn: ConnId, stream: &StreamId) {
        use crate::signal::action::Role;
        let Some(id) = self.held(conn, Role::Publish, stream) else {
            return;
        };
        if let Some(app) = self.app_of(conn)
            && self.data.memberships.contains_key(&id)
        {
            self.data.leave(id);
            let targets = self.publisher_targets(conn, stream);
            self.data.join(id, &app, targets);
        }
    }

    /// Where a publisher hears what is said to publishers.
    fn publisher_targets(&self, conn: ConnId, stream: &StreamId) -> DataTargets {
        let streams = [Some(stream), self.room_of(conn, stream)];
        let streams = streams.into_iter().flatten().cloned();
        streams.map(DataTarget::Publishers).collect()
    }

    fn room_of(&self, conn: ConnId, stream: &StreamId) -> Option<&StreamId> {
        self.conns.get(&conn)?.room_of(stream)
    }

    /// Takes the SCTP packets that a DTLS record held.
    pub(super) fn accept_data(&mut self, now: Now, id: PeerId) {
        let Some(Peer {
            transport, data, ..
        }) = self.peers.get_mut(id)
        else {
            return;
        };
        let mut came = false;
        let was_pressed = data.as_ref().is_some_and(|d| d.is_pressed(now.instant));
        while let Some(packet) = transport.take_data() {
            // Without an m-line for it: nobody's.
            let Some(data) = data else { continue };
            data.handle_packet(now.instant, packet);
            came = true;
        }
        if came {
            let is_pressed = data.as_ref().is_some_and(|d| d.is_pressed(now.instant));
            self.data.relieved |= was_pressed && !is_pressed;
            self.data.mark_ready(id);
            self.read_unless_waiting(now, id);
        }
    }

    /// Runs the SCTP timers of a peer.
    pub(super) fn run_data_timers(&mut self, now: Now, id: PeerId) {
        let Some(data) = self.peers.get_mut(id).and_then(|peer| peer.data.as_mut()) else {
            return;
        };
        if data.poll_timeout().is_some_and(|due| due <= now.instant) {
            data.handle_timeout(now.instant);
            self.data.mark_ready(id);
            self.read_unless_waiting(now, id);
        }
    }

    /// A sender that waits is read when all are looked at again: looking costs as much as it has
    /// receivers.
    fn read_unless_waiting(&mut self, now: Now, id: PeerId) {
        if !self.data.waiting.contains(&id) {
            self.read_data(now, id);
        }
    }

    /// Passes on what a peer has sent, as long as those who receive it keep up.
    fn read_data(&mut self, now: Now, id: PeerId) {
        let has_events = |engine: &Self| {
            let data = engine.peers.get(id).and_then(|peer| peer.data.as_ref());
            data.is_some_and(|data| data.has_events())
        };
        while has_events(self) {
            let Some((app, stream, conn, to)) = self.audience(id) else {
                return;
            };
            if self.must_wait(now, &app, conn, &to) {
                self.data.waiting.insert(id);
                let look_at = now.instant + LOOK_AGAIN;
                self.data.look_at.get_or_insert(look_at);
                self.arm(id, look_at);
                return;
            }
            let data = self.peers.get_mut(id).and_then(|peer| peer.data.as_mut());
            match data.and_then(|data| data.poll_event(now.instant)) {
                Some(DataEvent::Message(message)) => {
                    self.counters.data_received += 1;
                    let relay = Arc::new(DataRelay {
                        app,
                        stream,
                        from: Some(conn),
                        to,
                        message,
                    });
                    self.distribute(now, &relay);
                }
                Some(DataEvent::Opened) => {}
                Some(DataEvent::Lost) => info!(%stream, "data channels ended"),
                None => return,
            }
        }
    }

    /// Whom a peer's messages are for.
    fn audience(&self, id: PeerId) -> Option<(AppName, StreamId, ConnId, DataTargets)> {
        let peer = self.peers.get(id)?;
        let conn = self.conns.get(&peer.conn)?;
        let stream = peer.stream.clone();
        let is_player = matches!(peer.side, Side::Subscriber(_));
        let to = if is_player {
            let distribution = conn.settings().data_channel_player_distribution;
            from_player(&stream, distribution)
        } else {
            from_publisher(&stream, conn.room_of(&stream))
        };
        Some((conn.app().clone(), stream, peer.conn, to))
    }

    /// True when a sender does well to wait for a receiver, or for other threads.
    fn must_wait(&mut self, now: Now, app: &AppName, from: ConnId, to: &[DataTarget]) -> bool {
        if self.data.is_congested() {
            return true;
        }
        let mut receivers = std::mem::take(&mut self.data.receivers);
        self.data.find(app, to, &mut receivers);
        let waits = receivers.iter().any(|id| {
            let peer = self.peers.get(*id).filter(|peer| peer.conn != from);
            let data = peer.and_then(|peer| peer.data.as_ref());
            data.is_some_and(|data| data.is_pressed(now.instant))
        });
        self.data.receivers = receivers;
        waits
    }

    /// A message of a client: to its receivers here, on other workers, and to the web hook.
    fn distribute(&mut self, now: Now, relay: &Arc<DataRelay>) {
        self.deliver_data(now, relay);
        if !relay.to.is_empty() {
            self.data.note_relayed(relay);
            let mail = WorkerMail::Data(relay.clone());
            self.mails.push_back(Outgoing::Others(mail));
        }
        let conn = relay.from.and_then(|conn| self.conns.get(&conn));
        if conn.is_some_and(|conn| !conn.settings().data_channel_web_hook_url.is_empty()) {
            if relay.to.is_empty() {
                self.data.note_relayed(relay);
            }
            self.mail_control(ControlMail::DataMessage(relay.clone()));
        }
    }

    /// Queues a message for those of its receivers that are on this worker.
    pub(super) fn deliver_data(&mut self, now: Now, relay: &DataRelay) {
        let mut receivers = std::mem::take(&mut self.data.receivers);
        self.data.find(&relay.app, &relay.to, &mut receivers);
        for id in &receivers {
            let from = self.peers.get(*id).map(|peer| peer.conn);
            if from != relay.from {
                self.send_data(now, *id, &relay.message);
            }
        }
        self.data.receivers = receivers;
    }

    /// Queues a message of the server itself for one client.
    pub(super) fn send_data_event(
        &mut self,
        now: Now,
        conn: ConnId,
        stream: &StreamId,
        message: &DataMessage,
    ) {
        use crate::signal::action::Role;
        let play = self.held(conn, Role::Play, stream);
        if let Some(id) = play.or_else(|| self.held(conn, Role::Publish, stream)) {
            self.send_data(now, id, message);
        }
    }

    fn send_data(&mut self, now: Now, id: PeerId, message: &DataMessage) {
        let Some(data) = self.peers.get_mut(id).and_then(|peer| peer.data.as_mut()) else {
            return;
        };
        match data.send(now.instant, message) {
            Ok(()) => {
                self.counters.data_sent += 1;
                self.data.mark_ready(id);
            }
            Err(_) => self.counters.data_dropped += 1,
        }
    }

    /// Reads those who waited, when a receiver has caught up or a while has passed.
    fn look_again(&mut self, now: Now) {
        let is_due = self.data.look_at.is_some_and(|at| at <= now.instant);
        if is_due || self.data.relieved {
            self.data.relieved = false;
            self.data.look_at = None;
            for id in std::mem::take(&mut self.data.waiting) {
                self.read_data(now, id);
                // Its sender is to hear of the room that this made.
                self.data.mark_ready(id);
            }
        }
    }

    /// Writes the SCTP packets of every peer that has some, and reads on where it had to wait.
    pub(super) fn forward_data(&mut self, now: Now, egress: &mut Egress) -> Progress {
        self.look_again(now);
        while let Some(&id) = self.data.ready.first() {
            if let Some(Peer {
                transport,
                data: Some(data),
                ..
            }) = self.peers.get_mut(id)
            {
                loop {
                    if !egress.has_room_for(ROOM) {
                        return Progress::EgressFull;
                    }
                    let Some(packet) = data.poll_transmit(now.instant) else {
                        break;
                    };
                    if let Err(reason) = transport.send_data(&packet, egress) {
                        self.counters.dropped.count(reason);
                    }
                }
            }
            self.data.ready.remove(&id);
            if let Some(due) = self.peers.get(id).map(|peer| peer.poll_timeout(now)) {
                self.arm(id, due);
            }
        }
        Progress::Done
    }
}

/// A publisher speaks to everybody who plays its broadcast, by itself or as part of a room.
fn from_publisher(stream: &StreamId, main_track: Option<&StreamId>) -> DataTargets {
    let streams = [Some(stream), main_track].into_iter().flatten();
    streams.cloned().map(DataTarget::Players).collect()
}

/// A player speaks to those whom the application lets it speak to.
fn from_player(stream: &StreamId, distribution: DataDistribution) -> DataTargets {
    let publishers = DataTarget::Publishers(stream.clone());
    match distribution {
        DataDistribution::All => {
            SmallVec::from_iter([publishers, DataTarget::Players(stream.clone())])
        }
        DataDistribution::Publisher => SmallVec::from_iter([publishers]),
        DataDistribution::None => SmallVec::new(),
    }
}

/// Datagrams that one SCTP packet becomes at most: a DTLS alert may come with it.
const ROOM: usize = 2;

/// How long a sender that waits is left alone, when nothing else happens.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn relay() -> Arc<DataRelay> {
        Arc::new(DataRelay {
            app: AppName::from("live"),
            stream: StreamId::from("call"),
            from: None,
            to: DataTargets::new(),
            message: DataMessage::text("hello"),
        })
    }

    #[test]
    fn a_message_that_a_web_hook_waits_for_does_not_count_those_behind_it() {
        let mut plane = DataPlane::default();
        let slow = relay();
        plane.note_relayed(&slow);
        for _ in 0..3 * MAX_DATA_RELAYED {
            plane.note_relayed(&relay());
            assert!(!plane.is_congested());
        }
        let held: Vec<_> = (0..=MAX_DATA_RELAYED).map(|_| relay()).collect();
        held.iter().for_each(|relay| plane.note_relayed(relay));
        assert!(plane.is_congested());
        drop(held);
        assert!(!plane.is_congested());
        assert_eq!(plane.relayed_len, slow.message.bytes.len());
    }
}
