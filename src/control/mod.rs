//! F4: the process's knowledge, sans-IO: which worker has which broadcast, and who may what.
//!
//! Time is an argument; mail comes in and mail goes out as values. The shell (`front/run.rs`)
//! drives it and serves what `view.rs` shows.

mod admission;
mod broadcast;
mod calls;
mod data;
mod directory;
mod filter;
mod guesses;
mod load;
mod openings;
mod placement;
mod rooms;
mod seats;
mod slots;
mod view;

pub use admission::{CheckId, HookRequest, Step, StepResult};
pub use broadcast::{Broadcast, Phase, Play};
pub use data::DataRefused;
pub use directory::{AppCounts, Directory};
pub use load::{HostLoad, HostSample, WorkerLoad};
pub use placement::{Placement, WorkerSample};
pub use view::BroadcastView;
