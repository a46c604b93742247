//! The floor under a server that forwards: copy, seal and send to N receivers as one operation.
//!
//! Each receiver has a key and a socket of its own. The sender runs on one core as a server would;
//! a second thread, on another core where there is one, holds the receivers' sockets as the load
//! tester holds its viewers': the kernel notes when a datagram comes, nobody is woken up, and a
//! timer looks at all of them. It empties them outside the measured time, or, for the figures
//! called live, while the datagrams come, as the tester does. The figures called paced have pauses
//! besides, as frames have: what a burst needs has left the caches by then. The loopback delivers
//! datagrams in the sender's own context, so what is measured is what a server's process pays.
//! Called by `run.rs`; `mix.rs` makes the floor of a load out of the figures.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket as StdSocket};
use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::fleet::{SWEEP, SWEPT_AT_ONCE};
use super::mix::{Costs, RunCost, Sending};
use crate::base::egress::{Egress, Route};
use crate::base::limits::MAX_DATAGRAM_LEN;
use crate::net::{self, TimedBatch, UdpSocket};
use crate::srtp::{Keys, Profile, Protect, Unprotect};
use crate::worker::clock::Clock;

/// How the floor is measured.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The cipher.
    pub profile: Profile,
    /// Receivers, 1 or more.
    pub receivers: usize,
    /// Bytes of an RTP packet with its header, before protection.
    pub packet_len: usize,
    /// Bytes of an audio packet, the same way.
    pub audio_len: usize,
    /// About how long each figure is measured, all its turns together.
    pub time: Duration,
    /// Between two frames of one broadcast, in the figures called paced.
    pub pace: Duration,
    /// Broadcasts, 1 or more, that share the receivers there: each burst is for those of one.
    pub broadcasts: usize,
    /// The sender's core and the receivers', where they can be told.
    pub cpus: (Option<usize>, Option<usize>),
}

/// Measures all figures; `watch` hears which one begins.
///
/// # Errors
/// The operating system's: no sockets, or datagrams that did not arrive.
pub fn run(setting: &Setting, mut watch: impl FnMut(&str)) -> io::Result<Costs> {
    let (ask, orders) = channel();
    let (answer, answers) = channel();
    let server = UdpSocket::bind(LOOPBACK)?;
    let mut far = FarEnd::new(setting, server.local_addr())?;
    let near = NearEnd {
        setting: *setting,
        clock: Clock::start(),
        routes: far.routes()?,
        protects: contexts(setting, |keys| Protect::new(&keys.server))?,
        unprotects: contexts(setting, |keys| Unprotect::new(&keys.client))?,
        server,
        egress: Egress::default(),
        ask,
        answers,
    };
    std::thread::scope(|scope| {
        let (near_cpu, far_cpu) = setting.cpus;
        scope.spawn(move || {
            pin(far_cpu);
            far.serve(&orders, &answer);
        });
        let watch = &mut watch;
        let measuring = scope.spawn(move || {
            pin(near_cpu);
            let mut near = near;
            near.measure()
        });
        watch("copy, seal and send");
        let ended = measuring.join();
        ended.unwrap_or_else(|_| Err(io::Error::other("the measuring thread ended")))
    })
}

/// How receivers behave while they are sent to, and how bursts follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Emptied behind each burst, which the next one follows at once.
    Drained,
    /// Read while the datagrams come; bursts follow at once.
    Live,
    /// Read while the datagrams come; a frame's interval lies between two bursts.
    Paced,
}

/// What the measuring thread asks of the other end.
enum Order {
    /// Empty all sockets of so many datagrams, which have been sent.
    Drain(usize),
    /// Empty all sockets as datagrams come, until so many have.
    Await(usize),
    /// One feedback packet from each receiver.
    Feedback,
    /// So many media packets from the first receiver, as a publisher sends them.
    Media(usize),
}

/// The measured side: a server's socket, and every receiver's keys.
struct NearEnd {
    setting: Setting,
    clock: Clock,
    routes: Vec<Route>,
    protects: Vec<Protect>,
    unprotects: Vec<Unprotect>,
    server: UdpSocket,
    egress: Egress,
    ask: Sender<Order>,
    answers: Receiver<usize>,
}

impl NearEnd {
    /// All figures in turn, several times over: a machine that is slow for a second is slow for a
    /// few of them once.
    fn measure(&mut self) -> io::Result<Costs> {
        let rounds: io::Result<Vec<Costs>> = (0..TURNS).map(|_| self.measure_once()).collect();
        Costs::median(&rounds?).ok_or_else(|| io::Error::other("nothing was measured"))
    }

