//! Candidates beside a team's policies over HTTP.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    extract::{At, Caller, Sent},
    problem::Problem,
};
use crate::app::{
    App,
    shadows::{NewShadow, ShadowView},
};

/// Asks a candidate beside the live policies for a while, about every decision of the team. It decides nothing; where
/// it answers otherwise is counted.
#[utoipa::path(post, path = "/teams/{team}/policies:shadow", operation_id = "startPolicyShadow", tag = "policies",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewShadow, responses((status = 201, body = ShadowView)))]
pub(super) async fn start_policy_shadow(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewShadow>,
) -> Result<(StatusCode, Json<ShadowView>), Problem> {
    Ok((StatusCode::CREATED, Json(app.shadow_start(&op, &team, body).await?)))
}

/// The candidate that runs, or the last one that did, and where it differs from the live policies.
#[utoipa::path(get, path = "/teams/{team}/policies:shadow", operation_id = "getPolicyShadow", tag = "policies",
    params(("team" = String, Path, description = "Id or slug of the team")),
    responses((status = 200, body = ShadowView)))]
pub(super) async fn get_policy_shadow(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Caller(op): Caller,
) -> Result<Json<ShadowView>, Problem> {
    Ok(Json(app.shadow_fetch(&op, &team).await?))
}

/// Ends the candidate that runs. What came of it can still be read.
#[utoipa::path(delete, path = "/teams/{team}/policies:shadow", operation_id = "stopPolicyShadow", tag = "policies",
    params(("team" = String, Path, description = "Id or slug of the team")),
    responses((status = 200, body = ShadowView)))]
pub(super) async fn stop_policy_shadow(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Caller(op): Caller,
) -> Result<Json<ShadowView>, Problem> {
    Ok(Json(app.shadow_stop(&op, &team).await?))
}
