//! The sending side of a subscriber: what it is sent, under which SSRCs, and from which track.

use std::time::{Duration, Instant};

use super::climb::Climb;
use super::feedback::REPORT_INTERVAL;
use super::layers::{Keys, Layered};
use super::measure::Period;
use super::pace::Path;
use super::ssrcs::Ssrcs;
use super::wishes::{Wish, Wishes};
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::ids::{Mid, Pt, Ssrc, TrackId};
use crate::base::seq::SeqNo;
use crate::model::layers::{Priority, Target};
use crate::model::track::{StreamId, TrackInfo};
use crate::router::rewrite::Rewriter;
use crate::router::tracks::TrackKey;
use crate::rtp::renumber::Renumbering;
use crate::sdp::SessionVersion;
use crate::sdp::offer::OfferSection;
use crate::sdp::player::Numbers;
use crate::stream::send::SendStream;

/// A subscriber's sending state.
#[derive(Debug)]
pub struct Subscriber {
    /// Its subscriptions. A track refers to one by its index, which therefore never moves; the
    /// place of one that ended is used again.
    pub sendings: Vec<Sending>,
    /// The m-lines as they were last offered.
    pub offered: Vec<OfferSection>,
    /// The `o=` line of the last offer.
    pub session: SessionVersion,
    /// The m-line that carries the transport, by the last answer.
    pub leader: Option<Mid>,
    /// Where the sources of its sendings come from.
    pub ssrcs: Ssrcs,
    /// Mids used so far; each names one track for ever.
    mids: u32,
    /// Where the next sender reports begin, when one compound could not hold all.
    pub(super) report_from: usize,
    /// Transport-wide numbers, and what the path takes.
    pub path: Path,
    /// What it did not carry a moment ago.
    pub climb: Climb,
    /// What the player wants of what it is sent, or will be.
    pub wishes: Wishes,
    /// The videos that matter more to it than others.
    pub important: Vec<(TrackId, Priority)>,
    pub(super) asked: Vec<(usize, SeqNo)>,
    pub(super) next_report: Instant,
    /// What the second report is put off by, of the interval between two; 0 once it is reckoned.
    pub(super) report_spread: Duration,
    /// When its layers are looked at next; `None` while it has none.
    pub next_layers: Option<Instant>,
    pub(super) rtt_us: u32,
    pub(super) period: Period,
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
    /// Its place in this worker's table; set when the subscription starts. Of several encodings,
    /// the one that flows.
    pub track: Option<TrackKey>,
    /// What is done about its layers; `None` while everything of one encoding is sent whose frames
    /// have no numbers that must go on.
    pub layers: Option<Box<Layered>>,
    /// What the path to the player allows.
    pub target: Target,
    /// Since when the path has had too little room for its lowest layer; or, while it is paused for
    /// that, since when it is. `None` while there is room.
    pub short_since: Option<Instant>,
    /// Rows of the picture that the player wants at most; 0: any.
    pub max_height: u32,
    /// SSRCs and counters.
    pub stream: SendStream,
    /// Numbers and timestamps.
    pub rewriter: Rewriter,
    /// How far it is.
    pub state: SendingState,
    /// False while nothing of it is sent: the player has switched it off, or its target is
    /// [`Target::Paused`].
    pub enabled: bool,
    /// False while the player has switched it off.
    pub switched_on: bool,
    /// Packets that were not written, for whatever reason; retransmissions included.
    pub dropped: u64,
    /// Transport-wide sequence numbers were negotiated.
    pub transport_cc: bool,
    /// The player takes redundancy (RFC 2198).
    pub takes_red: bool,
    /// The player's own payload type, where it made the offer.
    pub pt: Option<Pt>,
    /// The player's own extension ids, where it made the offer.
    pub ids: Option<Box<Renumbering>>,
    /// When the last packet sent had been received; `None` before the first.
    pub last_stored: Option<Instant>,
    /// `a=ssrc` cname: the label of its source.
    pub cname: String,
}

/// How far a sending is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendingState {
    /// Its m-line waits for an answer.
    Offered,
    /// The answer takes it.
    Accepted,
    /// The subscription has begun.
    Flowing,
    /// The latest answer does not take it; a later one may.
    Refused,
    /// Its m-line was stopped; the place may be taken.
    Ended,
}

impl Subscriber {
    /// A subscriber to whom nothing is offered yet.
    pub fn new(now: Now, session: SessionVersion, ssrcs: Ssrcs) -> Self {
        Self {
            sendings: Vec::new(),
            offered: Vec::new(),
            session,
            leader: None,
            ssrcs,
            mids: 0,
            report_from: 0,
            path: Path::default(),
            climb: Climb::default(),
            wishes: Wishes::default(),
            important: Vec::new(),
            asked: Vec::new(),
            next_report: now.instant + FIRST_REPORT,
            report_spread: ssrcs.part_of(REPORT_INTERVAL),
            next_layers: None,
            rtt_us: 0,
            period: Period::new(now),
        }
    }

