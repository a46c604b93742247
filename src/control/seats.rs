//! Who of the subscribers is connected: what limits of connections and blocks are checked against.
//!
//! A seat is one publish or play of a connection that came with a `subscriberId`.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::ConnId;
use crate::model::access::{AccessKind, BlockKind};
use crate::model::mail::AppName;
use crate::model::track::StreamId;

/// Which publish or play of which connection.
pub(super) type SeatKey = (ConnId, StreamId, AccessKind);

/// Whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub app: AppName,
    pub subscriber_id: String,
    /// The broadcast or room that the subscriber is registered for.
    pub registered_for: String,
    /// The room that the broadcast is in.
    pub main_track: Option<String>,
    /// Media flows.
    pub is_live: bool,
}

/// Every seat of the process.
#[derive(Debug, Default)]
pub(super) struct Seats {
    seats: BTreeMap<SeatKey, Seat>,
    by_subscriber: BTreeMap<(AppName, String), BTreeSet<SeatKey>>,
}

impl Seats {
    /// A publish or play was granted.
    pub fn take(&mut self, key: SeatKey, seat: Seat) {
        self.free(&key);
        let subscriber = (seat.app.clone(), seat.subscriber_id.clone());
        self.by_subscriber
            .entry(subscriber)
            .or_default()
            .insert(key.clone());
        self.seats.insert(key, seat);
    }

    /// It is connected: whose it is, the first time.
    pub fn connect(&mut self, key: &SeatKey) -> Option<&Seat> {
        let seat = self.seats.get_mut(key).filter(|seat| !seat.is_live)?;
        seat.is_live = true;
        Some(seat)
    }

    /// It is over: whose it was.
    pub fn free(&mut self, key: &SeatKey) -> Option<Seat> {
        let seat = self.seats.remove(key)?;
        let subscriber = (seat.app.clone(), seat.subscriber_id.clone());
        if let Some(keys) = self.by_subscriber.get_mut(&subscriber) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_subscriber.remove(&subscriber);
            }
        }
        Some(seat)
    }

    /// One seat.
    pub fn get(&self, key: &SeatKey) -> Option<&Seat> {
        self.seats.get(key)
    }

    /// Connections of a subscriber; all that one does counts once.
    pub fn connections(&self, app: &AppName, registered_for: &str, subscriber_id: &str) -> usize {
        let seats = self.of(app, subscriber_id);
        let own = seats.filter(|(_, seat)| seat.registered_for == registered_for);
        let conns: BTreeSet<ConnId> = own.map(|((conn, ..), _)| *conn).collect();
        conns.len()
    }

    /// Connections of a subscriber besides `conn`; all that one does counts once.
    pub fn connections_besides(
        &self,
        conn: ConnId,
        app: &AppName,
        registered_for: &str,
        subscriber_id: &str,
    ) -> usize {
        let conns: BTreeSet<ConnId> = self
            .of(app, subscriber_id)
            .filter(|(_, seat)| seat.registered_for == registered_for)
            .map(|((other, ..), _)| *other)
            .filter(|other| *other != conn)
            .collect();
        conns.len()
    }

    /// What a block of a subscriber of `stream`, or of the room `stream`, ends.
    pub fn blocked(
        &self,
        app: &AppName,
        stream: &str,
        subscriber_id: &str,
        kind: BlockKind,
    ) -> Vec<SeatKey> {
        self.of(app, subscriber_id)
            .filter(|((_, own, access), seat)| {
                let is_of = &**own == stream
                    || seat.registered_for == stream
                    || seat.main_track.as_deref() == Some(stream);
                is_of && kind.covers(*access)
            })
            .map(|(key, _)| key.clone())
            .collect()
    }

    fn of(&self, app: &AppName, subscriber_id: &str) -> impl Iterator<Item = (&SeatKey, &Seat)> {
        self.by_subscriber
            .get(&(app.clone(), subscriber_id.to_owned()))
            .into_iter()
            .flatten()
            .filter_map(|key| self.seats.get_key_value(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::WorkerId;

    fn key(serial: u64, stream: &str, kind: AccessKind) -> SeatKey {
        let worker = WorkerId(0);
        (ConnId { worker, serial }, stream.into(), kind)
    }

    fn seat(subscriber_id: &str, registered_for: &str) -> Seat {
        Seat {
            app: "live".into(),
            subscriber_id: subscriber_id.to_owned(),
            registered_for: registered_for.to_owned(),
            main_track: None,
            is_live: false,
        }
    }

    #[test]
    fn a_connection_counts_once_and_only_while_it_is_there() {
        let mut seats = Seats::default();
        let app = AppName::from("live");
        let (publish, play) = (
            key(1, "a", AccessKind::Publish),
            key(1, "r", AccessKind::Play),
        );
        let second = key(2, "r", AccessKind::Play);
        for key in [&publish, &play, &second] {
            seats.take(key.clone(), seat("anna", "r"));
        }
        seats.take(key(3, "r", AccessKind::Play), seat("anna", "q"));
        seats.take(key(4, "r", AccessKind::Play), seat("bert", "r"));
        let count = |seats: &Seats, conn| seats.connections_besides(conn, &app, "r", "anna");
        assert_eq!(count(&seats, key(9, "", AccessKind::Play).0), 2);
        assert_eq!(count(&seats, publish.0), 1);
        assert!(seats.free(&second).is_some());
        assert_eq!(count(&seats, publish.0), 0);
        assert!(seats.free(&second).is_none());
        assert!(seats.connect(&play).is_some());
        assert!(seats.connect(&play).is_none(), "only the first time");
    }

    #[test]
    fn a_block_ends_what_it_covers() {
        let mut seats = Seats::default();
        let app = AppName::from("live");
        let publish = key(1, "a", AccessKind::Publish);
        let play = key(1, "r", AccessKind::Play);
        let in_room = Seat {
            main_track: Some("r".to_owned()),
            ..seat("anna", "a")
        };
        seats.take(publish.clone(), in_room);
        seats.take(play.clone(), seat("anna", "r"));
        let blocked = |stream, kind| seats.blocked(&app, stream, "anna", kind);
        assert_eq!(blocked("r", BlockKind::Play), std::slice::from_ref(&play));
        assert_eq!(
            blocked("r", BlockKind::PublishPlay),
            [publish.clone(), play]
        );
        assert_eq!(blocked("a", BlockKind::PublishPlay), [publish]);
        assert!(blocked("a", BlockKind::Play).is_empty());
        assert!(
            seats
                .blocked(&app, "r", "bert", BlockKind::PublishPlay)
                .is_empty()
        );
    }
}
