//! A worker's clients without a WebSocket: resources of WHIP (RFC 9725) and WHEP, whose messages
//! come and go as mail.
//!
//! To the engine each is a connection like any other, so whatever holds for WebSockets holds for
//! them. Called by `run.rs`; the other end is `front/whip/`.

use std::collections::HashMap;

use tokio::sync::mpsc::Sender;

use super::inbox::{NewResource, Told};
use crate::base::clock::Now;
use crate::base::ids::{ConnId, WorkerId};
use crate::engine::{ConnOpened, ConnOutput, Engine};

/// All of one worker.
#[derive(Debug)]
pub(super) struct Resources {
    worker: WorkerId,
    next_serial: u64,
    listeners: HashMap<u64, Sender<Told>>,
}

impl Resources {
    /// None yet.
    pub fn new(worker: WorkerId) -> Self {
        Self {
            worker,
            next_serial: FIRST_SERIAL,
            listeners: HashMap::new(),
        }
    }

    /// True for connections that are in this table, or were.
    pub fn is_one(conn: ConnId) -> bool {
        conn.serial >= FIRST_SERIAL
    }

    /// Opens one and tells its number. One above [`MAX_RESOURCES`], or whose client is gone
    /// already, is dropped, which its other end sees.
    pub fn open(&mut self, now: Now, new: NewResource, engine: &mut Engine) {
        if self.listeners.len() >= MAX_RESOURCES {
            tracing::warn!(worker = self.worker.0, "too many WHIP and WHEP resources");
            return;
        }
        let conn = ConnId {
            worker: self.worker,
            serial: self.next_serial,
        };
        if new.listener.try_send(Told::Opened(conn)).is_err() {
            return;
        }
        self.next_serial += 1;
        self.listeners.insert(conn.serial, new.listener);
        let opened = ConnOpened {
            conn,
            app: new.app,
            settings: new.settings,
            client: new.client,
        };
        engine.handle_conn_opened(now, opened);
    }

    /// Ends one that its client has left.
    pub fn close(&mut self, now: Now, conn: ConnId, engine: &mut Engine) {
        if self.listeners.remove(&conn.serial).is_some() {
            engine.handle_conn_closed(now, conn);
        }
    }

    /// Does what the engine wants of one; nothing when it is gone.
    pub fn output(&mut self, now: Now, conn: ConnId, output: ConnOutput, engine: &mut Engine) {
        match output {
            ConnOutput::Text(text) => self.tell(now, conn, Told::Text(text), engine),
            ConnOutput::Close => self.close(now, conn, engine),
        }
    }

    /// Tells one; who does not listen is closed.
    pub fn tell(&mut self, now: Now, conn: ConnId, told: Told, engine: &mut Engine) {
        if let Some(listener) = self.listeners.get(&conn.serial)
            && listener.try_send(told).is_err()
        {
            self.close(now, conn, engine);
        }
    }

    /// Ends all of them: the server goes away.
    pub fn close_all(&mut self, now: Now, engine: &mut Engine) {
        for (serial, _) in self.listeners.drain() {
            let worker = self.worker;
            engine.handle_conn_closed(now, ConnId { worker, serial });
        }
    }
}

/// WebSockets are numbered from 0 on and never come this far.
const FIRST_SERIAL: u64 = 1 << 63;

/// Per worker; further ones are refused. As many as WebSockets.
const MAX_RESOURCES: usize = 16_384;
