//! bwe.
