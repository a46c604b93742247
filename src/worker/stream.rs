//! The bytes of a WebSocket's connection: plain TCP, or TLS on it (RFC 8446) through rustls.
//!
//! Non-blocking: what cannot be read or written yet is `WouldBlock`. The handshake was done in
//! `front/`. Used by `conn.rs`.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::Token;
use mio::net::TcpStream;
use mio::{Interest, Registry};
use rustls::ServerConnection;

/// A connection.
#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// The last read gave up although the socket may hold more.
    tired: bool,
}

impl Stream {
    /// Of a socket, and the state of its TLS.
    pub fn new(socket: TcpStream, mut tls: Option<Box<ServerConnection>>) -> Self {
        if let Some(tls) = &mut tls {
            tls.set_buffer_limit(Some(TLS_BACKLOG_LEN));
        }
        Self {
            socket,
            tls,
            tired: false,
        }
    }

    /// True when the last read that found nothing did not come to the socket's end: there may be
    /// more without another event.
    pub fn is_tired(&self) -> bool {
        self.tired
    }

    /// True while TLS holds records that the socket has not taken.
    pub fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Writes the records that TLS holds, as far as the socket takes them.
    ///
    /// # Errors
    /// The operating system's; `WouldBlock` is none.
    pub fn write_records(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::ConnectionReset.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends the end of the stream; the client may still write.
    pub fn finish(&mut self) {
        self.say_goodbye();
        // It fails only for what is closed already.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Tells TLS's end as far as the socket takes it: it is about to be dropped.
    pub fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            // Who is gone cannot be told.
            let _ = self.write_records();
        }
    }

    /// Puts the socket into the poll.
    ///
    /// # Errors
    /// The operating system's.
    pub fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        registry.register(&mut self.socket, token, interest)
    }

    /// Asks for other events.
    ///
    /// # Errors
    /// The operating system's.
    pub fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        registry.reregister(&mut self.socket, token, interest)
    }

    /// Takes the socket out of the poll.
    pub fn deregister(&mut self, registry: &Registry) {
        // It fails only for what is not registered.
        let _ = registry.deregister(&mut self.socket);
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.tired = false;
        let Some(tls) = &mut self.tls else {
            return self.socket.read(buf);
        };
        for _ in 0..RECORD_READS {
            match tls.reader().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            let len = tls.read_tls(&mut self.socket)?;
            if let Err(error) = tls.process_new_packets() {
                // The alert says why.
                let _ = tls.write_tls(&mut self.socket);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            if len == 0 {
                // Without close_notify it is an end all the same: WebSocket has its own.
                return match tls.reader().read(buf) {
                    Ok(len) => Ok(len),
                    Err(_) => Ok(0),
                };
            }
        }
        self.tired = true;
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // First what waits: when nothing is taken behind that, the socket has just said that it is
        // full, and will say when it is not.
        self.write_records()?;
        let Some(tls) = &mut self.tls else {
            return self.socket.write(buf);
        };
        let taken = tls.writer().write(buf)?;
        self.write_records()?;
        match taken {
            0 if !buf.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_records()
    }
}

/// Bytes of records that wait for the socket, of one connection: one record of the largest size
/// (RFC 8446 §5.1). The rest waits in front of TLS, where its length is bounded.
const TLS_BACKLOG_LEN: usize = 16 * 1024;

/// Reads from the socket for one read of the connection. Records without data (keys, alerts, empty
/// ones) are few unless somebody wants to keep the worker busy.
const RECORD_READS: usize = 16;
