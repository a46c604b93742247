//! Certificates from an authority that speaks ACME (RFC 8555): ordered when there is none, renewed
//! before the one there is ends, kept on disk.
//!
//! Domains are proven on the TLS listener itself (`shown.rs`, RFC 8737), so that no other port has
//! to be reachable. `order.rs` talks to the authority, `cache.rs` keeps what it gave. Everything
//! runs on the control plane's runtime; open connections keep the certificate they began with.
//! Called by `tls.rs`.

mod cache;
mod client;
mod order;
mod shown;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::certificate::About;
use crate::config::Acme as Settings;
use crate::worker::clock;
use cache::{Cache, Issued};
use client::Web;
use order::Failure;
use shown::Shown;

/// A certificate that is ordered and renewed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acme(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    cache: Cache,
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
    /// Seconds since 1970 at which the certificate is renewed; 0: there is none.
    renew_at: Mutex<u64>,
    hurry: Notify,
}

impl Acme {
    /// Takes the certificate that is kept, if it is for these domains. Blocks on the disk.
    ///
    /// # Errors
    /// A sentence that names the file or directory that cannot be used.
    pub fn load(settings: Settings) -> Result<Self, String> {
        Web::new(settings.directory_ca.as_deref())?;
        let cache = Cache::open(&settings.cache_dir).map_err(|error| {
            let directory = settings.cache_dir.display();
            format!("{directory} cannot be used: {error}")
        })?;
        let shown = Arc::new(Shown::default());
        let config = shown::config(shown.clone()).map_err(|e| format!("no TLS: {e}"))?;
        let acme = Self(Arc::new(Inner {
            cache,
            shown,
            config: Arc::new(config),
            renew_at: Mutex::new(0),
            hurry: Notify::new(),
            settings,
        }));
        if let Some(issued) = acme.0.cache.certificate(&acme.0.settings)
            && let Err(error) = acme.show(&issued)
        {
            tracing::warn!("the certificate that was kept is not used: {error}");
        }
        Ok(acme)
    }

    /// What is kept for these settings; `None` while nothing is. Blocks on the disk, changes
    /// nothing.
    ///
    /// # Errors
    /// A sentence that names the file that cannot be used.
    pub fn kept(settings: &Settings) -> Result<Option<About>, String> {
        Web::new(settings.directory_ca.as_deref())?;
        let kept = Cache::at(&settings.cache_dir).certificate(settings);
        Ok(kept.and_then(|issued| About::read_pem(issued.chain.as_bytes())))
    }

    /// What connections begin with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.0.config.clone()
    }

    /// Orders at once what is due, whatever was to be waited for.
    pub(super) fn hurry(&self) {
        self.0.hurry.notify_one();
    }

    /// Orders and renews until it is aborted.
    pub(super) async fn run(self) {
        let mut schedule = Schedule::default();
        loop {
            let wait = schedule.wait(self.until_due(), clock::instant());
            if !wait.is_zero() {
                tokio::select! {
                    () = sleep(wait) => {}
                    () = self.0.hurry.notified() => schedule.hurry(),
                }
                continue;
            }
            let ordered = timeout(ORDER_TIME, self.order()).await;
            match ordered.unwrap_or(Err(Failure::TooSlow)) {
                Ok(()) => schedule.succeeded(clock::instant()),
                Err(error) => {
                    let pause = schedule.failed(clock::instant());
                    self.complain(&error, pause);
                }
            }
        }
    }

    async fn order(&self) -> Result<(), Failure> {
        let Inner {
            settings,
            cache,
            shown,
            ..
        } = &*self.0;
        let issued = Arc::new(order::order(settings, cache, shown).await?);
        // Kept before it is shown: who has seen it sees the same after a restart.
        let (cache, keep) = (cache.clone(), issued.clone());
        let kept = tokio::task::spawn_blocking(move || cache.keep(&keep)).await;
        if !matches!(kept, Ok(Ok(()))) {
            tracing::error!(?kept, "the certificate is used but cannot be kept");
        }
        self.show(&issued)?;
        tracing::info!(domains = settings.domains.join(", "), "certificate issued");
        Ok(())
    }

    fn show(&self, issued: &Issued) -> Result<(), Failure> {
        let (certificate, renew_at) = shown::certified(issued)?;
        self.0.shown.set(certificate);
        *self.renew_at() = renew_at;
        Ok(())
    }

    /// Zero when a certificate is to be ordered.
    fn until_due(&self) -> Duration {
        let now_s = clock::Clock::start().now().unix_us / 1_000_000;
        Duration::from_secs(self.renew_at().saturating_sub(now_s))
    }

    fn complain(&self, error: &Failure, pause: Duration) {
        let domains = self.0.settings.domains.join(", ");
        let again_s = pause.as_secs();
        match *self.renew_at() {
            0 => tracing::error!(domains, again_s, "there is no certificate: {error}"),
            _ => tracing::error!(domains, again_s, "the certificate is not renewed: {error}"),
        }
    }

    fn renew_at(&self) -> std::sync::MutexGuard<'_, u64> {
        let renew_at = self.0.renew_at.lock();
        renew_at.unwrap_or_else(PoisonError::into_inner)
    }
}

