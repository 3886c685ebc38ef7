//! Moves of credits over HTTP.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    extract::{At, Sent},
    problem::Problem,
};
use crate::app::{
    App,
    credits::{CreditsMoved, NewGoodwill, NewGrant, NewTransfer, NewWriteOff},
};

type Created<T> = Result<(StatusCode, Json<T>), Problem>;

/// Moves credits from the team's pool to a member's wallet.
#[utoipa::path(post, path = "/teams/{team}/credits/assign", operation_id = "assignCredits", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewTransfer, responses((status = 201, body = CreditsMoved)))]
pub(super) async fn assign_credits(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewTransfer>,
) -> Created<CreditsMoved> {
    Ok((StatusCode::CREATED, Json(app.credits_assign(&op, &team, body).await?)))
}

/// Takes credits back from a member's wallet into the pool; what is held for instances stays.
#[utoipa::path(post, path = "/teams/{team}/credits/reclaim", operation_id = "reclaimCredits", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewTransfer, responses((status = 201, body = CreditsMoved)))]
pub(super) async fn reclaim_credits(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewTransfer>,
) -> Created<CreditsMoved> {
    Ok((StatusCode::CREATED, Json(app.credits_reclaim(&op, &team, body).await?)))
}

/// Gives credits of the operator to a team's pool.
#[utoipa::path(post, path = "/teams/{team}/credits/grant", operation_id = "grantCredits", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewGrant, responses((status = 201, body = CreditsMoved)))]
pub(super) async fn grant_credits(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewGrant>,
) -> Created<CreditsMoved> {
    Ok((StatusCode::CREATED, Json(app.credits_grant(&op, &team, body).await?)))
}

/// Gives credits of the operator as an apology, to a team's pool or to a member's wallet.
#[utoipa::path(post, path = "/teams/{team}/credits/goodwill", operation_id = "giveGoodwill", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewGoodwill, responses((status = 201, body = CreditsMoved)))]
pub(super) async fn give_goodwill(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewGoodwill>,
) -> Created<CreditsMoved> {
    Ok((StatusCode::CREATED, Json(app.credits_goodwill(&op, &team, body).await?)))
}

/// Gives up what a team owes, or a part of it.
#[utoipa::path(post, path = "/teams/{team}/credits/write-off", operation_id = "writeOffDebt", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewWriteOff, responses((status = 201, body = CreditsMoved)))]
pub(super) async fn write_off_debt(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewWriteOff>,
) -> Created<CreditsMoved> {
    Ok((StatusCode::CREATED, Json(app.credits_write_off(&op, &team, body).await?)))
}
