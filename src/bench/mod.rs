//! F5: the load tester, `leafcutter bench`, and the WebRTC client it is made of.
//!
//! `client.rs` is one client of any server that speaks the protocol; `fanout.rs` runs many of
//! them; `floor.rs` measures what kernel and cipher cost by themselves. Nothing of it is on the
//! server's path.

pub mod client;
pub mod description;
pub mod fleet;
pub mod link;
mod publisher;
pub mod traffic;
mod viewer;

pub use viewer::{Tally, Viewer};
