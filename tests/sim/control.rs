//! The control plane of the simulation: the product's own directory in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use leafcutter::base::clock::Now;
use leafcutter::base::ids::WorkerId;
use leafcutter::control::Directory;
use leafcutter::model::mail::{AppName, ControlMail, WorkerMail};
use leafcutter::model::settings::AppSettings;

/// The one application of the simulation.
pub const APP: &str = "live";

/// Decides about publish and play, and remembers what it was told.
#[derive(Debug)]
pub struct Control {
    directory: Directory,
    app: AppName,
    settings: Arc<AppSettings>,
    /// `PublishMeasured` mails received.
    pub measured: u64,
    /// The store takes its time: nothing is looked up while this holds.
    pub is_slow: bool,
}

impl Default for Control {
    fn default() -> Self {
        Self::new(AppSettings::default())
    }
}

impl Control {
    /// Of one application with these settings.
    pub fn new(settings: AppSettings) -> Self {
        let app = AppName::from(APP);
        let settings = Arc::new(settings);
        let apps = BTreeMap::from([(app.clone(), settings.clone())]);
        Self {
            directory: Directory::new(apps),
            app,
            settings,
            measured: 0,
            is_slow: false,
        }
    }

    /// The application of every WebSocket.
    pub fn app(&self) -> AppName {
        self.app.clone()
    }

    /// Its settings.
    pub fn settings(&self) -> Arc<AppSettings> {
        self.settings.clone()
    }

    /// The product's directory.
    pub fn directory(&mut self) -> &mut Directory {
        &mut self.directory
    }

    /// Broadcasts that exist.
    pub fn broadcasts(&self) -> usize {
        self.directory.broadcasts(APP).count()
    }

    /// An engine's mail.
    pub fn handle_mail(&mut self, now: Now, mail: ControlMail) {
        if matches!(mail, ControlMail::PublishMeasured { .. }) {
            self.measured += 1;
        }
        self.directory.handle_mail(now, mail);
        if self.is_slow {
            return;
        }
        while let Some((id, step)) = self.directory.poll_step() {
            let result = step.in_an_empty_world();
            self.directory.handle_step(now, id, result);
        }
    }

    /// Ends what was lost for too long.
    pub fn handle_timeout(&mut self, now: Now) {
        self.directory.handle_timeout(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.directory.poll_timeout()
    }

    /// The next mail for an engine.
    pub fn poll_mail(&mut self) -> Option<(WorkerId, WorkerMail)> {
        self.directory.poll_mail()
    }
}
