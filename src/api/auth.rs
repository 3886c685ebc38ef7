//! Signing in and out over HTTP.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    extract::{Caller, Sent},
    problem::Problem,
};
use crate::app::{
    App,
    login::{Claim, Login, PasswordChange, SignedIn, TeamLogin},
};

/// Makes the first operator with the one-time token that the server showed at its first start.
#[utoipa::path(post, path = "/auth/claim", operation_id = "claimOperator", tag = "auth", security(()),
    request_body = Claim, responses((status = 201, body = SignedIn)))]
pub(super) async fn claim(
    State(app): State<Arc<App>>,
    Sent { op, body }: Sent<Claim>,
) -> Result<(StatusCode, Json<SignedIn>), Problem> {
    Ok((StatusCode::CREATED, Json(app.operator_claim(&op, body).await?)))
}

/// Signs a platform user in.
#[utoipa::path(post, path = "/auth/login", operation_id = "login", tag = "auth", security(()),
    request_body = Login, responses((status = 200, body = SignedIn)))]
pub(super) async fn login(
    State(app): State<Arc<App>>,
    Sent { op, body }: Sent<Login>,
) -> Result<Json<SignedIn>, Problem> {
    Ok(Json(app.user_login(&op, body).await?))
}

/// Signs a member in with the account that the team issued.
#[utoipa::path(post, path = "/auth/team-login", operation_id = "teamLogin", tag = "auth", security(()),
    request_body = TeamLogin, responses((status = 200, body = SignedIn)))]
pub(super) async fn team_login(
    State(app): State<Arc<App>>,
    Sent { op, body }: Sent<TeamLogin>,
) -> Result<Json<SignedIn>, Problem> {
    Ok(Json(app.team_login(&op, body).await?))
}

/// Changes the caller's password, ends their other sessions, and answers a fresh one.
#[utoipa::path(post, path = "/auth/password", operation_id = "changePassword", tag = "auth",
    request_body = PasswordChange, responses((status = 200, body = SignedIn)))]
pub(super) async fn password(
    State(app): State<Arc<App>>,
    Sent { op, body }: Sent<PasswordChange>,
) -> Result<Json<SignedIn>, Problem> {
    Ok(Json(app.password_change(&op, body).await?))
}

/// Ends the session that the caller's token belongs to.
#[utoipa::path(post, path = "/auth/logout", operation_id = "logout", tag = "auth",
    responses((status = 204, description = "The session has ended")))]
pub(super) async fn logout(State(app): State<Arc<App>>, Caller(op): Caller) -> Result<StatusCode, Problem> {
    app.logout(&op).await?;
    Ok(StatusCode::NO_CONTENT)
}
