//! What an authority gave, on disk: the account and the certificate, each with its private key.
//!
//! The directory and its files are the server's user's alone. A file is replaced as a whole.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::Acme as Settings;

/// The directory.
#[derive(Clone, Debug)]
pub struct Cache(PathBuf);

/// A certificate and what it was ordered for.
#[derive(Clone, Serialize, Deserialize)]
pub struct Issued {
    /// The authority's directory.
    pub directory_url: String,
    /// The domains, as they were written in the settings.
    pub domains: Vec<String>,
    /// PEM: the certificate first, then those that lead to its root.
    pub chain: String,
    /// PEM of the private key.
    pub key: String,
}

/// An account and where it is.
#[derive(Serialize, Deserialize)]
struct Account {
    directory_url: String,
    credentials: AccountCredentials,
}

impl Cache {
    /// Makes the directory if there is none.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory)?;
        Ok(Self::at(directory))
    }

    /// To be read only; the directory need not be there.
    pub fn at(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// The certificate, if there is one for these settings.
    pub fn certificate(&self, settings: &Settings) -> Option<Issued> {
        let issued: Issued = self.read(CERTIFICATE)?;
        let is_for =
            |s: &Settings| issued.domains == s.domains && issued.directory_url == s.directory_url;
        is_for(settings).then_some(issued)
    }

    /// Keeps a certificate.
    ///
    /// # Errors
    /// The operating system's.
    pub fn keep(&self, issued: &Issued) -> io::Result<()> {
        self.write(CERTIFICATE, issued)
    }

    /// The account at this authority, if there is one.
    pub fn account(&self, directory_url: &str) -> Option<AccountCredentials> {
        let account: Account = self.read(ACCOUNT)?;
        (account.directory_url == directory_url).then_some(account.credentials)
    }

    /// Keeps an account.
    ///
    /// # Errors
    /// The operating system's.
    pub fn keep_account(&self, url: &str, credentials: AccountCredentials) -> io::Result<()> {
        let directory_url = url.to_owned();
        let account = Account {
            directory_url,
            credentials,
        };
        self.write(ACCOUNT, &account)
    }

    /// Forgets the account, which the authority does not know.
    ///
    /// # Errors
    /// The operating system's.
    pub fn forget_account(&self) -> io::Result<()> {
        fs::remove_file(self.0.join(ACCOUNT))
    }

    /// `None` when there is no such file; one that cannot be used is told.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.0.join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "not read");
                return None;
            }
        };
        let read = serde_json::from_str(&text);
        read.inspect_err(|_| tracing::warn!(file = %path.display(), "is damaged and not used"))
            .ok()
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let text = serde_json::to_vec(value)?;
        let fresh = self.0.join(format!("{name}.new"));
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(fresh, self.0.join(name))
    }
}

const CERTIFICATE: &str = "certificate.json";
const ACCOUNT: &str = "account.json";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_certificate_is_private_and_for_its_own_settings_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acme");
        let cache = Cache::open(&path).unwrap();
        let mut settings = Settings {
            domains: vec!["a.example".to_owned()],
            contact: None,
            directory_url: "https://ca.example/".to_owned(),
            directory_ca: None,
            cache_dir: path.clone(),
        };
        assert!(cache.certificate(&settings).is_none());
        let issued = Issued {
            directory_url: settings.directory_url.clone(),
            domains: settings.domains.clone(),
            chain: "chain".to_owned(),
            key: "key".to_owned(),
        };
        cache.keep(&issued).unwrap();
        assert_eq!(cache.certificate(&settings).unwrap().key, "key");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(CERTIFICATE)), 0o600);
        settings.domains.push("b.example".to_owned());
        assert!(cache.certificate(&settings).is_none(), "another domain");
        fs::write(path.join(CERTIFICATE), "{").unwrap();
        settings.domains.pop();
        assert!(cache.certificate(&settings).is_none(), "damaged");
    }
}
