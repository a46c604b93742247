//! Which layer each subscription is sent: what the player wants, what its path allows, and what is
//! published, looked at several times a second.
//!
//! An encoding is subscribed to like a track of its own, so that nobody pays for those that they
//! are not sent. While one takes over from another both are; the old one is left when the new
//! one's key frame came. Packets are picked in `router/select.rs`.

use std::time::Duration;

use smallvec::SmallVec;

use super::{ConnOutput, Engine};
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::ids::{ConnId, PeerId, TrackId, WorkerId};
use crate::base::limits::MAX_SCALABLE_LAYERS;
use crate::model::layers::{Layer, Layers, Priority, Target};
use crate::model::mail::{Outgoing, WorkerMail};
use crate::model::track::{StreamId, TrackInfo};
use crate::peer::journal::Note;
use crate::peer::layers::{Keys, Layered};
use crate::peer::subscriber::Sending;
use crate::peer::{Peer, Side};
use crate::router::select::Selector;
use crate::router::track::Track;
use crate::router::tracks::{TrackKey, Tracks};
use crate::signal::action::Role;
use crate::signal::reply::info;

impl Engine {
    /// Subscribes sending `at` of `peer` to its track, of several encodings to the one that it
    /// shall begin with.
    pub(super) fn start_sending(&mut self, now: Now, peer: PeerId, at: usize, info: &TrackInfo) {
        if info.encodings <= 1 {
            let key = self.subscribe(now, peer, at, info);
            if let Some(sending) = self.sending_mut(peer, at) {
                sending.begin_track(key);
            }
            self.tend_layers(now, peer);
            return;
        }
        let layers = self.tracks.layers(now.instant, info);
        let Some(sending) = self.sending_mut(peer, at) else {
            return;
        };
        let first = Layer {
            spatial: MAX_SCALABLE_LAYERS as u8 - 1,
            temporal: MAX_SCALABLE_LAYERS as u8 - 1,
            encoding: 0,
        };
        let wanted = sending.choice(&layers).unwrap_or(first);
        match &mut sending.layers {
            Some(layers) => {
                layers.forget();
                layers.is_whole = false;
                layers.selector.wanted = wanted;
            }
            None => {
                let selector = Selector::new(info.codec, wanted);
                sending.layers = Some(Box::new(Layered::new(selector)));
            }
        }
        sending.rewriter.reserve();
        self.subscribe_encoding(now, peer, at, info, wanted.encoding);
        self.tend_layers(now, peer);
    }

    /// Sets what the path of `peer` allows of its sending `at`.
    pub fn set_target(&mut self, now: Now, peer: PeerId, at: usize, target: Target) {
        let Some(sending) = self.sending_mut(peer, at) else {
            return;
        };
        if sending.target == target {
            return;
        }
        let (resumes, track) = (sending.set_target(target), sending.track);
        if let (true, Some(key)) = (resumes, track) {
            self.tracks.want_key_frame(now.instant, key);
        }
        self.tend_layers(now, peer);
    }

    /// Which videos matter more than others to a play.
    pub(super) fn set_priorities(
        &mut self,
        now: Now,
        conn: ConnId,
        stream: &str,
        videos: &[(TrackId, Priority)],
    ) {
        let is_meant = |&(role, peer): &(Role, PeerId)| {
            let peer = self.peers.get(peer).filter(|_| role == Role::Play);
            peer.is_some_and(|peer| *peer.stream == *stream)
        };
        let meant = self.peers_of(conn).find(is_meant);
        let Some((_, peer)) = meant else {
            return;
        };
        if let Some(subscriber) = self.subscriber_mut(peer) {
            subscriber.important = videos.to_vec();
        }
        self.tend_layers(now, peer);
    }

