//! F2: one received or one sent SSRC with its RTX (RFC 7656 §2.1.10): sequence state, loss,
//! reports.
//!
//! Machines of integers: no packets are kept here (that is `router/history.rs`), no keys, no I/O.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod missing;
pub mod receive;
pub mod send;
