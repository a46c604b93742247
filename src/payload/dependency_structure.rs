//! The template dependency structure: what the short ids in dependency descriptors stand for.
//!
//! AV1 RTP payload format, Appendix A.4 (`template_dependency_structure`). Bounded arrays only.
//! Does not follow frames over time. Read by `dependency_descriptor.rs`; the caller of that file
//! stores one per received encoding.

use super::Resolution;
use super::bits::BitReader;

/// What a frame means to one decode target (AV1 RTP Table A.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indication {
    /// 0: the target does not contain the frame.
    NotPresent,
    /// 1: contained, and nothing in the target refers to it.
    Discardable,
    /// 2: contained; who has this frame can have all of the target that follows.
    Switch,
    /// 3: contained and needed, but no place to switch.
    Required,
}

/// One [`Indication`] per decode target, two bits each, target 0 lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indications(u64);

impl Indications {
    /// The indication for decode target `target`; `NotPresent` from 32 on.
    pub const fn get(self, target: u8) -> Indication {
        if target as usize >= MAX_DECODE_TARGETS {
            return Indication::NotPresent;
        }
        match (self.0 >> (target * 2)) & 3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }

    /// True when no decode target needs the frame for another one: every target either lacks it
    /// or may discard it.
    pub const fn all_discardable(self) -> bool {
        self.0 & HIGH_BITS == 0
    }

    pub(super) fn read(r: &mut BitReader<'_>, targets: u8) -> Option<Self> {
        let mut packed = 0;
        for target in 0..targets.min(MAX_DECODE_TARGETS as u8) {
            packed |= u64::from(r.bits(2)?) << (target * 2);
        }
        Some(Self(packed))
    }
}

/// Distances, in frame numbers, to the frames that one frame refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameDiffs {
    values: [u16; MAX_FRAME_DIFFS],
    len: u8,
}

impl FrameDiffs {
    /// The distances, 1..=4096 each, at most eight; empty for a frame that refers to none.
    pub fn as_slice(&self) -> &[u16] {
        self.values.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Appends one; `None` when full.
    pub(super) fn push(&mut self, diff: u32) -> Option<()> {
        *self.values.get_mut(usize::from(self.len))? = u16::try_from(diff).ok()?;
        self.len += 1;
        Some(())
    }
}

/// Distances, in frame numbers, to the previous frame of each chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainDiffs {
    values: [u8; MAX_CHAINS],
    len: u8,
}

impl ChainDiffs {
    /// One per chain: 0 = the chain (re)starts here; 1..=255 = the frame that many numbers before
    /// must have been received for the chain to be intact.
    pub fn as_slice(&self) -> &[u8] {
        self.values.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Reads `chains` values of `width` bits, at most 8.
    pub(super) fn read(r: &mut BitReader<'_>, chains: u8, width: u32) -> Option<Self> {
        let mut diffs = Self {
            values: [0; MAX_CHAINS],
            len: chains.min(MAX_CHAINS as u8),
        };
        for slot in diffs.values.iter_mut().take(usize::from(diffs.len)) {
            *slot = r.bits(width)? as u8;
        }
        Some(diffs)
    }
}

/// One recurring kind of frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// 0..=7.
    pub spatial: u8,
    /// 0..=7.
    pub temporal: u8,
    /// Per decode target.
    pub indications: Indications,
    /// Frames referred to.
    pub frame_diffs: FrameDiffs,
    /// Per chain.
    pub chain_diffs: ChainDiffs,
}

/// The templates of one coded video sequence, with its decode targets and chains.
///
/// About 4 KB without indirection: store it once per encoding and replace it when a descriptor
/// brings another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    /// `template_id` of the first template, 0..=63.
    pub id_offset: u8,
    /// Decode targets, 1..=32.
    pub decode_targets: u8,
    /// Chains, 0..=32.
    pub chains: u8,
    templates: [Template; MAX_TEMPLATES],
    template_count: u8,
    protected_by: [u8; MAX_DECODE_TARGETS],
    /// Highest layers of each decode target.
    target_layers: [(u8, u8); MAX_DECODE_TARGETS],
    resolutions: [Option<Resolution>; MAX_LAYERS],
}

impl Structure {
    /// The templates in the order sent, 1..=64 of them.
    pub fn templates(&self) -> &[Template] {
        self.templates
            .get(..usize::from(self.template_count))
            .unwrap_or_default()
    }

    /// The template that a descriptor's `template_id` (0..=63) names; `None` when the id belongs
    /// to another structure, so one was missed.
    pub fn template(&self, template_id: u8) -> Option<&Template> {
        let index = (template_id.wrapping_sub(self.id_offset)) & 63;
        self.templates().get(usize::from(index))
    }

    /// The chain that protects decode target `target`; `None` when no chain does.
    pub fn chain_of(&self, target: u8) -> Option<u8> {
        if target >= self.decode_targets {
            return None;
        }
        let chain = *self.protected_by.get(usize::from(target))?;
        (chain < self.chains).then_some(chain)
    }

    /// Highest (spatial, temporal) layer that decode target `target` contains; (0, 0) when it
    /// contains none (`decode_target_layers` in A.4.1).
    pub fn layers_of(&self, target: u8) -> (u8, u8) {
        let layers = self.target_layers.get(usize::from(target));
        layers.copied().unwrap_or_default()
    }

