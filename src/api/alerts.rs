//! Alerts over HTTP.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    extract::{Asked, At, Caller, Sent},
    problem::Problem,
};
use crate::{
    app::{
        App,
        alerts::{AlertView, NewAlert},
    },
    ids::AlertId,
    model::page::{Items, Page},
};

/// Makes an alert: a message `alert.fired` each time that a figure of the team's money crosses a threshold.
#[utoipa::path(post, path = "/teams/{team}/alerts", operation_id = "createAlert", tag = "messages",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewAlert, responses((status = 201, body = AlertView)))]
pub(super) async fn create_alert(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewAlert>,
) -> Result<(StatusCode, Json<AlertView>), Problem> {
    Ok((StatusCode::CREATED, Json(app.alert_create(&op, &team, body).await?)))
}

/// The team's alerts, the oldest first.
#[utoipa::path(get, path = "/teams/{team}/alerts", operation_id = "listAlerts", tag = "messages",
    params(("team" = String, Path, description = "Id or slug of the team"), Page),
    responses((status = 200, body = Items<AlertView>)))]
pub(super) async fn list_alerts(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Result<Json<Items<AlertView>>, Problem> {
    Ok(Json(app.alerts_page(&op, &team, &page).await?))
}

/// Takes an alert away.
#[utoipa::path(delete, path = "/teams/{team}/alerts/{alert}", operation_id = "deleteAlert", tag = "messages",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("alert" = AlertId, Path, description = "The alert")),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete_alert(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, AlertId)>,
    Caller(op): Caller,
) -> Result<StatusCode, Problem> {
    app.alert_delete(&op, &team, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