    fn measure_once(&mut self) -> io::Result<Costs> {
        Ok(Costs {
            receivers: self.setting.receivers,
            packet_len: self.setting.packet_len,
            audio_len: self.setting.audio_len,
            sending: self.sending(How::Drained)?,
            sending_live: self.sending(How::Live)?,
            sending_paced: self.sending(How::Paced)?,
            media_in_ns: self.media_in()?,
            feedback_in_ns: self.feedback_in()?,
        })
    }

    fn sending(&mut self, how: How) -> io::Result<Sending> {
        let mut video = Vec::new();
        for run in RUNS {
            let ns = self.fan_out(self.setting.packet_len, run, how)?;
            video.push(RunCost { run, ns });
        }
        let audio_ns = self.fan_out(self.setting.audio_len, 1, how)?;
        Ok(Sending { video, audio_ns })
    }

    /// Nanoseconds per packet to send `run` packets of `len` bytes to every receiver.
    fn fan_out(&mut self, len: usize, run: usize, how: How) -> io::Result<f64> {
        let plain: Vec<Vec<u8>> = (0..run).map(|seq| rtp(len, seq as u16)).collect();
        let bursts = match how {
            How::Drained | How::Live => 1,
            How::Paced => self.setting.broadcasts.clamp(1, self.routes.len()),
        };
        let receivers = self.routes.len() / bursts;
        let packets = run * receivers;
        let mut burst = 0..receivers;
        self.median(packets, |near| {
            if how == How::Paced {
                near.pause(bursts as u32)?;
            }
            if how != How::Drained {
                near.order(Order::Await(packets))?;
            }
            let begin = near.clock.now().instant;
            near.fan_out_once(&plain, burst.clone());
            let time = near.clock.now().instant - begin;
            let next = burst.end % (receivers * bursts);
            burst = next..next + receivers;
            if how == How::Drained {
                near.order(Order::Drain(packets))?;
            }
            near.answered(packets)?;
            Ok(time)
        })
    }

    /// All of `plain` to each receiver of `burst`.
    fn fan_out_once(&mut self, plain: &[Vec<u8>], burst: Range<usize>) {
        let run = plain.len();
        let ends = self.routes.iter().zip(&self.protects).enumerate();
        for (at, (route, protect)) in ends.skip(burst.start).take(burst.len()) {
            if !self.egress.has_room_for(run) {
                self.server.send(&self.egress);
                self.egress.clear();
            }
            for (seq, packet) in plain.iter().enumerate() {
                let Some(slot) = self.egress.slot() else {
                    break;
                };
                let (header, _) = slot.split_at_mut(packet.len());
                header.copy_from_slice(packet);
                header[8..12].copy_from_slice(&(at as u32).to_be_bytes());
                if let Some(len) = protect.protect_rtp(slot, HEADER_LEN, packet.len(), seq as u64) {
                    self.egress.commit(*route, len, run);
                }
            }
        }
        self.server.send(&self.egress);
        self.egress.clear();
    }

    /// Nanoseconds to receive and open one feedback packet of each receiver in turn.
    fn feedback_in(&mut self) -> io::Result<f64> {
        let packets = self.routes.len();
        let mut batch = self.server.batch();
        self.median(packets, |near| {
            near.order(Order::Feedback)?;
            near.answered(packets)?;
            let begin = near.clock.now().instant;
            let mut opened = 0;
            while near.server.receive(&mut batch)? > 0 {
                for (_, datagram) in batch.datagrams() {
                    let unprotect = near.unprotects.get_mut(opened);
                    let len = unprotect.map(|keys| keys.unprotect_rtcp(datagram));
                    opened += usize::from(len.is_some_and(|len| len.is_ok()));
                }
            }
            let time = near.clock.now().instant - begin;
            all_there(opened, packets)?;
            Ok(time)
        })
    }

    /// Nanoseconds to receive and open one packet of a publisher's frame.
    fn media_in(&mut self) -> io::Result<f64> {
        let mut batch = self.server.batch();
        self.median(FRAME_PACKETS, |near| {
            near.order(Order::Media(FRAME_PACKETS))?;
            near.answered(FRAME_PACKETS)?;
            let begin = near.clock.now().instant;
            let mut opened = 0;
            while near.server.receive(&mut batch)? > 0 {
                for (_, datagram) in batch.datagrams() {
                    let keys = near.unprotects.first();
                    let len =
                        keys.map(|keys| keys.unprotect_rtp(datagram, HEADER_LEN, opened as u64));
                    opened += usize::from(len.is_some_and(|len| len.is_ok()));
                }
            }
            let time = near.clock.now().instant - begin;
            all_there(opened, FRAME_PACKETS)?;
            Ok(time)
        })
    }

