//! API keys over HTTP.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;

use super::{
    extract::{Asked, At, Caller, Sent},
    problem::Problem,
};
use crate::{
    app::{
        App,
        api_keys::{ApiKeyView, IssuedApiKey, NewApiKey},
    },
    ids::ApiKeyId,
    model::page::{Items, Page, View},
};

/// Which keys to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listing {
    /// `self` for the caller's own, `admin` for everybody's.
    #[serde(default)]
    view: View,
    /// Rows of a page, 1 to 200; 50 unless told.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Makes a key that acts in the caller's name; its secret is shown once.
#[utoipa::path(post, path = "/teams/{team}/api-keys", operation_id = "createApiKey", tag = "api-keys",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewApiKey, responses((status = 201, body = IssuedApiKey)))]
pub(super) async fn create_api_key(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewApiKey>,
) -> Result<(StatusCode, Json<IssuedApiKey>), Problem> {
    Ok((StatusCode::CREATED, Json(app.api_key_create(&op, &team, body).await?)))
}

/// Keys of the caller, or of the whole team; ended ones too.
#[utoipa::path(get, path = "/teams/{team}/api-keys", operation_id = "listApiKeys", tag = "api-keys",
    params(("team" = String, Path, description = "Id or slug of the team"), Listing),
    responses((status = 200, body = Items<ApiKeyView>)))]
pub(super) async fn list_api_keys(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(Listing { view, limit, cursor }): Asked<Listing>,
    Caller(op): Caller,
) -> Result<Json<Items<ApiKeyView>>, Problem> {
    Ok(Json(app.api_keys_page(&op, &team, view, &Page { limit, cursor }).await?))
}

/// Ends a key at once.
#[utoipa::path(delete, path = "/teams/{team}/api-keys/{key}", operation_id = "revokeApiKey",
    tag = "api-keys",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("key" = ApiKeyId, Path, description = "The key")),
    responses((status = 204, description = "The key has ended")))]
pub(super) async fn revoke_api_key(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, ApiKeyId)>,
    Caller(op): Caller,
) -> Result<StatusCode, Problem> {
    app.api_key_revoke(&op, &team, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
