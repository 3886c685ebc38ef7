//! The caller about themselves, over HTTP.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    extract::{At, Caller, Sent},
    problem::Problem,
};
use crate::{
    app::{
        App,
        login::TeamLogin,
        me::{Me, MembershipView, SessionView},
    },
    ids::SessionId,
    model::page::Items,
};

/// Who the caller is.
#[utoipa::path(get, path = "/me", operation_id = "getMe", tag = "me", responses((status = 200, body = Me)))]
pub(super) async fn get_me(State(app): State<Arc<App>>, Caller(op): Caller) -> Result<Json<Me>, Problem> {
    Ok(Json(app.me_fetch(&op).await?))
}

/// The caller's teams.
#[utoipa::path(get, path = "/me/teams", operation_id = "listMyTeams", tag = "me",
    responses((status = 200, body = Items<MembershipView>)))]
pub(super) async fn list_my_teams(
    State(app): State<Arc<App>>,
    Caller(op): Caller,
) -> Result<Json<Items<MembershipView>>, Problem> {
    Ok(Json(app.my_teams(&op).await?))
}

/// Links the account that a team issued to the caller, who needs no team login from then on.
#[utoipa::path(post, path = "/me/links", operation_id = "linkMember", tag = "me",
    request_body = TeamLogin, responses((status = 201, body = MembershipView)))]
pub(super) async fn link_member(
    State(app): State<Arc<App>>,
    Sent { op, body }: Sent<TeamLogin>,
) -> Result<(StatusCode, Json<MembershipView>), Problem> {
    Ok((StatusCode::CREATED, Json(app.member_link(&op, body).await?)))
}

/// The caller's open sessions.
#[utoipa::path(get, path = "/me/sessions", operation_id = "listMySessions", tag = "me",
    responses((status = 200, body = Items<SessionView>)))]
pub(super) async fn list_my_sessions(
    State(app): State<Arc<App>>,
    Caller(op): Caller,
) -> Result<Json<Items<SessionView>>, Problem> {
    Ok(Json(app.my_sessions(&op).await?))
}

/// Ends one of the caller's sessions.
#[utoipa::path(delete, path = "/me/sessions/{session}", operation_id = "revokeMySession", tag = "me",
    params(("session" = SessionId, Path, description = "The session")),
    responses((status = 204, description = "The session has ended")))]
pub(super) async fn revoke_my_session(
    State(app): State<Arc<App>>,
    At(id): At<SessionId>,
    Caller(op): Caller,
) -> Result<StatusCode, Problem> {
    app.my_session_revoke(&op, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