    /// Reads what sending of subscription `sending` begins with; the value means nothing.
    pub fn touch(&self, sending: usize) -> usize {
        self.sendings.get(sending).map_or(0, |sending| {
            let ends = usize::from(sending.enabled) ^ usize::from(sending.transport_cc);
            ends ^ sending.stream.packets as usize ^ sending.rewriter.touch()
        })
    }

    /// A mid that no m-line of this peer has had.
    pub fn next_mid(&mut self) -> Option<Mid> {
        self.mids += 1;
        Mid::new(&(self.mids - 1).to_string())
    }

    /// Gives `sending` a place.
    pub fn add_sending(&mut self, sending: Sending) {
        match self.sendings.iter_mut().find(|s| !s.is_in_use()) {
            Some(place) => *place = sending,
            None => self.sendings.push(sending),
        }
    }

    /// Ends the sending at index `at` and stops its m-line; one that leads the BUNDLE group is
    /// made inactive instead. Returns what it was subscribed to; `None` when there is no such
    /// sending in use.
    pub fn end_sending(&mut self, at: usize) -> Option<Keys> {
        let sending = self.sendings.get_mut(at).filter(|s| s.is_in_use())?;
        sending.state = SendingState::Ended;
        let tracks = sending.let_go();
        self.asked.retain(|(asked, _)| *asked != at);
        self.path.forget(at);
        let is_open = |s: &&OfferSection| !matches!(s, OfferSection::Stopped { .. });
        let leader = self.leader.as_ref();
        let leader = leader.or_else(|| Some(self.offered.iter().find(is_open)?.mid()));
        let mid = &sending.mid;
        let leads = leader == Some(mid);
        match self.offered.iter_mut().find(|s| s.mid() == mid) {
            Some(OfferSection::Send(send)) if leads => send.disabled = true,
            Some(place @ OfferSection::Send(_)) => {
                *place = OfferSection::Stopped {
                    mid: mid.clone(),
                    kind: sending.info.kind,
                };
            }
            Some(OfferSection::Data { .. } | OfferSection::Stopped { .. }) | None => {}
        }
        Some(tracks)
    }

    /// The player takes the sending at index `at` no more, or not at all. Its source and its
    /// numbers stay, so that it can go on. Returns what it was subscribed to.
    pub fn refuse_sending(&mut self, at: usize) -> Keys {
        let Some(sending) = self.sendings.get_mut(at) else {
            return Keys::new();
        };
        sending.state = SendingState::Refused;
        sending.rewriter.close();
        self.asked.retain(|(asked, _)| *asked != at);
        self.path.forget(at);
        sending.let_go()
    }

    /// When reports are due, or layers are to be looked at.
    pub fn poll_timeout(&self, _now: Now) -> Instant {
        match self.next_layers {
            Some(at) => at.min(self.next_report),
            None => self.next_report,
        }
    }

    /// True while packets asked for wait to be sent again.
    pub fn has_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Forgets what was asked for, when it cannot be sent.
    pub fn forget_asked(&mut self) {
        self.asked.clear();
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
    /// Speaks the player's own numbers from here on: it made the offer.
    pub fn renumber(&mut self, numbers: &Numbers) {
        self.pt = Some(numbers.pt);
        self.ids = Some(Box::new(Renumbering::new(&numbers.extensions)));
        if let (Some(rtx), Some(pt)) = (&mut self.stream.rtx, numbers.rtx_pt) {
            rtx.pt = pt;
        }
    }

    /// Switches it on or off; true when it was off and is on. It then goes on with the next packet
    /// (video: key frame), behind the last one sent.
    pub fn switch(&mut self, enabled: bool) -> bool {
        self.switched_on = enabled;
        self.settle()
    }

    /// Begins as the player wants it.
    pub fn begin_with(&mut self, wish: Wish) {
        self.max_height = wish.max_height;
        self.switch(!wish.is_off);
    }

    /// Sets what its path allows; true when it was paused by that and goes on.
    pub fn set_target(&mut self, target: Target) -> bool {
        self.target = target;
        self.settle()
    }

    fn settle(&mut self) -> bool {
        let flows = self.switched_on && self.target != Target::Paused;
        let resumes = flows && !self.enabled;
        self.enabled = flows;
        if !flows {
            self.rewriter.close();
        }
        resumes
    }

    /// False once it has ended.
    pub fn is_in_use(&self) -> bool {
        self.state != SendingState::Ended
    }

    /// False once it has ended, and while the player does not take it.
    pub fn is_taken(&self) -> bool {
        !matches!(self.state, SendingState::Refused | SendingState::Ended)
    }

    /// True when what was sent can be sent again to find out what the path takes.
    pub fn can_probe(&self) -> bool {
        self.info.kind == MediaKind::Video && self.transport_cc && self.stream.rtx.is_some()
    }

    /// The server's RTX payload type, when RTX is in use.
    pub fn rtx_pt(&self) -> Option<Pt> {
        self.stream.rtx.map(|rtx| rtx.pt)
    }
}

const FIRST_REPORT: Duration = Duration::from_millis(300);

/// Packets asked for within one turn that are remembered; more are asked for again.
pub(super) const MAX_ASKED: usize = 256;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::base::clock::tests::test_now;
    use crate::base::codec::{Codec, MediaKind};
    use crate::base::ids::{TrackId, WorkerId};
    use crate::sdp::offer::SendSection;

