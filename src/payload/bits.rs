//! A bit cursor for codec headers: fixed widths, Exp-Golomb, non-symmetric numbers.
//!
//! ITU-T H.264 §7.4.1 (emulation prevention), §9.1 (Exp-Golomb); AV1 specification §4.10 (ns(n)).
//! Reads most significant bit first. Does not write. Used by the sequence parameter set parsers,
//! the VP9 and AV1 headers and the dependency descriptor.

/// Reads bits from a byte slice; every read that would pass the end is `None`.
#[derive(Clone, Copy, Debug)]
pub struct BitReader<'a> {
    rest: &'a [u8],
    byte: u8,
    /// Bits of `byte` not read yet, 0..=8.
    left: u32,
    /// True: a 3 behind two zero bytes is emulation prevention and passed over.
    escaped: bool,
    zeros: u8,
}

impl<'a> BitReader<'a> {
    /// Reads `bytes` as they are.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            byte: 0,
            left: 0,
            escaped: false,
            zeros: 0,
        }
    }

    /// Reads the content of a NAL unit: `00 00 03` reads as `00 00` (H.264 and H.265 §7.4.1).
    pub const fn nal(bytes: &'a [u8]) -> Self {
        let mut reader = Self::new(bytes);
        reader.escaped = true;
        reader
    }

    /// The next `count` bits, 0..=32, in the low end.
    pub fn bits(&mut self, count: u32) -> Option<u32> {
        let mut value = 0u64;
        let mut wanted = count.min(32);
        while wanted > 0 {
            if self.left == 0 {
                self.byte = self.next_byte()?;
                self.left = 8;
            }
            let now = wanted.min(self.left);
            self.left -= now;
            let chunk = (u32::from(self.byte) >> self.left) & ((1 << now) - 1);
            value = (value << now) | u64::from(chunk);
            wanted -= now;
        }
        Some(value as u32)
    }

    /// One bit.
    pub fn flag(&mut self) -> Option<bool> {
        self.bits(1).map(|bit| bit == 1)
    }

    /// Passes over `count` bits.
    pub fn skip(&mut self, count: u32) -> Option<()> {
        let mut wanted = count;
        while wanted > 0 {
            let now = wanted.min(32);
            self.bits(now)?;
            wanted -= now;
        }
        Some(())
    }

    /// Unsigned Exp-Golomb, `ue(v)`, and AV1's `uvlc()`: 0..=2^32-2. `None` above.
    pub fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let suffix = self.bits(zeros)?;
        Some(((1u32 << zeros) - 1).wrapping_add(suffix))
    }

    /// Signed Exp-Golomb, `se(v)`: 0, 1, -1, 2, -2, ...
    pub fn se(&mut self) -> Option<i32> {
        let code = self.ue()?;
        let magnitude = (code / 2 + code % 2) as i32;
        Some(if code % 2 == 1 { magnitude } else { -magnitude })
    }

    /// Non-symmetric number below `n`, `ns(n)`; `n` is 1..=2^16. `None` outside.
    pub fn ns(&mut self, n: u32) -> Option<u32> {
        if !(1..=1 << 16).contains(&n) {
            return None;
        }
        let width = u32::BITS - n.leading_zeros();
        let short = (1u32 << width) - n;
        let value = self.bits(width - 1)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.bits(1)?)
    }

    fn next_byte(&mut self) -> Option<u8> {
        let (&byte, tail) = self.rest.split_first()?;
        self.rest = tail;
        if self.escaped && self.zeros >= 2 && byte == 3 {
            self.zeros = 0;
            return self.next_byte_plain();
        }
        self.count_zero(byte);
        Some(byte)
    }

    /// The byte behind an emulation prevention byte; it cannot be one itself.
    fn next_byte_plain(&mut self) -> Option<u8> {
        let (&byte, tail) = self.rest.split_first()?;
        self.rest = tail;
        self.count_zero(byte);
        Some(byte)
    }

    fn count_zero(&mut self, byte: u8) {
        self.zeros = if byte == 0 {
            self.zeros.saturating_add(1)
        } else {
            0
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::test_bits::BitWriter;
    use super::*;

    #[test]
    fn reads_exp_golomb_codes_of_the_standard() {
        // H.264 Table 9-2: 1, 010, 011, 00100, 00101.
        let mut r = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        for expected in 0..5 {
            assert_eq!(r.ue(), Some(expected));
        }
        let mut r = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        for expected in [0, 1, -1, 2, -2] {
            assert_eq!(r.se(), Some(expected));
        }
    }

    #[test]
    fn reads_the_non_symmetric_numbers_of_the_av1_example() {
        // AV1 §4.10.7, n = 5: 00, 01, 10, 110, 111.
        let mut r = BitReader::new(&[0b0001_1011, 0b0111_0000]);
        for expected in 0..5 {
            assert_eq!(r.ns(5), Some(expected));
        }
        assert_eq!(BitReader::new(&[]).ns(1), Some(0), "takes no bits");
        assert_eq!(BitReader::new(&[0xff; 8]).ns(0), None);
    }

    #[test]
    fn passes_over_emulation_prevention_only_in_nal_units() {
        let bytes = [0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 3];
        let mut nal = BitReader::nal(&bytes);
        for expected in [0, 0, 1, 0, 0, 0, 0, 3] {
            assert_eq!(nal.bits(8), Some(expected));
        }
        assert_eq!(nal.bits(1), None);
        let mut plain = BitReader::new(&bytes);
        assert_eq!(plain.bits(24), Some(3));
    }

    #[test]
    fn an_endless_row_of_zeros_is_no_number() {
        assert_eq!(BitReader::new(&[0; 9]).ue(), None);
        assert_eq!(BitReader::new(&[0, 0]).ue(), None);
        let longest = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(BitReader::new(&longest).ue(), Some(u32::MAX - 1));
    }

    proptest! {
        #[test]
        fn reads_what_was_written(
            numbers in proptest::collection::vec((any::<u32>(), 1u32..=32), 1..40),
        ) {
            let mut w = BitWriter::default();
            for &(value, width) in &numbers {
                w.bits(value, width);
                w.ue(value / 2);
                w.se((value / 4) as i32 - 1000);
                w.ns(value % width, width);
            }
            w.trailing();
            let bytes = w.nal();
            let mut r = BitReader::nal(&bytes);
            for &(value, width) in &numbers {
                let mask = u32::MAX >> (32 - width);
                prop_assert_eq!(r.bits(width), Some(value & mask));
                prop_assert_eq!(r.ue(), Some(value / 2));
                prop_assert_eq!(r.se(), Some((value / 4) as i32 - 1000));
                prop_assert_eq!(r.ns(width), Some(value % width));
            }
        }
    }
}
