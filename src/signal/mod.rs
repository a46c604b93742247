//! F2: the signalling of one WebSocket as a pure state machine (Ant Media Server's WebSocket
//! protocol; `docs/signalling.md`).
//!
//! [`message::parse`] makes a typed [`command::Command`] of a client's text,
//! [`session::Session`] turns commands, decisions of control and news of peers into a short list
//! of [`action::Action`]s, and [`reply`] writes every text the server sends. No clock, no I/O,
//! no randomness: `engine/signalling.rs` drives it.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod action;
mod call;
pub mod command;
mod fields;
mod held;
pub mod message;
mod play;
mod publish;
pub mod reply;
mod room;
pub mod session;
