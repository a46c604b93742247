//! Subscribers that are served between turns: whose video waits for its bucket to fill, or whose
//! path is being probed. All of them at one tick, so that the timers of peers stay few.

use std::time::{Duration, Instant};

use super::{Engine, Progress};
use crate::base::clock::Now;
use crate::base::egress::Egress;
use crate::base::ids::PeerId;
use crate::peer::send::{Outlet, Sent};
use crate::peer::{Peer, Side};

/// Who waits, and until when.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    peers: Vec<PeerId>,
    /// The next tick; `None` while nobody waits.
    pub(super) at: Option<Instant>,
    /// Index in `peers` at which a tick goes on that found no room.
    next: usize,
}

impl Waiting {
    /// Takes `peer` along from the next tick on.
    pub(super) fn add(&mut self, now: Instant, peer: PeerId) {
        self.peers.push(peer);
        self.at.get_or_insert(now + TICK);
    }
}

impl Engine {
    /// Serves those who wait when their tick has come.
    pub(super) fn resume_waiting(&mut self, now: Now, egress: &mut Egress) -> Progress {
        if self.waiting.at.is_none_or(|at| at > now.instant) {
            return Progress::Done;
        }
        let mut sent = Sent::default();
        let progress = self.resume_each(now, egress, &mut sent);
        self.counters.add_sent(sent);
        progress
    }

    fn resume_each(&mut self, now: Now, egress: &mut Egress, sent: &mut Sent) -> Progress {
        while let Some(&id) = self.waiting.peers.get(self.waiting.next) {
            let mut stays = false;
            if let Some(Peer {
                transport,
                side: Side::Subscriber(subscriber),
                drops,
                ..
            }) = self.peers.get_mut(id)
            {
                if let (Some(route), Some(keys)) = (transport.route(), transport.keys()) {
                    let mut outlet = Outlet {
                        now: now.instant,
                        route,
                        protect: &keys.protect,
                        egress,
                        dropped: &mut self.counters.dropped,
                        drops,
                        sent,
                    };
                    if !subscriber.resume(now, &mut self.tracks, &mut outlet) {
                        return Progress::EgressFull;
                    }
                    stays = subscriber.path.stays_listed();
                } else {
                    // What waits goes on with the next fresh packet that there is a way for.
                    subscriber.path.unlist();
                }
            }
            if stays {
                self.waiting.next += 1;
            } else {
                self.waiting.peers.swap_remove(self.waiting.next);
            }
        }
        self.waiting.next = 0;
        self.waiting.at = (!self.waiting.peers.is_empty()).then(|| now.instant + TICK);
        Progress::Done
    }
}

/// A bucket holds a burst of 4 ms.
const TICK: Duration = Duration::from_millis(4);
