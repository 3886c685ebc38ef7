//! A team's terms of money over HTTP.

use std::sync::Arc;

use axum::{Json, extract::State, http::header::HeaderName};

use super::{
    extract::{At, Caller, Expected, Sent, etag},
    problem::Problem,
};
use crate::app::{
    App,
    terms::{NewCreditLimit, NewTerms, TermsView},
};

type Tagged<T> = Result<([(HeaderName, String); 1], Json<T>), Problem>;

/// Whose credits are spent, when billing begins, what happens when credits run out, and what is owed.
#[utoipa::path(get, path = "/teams/{team}/terms", operation_id = "getTeamTerms", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team")),
    responses((status = 200, body = TermsView)))]
pub(super) async fn get_team_terms(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Caller(op): Caller,
) -> Tagged<TermsView> {
    let view = app.terms_fetch(&op, &team).await?;
    Ok((etag(view.version), Json(view)))
}

/// Puts other terms in the place of the team's.
#[utoipa::path(put, path = "/teams/{team}/terms", operation_id = "putTeamTerms", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("If-Match" = String, Header, description = "The version as it was read, such as \"v1\"")),
    request_body = NewTerms, responses((status = 200, body = TermsView)))]
pub(super) async fn put_team_terms(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Expected(version): Expected,
    Sent { op, body }: Sent<NewTerms>,
) -> Tagged<TermsView> {
    let view = app.terms_put(&op, &team, version, body).await?;
    Ok((etag(view.version), Json(view)))
}

/// Says how much the site lends the team at the most, for the operator.
#[utoipa::path(put, path = "/teams/{team}/credit-limit", operation_id = "putTeamCreditLimit", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team")),
    request_body = NewCreditLimit, responses((status = 200, body = TermsView)))]
pub(super) async fn put_team_credit_limit(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewCreditLimit>,
) -> Tagged<TermsView> {
    let view = app.credit_limit_put(&op, &team, body).await?;
    Ok((etag(view.version), Json(view)))
}
