//! DTLS handshakes wait for their turn: a record of one costs as much as sending dozens of packets
//! (key agreement, signatures), so a stampede of newcomers must not stand between two frames of
//! those who play.
//!
//! `media.rs` puts records of peers without keys here; the shell takes as many out per turn as it
//! has time for. What does not fit is dropped, and the client sends it again (RFC 6347 §4.2.4).

use std::collections::{HashMap, VecDeque};

use super::Engine;
use crate::base::clock::Now;
use crate::base::fault::DropReason;
use crate::base::ids::PeerId;
use crate::base::limits::{MAX_HANDSHAKE_RECORDS, MAX_HANDSHAKE_RECORDS_PER_PEER};

/// Datagrams of unfinished handshakes, oldest first.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    waiting: VecDeque<(PeerId, Box<[u8]>)>,
    /// How many of them each peer has.
    by_peer: HashMap<PeerId, usize>,
}

impl Handshakes {
    /// Keeps a copy of `datagram`.
    ///
    /// # Errors
    /// `QueueFull` when there are too many, of this peer or of all.
    fn push(&mut self, peer: PeerId, datagram: &[u8]) -> Result<(), DropReason> {
        let of_peer = self.by_peer.get(&peer).copied().unwrap_or(0);
        if self.waiting.len() >= MAX_HANDSHAKE_RECORDS || of_peer >= MAX_HANDSHAKE_RECORDS_PER_PEER
        {
            return Err(DropReason::QueueFull);
        }
        self.by_peer.insert(peer, of_peer + 1);
        self.waiting.push_back((peer, datagram.into()));
        Ok(())
    }

    fn pop(&mut self) -> Option<(PeerId, Box<[u8]>)> {
        let (peer, datagram) = self.waiting.pop_front()?;
        if let Some(left) = self.by_peer.get_mut(&peer) {
            *left -= 1;
            if *left == 0 {
                self.by_peer.remove(&peer);
            }
        }
        Some((peer, datagram))
    }
}

impl Engine {
    /// A DTLS datagram from an address that the gate knows: at once when the peer has keys, which
    /// makes it data of a channel; otherwise it waits for [`shake_hands`](Self::shake_hands).
    pub(super) fn accept_dtls(
        &mut self,
        now: Now,
        id: PeerId,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let peer = self.peers.get(id).ok_or(DropReason::UnvalidatedSource)?;
        if peer.transport.keys().is_none() {
            return self.handshakes.push(id, datagram);
        }
        self.handle_dtls(now, id, datagram)
    }

    /// Takes the oldest waiting datagram of a handshake through it; false when none was waiting.
    /// The shell calls it as often as a turn has time for.
    pub fn shake_hands(&mut self, now: Now) -> bool {
        let Some((peer, datagram)) = self.handshakes.pop() else {
            return false;
        };
        if let Err(reason) = self.handle_dtls(now, peer, &datagram) {
            self.counters.dropped.count(reason);
        }
        true
    }

    /// True when [`shake_hands`](Self::shake_hands) has something to do.
    pub fn has_handshakes(&self) -> bool {
        !self.handshakes.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::table::Table;

    #[test]
    fn one_peer_cannot_fill_the_queue_and_all_together_cannot_grow_it() {
        let mut table = Table::default();
        let mut peer = || table.insert_with(|_| ());
        let mut handshakes = Handshakes::default();
        let greedy = peer();
        for _ in 0..MAX_HANDSHAKE_RECORDS_PER_PEER {
            assert_eq!(handshakes.push(greedy, &[1]), Ok(()));
        }
        assert_eq!(handshakes.push(greedy, &[1]), Err(DropReason::QueueFull));
        while handshakes.waiting.len() < MAX_HANDSHAKE_RECORDS {
            assert_eq!(handshakes.push(peer(), &[2]), Ok(()));
        }
        assert_eq!(handshakes.push(peer(), &[3]), Err(DropReason::QueueFull));

        assert_eq!(handshakes.pop(), Some((greedy, Box::from([1]))));
        assert_eq!(handshakes.push(greedy, &[4]), Ok(()), "there is room again");
        while handshakes.pop().is_some() {}
        assert!(handshakes.by_peer.is_empty());
    }
}
