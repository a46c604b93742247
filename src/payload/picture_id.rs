//! The picture id that VP8 and VP9 descriptors share: 7 or 15 bits behind a width bit.
//!
//! RFC 7741 §4.2, RFC 9628 §4.2. Does not count pictures. Called by `vp8.rs` and `vp9.rs`.

use crate::base::bytes::Reader;

/// A picture id and its width on the wire.
///
/// ```text
///      0 1 2 3 4 5 6 7
///     +-+-+-+-+-+-+-+-+
///     |M| PICTURE ID  |
///     +-+-+-+-+-+-+-+-+
/// M:  | EXTENDED PID  |
///     +-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    /// 0..=127, or 0..=32767 when `wide`.
    pub value: u16,
    /// True for 15 bits (the M bit).
    pub wide: bool,
}

impl PictureId {
    /// Reads one or two bytes.
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let first = r.u8()?;
        if first & 0x80 == 0 {
            return Some(Self {
                value: u16::from(first),
                wide: false,
            });
        }
        let value = u16::from_be_bytes([first & 0x7f, r.u8()?]);
        Some(Self { value, wide: true })
    }

    /// Bytes on the wire, 1 or 2.
    pub const fn len_bytes(self) -> usize {
        if self.wide { 2 } else { 1 }
    }

    /// The same width with `value`, cut to it.
    pub const fn with_value(self, value: u16) -> Self {
        let mask = if self.wide { 0x7fff } else { 0x7f };
        Self {
            value: value & mask,
            wide: self.wide,
        }
    }

    /// Writes at `at`; `None` changes nothing when it does not fit.
    pub(super) fn write(self, payload: &mut [u8], at: usize) -> Option<()> {
        let place = payload.get_mut(at..at + self.len_bytes())?;
        let [high, low] = self.value.to_be_bytes();
        match place {
            [byte] => *byte = low & 0x7f,
            [first, second] => (*first, *second) = (0x80 | high, low),
            _ => return None,
        }
        Some(())
    }
}
