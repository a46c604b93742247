//! Which packets of a layered track one subscription is sent, and how they become one continuous
//! stream.
//!
//! One encoding flows at a time. Another one takes over at a key frame of its own; layers within
//! an encoding are left at any frame and joined where its packets say that one can. Numbers,
//! timestamps, picture ids and frame numbers go on without a gap (`rewrite.rs` keeps them).
//! Subscriptions that are sent everything of one encoding have no selector, unless its frames are
//! numbered in dependency descriptors: browsers drop the key frames of a source that counts from
//! less. Knows no bitrates: `engine/layers.rs` says what is wanted.

use super::history::Entry;
use super::rewrite::{Patch, Rewriter};
use crate::base::clock::SenderClock;
use crate::base::codec::Codec;
use crate::base::extension::ExtensionKind;
use crate::base::fault::DropReason;
use crate::base::limits::MAX_SCALABLE_LAYERS;
use crate::base::seq::RtpTime;
use crate::model::layers::{Layer, Marks};
use crate::payload::{dependency_descriptor, vp8, vp9};
use crate::rtp::canonical;

/// The layer state of one subscription.
#[derive(Clone, Debug)]
pub struct Selector {
    /// What shall flow.
    pub wanted: Layer,
    current: Layer,
    codec: Codec,
    /// Timestamp of the newest frame looked at, at the publisher.
    newest: Option<RtpTime>,
    /// What flowed has stopped although nothing has taken over yet.
    stopped: bool,
    /// Of the newest frame left out.
    left_out: Option<RtpTime>,
    /// Output timestamp at the zero of the wall clock: the same for every encoding.
    zero: Option<RtpTime>,
    ids: Ids,
    /// Timestamp at the publisher of what `ids` are of.
    noted: Option<RtpTime>,
}

/// The newest ids that were sent, as they were sent.
#[derive(Clone, Copy, Debug, Default)]
struct Ids {
    picture_id: Option<u16>,
    tl0_pic_idx: Option<u8>,
    frame_number: Option<u16>,
    /// Behind the last template of the structure sent.
    next_template_id: Option<u8>,
}

/// One packet of an encoding.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Which encoding.
    pub encoding: u8,
    /// `Track::source` of it.
    pub source: u32,
    /// Its sender's clock.
    pub clock: Option<SenderClock>,
    /// What is known of it.
    pub entry: &'a Entry,
    /// Its canonical form.
    pub packet: &'a [u8],
    /// How far the RTP clock moved since the last packet was sent, by arrival.
    pub elapsed_ticks: u32,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Extended output number.
    pub out: u64,
    /// Output timestamp.
    pub timestamp: RtpTime,
    /// What else changes in it.
    pub patch: Patch,
}

impl Selector {
    /// A selector for a subscription that shall begin with `wanted`.
    pub fn new(codec: Codec, wanted: Layer) -> Self {
        let current = Layer {
            spatial: HIGHEST,
            temporal: HIGHEST,
            ..wanted
        };
        Self {
            wanted,
            current,
            codec,
            newest: None,
            stopped: false,
            left_out: None,
            zero: None,
            ids: Ids::default(),
            noted: None,
        }
    }

    /// A selector for a subscription that shall be sent everything of `encoding`.
    pub fn whole(codec: Codec, encoding: u8) -> Self {
        let wanted = Layer {
            spatial: HIGHEST,
            temporal: HIGHEST,
            encoding,
        };
        Self::new(codec, wanted)
    }

    /// Begins anew with everything of `encoding`, whose ids follow those that were sent.
    pub fn restart(&mut self, encoding: u8) {
        let ids = self.ids;
        *self = Self {
            ids,
            ..Self::whole(self.codec, encoding)
        };
    }

    /// True when frames were sent that have numbers in a dependency descriptor.
    pub fn has_numbers(&self) -> bool {
        self.ids.frame_number.is_some()
    }

    /// Goes on with an encoding of which everything was sent: the frame under way is finished.
    pub fn take_over(&mut self, rewriter: &Rewriter) {
        self.newest = rewriter.newest_input();
    }

    /// What flows, or flowed last.
    pub fn current(&self) -> Layer {
        self.current
    }

