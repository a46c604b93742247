//! TLS (RFC 8446, RFC 5246 for old clients) in front of HTTP: the certificate from its files, read
//! again when they change, or from an authority (`acme/`), and the handshake.
//!
//! Connections keep the certificate that they began with. Behind a WebSocket upgrade the state of
//! the connection goes to the worker together with the socket (`upgrade.rs`).

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::acme::Acme;
use super::certificate::About;
use crate::config::TlsCertificate;

/// A certificate and its key, as they are at the moment. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Certificates {
    /// From two files.
    Files(Arc<Files>),
    /// From an authority.
    Acme(Acme),
}

/// Two files and what was read from them.
#[derive(Debug)]
pub struct Files {
    cert: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

#[derive(Clone, Debug)]
struct Current {
    config: Arc<ServerConfig>,
    stamps: Stamps,
}

/// When the two files were written and how long they are; `None` where the system does not tell.
type Stamps = [Option<(SystemTime, u64)>; 2];

impl Certificates {
    /// Reads both files, or what an authority gave before. Blocks on the disk.
    ///
    /// # Errors
    /// A sentence that names the file or directory.
    pub fn load(source: TlsCertificate) -> Result<Self, String> {
        match source {
            TlsCertificate::Files { cert, key } => Ok(Self::Files(Arc::new(Files {
                current: Mutex::new(read(&cert, &key)?),
                cert,
                key,
            }))),
            TlsCertificate::Acme(settings) => Acme::load(settings).map(Self::Acme),
        }
    }

    /// What `load` would show connections; `None` while an authority has yet to issue it. Blocks on
    /// the disk, changes nothing.
    ///
    /// # Errors
    /// Those of `load`, and a certificate that cannot be read.
    pub fn examine(source: &TlsCertificate) -> Result<Option<About>, String> {
        match source {
            TlsCertificate::Files { cert, key } => {
                read(cert, key)?;
                let text = fs::read(cert).map_err(|e| unusable(cert, &e))?;
                let about = About::read_pem(&text);
                about
                    .map(Some)
                    .ok_or_else(|| unusable(cert, &"it cannot be read"))
            }
            TlsCertificate::Acme(settings) => Acme::kept(settings),
        }
    }

    /// Reads the files again, if they have changed or `anyway`; what cannot be used is logged, and
    /// the certificate stays as it was. An authority is asked `anyway` when a renewal is due.
    pub async fn refresh(&self, anyway: bool) {
        match self {
            Self::Files(files) => files.clone().refresh(anyway).await,
            Self::Acme(acme) if anyway => acme.hurry(),
            Self::Acme(_) => {}
        }
    }

    /// Looks at the files again and again, or renews what is due.
    pub async fn watch(self) {
        let files = match self {
            Self::Files(files) => files,
            Self::Acme(acme) => return acme.run().await,
        };
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            files.clone().refresh(false).await;
        }
    }

    /// The handshake of a connection.
    ///
    /// # Errors
    /// The client's fault, or its silence for `HANDSHAKE_TIME`.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = match self {
            Self::Files(files) => files.current().config,
            Self::Acme(acme) => acme.config(),
        };
        let acceptor = TlsAcceptor::from(config);
        match timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
            Ok(result) => result,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Files {
    async fn refresh(self: Arc<Self>, anyway: bool) {
        let look = move || self.look(anyway);
        if let Err(error) = tokio::task::spawn_blocking(look).await {
            tracing::error!(%error, "the certificate was not looked at");
        }
    }

    /// Blocks on the disk.
    fn look(&self, anyway: bool) {
        let Self { cert, key, .. } = self;
        // Before they are read, whatever comes of that: files that change meanwhile, as a pair
        // does that is replaced one after the other, are looked at once more.
        let stamps = stamps(cert, key);
        if !anyway && stamps == self.current().stamps {
            return;
        }
        match read(cert, key) {
            Ok(fresh) => {
                *self.lock() = fresh;
                tracing::info!(file = %cert.display(), "certificate read");
            }
            Err(error) => {
                tracing::error!("the certificate stays as it was: {error}");
                // So that the same fault is told once.
                self.lock().stamps = stamps;
            }
        }
    }

    fn current(&self) -> Current {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        let current = self.current.lock();
        current.unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(cert: &Path, key: &Path) -> Result<Current, String> {
    // Before the contents: a file that changes in between is read once more.
    let stamps = stamps(cert, key);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|e| unusable(cert, &e))?;
    if chain.is_empty() {
        return Err(unusable(cert, &"it holds no certificate"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, &e))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            let builder = builder.with_no_client_auth();
            builder.with_single_cert(chain, private)
        });
    let mut config = config.map_err(|e| unusable(cert, &e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Current {
        config: Arc::new(config),
        stamps,
    })
}

fn unusable(file: &Path, error: &dyn fmt::Display) -> String {
    format!("{} cannot be used: {error}", file.display())
}

fn stamps(cert: &Path, key: &Path) -> Stamps {
    [cert, key].map(|file| {
        let metadata = fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

/// How often the files are looked at. Programs that renew certificates do it weeks ahead.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// From the accepted connection to the end of its handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::process::Command;
    use std::thread;

    use super::*;

    #[test]
    fn a_pair_that_is_replaced_while_it_is_read_is_read_at_the_next_look() {
        let directory = tempfile::tempdir().unwrap();
        let [cert, key, next] =
            ["cert.pem", "key.pem", "next.pem"].map(|name| directory.path().join(name));
        certify(&cert, &key);
        let files = Files {
            current: Mutex::new(read(&cert, &key).unwrap()),
            cert: cert.clone(),
            key: key.clone(),
        };
        let first = files.current().config;
        certify(&cert, &next);
        // Whoever reads this key waits until there is somebody who writes it.
        fs::remove_file(&key).unwrap();
        let made = Command::new("mkfifo").arg(&key).status().unwrap();
        assert!(made.success());
        thread::scope(|scope| {
            scope.spawn(|| files.look(false));
            let mut half = OpenOptions::new().write(true).open(&key).unwrap();
            fs::rename(&next, &key).unwrap();
            half.write_all(b"half a key").unwrap();
        });
        assert!(Arc::ptr_eq(&first, &files.current().config));
        files.look(false);
        assert!(!Arc::ptr_eq(&first, &files.current().config));
    }

    fn certify(cert: &Path, key: &Path) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(cert, made.cert.pem()).unwrap();
        fs::write(key, made.signing_key.serialize_pem()).unwrap();
    }
}
