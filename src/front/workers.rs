//! The workers as control sees them: who is least loaded, and mail that waits for a full inbox.

use std::collections::VecDeque;
use std::time::Instant;

use crate::base::ids::WorkerId;
use crate::control::{Placement, WorkerSample};
use crate::engine::Counters;
use crate::metrics::WorkerFigures;
use crate::model::mail::WorkerMail;
use crate::worker::{Inbox, Mail, NewConn};

/// Every worker's inbox, worker `i` at place `i`.
#[derive(Debug)]
pub struct Workers {
    inboxes: Vec<Inbox>,
    waiting: Vec<VecDeque<Mail>>,
    placement: Placement,
}

impl Workers {
    /// Of `inboxes`, worker `i` at place `i`.
    pub fn new(inboxes: Vec<Inbox>) -> Self {
        Self {
            waiting: inboxes.iter().map(|_| VecDeque::new()).collect(),
            placement: Placement::new(inboxes.len()),
            inboxes,
        }
    }

    /// Looks at every worker's load; about once a second.
    pub fn look(&mut self, now: Instant) {
        let sample = |inbox: &Inbox| {
            let load = inbox.load();
            WorkerSample {
                busy: load.busy(),
                turns: load.shell().turns,
                is_in_turn: load.is_in_turn(),
                conns: load.conns(),
                peers: load.peers(),
            }
        };
        let samples: Vec<WorkerSample> = self.inboxes.iter().map(sample).collect();
        self.placement.handle_samples(now, &samples);
    }

    /// How busy the least busy worker is, 0..=1, smoothed.
    pub fn least_busy(&self) -> f64 {
        self.placement.least_busy()
    }

    /// Peers of all workers.
    pub fn peers(&self) -> u64 {
        self.inboxes.iter().map(|inbox| inbox.load().peers()).sum()
    }

    /// The worker for the next socket: the least loaded one. `None` when every worker is behind
    /// with its mail.
    pub fn pick(&mut self) -> Option<WorkerId> {
        let waiting = &self.waiting;
        let is_able = |i: usize| waiting.get(i).is_some_and(VecDeque::is_empty);
        let best = self.placement.pick(is_able)?;
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
            Ok(())
            | Err(
                Mail::Engine(_)
                | Mail::Resource(_)
                | Mail::Said { .. }
                | Mail::RestartIce { .. }
                | Mail::ResourceGone(_)
                | Mail::Stop,
            ) => Ok(()),
        }
    }

    /// Mails an engine; a mail that finds the inbox full waits, and so does what follows it.
    pub fn post(&mut self, to: WorkerId, mail: WorkerMail) {
        self.enqueue(usize::from(to.0), Mail::Engine(mail));
    }

    /// As [`post`](Self::post), for everything else that is no socket.
    pub fn mail(&mut self, to: WorkerId, mail: Mail) {
        self.enqueue(usize::from(to.0), mail);
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
            tcp: inbox.load().shell().tcp,
            datagrams_received: inbox.load().shell().datagrams_received,
            datagrams_sent: inbox.load().shell().datagrams_sent,
            runs: inbox.load().shell().runs,
            lag_us: inbox.load().shell().lag_us,
            latency: inbox.load().shell().latency,
            turn_us: inbox.load().turn_us(),
            busy: self.placement.busy(usize::from(worker)),
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
                tcp_bind: None,
                tcp_limits: crate::base::crowd::CrowdLimits::default(),
                announce: Vec::new(),
                port_shared_by: 1,
                even_lengths: true,
                pin_cpu: None,
                seed: [0; 32],
                certificate: certificate.clone(),
                messages_per_s: 0,
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
        let mut clock = Clock::start();
        let picked = |workers: &mut Workers| -> Vec<u16> {
            (0..4).map(|_| workers.pick().unwrap().0).collect()
        };
        assert_eq!(picked(&mut workers), [0, 1, 2, 0]);
        workers.look(clock.now().instant);
        assert_eq!(picked(&mut workers), [1, 2, 0, 1], "none of them came");
    }

    #[test]
    fn a_worker_that_is_behind_is_passed_over_and_gets_its_mail_in_order() {
        let (mut workers, _bound) = workers(2);
        while !workers.is_behind() {
            workers.post(WorkerId(0), WorkerMail::ServerWillStop);
        }
        let picked: Vec<u16> = (0..3).map(|_| workers.pick().unwrap().0).collect();
        assert_eq!(picked, [1, 1, 1]);
        workers.post(WorkerId(0), WorkerMail::ServerWillStop);
        assert_eq!(workers.waiting[0].len(), 2);
        workers.retry();
        assert!(workers.is_behind(), "nobody has read");
        while workers.waiting[1].is_empty() {
            workers.post(WorkerId(1), WorkerMail::ServerWillStop);
        }
        assert_eq!(workers.pick(), None);
    }
}
