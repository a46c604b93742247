//! A bit writer for tests: builds headers field by field, independently of the parsers.
//!
//! ITU-T H.264 §7.4.1 (emulation prevention), §9.1 (Exp-Golomb); AV1 §4.10. Compiled for tests
//! only; used by the unit tests of this folder.

/// Collects bits, most significant first.
#[derive(Clone, Debug, Default)]
pub struct BitWriter {
    bits: Vec<bool>,
}

impl BitWriter {
    /// Appends the low `width` bits of `value`.
    pub fn bits(&mut self, value: u32, width: u32) -> &mut Self {
        for i in (0..width).rev() {
            self.bits.push((value >> i) & 1 == 1);
        }
        self
    }

    /// Appends one bit.
    pub fn flag(&mut self, value: bool) -> &mut Self {
        self.bits.push(value);
        self
    }

    /// Appends unsigned Exp-Golomb.
    pub fn ue(&mut self, value: u32) -> &mut Self {
        let code = u64::from(value) + 1;
        let width = 64 - code.leading_zeros();
        self.bits(0, width - 1);
        for i in (0..width).rev() {
            self.bits.push((code >> i) & 1 == 1);
        }
        self
    }

    /// Appends signed Exp-Golomb.
    pub fn se(&mut self, value: i32) -> &mut Self {
        let code = if value > 0 {
            value as u32 * 2 - 1
        } else {
            value.unsigned_abs() * 2
        };
        self.ue(code)
    }

    /// Appends the non-symmetric code of `value` below `n`.
    pub fn ns(&mut self, value: u32, n: u32) -> &mut Self {
        let mut width = 0;
        while (n >> width) != 0 {
            width += 1;
        }
        let short = (1 << width) - n;
        if value < short {
            self.bits(value, width - 1)
        } else {
            self.bits((value + short) >> 1, width - 1);
            self.bits((value + short) & 1, 1)
        }
    }

    /// Appends the stop bit of a NAL unit.
    pub fn trailing(&mut self) -> &mut Self {
        self.flag(true)
    }

    /// The bytes, filled up with zero bits.
    pub fn bytes(&self) -> Vec<u8> {
        self.bits
            .chunks(8)
            .map(|chunk| {
                let byte = chunk.iter().fold(0, |acc, &b| acc << 1 | u8::from(b));
                byte << (8 - chunk.len())
            })
            .collect()
    }

    /// The bytes with emulation prevention.
    pub fn nal(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut zeros = 0;
        for byte in self.bytes() {
            if zeros == 2 && byte <= 3 {
                out.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            out.push(byte);
        }
        out
    }
}

/// The bytes of a hexadecimal text; spaces are passed over.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|b| !b.is_ascii_whitespace())
        .map(|b| (b as char).to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}
