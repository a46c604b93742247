//! What publishers send: Opus-like and VP8-like packets whose payload says which one they are.
//!
//! Only what an SFU looks at is genuine (VP8 payload descriptor, frame tag, size of a key frame,
//! RFC 7741 §4); the rest is noise from the seed, so that a changed byte shows. Each payload ends
//! in its identity: frame, index within the frame, packets in the frame.

use std::time::{Duration, Instant};

use leafcutter::base::codec::MediaKind;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// One packet as it was handed to the publisher's RTP stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Audio or video.
    pub kind: MediaKind,
    /// When its frame was captured.
    pub at: Instant,
    /// Extended sequence number; the first one is below 65536.
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Last packet of its frame (video).
    pub marker: bool,
    /// Belongs to a key frame.
    pub key_frame: bool,
    /// What its payload says.
    pub identity: Identity,
    /// RTP payload.
    pub payload: Vec<u8>,
}

/// Which packet a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Frames of its kind count from 0.
    pub frame: u32,
    /// Packets of a frame count from 0.
    pub index: u16,
    /// Packets in the frame.
    pub packets: u16,
}

impl Identity {
    /// Reads it from the end of a payload; `None` when that is too short.
    pub fn of(payload: &[u8]) -> Option<Self> {
        let tail = payload.last_chunk::<IDENTITY_LEN>()?;
        let [a, b, c, d, e, f, g, h] = *tail;
        Some(Self {
            frame: u32::from_be_bytes([a, b, c, d]),
            index: u16::from_be_bytes([e, f]),
            packets: u16::from_be_bytes([g, h]),
        })
    }

    fn write(self, payload: &mut Vec<u8>) {
        payload.extend_from_slice(&self.frame.to_be_bytes());
        payload.extend_from_slice(&self.index.to_be_bytes());
        payload.extend_from_slice(&self.packets.to_be_bytes());
    }
}

/// A camera and a microphone: 30 frames and 50 audio packets a second.
#[derive(Debug)]
pub struct Studio {
    rng: StdRng,
    started: Instant,
    audio: Option<Track>,
    video: Option<Track>,
    key_frame_wanted: bool,
    /// False while nothing is captured; time goes on.
    pub running: bool,
}

#[derive(Debug)]
struct Track {
    next_frame: u32,
    next_due: Instant,
    interval: Duration,
    clock_hz: u64,
    first_timestamp: u32,
    next_seq: u64,
}

impl Studio {
    /// A studio that starts capturing at `started`.
    pub fn new(seed: u64, started: Instant, audio: bool, video: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut track = |interval_us, clock_hz| Track {
            next_frame: 0,
            next_due: started,
            interval: Duration::from_micros(interval_us),
            clock_hz,
            // Some start just before the wrap.
            first_timestamp: if rng.random() {
                rng.random()
            } else {
                u32::MAX - 100_000
            },
            // Wraps about a second after the start, or not at all.
            next_seq: if rng.random() {
                65_450
            } else {
                rng.random_range(0..30_000)
            },
        };
        let audio = audio.then(|| track(20_000, 48_000));
        let video = video.then(|| track(33_333, 90_000));
        Self {
            rng,
            started,
            audio,
            video,
            key_frame_wanted: true,
            running: true,
        }
    }

    /// The next video frame will be a key frame.
    pub fn want_key_frame(&mut self) {
        self.key_frame_wanted = true;
    }

    /// When the next frame is captured.
    pub fn next_due(&self) -> Option<Instant> {
        [&self.audio, &self.video]
            .into_iter()
            .flatten()
            .map(|t| t.next_due)
            .min()
    }

    /// The packets of every frame that is due.
    pub fn capture(&mut self, now: Instant) -> Vec<Published> {
        let mut packets = Vec::new();
        while self.audio.as_ref().is_some_and(|t| t.next_due <= now) {
            self.capture_audio(&mut packets);
        }
        while self.video.as_ref().is_some_and(|t| t.next_due <= now) {
            self.capture_video(&mut packets);
        }
        packets
    }

