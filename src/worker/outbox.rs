//! Mails on their way out of a worker: media is dropped at a full queue, the rest is delayed.
//! Of what waits for control only questions are given up, when there are too many.
//!
//! Called by `run.rs`, which drains the engine into it once a turn.

use std::collections::VecDeque;

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::inbox::{Inbox, Mail};
use super::load::ShellCounters;
use crate::base::ids::WorkerId;
use crate::base::limits::MAX_WORKER_MAILS;
use crate::model::mail::{ControlMail, Outgoing, WorkerMail};

/// The queues of everybody else, and what did not fit into them yet, in order.
#[derive(Debug)]
pub(super) struct Outbox {
    own: WorkerId,
    control: Sender<ControlMail>,
    workers: Vec<Inbox>,
    delayed_control: VecDeque<ControlMail>,
    /// Of these, how many may be given up.
    dispensable: usize,
    delayed_workers: Vec<VecDeque<WorkerMail>>,
}

impl Outbox {
    /// Of worker `own`, towards control and every worker, `workers[i]` being worker number i.
    pub fn new(own: WorkerId, control: Sender<ControlMail>, workers: Vec<Inbox>) -> Self {
        Self {
            own,
            control,
            delayed_control: VecDeque::new(),
            dispensable: 0,
            delayed_workers: workers.iter().map(|_| VecDeque::new()).collect(),
            workers,
        }
    }

    /// Sends one mail, or delays it (true: call [`retry`](Self::retry)), or gives it up and
    /// counts it.
    pub fn send(&mut self, outgoing: Outgoing, counters: &mut ShellCounters) -> bool {
        match outgoing {
            Outgoing::Control(mail) => {
                self.send_control(*mail, counters);
                !self.delayed_control.is_empty()
            }
            Outgoing::Worker(to, mail) => {
                self.send_worker(to, mail, counters);
                let delayed = self.delayed_workers.get(usize::from(to.0));
                delayed.is_some_and(|d| !d.is_empty())
            }
            Outgoing::Others(mail) => {
                for worker in 0..self.workers.len() {
                    if worker != usize::from(self.own.0) {
                        self.send_worker(WorkerId(worker as u16), mail.clone(), counters);
                    }
                }
                self.delayed_workers.iter().any(|d| !d.is_empty())
            }
        }
    }

    /// Tries what was delayed again; true when some of it still waits.
    pub fn retry(&mut self) -> bool {
        while let Some(mail) = self.delayed_control.pop_front() {
            let is_dispensable = !mail.must_arrive();
            if let Err(TrySendError::Full(mail)) = self.control.try_send(mail) {
                self.delayed_control.push_front(mail);
                break;
            }
            self.dispensable -= usize::from(is_dispensable);
        }
        for (inbox, delayed) in self.workers.iter().zip(&mut self.delayed_workers) {
            while let Some(mail) = delayed.pop_front() {
                if let Err(Mail::Engine(mail)) = inbox.send(Mail::Engine(mail)) {
                    delayed.push_front(mail);
                    break;
                }
            }
        }
        !self.delayed_control.is_empty() || self.delayed_workers.iter().any(|d| !d.is_empty())
    }

    fn send_control(&mut self, mail: ControlMail, counters: &mut ShellCounters) {
        let mail = if self.delayed_control.is_empty() {
            match self.control.try_send(mail) {
                // Closed: the process is ending and nobody reads mail any more.
                Ok(()) | Err(TrySendError::Closed(_)) => return,
                Err(TrySendError::Full(mail)) => mail,
            }
        } else {
            mail
        };
        let is_dispensable = !mail.must_arrive();
        if is_dispensable && self.dispensable >= MAX_WORKER_MAILS {
            return note_lost(counters, "control");
        }
        self.dispensable += usize::from(is_dispensable);
        self.delayed_control.push_back(mail);
    }

    fn send_worker(&mut self, to: WorkerId, mail: WorkerMail, counters: &mut ShellCounters) {
        let index = usize::from(to.0);
        let queues = (self.workers.get(index), self.delayed_workers.get_mut(index));
        let (Some(inbox), Some(delayed)) = queues else {
            return note_lost(counters, "an unknown worker");
        };
        let mail = match mail {
            // May overtake what is delayed: packets of a track that is not yet, or no longer,
            // relayed are ignored by the other side, datagrams of nobody dropped.
            WorkerMail::RelayPackets(_) | WorkerMail::Passed(_) => mail,
            mail if delayed.is_empty() => mail,
            mail => {
                if delay(delayed, mail).is_err() {
                    note_lost(counters, "a worker");
                }
                return;
            }
        };
        match inbox.send(Mail::Engine(mail)) {
            Err(Mail::Engine(WorkerMail::RelayPackets(batch))) => {
                counters.relay_packets_dropped += batch.packets.len() as u64;
            }
            Err(Mail::Engine(WorkerMail::Passed(parcel))) => {
                counters.relay_packets_dropped += parcel.datagrams.len() as u64;
            }
            Err(Mail::Engine(mail)) => {
                if delay(delayed, mail).is_err() {
                    note_lost(counters, "a worker");
                }
            }
            Ok(())
            | Err(
                Mail::Conn(_)
                | Mail::Resource(_)
                | Mail::Said { .. }
                | Mail::RestartIce { .. }
                | Mail::ResourceGone(_)
                | Mail::Stop,
            ) => {}
        }
    }
}

