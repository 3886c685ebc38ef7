//! Platform users over HTTP, for the operator.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    extract::{Asked, At, Caller, Sent},
    problem::Problem,
};
use crate::{
    app::{
        App,
        users::{IssuedUser, NewUser, PasswordReset, UserView},
    },
    ids::UserId,
    model::page::{Items, Page},
};

/// Makes a user, who has to change the first password.
#[utoipa::path(post, path = "/users", operation_id = "createUser", tag = "users",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewUser, responses((status = 201, body = IssuedUser)))]
pub(super) async fn create_user(
    State(app): State<Arc<App>>,
    Sent { op, body }: Sent<NewUser>,
) -> Result<(StatusCode, Json<IssuedUser>), Problem> {
    Ok((StatusCode::CREATED, Json(app.user_create(&op, body).await?)))
}

/// All users.
#[utoipa::path(get, path = "/users", operation_id = "listUsers", tag = "users", params(Page),
    responses((status = 200, body = Items<UserView>)))]
pub(super) async fn list_users(
    State(app): State<Arc<App>>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Result<Json<Items<UserView>>, Problem> {
    Ok(Json(app.users_page(&op, &page).await?))
}

/// Gives a user a first password again and ends their sessions.
#[utoipa::path(post, path = "/users/{user}/password", operation_id = "resetUserPassword", tag = "users",
    params(("user" = UserId, Path, description = "The user"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = PasswordReset, responses((status = 200, body = IssuedUser)))]
pub(super) async fn reset_user_password(
    State(app): State<Arc<App>>,
    At(id): At<UserId>,
    Sent { op, body }: Sent<PasswordReset>,
) -> Result<Json<IssuedUser>, Problem> {
    Ok(Json(app.user_password_reset(&op, id, body).await?))
}
