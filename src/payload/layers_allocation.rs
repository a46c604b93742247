//! The video layers allocation header extension: which layers a publisher sends and what they
//! shall carry, ahead of what can be measured.
//!
//! "Video layers allocation version 0",
//! <http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00>. Chromium sends it with
//! simulcast, on key frames and when something changes. Read on receipt (`peer/`), not forwarded.

use super::Resolution;
use super::av1::leb128;
use crate::base::bytes::Reader;
use crate::base::limits::{MAX_ENCODINGS, MAX_SCALABLE_LAYERS};

/// What one packet says of all layers of its m-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Which RTP stream (encoding) the packet is of, counted in the order of the m-line's.
    pub stream: u8,
    /// RTP streams, those that send nothing included: 1..=4.
    pub streams: u8,
    /// By RTP stream.
    pub layers: [StreamLayers; MAX_ENCODINGS],
}

/// By spatial layer; `None` for layers that are not sent.
pub type StreamLayers = [Option<AllocatedLayer>; MAX_SCALABLE_LAYERS];

/// A spatial layer that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocatedLayer {
    /// Temporal layers of it, 1..=4.
    pub temporal_layers: u8,
    /// By temporal layer: kilobits per second of all that has to be received for it; 0 for those
    /// there are not.
    pub kbps: [u32; MAX_SCALABLE_LAYERS],
    /// Picture size, in packets that say so.
    pub resolution: Option<Resolution>,
}

/// Reads an element's value; `None` when it is cut off.
///
/// ```text
///  0 1 2 3 4 5 6 7
/// +-+-+-+-+-+-+-+-+
/// |RID| NS| sl_bm |   stream, streams - 1, spatial layers of all streams; 0: they differ
/// +-+-+-+-+-+-+-+-+
/// |sl0_bm |sl1_bm |   where they differ: of each stream
/// +-+-+-+-+-+-+-+-+
/// |sl2_bm |sl3_bm |   with more than two streams
/// +-+-+-+-+-+-+-+-+
/// |#tl|#tl|#tl|#tl|   temporal layers - 1, of each spatial layer of each stream
/// +-+-+-+-+-+-+-+-+
/// :    bitrates   :   kbit/s in LEB128, of each of their temporal layers
/// +-+-+-+-+-+-+-+-+
/// :   width - 1   :   2 bytes, optional as all that follows: of each spatial layer
/// |   height - 1  |   2 bytes
/// | max framerate |
/// +-+-+-+-+-+-+-+-+
/// ```
///
/// A single 0 says that nothing is sent.
pub fn parse(value: &[u8]) -> Option<Allocation> {
    let mut r = Reader::new(value);
    let first = r.u8()?;
    let mut allocation = Allocation {
        stream: first >> 6,
        streams: (first >> 4 & 3) + 1,
        layers: [[None; MAX_SCALABLE_LAYERS]; MAX_ENCODINGS],
    };
    if value == [0] {
        return Some(allocation);
    }
    let masks = masks(&mut r, first & 0x0f, allocation.streams)?;
    let active = || {
        let places = (0..MAX_ENCODINGS).flat_map(|stream| {
            let spatials = 0..MAX_SCALABLE_LAYERS;
            spatials.map(move |spatial| (stream, spatial))
        });
        places.filter(|&(stream, spatial)| {
            let mask = masks.get(stream).copied().unwrap_or(0);
            mask >> spatial & 1 != 0
        })
    };
    let mut counts = r.sub(active().count().div_ceil(4))?;
    let mut byte = 0;
    for (at, place) in active().enumerate() {
        if at % 4 == 0 {
            byte = counts.u8()?;
        }
        let temporal_layers = (byte >> (6 - 2 * (at % 4)) & 3) + 1;
        let layer = AllocatedLayer {
            temporal_layers,
            kbps: [0; MAX_SCALABLE_LAYERS],
            resolution: None,
        };
        *allocation.layer_mut(place)? = Some(layer);
    }
    for place in active() {
        let layer = allocation.layer_mut(place)?.as_mut()?;
        let present = layer.kbps.iter_mut().take(layer.temporal_layers.into());
        for kbps in present {
            *kbps = leb128(&mut r)?;
        }
    }
    for place in active() {
        let Some([w1, w2, h1, h2, _]) = r.array() else {
            break;
        };
        let (width, height) = ([w1, w2], [h1, h2]);
        let side = |less_one| u32::from(u16::from_be_bytes(less_one)) + 1;
        let layer = allocation.layer_mut(place)?.as_mut()?;
        layer.resolution = Resolution::new(side(width), side(height));
    }
    Some(allocation)
}

