//! srtp.
