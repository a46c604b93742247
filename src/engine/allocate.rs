//! What a path takes, divided among the layers of what its subscriber is sent.
//!
//! `bwe/allocate.rs` divides; this gathers what there is and hands the result on as targets. Runs
//! when layers are looked at, and once a second where more is sent than the path takes. A video for
//! whose lowest layer there is no room is paused, once that has lasted: a moment's estimate
//! switches nothing off.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::Engine;
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::ids::{PeerId, TrackId};
use crate::bwe::allocate::{Choice, Wish, allocate};
use crate::model::layers::{Layer, LayerFigures, Priority, Target};
use crate::peer::climb::Climb;
use crate::peer::subscriber::Sending;
use crate::peer::{Peer, Side};
use crate::router::tracks::{TrackKey, Tracks};

/// One sending as allocation sees it.
#[derive(Debug)]
struct Ladder {
    sending: usize,
    audio: bool,
    priority: Priority,
    /// Empty where nothing can be left out.
    layers: SmallVec<[Layer; 9]>,
    /// What each costs; where `layers` is empty, what all of it does.
    bps: SmallVec<[u64; 9]>,
    present: Choice,
}

impl Ladder {
    /// Puts the next layer on top, where it is a step. What costs as much shows no more; of two
    /// encodings that cost about the same the one that is `present` stays, whichever costs less at
    /// the moment: each change between them takes a key frame.
    fn add(&mut self, figures: &LayerFigures, present: Target) {
        let (layer, bps) = (figures.layer, figures.wire_bps);
        if present == Target::Upto(layer) {
            while self.bps.last().is_some_and(|&below| below >= bps) {
                self.bps.pop();
                self.layers.pop();
            }
        }
        let is_step = match (self.layers.last(), self.bps.last()) {
            (Some(below), Some(&below_bps)) => {
                let is_other = picture(*below) != picture(layer) && present != Target::Upto(layer);
                let least = if is_other { STEP_PERCENT } else { 100 };
                bps.saturating_mul(100) > below_bps.saturating_mul(least)
            }
            _ => true,
        };
        if is_step {
            self.bps.push(bps);
            self.layers.push(layer);
        }
    }

    /// What `choice` costs.
    fn costs(&self, choice: Choice) -> u64 {
        match choice {
            Choice::Layer(at) => self.bps.get(at).copied().unwrap_or(0),
            Choice::Paused => 0,
        }
    }

    fn picture(&self, choice: Choice) -> Option<(u8, u8)> {
        match choice {
            Choice::Layer(at) => self.layers.get(at).copied().map(picture),
            Choice::Paused => None,
        }
    }

    /// True when `flowing` cannot go on beside the others until the encoding of `choice` takes
    /// over: it costs half as much again as there is room for.
    fn is_far_above(&self, flowing: Layer, choice: Choice, left_bps: u64) -> bool {
        let Choice::Layer(at) = choice else {
            return false;
        };
        let (Some(next), Some(room_bps)) = (self.layers.get(at), self.bps.get(at)) else {
            return false;
        };
        let flows = |layer: &Layer| {
            layer.encoding == flowing.encoding
                && layer.spatial <= flowing.spatial
                && layer.temporal <= flowing.temporal
        };
        let priced = self.layers.iter().zip(&self.bps);
        let costs_bps = priced
            .filter(|(layer, _)| flows(layer))
            .map(|(_, bps)| *bps);
        let costs_bps = costs_bps.max().unwrap_or(0);
        flowing.encoding != next.encoding && costs_bps > (room_bps + left_bps) * 3 / 2
    }
}

