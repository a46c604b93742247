//! A subscription to a track with layers: its encodings, which of them it is sent, which layers
//! of that, and what the player was told.
//!
//! Made for tracks with several encodings when they are subscribed to, for others when something
//! is to be left out for the first time, and where a source begins that brings dependency
//! descriptors. `engine/layers.rs` decides and subscribes.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::subscriber::Sending;
use crate::base::extension::ExtensionKind;
use crate::base::fault::DropReason;
use crate::base::limits::{MAX_DATAGRAM_LEN, MAX_ENCODINGS, MAX_SCALABLE_LAYERS};
use crate::model::layers::{Layer, LayerFigures, Target, choose};
use crate::router::history::Entry;
use crate::router::rewrite::{Origin, Patch};
use crate::router::select::{self, Incoming, Placed, Selector};
use crate::router::track::Track;
use crate::router::tracks::{TrackKey, Tracks};
use crate::rtp::canonical;

/// Tracks of one subscription.
pub type Keys = SmallVec<[TrackKey; 2]>;

/// The layer state of a subscription.
#[derive(Debug)]
pub struct Layered {
    /// Picks packets.
    pub selector: Selector,
    /// True while nothing is to be left out: it is there to let frame numbers go on from one
    /// source to the next.
    pub is_whole: bool,
    /// Where its encodings are in this worker's table, as far as they were subscribed to.
    encodings: [Option<Place>; MAX_ENCODINGS],
    /// Height of what is sent, in pixels, as the player knows it; `None` before the first.
    pub shown: Option<u16>,
    /// Since when a temporal layer has been wanted that is published and not sent.
    slow_since: Option<Instant>,
}

/// An encoding of a subscription.
#[derive(Clone, Copy, Debug)]
struct Place {
    track: TrackKey,
    subscribed: bool,
}

impl Layered {
    /// State that begins with `wanted`.
    pub fn new(selector: Selector) -> Self {
        Self {
            selector,
            is_whole: false,
            encodings: [None; MAX_ENCODINGS],
            shown: None,
            slow_since: None,
        }
    }

    /// True when a temporal layer of what flows is wanted, is among `layers`, and was not joined
    /// for so long that only a key frame helps: some publishers never say where one can switch up.
    pub fn is_stuck(&mut self, now: Instant, layers: &[LayerFigures]) -> bool {
        let (wanted, current) = (self.selector.wanted, self.selector.current());
        let is_missed = |layer: Layer| {
            let temporals = current.temporal + 1..=wanted.temporal;
            layer.encoding == current.encoding && temporals.contains(&layer.temporal)
        };
        let is_slow = wanted.encoding == current.encoding
            && layers.iter().any(|figures| is_missed(figures.layer));
        if !is_slow {
            self.slow_since = None;
            return false;
        }
        let since = *self.slow_since.get_or_insert(now);
        now.saturating_duration_since(since) >= MAX_SLOW
    }

    /// The track of an encoding that is subscribed to.
    pub fn subscribed(&self, encoding: u8) -> Option<TrackKey> {
        let place = self.encodings.get(usize::from(encoding)).copied()?;
        place
            .filter(|place| place.subscribed)
            .map(|place| place.track)
    }

    /// An encoding was subscribed to.
    pub fn subscribe(&mut self, encoding: u8, track: TrackKey) {
        if let Some(place) = self.encodings.get_mut(usize::from(encoding)) {
            let subscribed = true;
            *place = Some(Place { track, subscribed });
        }
    }

    /// Ends the subscriptions to all encodings for which `keep` is false; returns their tracks,
    /// which are remembered for what is asked for again.
    pub fn unsubscribe(&mut self, keep: impl Fn(u8) -> bool) -> Keys {
        let mut ended = Keys::new();
        for (encoding, place) in (0..).zip(&mut self.encodings) {
            if let Some(place) = place.as_mut().filter(|p| p.subscribed && !keep(encoding)) {
                place.subscribed = false;
                ended.push(place.track);
            }
        }
        ended
    }

    /// Forgets the encodings of a track that another one takes the place of.
    pub fn forget(&mut self) {
        self.encodings = [None; MAX_ENCODINGS];
    }

