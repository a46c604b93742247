//! Figures of this worker's players, when control asks for them.

use super::Engine;
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::model::mail::{ControlMail, Outgoing};
use crate::model::plays::{PlayFigures, PlaysAsk, SentFigures};
use crate::peer::Side;
use crate::peer::subscriber::Subscriber;

impl Engine {
    /// Answers with the figures of at most `max` plays, by connection.
    pub(super) fn answer_plays(&mut self, now: Now, ask: &PlaysAsk) {
        let is_of = |conn| {
            self.conns
                .get(&conn)
                .is_some_and(|conn| *conn.app() == ask.app)
        };
        let mut plays = Vec::new();
        for (_, peer) in self.peers.iter() {
            let Side::Subscriber(subscriber) = &peer.side else {
                continue;
            };
            let stream = ask.stream.as_ref();
            if stream.is_none_or(|stream| peer.stream == *stream) && is_of(peer.conn) {
                plays.push(PlayFigures {
                    conn: peer.conn,
                    stream: peer.stream.clone(),
                    remote: peer.transport.route().map(|route| route.remote),
                    unix_us: now.unix_us,
                    audio: sent(subscriber, MediaKind::Audio),
                    video: sent(subscriber, MediaKind::Video),
                    rtt_us: subscriber.rtt_us(),
                });
            }
        }
        plays.sort_by(|a, b| (a.conn, &a.stream).cmp(&(b.conn, &b.stream)));
        plays.truncate(ask.max);
        let mail = ControlMail::Plays {
            request: ask.request,
            plays,
        };
        self.mails.push_back(Outgoing::Control(Box::new(mail)));
    }
}

fn sent(subscriber: &Subscriber, kind: MediaKind) -> SentFigures {
    let of_kind = subscriber.sendings.iter().filter(|s| s.info.kind == kind);
    of_kind.fold(SentFigures::default(), |sum, sending| SentFigures {
        packets: sum.packets + sending.stream.packets,
        len: sum.len + sending.stream.octets,
    })
}
