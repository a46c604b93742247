//! Datagrams as frames on a stream: 16 bits of length in front of each (RFC 4571 §2), as ICE has
//! them over TCP (RFC 6544 §3).
//!
//! ```text
//!  0                   1
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5
//! +-------------------------------+-----------------
//! |            LENGTH             |  datagram ...
//! +-------------------------------+-----------------
//! ```
//!
//! Knows no socket. Called by `worker/`, which owns the connections.

use crate::base::limits::MAX_DATAGRAM_LEN;

/// The beginning of a frame whose rest has not come; at most one frame is ever kept.
#[derive(Debug, Default)]
pub struct Deframer {
    partial: Vec<u8>,
}

impl Deframer {
    /// Puts what is kept at the front of `buffer`, of at least [`MAX_FRAME_LEN`] bytes, for what
    /// comes to be read behind it; returns its length.
    pub fn resume(&self, buffer: &mut [u8]) -> usize {
        match buffer.get_mut(..self.partial.len()) {
            Some(front) => {
                front.copy_from_slice(&self.partial);
                front.len()
            }
            None => 0,
        }
    }

    /// Keeps the rest of what was read, less than a frame: see [`Frames`].
    pub fn keep(&mut self, rest: &[u8]) {
        self.partial.clear();
        self.partial.extend_from_slice(rest);
    }
}

/// Takes frames off a stream.
#[derive(Debug)]
pub struct Frames<'a> {
    rest: &'a mut [u8],
}

impl<'a> Frames<'a> {
    /// Of what was read, behind what [`Deframer::resume`] put in front of it. What is left when
    /// they are taken is for [`Deframer::keep`].
    pub fn of(stream: &'a mut [u8]) -> Self {
        Self { rest: stream }
    }

    /// The next datagram; `None` when the rest is not a whole frame. Empty ones are passed over.
    ///
    /// # Errors
    /// One that is longer than `MAX_DATAGRAM_LEN`: the stream has no use any more.
    pub fn take(&mut self) -> Result<Option<&'a mut [u8]>, FrameTooLong> {
        while let Some(&length) = self.rest.first_chunk::<HEADER_LEN>() {
            let len = usize::from(u16::from_be_bytes(length));
            if len > MAX_DATAGRAM_LEN {
                return Err(FrameTooLong);
            }
            if self.rest.len() < HEADER_LEN + len {
                break;
            }
            let (frame, rest) = std::mem::take(&mut self.rest).split_at_mut(HEADER_LEN + len);
            self.rest = rest;
            if len > 0 {
                return Ok(frame.get_mut(HEADER_LEN..));
            }
        }
        Ok(None)
    }

    /// What is left.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// A frame longer than any datagram that is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTooLong;

/// Puts `datagram` behind what is in `stream` as one frame; false, and nothing is put, when it is
/// longer than a frame can be.
pub fn put_frame(stream: &mut Vec<u8>, datagram: &[u8]) -> bool {
    let Ok(len) = u16::try_from(datagram.len()) else {
        return false;
    };
    stream.extend_from_slice(&len.to_be_bytes());
    stream.extend_from_slice(datagram);
    true
}

/// Bytes of the length in front of a datagram.
pub const HEADER_LEN: usize = 2;

/// The longest frame that is taken.
pub const MAX_FRAME_LEN: usize = HEADER_LEN + MAX_DATAGRAM_LEN;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes out when `stream` is read in pieces that end at `cuts`.
    fn read(stream: &[u8], cuts: &[usize]) -> Result<Vec<Vec<u8>>, FrameTooLong> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
        cuts.push(stream.len());
        cuts.sort_unstable();
        let (mut deframer, mut out, mut from) = (Deframer::default(), Vec::new(), 0);
        let mut buffer = vec![0; MAX_FRAME_LEN + stream.len()];
        for to in cuts {
            let kept = deframer.resume(&mut buffer);
            assert!(kept < MAX_FRAME_LEN);
            let end = kept + to - from;
            buffer[kept..end].copy_from_slice(&stream[from..to]);
            let mut frames = Frames::of(&mut buffer[..end]);
            while let Some(frame) = frames.take()? {
                out.push(frame.to_vec());
            }
            let rest = frames.rest();
            deframer.keep(rest);
            from = to;
        }
        Ok(out)
    }

    #[test]
    fn a_frame_is_its_length_and_a_datagram() {
        let mut stream = Vec::new();
        assert!(put_frame(&mut stream, &[7, 8, 9]));
        assert_eq!(stream, [0, 3, 7, 8, 9]);
        assert!(!put_frame(&mut stream, &[0; 65_536]));
        assert_eq!(stream.len(), 5);
    }

    #[test]
    fn empty_frames_are_passed_over_and_long_ones_end_it() {
        let (long, longer) = ([5, 220], [5, 221]);
        assert_eq!(usize::from(u16::from_be_bytes(long)), MAX_DATAGRAM_LEN);
        assert_eq!(read(&[0, 0, 0, 0, 0, 1, 4], &[]), Ok(vec![vec![4]]));
        assert_eq!(read(&long, &[]), Ok(Vec::new()));
        assert_eq!(read(&longer, &[]), Err(FrameTooLong));
        assert_eq!(read(&[0, 1, 4, 5, 221], &[4]), Err(FrameTooLong));
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_gives_the_same_frames(
            datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1501), 0..8),
            cuts in prop::collection::vec(any::<usize>(), 0..16),
        ) {
            let mut stream = Vec::new();
            for datagram in &datagrams {
                prop_assert!(put_frame(&mut stream, datagram));
            }
            let sent: Vec<_> = datagrams.into_iter().filter(|d| !d.is_empty()).collect();
            prop_assert_eq!(read(&stream, &cuts), Ok(sent));
        }

        #[test]
        fn any_bytes_come_to_the_same_however_they_are_split(
            stream in prop::collection::vec(any::<u8>(), 0..4000),
            cuts in prop::collection::vec(any::<usize>(), 0..16),
        ) {
            prop_assert_eq!(read(&stream, &cuts), read(&stream, &[]));
        }
    }
}
