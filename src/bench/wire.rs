//! What a client's datagrams go over: a UDP socket, or frames on a TCP connection (RFC 6544).
//!
//! Used by `client.rs`.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};

use crate::net::TimedBatch;
use crate::transport::framing::{Deframer, MAX_FRAME_LEN, put_frame};

/// A media socket.
#[derive(Debug)]
pub enum Wire {
    /// Datagrams.
    Udp(UdpSocket),
    /// Frames.
    Tcp(Box<Connection>),
}

/// A TCP connection and what it has begun to send and to receive.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    deframer: Deframer,
    pending: Vec<u8>,
}

impl Wire {
    /// Connects to `server` over TCP.
    ///
    /// # Errors
    /// The operating system's.
    pub fn connect(server: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let stream = std::net::TcpStream::connect(server)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE)?;
        Ok(Self::Tcp(Box::new(Connection {
            stream,
            deframer: Deframer::default(),
            pending: Vec::new(),
        })))
    }

    /// Sends one datagram; false when it was not taken.
    pub fn send(&mut self, datagram: &[u8]) -> bool {
        match self {
            Self::Udp(udp) => udp.send(datagram).is_ok(),
            Self::Tcp(frames) => {
                let has_room = frames.pending.len() < BACKLOG_LEN;
                let taken = has_room && put_frame(&mut frames.pending, datagram);
                frames.flush();
                taken
            }
        }
    }

    /// Takes what waits at the UDP socket into `batch`; true when more may. `None`: it is TCP.
    pub fn receive(&self, batch: &mut TimedBatch) -> Option<bool> {
        match self {
            // An error of an earlier send, told late: what is behind it is read next time.
            Self::Udp(udp) => Some(batch.receive(udp).unwrap_or(false)),
            Self::Tcp(_) => None,
        }
    }

    /// Reads from the TCP connection; how many bytes of `buffer`, at least [`STREAM_LEN`] long,
    /// hold frames, of which the rest goes back to [`keep`](Self::keep). `None`: nothing waits.
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let Self::Tcp(frames) = self else { return None };
        frames.flush();
        let kept = frames.deframer.resume(buffer);
        // The end of the connection is the server's silence.
        let len = frames.stream.read(buffer.get_mut(kept..)?).ok()?;
        (len > 0).then_some(kept + len)
    }

    /// Keeps the beginning of a frame.
    pub fn keep(&mut self, rest: &[u8]) {
        if let Self::Tcp(frames) = self {
            frames.deframer.keep(rest);
        }
    }

    /// Takes it out of the poll.
    ///
    /// # Errors
    /// The operating system's.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Udp(udp) => registry.deregister(udp),
            Self::Tcp(frames) => registry.deregister(&mut frames.stream),
        }
    }

    /// Its own address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Udp(udp) => udp.local_addr(),
            Self::Tcp(frames) => frames.stream.local_addr(),
        }
    }
}

impl Connection {
    fn flush(&mut self) {
        let mut at = 0;
        while let Some(rest) = self.pending.get(at..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(len) if len > 0 => at += len,
                Ok(_) | Err(_) => break,
            }
        }
        self.pending.drain(..at);
    }
}

/// Bytes of a buffer to read into.
pub const STREAM_LEN: usize = 8 * MAX_FRAME_LEN;

/// Bytes that wait to be sent; a datagram that comes then is lost.
const BACKLOG_LEN: usize = 256 * 1024;