    /// The highest temporal layer that a frame of spatial layer `spatial` with these indications
    /// lets one switch to, among the decode targets of that spatial layer; 0 when there is none.
    pub fn switches_up(&self, spatial: u8, indications: Indications) -> u8 {
        let targets = (0..self.decode_targets).zip(&self.target_layers);
        let switches = targets.filter(|(target, layers)| {
            layers.0 == spatial && indications.get(*target) == Indication::Switch
        });
        switches.map(|(_, layers)| layers.1).max().unwrap_or(0)
    }

    /// Largest render size of spatial layer `spatial`; `None` when the structure does not say.
    pub fn resolution(&self, spatial: u8) -> Option<Resolution> {
        self.resolutions.get(usize::from(spatial)).copied()?
    }

    /// The largest of all render sizes; `None` when the structure does not say.
    pub fn largest(&self) -> Option<Resolution> {
        self.resolutions
            .iter()
            .copied()
            .flatten()
            .max_by_key(|resolution| resolution.pixels())
    }

    /// Reads `template_dependency_structure()`; `None` when cut off or beyond the limits below.
    pub(super) fn read(r: &mut BitReader<'_>) -> Option<Self> {
        let id_offset = r.bits(6)? as u8;
        let decode_targets = r.bits(5)? as u8 + 1;
        let mut structure = Self {
            id_offset,
            decode_targets,
            chains: 0,
            templates: [Template::default(); MAX_TEMPLATES],
            template_count: 0,
            protected_by: [0; MAX_DECODE_TARGETS],
            target_layers: [(0, 0); MAX_DECODE_TARGETS],
            resolutions: [None; MAX_LAYERS],
        };
        let spatial_layers = structure.read_layers(r)?;
        for template in structure.templates_mut() {
            template.indications = Indications::read(r, decode_targets)?;
        }
        structure.find_target_layers();
        for template in structure.templates_mut() {
            while r.flag()? {
                template.frame_diffs.push(r.bits(4)? + 1)?;
            }
        }
        structure.read_chains(r)?;
        if r.flag()? {
            for slot in structure.resolutions.iter_mut().take(spatial_layers) {
                let (width, height) = (r.bits(16)? + 1, r.bits(16)? + 1);
                *slot = Resolution::new(width, height);
            }
        }
        Some(structure)
    }

    fn templates_mut(&mut self) -> impl Iterator<Item = &mut Template> {
        let count = usize::from(self.template_count);
        self.templates.iter_mut().take(count)
    }

    /// `template_layers()`; returns the number of spatial layers.
    fn read_layers(&mut self, r: &mut BitReader<'_>) -> Option<usize> {
        let (mut spatial, mut temporal) = (0u8, 0u8);
        for slot in &mut self.templates {
            slot.spatial = spatial;
            slot.temporal = temporal;
            self.template_count += 1;
            match r.bits(2)? {
                0 => {}
                1 => temporal += 1,
                2 => (spatial, temporal) = (spatial + 1, 0),
                _ => return Some(usize::from(spatial) + 1),
            }
            if usize::from(spatial.max(temporal)) >= MAX_LAYERS {
                return None;
            }
        }
        None
    }

    /// `decode_target_layers()`.
    fn find_target_layers(&mut self) {
        let templates = self.templates.iter().take(self.template_count.into());
        for template in templates {
            for (target, (spatial, temporal)) in (0..).zip(&mut self.target_layers) {
                if template.indications.get(target) != Indication::NotPresent {
                    *spatial = template.spatial.max(*spatial);
                    *temporal = template.temporal.max(*temporal);
                }
            }
        }
    }

    /// `template_chains()`.
    fn read_chains(&mut self, r: &mut BitReader<'_>) -> Option<()> {
        let targets = self.decode_targets;
        self.chains = r.ns(u32::from(targets) + 1)? as u8;
        if self.chains == 0 {
            return Some(());
        }
        // INTEROP(chrome): drafts coded this as ns(chains + 1); the published text and libwebrtc
        // use ns(chains), so that every target has a chain when there are any.
        for slot in self.protected_by.iter_mut().take(usize::from(targets)) {
            *slot = r.ns(u32::from(self.chains))? as u8;
        }
        let chains = self.chains;
        for template in self.templates_mut() {
            template.chain_diffs = ChainDiffs::read(r, chains, 4)?;
        }
        Some(())
    }
}

/// `template_id` has six bits.
pub const MAX_TEMPLATES: usize = 64;

/// `dt_cnt_minus_one` has five bits.
pub const MAX_DECODE_TARGETS: usize = 32;

/// `chain_cnt` is at most the number of decode targets.
pub const MAX_CHAINS: usize = 32;

/// References per frame: AV1 and VP9 have 7 and 3, the syntax has no limit. More is malformed.
pub const MAX_FRAME_DIFFS: usize = 8;

/// Spatial and temporal ids have at most three bits in every codec. More is malformed.
pub const MAX_LAYERS: usize = 8;

/// The high bit of each indication: set for `Switch` and `Required`.
const HIGH_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indications_beyond_the_targets_are_absent() {
        let all = Indications(u64::MAX);
        assert_eq!(all.get(31), Indication::Required);
        assert_eq!(all.get(32), Indication::NotPresent);
        assert!(!all.all_discardable());
        assert!(Indications(0b0001_0001).all_discardable());
        assert!(!Indications(0b0010_0001).all_discardable());
    }

    #[test]
    fn stays_small_enough_to_keep_per_encoding() {
        assert!(
            size_of::<Structure>() <= 6 * 1024,
            "{}",
            size_of::<Structure>()
        );
    }
}
