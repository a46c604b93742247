//! F0: the vocabulary every other floor is written in. No protocol, no I/O, no clock reads.

pub mod bytes;
pub mod clock;
pub mod codec;
pub mod crowd;
pub mod egress;
pub mod extension;
pub mod fault;
pub mod histogram;
pub mod ids;
pub mod limits;
pub mod redact;
pub mod seq;
pub mod table;