    fn track(&self, encoding: u8) -> Option<TrackKey> {
        let place = self.encodings.get(usize::from(encoding)).copied()?;
        place.map(|place| place.track)
    }
}

impl Sending {
    /// True when something of its track is left out, or may be.
    pub fn is_layered(&self) -> bool {
        self.layers.as_ref().is_some_and(|layers| !layers.is_whole)
    }

    /// Begins to be sent everything of the single encoding at `track`: what is left out of it is
    /// decided anew. Where frames had numbers, those of its frames follow.
    pub fn begin_track(&mut self, track: Option<TrackKey>) {
        self.track = track;
        self.layers = self.layers.take().filter(|l| l.selector.has_numbers());
        if let Some(layers) = &mut self.layers {
            layers.forget();
            layers.is_whole = true;
            layers.shown = None;
            layers.selector.restart(0);
            if let Some(track) = track {
                layers.subscribe(0, track);
            }
        }
    }

    /// Lets the frame numbers of the source that begins with `packet` go on in those that follow
    /// it, if it has any; false when it has none. Allocates once per subscription.
    pub(super) fn carry_numbers(&mut self, packet: &[u8]) -> bool {
        let numbers = canonical::element_at(packet, ExtensionKind::DependencyDescriptor);
        let Some(key) = self.track.filter(|_| numbers.is_some()) else {
            return false;
        };
        let mut layers = Layered::new(Selector::whole(self.info.codec, 0));
        layers.is_whole = true;
        layers.subscribe(0, key);
        self.layers = Some(Box::new(layers));
        true
    }

    /// What it is subscribed to.
    pub fn subscribed(&self) -> Keys {
        match &self.layers {
            None => self.track.into_iter().collect(),
            Some(layers) => {
                let all = 0..MAX_ENCODINGS as u8;
                all.filter_map(|encoding| layers.subscribed(encoding))
                    .collect()
            }
        }
    }

    /// Forgets what it is subscribed to, and returns that.
    pub fn let_go(&mut self) -> Keys {
        let keys = self.subscribed();
        self.track = None;
        if let Some(layers) = &mut self.layers {
            layers.forget();
        }
        keys
    }

    /// The layer that it shall be sent of `layers`, which are all that is published; `None` when
    /// it shall be sent nothing. Where nothing holds it back, layers that come up later are meant
    /// too.
    pub fn choice(&self, layers: &[LayerFigures]) -> Option<Layer> {
        let best = choose(layers, self.target, self.max_height)?;
        let open = self.target == Target::Best && self.max_height == 0;
        Some(match open {
            true => Layer {
                spatial: MAX_SCALABLE_LAYERS as u8 - 1,
                temporal: MAX_SCALABLE_LAYERS as u8 - 1,
                ..best.layer
            },
            false => best.layer,
        })
    }

    /// The layers that flow, where some may be left out; `None` while nothing does.
    pub fn flowing(&self) -> Option<Layer> {
        let layers = self.layers.as_ref().filter(|layers| !layers.is_whole)?;
        let flows = self.rewriter.source().is_some() && !layers.selector.is_stopped();
        flows.then(|| layers.selector.current())
    }

    /// Stops what flows; another encoding has to take over.
    pub fn stop_encoding(&mut self) {
        if let Some(layers) = &mut self.layers {
            layers.selector.stop();
        }
    }

    /// True when what was sent of `source` is of no use any more: another encoding has taken over,
    /// or shall.
    pub(super) fn is_left(&self, source: u32) -> bool {
        let is_stopped = self
            .layers
            .as_ref()
            .is_some_and(|l| l.selector.is_stopped());
        is_stopped || self.layers.is_some() && self.rewriter.source() != Some(source)
    }