    /// Stops what flows, for the key frame of the encoding that is wanted: the path does not carry
    /// both. In the middle of a frame too, for the rest of it would not arrive either.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// True when only a key frame makes anything flow again.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Takes note of the clock of the encoding that flows, for the next change of encodings. Again
    /// and again, because no two clocks run alike.
    pub fn learn_clock(&mut self, rewriter: &Rewriter, clock: Option<SenderClock>) {
        if let (Some(clock), Some((shift, _))) = (clock, rewriter.newest()) {
            self.zero = Some(zero_of(clock, self.codec).plus(shift));
        }
    }

    /// Decides about one packet.
    ///
    /// A late one that is not sent but whose number was kept for it is placed all the same, with a
    /// patch that does not take it: it is to be sent without payload.
    ///
    /// # Errors
    /// `NotSelected` when its layer is not sent, `AwaitingKeyFrame` while nothing is, `TooOld`
    /// when its place is gone.
    pub fn select(
        &mut self,
        rewriter: &mut Rewriter,
        incoming: &Incoming<'_>,
    ) -> Result<Placed, DropReason> {
        let Incoming { source, entry, .. } = *incoming;
        if rewriter.source() != Some(source) {
            self.begin(rewriter, incoming)?;
        }
        let expected = rewriter.expected().ok_or(DropReason::AwaitingKeyFrame)?;
        if entry.seq < expected {
            let late = rewriter.late(source, entry.seq, entry.timestamp);
            let (out, timestamp, patch) = late.ok_or(DropReason::TooOld)?;
            if patch.takes(entry.marks) {
                self.note_ids(incoming.packet, entry, patch);
            }
            return Ok(Placed {
                out,
                timestamp,
                patch,
            });
        }
        if self
            .newest
            .is_none_or(|newest| entry.timestamp.distance(newest) > 0)
        {
            self.newest = Some(entry.timestamp);
            let is_wanted = self.wanted.encoding == self.current.encoding;
            self.stopped &= !(is_wanted && entry.marks.key_frame());
            self.begin_frame(rewriter, incoming);
        }
        let (_, patch) = rewriter.newest().ok_or(DropReason::AwaitingKeyFrame)?;
        if self.stopped || !patch.takes(entry.marks) {
            self.leave_out(rewriter, entry, patch);
            return Err(DropReason::NotSelected);
        }
        let mapped = rewriter.map(source, entry.seq, entry.timestamp);
        let (out, timestamp) = mapped.ok_or(DropReason::TooOld)?;
        self.note_ids(incoming.packet, entry, patch);
        Ok(Placed {
            out,
            timestamp,
            patch,
        })
    }

    /// Another encoding, or the same one after a pause, takes over, if it may.
    fn begin(
        &mut self,
        rewriter: &mut Rewriter,
        incoming: &Incoming<'_>,
    ) -> Result<(), DropReason> {
        let Incoming { source, entry, .. } = *incoming;
        if incoming.encoding != self.wanted.encoding || !entry.marks.key_frame() {
            return Err(match rewriter.source() {
                Some(_) => DropReason::NotSelected,
                None => DropReason::AwaitingKeyFrame,
            });
        }
        if !rewriter.may_start(source, entry.seq) {
            return Err(DropReason::TooOld);
        }
        let shift = self.shift(rewriter, incoming);
        let patch = Patch {
            spatial: self.wanted.spatial,
            temporal: self.wanted.temporal,
            ..self.ids.follow(self.codec, incoming.packet, entry)
        };
        rewriter.begin(source, entry.seq, shift, patch);
        self.current = self.wanted;
        self.newest = Some(entry.timestamp);
        self.left_out = None;
        self.noted = None;
        self.stopped = false;
        Ok(())
    }

    /// What is added to the timestamps of an encoding that takes over: what its sender reports
    /// say, or before them how long it has been.
    fn shift(&mut self, rewriter: &Rewriter, incoming: &Incoming<'_>) -> u32 {
        let timestamp = incoming.entry.timestamp;
        let zero = incoming.clock.map(|clock| zero_of(clock, self.codec));
        let by_arrival = rewriter.shift_after(timestamp, incoming.elapsed_ticks);
        if let Some(shift) = rewriter.shift_of(incoming.source) {
            return shift;
        }
        let shift = match (rewriter.newest(), self.zero, zero) {
            (None, _, _) => 0,
            (Some(_), Some(ours), Some(theirs)) => {
                let exact = ours.distance(theirs) as u32;
                let is_off = (exact.wrapping_sub(by_arrival) as i32).unsigned_abs();
                if is_off > MAX_CLOCK_ERROR {
                    by_arrival
                } else {
                    // Its key frame may show what was sent already, but not under its time.
                    let least = rewriter.shift_after(timestamp, 1);
                    match (exact.wrapping_sub(least) as i32) < 0 {
                        true => least,
                        false => exact,
                    }
                }
            }
            (Some(_), _, _) => by_arrival,
        };
        if self.zero.is_none() {
            self.zero = zero.map(|zero| zero.plus(shift));
        }
        shift
    }

