//! A cursor over received bytes and one over a buffer to fill; neither can panic.
//!
//! Network order (big endian) throughout. Parsers above this file never index a slice: a short
//! packet is a `None`, not a panic. Used by every wire module.

/// Reads network-order integers and sub-slices; every read that would pass the end is `None`.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    pub const fn len(&self) -> usize {
        self.rest.len()
    }

    /// True when every byte was read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes not read yet, without moving.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(len)?;
        self.rest = tail;
        Some(head)
    }

    /// A reader confined to the next `len` bytes; this one continues behind them.
    pub fn sub(&mut self, len: usize) -> Option<Reader<'a>> {
        self.take(len).map(Reader::new)
    }

    /// Passes over `len` bytes.
    pub fn skip(&mut self, len: usize) -> Option<()> {
        self.take(len).map(|_| ())
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>()?;
        self.rest = tail;
        Some(*head)
    }

    /// The next byte without moving.
    pub fn peek_u8(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Three bytes, in the low 24 bits.
    pub fn u24(&mut self) -> Option<u32> {
        self.array::<3>()
            .map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

/// Fills a fixed buffer; a write that does not fit is `None` and changes nothing.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the first byte of `buf`.
    pub const fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    /// Bytes written so far.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True before the first write.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.buf.len().saturating_sub(self.len)
    }

    /// Appends `bytes`.
    pub fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.buf.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> Option<()> {
        self.put(&[value])
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    /// Appends the low 24 bits.
    pub fn u24(&mut self, value: u32) -> Option<()> {
        let [_, a, b, c] = value.to_be_bytes();
        self.put(&[a, b, c])
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    /// Overwrites two bytes written earlier at `at`, for lengths known late.
    pub fn patch_u16(&mut self, at: usize, value: u16) -> Option<()> {
        let end = at.checked_add(2).filter(|&end| end <= self.len)?;
        self.buf
            .get_mut(at..end)?
            .copy_from_slice(&value.to_be_bytes());
        Some(())
    }

    /// Overwrites one byte written earlier at `at`.
    pub fn patch_u8(&mut self, at: usize, value: u8) -> Option<()> {
        if at >= self.len {
            return None;
        }
        *self.buf.get_mut(at)? = value;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_network_order_and_stops_at_the_end() {
        let mut r = Reader::new(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(r.u8(), Some(1));
        assert_eq!(r.u24(), Some(0x020304));
        assert_eq!(r.u32(), None, "two bytes are left");
        assert_eq!(r.u16(), Some(0x0506));
        assert!(r.is_empty());
        assert_eq!(r.peek_u8(), None);
    }

    #[test]
    fn a_sub_reader_cannot_pass_its_own_end() {
        let mut r = Reader::new(&[1, 2, 3, 4]);
        let mut sub = r.sub(2).unwrap();
        assert_eq!(sub.u32(), None);
        assert_eq!(sub.u16(), Some(0x0102));
        assert_eq!(r.u16(), Some(0x0304));
    }

    #[test]
    fn a_write_that_does_not_fit_changes_nothing() {
        let mut buf = [0; 3];
        let mut w = Writer::new(&mut buf);
        assert_eq!(w.u16(0x0102), Some(()));
        assert_eq!(w.u16(0x0304), None);
        assert_eq!((w.len(), w.room()), (2, 1));
        assert_eq!(w.patch_u16(1, 9), None, "byte 2 is not written yet");
        assert_eq!(w.patch_u16(0, 0x0a0b), Some(()));
        assert_eq!(buf, [0x0a, 0x0b, 0]);
    }
}