    fn capture_audio(&mut self, out: &mut Vec<Published>) {
        let Some(track) = &mut self.audio else { return };
        let (at, frame, timestamp) = track.advance(self.started);
        if !self.running {
            return;
        }
        let len = self.rng.random_range(60..160);
        let identity = Identity {
            frame,
            index: 0,
            packets: 1,
        };
        let payload = noise_with_identity(&mut self.rng, Vec::new(), len, identity);
        let seq = track.take_seq();
        out.push(Published {
            kind: MediaKind::Audio,
            at,
            seq,
            timestamp,
            marker: false,
            key_frame: false,
            identity,
            payload,
        });
    }

    fn capture_video(&mut self, out: &mut Vec<Published>) {
        let Some(track) = &mut self.video else { return };
        let (at, frame, timestamp) = track.advance(self.started);
        if !self.running {
            return;
        }
        let key_frame = std::mem::take(&mut self.key_frame_wanted);
        let packets = if key_frame {
            8
        } else {
            self.rng.random_range(1..=3)
        };
        for index in 0..packets {
            let identity = Identity {
                frame,
                index,
                packets,
            };
            let start = vp8_start(frame, index == 0, key_frame);
            let len = self.rng.random_range(300..1100);
            out.push(Published {
                kind: MediaKind::Video,
                at,
                seq: track.take_seq(),
                timestamp,
                marker: index + 1 == packets,
                key_frame,
                identity,
                payload: noise_with_identity(&mut self.rng, start, len, identity),
            });
        }
    }
}

/// Three cameras on one scene: the encodings of a simulcast publisher, each with numbers, clock
/// and picture ids of its own and three temporal layers (0 2 1 2).
#[derive(Debug)]
pub struct Cameras {
    rng: StdRng,
    started: Instant,
    cameras: Vec<Camera>,
}

#[derive(Debug)]
struct Camera {
    track: Track,
    height: u16,
    packets: u16,
    key_frame_wanted: bool,
    /// Frames since the key frame.
    since_key_frame: u32,
    tl0_pic_idx: u8,
    running: bool,
}

