//! DTLS for one peer (RFC 6347, RFC 9147, RFC 5764): `dimpl`, the sans-IO library behind str0m,
//! always the server side, its certificate check, and the SRTP keys it exports.
//!
//! Version 1.2 or 1.3 as the peer's ClientHello decides. No cookie exchange: ICE has proved the
//! return path before a record reaches this file (the gate).

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use dimpl::{Output, SrtpProfile};
use zeroize::Zeroizing;

use super::SrtpKeys;
use super::certificate::{Certificate, Fingerprint};
use crate::base::fault::PeerFault;
use crate::base::limits::MAX_DATAGRAM_LEN;
use crate::srtp::{Keys, Profile, Protect, Unprotect};

/// One association.
pub struct Dtls {
    instance: Box<dimpl::Dtls>,
    packets: Vec<Vec<u8>>,
    received: VecDeque<Bytes>,
    timeout: Option<Instant>,
    peer_certificate: Option<Vec<u8>>,
    exported: Option<(Zeroizing<Vec<u8>>, Profile)>,
    connected: bool,
    closed: bool,
}

impl fmt::Debug for Dtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dtls")
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}

impl Dtls {
    /// A server that waits for a ClientHello.
    ///
    /// # Errors
    /// `Capacity` when the provider cannot make an instance.
    pub fn new(now: Instant, certificate: &Certificate) -> Result<Self, PeerFault> {
        let mut instance = Box::new(certificate.association(now));
        instance
            .handle_timeout(now)
            .map_err(|_| PeerFault::Capacity)?;
        let mut dtls = Self {
            instance,
            packets: Vec::new(),
            received: VecDeque::new(),
            timeout: None,
            peer_certificate: None,
            exported: None,
            connected: false,
            closed: false,
        };
        dtls.poll()?;
        Ok(dtls)
    }

    /// One record or flight; false when it was refused, which leaves the association as it was.
    ///
    /// # Errors
    /// `TimedOut` or `Incompatible` when the association cannot go on.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) -> Result<bool, PeerFault> {
        if !self.connected && !may_be_of_a_handshake(packet) {
            return Ok(false);
        }
        let accepted = self.instance.handle_packet(packet).is_ok();
        self.poll()?;
        // The instance keeps its own time and moves it only here.
        self.instance
            .handle_timeout(now)
            .map_err(|_| PeerFault::TimedOut)?;
        self.poll()?;
        Ok(accepted)
    }

    /// True when the retransmission timer has run out.
    pub fn is_due(&self, now: Instant) -> bool {
        self.timeout.is_some_and(|due| due <= now)
    }

    /// Retransmits.
    ///
    /// # Errors
    /// `TimedOut` when the peer did not answer the last flight.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), PeerFault> {
        self.instance
            .handle_timeout(now)
            .map_err(|_| PeerFault::TimedOut)?;
        self.poll()
    }

    /// When the retransmission timer runs out.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timeout
    }

    /// Records to send.
    pub fn drain_packets(&mut self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.packets.drain(..)
    }

    /// The next application data that came. Whose it is, is known only once
    /// [`take_keys`](Self::take_keys) has given keys.
    pub fn take_received(&mut self) -> Option<Bytes> {
        self.received.pop_front()
    }

    /// Queues application data as one record.
    ///
    /// # Errors
    /// `Capacity` when the association does not take it; it is lost.
    pub fn send(&mut self, data: &[u8]) -> Result<(), PeerFault> {
        let taken = self.instance.send_application_data(data);
        self.poll()?;
        match taken {
            Ok(len) if len == data.len() => Ok(()),
            Ok(_) | Err(_) => Err(PeerFault::Capacity),
        }
    }

    /// True after the peer's close_notify.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Ends the association and returns the record that tells the peer so (close_notify); `None`
    /// before the handshake is done. Records that wait are lost.
    pub fn close(&mut self) -> Option<Vec<u8>> {
        if !self.connected {
            return None;
        }
        self.packets.clear();
        self.instance.close().ok()?;
        self.poll().ok()?;
        self.packets.pop()
    }

    /// The SRTP contexts, once the handshake is complete and the peer's certificate is the one
    /// its SDP promised; `None` before.
    ///
    /// # Errors
    /// `Misbehaved` when the certificate is another one.
    pub fn take_keys(&mut self, expected: &[Fingerprint]) -> Result<Option<SrtpKeys>, PeerFault> {
        if !self.connected {
            return Ok(None);
        }
        let Some((material, profile)) = self.exported.take() else {
            return Ok(None);
        };
        let certificate = self
            .peer_certificate
            .as_deref()
            .ok_or(PeerFault::Misbehaved)?;
        if !expected
            .iter()
            .any(|fingerprint| fingerprint.matches(certificate))
        {
            return Err(PeerFault::Misbehaved);
        }
        let keys = Keys::from_dtls(profile, &material).ok_or(PeerFault::Incompatible)?;
        Ok(Some(SrtpKeys {
            protect: Protect::new(&keys.server).ok_or(PeerFault::Incompatible)?,
            unprotect: Unprotect::new(&keys.client).ok_or(PeerFault::Incompatible)?,
        }))
    }

    fn poll(&mut self) -> Result<(), PeerFault> {
        let mut buf = [0; 2 * MAX_DATAGRAM_LEN];
        for _ in 0..MAX_POLLS {
            match self.instance.poll_output(&mut buf) {
                Output::Packet(packet) => self.packets.push(packet.to_vec()),
                Output::Timeout(due) => {
                    self.timeout = Some(due);
                    return Ok(());
                }
                Output::Connected => self.connected = true,
                Output::PeerCert(der) => self.peer_certificate = Some(der.to_vec()),
                Output::KeyingMaterial(material, profile) => {
                    let profile = profile_of(profile).ok_or(PeerFault::Incompatible)?;
                    self.exported = Some((Zeroizing::new(material.to_vec()), profile));
                }
                Output::CloseNotify => self.closed = true,
                // What nobody takes is dropped below: SCTP sends it again.
                Output::ApplicationData(data) if self.received.len() < MAX_RECEIVED => {
                    self.received.push_back(Bytes::copy_from_slice(data));
                }
                Output::BufferTooSmall { .. } => return Err(PeerFault::Capacity),
                // The library may grow further outputs.
                _ => {}
            }
        }
        Err(PeerFault::Misbehaved)
    }
}

