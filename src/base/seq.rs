//! RTP sequence numbers and timestamps: arithmetic modulo 2^16 and 2^32, and their unwrapping.

/// A 16-bit RTP sequence number (RFC 3550 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeqNo(pub u16);

/// A 32-bit RTP timestamp in units of the payload's clock (RFC 3550 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RtpTime(pub u32);

impl SeqNo {
    /// The number `by` further, modulo 2^16.
    pub const fn plus(self, by: u16) -> Self {
        Self(self.0.wrapping_add(by))
    }

    /// Signed distance from `other` to `self`, -32768..=32767.
    pub const fn distance(self, other: SeqNo) -> i16 {
        self.0.wrapping_sub(other.0) as i16
    }
}

impl RtpTime {
    /// The time `by` ticks further, modulo 2^32.
    pub const fn plus(self, by: u32) -> Self {
        Self(self.0.wrapping_add(by))
    }

    /// Signed distance in ticks from `other` to `self`.
    pub const fn distance(self, other: RtpTime) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }
}

/// Extends 16-bit sequence numbers to 64 bits, assuming that neighbours are within 2^15.
///
/// The first number is placed in cycle 1 (65536 + seq), so that packets from before it still have
/// a number and a subtraction of a window cannot go below 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeqUnwrapper {
    highest: Option<u64>,
}

impl SeqUnwrapper {
    /// The extended number nearest to the highest one recorded; does not record it.
    pub fn peek(&self, seq: SeqNo) -> u64 {
        let Some(highest) = self.highest else {
            return 0x1_0000 + u64::from(seq.0);
        };
        let delta = seq.distance(SeqNo(highest as u16));
        highest.saturating_add_signed(i64::from(delta))
    }

    /// Records an extended number that [`peek`](Self::peek) returned, once its packet is known
    /// to be authentic.
    pub fn record(&mut self, extended: u64) {
        if self.highest.is_none_or(|h| extended > h) {
            self.highest = Some(extended);
        }
    }

    /// The highest number recorded; `None` before the first.
    pub const fn highest(&self) -> Option<u64> {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwraps_forward_and_backward_over_the_wrap() {
        let mut u = SeqUnwrapper::default();
        let first = u.peek(SeqNo(65_534));
        u.record(first);
        let next = u.peek(SeqNo(1));
        assert_eq!(next, first + 3);
        u.record(next);
        assert_eq!(u.peek(SeqNo(65_535)), first + 1);
        assert_eq!(u.highest(), Some(next));
    }

    #[test]
    fn distances_wrap() {
        assert_eq!(SeqNo(2).distance(SeqNo(65_535)), 3);
        assert_eq!(RtpTime(5).distance(RtpTime(u32::MAX)), 6);
    }
}
