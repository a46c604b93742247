//! Congestion control: what a publisher is told of its packets, what a subscriber may be sent.
//!
//! Each file is one machine without I/O and without clock. `arrivals` records a publisher's
//! packets and writes transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//! Does not send, does not pick layers. Called by `peer/`.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod arrivals;
