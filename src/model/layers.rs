//! Layers of a video track: which there are, what they carry, and what a subscriber is to be sent.
//!
//! A track has one encoding, or several that are published at once (simulcast); each encoding may
//! have spatial and temporal layers of its own (SVC). One [`Layer`] names a choice among all of
//! them: an encoding with everything in it up to a spatial and a temporal layer.

use smallvec::SmallVec;

use crate::base::limits::MAX_SCALABLE_LAYERS;

/// A choice among the layers of a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Layer {
    /// Which encoding, 0..`limits::MAX_ENCODINGS`, in the publisher's order: not the quality's.
    pub encoding: u8,
    /// Highest spatial layer of it, 0..`limits::MAX_SCALABLE_LAYERS`.
    pub spatial: u8,
    /// Highest temporal layer of it, 0..`limits::MAX_SCALABLE_LAYERS`.
    pub temporal: u8,
}

/// What somebody else than the viewer allows: the layer that the path to a subscriber carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Nothing of the track.
    Paused,
    /// Up to this layer; when it is not published any more, the lowest one.
    Upto(Layer),
    /// The best that is published.
    #[default]
    Best,
}

/// How important a video is to this subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// One of many.
    #[default]
    Normal,
    /// Its participant speaks; it may be one layer ahead of others.
    Speaking,
    /// The subscriber has asked for it; it may be two layers ahead.
    Pinned,
}

/// One layer with what it carries at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerFigures {
    /// Which.
    pub layer: Layer,
    /// Payload bits per second of all that a subscriber to it is sent, lower layers of its
    /// encoding included, over the last second. While nothing was measured, what the publisher
    /// declares; 0 when that is nothing either.
    pub bps: u64,
    /// The same with all headers, as a link carries it; 0 while its publisher has switched it off.
    pub wire_bps: u64,
    /// Pixels per row; 0 while not known.
    pub width: u16,
    /// Rows; 0 while not known.
    pub height: u16,
    /// Frames per second over the last second; 0 while nothing was measured.
    pub frames_per_s: u16,
}

/// The layers that are being published, worst first: by pixels, then by bits. Three sizes with
/// three temporal layers each need no allocation.
pub type Layers = SmallVec<[LayerFigures; 9]>;

/// The best of `layers` within `target` and no higher than `max_height` rows; where none is so
/// low, the best of the lowest height. 0: any height. `None` when there are none or nothing is to
/// be sent.
pub fn choose(layers: &[LayerFigures], target: Target, max_height: u32) -> Option<LayerFigures> {
    let upto = match target {
        Target::Paused => return None,
        Target::Best => layers.len(),
        Target::Upto(layer) => {
            let at = layers.iter().position(|f| f.layer == layer);
            at.map_or(1, |at| at + 1)
        }
    };
    let allowed = layers.get(..upto.min(layers.len()))?;
    let fits = |f: &&LayerFigures| max_height == 0 || u32::from(f.height) <= max_height;
    let lowest = allowed.first()?.height;
    let is_lowest = |f: &&LayerFigures| f.height == lowest;
    let best = allowed.iter().rev().find(fits);
    let best = best.or_else(|| allowed.iter().rev().find(is_lowest));
    best.copied()
}

/// What forwarding has to know of one packet, in one byte: found once on receipt.
///
/// ```text
///  0 1 2 3 4 5 6 7
/// +-+-+-+-+-+-+-+-+
/// |K|E| U |TID|SID|   key frame, end of a layer frame, up-switch
/// +-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u8);

impl Marks {
    /// A packet of the base layers; `key_frame`: a decoder can start here.
    pub const fn base(key_frame: bool) -> Self {
        Self((key_frame as u8) << 7)
    }

