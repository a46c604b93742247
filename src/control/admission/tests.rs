//! The checks, each alone.
