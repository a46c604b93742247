//! One-time tokens and stream JWTs of a broadcast.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Outcome, Refusals, RestError, StoreDown, TooLong};
use super::input::{Id, InPath, InQuery, JsonBody, OfBroadcast, PageOfBroadcast};
use crate::auth::jwt;
use crate::auth::token::{self, Wish};
use crate::front::app::KnownApp;
use crate::front::shared::Shared;
use crate::model::access::{AccessKind, Token};

/// Every operation on tokens.
pub fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(create_jwt))
        .routes(routes!(validate))
        .routes(routes!(remove))
        .routes(routes!(list))
}

/// What a token is to allow.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    /// When it ends, seconds since 1970.
    expire_date: i64,
    /// Publishing or playing.
    #[serde(rename = "type")]
    #[param(inline)]
    kind: AccessKind,
    /// A room, all of whose broadcasts it is for.
    #[param(value_type = Option<String>)]
    room_id: Option<Id>,
}

/// Makes a one-time token and stores its hash: the text is shown here and never again.
#[utoipa::path(
    get,
    path = "/broadcasts/{id}/token",
    operation_id = "createToken",
    tag = "tokens",
    params(OfBroadcast, Wanted),
    responses((status = 200, description = "As asked", body = Token), Refusals, StoreDown)
)]
async fn create(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
    InQuery(wanted): InQuery<Wanted>,
) -> Result<Json<Token>, RestError> {
    let now_s = shared.unix_s();
    let token = Token {
        // Twice the length of an id: as many bits as its hash has.
        token_id: shared.random_id() + &shared.random_id(),
        stream_id: id.0,
        expire_date: in_future(wanted.expire_date, now_s)?,
        kind: wanted.kind,
        room_id: wanted.room_id.map(|id| id.0),
    };
    shared
        .store()
        .create_token(&app.name, token.clone(), now_s)
        .await?;
    Ok(Json(token))
}

/// Makes a JWT with the application's `jwtStreamSecretKey`, which is not stored.
#[utoipa::path(
    get,
    path = "/broadcasts/{id}/jwt-token",
    operation_id = "createJwtToken",
    tag = "tokens",
    params(OfBroadcast, Wanted),
    responses((status = 200, description = "As asked", body = Token), Refusals)
)]
async fn create_jwt(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
    InQuery(wanted): InQuery<Wanted>,
) -> Result<Json<Token>, RestError> {
    let expire_date = in_future(wanted.expire_date, shared.unix_s())?;
    let secret = &app.settings.jwt_stream_secret_key;
    let jwt = jwt::make(&id.0, wanted.kind, expire_date, secret)
        .ok_or(RestError::Refused(NO_JWT_SECRET.into()))?;
    Ok(Json(Token {
        token_id: jwt,
        stream_id: id.0,
        expire_date,
        kind: wanted.kind,
        room_id: wanted.room_id.map(|id| id.0),
    }))
}

/// Whether a one-time token allows what the body says; if so it is used up, unless it is for a
/// whole room.
#[utoipa::path(
    post,
    path = "/broadcasts/validate-token",
    operation_id = "validateToken",
    tag = "tokens",
    request_body = Token,
    responses(
        (status = 200, description = "As asked", body = Outcome),
        Refusals, TooLong, StoreDown
    )
)]
async fn validate(
    State(shared): State<Shared>,
    app: KnownApp,
    JsonBody(asked): JsonBody<Token>,
) -> Result<Json<Outcome>, RestError> {
    let store = shared.store();
    let grant = store.token(&app.name, &asked.token_id).await?;
    let wish = Wish {
        kind: asked.kind,
        stream: &asked.stream_id,
        main_track: asked.room_id.as_deref(),
    };
    let now_s = shared.unix_s();
    let allowing = grant.filter(|grant| now_s < grant.expire_date && token::allows(grant, wish));
    let is_valid = match allowing {
        // Of two at once, one is told that it was used up.
        Some(grant) if token::is_used_up(&grant) => {
            store.consume_token(&app.name, &asked.token_id).await?
        }
        Some(_) => true,
        None => false,
    };
    Ok(Json(if is_valid {
        Outcome::done()
    } else {
        Outcome::failed("The token is not valid")
    }))
}

/// Forgets every one-time token of a broadcast.
#[utoipa::path(
    delete,
    path = "/broadcasts/{id}/tokens",
    operation_id = "deleteTokens",
    tag = "tokens",
    params(OfBroadcast),
    responses((status = 200, description = "As asked", body = Outcome), Refusals, StoreDown)
)]
async fn remove(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
) -> Result<Json<Outcome>, RestError> {
    let gone = shared.store().delete_tokens(&app.name, &id.0).await?;
    Ok(Json(if gone > 0 {
        Outcome::done()
    } else {
        Outcome::failed("There are no tokens of this broadcast")
    }))
}

/// One page of the one-time tokens of a broadcast. `tokenId` is the hash that is stored.
#[utoipa::path(
    get,
    path = "/broadcasts/{id}/tokens/list/{offset}/{size}",
    operation_id = "listTokens",
    tag = "tokens",
    params(PageOfBroadcast),
    responses((status = 200, description = "As asked", body = Vec<Token>), Refusals, StoreDown)
)]
async fn list(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(page): InPath<PageOfBroadcast>,
) -> Result<Json<Vec<Token>>, RestError> {
    let (offset, size) = page.bounds();
    let store = shared.store();
    let tokens = store
        .list_tokens(&app.name, &page.id.0, offset, size)
        .await?;
    Ok(Json(tokens))
}

fn in_future(expire_s: i64, now_s: i64) -> Result<i64, RestError> {
    if expire_s > now_s {
        Ok(expire_s)
    } else {
        let message = "expireDate must be in the future, in seconds since 1970";
        Err(RestError::Refused(message.into()))
    }
}

const NO_JWT_SECRET: &str = "jwtStreamSecretKey must have at least 32 bytes";
