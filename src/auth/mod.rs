//! F2: may somebody publish or play? Pure checks: the credential, the secret and the time are
//! arguments, the answer is a value. Nothing here is logged, and secrets are compared in constant
//! time. An empty secret opens nothing.
//!
//! `control/directory/questions.rs` asks all of them that an application has enabled.

pub mod addresses;
pub mod code;
pub mod hash;
pub mod jwt;
pub mod token;

use subtle::ConstantTimeEq;

/// Whether two texts are equal, in a time that tells nothing of where they differ.
fn is_same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}
