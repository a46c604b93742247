//! A worker's loop: one turn after the other, each step with a budget (`docs/map.md`).
//!
//! What a budget leaves over is done next turn, which then does not wait. No step blocks.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::clock::Clock;
use super::conns::Conns;
use super::inbox::{Inbox, Mail, Told};
use super::load::{Lag, ShellCounters};
use super::outbox::Outbox;
use super::resources::Resources;
use super::tcp::{FIRST_TCP_TOKEN, LISTENER, TcpConns};
use crate::base::clock::Now;
use crate::base::egress::Egress;
use crate::base::fault::DropReason;
use crate::engine::{Engine, Progress};
use crate::net::{RecvBatch, UdpSocket};

/// One worker's everything; lives on its thread.
#[derive(Debug)]
pub(super) struct Worker {
    pub clock: Clock,
    pub poll: Poll,
    pub events: Events,
    pub inbox: Inbox,
    pub outbox: Outbox,
    pub engine: Engine,
    pub socket: UdpSocket,
    pub batch: RecvBatch,
    pub egress: Egress,
    pub conns: Conns,
    pub tcp: TcpConns,
    pub resources: Resources,
    pub turn: Turn,
    pub counters: ShellCounters,
    pub lag: Lag,
}

/// Where the loop stands from one turn to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// This turn's time.
    pub now: Now,
    /// The media socket may hold datagrams: its readiness is told once per arrival.
    pub media_ready: bool,
    /// A step left something over: the next turn must not wait.
    pub more: bool,
    /// Mails wait for room in somebody's queue.
    pub delayed: bool,
    /// Running, or since when not.
    pub ending: Ending,
}

/// How far the end of the worker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Not asked for.
    Running,
    /// [`Mail::Stop`] came this turn.
    Asked,
    /// The WebSockets are closing; the thread ends when they are gone, or then.
    Closing { until: Instant },
}

impl Worker {
    /// Turns until [`Mail::Stop`] was followed through.
    pub fn run(mut self) {
        while self.turn() {}
        tracing::debug!("worker ended");
    }

    /// One turn; false when it was the last.
    fn turn(&mut self) -> bool {
        self.wait(); // 1
        self.inbox.load().begin_turn();
        self.turn.now = self.clock.now(); // 2
        self.turn.more = false;
        self.take_mail(); // 3
        self.receive(); // 4
        self.forward(); // 5
        self.shake_hands(); // 6
        self.run_timers(); // 7
        self.serve_conns(); // 8
        self.forward(); // what 6 to 8 gave rise to
        self.flush(); // 9
        self.end_turn()
    }

