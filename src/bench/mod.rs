//! F5: the load tester, `leafcutter bench`, and the WebRTC client it is made of.
//!
//! `client.rs` is one client of any server that speaks the protocol, `fleet.rs` many of them on a
//! thread, `fanout.rs` a load; `floor.rs` and `composed.rs` measure what kernel and cipher cost by
//! themselves, `mix.rs` makes a load's floor of it; `run.rs` is the command. Nothing of it is on
//! the server's path.

pub mod args;
pub mod client;
pub mod composed;
pub mod description;
pub mod fanout;
pub mod fleet;
pub mod floor;
mod html;
pub mod janus;
pub mod link;
pub mod mix;
pub mod process;
mod publisher;
mod ramp;
pub mod report;
mod run;
mod scrape;
pub mod soak;
pub mod traffic;
mod viewer;
mod wire;

pub use run::run;
pub use viewer::{Feedback, Tally, Viewer};
