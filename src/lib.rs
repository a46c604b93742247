//! Leafcutter: a WebRTC selective forwarding unit that speaks the Ant Media Server WebSocket
//! protocol. `docs/map.md` shows the floors; this file only names the folders, lowest first.
#![deny(unsafe_code)]

pub mod base;

pub mod model;
pub mod payload;
pub mod rtcp;
pub mod rtp;
pub mod sdp;

pub mod auth;
pub mod bwe;
pub mod datachannel;
pub mod signal;
pub mod srtp;
pub mod stream;
pub mod transport;

pub mod peer;
pub mod router;
pub mod store;

pub mod control;
pub mod engine;

#[cfg(feature = "bench")]
pub mod bench;
pub mod config;
pub mod doctor;
pub mod front;
pub mod fuzzing;
pub mod metrics;
pub mod net;
pub mod worker;
