//! Payload descriptors: what is read lies within the packet, and a patch changes nothing else.

use crate::base::codec::Codec;
use crate::base::ids::Pt;
use crate::payload::dependency_structure::Structure;
use crate::payload::{self, PacketInfo, dependency_descriptor as dd, layers_allocation, red};

/// Two bytes of numbers to patch with, and the payload behind them.
fn split(bytes: &[u8]) -> Option<(u16, u8, &[u8])> {
    let ([high, low, index], payload) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes([*high, *low]), *index, payload))
}

/// What every codec's description of a packet keeps to.
fn inspected(codec: Codec, payload: &[u8]) -> PacketInfo {
    let info = payload::inspect(codec, payload, true, None);
    // H.265 has 6 bits for its layer, everything else 3 at most.
    assert!(info.temporal < 8 && info.spatial < 64);
    let unmarked = payload::inspect(codec, payload, false, None);
    assert_eq!(
        (info.key_frame, info.starts_frame, info.temporal),
        (unmarked.key_frame, unmarked.starts_frame, unmarked.temporal),
        "the marker ends frames and does nothing else"
    );
    info
}

/// VP8 (RFC 7741 §4.2).
pub fn vp8(bytes: &[u8]) {
    let Some((picture_id, index, payload)) = split(bytes) else {
        return;
    };
    let info = inspected(Codec::Vp8, payload);
    let mut patched = payload.to_vec();
    let Some(before) = payload::vp8::parse(payload) else {
        assert!(!payload::vp8::patch(
            &mut patched,
            Some(picture_id),
            Some(index)
        ));
        assert_eq!((patched.as_slice(), info), (payload, PacketInfo::default()));
        return;
    };
    assert!(before.len_bytes <= payload.len());
    assert!(payload::vp8::patch(
        &mut patched,
        Some(picture_id),
        Some(index)
    ));
    let after = payload::vp8::parse(&patched).expect("as long as before");
    let mut wanted = before;
    wanted.picture_id = before.picture_id.map(|id| id.with_value(picture_id));
    wanted.tl0_pic_idx = before.tl0_pic_idx.map(|_| index);
    assert_eq!(after, wanted);
    assert_eq!(patched[before.len_bytes..], payload[before.len_bytes..]);
    assert_eq!(payload::inspect(Codec::Vp8, &patched, true, None), info);
}

/// VP9 (RFC 9628 §4.2).
pub fn vp9(bytes: &[u8]) {
    let Some((picture_id, index, payload)) = split(bytes) else {
        return;
    };
    let info = inspected(Codec::Vp9, payload);
    let mut patched = payload.to_vec();
    let Some(before) = payload::vp9::parse(payload) else {
        assert!(!payload::vp9::patch_picture_id(&mut patched, picture_id));
        assert!(!payload::vp9::patch_tl0_pic_idx(&mut patched, index));
        assert_eq!((patched.as_slice(), info), (payload, PacketInfo::default()));
        return;
    };
    assert!(before.len_bytes <= payload.len());
    assert!(usize::from(before.references) <= before.p_diffs.len());
    assert!(payload::vp9::patch_picture_id(&mut patched, picture_id));
    assert!(payload::vp9::patch_tl0_pic_idx(&mut patched, index));
    let after = payload::vp9::parse(&patched).expect("as long as before");
    let mut wanted = before;
    wanted.picture_id = before.picture_id.map(|id| id.with_value(picture_id));
    wanted.tl0_pic_idx = before.tl0_pic_idx.map(|_| index);
    assert_eq!(after, wanted);
    assert_eq!(patched[before.len_bytes..], payload[before.len_bytes..]);
    assert_eq!(payload::inspect(Codec::Vp9, &patched, true, None), info);
}

/// H.264 (RFC 6184 §5).
pub fn h264(payload: &[u8]) {
    let info = inspected(Codec::H264, payload);
    let summary = payload::h264::summarize(payload);
    assert!(!summary.idr_start || summary.picture_start && summary.slices);
    assert!(!(summary.sps || summary.pps) || summary.prelude);
    assert!(summary.resolution.is_none() || summary.sps);
    assert_eq!(info.key_frame, summary.sps || summary.idr_start);
    assert_eq!((info.temporal, info.spatial), (0, 0));
}

/// H.265 (RFC 7798 §4.4).
pub fn h265(payload: &[u8]) {
    let info = inspected(Codec::H265, payload);
    let summary = payload::h265::summarize(payload);
    assert!(!summary.irap_start || summary.picture_start && summary.slices);
    assert!(!(summary.vps || summary.sps || summary.pps) || summary.prelude);
    assert!(summary.resolution.is_none() || summary.sps);
    assert!(!info.key_frame || info.starts_frame);
}

