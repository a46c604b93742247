//! The workers as control sees them: who is least loaded, and mail that waits for a full inbox.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::base::ids::WorkerId;
use crate::engine::Counters;
use crate::metrics::WorkerFigures;
use crate::model::mail::WorkerMail;
use crate::worker::{Inbox, Mail, NewConn};

/// Every worker's inbox, worker `i` at place `i`.
#[derive(Debug)]
pub struct Workers {
    inboxes: Vec<Inbox>,
    waiting: Vec<VecDeque<Mail>>,
    /// Which worker was picked when, as far back as its load may not show it.
    recent: VecDeque<(Instant, usize)>,
    next: usize,
}

impl Workers {
    /// Of `inboxes`, worker `i` at place `i`.
    pub fn new(inboxes: Vec<Inbox>) -> Self {
        Self {
            waiting: inboxes.iter().map(|_| VecDeque::new()).collect(),
            inboxes,
            recent: VecDeque::new(),
            next: 0,
        }
    }

    /// The worker for the next socket: the fewest sockets and peers; among equals they take
    /// turns. `None` when every worker is behind with its mail.
    ///
    /// A socket handed over a moment ago is counted on top of the published load, which may not
    /// show it yet: a burst would otherwise go to one worker.
    pub fn pick(&mut self, now: Instant) -> Option<WorkerId> {
        while let Some((at, _)) = self.recent.front()
            && now.saturating_duration_since(*at) > RECENT
        {
            self.recent.pop_front();
        }
        let mut on_the_way = vec![0; self.inboxes.len()];
        for (_, picked) in &self.recent {
            if let Some(sockets) = on_the_way.get_mut(*picked) {
                *sockets += 1;
            }
        }
        let count = self.inboxes.len();
        let from_next = (0..count).map(|i| (self.next + i) % count);
        let best = from_next
            .filter(|&i| self.waiting.get(i).is_some_and(VecDeque::is_empty))
            .filter_map(|i| {
                let load = self.inboxes.get(i)?.load();
                Some((i, load.conns() + load.peers() + on_the_way.get(i)?))
            })
            .min_by_key(|(_, total)| *total)
            .map(|(i, _)| i)?;
        self.next = best + 1;
        self.recent.push_back((now, best));
        if self.recent.len() > MAX_RECENT {
            self.recent.pop_front();
        }
        u16::try_from(best).ok().map(WorkerId)
    }

    /// Gives a socket to a worker.
    ///
    /// # Errors
    /// The socket itself when the inbox is full.
    pub fn hand_over(&self, to: WorkerId, conn: NewConn) -> Result<(), Box<NewConn>> {
        let Some(inbox) = self.inboxes.get(usize::from(to.0)) else {
            return Err(Box::new(conn));
        };
        match inbox.send(Mail::Conn(conn)) {
            Err(Mail::Conn(conn)) => Err(Box::new(conn)),
            Ok(()) | Err(Mail::Engine(_) | Mail::Stop) => Ok(()),
        }
    }

    /// Mails an engine; a mail that finds the inbox full waits, and so does what follows it.
    pub fn post(&mut self, to: WorkerId, mail: WorkerMail) {
        self.enqueue(usize::from(to.0), Mail::Engine(mail));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.inboxes.len()
    }

    /// Mails every engine.
    pub fn post_all(&mut self, mail: &WorkerMail) {
        for to in 0..self.inboxes.len() {
            self.enqueue(to, Mail::Engine(mail.clone()));
        }
    }

    /// Ends every worker, after the mail it was sent before.
    pub fn stop_all(&mut self) {
        for to in 0..self.inboxes.len() {
            self.enqueue(to, Mail::Stop);
        }
    }

    /// Sends what waits, as far as there is room.
    pub fn retry(&mut self) {
        for (inbox, waiting) in self.inboxes.iter().zip(&mut self.waiting) {
            while let Some(mail) = waiting.pop_front() {
                if let Err(mail) = inbox.send(mail) {
                    waiting.push_front(mail);
                    break;
                }
            }
        }
    }