    /// Lets the other end act.
    fn order(&self, order: Order) -> io::Result<()> {
        let sent = self.ask.send(order);
        sent.map_err(|_| io::Error::other("the receiving thread ended"))
    }

    /// Lets the interval between two of `bursts` in a frame's time pass, as a server does that has
    /// nothing to send.
    fn pause(&self, bursts: u32) -> io::Result<()> {
        match self.answers.recv_timeout(self.setting.pace / bursts) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(_) | Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("the receiving thread ended"))
            }
        }
    }

    /// Waits for the other end, which must have seen `packets` datagrams.
    fn answered(&self, packets: usize) -> io::Result<()> {
        let ended = |_| io::Error::other("the receiving thread ended");
        all_there(self.answers.recv().map_err(ended)?, packets)
    }

    /// The median of rounds of `packets` packets, the first one left out, in nanoseconds per
    /// packet: what one round costs when nothing disturbs it and nothing favours it.
    fn median(
        &mut self,
        packets: usize,
        mut round: impl FnMut(&mut Self) -> io::Result<Duration>,
    ) -> io::Result<f64> {
        round(self)?;
        let end: Instant = self.clock.now().instant + self.setting.time / TURNS;
        let mut times = Vec::new();
        while times.len() < MIN_ROUNDS || self.clock.now().instant < end {
            times.push(round(self)?);
        }
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        Ok(median.as_nanos() as f64 / packets as f64)
    }
}

/// The other side: every receiver's socket.
struct FarEnd {
    poll: Poll,
    events: Events,
    sockets: Vec<StdSocket>,
    batch: TimedBatch,
    publisher: StdSocket,
    protects: Vec<Protect>,
    packet_len: usize,
}

impl FarEnd {
    fn new(setting: &Setting, server: SocketAddr) -> io::Result<Self> {
        let mut sockets = Vec::new();
        for _ in 0..setting.receivers {
            let socket = StdSocket::bind(LOOPBACK)?;
            socket.connect(server)?;
            net::note_times(&socket)?;
            sockets.push(socket);
        }
        let publisher = StdSocket::bind(LOOPBACK)?;
        publisher.connect(server)?;
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1),
            sockets,
            batch: TimedBatch::default(),
            publisher,
            protects: contexts(setting, |keys| Protect::new(&keys.client))?,
            packet_len: setting.packet_len,
        })
    }

    fn routes(&self) -> io::Result<Vec<Route>> {
        let route = |socket: &StdSocket| Ok(Route::udp(socket.local_addr()?, None));
        self.sockets.iter().map(route).collect()
    }

    /// Follows orders until nobody gives any; answers with the datagrams that came or went.
    fn serve(&mut self, orders: &Receiver<Order>, answer: &Sender<usize>) {
        for order in orders {
            let done = match order {
                Order::Drain(packets) => self.drain(packets, false),
                Order::Await(packets) => self.drain(packets, true),
                Order::Feedback => self.send_feedback(),
                Order::Media(packets) => self.send_media(packets),
            };
            if answer.send(done.unwrap_or(0)).is_err() {
                return;
            }
        }
    }

    /// Sweeps the sockets until `packets` came, or for long nothing did: at the tester's pace when
    /// `paced`, else as fast as something comes.
    fn drain(&mut self, packets: usize, paced: bool) -> io::Result<usize> {
        let (mut came, mut idle) = (0, 0);
        for sockets in self.sockets.chunks(SWEPT_AT_ONCE).cycle() {
            let before = came;
            for socket in sockets {
                let mut more = true;
                while more {
                    more = self.batch.receive(socket)?;
                    came += self.batch.datagrams().count();
                }
            }
            idle = if came == before { idle + 1 } else { 0 };
            if came >= packets || idle >= IDLE_SWEEPS {
                break;
            }
            if paced || idle > 0 {
                // Nothing is registered: it waits for the time alone.
                self.poll.poll(&mut self.events, Some(SWEEP))?;
            }
        }
        Ok(came)
    }

    fn send_feedback(&mut self) -> io::Result<usize> {
        let mut went = 0;
        for (socket, protect) in self.sockets.iter().zip(&mut self.protects) {
            let mut buf = [0; MAX_DATAGRAM_LEN];
            // A receiver report with one block, a name, and transport-wide feedback.
            buf[..8].copy_from_slice(&[0x81, 201, 0, (FEEDBACK_LEN / 4 - 1) as u8, 0, 0, 0, 1]);
            if let Some(len) = protect.protect_rtcp(&mut buf, FEEDBACK_LEN) {
                went += usize::from(socket.send(&buf[..len]).is_ok());
            }
        }
        Ok(went)
    }

    fn send_media(&mut self, packets: usize) -> io::Result<usize> {
        for seq in 0..packets {
            let mut buf = [0; MAX_DATAGRAM_LEN];
            let packet = rtp(self.packet_len, seq as u16);
            buf[..packet.len()].copy_from_slice(&packet);
            let protect = self.protects.first();
            let len =
                protect.and_then(|p| p.protect_rtp(&mut buf, HEADER_LEN, packet.len(), seq as u64));
            self.publisher.send(&buf[..len.unwrap_or(0)])?;
        }
        Ok(packets)
    }
}