/// The spatial layers of each stream, as bits.
fn masks(r: &mut Reader<'_>, shared: u8, streams: u8) -> Option<[u8; MAX_ENCODINGS]> {
    let mut masks = [0; MAX_ENCODINGS];
    let mut byte = 0;
    for (at, mask) in masks.iter_mut().enumerate().take(streams.into()) {
        *mask = shared;
        if shared == 0 {
            if at % 2 == 0 {
                byte = r.u8()?;
            }
            *mask = if at % 2 == 0 { byte >> 4 } else { byte & 0x0f };
        }
    }
    Some(masks)
}

impl Allocation {
    fn layer_mut(
        &mut self,
        (stream, spatial): (usize, usize),
    ) -> Option<&mut Option<AllocatedLayer>> {
        self.layers.get_mut(stream)?.get_mut(spatial)
    }
}

const _: () = assert!(MAX_ENCODINGS == 4 && MAX_SCALABLE_LAYERS == 4);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layer(kbps: &[u32], size: Option<(u32, u32)>) -> Option<AllocatedLayer> {
        let mut all = [0; 4];
        all[..kbps.len()].copy_from_slice(kbps);
        Some(AllocatedLayer {
            temporal_layers: kbps.len() as u8,
            kbps: all,
            resolution: size.and_then(|(width, height)| Resolution::new(width, height)),
        })
    }

    const NONE: StreamLayers = [None; 4];

    #[test]
    fn simulcast_with_sizes() {
        // Stream 1 of 3, each with one spatial layer of one temporal layer.
        let mut value = vec![0x61, 0x00, 0x96, 0x01, 0xf4, 0x03, 0xc4, 0x13];
        for (width, height) in [(320_u16, 180_u16), (640, 360), (1280, 720)] {
            value.extend_from_slice(&(width - 1).to_be_bytes());
            value.extend_from_slice(&(height - 1).to_be_bytes());
            value.push(30);
        }
        let read = parse(&value).unwrap();
        assert_eq!((read.stream, read.streams), (1, 3));
        let one = |kbps, size| [layer(&[kbps], Some(size)), None, None, None];
        let low = one(150, (320, 180));
        assert_eq!(read.layers[0], low);
        assert_eq!(read.layers[1], one(500, (640, 360)));
        assert_eq!(read.layers[2], one(2500, (1280, 720)));
        assert_eq!(read.layers[3], NONE);
        for len in 1..8 {
            assert_eq!(parse(&value[..len]), None, "{len}");
        }
        let read = parse(&value[..13]).unwrap();
        assert_eq!(read.layers[0], low, "as far as sizes go");
        assert_eq!(read.layers[1], [layer(&[500], None), None, None, None]);
    }

    #[test]
    fn streams_may_differ_in_their_layers() {
        // Streams 0 and 2 of three, the second of them without its lowest spatial layer.
        let value = [0x20, 0x10, 0x60, 0b0001_1000, 10, 20, 30, 40, 50, 60];
        let read = parse(&value).unwrap();
        assert_eq!((read.stream, read.streams), (0, 3));
        assert_eq!(read.layers[0], [layer(&[10], None), None, None, None]);
        assert_eq!(read.layers[1], NONE);
        let upper = [
            None,
            layer(&[20, 30], None),
            layer(&[40, 50, 60], None),
            None,
        ];
        assert_eq!(read.layers[2], upper);
        assert_eq!(parse(&value[..9]), None);
    }

    #[test]
    fn scalable_layers_of_one_stream() {
        let value = [
            0x07,
            0b0101_0100,
            10,
            15,
            0xf4,
            0x03,
            0xd8,
            0x04,
            0x80,
            0x08,
            1,
            2,
        ];
        let read = parse(&value);
        assert_eq!(
            read.map(|a| a.layers[0]),
            Some([
                layer(&[10, 15], None),
                layer(&[500, 600], None),
                layer(&[1024, 1], None),
                None
            ])
        );
    }

    #[test]
    fn nothing_may_be_sent() {
        let read = parse(&[0]).unwrap();
        assert_eq!((read.streams, read.layers), (1, [NONE; 4]));
        let read = parse(&[0x60, 0, 0]).unwrap();
        assert_eq!((read.stream, read.layers), (1, [NONE; 4]));
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0x40]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn arbitrary_bytes_never_panic(value in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Some(read) = parse(&value) {
                let beyond = &read.layers[usize::from(read.streams)..];
                prop_assert!(beyond.iter().all(|layers| *layers == NONE));
            }
        }
    }
}
