//! The application of a path: its first segment, which must exist.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::shared::Shared;
use crate::model::mail::AppName;
use crate::model::settings::AppSettings;

/// An application that exists.
#[derive(Clone, Debug)]
pub struct KnownApp {
    /// Its name.
    pub name: AppName,
    /// Its settings at the time of the request.
    pub settings: Arc<AppSettings>,
}

/// The path names an application that does not exist.
#[derive(Clone, Copy, Debug)]
pub struct UnknownApp;

impl KnownApp {
    /// The application that a path's `{app}` names.
    ///
    /// # Errors
    /// There is none.
    pub fn find(params: &RawPathParams, shared: &Shared) -> Result<Self, UnknownApp> {
        let (_, name) = params
            .iter()
            .find(|(key, _)| *key == "app")
            .ok_or(UnknownApp)?;
        shared
            .read(|directory, _| directory.app(name))
            .map(|(name, settings)| Self { name, settings })
            .ok_or(UnknownApp)
    }
}

impl FromRequestParts<Shared> for KnownApp {
    type Rejection = UnknownApp;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, UnknownApp> {
        // REST's guard has found it already.
        if let Some(app) = parts.extensions.get::<Self>() {
            return Ok(app.clone());
        }
        let params = RawPathParams::from_request_parts(parts, shared)
            .await
            .map_err(|_| UnknownApp)?;
        Self::find(&params, shared)
    }
}

impl IntoResponse for UnknownApp {
    fn into_response(self) -> Response {
        let text = "There is no application of this name on this server. Applications are the \
                    [app.NAME] tables of leafcutter.toml; LiveApp always exists.\n";
        (StatusCode::NOT_FOUND, text).into_response()
    }
}
