//! Hash control: the credential is SHA-256 over id, kind and a secret, in hex.

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};

use super::is_same;
use crate::model::access::AccessKind;

/// Whether `credential` is the hash for `kind` of `stream`, in upper or lower case.
pub fn allows(credential: &str, stream: &str, kind: AccessKind, secret: &str) -> bool {
    !secret.is_empty()
        && is_same(
            &credential.to_ascii_lowercase(),
            &hash(stream, kind, secret),
        )
}

/// 64 lower-case hex digits: SHA-256 of `stream`, the word of `kind` and `secret`, one after the
/// other.
pub fn hash(stream: &str, kind: AccessKind, secret: &str) -> String {
    let text = format!("{stream}{}{secret}", kind.text());
    HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first is the vector of the wire reference; the others come from Python's hashlib.
    const VECTORS: [(&str, AccessKind, &str, &str); 3] = [
        (
            "stream1",
            AccessKind::Publish,
            "testtest",
            "c433279fb6eda928d2a2863dd27503bac9c1b66fe0ccd9f10461214da457db67",
        ),
        (
            "stream1",
            AccessKind::Play,
            "testtest",
            "bfd3ff6672b9fe053f271c25105b25b5880dea03183be2edf40de20ce8a02614",
        ),
        (
            "roomA",
            AccessKind::Play,
            "s3cret",
            "f43f1213f7489f28706ce5c1721d92bf3de59b860bde88ac53c6cc6d4a7239e6",
        ),
    ];

    #[test]
    fn the_right_hash_opens_and_nothing_else_does() {
        for (stream, kind, secret, vector) in VECTORS {
            assert!(allows(vector, stream, kind, secret));
            assert!(allows(&vector.to_uppercase(), stream, kind, secret));
            assert!(!allows(vector, "other", kind, secret));
            assert!(!allows(vector, stream, kind, "another secret"));
            assert!(!allows(&vector[1..], stream, kind, secret));
        }
        let (stream, _, secret, vector) = VECTORS[0];
        assert!(!allows(vector, stream, AccessKind::Play, secret));
        let of_empty = hash(stream, AccessKind::Play, "");
        assert!(!allows(&of_empty, stream, AccessKind::Play, ""));
        assert!(!allows("", stream, AccessKind::Play, secret));
    }
}
