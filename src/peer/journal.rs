//! The last events of a peer, kept for the line that is logged when it fails.

use std::fmt;
use std::time::{Duration, Instant};

use crate::base::fault::PeerFault;

/// A ring of a peer's last 16 events, with the milliseconds since its start. Inline: a
/// peer without trouble costs a few dozen bytes and no allocation.
#[derive(Clone, Debug)]
pub struct Journal {
    start: Instant,
    entries: [Option<(u32, Note)>; PLACES],
    next: u8,
}

/// Something that happened to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// It was made.
    Created,
    /// ICE has validated an address of it.
    AddressValidated,
    /// A TCP connection of it is gone.
    TcpClosed,
    /// Its description asked for an ICE restart.
    IceRestart,
    /// A DTLS record of it was refused.
    DtlsRefused,
    /// Its DTLS handshake is complete: media may flow.
    Connected,
    /// Its first packet came.
    FirstPacket,
    /// Its picture is sent in another layer of so many rows.
    Height(u16),
    /// A capture of it began.
    CaptureStarted,
    /// It was ended for this.
    Fault(PeerFault),
    /// It said goodbye.
    Closed,
}

impl Journal {
    /// A journal that says that the peer was made.
    pub fn new(start: Instant) -> Self {
        let mut journal = Self {
            start,
            entries: [None; PLACES],
            next: 0,
        };
        journal.note(start, Note::Created);
        journal
    }

    /// Keeps `note` in the place of the oldest one. The same note again is kept once, with its
    /// first time.
    pub fn note(&mut self, now: Instant, note: Note) {
        let places = PLACES as u8;
        let latest = self
            .entries
            .get(usize::from((self.next + places - 1) % places));
        if latest.is_some_and(|latest| latest.is_some_and(|(_, last)| last == note)) {
            return;
        }
        let ms = now.saturating_duration_since(self.start).as_millis();
        if let Some(place) = self.entries.get_mut(usize::from(self.next)) {
            *place = Some((u32::try_from(ms).unwrap_or(u32::MAX), note));
            self.next = (self.next + 1) % places;
        }
    }

    /// Since the peer was made.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    /// Milliseconds since the start and what happened, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = (u32, Note)> {
        let (newer, older) = self.entries.split_at(usize::from(self.next).min(PLACES));
        older.iter().chain(newer).flatten().copied()
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (ms, note)) in self.entries().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{ms} ms {note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Created => f.write_str("created"),
            Note::AddressValidated => f.write_str("address validated"),
            Note::TcpClosed => f.write_str("TCP connection closed"),
            Note::IceRestart => f.write_str("ICE restart"),
            Note::DtlsRefused => f.write_str("DTLS record refused"),
            Note::Connected => f.write_str("connected"),
            Note::FirstPacket => f.write_str("first packet"),
            Note::Height(rows) => write!(f, "{rows} rows"),
            Note::CaptureStarted => f.write_str("capture started"),
            Note::Fault(fault) => write!(f, "fault {fault:?}"),
            Note::Closed => f.write_str("closed by the peer"),
        }
    }
}

/// Enough for a join and what led to its end.
const PLACES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;

    #[test]
    fn the_last_events_are_kept_in_order_and_repetitions_once() {
        let start = test_now().instant;
        let at = |ms| start + Duration::from_millis(ms);
        let mut journal = Journal::new(start);
        journal.note(at(3), Note::DtlsRefused);
        journal.note(at(4), Note::DtlsRefused);
        journal.note(at(9), Note::Connected);
        assert_eq!(
            journal.to_string(),
            "0 ms created, 3 ms DTLS record refused, 9 ms connected"
        );
        for rows in 0..20 {
            journal.note(at(100 + u64::from(rows)), Note::Height(rows));
        }
        let kept: Vec<_> = journal.entries().collect();
        assert_eq!(kept.len(), PLACES);
        assert_eq!(kept[0], (104, Note::Height(4)));
        assert_eq!(kept[PLACES - 1], (119, Note::Height(19)));
    }
}
