//! How many HTTP connections there are at once: of each address, and in all. When all seats are
//! taken, the connection that has waited longest for its client makes room for the next one, so
//! that idle ones keep nobody out. When none waits, a newcomer waits for a while, and then there is
//! no seat.
//!
//! A connection waits for its client during the handshake of TLS, between requests, and while a
//! request is on its way. Whoever a handler works for stays, until its answer was taken up by the
//! connection.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::HttpBody;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::base::crowd::{Crowd, CrowdLimits, Place};

/// The seats of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Seats(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    free: Arc<Semaphore>,
    count: usize,
    patience: Duration,
    /// Somebody has waited that long in vain, and nobody got a seat since.
    is_full: AtomicBool,
    crowd: Mutex<Crowd>,
    waiting: Mutex<Waiting>,
    /// There is one more that waits for its client.
    one_waits: Notify,
}

/// The connections that wait for their clients, the longest waiting first, and how each is told
/// that it is to go.
#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    told: BTreeMap<u64, Arc<Notify>>,
}

/// The seat of one connection, given up when it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    to_go: Arc<Notify>,
    /// Its place among those who wait for their clients; `None` while somebody works for it.
    turn: Mutex<Option<u64>>,
    _free: OwnedSemaphorePermit,
    _of_address: Place,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSeat {
    /// Its address has enough of them.
    OfAddress,
    /// Somebody works for everybody who has one.
    AllBusy,
}

impl Seats {
    /// `count` in all, `per_address` of one address; 0 is no limit of that. While somebody works
    /// for everybody, newcomers wait for `patience`.
    pub fn new(count: usize, per_address: usize, patience: Duration) -> Self {
        Self(Arc::new(Inner {
            free: Arc::new(Semaphore::new(count)),
            count,
            patience,
            is_full: AtomicBool::new(false),
            crowd: Mutex::new(Crowd::new(CrowdLimits {
                all: 0,
                per_address,
            })),
            waiting: Mutex::default(),
            one_waits: Notify::new(),
        }))
    }

    /// A seat for a connection from `from`; where none is free, the one who has waited longest for
    /// its client is told to go, or the next that begins to.
    ///
    /// # Errors
    /// See [`NoSeat`].
    pub async fn take(&self, from: IpAddr) -> Result<Seat, NoSeat> {
        let crowd = &self.0.crowd;
        let of_address = crowd
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .enter(from)
            .ok_or(NoSeat::OfAddress)?;
        let free = tokio::select! {
            biased;
            free = self.0.free.clone().acquire_owned() => free.ok(),
            () = self.make_room() => None,
        };
        self.0.is_full.store(free.is_none(), Ordering::Relaxed);
        let seat = Seat {
            seats: self.clone(),
            to_go: Arc::default(),
            turn: Mutex::default(),
            _free: free.ok_or(NoSeat::AllBusy)?,
            _of_address: of_address,
        };
        seat.wait();
        Ok(seat)
    }

    /// Tells one to go, which leaves a seat soon; then there is nothing more to do. Returns when
    /// there is none, and not for a while.
    async fn make_room(&self) {
        let patience = match self.0.is_full.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => self.0.patience,
        };
        let one_goes = async {
            loop {
                let longest = self.waiting().told.pop_first();
                if let Some((_, to_go)) = longest {
                    return to_go.notify_one();
                }
                self.0.one_waits.notified().await;
            }
        };
        if timeout(patience, one_goes).await.is_ok() {
            pending().await
        }
    }

    /// Connections that have one.
    pub fn taken(&self) -> usize {
        self.0.count.saturating_sub(self.0.free.available_permits())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        let waiting = self.0.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Returns when somebody else is to have it.
    pub async fn is_wanted(&self) {
        self.to_go.notified().await;
    }

    /// It is the client's turn.
    fn wait(&self) {
        let mut turn = self.turn();
        if turn.is_none() {
            let mut waiting = self.seats.waiting();
            let number = waiting.next;
            waiting.next += 1;
            waiting.told.insert(number, self.to_go.clone());
            *turn = Some(number);
            self.seats.0.one_waits.notify_one();
        }
    }

    /// It is the server's turn.
    fn work(&self) {
        if let Some(turn) = self.turn().take() {
            self.seats.waiting().told.remove(&turn);
        }
    }

    fn turn(&self) -> MutexGuard<'_, Option<u64>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.work();
    }
}

/// A body at whose end, or when it is let go, it is the other side's turn.
#[derive(Debug)]
pub struct Passing<B> {
    body: B,
    seat: Option<Arc<Seat>>,
    then: fn(&Seat),
}

impl<B: HttpBody> Passing<B> {
    /// A request's: the server works when all of it is there.
    pub fn request(body: B, seat: Arc<Seat>) -> Self {
        let mut passing = Self {
            body,
            seat: Some(seat),
            then: Seat::work,
        };
        passing.look();
        passing
    }

    /// An answer's: when the connection has taken all of it, the client is to read it, and to ask
    /// again. One without a body is taken when its body is let go.
    pub fn answer(body: B, seat: Arc<Seat>) -> Self {
        Self {
            body,
            seat: Some(seat),
            then: Seat::wait,
        }
    }

    fn look(&mut self) {
        if self.body.is_end_stream() {
            self.pass();
        }
    }
}

impl<B> Passing<B> {
    fn pass(&mut self) {
        if let Some(seat) = self.seat.take() {
            (self.then)(&seat);
        }
    }
}

impl<B> Drop for Passing<B> {
    fn drop(&mut self) {
        self.pass();
    }
}

impl<B: HttpBody + Unpin> HttpBody for Passing<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(None | Some(Err(_))) => self.pass(),
            Poll::Ready(Some(Ok(_))) => self.look(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
