//! What this machine's kernel and cipher cost by themselves, in nanoseconds per packet.
//!
//! The floor under every figure of the server: plain sends, batched sends, `UDP_SEGMENT` runs,
//! receiving with and without `UDP_GRO`, sealing and opening per profile. Loopback, up to 256
//! destinations whose sockets are emptied outside the measured time. Each figure is that of one
//! operation with warm caches; `composed.rs` measures them together.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket as StdSocket};
use std::time::Duration;

use crate::base::egress::{Egress, Route};
use crate::net::UdpSocket;
use crate::srtp::{Keys, Profile, Protect, Unprotect};
use crate::worker::clock::Clock;

/// One figure.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Figure {
    /// What was done.
    pub what: String,
    /// Nanoseconds per packet, the least of several rounds.
    pub ns: f64,
}

/// Measures all figures, about `time` each; `watch` hears which one begins.
///
/// # Errors
/// The operating system's: no sockets on loopback.
pub fn run(time: Duration, mut watch: impl FnMut(&str)) -> io::Result<Vec<Figure>> {
    let mut bench = Bench::new(time)?;
    let mut figures = Vec::new();
    let mut add = |what: String, ns: f64| figures.push(Figure { what, ns });
    watch("send");
    add("sendto".to_owned(), bench.send_single()?);
    for run in [1, 2, 3, 4, 6, 8, 12, 16] {
        let what = if run == 1 {
            "sendmmsg".to_owned()
        } else {
            format!("sendmmsg of UDP_SEGMENT x{run}")
        };
        watch(&what);
        let ns = bench.send_runs(run);
        add(what, ns);
    }
    watch("receive");
    add("recv".to_owned(), bench.receive_single()?);
    add("recvmmsg".to_owned(), bench.receive_batch(false)?);
    add(
        "recvmmsg with UDP_GRO".to_owned(),
        bench.receive_batch(true)?,
    );
    for profile in Profile::ALL {
        for len in [160, 1200] {
            watch("cipher");
            let (seal, open) = bench.cipher(profile, len);
            add(format!("copy + seal {profile:?}, {len} bytes"), seal);
            add(format!("copy + open {profile:?}, {len} bytes"), open);
        }
    }
    Ok(figures)
}

struct Bench {
    clock: Clock,
    time: Duration,
    sender: UdpSocket,
    receivers: Vec<StdSocket>,
    routes: Vec<Route>,
}

impl Bench {
    fn new(time: Duration) -> io::Result<Self> {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut receivers = Vec::new();
        let mut routes = Vec::new();
        for _ in 0..DESTINATIONS {
            let socket = StdSocket::bind(loopback)?;
            socket.set_nonblocking(true)?;
            routes.push(Route::udp(socket.local_addr()?, None));
            receivers.push(socket);
        }
        Ok(Self {
            clock: Clock::start(),
            time,
            sender: UdpSocket::bind(loopback)?,
            receivers,
            routes,
        })
    }

    /// The least nanoseconds per packet of rounds of `packets` packets each; `between` rounds,
    /// unmeasured, everything is tidied up.
    fn least(
        &mut self,
        packets: usize,
        mut round: impl FnMut(&mut Self),
        mut between: impl FnMut(&mut Self),
    ) -> f64 {
        let end = self.clock.now().instant + self.time;
        let mut least = f64::MAX;
        loop {
            between(self);
            let begin = self.clock.now().instant;
            round(self);
            let now = self.clock.now().instant;
            least = least.min((now - begin).as_nanos() as f64 / packets as f64);
            if now >= end {
                return least;
            }
        }
    }

    fn send_single(&mut self) -> io::Result<f64> {
        let socket = StdSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let packet = [7; PACKET_LEN];
        Ok(self.least(
            DESTINATIONS,
            |bench| {
                for route in &bench.routes {
                    let _ = socket.send_to(&packet, route.remote);
                }
            },
            Self::drain,
        ))
    }

    fn send_runs(&mut self, run: usize) -> f64 {
        let mut egress = Egress::default();
        let destinations = (MOST_PACKETS / run).min(DESTINATIONS);
        for route in self.routes.iter().take(destinations) {
            for _ in 0..run {
                if egress.slot().is_some() {
                    egress.commit(*route, PACKET_LEN, run);
                }
            }
        }
        self.least(
            destinations * run,
            |bench| {
                bench.sender.send(&egress);
            },
            Self::drain,
        )
    }

    fn drain(&mut self) {
        let mut buf = [0; 2048];
        for socket in &self.receivers {
            while socket.recv(&mut buf).is_ok() {}
        }
    }

    /// Fills one socket with `BURST` packets in runs, unmeasured, and empties it, measured.
    fn receive_single(&mut self) -> io::Result<f64> {
        let socket = StdSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let egress = burst(socket.local_addr()?);
        let mut buf = [0; 2048];
        Ok(self.least(
            BURST,
            |_| while socket.recv(&mut buf).is_ok() {},
            |bench| {
                bench.sender.send(&egress);
            },
        ))
    }

    fn receive_batch(&mut self, gro: bool) -> io::Result<f64> {
        let mut socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        if !gro {
            socket.refuse_gro()?;
        }
        let egress = burst(socket.local_addr());
        let mut batch = socket.batch();
        Ok(self.least(
            BURST,
            |_| {
                while socket
                    .receive(&mut batch)
                    .is_ok_and(|messages| messages > 0)
                {}
            },
            |bench| {
                bench.sender.send(&egress);
            },
        ))
    }

    /// Nanoseconds to seal and to open one packet, the copy into place included.
    fn cipher(&mut self, profile: Profile, len: usize) -> (f64, f64) {
        let material: Vec<u8> = (0..profile.keying_material_len())
            .map(|byte| byte as u8)
            .collect();
        let Some(keys) = Keys::from_dtls(profile, &material) else {
            return (f64::NAN, f64::NAN);
        };
        let contexts = Protect::new(&keys.server).zip(Unprotect::new(&keys.server));
        let Some((protect, unprotect)) = contexts else {
            return (f64::NAN, f64::NAN);
        };
        let mut plain = vec![0x5a; len];
        plain[..12].copy_from_slice(&[0x80, 96, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2]);
        let mut slot = [0; 1500];
        let mut sealed_len = 0;
        let seal = self.least(
            CIPHER_ROUNDS,
            |_| {
                for _ in 0..CIPHER_ROUNDS {
                    slot[..len].copy_from_slice(&plain);
                    sealed_len = protect.protect_rtp(&mut slot, 12, len, 7).unwrap_or(0);
                }
            },
            |_| {},
        );
        let sealed = slot;
        let open = self.least(
            CIPHER_ROUNDS,
            |_| {
                for _ in 0..CIPHER_ROUNDS {
                    slot[..sealed_len].copy_from_slice(&sealed[..sealed_len]);
                    let opened = unprotect.unprotect_rtp(&mut slot[..sealed_len], 12, 7);
                    debug_assert!(opened.is_ok());
                }
            },
            |_| {},
        );
        (seal, open)
    }
}

/// `BURST` packets for one socket.
fn burst(remote: SocketAddr) -> Egress {
    let mut egress = Egress::default();
    let route = Route::udp(remote, None);
    for _ in 0..BURST {
        if egress.slot().is_some() {
            egress.commit(route, PACKET_LEN, 16);
        }
    }
    egress
}

const PACKET_LEN: usize = 1200;

const DESTINATIONS: usize = 256;

/// Fits an egress buffer.
const MOST_PACKETS: usize = 320;

/// Fits the default receive buffer of a socket.
const BURST: usize = 64;

const CIPHER_ROUNDS: usize = 1000;
