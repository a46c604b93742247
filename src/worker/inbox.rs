//! The way into a worker: a bounded queue and a waker that is used only while the worker sleeps.
//!
//! Written by the control plane and by other workers, read by `run.rs`.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_queue::ArrayQueue;
use tokio::sync::mpsc::Sender;

use super::load::Load;
use crate::base::crowd::Place;
use crate::base::ids::ConnId;
use crate::base::limits::MAX_WORKER_MAILS;
use crate::model::mail::{AppName, Client, WorkerMail};
use crate::model::settings::AppSettings;
use crate::sdp::{IceParameters, LocalParameters};

/// What can be put into a worker's inbox.
#[derive(Debug)]
pub enum Mail {
    /// A WebSocket whose HTTP upgrade is done.
    Conn(NewConn),
    /// A client of WHIP or WHEP.
    Resource(NewResource),
    /// A signalling message of such a client.
    Said {
        /// Whose.
        conn: ConnId,
        /// JSON text.
        text: String,
    },
    /// Such a client begins a new ICE session; answered by [`Told::Restarted`].
    RestartIce {
        /// Whose.
        conn: ConnId,
        /// Its end of it.
        remote: IceParameters,
    },
    /// Such a client has gone.
    ResourceGone(ConnId),
    /// For its engine.
    Engine(WorkerMail),
    /// Close the WebSockets and end the thread.
    Stop,
}

/// A TCP connection behind its WebSocket upgrade (RFC 6455 §4.2.2: the 101 answer was sent).
#[derive(Debug)]
pub struct NewConn {
    /// The socket, owned by the worker from here on; blocking or not.
    pub stream: TcpStream,
    /// The state of its TLS behind the handshake; `None` on a plain connection.
    pub tls: Option<Box<rustls::ServerConnection>>,
    /// Bytes of WebSocket frames that were read together with the HTTP request.
    pub read_ahead: Vec<u8>,
    /// The application of its path.
    pub app: AppName,
    /// That application's settings.
    pub settings: Arc<AppSettings>,
    /// The client's address, for log lines.
    pub remote: SocketAddr,
    /// What control is told of the client.
    pub client: Arc<Client>,
    /// Its place among the WebSockets of its address, kept as long as it is open.
    pub place: Option<Place>,
}

/// A client without a WebSocket. Its end is told by dropping `listener`.
#[derive(Debug)]
pub struct NewResource {
    /// The application of its path.
    pub app: AppName,
    /// That application's settings.
    pub settings: Arc<AppSettings>,
    /// What control is told of the client.
    pub client: Arc<Client>,
    /// What it is told, [`Told::Opened`] first; when full, it is closed.
    pub listener: Sender<Told>,
}

/// What a worker tells a [`NewResource`].
#[derive(Clone, Debug)]
pub enum Told {
    /// Its number, for mail to it.
    Opened(ConnId),
    /// A signalling message.
    Text(String),
    /// The server's end of a new ICE session; `None` when there is no peer.
    Restarted(Option<LocalParameters>),
}

/// A worker as others see it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inbox {
    queue: Arc<ArrayQueue<Mail>>,
    waker: Arc<mio::Waker>,
    asleep: Arc<AtomicBool>,
    load: Arc<Load>,
}

impl Inbox {
    /// An empty inbox of `limits::MAX_WORKER_MAILS` whose worker polls with `waker`'s poll.
    pub(super) fn new(waker: mio::Waker) -> Self {
        Self {
            queue: Arc::new(ArrayQueue::new(MAX_WORKER_MAILS)),
            waker: Arc::new(waker),
            asleep: Arc::default(),
            load: Arc::default(),
        }
    }

    /// Puts `mail` in and wakes the worker if it sleeps.
    ///
    /// # Errors
    /// The mail itself when the inbox is full.
    pub fn send(&self, mail: Mail) -> Result<(), Mail> {
        self.queue.push(mail)?;
        // INVARIANT: either this sees `asleep`, or `fall_asleep` sees the mail; the two fences
        // order push-then-look here against store-then-look there.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed)
            && self.asleep.swap(false, Ordering::Relaxed)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a worker could not be woken");
        }
        Ok(())
    }

    /// What the worker published about itself.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// The oldest mail.
    pub(super) fn take(&self) -> Option<Mail> {
        self.queue.pop()
    }

    /// True when nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Asks senders to wake the worker; false when a mail is there already.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let empty = self.queue.is_empty();
        if !empty {
            self.asleep.store(false, Ordering::Relaxed);
        }
        empty
    }

    /// Tells senders that the worker is awake and will look by itself.
    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_inbox_gives_the_mail_back() {
        let poll = mio::Poll::new().unwrap();
        let inbox = Inbox::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        for _ in 0..MAX_WORKER_MAILS {
            assert!(inbox.send(Mail::Stop).is_ok());
        }
        assert!(matches!(inbox.send(Mail::Stop), Err(Mail::Stop)));
        assert!(!inbox.fall_asleep(), "mail is waiting");
    }

    #[test]
    fn only_a_sleeping_worker_is_woken() {
        let mut poll = mio::Poll::new().unwrap();
        let inbox = Inbox::new(mio::Waker::new(poll.registry(), mio::Token(7)).unwrap());
        let mut events = mio::Events::with_capacity(4);
        let mut woken = |poll: &mut mio::Poll| {
            let zero = Some(std::time::Duration::ZERO);
            poll.poll(&mut events, zero).unwrap();
            !events.is_empty()
        };
        assert!(inbox.send(Mail::Stop).is_ok());
        assert!(!woken(&mut poll));
        assert!(inbox.take().is_some());
        assert!(inbox.fall_asleep());
        assert!(inbox.send(Mail::Stop).is_ok());
        assert!(inbox.send(Mail::Stop).is_ok());
        assert!(woken(&mut poll));
        assert!(!woken(&mut poll), "the second mail woke nobody");
    }

    /// A thread that sleeps after each mail is woken for the next: with a fence missing, push and
    /// look pass store and look, and it sleeps over a mail.
    #[test]
    fn no_mail_is_slept_over() {
        let mut poll = mio::Poll::new().unwrap();
        let inbox = Inbox::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let taken = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let (theirs, count) = (inbox.clone(), taken.clone());
        let worker = std::thread::spawn(move || {
            let mut events = mio::Events::with_capacity(4);
            while count.load(Ordering::Relaxed) < MAILS {
                while theirs.take().is_some() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                if count.load(Ordering::Relaxed) < MAILS && theirs.fall_asleep() {
                    let guard = Some(std::time::Duration::from_secs(20));
                    poll.poll(&mut events, guard).unwrap();
                    assert!(!events.is_empty(), "asleep over a mail");
                }
                theirs.wake_up();
            }
        });
        for sent in 1..=MAILS {
            assert!(inbox.send(Mail::Stop).is_ok());
            while taken.load(Ordering::Relaxed) < sent && !worker.is_finished() {
                std::hint::spin_loop();
            }
        }
        worker.join().unwrap();
    }

    const MAILS: u32 = 20_000;
}
