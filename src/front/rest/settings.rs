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
/// keeps them over a restart. Null and the mask of a secret leave a setting as it is. The answer's
/// message names what has no meaning here and is ignored, and what those who are connected get only
/// when they come again.
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
    let message = message(&change);
    match shared.overrides().change(&shared, &app.name, change).await {
        Ok(()) => {}
        Err(NotChanged::Bad(BadSetting { name, message })) => {
            return Err(RestError::Refused(format!("{name} {message}").into()));
        }
        Err(NotChanged::Store(error)) => return Err(error.into()),
    }
    Ok(Json(Outcome {
        message,
        ..Outcome::done()
    }))
}

/// What does not change at once; `None` when everything does.
fn message(change: &SettingsChange) -> Option<String> {
    let said = [
        ("ignored, without a meaning here", change.ignored.join(", ")),
        (
            "for who connects from now on",
            change.for_newcomers().join(", "),
        ),
    ];
    let said: Vec<String> = said
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}: {names}"))
        .collect();
    (!said.is_empty()).then(|| said.join("; "))
}
