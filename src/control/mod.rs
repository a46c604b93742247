//! F4: the process's knowledge, sans-IO: which worker has which broadcast, and who may what.
//!
//! Time is an argument; mail comes in and mail goes out as values. The shell (`front/run.rs`)
//! drives it and serves what `view.rs` shows.

mod broadcast;
mod calls;
mod data;
mod directory;
mod view;

pub use broadcast::{Broadcast, Phase};
pub use data::DataRefused;
pub use directory::{AppCounts, Directory};
pub use view::BroadcastView;
