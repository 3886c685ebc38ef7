//! Teams over HTTP.

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
        teams::{NewTeam, TeamChange, TeamView},
    },
    model::page::{Items, Page},
};

type Tagged<T> = Result<([(HeaderName, String); 1], Json<T>), Problem>;

/// Makes a team; the caller becomes its owner.
#[utoipa::path(post, path = "/teams", operation_id = "createTeam", tag = "teams",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewTeam, responses((status = 201, body = TeamView)))]
pub(super) async fn create_team(
    State(app): State<Arc<App>>,
    Sent { op, body }: Sent<NewTeam>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<TeamView>), Problem> {
    let view = app.team_create(&op, body).await?;
    Ok((StatusCode::CREATED, etag(view.version), Json(view)))
}

/// All teams of the site, for the operator.
#[utoipa::path(get, path = "/teams", operation_id = "listTeams", tag = "teams", params(Page),
    responses((status = 200, body = Items<TeamView>)))]
pub(super) async fn list_teams(
    State(app): State<Arc<App>>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Result<Json<Items<TeamView>>, Problem> {
    Ok(Json(app.teams_page(&op, &page).await?))
}

/// One team.
#[utoipa::path(get, path = "/teams/{team}", operation_id = "getTeam", tag = "teams",
    params(("team" = String, Path, description = "Id or slug of the team")),
    responses((status = 200, body = TeamView)))]
pub(super) async fn get_team(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Caller(op): Caller,
) -> Tagged<TeamView> {
    let view = app.team_fetch(&op, &team).await?;
    Ok((etag(view.version), Json(view)))
}

/// Changes the name or description of a team.
#[utoipa::path(patch, path = "/teams/{team}", operation_id = "updateTeam", tag = "teams",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("If-Match" = String, Header, description = "The version as it was read, such as \"v1\"")),
    request_body = TeamChange, responses((status = 200, body = TeamView)))]
pub(super) async fn update_team(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Expected(version): Expected,
    Sent { op, body }: Sent<TeamChange>,
) -> Tagged<TeamView> {
    let view = app.team_update(&op, &team, version, body).await?;
    Ok((etag(view.version), Json(view)))
}
