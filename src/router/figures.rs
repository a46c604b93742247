//! What the layers of one encoding are and carry: sizes, bits, frames.
//!
//! Counted once per received packet; read when somebody chooses among layers. Does not choose.

use std::time::{Duration, Instant};

use super::track::Rate;
use crate::base::limits::MAX_SCALABLE_LAYERS;
use crate::model::layers::{Layer, LayerFigures, Layers, Marks};
use crate::payload::Resolution;
use crate::payload::layers_allocation::{AllocatedLayer, StreamLayers};

/// The figures of one encoding.
#[derive(Debug, Default)]
pub struct Figures {
    /// Per spatial layer, of the latest key frame that said so.
    sizes: Sizes,
    /// Payload, by spatial and temporal layer.
    rates: [[Rate; MAX_SCALABLE_LAYERS]; MAX_SCALABLE_LAYERS],
    /// Frames instead of bytes, by temporal layer.
    frames: [Rate; MAX_SCALABLE_LAYERS],
    /// What the publisher says that it sends, and since when; `None` while it says nothing.
    declared: Option<(Instant, StreamLayers)>,
}

/// Picture sizes by spatial layer; `None` where unknown.
pub type Sizes = [Option<Resolution>; MAX_SCALABLE_LAYERS];

impl Figures {
    /// Counts one packet with `len` bytes of payload.
    pub fn add(&mut self, now: Instant, marks: Marks, len: usize) {
        let (spatial, temporal) = (usize::from(marks.spatial()), usize::from(marks.temporal()));
        let row = self.rates.get_mut(spatial);
        if let Some(rate) = row.and_then(|row| row.get_mut(temporal)) {
            rate.add(now, len);
        }
        if marks.ends_frame()
            && spatial == 0
            && let Some(frames) = self.frames.get_mut(temporal)
        {
            frames.add(now, 1);
        }
    }

    /// Takes the sizes that a key frame states.
    pub fn set_sizes(&mut self, sizes: Sizes) {
        self.sizes = sizes;
    }

    /// Takes what the publisher says of its layers (video layers allocation).
    pub fn declare(&mut self, now: Instant, mut layers: StreamLayers) {
        // Only some packets say how large pictures are.
        for (spatial, layer) in (0..).zip(&mut layers) {
            if let Some(layer) = layer {
                let before = self.declared_layer(spatial);
                layer.resolution = layer.resolution.or(before.and_then(|b| b.resolution));
            }
        }
        self.declared = Some((now, layers));
    }

    fn declared_layer(&self, spatial: usize) -> Option<AllocatedLayer> {
        let (_, layers) = self.declared.as_ref()?;
        layers.get(spatial).copied().flatten()
    }

    /// True for a layer that the publisher says it does not send, and from which nothing came
    /// since, but for what was under way.
    fn is_denied(&self, spatial: u8, temporal: u8) -> bool {
        let Some((since, _)) = self.declared else {
            return false;
        };
        let layer = self.declared_layer(spatial.into());
        let is_declared = layer.is_some_and(|layer| temporal < layer.temporal_layers);
        let rate = self.rate(spatial, temporal);
        let last = rate.and_then(Rate::last);
        !is_declared && last.is_none_or(|last| last < since + UNDER_WAY)
    }

    /// The largest picture; `None` before the first key frame.
    pub fn largest(&self) -> Option<Resolution> {
        let known = self.sizes.iter().flatten().copied();
        known.max_by_key(|size| size.pixels())
    }

    /// The layers of encoding `encoding` that are alive; the lowest of it is always there, unless
    /// the publisher denies that.
    pub fn append(&self, now: Instant, encoding: u8, out: &mut Layers) {
        for spatial in 0..MAX_SCALABLE_LAYERS as u8 {
            for temporal in 0..MAX_SCALABLE_LAYERS as u8 {
                let layer = Layer {
                    encoding,
                    spatial,
                    temporal,
                };
                let is_there =
                    (spatial, temporal) == (0, 0) || self.is_alive(now, spatial, temporal);
                if is_there && !self.is_denied(spatial, temporal) {
                    out.push(self.layer(now, layer));
                }
            }
        }
    }

    fn is_alive(&self, now: Instant, spatial: u8, temporal: u8) -> bool {
        let rate = self.rate(spatial, temporal);
        rate.is_some_and(|rate| rate.is_alive(now))
    }

    fn rate(&self, spatial: u8, temporal: u8) -> Option<&Rate> {
        let row = self.rates.get(usize::from(spatial))?;
        row.get(usize::from(temporal))
    }