/// One of something per receiver, each out of keys of its own.
fn contexts<T>(setting: &Setting, make: impl Fn(&Keys) -> Option<T>) -> io::Result<Vec<T>> {
    let profile = setting.profile;
    let one = |number: usize| {
        let len = profile.keying_material_len();
        let material: Vec<u8> = (0..len).map(|at| (number * 7 + at) as u8).collect();
        make(&Keys::from_dtls(profile, &material)?)
    };
    let all: Option<Vec<T>> = (0..setting.receivers).map(one).collect();
    all.ok_or_else(|| io::Error::other("no cipher"))
}

/// An RTP packet of `len` bytes (at least a header's).
fn rtp(len: usize, seq: u16) -> Vec<u8> {
    let mut packet = vec![0x5a; len.max(HEADER_LEN)];
    let [high, low] = seq.to_be_bytes();
    packet[..HEADER_LEN].copy_from_slice(&[0x80, 96, high, low, 0, 0, 0, 1, 0, 0, 0, 2]);
    packet
}

fn all_there(came: usize, expected: usize) -> io::Result<()> {
    if came == expected {
        return Ok(());
    }
    let why = format!("{came} of {expected} datagrams arrived: the floor cannot be measured");
    Err(io::Error::other(why))
}

/// Where the core does not exist or is not this process's, the figures are those of any core.
fn pin(cpu: Option<usize>) {
    if let Some(cpu) = cpu {
        let _ = net::pin_current_thread(cpu);
    }
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Run lengths measured; those between lie on the line between.
const RUNS: [usize; 8] = [1, 2, 3, 4, 6, 8, 12, 16];

const HEADER_LEN: usize = 12;

/// A compound of receiver report, name and transport-wide feedback for 25 packets, bytes.
const FEEDBACK_LEN: usize = 112;

/// Packets of a frame at 250 packets and 30 frames per second.
const FRAME_PACKETS: usize = 8;

/// A datagram that is not there after so many sweeps, some seconds, does not come.
const IDLE_SWEEPS: usize = 5000;

/// Times that each figure is measured, of which the median counts.
const TURNS: u32 = 7;

/// Rounds of one measurement, of which the median counts: at least so many.
const MIN_ROUNDS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_arrives_and_every_figure_is_there() {
        let setting = Setting {
            profile: Profile::AeadAes128Gcm,
            receivers: 20,
            packet_len: 1170,
            audio_len: 140,
            time: Duration::from_millis(5),
            pace: Duration::from_millis(1),
            broadcasts: 3,
            cpus: (None, None),
        };
        let costs = run(&setting, |_| {}).unwrap();
        for sending in [&costs.sending, &costs.sending_live, &costs.sending_paced] {
            assert_eq!(sending.video.len(), RUNS.len());
            let mut all = sending.video.iter().map(|cost| cost.ns);
            assert!(
                all.all(|ns| ns > 0.0) && sending.audio_ns > 0.0,
                "{costs:?}"
            );
        }
        assert!(costs.media_in_ns > 0.0 && costs.feedback_in_ns > 0.0);
    }

    #[test]
    fn a_datagram_that_is_missing_is_an_error() {
        assert!(all_there(7, 7).is_ok());
        assert!(all_there(6, 7).unwrap_err().to_string().contains("6 of 7"));
    }
}