/// False for what no client sends in a handshake and anybody can forge: noise, and alerts in clear,
/// which would end it (RFC 6347 §4.1.2.7 lets such records be passed over). A client that really
/// gives up is noticed by its silence.
fn may_be_of_a_handshake(datagram: &[u8]) -> bool {
    let mut rest = datagram;
    while let Some(&first) = rest.first() {
        if !(CHANGE_CIPHER_SPEC..=ACK).contains(&first) {
            // RFC 9147 §4: the unified header of an encrypted record; nothing is known of it.
            return first & 0xe0 == 0x20;
        }
        let &[
            kind,
            0xfe,
            0xff | 0xfd,
            epoch_high,
            epoch_low,
            _,
            _,
            _,
            _,
            _,
            _,
            high,
            low,
            ..,
        ] = rest
        else {
            return false;
        };
        let epoch = u16::from_be_bytes([epoch_high, epoch_low]);
        if epoch > 1 || kind == ALERT && epoch == 0 {
            return false;
        }
        let len = HEADER_LEN + usize::from(u16::from_be_bytes([high, low]));
        let Some(next) = rest.get(len..) else {
            return false;
        };
        rest = next;
    }
    !datagram.is_empty()
}

pub(crate) fn profile_of(profile: SrtpProfile) -> Option<Profile> {
    match profile {
        SrtpProfile::AEAD_AES_128_GCM => Some(Profile::AeadAes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(Profile::AeadAes256Gcm),
        SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::AesCm128HmacSha1_80),
        _ => None,
    }
}

/// Records of application data between two looks at them: one datagram holds a handful, and the
/// data that overtook the end of a handshake a few more.
const MAX_RECEIVED: usize = 64;

/// Bytes of a record's header (RFC 6347 §4.1).
const HEADER_LEN: usize = 13;

/// Content types, the first and the last that there are, and the one between (RFC 9147 §4).
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const ACK: u8 = 26;

/// More outputs than any flight has: a loop that does not end is a fault, not a hang.
const MAX_POLLS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_ends_and_noise_do_not_reach_a_handshake() {
        let record = |kind: u8, epoch: u8, body: &[u8]| {
            let len = body.len() as u8;
            let header = [kind, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 1, 0, len];
            [&header, body].concat()
        };
        let hello = record(22, 0, &[1; 40]);
        let cases = [
            (hello.clone(), true),
            (
                [hello.clone(), record(20, 0, &[1]), record(22, 1, &[9; 24])].concat(),
                true,
            ),
            (record(21, 1, &[9; 18]), true),
            (vec![0x2f; 40], true),
            (record(21, 0, &[2, 40]), false),
            ([hello.clone(), record(21, 0, &[2, 40])].concat(), false),
            (record(22, 9, &[1; 4]), false),
            (vec![22; 60], false),
            (hello[..20].to_vec(), false),
            (vec![63; 5], true),
            (vec![64; 5], false),
            (Vec::new(), false),
        ];
        for (datagram, expected) in cases {
            assert_eq!(
                may_be_of_a_handshake(&datagram),
                expected,
                "{datagram:02x?}"
            );
        }
    }
}