    fn subscriber() -> Subscriber {
        let session = SessionVersion { id: 1, version: 1 };
        let ssrcs = Ssrcs::random(&mut StdRng::seed_from_u64(1));
        Subscriber::new(test_now(), session, ssrcs)
    }

    /// A track on a new m-line.
    fn offer(subscriber: &mut Subscriber, serial: u64) {
        let mid = subscriber.next_mid().unwrap();
        let section = SendSection {
            mid: mid.clone(),
            kind: MediaKind::Video,
            codec: Codec::Vp8,
            fmtp: String::new(),
            server_pt: Pt(96),
            server_rtx_pt: None,
            red: false,
            track_id: format!("ARDAMSv{serial}"),
            stream_id: serial.to_string(),
            ssrc: Ssrc(serial as u32),
            rtx_ssrc: None,
            cname: serial.to_string(),
            disabled: false,
        };
        subscriber.offered.push(OfferSection::Send(section));
        subscriber.add_sending(Sending {
            mid,
            label: serial.to_string().into(),
            info: TrackInfo {
                id: TrackId {
                    origin: WorkerId(0),
                    serial,
                },
                kind: MediaKind::Video,
                codec: Codec::Vp8,
                fmtp: "".into(),
                pt: Pt(96),
                rtx_pt: None,
                red: false,
                encodings: 1,
            },
            track: None,
            stream: SendStream::new(Ssrc(serial as u32), None),
            rewriter: Rewriter::new(70_000),
            state: SendingState::Flowing,
            layers: None,
            target: Target::Best,
            short_since: None,
            max_height: 0,
            enabled: true,
            switched_on: true,
            dropped: 0,
            transport_cc: false,
            takes_red: false,
            pt: None,
            ids: None,
            last_stored: None,
            cname: serial.to_string(),
        });
    }

    #[test]
    fn a_place_that_ended_is_taken_and_the_others_stay_where_they_are() {
        let mut s = subscriber();
        (1..=3).for_each(|serial| offer(&mut s, serial));
        s.asked = vec![(0, SeqNo(1)), (1, SeqNo(2)), (2, SeqNo(3))];
        assert_eq!(s.end_sending(1), Some(Keys::new()));
        assert_eq!(s.end_sending(1), None, "once");
        assert_eq!(s.asked, [(0, SeqNo(1)), (2, SeqNo(3))]);
        assert!(matches!(&s.offered[1], OfferSection::Stopped { mid, .. } if mid.as_str() == "1"));
        offer(&mut s, 4);
        let serials: Vec<u64> = s.sendings.iter().map(|s| s.info.id.serial).collect();
        assert_eq!(serials, [1, 4, 3]);
        assert_eq!(s.sendings[1].mid.as_str(), "3", "a mid of its own");
    }

    #[test]
    fn the_leader_of_the_bundle_is_never_stopped() {
        let mut s = subscriber();
        (1..=2).for_each(|serial| offer(&mut s, serial));
        s.end_sending(0);
        assert!(matches!(&s.offered[0], OfferSection::Send(send) if send.disabled));
        s.end_sending(1);
        assert!(matches!(&s.offered[1], OfferSection::Stopped { .. }));

        let mut s = subscriber();
        (1..=3).for_each(|serial| offer(&mut s, serial));
        s.leader = Mid::new("1");
        s.end_sending(1);
        assert!(matches!(&s.offered[1], OfferSection::Send(send) if send.disabled));
        s.end_sending(0);
        assert!(matches!(&s.offered[0], OfferSection::Stopped { .. }));
    }
}
