//! One published track as a worker sees it: its history, who subscribes, which workers want it.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::figures::Figures;
use super::history::{History, Stored};
use super::hold::Hold;
use super::key_frame::KeyFrameRequests;
use crate::base::clock::SenderClock;
use crate::base::codec::MediaKind;
use crate::base::ids::{PeerId, WorkerId};
use crate::base::limits::{
    AUDIO_HISTORY_LEN, AUDIO_HISTORY_PACKETS, VIDEO_HISTORY_LEN, VIDEO_HISTORY_PACKETS,
};
use crate::base::seq::RtpTime;
use crate::model::track::TrackInfo;
use crate::rtp::canonical;

/// An encoding of a publisher on this worker, or the copy of one that lives on another. Most
/// tracks have one.
#[derive(Debug)]
pub struct Track {
    /// What everybody knows of it.
    pub info: TrackInfo,
    /// Its packets.
    pub history: History,
    /// The sender's clock, once a report came.
    pub clock: Option<SenderClock>,
    /// Key frame requests towards the publisher.
    pub key_frames: KeyFrameRequests,
    /// Timestamp and first number of the newest key frame.
    key_frame: Option<(RtpTime, u64)>,
    /// Who is sent its packets, in order of arrival.
    pub subscribers: Vec<Subscriber>,
    /// Other workers were told of several layers in it, and are told on when fewer are left.
    pub tells_layers: bool,
    /// Other workers that want every packet once.
    pub relays: SmallVec<[WorkerId; 4]>,
    /// The publisher's peer on this worker; `None` for copies and while the publisher is lost.
    pub publisher: Option<PeerId>,
    /// Counts the publisher's sources: a new SSRC after a takeover is another source.
    pub source: u32,
    /// False while its publisher has switched it off: nothing is forwarded, nor to other workers.
    pub enabled: bool,
    /// Position of the first packet not forwarded yet.
    pub fresh: u64,
    /// Whether its fresh packets wait for the end of their frame.
    pub hold: Hold,
    /// Received payload rate.
    pub rate: Rate,
    /// What its layers are and carry; `None` for audio.
    pub figures: Option<Box<Figures>>,
}

/// A subscription as its track lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Whose.
    pub peer: PeerId,
    /// Which of that peer's sent streams.
    pub sending: usize,
}

impl Track {
    /// A track without packets.
    pub fn new(info: TrackInfo) -> Self {
        let history = match info.kind {
            MediaKind::Audio => History::new(AUDIO_HISTORY_PACKETS, AUDIO_HISTORY_LEN),
            MediaKind::Video => History::new(VIDEO_HISTORY_PACKETS, VIDEO_HISTORY_LEN),
        };
        let is_video = info.kind == MediaKind::Video;
        Self {
            info,
            history,
            clock: None,
            key_frames: KeyFrameRequests::default(),
            key_frame: None,
            subscribers: Vec::new(),
            tells_layers: false,
            relays: SmallVec::new(),
            publisher: None,
            source: 0,
            enabled: true,
            fresh: 0,
            hold: Hold::default(),
            rate: Rate::default(),
            figures: is_video.then(Box::default),
        }
    }

    /// True while somebody is sent it, here or by way of another worker.
    pub fn is_wanted(&self) -> bool {
        !self.subscribers.is_empty() || !self.relays.is_empty()
    }

    /// True when packets wait to be forwarded.
    pub fn has_fresh(&self) -> bool {
        self.fresh < self.history.end()
    }

    /// Until when its fresh packets wait for the rest of their frame; `None`: they go now.
    pub fn held_until(&mut self, now: Instant) -> Option<Instant> {
        if self.info.kind == MediaKind::Audio {
            return None;
        }
        let (first, _) = self.history.at(self.fresh)?;
        let (_, last) = self.history.at(self.history.end().checked_sub(1)?)?;
        let ended = canonical::marker(last);
        let (since, subscribers) = (first.stored, self.subscribers.len());
        self.hold.poll(now, since, ended, subscribers)
    }

    /// Takes the packet that was written to the history's latest slot.
    pub fn store(&mut self, now: Instant, stored: Stored) {
        if stored.marks.key_frame() {
            self.key_frames.served();
            self.key_frame = match self.key_frame {
                Some((timestamp, first)) if timestamp == stored.timestamp => {
                    Some((timestamp, first.min(stored.seq)))
                }
                Some((_, first)) if first > stored.seq => self.key_frame,
                Some(_) | None => Some((stored.timestamp, stored.seq)),
            };
        }
        let len = stored.len - stored.header_len.min(stored.len);
        self.rate.add(now, len);
        if let Some(figures) = &mut self.figures {
            figures.add(now, stored.marks, len);
        }
        self.history.push(now, stored);
    }

    /// True when somebody needs a key frame because packet `seq` is lost for good: none has begun
    /// behind it.
    pub fn misses(&self, seq: u64) -> bool {
        self.is_wanted() && self.key_frame.is_none_or(|(_, first)| first < seq)
    }

    /// Switches it on or off; true when that is a change. Switched on again, it is another
    /// `source`, so that every subscription, wherever it is, starts behind what it was sent last.
    pub fn switch(&mut self, enabled: bool, source: u32) -> bool {
        let changes = self.enabled != enabled;
        self.enabled = enabled;
        if changes && enabled {
            self.source = source;
        }
        changes
    }

