//! Members and their permissions over HTTP.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::HeaderName},
};

use super::{
    extract::{Asked, At, Caller, Expected, Sent, etag},
    problem::Problem,
};
use crate::{
    app::{
        App,
        members::{IssuedMember, MemberChange, MemberDetail, MemberView, NewMember},
        quotas::PermissionsView,
        users::PasswordReset,
    },
    ids::MemberId,
    model::page::{Items, Page},
};

type Tagged<T> = Result<([(HeaderName, String); 1], Json<T>), Problem>;

/// Issues an account and answers what its holder needs to sign in.
#[utoipa::path(post, path = "/teams/{team}/members", operation_id = "createMember", tag = "members",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewMember, responses((status = 201, body = IssuedMember)))]
pub(super) async fn create_member(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewMember>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<IssuedMember>), Problem> {
    let issued = app.member_create(&op, &team, body).await?;
    Ok((StatusCode::CREATED, etag(issued.member.version), Json(issued)))
}

/// The members whom the caller may see, removed ones too.
#[utoipa::path(get, path = "/teams/{team}/members", operation_id = "listMembers", tag = "members",
    params(("team" = String, Path, description = "Id or slug of the team"), Page),
    responses((status = 200, body = Items<MemberView>)))]
pub(super) async fn list_members(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Result<Json<Items<MemberView>>, Problem> {
    Ok(Json(app.members_page(&op, &team, &page).await?))
}

/// One member, with what they spent and hold.
#[utoipa::path(get, path = "/teams/{team}/members/{member}", operation_id = "getMember", tag = "members",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("member" = MemberId, Path, description = "The member")),
    responses((status = 200, body = MemberDetail)))]
pub(super) async fn get_member(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, MemberId)>,
    Caller(op): Caller,
) -> Tagged<MemberDetail> {
    let detail = app.member_fetch(&op, &team, id).await?;
    Ok((etag(detail.member.version), Json(detail)))
}

/// Changes a member; another role or a suspension ends their sessions.
#[utoipa::path(patch, path = "/teams/{team}/members/{member}", operation_id = "updateMember", tag = "members",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("member" = MemberId, Path, description = "The member"),
           ("If-Match" = String, Header, description = "The version as it was read, such as \"v1\"")),
    request_body = MemberChange, responses((status = 200, body = MemberView)))]
pub(super) async fn update_member(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, MemberId)>,
    Expected(version): Expected,
    Sent { op, body }: Sent<MemberChange>,
) -> Tagged<MemberView> {
    let view = app.member_update(&op, &team, id, version, body).await?;
    Ok((etag(view.version), Json(view)))
}

/// Removes a member; refused while instances of theirs are not over.
#[utoipa::path(delete, path = "/teams/{team}/members/{member}", operation_id = "removeMember",
    tag = "members",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("member" = MemberId, Path, description = "The member")),
    responses((status = 204, description = "The member is removed")))]
pub(super) async fn remove_member(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, MemberId)>,
    Caller(op): Caller,
) -> Result<StatusCode, Problem> {
    app.member_remove(&op, &team, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a member a first password again, which ends their sessions.
#[utoipa::path(post, path = "/teams/{team}/members/{member}/password", operation_id = "resetMemberPassword",
    tag = "members",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("member" = MemberId, Path, description = "The member"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = PasswordReset, responses((status = 200, body = IssuedMember)))]
pub(super) async fn reset_member_password(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, MemberId)>,
    Sent { op, body }: Sent<PasswordReset>,
) -> Result<Json<IssuedMember>, Problem> {
    Ok(Json(app.member_password_reset(&op, &team, id, body).await?))
}

/// All that a member may do, as the policies answer.
#[utoipa::path(get, path = "/teams/{team}/members/{member}/permissions",
    operation_id = "getMemberPermissions", tag = "quotas",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("member" = MemberId, Path, description = "The member")),
    responses((status = 200, body = PermissionsView)))]
pub(super) async fn get_member_permissions(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, MemberId)>,
    Caller(op): Caller,
) -> Result<Json<PermissionsView>, Problem> {
    Ok(Json(app.member_permissions(&op, &team, id).await?))
}