    /// The track that a packet of `source` was sent of.
    pub(super) fn sent_track<'a>(&self, tracks: &'a Tracks, source: u32) -> Option<&'a Track> {
        let is_it = |key| {
            tracks
                .get(key)
                .filter(|track: &&Track| track.source == source)
        };
        match &self.layers {
            None => is_it(self.track?),
            Some(layers) => {
                let mut all = layers.encodings.iter().flatten();
                all.find_map(|place| is_it(place.track))
            }
        }
    }

    /// Where a packet of a layered track goes.
    pub(super) fn place_layered(
        &mut self,
        track: &Track,
        entry: &Entry,
        packet: &[u8],
    ) -> Result<Placed, DropReason> {
        let elapsed_ticks = self.ticks_since_last(entry);
        let layers = self.layers.as_mut().ok_or(DropReason::NotSelected)?;
        let incoming = Incoming {
            encoding: track.info.id.encoding_index(),
            source: track.source,
            // Of one encoding, a source that follows is another publisher's clock.
            clock: track.clock.filter(|_| !layers.is_whole),
            entry,
            packet,
            elapsed_ticks,
        };
        let placed = layers.selector.select(&mut self.rewriter, &incoming)?;
        self.track = layers.track(incoming.encoding);
        Ok(placed)
    }

    /// Changes a packet of a layered track in `slot`, whose payload is at `from.0` and ends at
    /// `from.1`; returns where it ends then.
    pub(super) fn patch(
        &self,
        slot: &mut [u8; MAX_DATAGRAM_LEN],
        patch: Patch,
        entry: &Entry,
        from: (usize, usize),
    ) -> usize {
        let (payload_at, end) = from;
        let packet = slot.get_mut(..end).unwrap_or_default();
        select::apply(patch, self.info.codec, packet, payload_at, entry.marks);
        if patch.takes(entry.marks) {
            end
        } else {
            payload_at
        }
    }

    /// The same for a packet that is sent again, whose header has `ends.0` bytes.
    pub(super) fn patch_again(
        &self,
        slot: &mut [u8; MAX_DATAGRAM_LEN],
        origin: &Origin,
        entry: &Entry,
        ends: (usize, usize),
    ) -> usize {
        let (header_len, end) = ends;
        // Behind the header an RTX packet has its OSN.
        let payload_at = header_len + end - usize::from(entry.len);
        let patch = origin.patch(entry.timestamp);
        self.patch(slot, patch, entry, (payload_at, end))
    }
}

/// Longer than the lowest temporal layer's frames of a slow screen share are apart, which say that
/// one can switch up.
const MAX_SLOW: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;
    use crate::base::codec::Codec;
    use crate::base::seq::RtpTime;
    use crate::model::layers::Marks;
    use crate::router::history::{History, Stored};
    use crate::router::rewrite::Rewriter;

    fn layer(temporal: u8) -> Layer {
        Layer {
            temporal,
            ..Layer::default()
        }
    }

    fn figures(temporal: u8) -> LayerFigures {
        LayerFigures {
            layer: layer(temporal),
            bps: 0,
            wire_bps: 0,
            width: 0,
            height: 0,
            frames_per_s: 0,
        }
    }

    #[test]
    fn a_layer_that_no_frame_lets_one_join_is_missed_after_a_while() {
        let start = test_now().instant;
        let mut history = History::new(2, 4000);
        history.slot(start, 100).unwrap();
        let stored = Stored {
            seq: 70_000,
            timestamp: RtpTime(0),
            len: 100,
            header_len: 12,
            transport_seq_at: 0,
            marks: Marks::base(true),
        };
        history.push(start, stored);
        let (entry, packet) = history.at(0).unwrap();
        let incoming = Incoming {
            encoding: 0,
            source: 0,
            clock: None,
            entry,
            packet,
            elapsed_ticks: 0,
        };
        let mut layered = Layered::new(Selector::new(Codec::Vp9, layer(0)));
        let mut rewriter = Rewriter::new(70_000);
        layered.selector.select(&mut rewriter, &incoming).unwrap();
        let (two, three) = ([figures(0), figures(1)], [figures(0), figures(2)]);
        let at = |ms| start + Duration::from_millis(ms);
        assert!(
            !layered.is_stuck(at(0), &two) && !layered.is_stuck(at(5000), &two),
            "not wanted"
        );
        layered.selector.wanted = layer(1);
        assert!(!layered.is_stuck(at(5000), &two) && !layered.is_stuck(at(6999), &two));
        assert!(layered.is_stuck(at(7000), &two), "for two seconds");
        assert!(
            !layered.is_stuck(at(7200), &three),
            "what is wanted is gone"
        );
        assert!(!layered.is_stuck(at(7400), &two), "it came back");
        assert!(layered.is_stuck(at(9400), &two));
    }
}
