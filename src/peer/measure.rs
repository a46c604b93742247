//! What a subscriber was delivered lately: the figures of `bitrateMeasurement`.

use std::time::{Duration, Instant};

use super::subscriber::Subscriber;
use crate::base::clock::Now;
use crate::base::codec::MediaKind;

/// Rates of one period, in bits per second of payload; retransmissions are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Video sent.
    pub video_bps: u64,
    /// Audio sent.
    pub audio_bps: u64,
    /// What the path takes, headers included; while the subscriber has told nothing of it, what it
    /// was sent: nothing better is known.
    pub target_bps: u64,
}

/// Counters at the end of the last period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Period {
    began: Instant,
    video_len: u64,
    audio_len: u64,
}

impl Period {
    /// A period that begins with nothing sent.
    pub(super) fn new(now: Now) -> Self {
        Self {
            began: now.instant,
            video_len: 0,
            audio_len: 0,
        }
    }
}

impl Subscriber {
    /// The figures of the period that is over; `None` while it lasts.
    pub fn measure(&mut self, now: Now) -> Option<Delivered> {
        let passed = now.instant.saturating_duration_since(self.period.began);
        if passed < PERIOD {
            return None;
        }
        let sent = |wanted: MediaKind| {
            let sendings = self.sendings.iter();
            let of_kind = sendings.filter(|sending| sending.info.kind == wanted);
            of_kind.map(|sending| sending.stream.octets).sum::<u64>()
        };
        let (video_len, audio_len) = (sent(MediaKind::Video), sent(MediaKind::Audio));
        let millis = passed.as_millis() as u64;
        // A sending that went takes its counter along; that period shows less than there was.
        let bps = |len: u64, before: u64| len.saturating_sub(before) * 8000 / millis;
        let video_bps = bps(video_len, self.period.video_len);
        let audio_bps = bps(audio_len, self.period.audio_len);
        self.period = Period {
            began: now.instant,
            video_len,
            audio_len,
        };
        Some(Delivered {
            video_bps,
            audio_bps,
            target_bps: self.path.estimate_bps().unwrap_or(video_bps + audio_bps),
        })
    }
}

/// How often a player is told.
const PERIOD: Duration = Duration::from_secs(2);
