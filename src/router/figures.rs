//! What the layers of one encoding are and carry: sizes, bits, frames.
//!
//! Counted once per received packet; read when somebody chooses among layers. Does not choose.

use std::time::Instant;

use super::track::Rate;
use crate::base::limits::MAX_SCALABLE_LAYERS;
use crate::model::layers::{Layer, LayerFigures, Layers, Marks};
use crate::payload::Resolution;

/// The figures of one encoding.
#[derive(Debug, Default)]
pub struct Figures {
    /// Per spatial layer, of the latest key frame that said so.
    sizes: Sizes,
    /// Payload, by spatial and temporal layer.
    rates: [[Rate; MAX_SCALABLE_LAYERS]; MAX_SCALABLE_LAYERS],
    /// Frames instead of bytes, by temporal layer.
    frames: [Rate; MAX_SCALABLE_LAYERS],
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

    /// The largest picture; `None` before the first key frame.
    pub fn largest(&self) -> Option<Resolution> {
        let known = self.sizes.iter().flatten().copied();
        known.max_by_key(|size| size.pixels())
    }

    /// The layers of encoding `encoding` that are alive; the lowest of it is always there.
    pub fn append(&self, now: Instant, encoding: u8, out: &mut Layers) {
        for spatial in 0..MAX_SCALABLE_LAYERS as u8 {
            for temporal in 0..MAX_SCALABLE_LAYERS as u8 {
                let layer = Layer {
                    encoding,
                    spatial,
                    temporal,
                };
                if (spatial, temporal) == (0, 0) || self.is_alive(now, spatial, temporal) {
                    out.push(self.layer(now, layer));
                }
            }
        }
    }

    fn is_alive(&self, now: Instant, spatial: u8, temporal: u8) -> bool {
        let row = self.rates.get(usize::from(spatial));
        let rate = row.and_then(|row| row.get(usize::from(temporal)));
        rate.is_some_and(|rate| rate.is_alive(now))
    }

    fn layer(&self, now: Instant, layer: Layer) -> LayerFigures {
        let (spatial, temporal) = (usize::from(layer.spatial), usize::from(layer.temporal));
        let rows = self.rates.iter().take(spatial + 1);
        let rates = rows.flat_map(|row| row.iter().take(temporal + 1));
        let frames = self.frames.iter().take(temporal + 1);
        let own = self.sizes.get(spatial).copied().flatten();
        let size = own.or_else(|| self.largest());
        LayerFigures {
            layer,
            bps: rates.map(|rate| rate.bps_at(now)).sum(),
            width: size.map_or(0, |size| size.width),
            height: size.map_or(0, |size| size.height),
            frames_per_s: (frames.map(|rate| rate.bps_at(now)).sum::<u64>() / 8) as u16,
        }
    }
}

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
            figures.add(now, Marks::new(false, true, false, (0, temporal)), 500);
            if ms < 2000 {
                figures.add(now, Marks::new(false, true, false, (1, temporal)), 1000);
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
}
