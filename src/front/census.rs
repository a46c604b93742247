//! Questions to every worker about its players, and their answers.
//!
//! Asked by REST only; a worker counts nothing for it that it would not count anyway.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::shared::Shared;
use crate::model::mail::{AppName, WorkerMail};
use crate::model::plays::PlayFigures;
use crate::model::track::StreamId;

/// Who waits for answers, by the number of the question.
#[derive(Debug, Default)]
pub struct Census {
    asked: u64,
    waiting: HashMap<u64, UnboundedSender<Vec<PlayFigures>>>,
}

impl Census {
    /// A new question: its number, and where its answers come.
    fn open(&mut self) -> (u64, UnboundedReceiver<Vec<PlayFigures>>) {
        let (sender, answers) = unbounded_channel();
        self.asked += 1;
        self.waiting.insert(self.asked, sender);
        (self.asked, answers)
    }

    /// A worker answered; ignored when nobody waits any more.
    pub fn answer(&mut self, request: u64, plays: Vec<PlayFigures>) {
        if let Some(sender) = self.waiting.get(&request) {
            // The asker may have gone.
            let _ = sender.send(plays);
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
    let (request, mut answers) = shared.with_census(Census::open);
    let workers = shared.ask_workers(&WorkerMail::AskPlays {
        request,
        app: app.clone(),
        stream,
        max,
    });
    let mut plays = Vec::new();
    let gather = async {
        for _ in 0..workers {
            plays.extend(answers.recv().await.unwrap_or_default());
        }
    };
    if timeout(PATIENCE, gather).await.is_err() {
        tracing::warn!("a worker did not say in time whom it serves");
    }
    shared.with_census(|census| census.close(request));
    plays.sort_by(|a, b| (a.conn, &a.stream).cmp(&(b.conn, &b.stream)));
    plays
}

/// For the answer of a busy worker.
const PATIENCE: Duration = Duration::from_secs(2);