    /// Step 1: waits for sockets, mail or the next timer, not at all when something was left over.
    fn wait(&mut self) {
        let awake = self.turn.more || self.turn.media_ready || !self.inbox.fall_asleep();
        let timeout = if awake {
            Some(Duration::ZERO)
        } else {
            self.time_to_wait()
        };
        if let Err(error) = self.poll.poll(&mut self.events, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "poll failed");
        }
        self.inbox.wake_up();
        for event in &self.events {
            match event.token() {
                MEDIA => self.turn.media_ready = true,
                WAKER => {}
                LISTENER | Token(FIRST_TCP_TOKEN..) => self.tcp.note(event),
                Token(_) => self.conns.note(event),
            }
        }
    }

    /// Until the earliest timer; `None` when nothing is pending.
    fn time_to_wait(&mut self) -> Option<Duration> {
        let now = self.clock.now().instant;
        let delayed = self.turn.delayed.then_some(now + RETRY_EVERY);
        let ending = match self.turn.ending {
            Ending::Running | Ending::Asked => None,
            Ending::Closing { until } => Some(until),
        };
        let pending = [
            self.engine.poll_timeout(),
            self.conns.next_sweep(),
            self.tcp.next_sweep(),
            delayed,
            ending,
        ];
        let next = pending.into_iter().flatten().min()?;
        Some(next.saturating_duration_since(now))
    }

    /// Step 3: mail from control and other workers.
    fn take_mail(&mut self) {
        let now = self.turn.now;
        let until = now.instant + MAILS_MAX;
        for _ in 0..MAILS_PER_TURN {
            if self.clock.now().instant >= until {
                break;
            }
            match self.inbox.take() {
                Some(Mail::Engine(mail)) => self.engine.handle_mail(now, mail),
                Some(Mail::Conn(new)) if self.turn.ending == Ending::Running => {
                    self.conns.open(now, new, &mut self.engine);
                }
                Some(Mail::Resource(new)) if self.turn.ending == Ending::Running => {
                    self.resources.open(now, new, &mut self.engine);
                }
                Some(Mail::Conn(_) | Mail::Resource(_)) => {} // dropped, which closes it
                Some(Mail::Said { conn, text }) => self.engine.handle_message(now, conn, &text),
                Some(Mail::RestartIce { conn, remote }) => {
                    let told = Told::Restarted(self.engine.restart_ice(now, conn, &remote));
                    self.resources.tell(now, conn, told, &mut self.engine);
                }
                Some(Mail::ResourceGone(conn)) => {
                    self.resources.close(now, conn, &mut self.engine);
                }
                Some(Mail::Stop) if self.turn.ending == Ending::Running => {
                    self.turn.ending = Ending::Asked;
                }
                Some(Mail::Stop) => {}
                None => return,
            }
        }
        self.turn.more |= !self.inbox.is_empty();
    }

    /// Step 4: datagrams, so many and for so long: handshakes cost a hundred times what media does.
    fn receive(&mut self) {
        let mut received = 0;
        let until = self.turn.now.instant + RECEIVING_PER_TURN;
        while self.turn.media_ready
            && received < DATAGRAMS_PER_TURN
            && (received == 0 || self.clock.now().instant < until)
        {
            let messages = match self.socket.receive(&mut self.batch) {
                Ok(messages) => messages,
                // An error of an earlier send, reported late; it cleared itself by being read.
                Err(error) => {
                    tracing::debug!(%error, "recvmmsg failed");
                    break;
                }
            };
            self.turn.media_ready = messages == self.batch.slots();
            for (route, datagram) in self.batch.datagrams() {
                self.engine.handle_datagram(self.turn.now, route, datagram);
                received += 1;
            }
        }
        self.counters.datagrams_received += received as u64;
        if self.engine.shares_port() {
            self.send_mails();
        }
        self.receive_frames();
    }

    /// The same from TCP connections, with a time of its own.
    fn receive_frames(&mut self) {
        if self.tcp.is_idle() {
            return;
        }
        let until = self.clock.now().instant + RECEIVING_PER_TURN;
        let clock = &mut self.clock;
        let has_time = || clock.now().instant < until;
        self.turn.more |= self.tcp.serve(self.turn.now, has_time, &mut self.engine);
    }

    /// Step 5: fresh packets to their subscribers. A full egress buffer is sent and filled again.
    /// Other workers get theirs early, so that their subscribers do not wait for all of this one's.
    fn forward(&mut self) {
        loop {
            let progress = self.engine.forward(self.turn.now, &mut self.egress);
            self.send_mails();
            if progress != Progress::EgressFull {
                return;
            }
            if self.egress.is_empty() {
                // Would be the same next time: something larger than the whole buffer.
                debug_assert!(false, "the engine found an empty egress buffer full");
                return;
            }
            self.send_datagrams();
        }
    }

    /// Step 6: handshakes, behind the media of those who are served already.
    fn shake_hands(&mut self) {
        let until = self.clock.now().instant + HANDSHAKES_MAX;
        while self.engine.shake_hands(self.turn.now) {
            if self.clock.now().instant >= until {
                self.turn.more |= self.engine.has_handshakes();
                return;
            }
        }
    }

    /// Step 7: timers that are due.
    fn run_timers(&mut self) {
        let now = self.turn.now;
        for _ in 0..TIMER_ROUNDS_PER_TURN {
            if self.engine.poll_timeout().is_none_or(|at| at > now.instant) {
                break;
            }
            self.engine.handle_timeout(now);
        }
        let due = self.engine.poll_timeout();
        self.turn.more |= due.is_some_and(|at| at <= now.instant);
        self.turn.more |= self.conns.sweep(now, &mut self.engine);
        self.turn.more |= self.tcp.sweep(now, &mut self.engine);
    }

    /// Step 8: messages from WebSockets.
    fn serve_conns(&mut self) {
        let (now, until) = (self.turn.now, self.clock.now().instant + MESSAGES_MAX);
        let clock = &mut self.clock;
        let has_time = || clock.now().instant < until;
        self.turn.more |= self.conns.serve(now, has_time, &mut self.engine);
    }

    /// Step 9: everything that waits to go out: datagrams, mails, WebSocket messages.
    fn flush(&mut self) {
        let now = self.turn.now;
        self.send_datagrams();
        self.tcp.flush(now, &mut self.engine);
        self.turn.delayed = self.outbox.retry();
        self.send_mails();
        while let Some((conn, output)) = self.engine.poll_conn() {
            if Resources::is_one(conn) {
                self.resources.output(now, conn, output, &mut self.engine);
            } else {
                self.conns.output(now, conn, output, &mut self.engine);
            }
        }
        // A connection that ended here may have left the engine with something to say.
        self.turn.more |= self.conns.flush(now, &mut self.engine);
    }

    fn send_mails(&mut self) {
        while let Some(mail) = self.engine.poll_mail() {
            self.turn.delayed |= self.outbox.send(mail, &mut self.counters);
        }
    }

    /// Publishes the load and follows a stop through; false when the worker is done.
    fn end_turn(&mut self) -> bool {
        let now = self.turn.now;
        self.counters.turns += 1;
        self.counters.slow_readers = self.conns.slow_readers();
        self.counters.tcp = self.tcp.counters();
        let end = self.clock.now().instant;
        let took = end - now.instant;
        self.counters.lag_us = self.lag.note(end, took);
        self.inbox.load().publish(
            self.conns.len(),
            took,
            &self.engine.counters(),
            &self.counters,
        );
        match self.turn.ending {
            Ending::Running => true,
            Ending::Asked => {
                // Behind the flush, so that farewells of the engine are in front of the close.
                self.conns.close_all(now, &mut self.engine);
                self.resources.close_all(now, &mut self.engine);
                self.turn.ending = Ending::Closing {
                    until: now.instant + STOPPING_MAX,
                };
                self.turn.more = true;
                true
            }
            Ending::Closing { until } => now.instant < until && self.conns.len() > 0,
        }
    }

    fn send_datagrams(&mut self) {
        if self.egress.is_empty() {
            return;
        }
        self.socket.begin_send(self.turn.now.instant);
        let report = self.socket.send(&self.egress);
        let sent_at = self.clock.now().instant;
        let mut unqueued = 0;
        for run in self.egress.runs() {
            match run.route.tcp {
                None => self.counters.count_run(run.segments),
                Some(to) => {
                    let bytes = self.egress.bytes_of(run);
                    unqueued += self.tcp.send(self.turn.now.instant, to, run, bytes);
                }
            }
            if let Some(stored) = run.stored {
                let took = sent_at.saturating_duration_since(stored);
                self.counters.latency.add(took, run.segments as u64);
            }
        }
        self.egress.clear();
        self.counters.datagrams_sent += report.sent;
        self.counters.datagrams_refused += report.failed;
        if report.failed > 0 {
            let reason = DropReason::SendFailed;
            self.engine.count_dropped(reason, report.failed);
        }
        if unqueued > 0 {
            self.engine.count_dropped(DropReason::TcpFull, unqueued);
        }
        self.tcp.flush(self.turn.now, &mut self.engine);
    }
}

