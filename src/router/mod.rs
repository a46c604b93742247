//! F3: tracks, their one plaintext history per worker, and what each subscription makes of them.
//!
//! Knows packets and sequence numbers; knows no sockets, keys or SDP. Called by `peer/` (to store
//! and to read) and by `engine/`.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod even;
pub mod history;
pub mod hold;
pub mod key_frame;
pub mod rewrite;
pub mod track;
pub mod tracks;