    fn layer(&self, now: Instant, layer: Layer) -> LayerFigures {
        let (spatial, temporal) = (usize::from(layer.spatial), usize::from(layer.temporal));
        let rows = self.rates.iter().take(spatial + 1);
        let rates = rows.flat_map(|row| row.iter().take(temporal + 1));
        let frames = self.frames.iter().take(temporal + 1);
        let declared = self.declared_layer(spatial);
        let own = self.sizes.get(spatial).copied().flatten();
        let own = own.or_else(|| declared?.resolution);
        let size = own.or_else(|| self.largest());
        let (measured_bps, measured_wire_bps) = rates.fold((0, 0), |(bps, wire_bps), rate| {
            (bps + rate.bps_at(now), wire_bps + rate.wire_bps_at(now))
        });
        let kbps = declared.and_then(|layer| layer.kbps.get(temporal).copied());
        let declared_bps = u64::from(kbps.unwrap_or(0)) * 1000;
        let (bps, wire_bps) = match measured_bps {
            0 => (declared_bps, declared_bps * DECLARED_PERCENT / 100),
            _ => (measured_bps, measured_wire_bps),
        };
        LayerFigures {
            layer,
            bps,
            wire_bps,
            width: size.map_or(0, |size| size.width),
            height: size.map_or(0, |size| size.height),
            frames_per_s: (frames.map(|rate| rate.bps_at(now)).sum::<u64>() / 8) as u16,
        }
    }
}

/// What a link carries of what a publisher declares: headers, of packets that are mostly full.
const DECLARED_PERCENT: u64 = 107;

/// Packets that were sent before their layer was left out come as late as this.
const UNDER_WAY: Duration = Duration::from_millis(300);

/// Worst first: by pixels, then by bits.
pub fn sort(layers: &mut Layers) {
    layers.sort_by_key(|f| (u32::from(f.width) * u32::from(f.height), f.bps));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;
    use std::time::Duration;

    #[test]
    fn a_layer_carries_what_is_below_it_and_goes_when_it_falls_silent() {
        let start = test_now().instant;
        let mut figures = Figures::default();
        let size = |width, height| Resolution::new(width, height);
        figures.set_sizes([size(320, 180), size(640, 360), None, None]);
        for ms in (0..4000u64).step_by(20) {
            let now = start + Duration::from_millis(ms);
            let temporal = (ms / 20 % 2) as u8;
            figures.add(now, Marks::new(false, true, 0, (0, temporal)), 500);
            if ms < 2000 {
                figures.add(now, Marks::new(false, true, 0, (1, temporal)), 1000);
            }
        }
        let at = |ms| {
            let mut layers = Layers::default();
            figures.append(start + Duration::from_millis(ms), 2, &mut layers);
            sort(&mut layers);
            layers
        };
        let layers = at(3990);
        let names: Vec<_> = layers
            .iter()
            .map(|f| (f.layer.spatial, f.layer.temporal))
            .collect();
        assert_eq!(names, [(0, 0), (0, 1)], "the upper spatial layer is gone");
        assert!((90_000..110_000).contains(&layers[0].bps), "{layers:?}");
        assert!((180_000..220_000).contains(&layers[1].bps), "{layers:?}");
        assert!((23..=27).contains(&layers[0].frames_per_s), "{layers:?}");
        assert!((46..=54).contains(&layers[1].frames_per_s), "{layers:?}");
        assert_eq!((layers[1].layer.encoding, layers[1].height), (2, 180));
        assert_eq!(figures.largest(), size(640, 360));
    }

    #[test]
    fn what_the_publisher_says_counts_until_something_is_measured_or_comes() {
        let start = test_now().instant;
        let at = |ms| start + Duration::from_millis(ms);
        let declared = |kbps: &[u32]| {
            let mut all = [0; MAX_SCALABLE_LAYERS];
            all[..kbps.len()].copy_from_slice(kbps);
            Some(AllocatedLayer {
                temporal_layers: kbps.len() as u8,
                kbps: all,
                resolution: Resolution::new(640, 360),
            })
        };
        let listed = |figures: &Figures, ms| {
            let mut layers = Layers::default();
            figures.append(at(ms), 0, &mut layers);
            let each = layers.iter().map(|f| (f.layer.temporal, f.bps, f.height));
            each.collect::<Vec<_>>()
        };
        let packet = |temporal| Marks::new(false, true, 0, (0, temporal));
        let mut figures = Figures::default();
        for temporal in 0..2 {
            figures.add(at(0), packet(temporal), 500);
        }
        assert_eq!(listed(&figures, 10), [(0, 0, 0), (1, 0, 0)]);
        figures.declare(at(10), [declared(&[200, 300]), None, None, None]);
        let both = [(0, 200_000, 360), (1, 300_000, 360)];
        assert_eq!(listed(&figures, 20), both);
        // The upper temporal layer is left out; one packet of it was under way.
        figures.declare(at(100), [declared(&[200]), None, None, None]);
        figures.add(at(150), packet(1), 500);
        assert_eq!(listed(&figures, 160), both[..1]);
        // What comes after all is not denied for long.
        figures.add(at(500), packet(1), 500);
        assert_eq!(listed(&figures, 510).len(), 2);
        figures.declare(at(600), [None; MAX_SCALABLE_LAYERS]);
        assert!(listed(&figures, 610).is_empty());
    }
}
