//! A track with subscribers on other workers goes to each of them once per turn, as one batch of
//! reference-counted bytes.

use std::sync::Arc;

use super::Engine;
use crate::base::bytes::Reader;
use crate::base::clock::Now;
use crate::base::ids::{PeerId, TrackId, WorkerId};
use crate::base::seq::RtpTime;
use crate::model::mail::{Outgoing, RelayBatch, RelayPacket, WorkerMail};
use crate::model::track::TrackInfo;
use crate::router::history::Stored;
use crate::router::track::{Subscriber, Track};
use crate::router::tracks::TrackKey;

/// Batches that come back to be used again: a relayed track allocates nothing once it runs.
#[derive(Debug, Default)]
pub(super) struct Batches {
    pool: Vec<Arc<RelayBatch>>,
}

impl Batches {
    /// An empty batch that nobody else holds, filled by `fill`.
    fn fill(&mut self, fill: impl FnOnce(&mut RelayBatch)) -> Arc<RelayBatch> {
        let free = self
            .pool
            .iter()
            .position(|batch| Arc::strong_count(batch) == 1);
        let mut batch = free.map_or_else(Arc::default, |at| self.pool.swap_remove(at));
        if let Some(empty) = Arc::get_mut(&mut batch) {
            empty.packets.clear();
            empty.bytes.clear();
            fill(empty);
        }
        if self.pool.len() < MAX_POOLED {
            self.pool.push(batch.clone());
        }
        batch
    }
}

impl Engine {
    /// Mails the fresh packets of `key` to the workers that want them.
    pub(super) fn relay(&mut self, key: TrackKey) {
        let Some(track) = self.tracks.get(key) else {
            return;
        };
        if track.relays.is_empty() || !track.has_fresh() {
            return;
        }
        let batch = self.batches.fill(|batch| {
            batch.track = Some(track.info.id);
            batch.source = track.source;
            batch.clock = track.clock;
            for position in track.fresh..track.history.end() {
                let Some((entry, bytes)) = track.history.at(position) else {
                    continue;
                };
                batch.bytes.extend_from_slice(bytes);
                batch.packets.push(RelayPacket {
                    seq: entry.seq,
                    len: entry.len,
                    header_len: entry.header_len,
                    transport_seq_at: entry.transport_seq_at,
                    marks: entry.marks,
                });
            }
        });
        for &worker in &track.relays {
            let mail = WorkerMail::RelayPackets(batch.clone());
            self.mails.push_back(Outgoing::Worker(worker, mail));
        }
    }

    /// Stores another worker's packets; they are forwarded in this turn.
    pub(super) fn take_batch(&mut self, now: Now, batch: &RelayBatch) {
        let Some(key) = batch.track.and_then(|id| self.tracks.key(id)) else {
            return;
        };
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        track.set_source(batch.source);
        track.clock = batch.clock;
        let mut bytes = Reader::new(&batch.bytes);
        for packet in &batch.packets {
            let Some(canonical) = bytes.take(usize::from(packet.len)) else {
                return;
            };
            let Some(slot) = track.history.slot(now.instant, canonical.len()) else {
                return;
            };
            slot.copy_from_slice(canonical);
            let timestamp = canonical
                .get(4..8)
                .and_then(|b| Reader::new(b).u32())
                .unwrap_or(0);
            let stored = Stored {
                seq: packet.seq,
                timestamp: RtpTime(timestamp),
                len: canonical.len(),
                header_len: usize::from(packet.header_len),
                transport_seq_at: usize::from(packet.transport_seq_at),
                marks: packet.marks,
            };
            track.store(now.instant, stored);
        }
        self.tracks.mark_fresh(key);
    }

    /// Subscribes `peer` to a track, here or on another worker.
    pub(super) fn subscribe(
        &mut self,
        now: Now,
        peer: PeerId,
        sending: usize,
        info: &TrackInfo,
    ) -> Option<TrackKey> {
        let own = info.id.origin == self.config.worker;
        let key = match self.tracks.key(info.id) {
            Some(key) => key,
            // Its broadcast ended while this subscriber connected.
            None if own => return None,
            None => {
                let mail = WorkerMail::RelayStart {
                    track: info.id,
                    by: self.config.worker,
                };
                self.mails.push_back(Outgoing::Worker(info.id.origin, mail));
                self.tracks.insert(Track::new(info.clone()))
            }
        };
        self.tracks
            .get_mut(key)?
            .subscribe(Subscriber { peer, sending });
        self.tracks.want_key_frame(now.instant, key);
        Some(key)
    }

    /// Ends every subscription of `peer` to `key`; a copy that nobody wants is given up.
    pub(super) fn unsubscribe(&mut self, peer: PeerId, key: TrackKey) {
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        track.unsubscribe(peer);
        self.give_up_copy(key);
    }

    /// Ends the subscription of one sending of `peer` to `key`.
    pub(super) fn unsubscribe_one(&mut self, peer: PeerId, sending: usize, key: TrackKey) {
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        track.unsubscribe_one(Subscriber { peer, sending });
        self.give_up_copy(key);
    }

    fn give_up_copy(&mut self, key: TrackKey) {
        let Some(track) = self.tracks.get(key) else {
            return;
        };
        let id = track.info.id;
        if track.subscribers.is_empty() && id.origin != self.config.worker {
            self.tracks.remove(id);
            self.relay_stopped(id);
        }
    }

    /// Tells the origin of a copy that it is not wanted any more.
    pub(super) fn relay_stopped(&mut self, id: TrackId) {
        let mail = WorkerMail::RelayStop {
            track: id,
            by: self.config.worker,
        };
        self.mails.push_back(Outgoing::Worker(id.origin, mail));
    }

    /// Another worker wants a track of ours.
    pub(super) fn start_relay(&mut self, now: Now, id: TrackId, by: WorkerId) {
        let Some(key) = self.tracks.key(id) else {
            return;
        };
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        if !track.relays.contains(&by) {
            track.relays.push(by);
        }
        self.tracks.want_key_frame(now.instant, key);
        self.introduce_layers(now, id, by);
    }

    /// Another worker wants it no longer.
    pub(super) fn stop_relay(&mut self, id: TrackId, by: WorkerId) {
        if let Some(track) = self.tracks.key(id).and_then(|key| self.tracks.get_mut(key)) {
            track.relays.retain(|worker| *worker != by);
        }
    }
}

/// Batches kept for reuse: several tracks times a few turns in flight.
const MAX_POOLED: usize = 64;