    /// Joins and leaves layers of the encoding that flows where a frame begins.
    fn begin_frame(&mut self, rewriter: &mut Rewriter, incoming: &Incoming<'_>) {
        let marks = incoming.entry.marks;
        let Some((_, patch)) = rewriter.newest() else {
            return;
        };
        // What is wanted of another encoding waits for its key frame.
        if self.wanted.encoding != self.current.encoding {
            return;
        }
        let Layer {
            spatial, temporal, ..
        } = self.wanted;
        let mut next = (patch.spatial.min(spatial), patch.temporal.min(temporal));
        if marks.key_frame() {
            next = (spatial, temporal);
        } else {
            let (up, own) = (marks.switches_up(), marks.temporal());
            if up == own && (next.1..=temporal).contains(&up) {
                next.1 = up;
            } else if up > own && marks.spatial() <= next.0 && own <= next.1 {
                // The frame is sent, so that those above it that follow can be.
                next.1 = next.1.max(up.min(temporal));
            }
        }
        if next != (patch.spatial, patch.temporal) {
            (self.current.spatial, self.current.temporal) = next;
            let (spatial, temporal) = next;
            let patch = Patch {
                spatial,
                temporal,
                ..patch
            };
            rewriter.change(incoming.entry.seq, incoming.entry.timestamp, patch);
        }
    }

    fn leave_out(&mut self, rewriter: &mut Rewriter, entry: &Entry, patch: Patch) {
        let is_first = self.left_out != Some(entry.timestamp);
        self.left_out = Some(entry.timestamp);
        // INTEROP(chrome): a VP8 picture id that is missing is waited for; in VP9 and in
        // dependency descriptors others refer to ids by distance, so these keep theirs.
        let is_sent = self.noted == Some(entry.timestamp);
        let counts = is_first && !is_sent && self.codec == Codec::Vp8;
        let patch = Patch {
            picture_id: patch.picture_id.wrapping_sub(u16::from(counts)),
            ..patch
        };
        rewriter.skip(entry.seq, entry.timestamp, patch);
    }

    /// Remembers the ids of what is sent, unless newer ones were.
    fn note_ids(&mut self, packet: &[u8], entry: &Entry, patch: Patch) {
        if self
            .noted
            .is_none_or(|newest| entry.timestamp.distance(newest) >= 0)
        {
            self.noted = Some(entry.timestamp);
            self.ids.note(self.codec, packet, entry, patch);
        }
    }
}

impl Ids {
    /// The patch that lets the ids of a key frame follow those that were sent.
    fn follow(&self, codec: Codec, packet: &[u8], entry: &Entry) -> Patch {
        let theirs = PacketIds::read(codec, packet, entry);
        let after = |sent: Option<u16>, came: Option<u16>| match (sent, came) {
            (Some(sent), Some(came)) => sent.wrapping_add(1).wrapping_sub(came),
            (_, _) => 0,
        };
        let template = self.next_template_id.zip(theirs.templates);
        let (sent, came) = (self.tl0_pic_idx, theirs.tl0_pic_idx);
        Patch {
            picture_id: after(self.picture_id, theirs.picture_id),
            frame_number: after(self.frame_number, theirs.frame_number),
            tl0_pic_idx: after(sent.map(u16::from), came.map(u16::from)) as u8,
            template_id: template.map_or(0, |(next, (offset, _))| next.wrapping_sub(offset) & 63),
            ..Patch::NONE
        }
    }

    fn note(&mut self, codec: Codec, packet: &[u8], entry: &Entry, patch: Patch) {
        let theirs = PacketIds::read(codec, packet, entry);
        if let Some(id) = theirs.picture_id {
            self.picture_id = Some(id.wrapping_add(patch.picture_id));
        }
        if let Some(index) = theirs.tl0_pic_idx {
            self.tl0_pic_idx = Some(index.wrapping_add(patch.tl0_pic_idx));
        }
        if let Some(number) = theirs.frame_number {
            self.frame_number = Some(number.wrapping_add(patch.frame_number));
        }
        if let Some((offset, count)) = theirs.templates {
            let next = offset.wrapping_add(count).wrapping_add(patch.template_id);
            self.next_template_id = Some(next & 63);
        }
    }
}

