//! A team's own policies over HTTP: reading, planning, replaying, publishing, and questions to them.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::HeaderName},
};
use serde::Deserialize;

use super::{
    extract::{Asked, At, Caller, Expected, Sent, etag},
    problem::Problem,
};
use crate::{
    app::{
        App,
        authorizing::{Answers, Explained, Questions},
        policies::{NewVersion, PoliciesView, VersionDetail, VersionView, VersionsDiff},
        policy_plans::{Plan, Proposal},
        policy_proofs::{NewProof, ProofView},
        policy_replays::{NewReplay, Replayed},
    },
    ids::DecisionId,
    model::page::{Items, Page},
};

type Answer<T> = Result<Json<T>, Problem>;

/// Which versions to compare.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DiffQuery {
    /// The one version; 0 for the empty text.
    from: i64,
    /// The other; the live one unless told.
    to: Option<i64>,
}

/// The team's own policies as they are now.
#[utoipa::path(get, path = "/teams/{team}/policies", operation_id = "getPolicies", tag = "policies",
    params(("team" = String, Path, description = "Id or slug of the team")),
    responses((status = 200, body = PoliciesView)))]
pub(super) async fn get_policies(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Caller(op): Caller,
) -> Result<([(HeaderName, String); 1], Json<PoliciesView>), Problem> {
    let view = app.policies_fetch(&op, &team).await?;
    Ok((etag(view.version), Json(view)))
}

/// The versions that were ever live, the newest first.
#[utoipa::path(get, path = "/teams/{team}/policies/versions", operation_id = "listPolicyVersions", tag = "policies",
    params(("team" = String, Path, description = "Id or slug of the team"), Page),
    responses((status = 200, body = Items<VersionView>)))]
pub(super) async fn list_policy_versions(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Answer<Items<VersionView>> {
    Ok(Json(app.policy_versions(&op, &team, &page).await?))
}

/// One version with its text.
#[utoipa::path(get, path = "/teams/{team}/policies/versions/{number}", operation_id = "getPolicyVersion",
    tag = "policies",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("number" = i64, Path, description = "The version's number")),
    responses((status = 200, body = VersionDetail)))]
pub(super) async fn get_policy_version(
    State(app): State<Arc<App>>,
    At((team, number)): At<(String, i64)>,
    Caller(op): Caller,
) -> Answer<VersionDetail> {
    Ok(Json(app.policy_version(&op, &team, number).await?))
}

/// What is different between two versions, line by line.
#[utoipa::path(get, path = "/teams/{team}/policies/diff", operation_id = "diffPolicies", tag = "policies",
    params(("team" = String, Path, description = "Id or slug of the team"), DiffQuery),
    responses((status = 200, body = VersionsDiff)))]
pub(super) async fn diff_policies(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(query): Asked<DiffQuery>,
    Caller(op): Caller,
) -> Answer<VersionsDiff> {
    Ok(Json(app.policies_diff(&op, &team, query.from, query.to).await?))
}

/// What a change would do: checks, cases, who gains and loses, recorded decisions asked again. Changes nothing.
#[utoipa::path(post, path = "/teams/{team}/policies:plan", operation_id = "planPolicies", tag = "policies",
    params(("team" = String, Path, description = "Id or slug of the team")),
    request_body = Proposal, responses((status = 200, body = Plan)))]
pub(super) async fn plan_policies(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<Proposal>,
) -> Answer<Plan> {
    Ok(Json(app.policies_plan(&op, &team, body).await?))
}

/// What recorded decisions would have been with another text. Changes nothing.
#[utoipa::path(post, path = "/teams/{team}/policies:replay", operation_id = "replayPolicies", tag = "policies",
    params(("team" = String, Path, description = "Id or slug of the team")),
    request_body = NewReplay, responses((status = 200, body = Replayed)))]
pub(super) async fn replay_policies(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewReplay>,
) -> Answer<Replayed> {
    Ok(Json(app.policies_replay(&op, &team, body).await?))
}

/// Tries to prove what another text can and cannot do: who gains, who loses, whether guardrails and the owner's reach
/// hold, whether a policy can fail or never matters. Takes seconds; changes nothing.
#[utoipa::path(post, path = "/teams/{team}/policies:prove", operation_id = "provePolicies", tag = "policies",
    params(("team" = String, Path, description = "Id or slug of the team")),
    request_body = NewProof, responses((status = 200, body = ProofView)))]
pub(super) async fn prove_policies(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewProof>,
) -> Answer<ProofView> {
    Ok(Json(app.policies_prove(&op, &team, body).await?))
}

/// Publishes a planned text, or goes back to a version that was live once. It holds for the next request.
#[utoipa::path(post, path = "/teams/{team}/policies:publish", operation_id = "publishPolicies", tag = "policies",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("If-Match" = String, Header, description = "The live version as it was read, such as \"v1\""),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewVersion, responses((status = 201, body = VersionDetail)))]
pub(super) async fn publish_policies(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Expected(version): Expected,
    Sent { op, body }: Sent<NewVersion>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<VersionDetail>), Problem> {
    let detail = app.policies_publish(&op, &team, version, body).await?;
    Ok((StatusCode::CREATED, etag(detail.version.number), Json(detail)))
}

/// Answers whether things may be done, and why not. A look, not a promise.
#[utoipa::path(post, path = "/teams/{team}/authorize", operation_id = "authorize", tag = "policies",
    params(("team" = String, Path, description = "Id or slug of the team")),
    request_body = Questions, responses((status = 200, body = Answers)))]
pub(super) async fn authorize(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<Questions>,
) -> Answer<Answers> {
    Ok(Json(app.authorize(&op, &team, body).await?))
}

/// A recorded decision: why it was made, and what it would be now.
#[utoipa::path(get, path = "/teams/{team}/decisions/{decision}", operation_id = "explainDecision", tag = "policies",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("decision" = DecisionId, Path, description = "The decision, as a refusal names it")),
    responses((status = 200, body = Explained)))]
pub(super) async fn explain_decision(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, DecisionId)>,
    Caller(op): Caller,
) -> Answer<Explained> {
    Ok(Json(app.decision_explain(&op, &team, id).await?))
}
