//! Every track a worker knows: its own publishers' and copies of others'.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::figures;
use super::track::Track;
use crate::base::codec::MediaKind;
use crate::base::ids::TrackId;
use crate::base::limits::MAX_ENCODINGS;
use crate::base::table::{Key, Table};
use crate::model::layers::Layers;
use crate::model::track::TrackInfo;

/// A track's place in its worker's table.
pub type TrackKey = Key;

/// The table of tracks and what a turn has to visit.
#[derive(Debug, Default)]
pub struct Tracks {
    table: Table<Track>,
    by_id: HashMap<TrackId, TrackKey>,
    /// Tracks with packets that were not forwarded yet; each at most once.
    fresh: Vec<TrackKey>,
    /// Tracks somebody wants a key frame of; each at most once.
    wanting: Vec<TrackKey>,
    /// Layers of other workers' tracks, as these tell.
    told: HashMap<TrackId, Layers>,
}

impl Tracks {
    /// Adds a track; one with the same id is replaced.
    pub fn insert(&mut self, track: Track) -> TrackKey {
        let id = track.info.id;
        self.remove(id);
        let key = self.table.insert_with(|_| track);
        self.by_id.insert(id, key);
        key
    }

    /// Takes a track out.
    pub fn remove(&mut self, id: TrackId) -> Option<Track> {
        let key = self.by_id.remove(&id)?;
        let mut encodings = (0..MAX_ENCODINGS as u8).map(|index| id.track().encoding(index));
        if !encodings.any(|id| self.by_id.contains_key(&id)) {
            self.told.remove(&id.track());
        }
        self.fresh.retain(|&k| k != key);
        self.wanting.retain(|&k| k != key);
        self.table.remove(key)
    }

    /// The track at `key`, unless it was removed.
    pub fn get(&self, key: TrackKey) -> Option<&Track> {
        self.table.get(key)
    }

    /// The track at `key`, unless it was removed.
    pub fn get_mut(&mut self, key: TrackKey) -> Option<&mut Track> {
        self.table.get_mut(key)
    }

    /// Where the track with this id is.
    pub fn key(&self, id: TrackId) -> Option<TrackKey> {
        self.by_id.get(&id).copied()
    }

    /// Another worker says what is being published of a track of its own.
    pub fn tell_layers(&mut self, track: TrackId, layers: Layers) {
        let mut encodings = (0..MAX_ENCODINGS as u8).map(|index| track.encoding(index));
        if encodings.any(|id| self.by_id.contains_key(&id)) {
            self.told.insert(track, layers);
        }
    }

    /// What is being published of a track, worst first: without what its publisher has stopped.
    /// Empty when nothing is known of it yet.
    pub fn layers(&self, now: Instant, info: &TrackInfo) -> Layers {
        if let Some(told) = self.told.get(&info.id) {
            return told.clone();
        }
        let encodings = (0..info.encodings).filter_map(|index| {
            let track = self.get(self.key(info.id.encoding(index))?)?;
            Some((index, track.history.newest()?, track))
        });
        let newest = encodings.clone().map(|(_, newest, _)| newest).max();
        let mut layers = Layers::default();
        for (index, last, track) in encodings {
            let is_alive =
                newest.is_some_and(|newest| newest.saturating_duration_since(last) < SILENCE);
            if let Some(figures) = track.figures.as_deref().filter(|_| is_alive) {
                let from = layers.len();
                figures.append(now, index, &mut layers);
                for layer in layers.iter_mut().skip(from) {
                    layer.wire_bps *= u64::from(track.enabled);
                }
            }
        }
        figures::sort(&mut layers);
        layers
    }

    /// Number of tracks.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Notes that `key` has packets to forward; audio goes before video (priority, and it is
    /// small).
    pub fn mark_fresh(&mut self, key: TrackKey) {
        if self.fresh.contains(&key) {
            return;
        }
        let is_audio = |k: TrackKey| {
            self.table
                .get(k)
                .is_some_and(|t| t.info.kind == MediaKind::Audio)
        };
        if is_audio(key) {
            let at = self.fresh.iter().take_while(|&&k| is_audio(k)).count();
            self.fresh.insert(at, key);
        } else {
            self.fresh.push(key);
        }
    }

    /// The tracks to forward, in order.
    pub fn fresh(&self) -> &[TrackKey] {
        &self.fresh
    }

    /// Everything was forwarded, but for the tracks that wait.
    pub fn clear_fresh(&mut self) {
        let table = &self.table;
        self.fresh
            .retain(|&key| table.get(key).is_some_and(Track::has_fresh));
    }

    /// Somebody needs a key frame of `key`. Audio has none: nothing happens.
    pub fn want_key_frame(&mut self, now: Instant, key: TrackKey) {
        let Some(track) = self.table.get_mut(key) else {
            return;
        };
        if track.info.kind == MediaKind::Audio {
            return;
        }
        track.key_frames.want(now);
        if !self.wanting.contains(&key) {
            self.wanting.push(key);
        }
    }

    /// Appends the tracks whose request is to be sent now; forgets those that were served, that
    /// nobody is sent any more, and that are switched off.
    ///
    /// INTEROP(chrome): who is asked for a key frame of one encoding makes one of each that it
    /// sends. An encoding that has stopped would answer nothing, so it is not asked; the wish is
    /// kept until it comes back.
    pub fn poll_key_frames(&mut self, now: Instant, due: &mut Vec<TrackKey>) {
        let mut wanting = std::mem::take(&mut self.wanting);
        wanting.retain(|&key| {
            let Some(track) = self.table.get_mut(key) else {
                return false;
            };
            if !track.is_wanted() || !track.enabled {
                track.key_frames.withdraw();
            }
            let (id, is_due) = (track.info.id, track.key_frames.poll(now));
            let is_wanted = track.key_frames.poll_timeout().is_some();
            if is_due && !self.has_stopped(id) {
                due.push(key);
            }
            is_wanted
        });
        self.wanting = wanting;
    }

