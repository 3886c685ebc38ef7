//! Limits over HTTP: the team's, a member's, those for a while, what the operator lets a whole team hold, and their
//! history.

use std::sync::Arc;

use axum::{Json, extract::State, http::header::HeaderName};
use serde::Deserialize;

use super::{
    extract::{Asked, At, Caller, Expected, Sent, etag},
    problem::Problem,
};
use crate::{
    app::{
        App,
        quota_changes::QuotaChangeView,
        quotas::{NewTemporary, QuotaView},
    },
    ids::MemberId,
    model::{
        page::{Items, Page},
        quota::Limits,
    },
};

type Tagged<T> = Result<([(HeaderName, String); 1], Json<T>), Problem>;

/// Why limits are changed.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Why {
    /// Why, at most 500 characters; kept in the history.
    #[serde(default)]
    reason: String,
}

/// What holds for members who have no limits of their own.
#[utoipa::path(get, path = "/teams/{team}/quota", operation_id = "getTeamQuota", tag = "quotas",
    params(("team" = String, Path, description = "Id or slug of the team")),
    responses((status = 200, body = QuotaView)))]
pub(super) async fn get_team_quota(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Caller(op): Caller,
) -> Tagged<QuotaView> {
    let view = app.team_quota_fetch(&op, &team).await?;
    Ok((etag(view.version), Json(view)))
}

/// Puts other limits in the place of the team's.
#[utoipa::path(put, path = "/teams/{team}/quota", operation_id = "putTeamQuota", tag = "quotas",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("If-Match" = String, Header, description = "The version as it was read, such as \"v1\""), Why),
    request_body = Limits, responses((status = 200, body = QuotaView)))]
pub(super) async fn put_team_quota(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Expected(version): Expected,
    Asked(why): Asked<Why>,
    Sent { op, body }: Sent<Limits>,
) -> Tagged<QuotaView> {
    let view = app.team_quota_put(&op, &team, version, body, &why.reason).await?;
    Ok((etag(view.version), Json(view)))
}

/// A member's own limits, and what holds for them.
#[utoipa::path(get, path = "/teams/{team}/members/{member}/quota", operation_id = "getMemberQuota",
    tag = "quotas",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("member" = MemberId, Path, description = "The member")),
    responses((status = 200, body = QuotaView)))]
pub(super) async fn get_member_quota(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, MemberId)>,
    Caller(op): Caller,
) -> Tagged<QuotaView> {
    let view = app.member_quota_fetch(&op, &team, id).await?;
    Ok((etag(view.version), Json(view)))
}

/// Puts other limits in the place of a member's own.
#[utoipa::path(put, path = "/teams/{team}/members/{member}/quota", operation_id = "putMemberQuota",
    tag = "quotas",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("member" = MemberId, Path, description = "The member"),
           ("If-Match" = String, Header, description = "The version as it was read, such as \"v1\""), Why),
    request_body = Limits, responses((status = 200, body = QuotaView)))]
pub(super) async fn put_member_quota(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, MemberId)>,
    Expected(version): Expected,
    Asked(why): Asked<Why>,
    Sent { op, body }: Sent<Limits>,
) -> Tagged<QuotaView> {
    let view = app.member_quota_put(&op, &team, id, version, body, &why.reason).await?;
    Ok((etag(view.version), Json(view)))
}

/// Gives a member limits for a while, over the standing ones; they end by themselves.
#[utoipa::path(put, path = "/teams/{team}/members/{member}/quota/temporary", operation_id = "putTemporaryQuota",
    tag = "quotas",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("member" = MemberId, Path, description = "The member"),
           ("If-Match" = String, Header, description = "The version as it was read, such as \"v1\"")),
    request_body = NewTemporary, responses((status = 200, body = QuotaView)))]
pub(super) async fn put_temporary_quota(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, MemberId)>,
    Expected(version): Expected,
    Sent { op, body }: Sent<NewTemporary>,
) -> Tagged<QuotaView> {
    let view = app.temporary_quota_put(&op, &team, id, version, body).await?;
    Ok((etag(view.version), Json(view)))
}

/// Ends a member's limits for a while before their time.
#[utoipa::path(delete, path = "/teams/{team}/members/{member}/quota/temporary",
    operation_id = "endTemporaryQuota", tag = "quotas",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("member" = MemberId, Path, description = "The member"),
           ("If-Match" = String, Header, description = "The version as it was read, such as \"v1\"")),
    responses((status = 200, body = QuotaView)))]
pub(super) async fn end_temporary_quota(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, MemberId)>,
    Expected(version): Expected,
    Caller(op): Caller,
) -> Tagged<QuotaView> {
    let view = app.temporary_quota_end(&op, &team, id, version).await?;
    Ok((etag(view.version), Json(view)))
}

/// Says what the whole team may hold together, owner and admins too; for the operator.
#[utoipa::path(put, path = "/teams/{team}/quota/ceiling", operation_id = "putTeamCeiling", tag = "quotas",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("If-Match" = String, Header, description = "The version as it was read, such as \"v1\""), Why),
    request_body = Limits, responses((status = 200, body = QuotaView)))]
pub(super) async fn put_team_ceiling(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Expected(version): Expected,
    Asked(why): Asked<Why>,
    Sent { op, body }: Sent<Limits>,
) -> Tagged<QuotaView> {
    let view = app.team_ceiling_put(&op, &team, version, body, &why.reason).await?;
    Ok((etag(view.version), Json(view)))
}

/// The changes of the team's defaults and of its ceiling, the newest first.
#[utoipa::path(get, path = "/teams/{team}/quota/history", operation_id = "listTeamQuotaChanges", tag = "quotas",
    params(("team" = String, Path, description = "Id or slug of the team"), Page),
    responses((status = 200, body = Items<QuotaChangeView>)))]
pub(super) async fn list_team_quota_changes(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Result<Json<Items<QuotaChangeView>>, Problem> {
    Ok(Json(app.team_quota_history(&op, &team, &page).await?))
}

/// The changes of a member's own limits, the newest first.
#[utoipa::path(get, path = "/teams/{team}/members/{member}/quota/history",
    operation_id = "listMemberQuotaChanges", tag = "quotas",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("member" = MemberId, Path, description = "The member"), Page),
    responses((status = 200, body = Items<QuotaChangeView>)))]
pub(super) async fn list_member_quota_changes(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, MemberId)>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Result<Json<Items<QuotaChangeView>>, Problem> {
    Ok(Json(app.member_quota_history(&op, &team, id, &page).await?))
}
