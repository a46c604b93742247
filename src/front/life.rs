//! What becomes of publishes and plays: each step is counted, timed and told to the log in one
//! line.
//!
//! Reads the mail between workers and the directory as it passes by, and changes nothing. Called
//! by `run.rs` and `shared.rs`.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::base::ids::ConnId;
use crate::metrics::JoinFigures;
use crate::model::access::AccessKind;
use crate::model::definition::Definition;
use crate::model::mail::{AppName, ControlMail, WorkerMail};
use crate::model::track::StreamId;

/// Joins under way, and what became of the others.
#[derive(Debug, Default)]
pub struct Life {
    joining: BTreeMap<(ConnId, AccessKind, StreamId), Joining>,
    publishes: JoinFigures,
    plays: JoinFigures,
}

/// A question to publish or play, until it is connected or over.
#[derive(Debug)]
struct Joining {
    request: u64,
    since: Instant,
}

impl Life {
    /// A worker asked or told something.
    pub fn hear(&mut self, now: Instant, mail: &ControlMail) {
        match mail {
            ControlMail::AskPublish {
                conn, request, ask, ..
            } => self.ask(now, (*conn, AccessKind::Publish), &ask.stream, *request),
            ControlMail::AskPlay {
                conn, request, ask, ..
            } => self.ask(now, (*conn, AccessKind::Play), &ask.stream, *request),
            ControlMail::PublishLive {
                conn, app, stream, ..
            } => self.connected(now, (*conn, AccessKind::Publish), app, stream),
            ControlMail::PlayLive { conn, app, stream } => {
                self.connected(now, (*conn, AccessKind::Play), app, stream);
            }
            ControlMail::PublishReleased {
                conn,
                app,
                stream,
                ending,
            } => {
                self.joining
                    .remove(&(*conn, AccessKind::Publish, stream.clone()));
                tracing::info!(%app, %stream, conn = %name(*conn), ?ending, "publish ended");
            }
            ControlMail::PlayReleased { conn, app, stream } => {
                self.joining
                    .remove(&(*conn, AccessKind::Play, stream.clone()));
                tracing::info!(%app, %stream, conn = %name(*conn), "play ended");
            }
            ControlMail::ConnClosed { conn } => self.forget(*conn),
            ControlMail::Errand { .. }
            | ControlMail::Plays { .. }
            | ControlMail::Peers { .. }
            | ControlMail::PublishMeasured { .. }
            | ControlMail::AudioLevel { .. }
            | ControlMail::Room { .. }
            | ControlMail::DataMessage(_) => {}
        }
    }

    /// A worker is told something.
    pub fn tell(&mut self, mail: &WorkerMail) {
        if let WorkerMail::PublishDecision {
            conn,
            request,
            result,
        } = mail
        {
            self.decided(*conn, AccessKind::Publish, *request, *result);
        } else if let WorkerMail::PlayDecision {
            conn,
            request,
            result,
        } = mail
        {
            let result = result.as_ref().map(|_| ()).map_err(|refusal| *refusal);
            self.decided(*conn, AccessKind::Play, *request, result);
        }
    }

    /// What was counted so far, of publishes and of plays.
    pub fn figures(&self) -> (JoinFigures, JoinFigures) {
        (self.publishes, self.plays)
    }

    fn ask(
        &mut self,
        since: Instant,
        (conn, kind): (ConnId, AccessKind),
        stream: &Option<StreamId>,
        request: u64,
    ) {
        if let Some(stream) = stream {
            let joining = Joining { request, since };
            self.joining.insert((conn, kind, stream.clone()), joining);
        }
    }

    fn decided(
        &mut self,
        conn: ConnId,
        kind: AccessKind,
        request: u64,
        result: Result<(), Definition>,
    ) {
        let figures = self.figures_mut(kind);
        let Err(refusal) = result else {
            figures.granted += 1;
            return;
        };
        figures.refused += 1;
        let mut of_conn = self.of_conn(conn);
        let key = of_conn.find(|(key, joining)| key.1 == kind && joining.request == request);
        let key = key.map(|(key, _)| key.clone());
        drop(of_conn);
        let stream = key.as_ref().map(|(.., stream)| stream.to_string());
        tracing::info!(?kind, stream, conn = %name(conn), why = refusal.text(), "refused");
        if let Some(key) = key {
            self.joining.remove(&key);
        }
    }

    fn connected(
        &mut self,
        now: Instant,
        (conn, kind): (ConnId, AccessKind),
        app: &AppName,
        stream: &StreamId,
    ) {
        // Told again after a renegotiation; only the first time counts.
        let Some(joining) = self.joining.remove(&(conn, kind, stream.clone())) else {
            return;
        };
        let took = now.saturating_duration_since(joining.since);
        self.figures_mut(kind).took.add(took, 1);
        let took_ms = took.as_secs_f64() * 1e3;
        tracing::info!(?kind, %app, %stream, conn = %name(conn), took_ms, "connected");
    }

    fn forget(&mut self, conn: ConnId) {
        let keys: Vec<_> = self.of_conn(conn).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.joining.remove(&key);
        }
    }

    fn of_conn(
        &self,
        conn: ConnId,
    ) -> impl Iterator<Item = (&(ConnId, AccessKind, StreamId), &Joining)> {
        let first = (conn, AccessKind::Publish, StreamId::from(""));
        self.joining
            .range(first..)
            .take_while(move |(key, _)| key.0 == conn)
    }

    fn figures_mut(&mut self, kind: AccessKind) -> &mut JoinFigures {
        match kind {
            AccessKind::Publish => &mut self.publishes,
            AccessKind::Play => &mut self.plays,
        }
    }
}

/// A connection as logs and REST name it: its worker and its number there.
pub fn name(conn: ConnId) -> String {
    format!("{}-{}", conn.worker.0, conn.serial)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock::tests::test_now;
    use crate::base::ids::WorkerId;
    use crate::model::mail::PlayAsk;

    fn ask(conn: ConnId, request: u64) -> ControlMail {
        ControlMail::AskPlay {
            conn,
            request,
            app: "live".into(),
            ask: PlayAsk {
                stream: Some("s".into()),
                ..PlayAsk::default()
            },
        }
    }

    #[test]
    fn a_join_is_timed_from_the_question_to_the_media_and_a_refusal_is_counted() {
        let start = test_now().instant;
        let conn = |serial| ConnId {
            worker: WorkerId(0),
            serial,
        };
        let mut life = Life::default();
        for serial in 0..3 {
            life.hear(start, &ask(conn(serial), 7));
        }
        life.tell(&WorkerMail::PlayDecision {
            conn: conn(1),
            request: 7,
            result: Err(Definition::NoStreamExist),
        });
        let live = ControlMail::PlayLive {
            conn: conn(0),
            app: "live".into(),
            stream: "s".into(),
        };
        life.hear(start + Duration::from_millis(30), &live);
        life.hear(start + Duration::from_secs(30), &live);
        let (_, plays) = life.figures();
        assert_eq!((plays.refused, plays.took.count()), (1, 1));
        assert!((plays.took.sum_s() - 0.03).abs() < 1e-9);
        assert_eq!(life.joining.len(), 1);
        life.hear(start, &ControlMail::ConnClosed { conn: conn(2) });
        assert!(life.joining.is_empty());
    }
}
