//! The server's router without a socket, for tests and fuzzing: an empty directory, no workers,
//! and a database of its own that goes with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Extension;
use axum::http::{Method, Request, header};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use super::http::{Progress, Remote};
use super::reload::Reload;
use super::routes;
use super::run::Limits;
use super::shared::Shared;
use super::workers::Workers;
use crate::config::Flags;
use crate::control::Directory;
use crate::model::mail::AppName;
use crate::model::settings::AppSettings;
use crate::store::Store;
use crate::worker::clock;

/// A router to ask.
#[derive(Debug)]
pub struct Probe {
    runtime: Runtime,
    router: Router,
    data_dir: PathBuf,
}

impl Probe {
    /// A router of one application, `live`, whose REST is open to everybody.
    ///
    /// # Panics
    /// When the system gives no thread or no folder for temporary files.
    pub fn with(act: impl FnOnce(&Probe)) {
        static PROBES: AtomicU64 = AtomicU64::new(0);
        let number = PROBES.fetch_add(1, Ordering::Relaxed);
        let name = format!("leafcutter-probe-{}-{number}", std::process::id());
        let data_dir = std::env::temp_dir().join(name);
        let store = Store::start(&data_dir, clock::instant).expect("a thread");
        let settings = AppSettings {
            ip_filter_enabled: false,
            ..AppSettings::default()
        };
        let apps = BTreeMap::from([(AppName::from("live"), Arc::new(settings))]);
        let reload = Arc::new(Reload::new(Flags::default(), 1, apps.clone()));
        let directory = Directory::new(apps);
        let workers = Workers::new(Vec::new());
        let shared = Shared::new(
            directory,
            workers,
            store,
            None,
            reload,
            Limits::default(),
            [7; 32],
        );
        let remote = Remote(SocketAddr::from(([127, 0, 0, 1], 4000)));
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(shared.overrides().load(&shared));
        act(&Self {
            runtime,
            router: routes::router(shared, Arc::default())
                .layer(Extension(remote))
                .layer(Extension(Progress::default())),
            data_dir,
        });
    }

    /// Status and, when it says to be JSON, content of the answer to one request: the method is
    /// one of five, `path` is below `/live/rest/v2`, the body says to be JSON. `None` when that is
    /// no request that HTTP could carry.
    ///
    /// # Panics
    /// When the answer has no end within its megabyte.
    pub fn ask(&self, method: u8, path: &[u8], body: &[u8]) -> Option<(u16, Option<Vec<u8>>)> {
        let methods = [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
        ];
        let method = methods.get(usize::from(method) % methods.len())?;
        let request = Request::builder()
            .method(method)
            .uri([b"/live/rest/v2/", path].concat())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_vec()))
            .ok()?;
        let answer = async {
            let response = self.router.clone().oneshot(request).await;
            let response = response.unwrap_or_else(|never| match never {});
            let status = response.status().as_u16();
            let kind = response.headers().get(header::CONTENT_TYPE);
            let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
            let body = to_bytes(response.into_body(), 1 << 20)
                .await
                .expect("an end");
            (status, is_json.then(|| body.to_vec()))
        };
        Some(self.runtime.block_on(answer))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data_dir);
    }
}