    /// True when some mail waits: [`retry`](Self::retry) soon.
    pub fn is_behind(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.is_empty())
    }

    /// Every worker's figures.
    pub fn figures(&self) -> Vec<WorkerFigures> {
        let of = |(inbox, worker): (&Inbox, u16)| WorkerFigures {
            worker: WorkerId(worker),
            counters: Counters {
                // The shell's own count: exact even where a socket failed before it was opened.
                conns: inbox.load().conns(),
                ..inbox.load().engine()
            },
            datagrams_received: inbox.load().shell().datagrams_received,
            datagrams_sent: inbox.load().shell().datagrams_sent,
            runs: inbox.load().shell().runs,
            turn_us: inbox.load().turn_us(),
        };
        self.inboxes.iter().zip(0..).map(of).collect()
    }

    fn enqueue(&mut self, to: usize, mail: Mail) {
        let (Some(inbox), Some(waiting)) = (self.inboxes.get(to), self.waiting.get_mut(to)) else {
            return;
        };
        if waiting.len() >= MAX_WAITING {
            tracing::error!(worker = to, "a worker does not read its mail; one is lost");
        } else if !waiting.is_empty() {
            waiting.push_back(mail);
        } else if let Err(mail) = inbox.send(mail) {
            waiting.push_back(mail);
        }
    }
}

/// Mails kept for one worker beyond its inbox; when full, further ones are lost with a log line.
/// A worker this far behind stands still.
const MAX_WAITING: usize = 65_536;

/// How long a socket is counted on top of the load: the upgrade's answer, the way to the worker
/// and one of its turns, even on a busy machine.
const RECENT: Duration = Duration::from_millis(200);

/// Sockets counted so; in a larger burst the oldest are visible in the load already.
const MAX_RECENT: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::transport::certificate::Certificate;
    use crate::worker::clock::Clock;
    use crate::worker::{Bound, Config};

    fn workers(count: u16) -> (Workers, Vec<Bound>) {
        let certificate = Arc::new(Certificate::generate().unwrap());
        let bind = |i| {
            Bound::bind(Config {
                worker: WorkerId(i),
                media_bind: "127.0.0.1:0".parse().unwrap(),
                announce: Vec::new(),
                even_lengths: true,
                pin_cpu: None,
                seed: [0; 32],
                certificate: certificate.clone(),
            })
            .unwrap()
        };
        let bound: Vec<Bound> = (0..count).map(bind).collect();
        (
            Workers::new(bound.iter().map(Bound::inbox).collect()),
            bound,
        )
    }

    #[test]
    fn equally_loaded_workers_take_turns() {
        let (mut workers, _bound) = workers(3);
        let mut now = Clock::start().now().instant;
        let picked = |workers: &mut Workers, now| -> Vec<u16> {
            (0..4).map(|_| workers.pick(now).unwrap().0).collect()
        };
        assert_eq!(picked(&mut workers, now), [0, 1, 2, 0], "none shows yet");
        assert_eq!(
            picked(&mut workers, now),
            [1, 2, 0, 1],
            "the one with more waits"
        );
        now += RECENT * 2;
        assert_eq!(
            picked(&mut workers, now),
            [2, 0, 1, 2],
            "what never came is forgotten"
        );
        assert_eq!(workers.recent.len(), 4);
    }

    #[test]
    fn a_worker_that_is_behind_is_passed_over_and_gets_its_mail_in_order() {
        let (mut workers, _bound) = workers(2);
        let now = Clock::start().now().instant;
        while !workers.is_behind() {
            workers.post(WorkerId(0), WorkerMail::ServerWillStop);
        }
        let picked: Vec<u16> = (0..3).map(|_| workers.pick(now).unwrap().0).collect();
        assert_eq!(picked, [1, 1, 1]);
        workers.post(WorkerId(0), WorkerMail::ServerWillStop);
        assert_eq!(workers.waiting[0].len(), 2);
        workers.retry();
        assert!(workers.is_behind(), "nobody has read");
        while workers.waiting[1].is_empty() {
            workers.post(WorkerId(1), WorkerMail::ServerWillStop);
        }
        assert_eq!(workers.pick(now), None);
    }
}
