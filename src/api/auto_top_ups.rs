//! Automatic top-ups over HTTP.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::HeaderName},
};

use super::{
    extract::{At, Caller, Expected, Sent, etag},
    problem::Problem,
};
use crate::app::{
    App,
    auto_top_ups::{AutoTopUpSetting, AutoTopUpView},
};

type Tagged<T> = Result<([(HeaderName, String); 1], Json<T>), Problem>;

/// When and how the team's pool is filled up by itself.
#[utoipa::path(get, path = "/teams/{team}/auto-top-up", operation_id = "getAutoTopUp", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team")),
    responses((status = 200, body = AutoTopUpView)))]
pub(super) async fn get_auto_top_up(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Caller(op): Caller,
) -> Tagged<AutoTopUpView> {
    let view = app.auto_top_up_fetch(&op, &team).await?;
    Ok((etag(view.version), Json(view)))
}

/// Sets when and how the team's pool is filled up by itself.
#[utoipa::path(put, path = "/teams/{team}/auto-top-up", operation_id = "putAutoTopUp", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("If-Match" = String, Header, description = "The version as it was read; \"v0\" where there is none")),
    request_body = AutoTopUpSetting, responses((status = 200, body = AutoTopUpView)))]
pub(super) async fn put_auto_top_up(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Expected(version): Expected,
    Sent { op, body }: Sent<AutoTopUpSetting>,
) -> Tagged<AutoTopUpView> {
    let view = app.auto_top_up_put(&op, &team, version, body).await?;
    Ok((etag(view.version), Json(view)))
}

/// Fills the team's pool up by itself no more; a top-up in flight stays.
#[utoipa::path(delete, path = "/teams/{team}/auto-top-up", operation_id = "removeAutoTopUp", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("If-Match" = String, Header, description = "The version as it was read, such as \"v1\"")),
    responses((status = 204)))]
pub(super) async fn remove_auto_top_up(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Expected(version): Expected,
    Caller(op): Caller,
) -> Result<StatusCode, Problem> {
    app.auto_top_up_remove(&op, &team, version).await?;
    Ok(StatusCode::NO_CONTENT)
}
