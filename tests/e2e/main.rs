//! End to end: the real binary, real sockets on loopback, ports chosen by the system.
//!
//! `server.rs` starts and ends a server; each other file tests one side of it.

mod acme;
mod attack;
mod authority;
mod bench;
mod clients;
mod faults;
mod front;
mod hooks;
mod ice_tcp;
mod limits;
mod log;
mod one_port;
mod peers;
mod rest;
mod room;
mod security;
mod server;
mod stampede;
mod start;
mod stop;
mod store;
mod tls;
mod whip;
