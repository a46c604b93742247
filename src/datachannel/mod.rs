//! F2: the data channels of one peer: SCTP over DTLS (RFC 8831, RFC 8261) and the protocol that
//! opens channels (RFC 8832).
//!
//! Sans-IO: the plaintext of DTLS application data in and out, time as an argument. SCTP itself is
//! `sctp-proto`'s; `link.rs` is the border to it and keeps what it could be made to hoard within
//! bounds, `guard.rs` loses packets that would do it harm, `tally.rs` counts
//! what it holds, `channels.rs` is the machine that
//! `peer/` holds. Reads no message: who is to receive it is the engine's business. A peer whose
//! association is lost keeps its media.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

mod channels;
pub mod dcep;
mod guard;
mod link;
mod tally;

pub use channels::{DataChannels, DataEvent, MAX_PACKET_LEN, NotSent, Remote};
pub(crate) use link::CRC32C;
