//! Questions to every worker about its players and peers, and their answers.
//!
//! Asked by REST only; a worker counts nothing for it that it would not count anyway.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::shared::Shared;
use crate::base::ids::PeerId;
use crate::model::mail::{AppName, WorkerMail};
use crate::model::peers::{PeerFigures, PeersAsk};
use crate::model::plays::{PlayFigures, PlaysAsk};
use crate::model::track::StreamId;

/// Who waits for answers, by the number of the question.
#[derive(Debug, Default)]
pub struct Census {
    asked: u64,
    waiting: HashMap<u64, UnboundedSender<Answer>>,
}

/// One worker's answer.
#[derive(Debug)]
pub enum Answer {
    /// About its players.
    Plays(Vec<PlayFigures>),
    /// About its peers.
    Peers(Vec<PeerFigures>),
}

impl Census {
    /// A new question: its number, and where its answers come.
    fn open(&mut self) -> (u64, UnboundedReceiver<Answer>) {
        let (sender, answers) = unbounded_channel();
        self.asked += 1;
        self.waiting.insert(self.asked, sender);
        (self.asked, answers)
    }

    /// A worker answered; ignored when nobody waits any more.
    pub fn answer(&mut self, request: u64, answer: Answer) {
        if let Some(sender) = self.waiting.get(&request) {
            // The asker may have gone.
            let _ = sender.send(answer);
        }
    }

    fn close(&mut self, request: u64) {
        self.waiting.remove(&request);
    }
}

/// Figures of the first `max` plays of each worker, by connection: of one broadcast, or of all of
/// an application. A worker that does not answer in time is left out.
pub async fn ask(
    shared: &Shared,
    app: &AppName,
    stream: Option<StreamId>,
    max: usize,
) -> Vec<PlayFigures> {
    let app = app.clone();
    let answers = gather(shared, |request| {
        WorkerMail::AskPlays(PlaysAsk {
            request,
            app,
            stream,
            max,
        })
    });
    let plays = answers.await.into_iter().filter_map(|answer| match answer {
        Answer::Plays(plays) => Some(plays),
        Answer::Peers(_) => None,
    });
    let mut plays: Vec<PlayFigures> = plays.flatten().collect();
    plays.sort_by(|a, b| (a.conn, &a.stream).cmp(&(b.conn, &b.stream)));
    plays
}

/// Figures of the first `max` peers of each worker, by connection: of one broadcast, of all of an
/// application, or of the one peer that is named by its worker and its place there. A worker that
/// does not answer in time is left out.
pub async fn ask_peers(
    shared: &Shared,
    app: &AppName,
    stream: Option<StreamId>,
    peer: Option<(u16, PeerId)>,
    max: usize,
) -> Vec<PeerFigures> {
    let app = app.clone();
    let answers = gather(shared, |request| {
        WorkerMail::AskPeers(PeersAsk {
            request,
            app,
            stream,
            peer,
            max,
        })
    });
    let peers = answers.await.into_iter().filter_map(|answer| match answer {
        Answer::Peers(peers) => Some(peers),
        Answer::Plays(_) => None,
    });
    let mut peers: Vec<PeerFigures> = peers.flatten().collect();
    peers.sort_by_key(|peer| (peer.conn, peer.peer));
    peers
}

/// Every worker's answer to the question that `mail` makes of its number.
async fn gather(shared: &Shared, mail: impl FnOnce(u64) -> WorkerMail) -> Vec<Answer> {
    let (request, mut answers) = shared.with_census(Census::open);
    let workers = shared.ask_workers(&mail(request));
    let mut gathered = Vec::new();
    let gather = async {
        for _ in 0..workers {
            gathered.extend(answers.recv().await);
        }
    };
    if timeout(PATIENCE, gather).await.is_err() {
        tracing::warn!("a worker did not say in time whom it serves");
    }
    shared.with_census(|census| census.close(request));
    gathered
}

/// For the answer of a busy worker.
const PATIENCE: Duration = Duration::from_secs(2);