    /// A player wants at most so many rows of the video labelled `label`, or of all; 0: any.
    pub(super) fn force_quality(
        &mut self,
        now: Now,
        peer: PeerId,
        label: Option<&str>,
        height: u32,
    ) {
        let Some(Peer {
            stream,
            side: Side::Subscriber(subscriber),
            ..
        }) = self.peers.get_mut(peer)
        else {
            return;
        };
        let is_of = |sending: &Sending, label: &str| *sending.label == *label;
        // The broadcast played stands for all where it has no track of its own.
        let label = label.filter(|label| {
            let mut named = subscriber.sendings.iter().filter(|s| s.is_in_use());
            named.any(|s| is_of(s, label)) || **stream != **label
        });
        let label = label.map(StreamId::from);
        let (label, wishes) = (label.as_ref(), &mut subscriber.wishes);
        wishes.say(label, MediaKind::Video, |wish| wish.max_height = height);
        for sending in &mut subscriber.sendings {
            let is_meant = label.is_none_or(|label| is_of(sending, label));
            if is_meant && sending.is_in_use() && sending.info.kind == MediaKind::Video {
                sending.max_height = height;
            }
        }
        self.tend_layers(now, peer);
    }

    /// Looks at the layers of every video that `peer` is sent.
    pub(super) fn tend_layers(&mut self, now: Now, peer: PeerId) {
        self.allocate_layers(now, peer);
        let sendings = self.subscriber_mut(peer).map_or(0, |s| s.sendings.len());
        let mut tended = false;
        for at in 0..sendings {
            tended |= self.tend_sending(now, peer, at);
        }
        if let Some(subscriber) = self.subscriber_mut(peer) {
            subscriber.next_layers = tended.then_some(now.instant + PERIOD);
        }
        if tended {
            self.arm(peer, now.instant + PERIOD);
        }
    }

    /// True when sending `at` has layers to look after.
    fn tend_sending(&mut self, now: Now, peer: PeerId, at: usize) -> bool {
        let Some(Peer {
            conn,
            stream,
            side: Side::Subscriber(subscriber),
            journal,
            ..
        }) = self.peers.get_mut(peer)
        else {
            return false;
        };
        let Some(sending) = subscriber.sendings.get_mut(at).filter(|s| needs_care(s)) else {
            return false;
        };
        let layers = self.tracks.layers(now.instant, &sending.info);
        let Some(step) = step(now, &self.tracks, sending, &layers) else {
            // Layers may come, and so may room.
            return sending.max_height > 0 || sending.short_since.is_some();
        };
        if let Some(height) = step.shown {
            journal.note(now.instant, Note::Height(height));
            let text = info::resolution_change_info(stream, height.into());
            self.conn_outputs.push_back((*conn, ConnOutput::Text(text)));
        }
        let info = sending.info.clone();
        for key in step.left {
            self.unsubscribe_one(peer, at, key);
        }
        if let Some(encoding) = step.joins {
            self.subscribe_encoding(now, peer, at, &info, encoding);
        }
        if let Some(key) = step.key_frame {
            self.tracks.want_key_frame(now.instant, key);
        }
        true
    }

    fn subscribe_encoding(
        &mut self,
        now: Now,
        peer: PeerId,
        at: usize,
        info: &TrackInfo,
        encoding: u8,
    ) {
        let key = self.subscribe(now, peer, at, &info.of_encoding(encoding));
        let Some(sending) = self.sending_mut(peer, at) else {
            return;
        };
        sending.track = sending.track.or(key);
        if let (Some(layers), Some(key)) = (&mut sending.layers, key) {
            layers.subscribe(encoding, key);
        }
    }

    fn sending_mut(&mut self, peer: PeerId, at: usize) -> Option<&mut Sending> {
        self.subscriber_mut(peer)?.sendings.get_mut(at)
    }

    /// Tells other workers about the layers of a track of this one, if they have subscribers.
    pub(super) fn tell_layers(&mut self, now: Now, info: &TrackInfo) {
        let mut workers: SmallVec<[WorkerId; 4]> = SmallVec::new();
        for index in 0..info.encodings {
            let key = self.tracks.key(info.id.encoding(index));
            let track = key.and_then(|key| self.tracks.get(key));
            workers.extend(track.iter().flat_map(|t| t.relays.iter().copied()));
        }
        workers.sort_unstable();
        workers.dedup();
        let layers = match workers.is_empty() {
            true => Layers::default(),
            false => self.tracks.layers(now.instant, info),
        };
        let key = self.tracks.key(info.id);
        let track = key.and_then(|key| self.tracks.get_mut(key));
        // Who was told of several goes by what it was told, so it hears when one is left.
        let tells = track.is_some_and(|track| {
            track.tells_layers |= layers.len() > 1;
            track.tells_layers &= !workers.is_empty();
            track.tells_layers
        });
        if info.encodings > 1 || tells {
            for worker in workers {
                self.tell_layers_to(worker, info.id, layers.clone());
            }
        }
    }

