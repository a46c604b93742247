//! One WebSocket (RFC 6455) on a non-blocking stream (`stream.rs`), through tungstenite.
//!
//! Bounded in every direction: bytes read per turn, messages' length, bytes queued, and the time
//! that closing takes. Knows no signalling. Owned by the table in `conns.rs`.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Bytes, Error, Message, Utf8Bytes, WebSocket};

use super::inbox::NewConn;
use super::stream::Stream;
use crate::base::crowd::Place;
use crate::base::ids::ConnId;
use crate::base::limits::{MAX_CONN_BACKLOG_LEN, MAX_MESSAGE_LEN};

/// A WebSocket and where it stands.
#[derive(Debug)]
pub(super) struct Conn {
    /// Its number.
    pub id: ConnId,
    /// The client, for log lines.
    pub remote: SocketAddr,
    /// It is in the table's list of connections to be read.
    pub queued: bool,
    /// It is in the table's list of connections to be flushed.
    pub dirty: bool,

    _place: Option<Place>,
    bucket: Bucket,
    token: Token,
    socket: WebSocket<Metered>,
    phase: Phase,
    /// WRITABLE is registered: the write buffer was not empty after the last flush.
    wants_write: bool,
    last_heard: Instant,
    last_ping: Instant,
}

/// From open to gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Messages flow.
    Open,
    /// A close frame was sent or received; the rest of the closing handshake (RFC 6455 §7.1.2)
    /// has until then.
    Closing { until: Instant },
    /// The client broke the protocol: the close frame that says so is flushed, what comes is
    /// discarded unread until the client is gone, or until then.
    Draining { until: Instant },
}

/// What one attempt to read brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A message for the engine.
    Text(Utf8Bytes),
    /// Something that is not for the engine; there may be more.
    Nothing,
    /// Nothing more until the socket is readable again.
    Drained,
    /// This turn's allowance is used up; there is, or may be, more.
    Paused,
    /// The connection is over.
    Gone(End),
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Closing handshake complete, or the client hung up.
    Closed,
    /// The client did not read what was sent.
    SlowReader,
    /// Nothing came for [`IDLE_MAX`], or closing took longer than [`CLOSING_MAX`].
    TimedOut,
}

