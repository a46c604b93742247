//! Who gets which slot, and who keeps it.

use proptest::prelude::*;

use super::*;
use crate::base::codec::Codec;
use crate::base::ids::{Pt, TrackId, WorkerId};
use crate::model::track::TrackInfo;

/// Times in milliseconds, levels as RFC 6464 has them, under the default threshold.
struct Room {
    wanted: Vec<StreamId>,
    voices: Voices,
    video: Assignment,
    now_ms: u64,
}

impl Room {
    fn new(slots: i64, wanted: &str) -> Self {
        let mut room = Self {
            wanted: Vec::new(),
            voices: Voices::new(),
            video: Assignment::of(slots).unwrap(),
            now_ms: 1_700_000_000_000,
        };
        room.want(wanted);
        room
    }

    /// One letter per participant.
    fn want(&mut self, wanted: &str) {
        self.wanted = wanted.chars().map(|id| id.to_string().into()).collect();
        self.video.settle(&self.wanted, &self.voices);
    }

    /// Everybody in `levels` reports every 200 ms for `millis`.
    fn talk(&mut self, levels: &[(&str, u8)], millis: u64) {
        for _ in 0..millis / 200 {
            self.now_ms += 200;
            for (id, level) in levels {
                let voice = self.voices.entry((*id).into()).or_default();
                voice.hear(self.now_ms, *level, 120);
            }
            let (wanted, voices) = (&self.wanted, &self.voices);
            let speaks = |id: &&StreamId| voice(voices, id).is_speaking(self.now_ms);
            let speakers: Vec<StreamId> = wanted.iter().filter(speaks).cloned().collect();
            let may_yield = self.video.may_yield(self.now_ms, &speakers, voices);
            let changed = self.video.hear(self.now_ms, wanted, voices);
            assert_eq!(may_yield, changed, "asking first leaves nothing out");
        }
    }

    /// Who is where: `-` is a free slot, a capital letter is pinned.
    fn shown(&self) -> String {
        let letter = |slot: &Slot| match &slot.participant {
            Some(id) if slot.is_pinned => id.to_uppercase(),
            Some(id) => id.to_string(),
            None => "-".to_owned(),
        };
        self.video.slots().iter().map(letter).collect()
    }
}

#[test]
fn slots_are_filled_in_order_and_kept_while_their_holders_are_wanted() {
    let mut room = Room::new(2, "");
    assert_eq!(room.shown(), "--");
    room.want("ab");
    assert_eq!(room.shown(), "ab");
    room.want("abcd");
    assert_eq!(room.shown(), "ab");
    room.want("bcd");
    assert_eq!(room.shown(), "cb", "who comes first of those who wait");
    room.talk(&[("d", 50)], 200);
    room.want("bd");
    assert_eq!(room.shown(), "db");
    room.want("b");
    assert_eq!(room.shown(), "-b");
    assert_eq!(Assignment::of(-1), None);
    assert_eq!(Assignment::of(i64::MAX).unwrap().slots().len(), 63);
}

#[test]
fn a_free_slot_goes_to_whoever_is_loudest() {
    let mut room = Room::new(1, "a");
    room.talk(&[("a", 30), ("b", 60), ("c", 40)], 200);
    room.want("bc");
    assert_eq!(room.shown(), "c");
}

#[test]
fn a_speaker_takes_the_slot_that_was_silent_longest() {
    let mut room = Room::new(2, "abcd");
    room.talk(&[("a", 40), ("b", 40)], 1000);
    room.talk(&[("a", 127), ("b", 40)], 1000);
    room.talk(&[("c", 119)], 200);
    assert_eq!(room.shown(), "ab", "a cough");
    room.talk(&[("c", 120)], 1000);
    assert_eq!(room.shown(), "ab", "no louder than the threshold");
    room.talk(&[("c", 119)], 400);
    assert_eq!(room.shown(), "cb");
    room.talk(&[("a", 40)], 400);
    assert_eq!(room.shown(), "ca");
}

#[test]
fn a_slot_changes_at_most_once_in_two_seconds() {
    let mut room = Room::new(1, "abc");
    room.talk(&[("b", 40)], 400);
    assert_eq!(room.shown(), "b");
    room.talk(&[("b", 127), ("c", 40)], 1800);
    assert_eq!(room.shown(), "b");
    room.talk(&[("c", 40)], 200);
    assert_eq!(room.shown(), "c");
}

#[test]
fn against_a_speaker_only_a_much_louder_one_wins() {
    let mut room = Room::new(1, "ab");
    room.talk(&[("a", 50), ("b", 41)], 3000);
    assert_eq!(room.shown(), "a");
    room.talk(&[("a", 50), ("b", 40)], 200);
    assert_eq!(room.shown(), "b");
}

#[test]
fn pinned_ones_stay_and_change_places() {
    let mut room = Room::new(2, "abcd");
    room.video.pin(&"c".into(), Some(0));
    assert_eq!(room.shown(), "Cb");
    room.video.pin(&"b".into(), Some(0));
    assert_eq!(room.shown(), "BC");
    room.talk(&[("d", 10)], 5000);
    assert_eq!(room.shown(), "BC");
    room.video.unpin(&"c".into());
    room.talk(&[("d", 10)], 400);
    assert_eq!(room.shown(), "Bd");
    room.video.pin(&"a".into(), Some(2));
    room.video.pin(&"d".into(), None);
    assert_eq!(room.shown(), "BD", "no such slot; where it is");
    room.video.pin(&"a".into(), None);
    assert_eq!(room.shown(), "BD", "no slot is open");
    room.want("ab");
    assert_eq!(room.shown(), "Ba", "a pin ends with who was pinned");
}

