//! The sending side of a subscriber: what it is sent, under which SSRCs, and from which track.

use std::time::{Duration, Instant};

use crate::base::clock::Now;
use crate::base::ids::{Mid, Pt, Ssrc};
use crate::base::seq::SeqNo;
use crate::model::track::{StreamId, TrackInfo};
use crate::router::rewrite::Rewriter;
use crate::router::tracks::TrackKey;
use crate::sdp::offer::OfferSection;
use crate::stream::send::SendStream;

/// A subscriber's sending state.
#[derive(Debug)]
pub struct Subscriber {
    /// Its subscriptions.
    pub sendings: Vec<Sending>,
    /// The m-lines as they were last offered.
    pub offered: Vec<OfferSection>,
    pub(super) next_transport_seq: u16,
    pub(super) asked: Vec<(usize, SeqNo)>,
    pub(super) next_report: Instant,
    pub(super) rtt_us: u32,
}

/// One track towards one subscriber.
#[derive(Debug)]
pub struct Sending {
    /// The m-line.
    pub mid: Mid,
    /// The broadcast that the track is of: the name that switches use.
    pub label: StreamId,
    /// The track, wherever its publisher is.
    pub info: TrackInfo,
    /// Its place in this worker's table; set when the subscription starts.
    pub track: Option<TrackKey>,
    /// SSRCs and counters.
    pub stream: SendStream,
    /// Numbers and timestamps.
    pub rewriter: Rewriter,
    /// The m-line was accepted.
    pub accepted: bool,
    /// False while the player has switched it off: nothing of it is sent.
    pub enabled: bool,
    /// Transport-wide sequence numbers were negotiated.
    pub transport_cc: bool,
    /// When the last packet sent had been received; `None` before the first.
    pub last_stored: Option<Instant>,
    /// `a=ssrc` cname.
    pub cname: String,
}

impl Subscriber {
    /// A subscriber to whom `offered` goes.
    pub fn new(now: Now, sendings: Vec<Sending>, offered: Vec<OfferSection>) -> Self {
        Self {
            sendings,
            offered,
            next_transport_seq: 0,
            asked: Vec::with_capacity(MAX_ASKED),
            next_report: now.instant + FIRST_REPORT,
            rtt_us: 0,
        }
    }

    /// When reports are due.
    pub fn poll_timeout(&self, _now: Now) -> Instant {
        self.next_report
    }

    /// True while packets asked for wait to be sent again.
    pub fn has_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Round trip by receiver reports, in microseconds; 0 before the first.
    pub fn rtt_us(&self) -> u32 {
        self.rtt_us
    }

    pub(super) fn find(&self, ssrc: Ssrc) -> Option<usize> {
        self.sendings.iter().position(|s| s.stream.ssrc == ssrc)
    }
}

impl Sending {
    /// Switches it on or off; true when it was off and is on. It then goes on with the next packet
    /// (video: key frame), behind the last one sent.
    pub fn switch(&mut self, enabled: bool) -> bool {
        let resumes = enabled && !self.enabled;
        self.enabled = enabled;
        if !enabled {
            self.rewriter.close();
        }
        resumes
    }

    /// The server's RTX payload type, when RTX is in use.
    pub fn rtx_pt(&self) -> Option<Pt> {
        self.stream.rtx.map(|rtx| rtx.pt)
    }
}

const FIRST_REPORT: Duration = Duration::from_millis(300);

/// Packets asked for within one turn that are remembered; more are asked for again.
pub(super) const MAX_ASKED: usize = 256;