    /// Tells one worker that begins to be sent an encoding about all of its track.
    pub(super) fn introduce_layers(&mut self, now: Now, encoding: TrackId, to: WorkerId) {
        let id = encoding.track();
        let key = self.tracks.key(id);
        let Some(publisher) = key.and_then(|key| self.tracks.get(key)?.publisher) else {
            return;
        };
        let Some(Side::Publisher(publisher)) = self.peers.get(publisher).map(|p| &p.side) else {
            return;
        };
        let infos = publisher.sections.iter();
        let mut infos = infos.filter_map(|section| section.track_info(&self.tracks));
        if let Some(info) = infos.find(|info| info.id == id && info.encodings > 1) {
            let layers = self.tracks.layers(now.instant, &info);
            self.tell_layers_to(to, id, layers);
        }
    }

    fn tell_layers_to(&mut self, worker: WorkerId, track: TrackId, layers: Layers) {
        let layers = Box::new(layers);
        let mail = WorkerMail::Layers { track, layers };
        self.mails.push_back(Outgoing::Worker(worker, mail));
    }
}

/// What is to be done about one subscription.
#[derive(Debug, Default)]
struct Step {
    /// Encodings that are not sent any more.
    left: Keys,
    /// The encoding that shall be sent from its next key frame on.
    joins: Option<u8>,
    /// What a key frame is wanted of.
    key_frame: Option<TrackKey>,
    /// The height of what is sent has changed to this.
    shown: Option<u16>,
}

/// Video that is sent by layers, or shall be.
fn needs_care(sending: &Sending) -> bool {
    let is_held_back = sending.max_height > 0
        || matches!(sending.target, Target::Upto(_))
        || sending.short_since.is_some();
    sending.is_in_use()
        && sending.info.kind == MediaKind::Video
        && sending.track.is_some()
        && (sending.is_layered() || is_held_back)
}

/// Settles what `sending` shall be sent; `None` when it is sent all there is.
fn step(now: Now, tracks: &Tracks, sending: &mut Sending, layers: &Layers) -> Option<Step> {
    let wanted = sending.choice(layers);
    if !sending.is_layered() {
        if layers.len() < 2 {
            return None;
        }
        let key = sending.track?;
        let everything = Layer {
            encoding: 0,
            ..wanted?
        };
        if let Some(state) = &mut sending.layers {
            state.is_whole = false;
        } else {
            let mut state = Layered::new(Selector::new(sending.info.codec, everything));
            state.subscribe(0, key);
            state.selector.take_over(&sending.rewriter);
            sending.layers = Some(Box::new(state));
        }
        sending.rewriter.reserve();
    }
    let flows = sending.rewriter.source().is_some();
    let flowing = sending.track.and_then(|key| tracks.get(key));
    let state = sending.layers.as_mut()?;
    if flows {
        let is_its = |track: &&Track| sending.rewriter.source() == Some(track.source);
        let clock = flowing.filter(is_its).and_then(|track| track.clock);
        state.selector.learn_clock(&sending.rewriter, clock);
    }
    if let Some(wanted) = wanted {
        state.selector.wanted = wanted;
    }
    let (wanted, current) = (state.selector.wanted, state.selector.current());
    let keeps = |encoding| encoding == wanted.encoding || flows && encoding == current.encoding;
    let mut step = Step {
        left: state.unsubscribe(keeps),
        ..Step::default()
    };
    if !sending.enabled {
        return Some(step);
    }
    match state.subscribed(wanted.encoding) {
        None => step.joins = Some(wanted.encoding),
        Some(key) => {
            let is_stopped = state.selector.is_stopped();
            let takes_over = !flows || is_stopped || wanted.encoding != current.encoding;
            let has_more = layers
                .iter()
                .any(|f| f.layer.encoding == current.encoding && f.layer.spatial > current.spatial);
            let climbs = wanted.spatial > current.spatial && has_more;
            let is_stuck = state.is_stuck(now.instant, layers);
            step.key_frame = (takes_over || climbs || is_stuck).then_some(key);
        }
    }
    let sent = layers
        .iter()
        .rev()
        .find(|f| f.layer.encoding == current.encoding && f.layer.spatial <= current.spatial);
    if let Some(sent) = sent.filter(|f| flows && f.height > 0) {
        let before = state.shown.replace(sent.height);
        step.shown = before
            .filter(|&before| before != sent.height)
            .map(|_| sent.height);
    }
    Some(step)
}

