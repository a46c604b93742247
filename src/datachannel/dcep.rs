//! The Data Channel Establishment Protocol (RFC 8832): the two messages that open a channel.
//!
//! Only parses and writes; which channels exist is `channels.rs`'s business.

use crate::base::bytes::Reader;

/// A message of PPID 50.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dcep {
    /// DATA_CHANNEL_OPEN.
    Open(Open),
    /// DATA_CHANNEL_ACK.
    Ack,
}

/// What a channel is opened with (RFC 8832 §5.1).
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Message Type |  Channel Type |            Priority           |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                    Reliability Parameter                      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |         Label Length          |       Protocol Length         |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// \                             Label                             /
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// \                            Protocol                           /
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Messages arrive in the order they were sent.
    pub ordered: bool,
    /// When a message may be given up.
    pub reliability: Reliability,
    /// Relative to other channels (RFC 8831 §6.4); this server does not act on it.
    pub priority: u16,
    /// The channel's name, at most 65,535 bytes.
    pub label: String,
    /// The subprotocol, often empty, at most 65,535 bytes.
    pub protocol: String,
}

/// When a message may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reliability {
    /// Never.
    Reliable,
    /// After this many retransmissions.
    Retransmits(u32),
    /// After this many milliseconds.
    Lifetime(u32),
}

impl Dcep {
    /// Reads one message; `None` when its type is unknown or its lengths do not add up, or when
    /// label or protocol are not UTF-8. Bytes behind the protocol are ignored.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(message);
        match reader.u8()? {
            ACK => Some(Self::Ack),
            OPEN => Some(Self::Open(Open::parse(reader)?)),
            _ => None,
        }
    }

    /// The message's bytes. A label or protocol that is too long to be written is left out.
    pub fn write(&self) -> Vec<u8> {
        match self {
            Self::Ack => vec![ACK],
            Self::Open(open) => open.write(),
        }
    }
}

impl Open {
    fn parse(mut reader: Reader<'_>) -> Option<Self> {
        let channel_type = reader.u8()?;
        let priority = reader.u16()?;
        let parameter = reader.u32()?;
        let label_len = reader.u16()?;
        let protocol_len = reader.u16()?;
        let mut text = |len: u16| {
            let bytes = reader.take(usize::from(len))?;
            Some(std::str::from_utf8(bytes).ok()?.to_owned())
        };
        Some(Self {
            ordered: channel_type & UNORDERED == 0,
            reliability: match channel_type & !UNORDERED {
                0 => Reliability::Reliable,
                1 => Reliability::Retransmits(parameter),
                2 => Reliability::Lifetime(parameter),
                _ => return None,
            },
            priority,
            label: text(label_len)?,
            protocol: text(protocol_len)?,
        })
    }

    fn write(&self) -> Vec<u8> {
        let (reliability, parameter) = match self.reliability {
            Reliability::Reliable => (0, 0),
            Reliability::Retransmits(most) => (1, most),
            Reliability::Lifetime(ms) => (2, ms),
        };
        let unordered = if self.ordered { 0 } else { UNORDERED };
        let (label, label_len) = writable(&self.label);
        let (protocol, protocol_len) = writable(&self.protocol);
        let mut bytes = Vec::with_capacity(12 + label.len() + protocol.len());
        bytes.extend_from_slice(&[OPEN, reliability | unordered]);
        bytes.extend_from_slice(&self.priority.to_be_bytes());
        bytes.extend_from_slice(&parameter.to_be_bytes());
        bytes.extend_from_slice(&label_len.to_be_bytes());
        bytes.extend_from_slice(&protocol_len.to_be_bytes());
        bytes.extend_from_slice(label.as_bytes());
        bytes.extend_from_slice(protocol.as_bytes());
        bytes
    }
}

fn writable(text: &str) -> (&str, u16) {
    match u16::try_from(text.len()) {
        Ok(len) => (text, len),
        Err(_) => ("", 0),
    }
}

/// RFC 8832 §8.2.1.
const ACK: u8 = 0x02;
const OPEN: u8 = 0x03;

/// The bit of the channel type that says that order does not matter (RFC 8832 §5.1).
const UNORDERED: u8 = 0x80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_open() -> impl Strategy<Value = Open> {
        let reliability = prop_oneof![
            Just(Reliability::Reliable),
            any::<u32>().prop_map(Reliability::Retransmits),
            any::<u32>().prop_map(Reliability::Lifetime),
        ];
        let texts = (".{0,40}", ".{0,40}");
        (any::<bool>(), reliability, any::<u16>(), texts).prop_map(
            |(ordered, reliability, priority, (label, protocol))| Open {
                ordered,
                reliability,
                priority,
                label,
                protocol,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(open in any_open()) {
            let message = Dcep::Open(open);
            prop_assert_eq!(Dcep::parse(&message.write()), Some(message));
        }

        #[test]
        fn a_message_that_is_cut_is_refused(open in any_open(), cut in 1usize..60) {
            let bytes = Dcep::Open(open).write();
            let end = bytes.len().saturating_sub(cut);
            prop_assert_eq!(Dcep::parse(&bytes[..end]), None);
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Dcep::parse(&bytes);
        }
    }

    #[test]
    fn reads_what_chrome_sends() {
        let bytes = b"\x03\x00\x01\x00\x00\x00\x00\x00\x00\x07\x00\x00stream1";
        let open = Open {
            ordered: true,
            reliability: Reliability::Reliable,
            priority: 256,
            label: "stream1".to_owned(),
            protocol: String::new(),
        };
        assert_eq!(Dcep::parse(bytes), Some(Dcep::Open(open.clone())));
        assert_eq!(Dcep::Open(open).write(), bytes);
    }

    #[test]
    fn refuses_what_is_no_dcep() {
        for bytes in [
            &b""[..],
            b"\x01",
            b"\x03",
            b"\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
            b"\x03\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\xff",
            b"\x03\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xffab",
        ] {
            assert_eq!(Dcep::parse(bytes), None, "{bytes:02x?}");
        }
        assert_eq!(Dcep::parse(b"\x02"), Some(Dcep::Ack));
    }
}
