//! Figures of this worker's players, when control asks for them.

use super::Engine;
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::model::mail::{AppName, ControlMail, Outgoing};
use crate::model::plays::{PlayFigures, SentFigures};
use crate::model::track::StreamId;
use crate::peer::Side;
use crate::peer::subscriber::Subscriber;

impl Engine {
    /// Answers with the figures of at most `max` plays of `stream`, or of every broadcast of `app`
    /// when none is named, by connection.
    pub(super) fn answer_plays(
        &mut self,
        now: Now,
        request: u64,
        app: &AppName,
        stream: Option<&StreamId>,
        max: usize,
    ) {
        let is_of = |conn| self.conns.get(&conn).is_some_and(|conn| conn.app() == app);
        let mut plays = Vec::new();
        for (_, peer) in self.peers.iter() {
            let Side::Subscriber(subscriber) = &peer.side else {
                continue;
            };
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
        plays.truncate(max);
        let mail = ControlMail::Plays { request, plays };
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
