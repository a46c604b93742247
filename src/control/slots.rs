//! Who is on which slot of one room play whose tracks are limited.
//!
//! Pure: says who is where when the wanted participants, their voices or the client's wishes
//! change. A slot keeps who is on it while that one is wanted; a speaker without a slot takes the
//! one that was silent longest, unless it is pinned or changed a moment ago.

use std::collections::BTreeMap;

use crate::base::codec::MediaKind;
use crate::base::limits::MAX_SOURCES_PER_PLAY;
use crate::model::information::Page;
use crate::model::settings::AppSettings;
use crate::model::track::{Lineup, Source, StreamId};

/// The limits of one play.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots {
    /// Its video slots; `None`: one lane per participant.
    pub video: Option<Assignment>,
    /// Its audio slots; `None`: one lane per participant.
    pub audio: Option<Assignment>,
}

/// The slots of one kind, in the order of their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Assignment {
    slots: Vec<Slot>,
}

/// One slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    /// Who is on it; `None`: it is free.
    pub participant: Option<StreamId>,
    /// The client wants that one to stay.
    pub is_pinned: bool,
    /// When a speaker took it last, milliseconds since 1970; 0: never.
    changed_ms: u64,
}

/// How loud a participant is and was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Voice {
    /// The latest report (RFC 6464): 0 is the loudest, 127 silence.
    pub level: u8,
    /// Reports in a row that were louder than the threshold.
    streak: u8,
    /// When it was heard last, milliseconds since 1970; 0: never.
    spoke_ms: u64,
}

/// What is known of participants by id; those that are missing are silent.
pub(super) type Voices = BTreeMap<StreamId, Voice>;

impl Default for Voice {
    fn default() -> Self {
        Self {
            level: SILENCE,
            streak: 0,
            spoke_ms: 0,
        }
    }
}

impl Voice {
    /// Takes a report of `level`; it is speech when it is louder than `threshold`.
    pub(super) fn hear(&mut self, now_ms: u64, level: u8, threshold: u8) {
        self.level = level;
        if level < threshold {
            self.streak = self.streak.saturating_add(1);
            self.spoke_ms = now_ms;
        } else {
            self.streak = 0;
        }
    }

    /// True for a speaker, false for a cough.
    pub(super) fn is_speaking(self, now_ms: u64) -> bool {
        self.streak >= SPEAKS_AFTER && self.was_heard(now_ms)
    }

    fn was_heard(self, now_ms: u64) -> bool {
        now_ms.abs_diff(self.spoke_ms) < HEARD_FOR_MS
    }
}

impl Slots {
    /// The limits that an application sets to every play.
    pub(super) fn of(settings: &AppSettings) -> Self {
        Self {
            video: Assignment::of(settings.max_video_track_count),
            audio: Assignment::of(settings.max_audio_track_count),
        }
    }

    /// True when tracks of either kind are limited.
    pub(super) fn is_limited(&self) -> bool {
        self.video.is_some() || self.audio.is_some()
    }

    /// False when no slot can go to any of those who speak, `audio` and `video` by what they send:
    /// without that, [`hear`](Self::hear) need not be asked.
    pub(super) fn may_yield(
        &self,
        now_ms: u64,
        (audio, video): (&[StreamId], &[StreamId]),
        voices: &Voices,
    ) -> bool {
        [(&self.audio, audio), (&self.video, video)]
            .into_iter()
            .filter_map(|(assignment, speakers)| Some((assignment.as_ref()?, speakers)))
            .any(|(assignment, speakers)| assignment.may_yield(now_ms, speakers, voices))
    }

    /// Brings the slots up to what is wanted, and says what the play is to be sent.
    ///
    /// `participants` are the sources of everybody wanted, in the order of arrival.
    pub(super) fn line_up(&mut self, participants: Vec<Source>, voices: &Voices) -> Lineup {
        for (kind, assignment) in [
            (MediaKind::Audio, &mut self.audio),
            (MediaKind::Video, &mut self.video),
        ] {
            if let Some(assignment) = assignment {
                assignment.settle(&of_kind(&participants, kind), voices);
            }
        }
        let mut lineup = Lineup::of(participants);
        let everybody = &lineup.participants;
        let mut lanes = lineup.sources.clone();
        for (kind, assignment) in [
            (MediaKind::Audio, &self.audio),
            (MediaKind::Video, &self.video),
        ] {
            let Some(assignment) = assignment else {
                continue;
            };
            for lane in lanes.iter_mut().take(everybody.len()) {
                lane.tracks.retain(|track| track.kind != kind);
            }
            lanes.extend(assignment.lanes(&lineup.sources, kind));
        }
        if self.is_limited() {
            lanes.retain(|lane| !lane.tracks.is_empty());
        }
        lineup.sources = lanes;
        lineup
    }

