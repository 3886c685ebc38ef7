//! Top-ups over HTTP.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    extract::{Asked, At, Caller, Sent},
    problem::Problem,
};
use crate::{
    app::{
        App,
        top_ups::{NewTopUp, TopUpDecision, TopUpRefund, TopUpView},
    },
    ids::TopUpId,
    model::page::{Items, Page},
};

type Answer<T> = Result<Json<T>, Problem>;

/// Asks for paid credits in the team's pool.
#[utoipa::path(post, path = "/teams/{team}/top-ups", operation_id = "createTopUp", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewTopUp, responses((status = 201, body = TopUpView)))]
pub(super) async fn create_top_up(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewTopUp>,
) -> Result<(StatusCode, Json<TopUpView>), Problem> {
    Ok((StatusCode::CREATED, Json(app.top_up_create(&op, &team, body).await?)))
}

/// The team's top-ups, the newest first.
#[utoipa::path(get, path = "/teams/{team}/top-ups", operation_id = "listTopUps", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"), Page),
    responses((status = 200, body = Items<TopUpView>)))]
pub(super) async fn list_top_ups(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Answer<Items<TopUpView>> {
    Ok(Json(app.top_ups_page(&op, &team, &page).await?))
}

/// Says that a payment by hand has arrived: the pool is credited, or the first of two confirmations is noted.
#[utoipa::path(post, path = "/teams/{team}/top-ups/{top_up}/confirm", operation_id = "confirmTopUp", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("top_up" = TopUpId, Path, description = "The top-up"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = TopUpDecision, responses((status = 200, body = TopUpView)))]
pub(super) async fn confirm_top_up(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, TopUpId)>,
    Sent { op, body }: Sent<TopUpDecision>,
) -> Answer<TopUpView> {
    Ok(Json(app.top_up_confirm(&op, &team, id, body).await?))
}

/// Says that a payment will not arrive: nothing is credited.
#[utoipa::path(post, path = "/teams/{team}/top-ups/{top_up}/refuse", operation_id = "refuseTopUp", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("top_up" = TopUpId, Path, description = "The top-up"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = TopUpDecision, responses((status = 200, body = TopUpView)))]
pub(super) async fn refuse_top_up(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, TopUpId)>,
    Sent { op, body }: Sent<TopUpDecision>,
) -> Answer<TopUpView> {
    Ok(Json(app.top_up_refuse(&op, &team, id, body).await?))
}

/// Gives unused credits of a payment back to whoever paid.
#[utoipa::path(post, path = "/teams/{team}/top-ups/{top_up}/refund", operation_id = "refundTopUp", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("top_up" = TopUpId, Path, description = "The top-up"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = TopUpRefund, responses((status = 200, body = TopUpView)))]
pub(super) async fn refund_top_up(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, TopUpId)>,
    Sent { op, body }: Sent<TopUpRefund>,
) -> Answer<TopUpView> {
    Ok(Json(app.top_up_refund(&op, &team, id, body).await?))
}

/// Says that whoever paid took the money back: what is unused leaves the pool, what was used is owed.
#[utoipa::path(post, path = "/teams/{team}/top-ups/{top_up}/dispute", operation_id = "disputeTopUp", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("top_up" = TopUpId, Path, description = "The top-up"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = TopUpDecision, responses((status = 200, body = TopUpView)))]
pub(super) async fn dispute_top_up(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, TopUpId)>,
    Sent { op, body }: Sent<TopUpDecision>,
) -> Answer<TopUpView> {
    Ok(Json(app.top_up_dispute(&op, &team, id, body).await?))
}
