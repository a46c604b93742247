//! Bodies of the fuzz targets: they live here so that a change of an API breaks them at once.
//!
//! Each takes arbitrary bytes, reads what it needs from their front, and asserts what must hold
//! for all of them: what is written is read back, lengths stay within their bounds, a naive model
//! agrees. `fuzz/` wraps them for cargo-fuzz, one thin target each; `tests.rs` replays the
//! committed inputs and their mutations.

mod conversation;
mod descriptions;
#[cfg(feature = "bench")]
mod engine;
mod payloads;
mod rest;
mod router;
mod secure;
mod selection;
mod transport;
mod wire;

#[cfg(all(test, feature = "bench"))]
mod seeds;
#[cfg(all(test, feature = "bench"))]
mod tests;

use std::time::Duration;

use crate::base::bytes::Reader;
use crate::base::clock::Now;
use crate::worker::clock::Clock;

pub use conversation::conversation;
pub use descriptions::{config, sdp_answer, sdp_offer, signalling_message};
#[cfg(feature = "bench")]
pub use engine::engine;
pub use payloads::{
    av1, dependency_descriptor, h264, h265, layers_allocation, opus, red, vp8, vp9,
};
pub use rest::rest;
pub use router::{history, missing, rewriter};
pub use secure::{replay, srtp};
pub use selection::selector;
pub use transport::{dtls, framing, sctp, stun};
pub use wire::{rtcp, rtp, transport_feedback};

/// A body.
pub type Body = fn(&[u8]);

/// Every body with the name of its target.
#[cfg(feature = "bench")]
pub const TARGETS: [(&str, Body); 29] = [
    ("rtp", rtp),
    ("rtcp", rtcp),
    ("transport_feedback", transport_feedback),
    ("sdp_offer", sdp_offer),
    ("sdp_answer", sdp_answer),
    ("signalling_message", signalling_message),
    ("conversation", conversation),
    ("vp8", vp8),
    ("vp9", vp9),
    ("h264", h264),
    ("h265", h265),
    ("av1", av1),
    ("opus", opus),
    ("red", red),
    ("layers_allocation", layers_allocation),
    ("dependency_descriptor", dependency_descriptor),
    ("srtp", srtp),
    ("replay", replay),
    ("rewriter", rewriter),
    ("selector", selector),
    ("history", history),
    ("missing", missing),
    ("stun", stun),
    ("framing", framing),
    ("dtls", dtls),
    ("sctp", sctp),
    ("engine", engine),
    ("rest", rest),
    ("config", config),
];

/// The virtual clock's start. Everything counts from it, so when that is does not matter.
fn start() -> Now {
    Clock::start().now()
}

/// Up to `most` bytes of `input`, as many as the two bytes before them say.
fn chunk<'a>(input: &mut Reader<'a>, most: usize) -> Option<&'a [u8]> {
    let len = usize::from(input.u16()?) % (most + 1);
    input.take(len.min(input.len()))
}

/// Moves `now` on by what the next byte says: nothing, some milliseconds, or up to 9 s.
fn pass(input: &mut Reader<'_>, now: Now) -> Option<Now> {
    let by = u64::from(input.u8()?);
    let by = if by < 128 { by } else { (by - 128) * 70 };
    Some(now.after(Duration::from_millis(by)))
}