    /// Lets speakers among `participants` take slots; true when one did.
    pub(super) fn hear(&mut self, now_ms: u64, participants: &[Source], voices: &Voices) -> bool {
        let mut changed = false;
        for (kind, assignment) in [
            (MediaKind::Audio, &mut self.audio),
            (MediaKind::Video, &mut self.video),
        ] {
            if let Some(assignment) = assignment {
                changed |= assignment.hear(now_ms, &of_kind(participants, kind), voices);
            }
        }
        changed
    }
}

impl Slot {
    /// True when a speaker who is so loud may take it.
    fn yields(&self, now_ms: u64, level: u8, voices: &Voices) -> bool {
        if self.is_pinned || now_ms.abs_diff(self.changed_ms) < STAYS_FOR_MS {
            return false;
        }
        let holder = self.participant.as_ref().map(|id| voice(voices, id));
        holder.is_none_or(|holder| {
            !holder.was_heard(now_ms) || holder.level >= level.saturating_add(LOUDER_BY)
        })
    }
}

/// Those of `participants` that send this kind of media.
pub(super) fn of_kind(participants: &[Source], kind: MediaKind) -> Vec<StreamId> {
    let has = |source: &&Source| source.tracks.iter().any(|track| track.kind == kind);
    let ids = participants.iter().filter(has);
    ids.map(|source| source.stream.clone()).collect()
}

impl Assignment {
    /// So many free slots, at most `MAX_SOURCES_PER_PLAY`; `None` for a negative number.
    pub(super) fn of(count: i64) -> Option<Self> {
        let count = usize::try_from(count).ok()?.min(MAX_SOURCES_PER_PLAY);
        let slots = vec![Slot::default(); count];
        Some(Self { slots })
    }

    /// The same with another number of slots; `None` for a negative one.
    pub(super) fn resized(self, count: i64) -> Option<Self> {
        let mut other = Self::of(count)?;
        for (place, slot) in other.slots.iter_mut().zip(self.slots) {
            *place = slot;
        }
        Some(other)
    }

    /// Its slots, in the order of their labels.
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Frees slots of those who are not `wanted` any more, and fills free ones with whoever is
    /// loudest, else was there first.
    fn settle(&mut self, wanted: &[StreamId], voices: &Voices) {
        for slot in &mut self.slots {
            if slot
                .participant
                .as_ref()
                .is_some_and(|id| !wanted.contains(id))
            {
                *slot = Slot::default();
            }
        }
        let mut waiting: Vec<&StreamId> = wanted.iter().filter(|id| !self.holds(id)).collect();
        waiting.sort_by_key(|id| voice(voices, id).level);
        let free = self.slots.iter_mut().filter(|s| s.participant.is_none());
        for (slot, id) in free.zip(waiting) {
            slot.participant = Some(id.clone());
        }
    }

    /// True when one of `speakers` is on no slot, and there is one that the loudest of those may
    /// take.
    fn may_yield(&self, now_ms: u64, speakers: &[StreamId], voices: &Voices) -> bool {
        let waiting = speakers.iter().filter(|id| !self.holds(id));
        let loudest = waiting.map(|id| voice(voices, id).level).min();
        loudest.is_some_and(|level| {
            let mut slots = self.slots.iter();
            slots.any(|slot| slot.yields(now_ms, level, voices))
        })
    }

    /// Lets each speaker of `wanted` without a slot, the loudest first, take the slot that was
    /// silent longest; true when one did.
    fn hear(&mut self, now_ms: u64, wanted: &[StreamId], voices: &Voices) -> bool {
        let is_waiting = |id: &&StreamId| !self.holds(id) && voice(voices, id).is_speaking(now_ms);
        let mut speakers: Vec<&StreamId> = wanted.iter().filter(is_waiting).collect();
        speakers.sort_by_key(|id| voice(voices, id).level);
        let mut changed = false;
        for speaker in speakers {
            let level = voice(voices, speaker).level;
            let yielding = |slot: &&mut Slot| slot.yields(now_ms, level, voices);
            let slots = self.slots.iter_mut().filter(yielding);
            let silent_longest = slots.min_by_key(|slot| {
                let holder = slot.participant.as_ref().map(|id| voice(voices, id));
                holder.map(|holder| (holder.spoke_ms, u8::MAX - holder.level))
            });
            let Some(slot) = silent_longest else {
                return changed;
            };
            slot.participant = Some(speaker.clone());
            slot.changed_ms = now_ms;
            changed = true;
        }
        changed
    }