    /// True for an encoding that is silent while another one of its track is not.
    fn has_stopped(&self, id: TrackId) -> bool {
        let newest = |id| self.get(self.key(id)?)?.history.newest();
        let all = (0..MAX_ENCODINGS as u8).filter_map(|index| newest(id.track().encoding(index)));
        match (newest(id), all.max()) {
            (Some(last), Some(newest)) => newest.saturating_duration_since(last) >= SILENCE,
            (None, _) | (_, None) => false,
        }
    }

    /// When [`poll_key_frames`](Self::poll_key_frames) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wanting
            .iter()
            .filter_map(|&key| self.table.get(key)?.key_frames.poll_timeout())
            .min()
    }
}

/// An encoding that has sent nothing for so long, while another of its track has, is stopped. A
/// still screen is silent for longer, but then all of its encodings are.
const SILENCE: Duration = Duration::from_millis(600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;
    use crate::base::codec::Codec;
    use crate::base::ids::{Pt, WorkerId};
    use crate::base::seq::RtpTime;
    use crate::model::layers::Marks;
    use crate::router::history::Stored;

    /// A track that another worker is sent.
    fn insert(tracks: &mut Tracks, serial: u64, codec: Codec) -> TrackKey {
        let info = TrackInfo {
            id: TrackId {
                origin: WorkerId(0),
                serial,
            },
            kind: codec.kind(),
            codec,
            fmtp: "".into(),
            pt: Pt(96),
            rtx_pt: None,
            red: false,
            encodings: 1,
        };
        let mut track = Track::new(info);
        track.relays.push(WorkerId(1));
        tracks.insert(track)
    }

    fn store(tracks: &mut Tracks, now: Instant, key: TrackKey) {
        let track = tracks.get_mut(key).unwrap();
        track.history.slot(now, 100).unwrap();
        let stored = Stored {
            seq: 70_000 + track.history.end(),
            timestamp: RtpTime(0),
            len: 100,
            header_len: 12,
            transport_seq_at: 0,
            marks: Marks::base(false),
        };
        track.store(now, stored);
    }

    fn due(tracks: &mut Tracks, now: Instant) -> Vec<TrackKey> {
        let mut due = Vec::new();
        tracks.poll_key_frames(now, &mut due);
        due
    }

    #[test]
    fn nobody_is_asked_for_a_key_frame_of_audio() {
        let now = test_now().instant;
        let mut tracks = Tracks::default();
        let audio = insert(&mut tracks, 0, Codec::Opus);
        let video = insert(&mut tracks, 64, Codec::Vp8);
        tracks.want_key_frame(now, audio);
        tracks.want_key_frame(now, video);
        assert_eq!(due(&mut tracks, now), [video]);
    }

    #[test]
    fn what_nobody_is_sent_any_more_is_not_asked_for() {
        let now = test_now().instant;
        let mut tracks = Tracks::default();
        let key = insert(&mut tracks, 0, Codec::Vp8);
        tracks.want_key_frame(now, key);
        assert_eq!(due(&mut tracks, now), [key]);
        let later = now + Duration::from_secs(1);
        tracks.get_mut(key).unwrap().relays.clear();
        assert_eq!(due(&mut tracks, later), []);
        tracks.get_mut(key).unwrap().relays.push(WorkerId(1));
        assert_eq!(due(&mut tracks, later), [], "whoever comes asks anew");
        assert_eq!(tracks.poll_timeout(), None);
    }

    #[test]
    fn what_is_switched_off_is_not_asked_for() {
        let now = test_now().instant;
        let mut tracks = Tracks::default();
        let key = insert(&mut tracks, 0, Codec::Vp8);
        tracks.get_mut(key).unwrap().switch(false, 1);
        tracks.want_key_frame(now, key);
        assert_eq!(due(&mut tracks, now), []);
        assert_eq!(tracks.poll_timeout(), None);
        tracks.get_mut(key).unwrap().switch(true, 2);
        tracks.want_key_frame(now, key);
        assert_eq!(due(&mut tracks, now), [key]);
    }

    #[test]
    fn an_encoding_that_has_stopped_is_asked_when_it_comes_back() {
        let start = test_now().instant;
        let mut tracks = Tracks::default();
        let stopped = insert(&mut tracks, 0, Codec::Vp8);
        let other = insert(&mut tracks, 1, Codec::Vp8);
        store(&mut tracks, start, stopped);
        tracks.want_key_frame(start, stopped);
        let mut asked = Vec::new();
        for ms in (0..10_000u64).step_by(100) {
            let now = start + Duration::from_millis(ms);
            store(&mut tracks, now, other);
            if ms == 9000 {
                store(&mut tracks, now, stopped);
            }
            asked.extend(due(&mut tracks, now).iter().map(|_| ms));
            assert!(tracks.poll_timeout() > Some(now), "nobody waits in vain");
        }
        assert_eq!(asked, [0, 500, 9000, 9500]);
    }

    /// A still screen sends nothing for long, and who joins needs a key frame of it.
    #[test]
    fn what_is_silent_as_a_whole_is_asked() {
        let start = test_now().instant;
        let mut tracks = Tracks::default();
        let key = insert(&mut tracks, 0, Codec::Vp8);
        store(&mut tracks, start, key);
        let later = start + Duration::from_secs(5);
        tracks.want_key_frame(later, key);
        assert_eq!(due(&mut tracks, later), [key]);
    }
}
