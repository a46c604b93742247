//! What the load tester's publishers send: frames, as an encoder and a packetiser shape them.
//!
//! A frame's packets go back to back and differ in length by a byte at most, because packetisers
//! split a frame evenly. Open loop: nothing the server says changes the rate; a key frame request
//! makes the next frame a key frame, four times as large. Each payload carries when it was sent,
//! its number and a pattern that follows from the number, so that a viewer that decrypts can tell
//! a foreign or damaged packet.

use std::time::{Duration, Instant};

use crate::base::bytes::Writer;
use crate::base::clock::Now;
use crate::base::codec::MediaKind;

/// The shape of one track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Audio or video.
    pub kind: MediaKind,
    /// Frames per second.
    pub fps: f64,
    /// Packets per second, 1 per frame or more.
    pub pps: f64,
    /// Mean RTP payload, bytes; at least [`MIN_PAYLOAD_LEN`].
    pub payload_len: usize,
}

/// One track's generator.
#[derive(Clone, Debug)]
pub struct Source {
    shape: Shape,
    due: Instant,
    frames: u64,
    packets: u64,
    owed: f64,
    key_frame: bool,
}

/// One frame, to be packetised by [`Frame::payload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// A decoder can start here.
    pub key_frame: bool,
    /// RTP timestamp ticks since the first frame.
    pub ticks: u32,
    /// Packets in it.
    pub packets: usize,
    /// Number of its first packet, from 0.
    pub first: u64,
    kind: MediaKind,
    payload_len: usize,
}

impl Source {
    /// A track whose first frame, a key frame, is due at `start`.
    pub fn new(shape: Shape, start: Instant) -> Self {
        Self {
            shape,
            due: start,
            frames: 0,
            packets: 0,
            owed: 0.0,
            key_frame: true,
        }
    }

    /// When the next frame is due.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// The next frame becomes a key frame. Audio has none.
    pub fn want_key_frame(&mut self) {
        self.key_frame = true;
    }

    /// The frame that is due at `now`, if one is. A late caller gets every frame, one per call.
    pub fn poll(&mut self, now: Instant) -> Option<Frame> {
        if self.due > now {
            return None;
        }
        let key_frame = std::mem::take(&mut self.key_frame) && self.shape.kind == MediaKind::Video;
        self.owed += self.shape.pps / self.shape.fps;
        let whole = (self.owed.floor() as usize).max(1);
        self.owed -= whole as f64;
        let packets = if key_frame {
            whole * KEY_FRAME_FACTOR
        } else {
            whole
        };
        let clock_hz = match self.shape.kind {
            MediaKind::Audio => 48_000.0,
            MediaKind::Video => 90_000.0,
        };
        let frame = Frame {
            key_frame,
            ticks: (self.frames as f64 * clock_hz / self.shape.fps) as u64 as u32,
            packets,
            first: self.packets,
            kind: self.shape.kind,
            payload_len: self.shape.payload_len,
        };
        self.frames += 1;
        self.packets += packets as u64;
        self.due += Duration::from_secs_f64(1.0 / self.shape.fps);
        Some(frame)
    }
}

impl Frame {
    /// Writes the payload of packet `index` of this frame, sent at `now`; returns its length, 0
    /// when `out` is too short.
    pub fn payload(&self, index: usize, now: Now, out: &mut [u8]) -> usize {
        // An even split: what does not divide makes the last packets a byte longer.
        let longer = usize::from(index >= self.packets - self.packets / 2);
        let len = (self.payload_len + longer).max(MIN_PAYLOAD_LEN);
        let number = self.first + index as u64;
        let mut w = Writer::new(out);
        if self.kind == MediaKind::Video {
            put_vp8(&mut w, self.key_frame, index == 0);
        }
        w.put(&MARK);
        w.u64(now.unix_us);
        w.u64(number);
        let written = w.len();
        let Some(rest) = out.get_mut(written..len) else {
            return 0;
        };
        for (byte, at) in rest.iter_mut().zip(0u64..) {
            *byte = pattern(number, at);
        }
        len
    }
}