impl Engine {
    /// Sets the targets of every video that `peer` is sent, once its path is known.
    pub(super) fn allocate_layers(&mut self, now: Now, peer: PeerId) {
        let Some(Peer {
            side: Side::Subscriber(subscriber),
            ..
        }) = self.peers.get_mut(peer)
        else {
            return;
        };
        let Some(budget_bps) = subscriber.path.divide(now.instant) else {
            return;
        };
        let suffers = subscriber.path.suffers();
        let important = &subscriber.important;
        let sendings = subscriber.sendings.iter().enumerate();
        let ladders: SmallVec<[Ladder; 4]> = sendings
            .filter(|(_, sending)| sending.is_taken() && sending.switched_on)
            .map(|(at, sending)| Ladder {
                priority: priority(important, sending),
                ..ladder(now, &self.tracks, at, sending)
            })
            .collect();
        if ladders.iter().all(|ladder| ladder.audio) {
            return;
        }
        let wishes: SmallVec<[Wish<'_>; 4]> = ladders.iter().map(wish).collect();
        let mut choices: SmallVec<[Choice; 4]> = wishes.iter().map(|_| Choice::Paused).collect();
        let climb = &mut subscriber.climb;
        let present_bps = ladders.iter().map(|l| l.costs(l.present)).sum();
        let allowed_bps = match climb.is_settling(now.instant) && !suffers {
            true => budget_bps.max(present_bps),
            false => budget_bps,
        };
        let limit_bps = climb.limit_bps(now.instant);
        let spent_bps = allocate(allowed_bps, limit_bps, &wishes, &mut choices);
        let sums = (budget_bps, present_bps, spent_bps);
        note_climb(climb, now.instant, &ladders, &choices, sums);
        let left_bps = budget_bps.saturating_sub(spent_bps);
        let mut resumed: SmallVec<[TrackKey; 2]> = SmallVec::new();
        for (ladder, choice) in ladders.iter().zip(&choices) {
            let Some(sending) = subscriber.sendings.get_mut(ladder.sending) else {
                continue;
            };
            if ladder.audio {
                continue;
            }
            let was_paused = sending.target == Target::Paused;
            let choice = patiently(now.instant, sending, *choice, suffers);
            let flowing = sending.flowing().filter(|_| suffers);
            if flowing.is_some_and(|layer| ladder.is_far_above(layer, choice, left_bps)) {
                sending.stop_encoding();
                subscriber.path.forget_repairs();
            }
            if sending.set_target(target(ladder, choice)) {
                resumed.extend(sending.track);
            }
            self.counters.paused += u64::from(!was_paused && choice == Choice::Paused);
        }
        for key in resumed {
            self.tracks.want_key_frame(now.instant, key);
        }
    }
}

/// What of `layer` shows: another of these takes a key frame.
fn picture(layer: Layer) -> (u8, u8) {
    (layer.encoding, layer.spatial)
}

/// Takes note when pictures get better and all comes to more, or worse and to less.
fn note_climb(
    climb: &mut Climb,
    now: Instant,
    ladders: &[Ladder],
    choices: &[Choice],
    (budget_bps, present_bps, spent_bps): (u64, u64, u64),
) {
    let pairs = ladders.iter().zip(choices);
    let shrinks = pairs.clone().any(|(l, choice)| *choice < l.present);
    let mut changed = pairs.filter(|(l, choice)| l.picture(l.present) != l.picture(**choice));
    if spent_bps > present_bps && changed.any(|(ladder, choice)| *choice > ladder.present) {
        climb.rise(now, budget_bps, present_bps);
    } else if spent_bps < present_bps && changed.any(|(l, choice)| *choice < l.present) {
        climb.fall(now, budget_bps, spent_bps);
    } else if shrinks {
        climb.shrink(spent_bps);
    } else {
        climb.stay(spent_bps);
    }
}

fn priority(important: &[(TrackId, Priority)], sending: &Sending) -> Priority {
    let found = important.iter().find(|(id, _)| *id == sending.info.id);
    found.map_or(Priority::Normal, |(_, priority)| *priority)
}

fn wish(ladder: &Ladder) -> Wish<'_> {
    Wish {
        audio: ladder.audio,
        priority: ladder.priority,
        layers_bps: &ladder.bps,
        present: ladder.present,
    }
}

/// `choice`, but for those who are to be paused or resumed and have not waited for it. Whoever
/// could not be probed for while it is paused is not paused, and nobody is where the path shows no
/// harm: an estimate may be low for no reason.
fn patiently(now: Instant, sending: &mut Sending, choice: Choice, suffers: bool) -> Choice {
    let is_paused = sending.target == Target::Paused;
    let has_changed = is_paused != (choice == Choice::Paused);
    if !(is_paused || has_changed && sending.can_probe() && suffers) {
        sending.short_since = None;
        return match choice {
            Choice::Paused => Choice::Layer(0),
            Choice::Layer(_) => choice,
        };
    }
    let since = *sending.short_since.get_or_insert(now);
    let has_waited = now.saturating_duration_since(since) >= PATIENCE;
    match (is_paused, has_changed && has_waited) {
        (false, false) => Choice::Layer(0),
        (false, true) => {
            sending.short_since = Some(now);
            Choice::Paused
        }
        (true, false) => Choice::Paused,
        (true, true) => {
            sending.short_since = None;
            choice
        }
    }
}

/// The best is left open, so that what comes up later is meant too.
fn target(ladder: &Ladder, choice: Choice) -> Target {
    let at = match choice {
        Choice::Paused => return Target::Paused,
        Choice::Layer(at) => at,
    };
    match ladder.layers.get(at) {
        Some(_) if at + 1 == ladder.layers.len() => Target::Best,
        Some(layer) => Target::Upto(*layer),
        None => Target::Best,
    }
}

fn ladder(now: Now, tracks: &Tracks, at: usize, sending: &Sending) -> Ladder {
    let mut ladder = Ladder {
        sending: at,
        audio: sending.info.kind == MediaKind::Audio,
        priority: Priority::Normal,
        layers: SmallVec::new(),
        bps: SmallVec::new(),
        present: Choice::Paused,
    };
    let is_layered = sending.info.kind == MediaKind::Video && sending.is_layered();
    let published = match is_layered {
        true => tracks.layers(now.instant, &sending.info),
        false => SmallVec::new(),
    };
    let lowest = published.first().map_or(0, |figures| figures.height);
    let wanted = |figures: &&LayerFigures| {
        let most = sending.max_height;
        most == 0 || u32::from(figures.height) <= most || figures.height == lowest
    };
    for figures in published.iter().filter(wanted) {
        // What was not measured ends the ladder.
        if figures.wire_bps == 0 {
            break;
        }
        ladder.add(figures, sending.target);
    }
    if ladder.layers.is_empty() {
        let track = sending.track.and_then(|key| tracks.get(key));
        let bps = track.map_or(0, |track| track.wire_bps(now.instant));
        ladder.bps.push(bps);
    }
    let top = ladder.bps.len() - 1;
    ladder.present = match sending.target {
        Target::Paused => Choice::Paused,
        Target::Best => Choice::Layer(top),
        Target::Upto(layer) => {
            let place = ladder.layers.iter().position(|l| *l == layer);
            place.map_or(Choice::Layer(0), Choice::Layer)
        }
    };
    ladder
}

/// What another encoding must cost of the one below, or it is no step: rates waver.
const STEP_PERCENT: u64 = 110;

/// A video is paused when it has had no room for so long, and comes back no sooner: each time costs
/// a key frame.
const PATIENCE: Duration = Duration::from_secs(2);
