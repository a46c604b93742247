//! Text: session descriptions, signalling messages, settings.

use std::path::Path;

use serde_json::Value;

use crate::base::codec::{Codec, MediaKind};
use crate::base::ids::{Mid, Ssrc};
use crate::base::limits::{MAX_ENCODINGS, MAX_STREAM_ID_LEN};
use crate::config as settings;
use crate::model::definition::Definition;
use crate::sdp::answer::{self, Section};
use crate::sdp::offer::{self, OfferSection, SendSection};
use crate::sdp::{self, CodecPolicy, Description, LocalParameters, SdpError, SessionVersion};
use crate::sdp::{Fingerprint, HashFunction, IceParameters};
use crate::signal::message::{self, Parsed};
use crate::signal::reply;

/// A publisher's description: what it is answered is a description with the same m-lines, and
/// what the answer takes was offered.
pub fn sdp_offer(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(offer) = sdp::parse(text) else {
        return;
    };
    bounded(&offer, text.len());
    let Ok(negotiated) = answer::negotiate(&offer, &CodecPolicy::all()) else {
        return;
    };
    assert_eq!(negotiated.sections.len(), offer.media.len());
    assert!(!negotiated.transport.fingerprints.is_empty());
    for (section, decided) in offer.media.iter().zip(&negotiated.sections) {
        if let Section::Receive(receive) = decided {
            assert_eq!(Some(receive.kind), section.media_kind());
            assert_eq!(receive.codec.kind(), receive.kind);
            assert!(section.formats.iter().any(|f| f.pt == receive.pt));
            assert!(receive.rids.len() <= MAX_ENCODINGS);
        }
    }
    let text = answer::write(&offer, &negotiated, &local(), SESSION);
    let again = sdp::parse(&text).expect("the server reads its own answer");
    assert_eq!(again.media.len(), offer.media.len());
    for ((theirs, ours), decided) in offer
        .media
        .iter()
        .zip(&again.media)
        .zip(&negotiated.sections)
    {
        assert_eq!(ours.kind, theirs.kind);
        let is_refused = matches!(decided, Section::Rejected { .. });
        assert_eq!(ours.rejected, is_refused);
        assert!(is_refused || !theirs.has_mid || ours.mid == theirs.mid);
    }
}

/// A player's answer to an offer of the server's: a verdict for each m-line, or an error.
pub fn sdp_answer(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(answer) = sdp::parse(text) else {
        return;
    };
    bounded(&answer, text.len());
    let sections = offered();
    match offer::apply_answer(&sections, &answer) {
        Ok(accepted) => {
            assert_eq!(accepted.sections.len(), sections.len());
            let takes_any = accepted.sections.iter().any(|section| section.accepted);
            assert!(!takes_any || accepted.transport.is_some());
            for (section, offered) in accepted.sections.iter().zip(&sections) {
                assert_eq!(&section.mid, offered.mid());
                let stopped = matches!(offered, OfferSection::Stopped { .. });
                assert!(!(stopped && section.accepted));
            }
        }
        Err(error) => {
            let differs = sections.len() != answer.media.len();
            assert!(!differs || error == SdpError::Mismatch);
        }
    }
}

/// Lists do not grow beyond the text that they come from.
fn bounded(description: &Description, len: usize) {
    let lists = description.media.iter().map(|section| {
        section.formats.len()
            + section.extmaps.len()
            + section.ssrcs.len()
            + section.ssrc_groups.len()
            + section.rids.len()
            + section.candidates.len()
            + section.fingerprints.len()
    });
    // Session-level attributes hold for every m-line.
    assert!(lists.max().unwrap_or(0) <= len);
}

/// The offer that [`sdp_answer`] is about: audio, video, data, and an m-line that is over.
pub(super) fn offered() -> Vec<OfferSection> {
    let send = |mid: &str, codec: Codec, ssrc: u32| {
        let (server_pt, server_rtx_pt) = codec.server_pts("");
        OfferSection::Send(SendSection {
            mid: Mid::new(mid).expect("a mid"),
            kind: codec.kind(),
            codec,
            fmtp: String::new(),
            server_pt,
            server_rtx_pt,
            red: false,
            track_id: format!("ARDAMS{mid}"),
            stream_id: "s".to_owned(),
            ssrc: Ssrc(ssrc),
            rtx_ssrc: server_rtx_pt.map(|_| Ssrc(ssrc + 1)),
            cname: "c".to_owned(),
            disabled: false,
        })
    };
    vec![
        OfferSection::Data {
            mid: Mid::new("d").expect("a mid"),
        },
        send("a0", Codec::Opus, 10),
        send("v0", Codec::Vp8, 20),
        OfferSection::Stopped {
            mid: Mid::new("v1").expect("a mid"),
            kind: MediaKind::Video,
        },
    ]
}

/// The text of [`offered`].
#[cfg(test)]
pub(super) fn offered_text() -> String {
    offer::write(&offered(), &local(), SESSION)
}

fn local() -> LocalParameters {
    LocalParameters {
        ice: IceParameters {
            ufrag: "ufrag".to_owned(),
            pwd: "password-of-24-characters".to_owned(),
        },
        fingerprint: Fingerprint {
            hash: HashFunction::Sha256,
            bytes: vec![7; 32],
        },
        candidates: vec!["candidate:1 1 udp 1 127.0.0.1 50000 typ host".to_owned()],
    }
}

const SESSION: SessionVersion = SessionVersion { id: 1, version: 2 };

/// One signalling message: it parses to the same whatever else the object holds, and what is said
/// about it is JSON.
pub fn signalling_message(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let parsed = message::parse(text);
    let object: Option<Value> = serde_json::from_str(text).ok().filter(Value::is_object);
    match &parsed {
        Parsed::Command(_) => assert!(object.is_some(), "a command out of something else"),
        Parsed::Ignored(_) => {}
        Parsed::Refused(refusal) => {
            let said = reply::error(refusal.definition, refusal.stream.as_deref());
            let said: Value = serde_json::from_str(&said).expect("JSON");
            assert_eq!(said["command"], "error");
        }
    }
    let is_valid = message::is_valid_stream_id(text);
    assert!(!is_valid || text.len() <= MAX_STREAM_ID_LEN && !text.is_empty());
    let said = reply::error(Definition::InvalidStreamName, Some(text));
    let said: Value = serde_json::from_str(&said).expect("any text can be quoted");
    assert_eq!(said["streamId"], text);
}

/// A settings file: read, checked, or refused with a line of its own.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match settings::read(text, Path::new("leafcutter.toml"), 4) {
        Ok(config) => {
            assert!(!config.apps.is_empty());
            assert!((1..=1024).contains(&config.server.workers));
            assert_eq!(
                config,
                settings::read(text, Path::new("x"), 4).expect("once more")
            );
        }
        Err(error) => {
            let lines = text.lines().count().max(1);
            assert!(
                error
                    .line
                    .is_none_or(|line| (1..=lines + 1).contains(&line))
            );
            assert!(!error.to_string().is_empty());
        }
    }
}