/// The media socket in the poll.
pub(super) const MEDIA: Token = Token(0);

/// The waker in the poll.
pub(super) const WAKER: Token = Token(1);

const _: () = assert!(WAKER.0 < super::conns::FIRST_TOKEN);

/// Mails per turn: each is a decision or one turn's packets of one relayed track, microseconds.
const MAILS_PER_TURN: usize = 256;

/// How long a turn may take mail: a decision that makes a peer and its offer is no matter of
/// microseconds, and hundreds may come at once.
const MAILS_MAX: Duration = Duration::from_millis(2);

/// How long a turn may spend on DTLS handshakes; the last one that was begun is finished. Each
/// costs some 0.3 ms on the server, so that on an idle core 2000 a second find time, and on one
/// that forwards for 5 ms each turn still 500.
const HANDSHAKES_MAX: Duration = Duration::from_millis(1);

/// How long a turn may spend on messages of WebSockets, descriptions among them.
const MESSAGES_MAX: Duration = Duration::from_millis(1);

/// Datagrams per turn, rounded up to whole receive calls: at about 2 us each (parse, unprotect,
/// history) half a millisecond, so that what came first is forwarded before it is stale.
const DATAGRAMS_PER_TURN: usize = 256;

/// After this long what came is forwarded before more is received. A receive call brings up to 32
/// datagrams: should all of them be flights of handshakes, at 0.2 ms each, the turn has taken 7 ms.
const RECEIVING_PER_TURN: Duration = Duration::from_micros(500);

/// Calls of the engine's timers per turn: timers that timers start wait for the next one.
const TIMER_ROUNDS_PER_TURN: usize = 4;

/// How often delayed mails are tried again while nothing else happens.
const RETRY_EVERY: Duration = Duration::from_millis(5);

/// How long the WebSockets may take to close when the worker stops.
const STOPPING_MAX: Duration = Duration::from_secs(1);
