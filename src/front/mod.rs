//! The front door: HTTP, pages, REST, and WebSocket upgrades whose sockets go to the workers; and
//! the loop that drives the directory (`control/`).
//!
//! Everything here runs on one thread with a small tokio runtime. `http.rs` accepts
//! (behind `tls.rs` where that is asked for) as many as `seats.rs` has room for, `routes.rs`
//! says where each path goes, `upgrade.rs` hands sockets over, `run.rs` is the control loop.

mod acme;
mod app;
mod captures;
mod census;
mod certificate;
mod checks;
mod host;
mod http;
mod life;
mod outgoing;
mod overrides;
mod pages;
pub mod probe;
mod reload;
mod rest;
mod routes;
mod run;
mod seats;
mod shared;
mod tls;
mod upgrade;
mod webhooks;
mod whip;
mod workers;

pub use certificate::About;
pub use http::Door;
pub use reload::Reload;
pub use run::{Front, Limits, Signals, serve};
pub use tls::Certificates;
