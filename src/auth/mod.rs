//! F2: may somebody publish or play? Pure checks: the credential, the secret and the time are
//! arguments, the answer is a value. Nothing here is logged.
//!
//! `control/admission.rs` asks all of them that an application has enabled.

pub mod token;