/// Appends to a delay queue; the mail itself when that is full.
fn delay<M>(queue: &mut VecDeque<M>, mail: M) -> Result<(), M> {
    if queue.len() >= MAX_WORKER_MAILS {
        return Err(mail);
    }
    queue.push_back(mail);
    Ok(())
}

/// Counts a mail that was given up, and logs the 1st, 2nd, 4th, 8th and so on.
fn note_lost(counters: &mut ShellCounters, to: &str) {
    counters.mails_lost += 1;
    if counters.mails_lost.is_power_of_two() {
        tracing::error!(lost = counters.mails_lost, "mails to {to} were given up");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::ids::{ConnId, TrackId};
    use crate::model::errand::Errand;
    use crate::model::information::Information;
    use crate::model::layers::Marks;
    use crate::model::mail::{RelayBatch, RelayPacket};
    use crate::model::room::RoomMail;

    fn inbox() -> (mio::Poll, Inbox) {
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        (poll, Inbox::new(waker))
    }

    fn key_frame(serial: u64) -> WorkerMail {
        WorkerMail::RelayKeyFrame {
            track: TrackId {
                origin: WorkerId(0),
                serial,
            },
        }
    }

    #[test]
    fn at_a_full_queue_media_is_dropped_and_the_rest_is_delayed_in_order() {
        let (_poll, worker) = inbox();
        let (control, mut read) = tokio::sync::mpsc::channel(1);
        let mut outbox = Outbox::new(WorkerId(1), control, vec![worker.clone()]);
        let mut counters = ShellCounters::default();
        let extra = 3;
        for serial in 0..(MAX_WORKER_MAILS + extra) as u64 {
            let mail = Outgoing::Worker(WorkerId(0), key_frame(serial));
            outbox.send(mail, &mut counters);
        }
        let packet = RelayPacket {
            seq: 0,
            len: 0,
            header_len: 0,
            transport_seq_at: 0,
            marks: Marks::default(),
        };
        let batch = RelayBatch {
            packets: vec![packet; 5],
            ..RelayBatch::default()
        };
        let media = WorkerMail::RelayPackets(Arc::new(batch));
        outbox.send(Outgoing::Worker(WorkerId(0), media), &mut counters);
        assert_eq!(counters.relay_packets_dropped, 5);
        assert!(outbox.retry(), "the queue is still full");
        let mut serials = Vec::new();
        while let Some(mail) = worker.take() {
            if let Mail::Engine(WorkerMail::RelayKeyFrame { track }) = mail {
                serials.push(track.serial);
            }
            outbox.retry();
        }
        assert_eq!(serials.len(), MAX_WORKER_MAILS + extra);
        assert!(serials.is_sorted());
        assert_eq!(counters.mails_lost, 0);
        assert!(read.try_recv().is_err());
    }

    #[test]
    fn what_control_must_hear_of_is_never_given_up() {
        let (control, mut read) = tokio::sync::mpsc::channel(1);
        let mut outbox = Outbox::new(WorkerId(0), control, Vec::new());
        let mut counters = ShellCounters::default();
        let conn = ConnId {
            worker: WorkerId(0),
            serial: 0,
        };
        let left = |at: usize| ControlMail::Room {
            conn,
            app: "live".into(),
            mail: RoomMail::Left {
                room: format!("{at}").into(),
            },
        };
        let question = || ControlMail::Errand {
            conn,
            app: "live".into(),
            client: Arc::default(),
            errand: Errand::Question(Information::SubscriberCount { stream: "s".into() }),
        };
        let many = 3 * MAX_WORKER_MAILS;
        for at in 0..many {
            outbox.send(Outgoing::Control(Box::new(left(at))), &mut counters);
            outbox.send(Outgoing::Control(Box::new(question())), &mut counters);
        }
        // The channel holds one, and that was the first of them.
        let lost = many - MAX_WORKER_MAILS;
        assert_eq!(counters.mails_lost, lost as u64);
        let mut rooms = 0;
        while let Ok(mail) = read.try_recv() {
            if let ControlMail::Room {
                mail: RoomMail::Left { room },
                ..
            } = mail
            {
                assert_eq!(*room, *format!("{rooms}"), "in order");
                rooms += 1;
            }
            outbox.retry();
        }
        assert_eq!(rooms, many);
        assert_eq!(outbox.dispensable, 0);
    }

    #[test]
    fn control_mail_waits_for_room() {
        let (control, mut read) = tokio::sync::mpsc::channel(1);
        let mut outbox = Outbox::new(WorkerId(0), control, Vec::new());
        let mut counters = ShellCounters::default();
        for _ in 0..3 {
            let mail = ControlMail::PlayReleased {
                conn: ConnId {
                    worker: WorkerId(0),
                    serial: 0,
                },
                app: "live".into(),
                stream: "s".into(),
            };
            outbox.send(Outgoing::Control(Box::new(mail)), &mut counters);
        }
        let mut came = 0;
        while read.try_recv().is_ok() {
            came += 1;
            outbox.retry();
        }
        assert_eq!((came, counters.mails_lost), (3, 0));
    }
}
