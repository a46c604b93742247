//! A player's answer to the server's offer: what it takes of each m-line.
//!
//! RFC 8829 §5.11, RFC 8843 §7.4. A refused m-line leaves the others alone. An answer to an older
//! offer is told from the number, kinds and mids of its m-lines. Called by `peer/` for players,
//! by way of `offer`.

use super::SdpError;
use super::answer::DataSection;
use super::description::{Description, MediaSection, SectionKind};
use super::format::{Format, FormatRole};
use super::offer::{OfferSection, SendSection, extensions};
use super::player::Numbers;
use super::transport::{self, RemoteTransport, Setup};
use crate::base::codec::{MediaKind, RED_PT};
use crate::base::extension::{ExtensionKind, ExtensionMap};
use crate::base::ids::Mid;

/// What a player took of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The player's end of the transport; `None` when it refused every section.
    pub transport: Option<RemoteTransport>,
    /// The section that carries it.
    pub leader: Option<Mid>,
    /// One per m-line of the offer, in its order.
    pub sections: Vec<AcceptedSection>,
    /// The data channel association, when it was offered and taken.
    pub data: Option<DataSection>,
}

/// What a player took of one m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedSection {
    /// The offered mid.
    pub mid: Mid,
    /// The player takes it; false for stopped sections, and where the answer has port 0, another
    /// codec, or does not receive what is sent.
    pub accepted: bool,
    /// The player sends generic NACK.
    pub nack: bool,
    /// The player takes retransmissions on their own SSRC.
    pub rtx: bool,
    /// The player takes redundancy (RFC 2198); else it is sent the codec alone.
    pub red: bool,
    /// The player sends transport-wide feedback, and takes the extension for it.
    pub transport_cc: bool,
    /// Extensions that the player takes, by this server's ids, or by the player's own where
    /// there are `numbers`.
    pub extensions: ExtensionMap,
    /// The player's own numbers, where it made the offer; `None`: it takes this server's.
    pub numbers: Option<Numbers>,
}

/// Reads the answer to an offer that [`write`](super::offer::write) made of `sections`.
///
/// # Errors
/// `Mismatch` when it answers another offer: to be ignored, a fresh answer follows. `Setup` when
/// the player insists on being the DTLS server; `MissingIce`, `MissingFingerprint`, `IceLite`.
pub fn apply_answer(sections: &[OfferSection], answer: &Description) -> Result<Accepted, SdpError> {
    let fits = |(offered, section): (&OfferSection, &MediaSection)| {
        let same_mid = !section.has_mid || &section.mid == offered.mid();
        same_mid && section.kind == section_kind(offered)
    };
    // What an earlier offer had, and this one has no more, is still in the answer to that one.
    let outlived = |(offered, section): (&OfferSection, &MediaSection)| match offered {
        OfferSection::Stopped { .. } => !section.rejected,
        OfferSection::Send(send) => {
            send.disabled && !section.rejected && section.direction.receives()
        }
        OfferSection::Data { .. } => false,
    };
    let pairs = || sections.iter().zip(&answer.media);
    if sections.len() != answer.media.len() || !pairs().all(fits) || pairs().any(outlived) {
        return Err(SdpError::Mismatch);
    }
    let mut leader: Option<(usize, bool)> = None;
    let mut accepted = Accepted {
        transport: None,
        leader: None,
        sections: Vec::with_capacity(sections.len()),
        data: None,
    };
    for (at, (offered, section)) in sections.iter().zip(&answer.media).enumerate() {
        let joins = leader.is_none_or(|(_, bundled)| bundled && section.bundled);
        let in_use = joins && !section.rejected;
        let taken = match offered {
            OfferSection::Send(send) if in_use => accept(send, section),
            OfferSection::Data { .. } if in_use && section.is_data_channel() => {
                accepted.data = Some(DataSection::of(section));
                AcceptedSection {
                    accepted: true,
                    ..refused(offered)
                }
            }
            OfferSection::Send(_) | OfferSection::Data { .. } | OfferSection::Stopped { .. } => {
                refused(offered)
            }
        };
        let stopped = matches!(offered, OfferSection::Stopped { .. });
        if in_use && !stopped {
            leader.get_or_insert((at, section.bundled));
        }
        accepted.sections.push(taken);
    }
    if let Some((first, _)) = leader {
        match transport::setup_of(answer, first) {
            Some(Setup::Active) | None => {}
            Some(Setup::Passive | Setup::ActPass | Setup::HoldConn) => {
                return Err(SdpError::Setup);
            }
        }
        accepted.transport = Some(RemoteTransport::of(answer, first)?);
        accepted.leader = sections.get(first).map(|section| section.mid().clone());
    }
    Ok(accepted)
}

fn section_kind(offered: &OfferSection) -> SectionKind {
    let kind = match offered {
        OfferSection::Send(send) => send.kind,
        OfferSection::Data { .. } => return SectionKind::Application,
        OfferSection::Stopped { kind, .. } => *kind,
    };
    match kind {
        MediaKind::Audio => SectionKind::Audio,
        MediaKind::Video => SectionKind::Video,
    }
}

pub(super) fn refused(offered: &OfferSection) -> AcceptedSection {
    AcceptedSection {
        mid: offered.mid().clone(),
        accepted: false,
        nack: false,
        rtx: false,
        red: false,
        transport_cc: false,
        extensions: ExtensionMap::default(),
        numbers: None,
    }
}

/// What `section`, which is in use, takes of `send`.
fn accept(send: &SendSection, section: &MediaSection) -> AcceptedSection {
    let mut map = ExtensionMap::default();
    for kind in extensions(send.kind, send.codec) {
        let id = kind.server_id();
        let takes = |e: &&super::Extmap| e.id == id && e.receives();
        if section.extmap(kind).filter(takes).is_some() {
            map.insert(kind, id);
        }
    }
    let is_offered =
        |f: &&Format| f.pt == send.server_pt && f.role() == FormatRole::Media(send.codec);
    let format = section.formats.iter().find(is_offered);
    let feedback = format.map(|f| f.feedback).unwrap_or_default();
    let rtx = send.rtx().is_some_and(|(pt, _)| {
        let role = FormatRole::Rtx(Some(send.server_pt));
        section
            .formats
            .iter()
            .any(|f| f.pt == pt && f.role() == role)
    });
    let is_red = |f: &Format| f.pt == RED_PT && f.role() == FormatRole::Red;
    AcceptedSection {
        mid: send.mid.clone(),
        accepted: format.is_some() && (send.disabled || section.direction.receives()),
        nack: feedback.nack,
        rtx,
        red: send.red && section.formats.iter().any(is_red),
        transport_cc: feedback.transport_cc && map.id(ExtensionKind::TransportCc).is_some(),
        extensions: map,
        numbers: None,
    }
}
