//! Audit logs over HTTP: looked through, exported, checked.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::Deserialize;

use super::{
    extract::{Asked, At, Caller},
    problem::Problem,
};
use crate::{
    app::{
        App,
        audit::{AuditExport, AuditForm, AuditOf, AuditView, AuditWanted},
        audit_chain::AuditReport,
    },
    error::{Error, Result as Told},
    ids::MemberId,
    model::{
        audit::Mark,
        page::{Items, Page},
    },
    time::Timestamp,
};

type Answer<T> = Result<Json<T>, Problem>;

/// Which events, and which page of them.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Who acted: the id of a user, a member or an API key, or a part of the server.
    actor: Option<String>,
    /// What they did, such as `CreateInstance`.
    action: Option<String>,
    /// To what.
    target: Option<String>,
    /// `done` or `refused`.
    outcome: Option<String>,
    /// The member who acted, in person or by a key, or to whom it was done.
    member: Option<MemberId>,
    /// Not before this.
    from: Option<Timestamp>,
    /// Before this.
    to: Option<Timestamp>,
    /// Rows of a page, 1 to 200; 50 unless told.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which events, and in which form.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditExportQuery {
    /// `ndjson` or `csv`; `ndjson` unless told.
    #[serde(default)]
    form: AuditForm,
    /// Who acted: the id of a user, a member or an API key, or a part of the server.
    actor: Option<String>,
    /// What they did, such as `CreateInstance`.
    action: Option<String>,
    /// To what.
    target: Option<String>,
    /// `done` or `refused`.
    outcome: Option<String>,
    /// The member who acted, in person or by a key, or to whom it was done.
    member: Option<MemberId>,
    /// Not before this.
    from: Option<Timestamp>,
    /// Before this.
    to: Option<Timestamp>,
}

/// What was noted of the chain before.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditVerifyQuery {
    /// The `head` of an earlier check; the chain must still pass it.
    noted: Option<String>,
}

impl AuditQuery {
    fn split(self) -> (AuditWanted, Page) {
        let Self { actor, action, target, outcome, member, from, to, limit, cursor } = self;
        (AuditWanted { actor, action, target, outcome, member, from, to }, Page { limit, cursor })
    }
}

impl AuditExportQuery {
    fn split(self) -> (AuditWanted, AuditForm) {
        let Self { form, actor, action, target, outcome, member, from, to } = self;
        (AuditWanted { actor, action, target, outcome, member, from, to }, form)
    }
}

impl AuditVerifyQuery {
    fn mark(&self) -> Told<Option<Mark>> {
        let mark = self.noted.as_deref().map(str::parse::<Mark>).transpose();
        mark.map_err(|why| Error::field("noted", why))
    }
}

/// The team's audit log, the newest first.
#[utoipa::path(get, path = "/teams/{team}/audit", operation_id = "listAuditEvents", tag = "audit",
    params(("team" = String, Path, description = "Id or slug of the team"), AuditQuery),
    responses((status = 200, body = Items<AuditView>)))]
pub(super) async fn list_audit_events(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(query): Asked<AuditQuery>,
    Caller(op): Caller,
) -> Answer<Items<AuditView>> {
    let (wanted, page) = query.split();
    Ok(Json(app.audit_page(&op, AuditOf::Team(&team), &wanted, &page).await?))
}

/// The team's audit log as a file, the oldest event first. An export that fails half way ends without its last chunk.
#[utoipa::path(get, path = "/teams/{team}/audit/export", operation_id = "exportAuditEvents", tag = "audit",
    params(("team" = String, Path, description = "Id or slug of the team"), AuditExportQuery),
    responses((status = 200, description = "The events",
        content((String = "application/x-ndjson"), (String = "text/csv")))))]
pub(super) async fn export_audit_events(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(query): Asked<AuditExportQuery>,
    Caller(op): Caller,
) -> Result<Response, Problem> {
    let (wanted, form) = query.split();
    Ok(file(app.audit_export(&op, AuditOf::Team(&team), &wanted, form).await?, form))
}

/// Checks the team's audit log against its chain of digests, and names what was changed, removed or slipped in.
#[utoipa::path(get, path = "/teams/{team}/audit/verify", operation_id = "verifyAuditLog", tag = "audit",
    params(("team" = String, Path, description = "Id or slug of the team"), AuditVerifyQuery),
    responses((status = 200, body = AuditReport)))]
pub(super) async fn verify_audit_log(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(query): Asked<AuditVerifyQuery>,
    Caller(op): Caller,
) -> Answer<AuditReport> {
    Ok(Json(app.audit_verify(&op, AuditOf::Team(&team), query.mark()?).await?))
}

/// The site's own audit log, the newest first: what belongs to no team.
#[utoipa::path(get, path = "/audit", operation_id = "listSiteAuditEvents", tag = "audit", params(AuditQuery),
    responses((status = 200, body = Items<AuditView>)))]
pub(super) async fn list_site_audit_events(
    State(app): State<Arc<App>>,
    Asked(query): Asked<AuditQuery>,
    Caller(op): Caller,
) -> Answer<Items<AuditView>> {
    let (wanted, page) = query.split();
    Ok(Json(app.audit_page(&op, AuditOf::Site, &wanted, &page).await?))
}

/// The site's own audit log as a file, the oldest event first.
#[utoipa::path(get, path = "/audit/export", operation_id = "exportSiteAuditEvents", tag = "audit",
    params(AuditExportQuery),
    responses((status = 200, description = "The events",
        content((String = "application/x-ndjson"), (String = "text/csv")))))]
pub(super) async fn export_site_audit_events(
    State(app): State<Arc<App>>,
    Asked(query): Asked<AuditExportQuery>,
    Caller(op): Caller,
) -> Result<Response, Problem> {
    let (wanted, form) = query.split();
    Ok(file(app.audit_export(&op, AuditOf::Site, &wanted, form).await?, form))
}

/// Checks the site's own audit log against its chain of digests.
#[utoipa::path(get, path = "/audit/verify", operation_id = "verifySiteAuditLog", tag = "audit",
    params(AuditVerifyQuery), responses((status = 200, body = AuditReport)))]
pub(super) async fn verify_site_audit_log(
    State(app): State<Arc<App>>,
    Asked(query): Asked<AuditVerifyQuery>,
    Caller(op): Caller,
) -> Answer<AuditReport> {
    Ok(Json(app.audit_verify(&op, AuditOf::Site, query.mark()?).await?))
}

fn file(export: AuditExport, form: AuditForm) -> Response {
    let kind = match form {
        AuditForm::Ndjson => "application/x-ndjson",
        AuditForm::Csv => "text/csv; charset=utf-8",
    };
    let lines = stream::try_unfold(export, async |mut export| {
        let lines = export.lines().await?;
        Ok::<_, Error>(lines.map(|lines| (lines, export)))
    });
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(lines)).into_response()
}
