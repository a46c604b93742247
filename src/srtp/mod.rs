//! SRTP and SRTCP: keys from the DTLS exporter, protection, opening, replay windows.
//!
//! RFC 3711 (SRTP), RFC 5764 §4.2 (keying material), RFC 6188 (AES-256 key derivation), RFC 7714
//! (AES-GCM). Everything here works in place on the caller's buffer and allocates nothing per
//! packet; SSRCs and rollover counters belong to `stream/`, which hands a packet index down.
//!
//! Not done: MKI, key derivation rates other than 0, re-keying, 32-bit tags, and SRTCP without
//! encryption (DTLS-SRTP profiles always encrypt it). `ring` does not wipe its expanded AES keys
//! on drop; everything that is ours or aws-lc's is wiped. Called by `peer/`.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

mod cipher;
mod cm;
mod gcm;
mod kdf;
mod keys;
mod profile;
mod protect;
pub mod replay;
mod unprotect;

#[cfg(test)]
mod vectors;

pub use keys::{Keys, MasterKey};
pub use profile::Profile;
pub use protect::Protect;
pub use replay::ReplayWindow;
pub use unprotect::Unprotect;

/// The 48-bit SRTP packet index, rollover counter (ROC) << 16 | sequence number (RFC 3711 §3.3.1),
/// of a number that [`SeqUnwrapper`](crate::base::seq::SeqUnwrapper) extended.
///
/// The unwrapper places its first number in cycle 1, SRTP in cycle 0. `None` for a number from
/// before that cycle, whose ROC would be negative: no key opens it.
pub const fn packet_index(extended: u64) -> Option<u64> {
    extended.checked_sub(0x1_0000)
}

#[cfg(test)]
mod tests {
    use super::packet_index;
    use crate::base::seq::{SeqNo, SeqUnwrapper};

    #[test]
    fn the_first_cycle_of_the_unwrapper_is_rollover_counter_zero() {
        let mut seqs = SeqUnwrapper::default();
        let first = seqs.peek(SeqNo(65_535));
        seqs.record(first);
        assert_eq!(packet_index(first), Some(65_535));
        assert_eq!(packet_index(seqs.peek(SeqNo(0))), Some(65_536));
    }

    #[test]
    fn a_number_before_the_first_cycle_has_no_index() {
        let mut seqs = SeqUnwrapper::default();
        let first = seqs.peek(SeqNo(0));
        seqs.record(first);
        assert_eq!(packet_index(seqs.peek(SeqNo(65_535))), None);
    }
}
