//! The whole server in a simulation: the product's engines, one per worker, with WebRTC clients
//! in memory under virtual time and a seeded network.
//!
//! `SIM_SEEDS=N` runs N seeds per scenario, `SIM_SEED=X` replays one.

mod agenda;
mod check;
mod client;
mod control;
mod media;
mod network;
mod seeds;
mod world;

mod bare;
mod scenarios;
