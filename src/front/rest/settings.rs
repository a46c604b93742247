//! `/settings`: the application's settings, read and changed while the server runs.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Outcome, Refusals, RestError, StoreDown, TooLong};
use super::input::ObjectBody;
use crate::front::app::KnownApp;
use crate::front::overrides::NotChanged;
use crate::front::shared::Shared;
use crate::model::settings::{AppSettings, BadSetting, SettingsChange};

/// Both operations.
pub fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(show, change))
}

/// The settings in use. Secrets that are set are masked.
#[utoipa::path(
    get,
    path = "/settings",
    operation_id = "getSettings",
    tag = "settings",
    responses((status = 200, description = "As asked", body = AppSettings), Refusals)
)]
async fn show(app: KnownApp) -> Json<Map<String, Value>> {
    Json(app.settings.shown())
}

/// Changes the settings that the body names, for the next decisions and for every open socket, and
/// keeps them over a restart. Null and the mask of a secret leave a setting as it is. What has no
/// meaning here is ignored and named in the answer's message.
#[utoipa::path(
    put,
    path = "/settings",
    operation_id = "putSettings",
    tag = "settings",
    request_body = AppSettings,
    responses(
        (status = 200, description = "As asked", body = Outcome),
        Refusals, TooLong, StoreDown
    )
)]
async fn change(
    State(shared): State<Shared>,
    app: KnownApp,
    ObjectBody(object): ObjectBody,
) -> Result<Json<Outcome>, RestError> {
    let change = SettingsChange::take(object).map_err(RestError::BadBody)?;
    let ignored = change.ignored.clone();
    match shared.overrides().change(&shared, &app.name, change).await {
        Ok(()) => {}
        Err(NotChanged::Bad(BadSetting { name, message })) => {
            return Err(RestError::Refused(format!("{name} {message}").into()));
        }
        Err(NotChanged::Store(error)) => return Err(error.into()),
    }
    Ok(Json(match ignored.as_slice() {
        [] => Outcome::done(),
        ignored => Outcome {
            message: Some(format!(
                "ignored, without a meaning here: {}",
                ignored.join(", ")
            )),
            ..Outcome::done()
        },
    }))
}