    /// Puts `id` on slot number `at` and keeps it there; whoever was on it changes places with it.
    /// With `None` it stays where it is, or gets the first slot that is not pinned. Nothing
    /// happens when there is no such slot.
    pub(super) fn pin(&mut self, id: &StreamId, at: Option<usize>) {
        let old = self.place_of(id);
        let open = || self.slots.iter().position(|slot| !slot.is_pinned);
        let Some(at) = at.or(old).or_else(open).filter(|at| *at < self.slots.len()) else {
            return;
        };
        if let Some(old) = old.filter(|old| *old != at) {
            self.slots.swap(old, at);
        }
        if let Some(slot) = self.slots.get_mut(at) {
            slot.participant = Some(id.clone());
            slot.is_pinned = true;
        }
    }

    /// Lets go of `id`: it stays until a speaker takes its slot.
    pub(super) fn unpin(&mut self, id: &StreamId) {
        let is_its = |slot: &&mut Slot| slot.participant.as_ref() == Some(id);
        for slot in self.slots.iter_mut().filter(is_its) {
            slot.is_pinned = false;
        }
    }

    /// Puts the entries of `page` of `wanted` on the slots that are not pinned, as far as there
    /// are any; who has a slot keeps it.
    pub(super) fn show(&mut self, wanted: &[StreamId], page: Page) {
        let size = page.size.map_or(usize::MAX, |size| size as usize);
        let chosen: Vec<&StreamId> = wanted
            .iter()
            .skip(page.offset as usize)
            .take(size.min(self.slots.len()))
            .collect();
        let missing: Vec<&StreamId> = chosen
            .iter()
            .filter(|id| !self.holds(id))
            .copied()
            .collect();
        let is_chosen = |slot: &Slot| {
            let id = slot.participant.as_ref();
            id.is_some_and(|id| chosen.contains(&id))
        };
        let open = self.slots.iter_mut();
        let open = open.filter(|slot| !slot.is_pinned && !is_chosen(slot));
        for (slot, id) in open.zip(missing) {
            slot.participant = Some(id.clone());
        }
    }

    fn place_of(&self, id: &StreamId) -> Option<usize> {
        let is_its = |slot: &Slot| slot.participant.as_ref() == Some(id);
        self.slots.iter().position(is_its)
    }

    fn holds(&self, id: &StreamId) -> bool {
        self.place_of(id).is_some()
    }

    /// One lane per slot that is taken: the first track of this kind of who is on it.
    fn lanes(&self, participants: &[Source], kind: MediaKind) -> Vec<Source> {
        let lane = |(at, slot): (usize, &Slot)| {
            let id = slot.participant.as_ref()?;
            let source = participants.iter().find(|source| source.stream == *id)?;
            let track = source.tracks.iter().find(|track| track.kind == kind)?;
            Some(Source {
                stream: label(kind, at).into(),
                tracks: vec![track.clone()],
            })
        };
        self.slots.iter().enumerate().filter_map(lane).collect()
    }
}

/// What slot number `at` is called on the wire.
pub(super) fn label(kind: MediaKind, at: usize) -> String {
    let name = match kind {
        MediaKind::Audio => "audioTrack",
        MediaKind::Video => "videoTrack",
    };
    format!("{name}{at}")
}

/// The number of the video slot called `label`.
pub(super) fn video_slot(label: &str) -> Option<usize> {
    label.strip_prefix("videoTrack")?.parse().ok()
}

fn voice(voices: &Voices, id: &StreamId) -> Voice {
    voices.get(id).copied().unwrap_or_default()
}

/// RFC 6464 §3: the softest level.
pub(super) const SILENCE: u8 = 127;

/// Reports in a row that make a speaker: 400 ms of speech.
const SPEAKS_AFTER: u8 = 2;

/// A voice counts as heard for so long after its last loud report: the pause between two words.
const HEARD_FOR_MS: u64 = 600;

/// A slot that a speaker took is not taken again for so long.
const STAYS_FOR_MS: u64 = 2000;

/// Who speaks against somebody who speaks too needs to be louder by so many decibels.
const LOUDER_BY: u8 = 10;

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
