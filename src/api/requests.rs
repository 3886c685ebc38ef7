//! Requests over HTTP: what members ask for, and what is decided.

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
        deciding::{Approval, RequestRefusal},
        requests::{NewRequest, NewTeamRequest, RequestView},
    },
    ids::{AskId, MemberId},
    model::{
        page::{Items, Page},
        request::{RequestKind, RequestState},
    },
};

type Answer<T> = Result<Json<T>, Problem>;
type Made = Result<(StatusCode, Json<RequestView>), Problem>;

/// Which requests of a team.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RequestsQuery {
    /// Only those that stand here.
    state: Option<RequestState>,
    /// Only those for this.
    kind: Option<RequestKind>,
    /// Only those of this member.
    member: Option<MemberId>,
    /// Rows of a page, 1 to 200; 50 unless told.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which requests of all teams.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TeamRequestsQuery {
    /// Only those that stand here.
    state: Option<RequestState>,
    /// Rows of a page, 1 to 200; 50 unless told.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Asks those who run the team for credits or limits.
#[utoipa::path(post, path = "/teams/{team}/requests", operation_id = "createRequest", tag = "requests",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewRequest, responses((status = 201, body = RequestView)))]
pub(super) async fn create_request(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewRequest>,
) -> Made {
    Ok((StatusCode::CREATED, Json(app.request_create(&op, &team, body).await?)))
}

/// Asks the operator for what the whole team may hold.
#[utoipa::path(post, path = "/teams/{team}/quota-requests", operation_id = "createTeamRequest", tag = "requests",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewTeamRequest, responses((status = 201, body = RequestView)))]
pub(super) async fn create_team_request(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewTeamRequest>,
) -> Made {
    Ok((StatusCode::CREATED, Json(app.team_request_create(&op, &team, body).await?)))
}

/// The team's requests, the newest first; whoever may see only their own sees their own.
#[utoipa::path(get, path = "/teams/{team}/requests", operation_id = "listRequests", tag = "requests",
    params(("team" = String, Path, description = "Id or slug of the team"), RequestsQuery),
    responses((status = 200, body = Items<RequestView>)))]
pub(super) async fn list_requests(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(query): Asked<RequestsQuery>,
    Caller(op): Caller,
) -> Answer<Items<RequestView>> {
    let page = Page { limit: query.limit, cursor: query.cursor };
    let wanted = app.requests_page(&op, &team, query.member, query.kind, query.state, &page);
    Ok(Json(wanted.await?))
}

/// One request.
#[utoipa::path(get, path = "/teams/{team}/requests/{request}", operation_id = "getRequest", tag = "requests",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("request" = AskId, Path, description = "The request")),
    responses((status = 200, body = RequestView)))]
pub(super) async fn get_request(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, AskId)>,
    Caller(op): Caller,
) -> Answer<RequestView> {
    Ok(Json(app.request_fetch(&op, &team, id).await?))
}

/// Gives what was asked for, in whole or in part: credits are assigned, limits are set.
#[utoipa::path(post, path = "/teams/{team}/requests/{request}/approve", operation_id = "approveRequest",
    tag = "requests",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("request" = AskId, Path, description = "The request"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = Approval, responses((status = 200, body = RequestView)))]
pub(super) async fn approve_request(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, AskId)>,
    Sent { op, body }: Sent<Approval>,
) -> Answer<RequestView> {
    Ok(Json(app.request_approve(&op, &team, id, body).await?))
}

/// Does not give what was asked for.
#[utoipa::path(post, path = "/teams/{team}/requests/{request}/refuse", operation_id = "refuseRequest",
    tag = "requests",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("request" = AskId, Path, description = "The request"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = RequestRefusal, responses((status = 200, body = RequestView)))]
pub(super) async fn refuse_request(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, AskId)>,
    Sent { op, body }: Sent<RequestRefusal>,
) -> Answer<RequestView> {
    Ok(Json(app.request_refuse(&op, &team, id, body).await?))
}

/// Takes a request back.
#[utoipa::path(post, path = "/teams/{team}/requests/{request}/cancel", operation_id = "cancelRequest",
    tag = "requests",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("request" = AskId, Path, description = "The request"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    responses((status = 200, body = RequestView)))]
pub(super) async fn cancel_request(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, AskId)>,
    Caller(op): Caller,
) -> Answer<RequestView> {
    Ok(Json(app.request_cancel(&op, &team, id).await?))
}

/// Requests of all teams for what they may hold, the newest first; for the operator.
#[utoipa::path(get, path = "/requests", operation_id = "listTeamRequests", tag = "requests",
    params(TeamRequestsQuery), responses((status = 200, body = Items<RequestView>)))]
pub(super) async fn list_team_requests(
    State(app): State<Arc<App>>,
    Asked(query): Asked<TeamRequestsQuery>,
    Caller(op): Caller,
) -> Answer<Items<RequestView>> {
    let page = Page { limit: query.limit, cursor: query.cursor };
    Ok(Json(app.team_requests_page(&op, query.state, &page).await?))
}

/// Gives what a team asked to hold, in whole or in part; for the operator.
#[utoipa::path(post, path = "/requests/{request}/approve", operation_id = "approveTeamRequest", tag = "requests",
    params(("request" = AskId, Path, description = "The request"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = Approval, responses((status = 200, body = RequestView)))]
pub(super) async fn approve_team_request(
    State(app): State<Arc<App>>,
    At(id): At<AskId>,
    Sent { op, body }: Sent<Approval>,
) -> Answer<RequestView> {
    Ok(Json(app.team_request_approve(&op, id, body).await?))
}

/// Does not give what a team asked to hold; for the operator.
#[utoipa::path(post, path = "/requests/{request}/refuse", operation_id = "refuseTeamRequest", tag = "requests",
    params(("request" = AskId, Path, description = "The request"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = RequestRefusal, responses((status = 200, body = RequestView)))]
pub(super) async fn refuse_team_request(
    State(app): State<Arc<App>>,
    At(id): At<AskId>,
    Sent { op, body }: Sent<RequestRefusal>,
) -> Answer<RequestView> {
    Ok(Json(app.team_request_refuse(&op, id, body).await?))
}