/// How often layers are looked at: a few frames.
const PERIOD: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::clock::tests::test_now;
    use crate::base::codec::Codec;
    use crate::base::ids::Pt;
    use crate::base::seq::RtpTime;
    use crate::engine::Config;
    use crate::model::layers::Marks;
    use crate::router::history::Stored;
    use crate::router::track::Track;
    use crate::transport::certificate::Certificate;

    fn store(track: &mut Track, now: Now, temporal: u8) {
        track.history.slot(now.instant, 100).unwrap();
        let stored = Stored {
            seq: 70_000 + track.history.end(),
            timestamp: RtpTime(0),
            len: 100,
            header_len: 12,
            transport_seq_at: 0,
            marks: Marks::new(false, true, 0, (0, temporal)),
        };
        track.store(now.instant, stored);
    }

    /// The number of layers that another worker is told of; `None` when it is told nothing.
    fn told(engine: &mut Engine, now: Now, info: &TrackInfo) -> Option<usize> {
        engine.tell_layers(now, info);
        let mails = std::mem::take(&mut engine.mails).into_iter();
        let told = mails.filter_map(|mail| {
            let Outgoing::Worker(_, WorkerMail::Layers { layers, .. }) = mail else {
                return None;
            };
            Some(layers.len())
        });
        told.last()
    }

    #[test]
    fn who_was_told_of_several_layers_hears_when_one_is_left() {
        let mut engine = Engine::new(Config {
            worker: WorkerId(0),
            candidates: Vec::new(),
            tcp_candidates: Vec::new(),
            port_shared_by: 1,
            seed: [0; 32],
            even_lengths: true,
            certificate: Arc::new(Certificate::generate().unwrap()),
        });
        let info = TrackInfo {
            id: TrackId {
                origin: WorkerId(0),
                serial: 0,
            },
            kind: MediaKind::Video,
            codec: Codec::Vp9,
            fmtp: "".into(),
            pt: Pt(96),
            rtx_pt: None,
            red: false,
            encodings: 1,
        };
        let mut now = test_now();
        let mut track = Track::new(info.clone());
        track.relays.push(WorkerId(1));
        let key = engine.tracks.insert(track);
        let mut run = |engine: &mut Engine, temporals: &[u8], ms: u32| {
            for _ in 0..ms / 100 {
                now = now.after(Duration::from_millis(100));
                let track = engine.tracks.get_mut(key).unwrap();
                temporals.iter().for_each(|&t| store(track, now, t));
            }
            told(engine, now, &info)
        };
        assert_eq!(
            run(&mut engine, &[0], 1000),
            None,
            "it sees that for itself"
        );
        assert_eq!(run(&mut engine, &[0, 1], 1000), Some(2));
        assert_eq!(run(&mut engine, &[0], 2000), Some(1));
        assert_eq!(
            run(&mut engine, &[0], 1000),
            Some(1),
            "its bits change still"
        );
        engine.tracks.get_mut(key).unwrap().relays.clear();
        assert_eq!(run(&mut engine, &[0], 1000), None);
        engine.tracks.get_mut(key).unwrap().relays.push(WorkerId(2));
        assert_eq!(
            run(&mut engine, &[0], 1000),
            None,
            "another was told nothing"
        );
    }
}