#[test]
fn a_page_goes_on_the_slots_that_are_not_pinned() {
    let page = |offset, size| Page { offset, size };
    let mut room = Room::new(2, "abcde");
    room.video.show(&room.wanted, page(1, Some(2)));
    assert_eq!(room.shown(), "cb", "who is there keeps its slot");
    room.video.pin(&"c".into(), Some(0));
    room.video.show(&room.wanted, page(3, None));
    assert_eq!(room.shown(), "Cd");
    room.video.show(&room.wanted, page(9, Some(2)));
    assert_eq!(room.shown(), "Cd");
}

#[test]
fn another_number_of_slots_keeps_the_first_ones() {
    let mut room = Room::new(1, "abc");
    room.video = room.video.clone().resized(3).unwrap();
    room.want("abc");
    assert_eq!(room.shown(), "abc");
    room.video = room.video.clone().resized(2).unwrap();
    assert_eq!(room.shown(), "ab");
    assert_eq!(room.video.clone().resized(-1), None);
}

#[test]
fn kinds_are_limited_apart_and_everybody_is_named() {
    let track = |kind, codec, serial| TrackInfo {
        id: TrackId {
            origin: WorkerId(0),
            serial,
        },
        kind,
        codec,
        fmtp: "".into(),
        pt: Pt(96),
        rtx_pt: None,
        red: false,
        encodings: 1,
    };
    let source = |(id, serial): (&str, u64)| Source {
        stream: id.into(),
        tracks: vec![
            track(MediaKind::Audio, Codec::Opus, serial),
            track(MediaKind::Video, Codec::Vp8, serial + 1),
        ],
    };
    let everybody: Vec<Source> = [("a", 1), ("b", 3), ("c", 5)].map(source).into();
    let lanes = |video, audio| {
        let mut slots = Slots {
            video: Assignment::of(video),
            audio: Assignment::of(audio),
        };
        let lineup = slots.line_up(everybody.clone(), &Voices::new());
        assert_eq!(lineup.participants.len(), 3);
        let sources = lineup.sources.iter();
        let lane = |s: &Source| {
            let serials: Vec<u64> = s.tracks.iter().map(|t| t.id.serial).collect();
            format!("{} {serials:?}", s.stream)
        };
        sources.map(lane).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(lanes(-1, -1), "a [1, 2], b [3, 4], c [5, 6]");
    assert_eq!(lanes(1, -1), "a [1], b [3], c [5], videoTrack0 [2]");
    assert_eq!(lanes(-1, 1), "a [2], b [4], c [6], audioTrack0 [1]");
    assert_eq!(lanes(2, 0), "videoTrack0 [2], videoTrack1 [4]");
    assert_eq!(video_slot("videoTrack12"), Some(12));
    assert_eq!(video_slot("audioTrack0"), None);
}

#[derive(Clone, Debug)]
enum Step {
    Want(Vec<bool>),
    Hear(usize, u8),
    Pin(usize, Option<usize>),
    Unpin(usize),
    Show(u32, u32),
    Resize(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::collection::vec(prop::bool::ANY, 6).prop_map(Step::Want),
        (0..6usize, 0..128u8).prop_map(|(id, level)| Step::Hear(id, level)),
        (0..6usize, prop::option::of(0..5usize)).prop_map(|(id, at)| Step::Pin(id, at)),
        (0..6usize).prop_map(Step::Unpin),
        (0..7u32, 0..7u32).prop_map(|(offset, size)| Step::Show(offset, size)),
        (0..5i64).prop_map(Step::Resize),
    ]
}

proptest! {
    /// Nobody has two slots, nobody unwanted has one, none is free while somebody waits, and who
    /// is pinned stays through everything but its own leaving, a pin or fewer slots.
    #[test]
    fn slots_hold_wanted_ones_once(steps in prop::collection::vec(step(), 1..80)) {
        let ids = ["a", "b", "c", "d", "e", "f"];
        let mut room = Room::new(3, "abc");
        for step in steps {
            let before = room.video.clone();
            let keeps_pins = matches!(step, Step::Hear(..) | Step::Show(..) | Step::Want(_));
            match step {
                Step::Want(flags) => {
                    let wanted: String = ids.iter().zip(flags)
                        .filter_map(|(id, is_wanted)| is_wanted.then_some(*id)).collect();
                    room.want(&wanted);
                }
                Step::Hear(id, level) => room.talk(&[(ids[id], level)], 200),
                Step::Pin(id, at) if room.wanted.contains(&ids[id].into()) => {
                    room.video.pin(&ids[id].into(), at);
                }
                Step::Pin(..) => {}
                Step::Unpin(id) => room.video.unpin(&ids[id].into()),
                Step::Show(offset, size) => {
                    room.video.show(&room.wanted, Page { offset, size: Some(size) });
                }
                Step::Resize(count) => room.video = room.video.clone().resized(count).unwrap(),
            }
            room.video.settle(&room.wanted, &room.voices);
            let held: Vec<&StreamId> =
                room.video.slots().iter().filter_map(|s| s.participant.as_ref()).collect();
            for (at, id) in held.iter().enumerate() {
                prop_assert!(room.wanted.contains(id), "{} is not wanted", id);
                prop_assert!(!held[at + 1..].contains(id), "{} twice", id);
            }
            let places = room.video.slots().len().min(room.wanted.len());
            prop_assert_eq!(held.len(), places);
            for (old, new) in before.slots().iter().zip(room.video.slots()) {
                let stays = old.participant.as_ref().is_some_and(|id| room.wanted.contains(id));
                if keeps_pins && old.is_pinned && stays {
                    prop_assert_eq!(&old.participant, &new.participant);
                    prop_assert!(new.is_pinned);
                }
            }
        }
    }
}
