//! Switches: a player or a publisher turns tracks off and on without another offer.
//!
//! A player's switch acts on its own sendings. A publisher's acts on the tracks themselves; it
//! comes by way of control, which keeps it for a publisher that returns. Called by
//! `signalling.rs`.

use super::Engine;
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::ids::PeerId;
use crate::model::mail::AppName;
use crate::model::track::{Flow, StreamId};
use crate::peer::{Peer, Side};
use crate::signal::command::Switch;

impl Engine {
    /// A player switches. The broadcast played stands for all of its tracks where it has none of
    /// its own; another id that names none waits for one.
    pub(super) fn switch_sendings(&mut self, now: Now, id: PeerId, switch: &Switch) {
        let Some(Peer {
            stream,
            side: Side::Subscriber(subscriber),
            ..
        }) = self.peers.get_mut(id)
        else {
            return;
        };
        let kind = switch.media.kind();
        let is_named = subscriber
            .sendings
            .iter()
            .any(|s| s.is_in_use() && *s.label == *switch.track);
        let means_all = !is_named && **stream == *switch.track;
        let label = StreamId::from(&*switch.track);
        for of in [MediaKind::Audio, MediaKind::Video] {
            if kind.is_none_or(|kind| kind == of) {
                let label = (!means_all).then_some(&label);
                let wishes = &mut subscriber.wishes;
                wishes.say(label, of, |wish| wish.is_off = !switch.enabled);
            }
        }
        for sending in &mut subscriber.sendings {
            let is_meant = means_all || *sending.label == *switch.track;
            if !is_meant
                || !sending.is_in_use()
                || kind.is_some_and(|kind| kind != sending.info.kind)
            {
                continue;
            }
            // Audio needs no key frame, and is not asked for one.
            if sending.switch(switch.enabled)
                && let Some(track) = sending.track
            {
                self.tracks.want_key_frame(now.instant, track);
            }
        }
        self.tend_layers(now, id);
    }

    /// A publisher of this worker has switched its tracks to `flow`.
    pub(super) fn switch_published(
        &mut self,
        now: Now,
        broadcast: &(AppName, StreamId),
        flow: Flow,
    ) {
        let ids = self.published.get(broadcast).cloned().unwrap_or_default();
        for id in ids {
            let source = rand::Rng::random(&mut self.rng);
            let Some(key) = self.tracks.key(id) else {
                continue;
            };
            let Some(track) = self.tracks.get_mut(key) else {
                continue;
            };
            let enabled = match track.info.kind {
                MediaKind::Audio => flow.audio,
                MediaKind::Video => flow.video,
            };
            if track.switch(enabled, source) && enabled && track.is_wanted() {
                self.tracks.want_key_frame(now.instant, key);
            }
        }
    }
}