/// When something is ordered.
#[derive(Debug, Default)]
struct Schedule {
    /// In a row.
    failures: u32,
    /// Nothing is ordered before that.
    not_before: Option<Instant>,
}

impl Schedule {
    /// How long to wait at `now` for what is due in `due`; zero: order. At most [`LOOK_EVERY`],
    /// after which it is asked again.
    fn wait(&self, due: Duration, now: Instant) -> Duration {
        let pause = self.not_before.map(|at| at.saturating_duration_since(now));
        due.max(pause.unwrap_or_default()).min(LOOK_EVERY)
    }

    /// Nothing but what is due is waited for.
    fn hurry(&mut self) {
        self.not_before = None;
    }

    fn succeeded(&mut self, now: Instant) {
        self.failures = 0;
        // Should the authority give what is due at once, it is not asked again and again.
        self.not_before = Some(now + LOOK_EVERY);
    }

    /// How long the pause is.
    fn failed(&mut self, now: Instant) -> Duration {
        let pause = pause_after(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + pause);
        pause
    }
}

/// Four times as long after each failure. Public authorities allow five failures an hour.
fn pause_after(failures: u32) -> Duration {
    let factor = 4u32.saturating_pow(failures);
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

const FIRST_PAUSE: Duration = Duration::from_secs(60);

const LONGEST_PAUSE: Duration = Duration::from_secs(12 * 3600);

/// How long an order may take: authorities look at each domain from several places.
const ORDER_TIME: Duration = Duration::from_secs(300);

/// How often it is looked whether a certificate is due: the wall clock may be set.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_day() {
        let pauses = [0, 1, 2, 3, 4, 5, 40].map(|failures| pause_after(failures).as_secs());
        assert_eq!(pauses, [60, 240, 960, 3840, 15_360, 43_200, 43_200]);
    }

    #[test]
    fn nothing_is_ordered_before_the_pause_is_over() {
        let mut schedule = Schedule::default();
        let mut now = clock::instant();
        let begin = now;
        let mut orders = Vec::new();
        while orders.len() < 7 {
            let wait = schedule.wait(Duration::ZERO, now);
            assert!(wait <= LOOK_EVERY, "{wait:?}");
            if wait.is_zero() {
                orders.push((now - begin).as_secs());
                schedule.failed(now);
            }
            now += wait;
        }
        let pauses: Vec<u64> = orders.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!(pauses, [60, 240, 960, 3840, 15_360, 43_200]);

        schedule.hurry();
        assert_eq!(schedule.wait(Duration::ZERO, now), Duration::ZERO);
        schedule.succeeded(now);
        assert_eq!(schedule.wait(Duration::ZERO, now), LOOK_EVERY);
        schedule.failed(now);
        let minute = Duration::from_secs(60);
        assert_eq!(schedule.wait(Duration::ZERO, now), minute, "from the first");
        let later = now + minute;
        assert_eq!(schedule.wait(minute, later), minute, "it is not due");
    }
}