/// AV1 (AV1 RTP §4).
pub fn av1(payload: &[u8]) {
    let info = inspected(Codec::Av1, payload);
    let Some((header, elements)) = payload::av1::parse(payload) else {
        assert_eq!(info, PacketInfo::default());
        return;
    };
    let elements: Vec<_> = elements.collect();
    let taken: usize = elements.iter().map(|element| element.len()).sum();
    assert!(taken < payload.len().max(1));
    assert!(header.elements == 0 || elements.len() <= usize::from(header.elements));
    for element in elements {
        if let Some(obu) = payload::av1::Obu::parse(element) {
            assert!(obu.body.len() < element.len() && obu.kind < 16);
        }
    }
    assert!(info.resolution.is_none() || info.key_frame);
}

/// Opus (RFC 6716 §3): at most 48 frames of 2.5 ms.
pub fn opus(payload: &[u8]) {
    inspected(Codec::Opus, payload);
    if let Some(us) = payload::opus::duration_us(payload) {
        assert!((2500..=120_000).contains(&us), "{us} us");
        assert!(payload::opus::Toc::parse(payload).is_some_and(|toc| us >= toc.frame_us()));
    }
}

/// Redundancy (RFC 2198 §3), with the types that its blocks have and shall have.
pub fn red(bytes: &[u8]) {
    let Some(([from, to], payload)) = bytes.split_first_chunk() else {
        return;
    };
    let (from, to) = (Pt(from & 0x7f), Pt(to & 0x7f));
    let primary = red::primary_at(payload).map(|at| payload.split_at(at).1.to_vec());
    let mut renumbered = payload.to_vec();
    if red::renumber(&mut renumbered, from, to).is_some() {
        assert_eq!(red::primary_at(&renumbered), red::primary_at(payload));
        assert_eq!(red::renumber(&mut renumbered, to, from), Some(()));
        assert_eq!(renumbered, payload);
    }
    let mut unwrapped = payload.to_vec();
    match (red::unwrap(&mut unwrapped), primary) {
        (Some(len), Some(primary)) => assert_eq!(unwrapped.get(..len), Some(&*primary)),
        (None, None) => assert_eq!(unwrapped, payload),
        (len, primary) => panic!("{len:?} {primary:?}"),
    }
}

/// Video layers allocation: nothing is of a stream there is not, and layers have a count.
pub fn layers_allocation(value: &[u8]) {
    let Some(read) = layers_allocation::parse(value) else {
        return;
    };
    assert!((1..=4).contains(&read.streams) && read.stream < 4);
    for (stream, layers) in (0..).zip(read.layers) {
        for layer in layers.iter().flatten() {
            assert!(stream < read.streams);
            assert!((1..=4).contains(&layer.temporal_layers));
            let beyond = layer.kbps.iter().skip(layer.temporal_layers.into());
            assert_eq!(beyond.sum::<u32>(), 0);
        }
    }
}

/// Dependency descriptors, one behind the other as an encoding brings them: a length and that many
/// bytes each (AV1 RTP, appendix A).
pub fn dependency_descriptor(bytes: &[u8]) {
    let Some((number, template, mut rest)) = split(bytes) else {
        return;
    };
    let mut structure: Option<Structure> = None;
    while let Some((&len, behind)) = rest.split_first() {
        let (element, behind) = behind.split_at(usize::from(len).min(behind.len()));
        rest = behind;
        patched(element, structure.as_ref(), number, template);
        let Some(descriptor) = dd::parse(element, structure.as_ref()) else {
            continue;
        };
        if let Some(frame) = &descriptor.frame {
            assert!(frame.spatial < 8 && frame.temporal < 8);
        }
        assert_eq!(descriptor.structure().is_some(), descriptor.has_structure);
        if let Some(own) = descriptor.structure() {
            assert!(!own.templates().is_empty());
            structure = Some(own);
        }
    }
}

/// A patch moves frame number and template ids by the same, whatever else is there.
fn patched(element: &[u8], structure: Option<&Structure>, number: u16, template: u8) {
    let mut bytes = element.to_vec();
    let before = dd::parse(element, structure);
    if !dd::patch(&mut bytes, number, template) {
        assert_eq!(bytes, element, "refused, and changed all the same");
        return;
    }
    assert!(bytes.len() == element.len());
    let Some(before) = before.filter(|descriptor| descriptor.has_structure) else {
        return;
    };
    // The ids of a structure move with those that name them, so it still resolves.
    let after = dd::parse(&bytes, structure).expect("still a descriptor");
    assert_eq!(after.frame_number, before.frame_number.wrapping_add(number));
    let moved = before.template_id.wrapping_add(template) & 63;
    assert_eq!(after.template_id, moved);
    assert_eq!(after.frame, before.frame);
    assert_eq!(after.resolution, before.resolution);
    assert!(dd::patch(
        &mut bytes,
        number.wrapping_neg(),
        template.wrapping_neg()
    ));
    assert_eq!(bytes, element, "back again");
}