impl Conn {
    /// Takes over the socket behind the HTTP upgrade and registers it for reading.
    ///
    /// # Errors
    /// What the operating system said: the client is gone already.
    pub fn open(
        id: ConnId,
        new: NewConn,
        token: Token,
        registry: &Registry,
        messages_per_s: u32,
        now: Instant,
    ) -> io::Result<Self> {
        new.stream.set_nonblocking(true)?;
        new.stream.set_nodelay(true)?;
        let mut stream = Stream::new(TcpStream::from_std(new.stream), new.tls);
        stream.register(registry, token, Interest::READABLE)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_LEN)
            .write_buffer_size(0)
            .max_write_buffer_size(CONTROL_BACKLOG_LEN)
            .max_message_size(Some(MAX_MESSAGE_LEN))
            .max_frame_size(Some(MAX_MESSAGE_LEN));
        let metered = Metered {
            stream,
            allowance: 0,
            paused: false,
            heard: false,
            pending: Vec::new(),
        };
        let role = Role::Server;
        let socket = WebSocket::from_partially_read(metered, new.read_ahead, role, Some(config));
        Ok(Self {
            id,
            remote: new.remote,
            queued: false,
            dirty: false,
            _place: new.place,
            bucket: Bucket::new(messages_per_s, now),
            token,
            socket,
            phase: Phase::Open,
            wants_write: false,
            last_heard: now,
            last_ping: now,
        })
    }

    /// True until either side closes.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Grants a turn's worth of reading.
    pub fn allow(&mut self) {
        let metered = self.socket.get_mut();
        metered.allowance = READ_LEN_PER_TURN;
        metered.paused = false;
        metered.heard = false;
    }

    /// Reads the next message. Binary messages that are UTF-8 pass as text, as some client SDKs
    /// send them so; other binary ones are ignored. Pings are answered by tungstenite.
    pub fn next(&mut self, now: Instant) -> Next {
        let next = match self.phase {
            Phase::Open | Phase::Closing { .. } => self.read_message(now),
            Phase::Draining { .. } => self.discard(),
        };
        if std::mem::take(&mut self.socket.get_mut().heard) {
            self.last_heard = now;
        }
        next
    }

    fn read_message(&mut self, now: Instant) -> Next {
        let open = self.is_open();
        let read = self.socket.read();
        if open && read.is_ok() && !self.bucket.take(now) {
            return self.fail(CloseCode::Policy, now);
        }
        match read {
            Ok(Message::Text(text)) if open => Next::Text(text),
            Ok(Message::Binary(bytes)) if open => match Utf8Bytes::try_from(bytes) {
                Ok(text) => Next::Text(text),
                Err(_) => Next::Nothing,
            },
            Ok(Message::Close(_)) => {
                if open {
                    self.phase = Phase::Closing {
                        until: now + CLOSING_MAX,
                    };
                }
                Next::Nothing
            }
            Ok(_) => Next::Nothing,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.socket.get_ref().paused {
                    Next::Paused
                } else {
                    Next::Drained
                }
            }
            Err(Error::Capacity(_)) => self.fail(CloseCode::Size, now),
            Err(Error::Utf8(_)) => self.fail(CloseCode::Invalid, now),
            Err(Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => Next::Gone(End::Closed),
            Err(Error::Protocol(_)) => self.fail(CloseCode::Protocol, now),
            // Closed, reset, or unusable: there is nobody left to tell.
            Err(_) => Next::Gone(End::Closed),
        }
    }

    /// Reads and forgets. tungstenite must not read any more: it has lost its place.
    fn discard(&mut self) -> Next {
        let mut scrap = [0; SCRAP_LEN];
        match self.socket.get_mut().read(&mut scrap) {
            Ok(0) => Next::Gone(End::Closed),
            Ok(_) => Next::Nothing,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.socket.get_ref().paused {
                    Next::Paused
                } else {
                    Next::Drained
                }
            }
            Err(_) => Next::Gone(End::Closed),
        }
    }

    /// Queues one text message; [`flush`](Self::flush) sends it.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn send(&mut self, text: String) -> Result<(), End> {
        let pending = &mut self.socket.get_mut().pending;
        if pending.len() + text.len() > MAX_CONN_BACKLOG_LEN {
            return Err(End::SlowReader);
        }
        // Past tungstenite, which would keep the room that its longest message took.
        let frame = Frame::message(text, OpCode::Data(Data::Text), true);
        frame.format(pending).map_err(|_| End::Closed)
    }

    /// Queues a ping when one is due, or ends the connection when it is overdue; called about
    /// once a second. True when something was queued.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn keep_alive(&mut self, now: Instant) -> Result<bool, End> {
        match self.phase {
            Phase::Closing { until } | Phase::Draining { until } if now >= until => {
                return Err(End::TimedOut);
            }
            Phase::Closing { .. } | Phase::Draining { .. } => return Ok(false),
            Phase::Open => {}
        }
        if now.saturating_duration_since(self.last_heard) >= IDLE_MAX {
            return Err(End::TimedOut);
        }
        if now.saturating_duration_since(self.last_ping) < PING_EVERY {
            return Ok(false);
        }
        self.last_ping = now;
        self.write(Message::Ping(Bytes::new())).map(|()| true)
    }

    /// Starts the closing handshake with `code`; nothing is sent or delivered behind it.
    ///
    /// # Errors
    /// Why the connection is over already.
    pub fn close(&mut self, code: CloseCode, now: Instant) -> Result<(), End> {
        if !self.is_open() {
            return Ok(());
        }
        self.phase = Phase::Closing {
            until: now + CLOSING_MAX,
        };
        ended(self.socket.close(Some(close_frame(code)))).map(|_| ())
    }

    /// Sends what is queued as far as the client takes it, and asks to hear of room for the rest.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn flush(&mut self, registry: &Registry) -> Result<(), End> {
        let held = ended(self.socket.flush())?;
        let metered = self.socket.get_mut();
        metered.write_pending().map_err(|_| End::Closed)?;
        let waits = held || !metered.pending.is_empty() || metered.stream.wants_write();
        if !waits && matches!(self.phase, Phase::Draining { .. }) {
            // The client reads the end of the stream behind the close frame and hangs up.
            metered.stream.finish();
        }
        if waits != self.wants_write {
            let interest = if waits {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            metered
                .stream
                .reregister(registry, self.token, interest)
                .map_err(|_| End::Closed)?;
            self.wants_write = waits;
        }
        Ok(())
    }

    /// True while some of what was queued waits for the client.
    #[cfg(test)]
    pub fn waits_for_room(&self) -> bool {
        self.wants_write
    }

    /// Takes the socket out of the poll, before it is dropped.
    pub fn deregister(&mut self, registry: &Registry) {
        let stream = &mut self.socket.get_mut().stream;
        stream.say_goodbye();
        stream.deregister(registry);
    }

    fn write(&mut self, message: Message) -> Result<(), End> {
        ended(self.socket.write(message)).map(|_| ())
    }

    /// Tells the client what it did wrong and stops listening to it.
    fn fail(&mut self, code: CloseCode, now: Instant) -> Next {
        self.phase = Phase::Draining {
            until: now + CLOSING_MAX,
        };
        match ended(self.socket.close(Some(close_frame(code)))) {
            Ok(_) => Next::Nothing,
            Err(end) => Next::Gone(end),
        }
    }
}