    /// Layers from `limits::MAX_SCALABLE_LAYERS` on count as the highest.
    /// `switches_up` as [`switches_up`](Self::switches_up) returns it; `layers` spatial, temporal.
    pub fn new(key_frame: bool, ends_frame: bool, switches_up: u8, layers: (u8, u8)) -> Self {
        let highest = MAX_SCALABLE_LAYERS as u8 - 1;
        let (spatial, temporal) = (layers.0.min(highest), layers.1.min(highest));
        // From the highest there is none above, and its own is something else.
        let up = match temporal == highest && switches_up != layers.1 {
            true => 0,
            false => switches_up.min(highest),
        };
        let flags = u8::from(key_frame) << 7 | u8::from(ends_frame) << 6;
        Self(flags | up << 4 | temporal << 2 | spatial)
    }

    /// A decoder can start here.
    pub const fn key_frame(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// Last packet of a frame, or of a layer's part of it.
    pub const fn ends_frame(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// Up to which temporal layer one can switch here; 0: to none.
    ///
    /// [`temporal`](Self::temporal): who has had the lower ones only can take this frame (VP8's Y,
    /// RFC 7741 §4.2). Above it: who takes this frame can take that layer's frames that follow
    /// (VP9's U, RFC 9628 §4.2; Switch, AV1 RTP Table A.2).
    pub const fn switches_up(self) -> u8 {
        self.0 >> 4 & 3
    }

    /// Temporal layer, 0..`limits::MAX_SCALABLE_LAYERS`.
    pub const fn temporal(self) -> u8 {
        self.0 >> 2 & 3
    }

    /// Spatial layer, 0..`limits::MAX_SCALABLE_LAYERS`.
    pub const fn spatial(self) -> u8 {
        self.0 & 3
    }

    /// Belongs to a layer above the lowest.
    pub const fn is_enhancement(self) -> bool {
        self.0 & 0x0f != 0
    }
}

const _: () = assert!(MAX_SCALABLE_LAYERS == 4);

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(encoding: u8, temporal: u8, height: u16) -> LayerFigures {
        LayerFigures {
            layer: Layer {
                encoding,
                spatial: 0,
                temporal,
            },
            bps: 1000,
            wire_bps: 1060,
            width: height * 2,
            height,
            frames_per_s: 30,
        }
    }

    #[test]
    fn the_best_within_what_is_asked_and_allowed() {
        let layers = [figures(2, 0, 180), figures(1, 0, 360), figures(0, 0, 720)];
        let at = |target, height| choose(&layers, target, height).map(|f| f.layer.encoding);
        assert_eq!(at(Target::Best, 0), Some(0));
        assert_eq!(at(Target::Best, 720), Some(0));
        assert_eq!(at(Target::Best, 719), Some(1), "the nearest not above");
        assert_eq!(at(Target::Best, 90), Some(2), "none is so low");
        assert_eq!(at(Target::Upto(layers[1].layer), 720), Some(1));
        assert_eq!(at(Target::Upto(layers[0].layer), 200), Some(2));
        assert_eq!(at(Target::Upto(figures(3, 0, 0).layer), 0), Some(2), "gone");
        assert_eq!(at(Target::Paused, 0), None);
        assert_eq!(choose(&[], Target::Best, 0), None);
    }

    #[test]
    fn marks_hold_what_they_were_made_of() {
        let marks = Marks::new(false, true, 2, (2, 1));
        assert!(!marks.key_frame() && marks.ends_frame());
        assert_eq!(
            (marks.spatial(), marks.temporal(), marks.switches_up()),
            (2, 1, 2)
        );
        let high = Marks::new(true, false, 0, (9, 200));
        assert_eq!((high.spatial(), high.temporal()), (3, 3));
        assert!(high.key_frame() && high.is_enhancement());
        let up = |switches_up, temporal| {
            Marks::new(false, false, switches_up, (0, temporal)).switches_up()
        };
        assert_eq!(
            [up(u8::MAX, 0), up(u8::MAX, 2), up(2, 2), up(3, 3)],
            [3, 3, 2, 3]
        );
        assert_eq!(
            [up(u8::MAX, 3), up(7, 5), up(0, 3)],
            [0, 0, 0],
            "none above"
        );
        assert!(!Marks::base(true).is_enhancement() && Marks::base(true).key_frame());
    }
}
