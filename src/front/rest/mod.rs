//! REST v2 below `/{app}/rest/v2`: one file per resource, one table of errors (`error.rs`), one
//! way to read requests (`input.rs`), one guard before all (`guard.rs`), and the OpenAPI document
//! that is generated from the handlers (`document.rs`).

mod broadcasts;
mod document;
mod error;
mod guard;
mod input;
mod live;
mod peers;
mod server;
mod settings;
mod statistics;
mod subscribers;
mod subtracks;
mod tokens;
mod version;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension};
use axum::middleware::from_fn_with_state;
use axum::routing::{any, delete};
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::shared::Shared;
use crate::base::limits::{MAX_REST_BODY_LEN, MAX_REST_UNDER_WAY};
use document::Document;
use error::RestError;
pub use guard::allows_ip;

/// Every path below `/{app}/rest/v2`. `host_names` are those by which this server is asked.
pub fn router(shared: Shared, host_names: Arc<[String]>) -> Router<Shared> {
    let (router, api) = operations().split_for_parts();
    let places = Arc::new(Semaphore::new(MAX_REST_UNDER_WAY));
    router
        // INTEROP(antmedia) its own documents write the bulk deletion with a slash.
        .route("/broadcasts/", delete(broadcasts::remove_many))
        .route("/{*rest}", any(async || RestError::UnknownPath))
        .method_not_allowed_fallback(async || RestError::UnknownMethod)
        .layer(DefaultBodyLimit::max(MAX_REST_BODY_LEN))
        .layer(Extension(Document::of(&api)))
        .layer(from_fn_with_state(
            (shared, host_names, places),
            guard::guard,
        ))
}

/// Every operation with its documentation.
fn operations() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(document::frame())
        .routes(routes!(version::show))
        .routes(routes!(document::show))
        .merge(server::router())
        .merge(peers::router())
        .merge(settings::router())
        .merge(broadcasts::router())
        .merge(live::router())
        .merge(statistics::router())
        .merge(subtracks::router())
        .merge(tokens::router())
        .merge(subscribers::router())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tokio::task::yield_now;
    use tower::ServiceExt;

    use super::*;
    use crate::front::http::Remote;
    use crate::front::routes;
    use crate::model::mail::AppName;
    use crate::model::settings::AppSettings;

    #[tokio::test]
    async fn only_so_many_requests_wait_for_the_store() {
        let settings = AppSettings {
            ip_filter_enabled: false,
            ..AppSettings::default()
        };
        let apps = BTreeMap::from([(AppName::from("live"), Arc::new(settings))]);
        let remote = Remote(SocketAddr::from(([127, 0, 0, 1], 4000)));
        let router = routes::router(Shared::alone(apps), Arc::default()).layer(Extension(remote));
        let ask = |path: &str| {
            let request = Request::builder().uri(format!("/live/rest/v2/{path}"));
            let asked = router.clone().oneshot(request.body(Body::empty()).unwrap());
            async { asked.await.unwrap().status() }
        };
        assert_eq!(ask("version").await, StatusCode::OK);
        let waiting: Vec<_> = (0..MAX_REST_UNDER_WAY)
            .map(|_| tokio::spawn(ask("broadcasts/s")))
            .collect();
        while ask("version").await != StatusCode::SERVICE_UNAVAILABLE {
            yield_now().await;
        }
        assert!(waiting.iter().all(|asked| !asked.is_finished()));
        for asked in waiting {
            asked.abort();
            assert!(asked.await.unwrap_err().is_cancelled());
            assert_eq!(ask("version").await, StatusCode::OK);
        }
    }
}