/// Reads tungstenite's answer to a write: `Ok(true)` when some of it waits for room.
fn ended(result: tungstenite::Result<()>) -> Result<bool, End> {
    match result {
        Ok(()) => Ok(false),
        Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(Error::WriteBufferFull(_)) => Err(End::SlowReader),
        // The rest means closed, or unusable.
        Err(_) => Err(End::Closed),
    }
}

fn close_frame(code: CloseCode) -> CloseFrame {
    CloseFrame {
        code,
        reason: Utf8Bytes::default(),
    }
}

/// What a client may say: so many messages per second, of any kind, and a burst of
/// [`BURST_S`] seconds' worth.
#[derive(Debug)]
struct Bucket {
    /// 0: no limit.
    per_s: u32,
    left: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_s: u32, now: Instant) -> Self {
        Self {
            per_s,
            left: BURST_S * f64::from(per_s),
            at: now,
        }
    }

    /// Counts one message; false when it was one too many.
    fn take(&mut self, now: Instant) -> bool {
        let rate = f64::from(self.per_s);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + rate * passed).min(BURST_S * rate) - 1.0;
        self.per_s == 0 || self.left >= 0.0
    }
}

/// A stream that gives out a limited number of bytes per turn, and holds what it cannot write.
///
/// tungstenite reads until it has a whole message, so a client that sends empty fragments as fast
/// as they are read would hold the worker for ever without this.
#[derive(Debug)]
struct Metered {
    stream: Stream,
    /// Bytes that may still be read this turn.
    allowance: usize,
    /// The last read was refused for lack of allowance.
    paused: bool,
    /// Something was read.
    heard: bool,
    /// Frames that wait to be written; takes no memory while there are none.
    pending: Vec<u8>,
}

impl Metered {
    /// Writes what is pending as far as the client takes it.
    fn write_pending(&mut self) -> io::Result<()> {
        self.stream.write_records()?;
        let mut at = 0;
        let result = loop {
            let rest = self.pending.get(at..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match self.stream.write(rest) {
                Ok(0) => break Err(io::ErrorKind::ConnectionReset.into()),
                Ok(len) => at += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        if at == self.pending.len() {
            self.pending = Vec::new();
        } else {
            self.pending.drain(..at);
        }
        result
    }
}

impl Read for Metered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.allowance == 0 {
            self.paused = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = buf.len().min(self.allowance);
        let result = self.stream.read(buf.get_mut(..len).unwrap_or_default());
        self.paused |= self.stream.is_tired();
        let len = result?;
        self.allowance -= len;
        self.heard |= len > 0;
        Ok(len)
    }
}

impl Write for Metered {
    /// Control frames: behind the texts that wait, and then all of them as far as there is room.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.pending.len() > MAX_CONN_BACKLOG_LEN {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.pending.extend_from_slice(buf);
        self.write_pending()?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Seconds' worth of messages that may come at once: a page that plays a large room sends an answer
/// and a dozen candidates for each of its peers.
const BURST_S: f64 = 10.0;

/// Bytes per read, which every connection keeps: most messages are below it, SDP takes a few.
const READ_BUFFER_LEN: usize = 1024;

/// Bytes of control frames for a client that does not read: one at a time, the longest being 125
/// bytes and a header (RFC 6455 §5.5).
const CONTROL_BACKLOG_LEN: usize = 1024;

/// Bytes read per connection and turn: the largest message takes 17 turns, about 50 us each.
const READ_LEN_PER_TURN: usize = 64 * 1024;

/// Bytes per read of what nobody will look at.
const SCRAP_LEN: usize = 4096;

/// How often a ping goes out: below the shortest idle timeout of common proxies (30 s).
pub(super) const PING_EVERY: Duration = Duration::from_secs(20);

/// A client that was silent this long, three pings, is gone.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(60);

/// How long the closing handshake may take.
pub(super) const CLOSING_MAX: Duration = Duration::from_secs(2);
