//! Why a packet was not forwarded and why a peer was ended: two closed lists.

/// Why one datagram or packet went no further. `Copy`, no text, never logged singly: counted in
/// [`DropCounters`] and exported as `leafcutter_packets_dropped_total{reason}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// Empty, or its first byte belongs to no protocol of RFC 7983 §7.
    UnknownProtocol,
    /// Longer than `limits::MAX_DATAGRAM_LEN`.
    Oversized,
    /// Not STUN and its source address was never validated by ICE (the gate).
    UnvalidatedSource,
    /// STUN that does not parse.
    MalformedStun,
    /// STUN for no peer of this worker: unknown user fragment.
    UnknownUfrag,
    /// STUN whose MESSAGE-INTEGRITY or role is wrong.
    StunRejected,
    /// DTLS record that the handshake refused, or that came for a peer without DTLS.
    DtlsRejected,
    /// SRTP or SRTCP before the DTLS handshake gave keys.
    NoKeys,
    /// RTP header, or redundancy (RFC 2198), that does not parse.
    MalformedRtp,
    /// RTCP compound that does not parse, or reports on more packets than one can.
    MalformedRtcp,
    /// SRTP or SRTCP index already seen, or older than the replay window (RFC 3711 §3.3.2).
    Replayed,
    /// SRTP or SRTCP authentication tag is wrong.
    AuthFailed,
    /// Authentic RTP whose SSRC, MID and RID lead to no track of this peer.
    UnknownSsrc,
    /// Payload type that was not negotiated for its track.
    UnknownPt,
    /// The sender of this packet may not send media (a subscriber sent RTP).
    NotAPublisher,
    /// Packet already received, by its extended sequence number (often a needless retransmission);
    /// or asked for again when it is about to be sent anyway.
    Duplicate,
    /// Older than everything the history keeps.
    TooOld,
    /// Probing or padding: authentic, but carries no media.
    Padding,
    /// A subscription that waits for a key frame before it starts.
    AwaitingKeyFrame,
    /// A subscription that is switched off or paused.
    Disabled,
    /// The subscriber is not connected yet.
    NotConnected,
    /// An egress buffer or a queue to another worker was full.
    QueueFull,
    /// The kernel would not take the datagram.
    SendFailed,
    /// Asked for again by a peer without RTX whose packets carry transport-wide numbers: a plain
    /// copy would be other bytes under the same SRTP index.
    NoRtx,
    /// Belongs to a layer that this subscription is not sent.
    NotSelected,
    /// Written for a TCP connection that is gone, or whose peer does not read as fast.
    TcpFull,
}

impl DropReason {
    /// Every reason, in declaration order.
    pub const ALL: [DropReason; 26] = [
        DropReason::UnknownProtocol,
        DropReason::Oversized,
        DropReason::UnvalidatedSource,
        DropReason::MalformedStun,
        DropReason::UnknownUfrag,
        DropReason::StunRejected,
        DropReason::DtlsRejected,
        DropReason::NoKeys,
        DropReason::MalformedRtp,
        DropReason::MalformedRtcp,
        DropReason::Replayed,
        DropReason::AuthFailed,
        DropReason::UnknownSsrc,
        DropReason::UnknownPt,
        DropReason::NotAPublisher,
        DropReason::Duplicate,
        DropReason::TooOld,
        DropReason::Padding,
        DropReason::AwaitingKeyFrame,
        DropReason::Disabled,
        DropReason::NotConnected,
        DropReason::QueueFull,
        DropReason::SendFailed,
        DropReason::NoRtx,
        DropReason::NotSelected,
        DropReason::TcpFull,
    ];

    /// The label value in the metrics.
    pub const fn label(self) -> &'static str {
        match self {
            DropReason::UnknownProtocol => "unknown_protocol",
            DropReason::Oversized => "oversized",
            DropReason::UnvalidatedSource => "unvalidated_source",
            DropReason::MalformedStun => "malformed_stun",
            DropReason::UnknownUfrag => "unknown_ufrag",
            DropReason::StunRejected => "stun_rejected",
            DropReason::DtlsRejected => "dtls_rejected",
            DropReason::NoKeys => "no_keys",
            DropReason::MalformedRtp => "malformed_rtp",
            DropReason::MalformedRtcp => "malformed_rtcp",
            DropReason::Replayed => "replayed",
            DropReason::AuthFailed => "auth_failed",
            DropReason::UnknownSsrc => "unknown_ssrc",
            DropReason::UnknownPt => "unknown_pt",
            DropReason::NotAPublisher => "not_a_publisher",
            DropReason::Duplicate => "duplicate",
            DropReason::TooOld => "too_old",
            DropReason::Padding => "padding",
            DropReason::AwaitingKeyFrame => "awaiting_key_frame",
            DropReason::Disabled => "disabled",
            DropReason::NotConnected => "not_connected",
            DropReason::QueueFull => "queue_full",
            DropReason::SendFailed => "send_failed",
            DropReason::NoRtx => "no_rtx",
            DropReason::NotSelected => "not_selected",
            DropReason::TcpFull => "tcp_full",
        }
    }
}

/// One plain counter per [`DropReason`]; owned by a worker, published once a turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct DropCounters([u64; DropReason::ALL.len()]);

impl DropCounters {
    /// Counts one packet.
    pub fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts `packets` at once.
    pub fn add(&mut self, reason: DropReason, packets: u64) {
        if let Some(slot) = self.0.get_mut(reason as usize) {
            *slot += packets;
        }
    }

    /// How many were counted for `reason`.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }
}

/// Why a peer is ended: who is at fault decides what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFault {
    /// It sent what its protocol does not allow to be written.
    Malformed,
    /// It sent something well formed that its state does not allow.
    Misbehaved,
    /// It and this server have no codec, profile or version in common.
    Incompatible,
    /// It fell silent: ICE consent, handshake or start timer ran out.
    TimedOut,
    /// A limit of this server was reached; the peer did nothing wrong.
    Capacity,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_complete_and_in_order() {
        for (i, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i, "{reason:?}");
        }
        let mut labels: Vec<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::ALL.len(), "labels are distinct");
    }
}
