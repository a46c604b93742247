//! rtcp.
