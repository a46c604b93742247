//! One-time tokens: what the store keeps in place of them, and what a token or JWT allows.

use ring::digest::{SHA256, digest};

use crate::model::access::{AccessKind, TokenGrant};

/// What is stored in place of a token: its SHA-256. Tokens are random and long, so their hash
/// needs neither salt nor many rounds; and a search by hash takes a time that tells nothing.
pub fn hash_of(token_id: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token_id.as_bytes()).as_ref());
    hash
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish<'a> {
    /// Publish or play.
    pub kind: AccessKind,
    /// The broadcast or room.
    pub stream: &'a str,
    /// The room that the broadcast is in, or will be: not what the client of a play says.
    pub main_track: Option<&'a str>,
}

/// Whether a token or JWT that has not ended allows `wish`: one for the broadcast itself; one to
/// publish in a room, which may also play the room; or one for every broadcast of a room.
pub fn allows(grant: &TokenGrant, wish: Wish<'_>) -> bool {
    let is_own = grant.kind == wish.kind && grant.stream_id == wish.stream;
    let room = grant.room_id.as_deref().unwrap_or(&grant.stream_id);
    let is_room = wish.stream == room;
    let is_in_room = wish.main_track == Some(room);
    let for_room = match (grant.kind, wish.kind) {
        (AccessKind::Publish, AccessKind::Publish) => is_in_room,
        (AccessKind::Publish, AccessKind::Play) => is_room,
        (AccessKind::Play, AccessKind::Publish | AccessKind::Play) => false,
    };
    let for_all_of_room =
        grant.room_id.is_some() && grant.kind == wish.kind && (is_room || is_in_room);
    is_own || for_room || for_all_of_room
}

/// Whether a stored token is gone once it was used: one for a whole room stays.
pub fn is_used_up(grant: &TokenGrant) -> bool {
    grant.room_id.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256() {
        // FIPS 180-2 appendix B.1.
        let hex = data_encoding::HEXLOWER.encode(&hash_of("abc"));
        assert!(hex.starts_with("ba7816bf8f01cfea414140de5dae2223"), "{hex}");
    }

    #[test]
    fn a_token_opens_what_it_is_for() {
        use AccessKind::{Play, Publish};
        let in_r = Some("r");
        // The token's kind, stream and room; the wish's kind, stream and main track.
        let cases = [
            ((Play, "s", None), (Play, "s", None), true),
            ((Play, "s", None), (Publish, "s", None), false),
            ((Publish, "s", None), (Publish, "s", None), true),
            ((Publish, "s", None), (Publish, "t", None), false),
            // Made for the room's id.
            ((Publish, "r", None), (Publish, "s", in_r), true),
            ((Publish, "r", None), (Publish, "s", Some("q")), false),
            ((Publish, "r", None), (Play, "r", None), true),
            ((Publish, "r", None), (Play, "s", in_r), false),
            ((Play, "r", None), (Publish, "s", in_r), false),
            ((Play, "r", None), (Play, "r", None), true),
            ((Play, "r", None), (Play, "s", in_r), false),
            // With a room id.
            ((Play, "x", in_r), (Play, "s", in_r), true),
            ((Play, "x", in_r), (Play, "r", None), true),
            ((Play, "x", in_r), (Play, "s", None), false),
            ((Play, "x", in_r), (Play, "s", Some("q")), false),
            ((Play, "x", in_r), (Play, "x", None), true),
            ((Play, "x", in_r), (Publish, "s", in_r), false),
            ((Publish, "x", in_r), (Publish, "s", in_r), true),
            ((Publish, "x", in_r), (Play, "r", None), true),
        ];
        for (token, wish, expected) in cases {
            let grant = TokenGrant {
                kind: token.0,
                stream_id: token.1.to_owned(),
                room_id: token.2.map(str::to_owned),
                expire_date: 0,
            };
            let (kind, stream, main_track) = wish;
            let asked = Wish {
                kind,
                stream,
                main_track,
            };
            assert_eq!(allows(&grant, asked), expected, "{token:?} {wish:?}");
            assert_eq!(is_used_up(&grant), token.2.is_none());
        }
    }
}
