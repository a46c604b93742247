//! What a path takes, divided among the layers of what its subscriber is sent.
//!
//! `bwe/allocate.rs` divides; this gathers what there is and hands the result on as targets. Runs
//! when layers are looked at. Video is not paused: who has no layers to give up is sent what there
//! is, and the lowest layer always flows, because a path without video could not be probed.

use smallvec::SmallVec;

use super::Engine;
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::ids::PeerId;
use crate::bwe::allocate::{Choice, Priority, Wish, allocate};
use crate::model::layers::{Layer, LayerFigures, Target};
use crate::peer::subscriber::Sending;
use crate::peer::{Peer, Side};
use crate::router::tracks::Tracks;

/// One sending as allocation sees it.
#[derive(Debug)]
struct Ladder {
    sending: usize,
    /// What it costs whatever is chosen; layers are empty then.
    fixed_bps: Option<u64>,
    layers: SmallVec<[Layer; 9]>,
    bps: SmallVec<[u64; 9]>,
    present: Choice,
}

impl Engine {
    /// Sets the targets of everything that `peer` is sent in layers, once its path is known.
    pub(super) fn allocate_layers(&mut self, now: Now, peer: PeerId) {
        let Some(Peer {
            side: Side::Subscriber(subscriber),
            ..
        }) = self.peers.get_mut(peer)
        else {
            return;
        };
        let Some(estimate_bps) = subscriber.path.estimate_bps() else {
            return;
        };
        let sendings = subscriber.sendings.iter().enumerate();
        let ladders: SmallVec<[Ladder; 4]> = sendings
            .filter(|(_, sending)| sending.is_in_use() && sending.enabled)
            .map(|(at, sending)| ladder(now, &self.tracks, at, sending))
            .collect();
        if ladders.iter().all(|ladder| ladder.fixed_bps.is_some()) {
            return;
        }
        let wishes: SmallVec<[Wish<'_>; 4]> = ladders.iter().map(wish).collect();
        let mut choices: SmallVec<[Choice; 4]> = wishes.iter().map(|_| Choice::Paused).collect();
        allocate(estimate_bps, &wishes, &mut choices);
        for (ladder, choice) in ladders.iter().zip(&choices) {
            let Some(sending) = subscriber.sendings.get_mut(ladder.sending) else {
                continue;
            };
            if ladder.fixed_bps.is_none() {
                sending.set_target(target(ladder, *choice));
            }
        }
    }
}

fn wish(ladder: &Ladder) -> Wish<'_> {
    Wish {
        audio: ladder.fixed_bps.is_some(),
        priority: Priority::Normal,
        layers_bps: match &ladder.fixed_bps {
            Some(bps) => std::slice::from_ref(bps),
            None => &ladder.bps,
        },
        present: ladder.present,
    }
}

/// The best is left open, so that what comes up later is meant too.
fn target(ladder: &Ladder, choice: Choice) -> Target {
    let at = match choice {
        Choice::Paused => 0,
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
        fixed_bps: None,
        layers: SmallVec::new(),
        bps: SmallVec::new(),
        present: Choice::Paused,
    };
    let is_layered = sending.info.kind == MediaKind::Video && sending.layers.is_some();
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
        let bps = figures.bps * HEADERS_PERCENT / 100;
        // What costs more and shows no more is no step; what was not measured ends the ladder.
        if bps == 0 {
            break;
        }
        if ladder.bps.last().is_none_or(|&below| bps > below) {
            ladder.bps.push(bps);
            ladder.layers.push(figures.layer);
        }
    }
    if ladder.layers.is_empty() {
        let track = sending.track.and_then(|key| tracks.get(key));
        let bps = track.map_or(0, |track| track.rate.latest_bps());
        ladder.fixed_bps = Some(bps * HEADERS_PERCENT / 100);
        return ladder;
    }
    let top = ladder.layers.len() - 1;
    ladder.present = match sending.target {
        Target::Paused => Choice::Paused,
        Target::Best => Choice::Layer(top),
        Target::Upto(layer) => {
            let place = ladder.layers.iter().position(|l| *l == layer);
            place.map_or(Choice::Paused, Choice::Layer)
        }
    };
    ladder
}

/// Layers are measured in payload: RTP, SRTP, UDP and IP come on top.
const HEADERS_PERCENT: u64 = 105;
