//! Congestion control: what a publisher is told of its packets, what a subscriber may be sent.
//!
//! Each file is one machine without I/O and without clock. `arrivals` records a publisher's
//! packets and writes transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//! `estimator` is the other end of that: what a subscriber's path takes, by what it reports.
//! `allocate` divides it among tracks and layers. Does not send. Called by `peer/`.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod acknowledged;
pub mod allocate;
pub mod arrivals;
pub mod bucket;
pub mod calm;
pub mod estimator;
pub mod loss;
pub mod probe;
pub mod queue;
pub mod rate;
pub mod sent;
pub mod trend;
