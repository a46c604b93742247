//! Reading ahead: what the next few subscribers are going to need is asked of the memory together.
//!
//! With hundreds of subscribers each one's state has left the nearest cache since the last turn,
//! and one after the other they would each be waited for. Called by [`super::media`].

use std::hint::black_box;

use crate::base::ids::PeerId;
use crate::peer::{Peer, Side};
use crate::router::track::Subscriber;

/// So many are read together.
pub(super) const TOGETHER: usize = 8;

/// Reads a word of each place that sending to `next` begins with; `peer` finds them.
pub(super) fn warm<'a>(next: &[Subscriber], peer: impl Fn(PeerId) -> Option<&'a Peer>) {
    let mut words = 0_usize;
    // A pass per pointer on the way: within one, nothing waits for anything else.
    for subscriber in next {
        if let Some(peer) = peer(subscriber.peer) {
            words ^= usize::from(peer.transport.route().is_some());
            words ^= usize::from(peer.transport.is_connected());
        }
    }
    let state = |subscriber: &Subscriber| match &peer(subscriber.peer)?.side {
        Side::Subscriber(state) => Some((&**state, subscriber.sending)),
        Side::Publisher(_) => None,
    };
    for (state, _) in next.iter().filter_map(state) {
        words ^= state.sendings.len();
    }
    for (state, sending) in next.iter().filter_map(state) {
        words ^= state.touch(sending);
    }
    for (state, _) in next.iter().filter_map(state) {
        words ^= state.path.touch();
    }
    black_box(words);
}