/// RFC 7741 §4.2: one byte of descriptor; before the frame header of §4.3 for its first packet.
fn put_vp8(w: &mut Writer<'_>, key_frame: bool, first: bool) {
    w.u8(if first { 0x10 } else { 0x00 });
    if first && key_frame {
        // Key frame of 640x360: shown, version 0, start code, sizes.
        w.put(&[0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a]);
        w.put(&[0x80, 0x02, 0x68, 0x01]);
    } else if first {
        w.put(&[0x11, 0x02, 0x00]);
    }
}

/// What a payload says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// When it was sent, microseconds since 1970.
    pub sent_unix_us: u64,
    /// Which packet of its track, from 0.
    pub number: u64,
}

/// Reads a decrypted payload; `None` when a byte of it is not what was sent.
pub fn verify(payload: &[u8]) -> Option<Said> {
    let head = payload.get(..payload.len().min(MAX_HEAD_LEN))?;
    let at = head.windows(MARK.len()).position(|bytes| bytes == MARK)? + MARK.len();
    let number = |from: usize| {
        let bytes = payload.get(from..from + 8)?;
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    };
    let said = Said {
        sent_unix_us: number(at)?,
        number: number(at + 8)?,
    };
    let rest = payload.get(at + 16..)?;
    let whole = rest
        .iter()
        .zip(0u64..)
        .all(|(&byte, at)| byte == pattern(said.number, at));
    whole.then_some(said)
}

fn pattern(number: u64, at: u64) -> u8 {
    (number.wrapping_mul(31).wrapping_add(at.wrapping_mul(7)) & 0xff) as u8
}

/// Begins what is verified, behind the codec's own bytes.
const MARK: [u8; 4] = *b"leaf";

/// The mark lies within these first bytes.
const MAX_HEAD_LEN: usize = 32;

/// Descriptor, frame header, mark, time and number.
pub const MIN_PAYLOAD_LEN: usize = 40;

/// How much larger a key frame is than a frame between.
const KEY_FRAME_FACTOR: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;
    use crate::base::codec::Codec;
    use crate::payload;

    const VIDEO: Shape = Shape {
        kind: MediaKind::Video,
        fps: 30.0,
        pps: 250.0,
        payload_len: 1150,
    };

    #[test]
    fn frames_add_up_to_the_rate_and_begin_with_a_key_frame() {
        let now = test_now();
        let mut source = Source::new(VIDEO, now.instant);
        let first = source.poll(now.instant).unwrap();
        assert!(first.key_frame);
        assert_eq!(source.poll(now.instant), None);
        let end = now.instant + Duration::from_millis(10_001);
        let packets: usize = std::iter::from_fn(|| source.poll(end))
            .map(|frame| frame.packets)
            .sum();
        assert!((2490..=2510).contains(&packets), "{packets}");
        source.want_key_frame();
        let later = end + Duration::from_secs(1);
        assert!(source.poll(later).unwrap().key_frame);
        assert!(!source.poll(later).unwrap().key_frame);
    }

    #[test]
    fn payloads_differ_by_a_byte_and_tell_damage() {
        let now = test_now();
        let mut source = Source::new(VIDEO, now.instant);
        let frame = source.poll(now.instant).unwrap();
        let mut buf = [0; 1500];
        let mut lens = Vec::new();
        for index in 0..frame.packets {
            let len = frame.payload(index, now, &mut buf);
            let said = verify(&buf[..len]).unwrap();
            assert_eq!(said.number, index as u64);
            assert_eq!(said.sent_unix_us, now.unix_us);
            buf[len - 1] ^= 1;
            assert_eq!(verify(&buf[..len]), None);
            lens.push(len);
        }
        assert!(lens.is_sorted(), "the longer ones come last");
        assert_eq!(lens.last().unwrap() - lens.first().unwrap(), 1);
    }

    #[test]
    fn the_server_recognises_the_key_frames() {
        let now = test_now();
        let mut source = Source::new(VIDEO, now.instant);
        let mut buf = [0; 1500];
        let key = source.poll(now.instant).unwrap();
        let len = key.payload(0, now, &mut buf);
        let info = payload::inspect(Codec::Vp8, &buf[..len], false, None);
        let size = info.resolution.map(|r| (r.width, r.height));
        assert_eq!((info.key_frame, size), (true, Some((640, 360))));
        let len = key.payload(1, now, &mut buf);
        assert!(!payload::inspect(Codec::Vp8, &buf[..len], false, None).key_frame);
    }
}
