//! A server of one test: started in its own empty directory, ended with the test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use leafcutter::worker::clock::Clock;
use serde_json::Value;
use tempfile::TempDir;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Bytes, Error, HandshakeError, Message, WebSocket};

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Where it listens for TLS, when it does.
    pub tls_addr: Option<SocketAddr>,
    /// The last line it printed.
    pub playground: String,
    directory: Option<TempDir>,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The header lines, names in lower case.
    pub headers: String,
    pub body: String,
}

impl Server {
    /// Starts it on free ports with `flags` and waits until it serves.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), flags)
    }

    /// The same with a settings file.
    pub fn start_with(settings: &str, flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("leafcutter.toml"), settings).unwrap();
        Self::start_in(directory, flags)
    }

    /// Kills it and starts it again in its directory; the port is another.
    pub fn restart(&mut self, flags: &[&str]) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let directory = self.directory.take().unwrap();
        *self = Self::start_in(directory, flags);
    }

    /// The same, in a directory that may hold settings and data.
    pub fn start_in(directory: TempDir, flags: &[&str]) -> Self {
        let command = command(directory.path());
        Self::run(command, directory, flags)
    }

    /// The same; everything that it logs goes to [`log`](Self::log).
    pub fn start_logged(directory: TempDir) -> Self {
        Self::start_logged_with(directory, &[])
    }

    /// The same with `flags`.
    pub fn start_logged_with(directory: TempDir, flags: &[&str]) -> Self {
        let mut command = command(directory.path());
        let log = File::create(directory.path().join(LOG)).unwrap();
        command.env("LEAFCUTTER_LOG", "debug").stderr(log);
        Self::run(command, directory, flags)
    }

    /// The same, from a shell that has run `prelude`: limits that the process is to live with.
    pub fn start_limited(directory: TempDir, prelude: &str, flags: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell
            .current_dir(directory.path())
            .env("LEAFCUTTER_LOG", "error")
            .env("LEAFCUTTER_CPU_LIMIT", "100")
            .args(["-c", &format!("{prelude}; exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_leafcutter"));
        Self::run(shell, directory, flags)
    }

    fn run(mut command: Command, directory: TempDir, flags: &[&str]) -> Self {
        for (flag, value) in [("--listen", "127.0.0.1:0"), ("--media-port", "0")] {
            if !flags.contains(&flag) {
                command.args([flag, value]);
            }
        }
        let mut child = command.args(flags).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = || lines.next().expect("the server ended").unwrap();
        let first = line();
        let addr = first
            .strip_prefix("listening on http://")
            .unwrap_or_else(|| panic!("{first}"));
        let mut playground = line();
        let mut tls_addr = None;
        if let Some(addr) = playground.strip_prefix("listening on https://") {
            tls_addr = Some(addr.parse().unwrap());
            playground = line();
        }
        Self {
            addr: addr.parse().unwrap(),
            tls_addr,
            playground,
            child,
            directory: Some(directory),
        }
    }

    /// Kills it with `kill -9` and leaves its directory.
    pub fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.directory.take().unwrap()
    }

    /// Waits for its end and leaves its directory.
    ///
    /// # Panics
    /// When it did not end well.
    pub fn ended(mut self) -> TempDir {
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.directory.take().unwrap()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it runs.
    pub fn directory(&self) -> &Path {
        self.directory.as_ref().unwrap().path()
    }

    /// What it has logged, when it was started for that.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory().join(LOG)).unwrap()
    }

    /// A REST call with a JSON body, or an empty one; the answer's JSON.
    pub fn rest(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let headers = format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        let answer = self.exchange(method, path, &headers, &body);
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Sends a request without body and reads the answer to its end.
    pub fn request(&self, method: &str, path: &str, headers: &str) -> Answer {
        self.exchange(method, path, headers, "")
    }

    /// Sends a request with `body` and reads the answer to its end.
    pub fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        let headers = format!("Content-Length: {length}\r\n{headers}");
        self.exchange(method, path, &headers, body)
    }

    fn exchange(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = self.connect();
        let host = self.addr;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n{body}"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let (line, headers) = head.split_once("\r\n").unwrap();
        Answer {
            status: line.split(' ').nth(1).unwrap().parse().unwrap(),
            headers: headers.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    /// `GET path`.
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "")
    }

    /// A TCP connection on which nothing blocks longer than a test may take.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// An open WebSocket.
    pub fn websocket(&self, path: &str) -> WebSocket<TcpStream> {
        let url = format!("ws://{}{path}", self.addr);
        tungstenite::client(url, self.connect()).unwrap().0
    }

    /// An open WebSocket of a client that a proxy on this host says is at `ip`; otherwise the
    /// status of the refusal.
    pub fn websocket_of(&self, ip: &str) -> Result<WebSocket<TcpStream>, u16> {
        let url = format!("ws://{}/live/websocket", self.addr);
        let mut request = url.into_client_request().unwrap();
        request
            .headers_mut()
            .insert("x-real-ip", ip.parse().unwrap());
        match tungstenite::client(request, self.connect()) {
            Ok((socket, _)) => Ok(socket),
            Err(HandshakeError::Failure(Error::Http(answer))) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the answer to a WebSocket ping, which shows that a worker serves the socket.
pub fn ping(socket: &mut WebSocket<TcpStream>) {
    let token = Bytes::from_static(b"served?");
    socket.send(Message::Ping(token.clone())).unwrap();
    while socket.read().unwrap() != Message::Pong(token.clone()) {}
}

/// What `look` finds, once it does: what is waited for happens in a time of its own.
///
/// # Panics
/// With `seen`, when it has not happened within a minute.
#[allow(
    clippy::disallowed_methods,
    reason = "leaves the processor to those waited for"
)]
pub fn once<T>(mut look: impl FnMut() -> Option<T>, seen: impl FnOnce() -> String) -> T {
    let mut clock = Clock::start();
    let until = clock.now().instant + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        if clock.now().instant > until {
            panic!("{}", seen());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs the binary in `directory` to its end; for starts that fail.
pub fn run(directory: &Path, flags: &[&str]) -> Output {
    command(directory).args(flags).output().unwrap()
}

/// Runs in `directory`; `LEAFCUTTER_BIN` names another build, an optimised one say.
fn command(directory: &Path) -> Command {
    let other = std::env::var_os("LEAFCUTTER_BIN");
    let binary = other.unwrap_or_else(|| env!("CARGO_BIN_EXE_leafcutter").into());
    let mut command = Command::new(binary);
    // Other tests keep the host busy; nobody is to be refused for that.
    command
        .current_dir(directory)
        .env("LEAFCUTTER_LOG", "warn")
        .env("LEAFCUTTER_CPU_LIMIT", "100");
    command
}

/// Where [`Server::start_logged`] logs to.
const LOG: &str = "log.txt";

const PATIENCE: Duration = Duration::from_secs(60);