    /// What comes from here on is of `source`. When that is another one than before, with numbers
    /// and timestamps of its own, what is stored is of no use, and every subscription starts behind
    /// what it was sent last.
    pub fn set_source(&mut self, source: u32) {
        if self.source != source {
            self.source = source;
            self.history.clear();
            self.fresh = self.history.end();
            self.hold = Hold::default();
            self.clock = None;
            self.key_frame = None;
        }
    }

    /// What a link carries of it, bits per second: 0 while it is silent or switched off.
    pub fn wire_bps(&self, now: Instant) -> u64 {
        if self.enabled {
            self.rate.wire_bps_at(now)
        } else {
            0
        }
    }

    /// Adds a subscription.
    pub fn subscribe(&mut self, subscriber: Subscriber) {
        if !self.subscribers.contains(&subscriber) {
            self.subscribers.push(subscriber);
        }
    }

    /// Removes one subscription.
    pub fn unsubscribe_one(&mut self, subscriber: Subscriber) {
        self.subscribers.retain(|s| *s != subscriber);
    }

    /// Removes every subscription of `peer`.
    pub fn unsubscribe(&mut self, peer: PeerId) {
        self.subscribers.retain(|s| s.peer != peer);
    }
}

/// A byte rate over the last whole second, and how many packets that was. Of what has just begun,
/// over its first quarter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    started: Option<Instant>,
    last: Option<Instant>,
    len: u64,
    packets: u64,
    bps: u64,
    packets_per_s: u64,
    total_len: u64,
}

impl Rate {
    /// Counts `len` bytes.
    pub fn add(&mut self, now: Instant, len: usize) {
        self.roll(now);
        self.last = Some(now);
        self.len += len as u64;
        self.packets += 1;
        self.total_len += len as u64;
    }

    /// Bits per second over the last whole second; 0 after two silent ones.
    pub fn bps(&mut self, now: Instant) -> u64 {
        self.roll(now);
        self.bps
    }

    /// The figure of the last whole second without looking at the time.
    pub fn latest_bps(&self) -> u64 {
        self.bps
    }

    /// The same with what each packet takes of a link besides its payload.
    pub fn latest_wire_bps(&self) -> u64 {
        self.bps + self.packets_per_s * PACKET_OVERHEAD_LEN * 8
    }

    /// As [`bps`](Self::bps), for who cannot change it.
    pub fn bps_at(&self, now: Instant) -> u64 {
        if self.is_alive(now) { self.bps } else { 0 }
    }

    /// As [`latest_wire_bps`](Self::latest_wire_bps), and 0 when nothing came for `SILENCE`.
    pub fn wire_bps_at(&self, now: Instant) -> u64 {
        if self.is_alive(now) {
            self.latest_wire_bps()
        } else {
            0
        }
    }

    /// Bits that a link has carried in the second under way, headers included.
    pub fn begun_wire_bps(&self, now: Instant) -> u64 {
        let is_over = self.started.is_none_or(|started| {
            now.saturating_duration_since(started).as_millis() as u64 >= WINDOW_MS
        });
        if is_over {
            0
        } else {
            (self.len + self.packets * PACKET_OVERHEAD_LEN) * 8
        }
    }

    /// True for what has begun, but not for long enough to be measured.
    pub fn is_unknown(&self) -> bool {
        self.packets_per_s == 0 && self.packets > 0
    }

    /// False when nothing came for `SILENCE`.
    pub fn is_alive(&self, now: Instant) -> bool {
        self.last
            .is_some_and(|last| now.saturating_duration_since(last) < SILENCE)
    }

    /// When something came last.
    pub fn last(&self) -> Option<Instant> {
        self.last
    }

    /// Bytes since the start.
    pub fn total_len(&self) -> u64 {
        self.total_len
    }

    fn roll(&mut self, now: Instant) {
        let started = *self.started.get_or_insert(now);
        let elapsed = now.saturating_duration_since(started).as_millis() as u64;
        let window = if self.packets_per_s == 0 {
            FIRST_WINDOW_MS
        } else {
            WINDOW_MS
        };
        if elapsed >= window {
            self.bps = self.len * 8000 / elapsed;
            self.packets_per_s = self.packets * 1000 / elapsed;
            self.len = 0;
            self.packets = 0;
            self.started = Some(now);
        }
    }
}

/// Milliseconds that are summed up. What is not known for long is not allowed for meanwhile.
const WINDOW_MS: u64 = 1000;
const FIRST_WINDOW_MS: u64 = 250;

/// What a packet takes of a link besides its payload: IPv4 and UDP headers, the RTP header with the
/// extensions that are sent, and the tag of SRTP.
const PACKET_OVERHEAD_LEN: u64 = 28 + 12 + 12 + 12;

/// Longer than the upper layers of a slow screen share are apart.
const SILENCE: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;

    #[test]
    fn a_rate_is_that_of_the_last_second() {
        let t = test_now().instant;
        let mut rate = Rate::default();
        for ms in (0..3000).step_by(10) {
            rate.add(t + Duration::from_millis(ms), 1250);
        }
        let bps = rate.bps(t + Duration::from_millis(3000));
        assert!((990_000..=1_010_000).contains(&bps), "{bps}");
        let headers = rate.latest_wire_bps() - bps;
        assert!((50_000..=52_000).contains(&headers), "{headers}");
        rate.bps(t + Duration::from_millis(4000));
        assert_eq!(rate.bps(t + Duration::from_millis(6000)), 0);
    }
}
