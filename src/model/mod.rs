//! F1: what is stored, shown or mailed between threads. Plain data, no behaviour beyond reading
//! and writing itself. Ant Media's own words are allowed here.

pub mod access;
pub mod broadcast;
pub mod call;
pub mod capture;
pub mod data;
pub mod definition;
pub mod errand;
pub mod event;
pub mod ice_server;
pub mod information;
pub mod layers;
pub mod mail;
pub mod peers;
pub mod plays;
pub mod room;
pub mod settings;
pub mod slots;
pub mod track;
