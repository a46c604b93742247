//! Divides a subscriber's bitrate among the tracks it is sent: which layer of each, or none.
//!
//! A function of its arguments. Audio is never held back: it is small, and a conversation lives
//! off it. Then every video gets its lowest layer, the important ones first, and what is left
//! raises them step by step, evenly, with important ones ahead. Called by `peer/` when the
//! estimate or a track changes.

use crate::model::layers::Priority;

/// What one track could be sent as.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Audio takes its first layer whatever it costs.
    pub audio: bool,
    /// Ignored for audio.
    pub priority: Priority,
    /// Bits per second of each layer with those that it needs, lowest first, rising. Empty while
    /// nothing was measured: then it is sent and costs nothing.
    pub layers_bps: &'a [u64],
    /// What it is sent as at present.
    pub present: Choice,
}

/// What a track is sent as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Choice {
    /// Not even its lowest layer fits.
    #[default]
    Paused,
    /// This layer, counted from the lowest.
    Layer(usize),
}

/// Sets `choices[i]` to what `wishes[i]` is to be sent as within `budget_bps`, and within
/// `up_bps` where that is above what it is sent as at present; both are of one
/// length, surplus entries of the longer one are left alone. Returns what that costs, which is
/// more than the budget only for audio and tracks not measured.
///
/// A layer above the present one must fit with [`UP_PERCENT`] to spare, the present one and those
/// below may be [`KEEP_PERCENT`] of their rate: estimates and rates both waver.
pub fn allocate(budget_bps: u64, up_bps: u64, wishes: &[Wish<'_>], choices: &mut [Choice]) -> u64 {
    let mut spent = 0_u64;
    for (wish, choice) in wishes.iter().zip(choices.iter_mut()) {
        let free = wish.audio || wish.layers_bps.is_empty();
        *choice = if free {
            Choice::Layer(0)
        } else {
            Choice::Paused
        };
        if wish.audio {
            spent = spent.saturating_add(wish.layers_bps.first().copied().unwrap_or(0));
        }
    }
    // Every round takes one step, and each track has few: this ends.
    let budgets = (budget_bps, up_bps.min(budget_bps));
    while let Some((at, next, cost)) = best_step(budgets, spent, wishes, choices) {
        spent = spent.saturating_add(cost);
        if let Some(choice) = choices.get_mut(at) {
            *choice = Choice::Layer(next);
        }
    }
    spent
}

/// What all tracks would cost at their highest layers, bits per second.
pub fn wanted_bps(wishes: &[Wish<'_>]) -> u64 {
    let highest = wishes.iter().filter_map(|wish| match wish.audio {
        true => wish.layers_bps.first(),
        false => wish.layers_bps.last(),
    });
    highest.fold(0, |sum, bps| sum.saturating_add(*bps))
}

/// The step that comes next, of those that fit: track, layer, and what it adds.
fn best_step(
    (budget_bps, up_bps): (u64, u64),
    spent: u64,
    wishes: &[Wish<'_>],
    choices: &[Choice],
) -> Option<(usize, usize, u64)> {
    let pairs = wishes.iter().zip(choices).enumerate();
    let steps = pairs.filter_map(|(at, (wish, choice))| {
        let step = Step::of(wish, *choice)?;
        let most_bps = if step.is_up { up_bps } else { budget_bps };
        let fits = spent.saturating_add(step.must_fit_bps) <= most_bps;
        fits.then_some((at, wish, step))
    });
    let (at, _, step) = steps.min_by_key(|(_, wish, step)| {
        // The lowest layer of everybody comes first; important ones are a layer or two ahead.
        let ahead = wish.priority as usize;
        let rank = match step.layer {
            0 => 0,
            layer => 1 + layer.saturating_sub(ahead),
        };
        (rank, std::cmp::Reverse(wish.priority), step.layer)
    })?;
    Some((at, step.layer, step.adds_bps))
}

/// From a choice to the layer above it.
#[derive(Clone, Copy, Debug)]
struct Step {
    layer: usize,
    /// Above what it is sent as at present.
    is_up: bool,
    adds_bps: u64,
    /// What of the budget must be left for it.
    must_fit_bps: u64,
}

impl Step {
    /// `None` at the top, and for audio.
    fn of(wish: &Wish<'_>, choice: Choice) -> Option<Self> {
        if wish.audio {
            return None;
        }
        let (layer, has_bps) = match choice {
            Choice::Paused => (0, 0),
            Choice::Layer(layer) => (layer + 1, *wish.layers_bps.get(layer)?),
        };
        let costs_bps = *wish.layers_bps.get(layer)?;
        let is_up = Choice::Layer(layer) > wish.present;
        let percent = if is_up { UP_PERCENT } else { KEEP_PERCENT };
        let counted = costs_bps.saturating_mul(percent) / 100;
        Some(Self {
            layer,
            is_up,
            adds_bps: costs_bps.saturating_sub(has_bps),
            must_fit_bps: counted.saturating_sub(has_bps),
        })
    }
}

/// A step up must fit with this much to spare.
pub const UP_PERCENT: u64 = 115;

/// What is being sent is kept while this much of it fits: a cut that answers a short queue takes
/// about a tenth of the estimate.
pub const KEEP_PERCENT: u64 = 91;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LADDER: [u64; 3] = [150_000, 500_000, 2_000_000];
    const VOICE: [u64; 1] = [40_000];

    fn audio() -> Wish<'static> {
        Wish {
            audio: true,
            priority: Priority::Normal,
            layers_bps: &VOICE,
            present: Choice::Layer(0),
        }
    }

    fn video(priority: Priority, present: Choice) -> Wish<'static> {
        Wish {
            audio: false,
            priority,
            layers_bps: &LADDER,
            present,
        }
    }

    fn choose(budget_bps: u64, wishes: &[Wish<'_>]) -> Vec<Choice> {
        let mut choices = vec![Choice::Paused; wishes.len()];
        allocate(budget_bps, u64::MAX, wishes, &mut choices);
        choices
    }

    #[test]
    fn audio_comes_first_and_video_pauses_below_its_lowest_layer() {
        let wishes = [video(Priority::Pinned, Choice::Layer(0)), audio()];
        assert_eq!(choose(30_000, &wishes), [Choice::Paused, Choice::Layer(0)]);
        assert_eq!(
            choose(190_000, &wishes),
            [Choice::Layer(0), Choice::Layer(0)]
        );
    }

    #[test]
    fn the_speaker_of_six_is_ahead_at_one_and_a_half_megabits() {
        let mut wishes = vec![audio(); 6];
        wishes.push(video(Priority::Speaking, Choice::Paused));
        wishes.extend([video(Priority::Normal, Choice::Paused); 4]);
        let choices = choose(1_500_000, &wishes);
        assert_eq!(choices[6], Choice::Layer(1));
        assert_eq!(choices[7..], [Choice::Layer(0); 4]);
        wishes[6].priority = Priority::Pinned;
        assert_eq!(choose(3_500_000, &wishes)[6], Choice::Layer(2));
    }

    #[test]
    fn equal_tracks_rise_in_turn() {
        let wishes = [video(Priority::Normal, Choice::Paused); 3];
        let choices = choose(1_100_000, &wishes);
        let sum = |layer| {
            choices
                .iter()
                .filter(|c| **c == Choice::Layer(layer))
                .count()
        };
        assert_eq!((sum(0), sum(1), sum(2)), (2, 1, 0));
    }

    #[test]
    fn steps_up_need_more_than_staying() {
        let at = |present| [video(Priority::Normal, present)];
        assert_eq!(choose(520_000, &at(Choice::Layer(0))), [Choice::Layer(0)]);
        assert_eq!(choose(580_000, &at(Choice::Layer(0))), [Choice::Layer(1)]);
        assert_eq!(choose(460_000, &at(Choice::Layer(1))), [Choice::Layer(1)]);
        assert_eq!(choose(450_000, &at(Choice::Layer(1))), [Choice::Layer(0)]);
        assert_eq!(choose(160_000, &at(Choice::Paused)), [Choice::Paused]);
        assert_eq!(choose(175_000, &at(Choice::Paused)), [Choice::Layer(0)]);
    }

    #[test]
    fn what_was_not_measured_is_sent() {
        let wish = Wish {
            layers_bps: &[],
            ..video(Priority::Normal, Choice::Paused)
        };
        assert_eq!(choose(0, &[wish]), [Choice::Layer(0)]);
        assert_eq!(wanted_bps(&[wish, audio()]), 40_000);
    }

    proptest! {
        #[test]
        fn never_spends_more_than_there_is_and_never_less_for_the_important(
            budget in 0_u64..10_000_000,
            tracks in prop::collection::vec(
                (0_usize..3, prop::collection::vec(10_000_u64..900_000, 1..4), 0_usize..4), 1..12),
        ) {
            let ladders: Vec<Vec<u64>> = tracks.iter().map(|(_, steps, _)| {
                steps.iter().scan(0, |sum, step| { *sum += step; Some(*sum) }).collect()
            }).collect();
            let wishes: Vec<Wish<'_>> = tracks.iter().zip(&ladders).map(|((priority, _, at), l)| {
                let priorities = [Priority::Normal, Priority::Speaking, Priority::Pinned];
                Wish {
                    audio: false,
                    priority: priorities[*priority],
                    layers_bps: l,
                    present: if *at == 0 { Choice::Paused } else { Choice::Layer(at - 1) },
                }
            }).collect();
            let mut choices = vec![Choice::Paused; wishes.len()];
            let spent = allocate(budget, u64::MAX, &wishes, &mut choices);
            let cost: u64 = wishes.iter().zip(&choices).map(|(wish, choice)| match choice {
                Choice::Paused => 0,
                Choice::Layer(layer) => wish.layers_bps[*layer],
            }).sum();
            prop_assert_eq!(spent, cost);
            prop_assert!(cost * KEEP_PERCENT / 100 <= budget + wishes.len() as u64);
            for (one, chosen) in wishes.iter().zip(&choices) {
                for (other, gets) in wishes.iter().zip(&choices) {
                    let same = one.layers_bps == other.layers_bps && one.present == other.present;
                    if same && one.priority > other.priority {
                        prop_assert!(chosen >= gets);
                    }
                }
            }
        }
    }
}