impl Cameras {
    /// The RIDs, and how high their pictures are.
    pub const RIDS: [(&'static str, u16); 3] = [("h", 720), ("m", 360), ("l", 180)];

    /// Cameras that start at `started`.
    pub fn new(seed: u64, started: Instant) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let cameras = Self::RIDS.map(|(_, height)| Camera {
            track: Track {
                next_frame: 0,
                next_due: started,
                interval: Duration::from_micros(33_333),
                clock_hz: 90_000,
                first_timestamp: rng.random(),
                next_seq: rng.random_range(0..65_500),
            },
            height,
            packets: height / 180,
            key_frame_wanted: true,
            since_key_frame: 0,
            tl0_pic_idx: rng.random(),
            running: true,
        });
        Self {
            rng,
            started,
            cameras: cameras.into(),
        }
    }

    /// The next frame of encoding `at` will be a key frame.
    pub fn want_key_frame(&mut self, at: usize) {
        self.cameras[at].key_frame_wanted = true;
    }

    /// Starts or stops encoding `at`.
    pub fn switch(&mut self, at: usize, running: bool) {
        self.cameras[at].running = running;
        self.cameras[at].key_frame_wanted |= running;
    }

    /// When the next frame is captured.
    pub fn next_due(&self) -> Option<Instant> {
        self.cameras.iter().map(|c| c.track.next_due).min()
    }

    /// The packets of every frame that is due, each with its encoding.
    pub fn capture(&mut self, now: Instant) -> Vec<(usize, Published)> {
        let mut packets = Vec::new();
        for at in 0..self.cameras.len() {
            while self.cameras[at].track.next_due <= now {
                self.capture_one(at, &mut packets);
            }
        }
        packets
    }

    fn capture_one(&mut self, at: usize, out: &mut Vec<(usize, Published)>) {
        let camera = &mut self.cameras[at];
        let (captured, frame, timestamp) = camera.track.advance(self.started);
        if !camera.running {
            return;
        }
        let key_frame = std::mem::take(&mut camera.key_frame_wanted);
        camera.since_key_frame = if key_frame {
            0
        } else {
            camera.since_key_frame + 1
        };
        let temporal = [0, 2, 1, 2][camera.since_key_frame as usize % 4];
        camera.tl0_pic_idx = camera.tl0_pic_idx.wrapping_add(u8::from(temporal == 0));
        let packets = camera.packets * if key_frame { 4 } else { 1 };
        for index in 0..packets {
            let identity = Identity {
                frame: (at as u32) << 24 | frame,
                index,
                packets,
            };
            // The last of the four refers to the third, the others to the first alone.
            let syncs = camera.since_key_frame % 4 != 3;
            let mut start = vp8_start(frame, index == 0, key_frame);
            start[1] = 0xe0;
            start.insert(4, camera.tl0_pic_idx);
            start.insert(5, temporal << 6 | u8::from(syncs) << 5);
            if key_frame && index == 0 {
                let height = start.len() - 2;
                start[height..].copy_from_slice(&camera.height.to_le_bytes());
            }
            let len = self.rng.random_range(300..1100);
            let published = Published {
                kind: MediaKind::Video,
                at: captured,
                seq: camera.track.take_seq(),
                timestamp,
                marker: index + 1 == packets,
                key_frame,
                identity,
                payload: noise_with_identity(&mut self.rng, start, len, identity),
            };
            out.push((at, published));
        }
    }
}

impl Track {
    fn advance(&mut self, started: Instant) -> (Instant, u32, u32) {
        let (at, frame) = (self.next_due, self.next_frame);
        let elapsed_us = (at - started).as_micros() as u64;
        let ticks = elapsed_us * self.clock_hz / 1_000_000;
        self.next_due += self.interval;
        self.next_frame += 1;
        (at, frame, self.first_timestamp.wrapping_add(ticks as u32))
    }

    fn take_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }
}

/// Payload descriptor with a 15-bit picture id and, at the start of a frame, its tag; for a key
/// frame start code and size too.
fn vp8_start(frame: u32, first: bool, key_frame: bool) -> Vec<u8> {
    let picture = (frame & 0x7fff) as u16 | 0x8000;
    let [high, low] = picture.to_be_bytes();
    let mut start = vec![if first { 0x90 } else { 0x80 }, 0x80, high, low];
    if first {
        start.extend_from_slice(&[if key_frame { 0x10 } else { 0x11 }, 0x02, 0x00]);
        if key_frame {
            start.extend_from_slice(&[0x9d, 0x01, 0x2a]);
            start.extend_from_slice(&WIDTH.to_le_bytes());
            start.extend_from_slice(&HEIGHT.to_le_bytes());
        }
    }
    start
}

/// True for the payload of a key frame's first packet.
pub fn is_key_frame_start(payload: &[u8]) -> bool {
    let start = payload.first() == Some(&0x90);
    let tag_at = match payload.get(1) {
        Some(0xe0) => 6,
        _ => 4,
    };
    start && payload.get(tag_at).is_some_and(|tag| tag & 1 == 0)
}

fn noise_with_identity(
    rng: &mut StdRng,
    mut payload: Vec<u8>,
    len: usize,
    identity: Identity,
) -> Vec<u8> {
    let start = payload.len();
    payload.resize(start + len, 0);
    rng.fill_bytes(&mut payload[start..]);
    identity.write(&mut payload);
    payload
}

/// Of every key frame, in pixels.
pub const WIDTH: u16 = 640;
pub const HEIGHT: u16 = 360;

const IDENTITY_LEN: usize = 8;