/// The ids of one packet.
#[derive(Clone, Copy, Debug, Default)]
struct PacketIds {
    picture_id: Option<u16>,
    tl0_pic_idx: Option<u8>,
    frame_number: Option<u16>,
    /// Offset and number of templates, when it brings a structure.
    templates: Option<(u8, u8)>,
}

impl PacketIds {
    fn read(codec: Codec, packet: &[u8], entry: &Entry) -> Self {
        let mut ids = Self::default();
        let payload = packet
            .get(usize::from(entry.header_len)..)
            .unwrap_or_default();
        match codec {
            Codec::Vp8 => {
                let descriptor = vp8::parse(payload);
                ids.picture_id = descriptor.and_then(|d| d.picture_id).map(|id| id.value);
                ids.tl0_pic_idx = descriptor.and_then(|d| d.tl0_pic_idx);
            }
            Codec::Vp9 => {
                let descriptor = vp9::parse(payload);
                ids.picture_id = descriptor.and_then(|d| d.picture_id).map(|id| id.value);
                ids.tl0_pic_idx = descriptor.and_then(|d| d.tl0_pic_idx);
            }
            Codec::H264 | Codec::H265 | Codec::Av1 => {}
            Codec::Opus | Codec::Pcmu | Codec::Pcma => {}
        }
        let element = canonical::element_at(packet, ExtensionKind::DependencyDescriptor);
        let bytes = element.and_then(|at| packet.get(at));
        if let Some(descriptor) = bytes.and_then(|b| dependency_descriptor::parse(b, None)) {
            ids.frame_number = Some(descriptor.frame_number);
            ids.templates = descriptor
                .structure()
                .map(|s| (s.id_offset, s.templates().len() as u8));
        }
        ids
    }
}

/// Changes a canonical packet, whose payload begins at `payload_at`, as `patch` says. One that is
/// sent again comes out the same.
pub fn apply(patch: Patch, codec: Codec, packet: &mut [u8], payload_at: usize, marks: Marks) {
    if !patch.takes(marks) {
        canonical::blank(packet);
        return;
    }
    // Who is sent no higher layer sees the picture end here.
    if marks.ends_frame() && marks.spatial() == patch.spatial {
        canonical::set_marker(packet, true);
    }
    if (patch.frame_number, patch.template_id) != (0, 0)
        && let Some(at) = canonical::element_at(packet, ExtensionKind::DependencyDescriptor)
        && let Some(element) = packet.get_mut(at)
    {
        dependency_descriptor::patch(element, patch.frame_number, patch.template_id);
    }
    if (patch.picture_id, patch.tl0_pic_idx) == (0, 0) {
        return;
    }
    let payload = packet.get_mut(payload_at..).unwrap_or_default();
    match codec {
        Codec::Vp8 => patch_vp8(patch, payload),
        Codec::Vp9 => patch_vp9(patch, payload),
        Codec::H264 | Codec::H265 | Codec::Av1 => {}
        Codec::Opus | Codec::Pcmu | Codec::Pcma => {}
    }
}

fn patch_vp8(patch: Patch, payload: &mut [u8]) {
    if let Some(descriptor) = vp8::parse(payload) {
        let id = descriptor
            .picture_id
            .map(|id| id.value.wrapping_add(patch.picture_id));
        let index = descriptor
            .tl0_pic_idx
            .map(|index| index.wrapping_add(patch.tl0_pic_idx));
        vp8::patch(payload, id, index);
    }
}

fn patch_vp9(patch: Patch, payload: &mut [u8]) {
    if let Some(descriptor) = vp9::parse(payload) {
        if let Some(id) = descriptor.picture_id {
            vp9::patch_picture_id(payload, id.value.wrapping_add(patch.picture_id));
        }
        if let Some(index) = descriptor.tl0_pic_idx {
            vp9::patch_tl0_pic_idx(payload, index.wrapping_add(patch.tl0_pic_idx));
        }
    }
}

/// The RTP time of a sender at the zero of the wall clock.
fn zero_of(clock: SenderClock, codec: Codec) -> RtpTime {
    clock.rtp_at(0, codec.clock_hz())
}

/// Two seconds: sender reports and arrival do not differ by that much.
const MAX_CLOCK_ERROR: u32 = 180_000;

const HIGHEST: u8 = MAX_SCALABLE_LAYERS as u8 - 1;

#[cfg(test)]
mod tests;
