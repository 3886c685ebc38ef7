//! Instances, estimates, the catalogue and drives over HTTP.

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
        catalog::Catalog,
        drives::DriveView,
        instances::{
            InstanceAccess, InstanceBilling, InstanceConfig, InstanceHardware, InstanceLogs, InstanceView,
        },
        launch::{Estimate, NewEstimate, NewInstance},
    },
    ids::InstanceId,
    model::{
        host::Stats,
        page::{Items, Page, View},
    },
};

type Answer<T> = Result<Json<T>, Problem>;

/// Which instances to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listing {
    /// `self` for the caller's own, `admin` for everybody's.
    #[serde(default)]
    pub(super) view: View,
    /// Rows of a page, 1 to 200; 50 unless told.
    pub(super) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// Whose drives to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Viewing {
    /// `self` for the caller's own and the team's, `admin` for everybody's.
    #[serde(default)]
    view: View,
}

/// How many lines of a log.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Tail {
    /// Lines from the end, 1 to 10000; 200 unless told.
    tail: Option<u32>,
}

/// What the caller may see and launch.
#[utoipa::path(get, path = "/teams/{team}/catalog", operation_id = "listCatalog", tag = "catalog",
    params(("team" = String, Path, description = "Id or slug of the team")),
    responses((status = 200, body = Catalog)))]
pub(super) async fn list_catalog(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Caller(op): Caller,
) -> Answer<Catalog> {
    Ok(Json(app.catalog(&op, &team).await?))
}

/// What a launch would cost, whether it would be allowed, and what would stop it.
#[utoipa::path(post, path = "/teams/{team}/estimates", operation_id = "createEstimate", tag = "catalog",
    params(("team" = String, Path, description = "Id or slug of the team")),
    request_body = NewEstimate, responses((status = 200, body = Estimate)))]
pub(super) async fn create_estimate(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewEstimate>,
) -> Answer<Estimate> {
    Ok(Json(app.estimate(&op, &team, body).await?))
}

/// Launches an instance: decided, paid ahead and placed in one transaction. It runs a moment later.
#[utoipa::path(post, path = "/teams/{team}/instances", operation_id = "createInstance", tag = "instances",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewInstance, responses((status = 201, body = InstanceView)))]
pub(super) async fn create_instance(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewInstance>,
) -> Result<(StatusCode, Json<InstanceView>), Problem> {
    Ok((StatusCode::CREATED, Json(app.instance_create(&op, &team, body).await?)))
}

/// The team's instances: the caller's own, or everybody's.
#[utoipa::path(get, path = "/teams/{team}/instances", operation_id = "listInstances", tag = "instances",
    params(("team" = String, Path, description = "Id or slug of the team"), Listing),
    responses((status = 200, body = Items<InstanceView>)))]
pub(super) async fn list_instances(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(listing): Asked<Listing>,
    Caller(op): Caller,
) -> Answer<Items<InstanceView>> {
    let page = Page { limit: listing.limit, cursor: listing.cursor };
    Ok(Json(app.instances_page(&op, &team, listing.view, &page).await?))
}

/// One instance.
#[utoipa::path(get, path = "/teams/{team}/instances/{instance}", operation_id = "getInstance", tag = "instances",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("instance" = InstanceId, Path, description = "The instance")),
    responses((status = 200, body = InstanceView)))]
pub(super) async fn get_instance(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, InstanceId)>,
    Caller(op): Caller,
) -> Answer<InstanceView> {
    Ok(Json(app.instance_fetch(&op, &team, id).await?))
}

/// Stops an instance: it keeps its disk, which costs storage, and gives back its accelerators and its hold.
#[utoipa::path(post, path = "/teams/{team}/instances/{instance}/stop", operation_id = "stopInstance",
    tag = "instances",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("instance" = InstanceId, Path, description = "The instance"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    responses((status = 202, body = InstanceView)))]
pub(super) async fn stop_instance(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, InstanceId)>,
    Caller(op): Caller,
) -> Result<(StatusCode, Json<InstanceView>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(app.instance_stop(&op, &team, id).await?)))
}

/// Starts a stopped instance again: on its host, with its disk and the accelerators it had. A full runway is held.
#[utoipa::path(post, path = "/teams/{team}/instances/{instance}/start", operation_id = "startInstance",
    tag = "instances",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("instance" = InstanceId, Path, description = "The instance"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    responses((status = 202, body = InstanceView)))]
pub(super) async fn start_instance(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, InstanceId)>,
    Caller(op): Caller,
) -> Result<(StatusCode, Json<InstanceView>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(app.instance_start(&op, &team, id).await?)))
}

/// Gives an instance up. It is gone a moment later, and what is left of its hold comes back.
#[utoipa::path(post, path = "/teams/{team}/instances/{instance}/release", operation_id = "releaseInstance",
    tag = "instances",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("instance" = InstanceId, Path, description = "The instance"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    responses((status = 202, body = InstanceView)))]
pub(super) async fn release_instance(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, InstanceId)>,
    Caller(op): Caller,
) -> Result<(StatusCode, Json<InstanceView>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(app.instance_release(&op, &team, id).await?)))
}

/// How to get into an instance: SSH, notebook, published ports.
#[utoipa::path(get, path = "/teams/{team}/instances/{instance}/access", operation_id = "getInstanceAccess",
    tag = "instances",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("instance" = InstanceId, Path, description = "The instance")),
    responses((status = 200, body = InstanceAccess)))]
pub(super) async fn get_instance_access(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, InstanceId)>,
    Caller(op): Caller,
) -> Answer<InstanceAccess> {
    Ok(Json(app.instance_access(&op, &team, id).await?))
}

/// The last lines that an instance wrote.
#[utoipa::path(get, path = "/teams/{team}/instances/{instance}/logs", operation_id = "getInstanceLogs",
    tag = "instances",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("instance" = InstanceId, Path, description = "The instance"), Tail),
    responses((status = 200, body = InstanceLogs)))]
pub(super) async fn get_instance_logs(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, InstanceId)>,
    Asked(tail): Asked<Tail>,
    Caller(op): Caller,
) -> Answer<InstanceLogs> {
    Ok(Json(app.instance_logs(&op, &team, id, tail.tail.unwrap_or(200)).await?))
}

/// One reading of what an instance uses.
#[utoipa::path(get, path = "/teams/{team}/instances/{instance}/metrics", operation_id = "getInstanceMetrics",
    tag = "instances",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("instance" = InstanceId, Path, description = "The instance")),
    responses((status = 200, body = Stats)))]
pub(super) async fn get_instance_metrics(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, InstanceId)>,
    Caller(op): Caller,
) -> Answer<Stats> {
    Ok(Json(app.instance_metrics(&op, &team, id).await?))
}

/// What an instance costs.
#[utoipa::path(get, path = "/teams/{team}/instances/{instance}/billing", operation_id = "getInstanceBilling",
    tag = "instances",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("instance" = InstanceId, Path, description = "The instance")),
    responses((status = 200, body = InstanceBilling)))]
pub(super) async fn get_instance_billing(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, InstanceId)>,
    Caller(op): Caller,
) -> Answer<InstanceBilling> {
    Ok(Json(app.instance_billing(&op, &team, id).await?))
}

/// Image, ports, environment and drives of an instance.
#[utoipa::path(get, path = "/teams/{team}/instances/{instance}/config", operation_id = "getInstanceConfig",
    tag = "instances",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("instance" = InstanceId, Path, description = "The instance")),
    responses((status = 200, body = InstanceConfig)))]
pub(super) async fn get_instance_config(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, InstanceId)>,
    Caller(op): Caller,
) -> Answer<InstanceConfig> {
    Ok(Json(app.instance_config(&op, &team, id).await?))
}

/// Accelerators, processor and memory of an instance.
#[utoipa::path(get, path = "/teams/{team}/instances/{instance}/hardware", operation_id = "getInstanceHardware",
    tag = "instances",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("instance" = InstanceId, Path, description = "The instance")),
    responses((status = 200, body = InstanceHardware)))]
pub(super) async fn get_instance_hardware(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, InstanceId)>,
    Caller(op): Caller,
) -> Answer<InstanceHardware> {
    Ok(Json(app.instance_hardware(&op, &team, id).await?))
}

/// The team's drives: the caller's own and the team's, or everybody's.
#[utoipa::path(get, path = "/teams/{team}/drives", operation_id = "listDrives", tag = "drives",
    params(("team" = String, Path, description = "Id or slug of the team"), Viewing),
    responses((status = 200, body = Items<DriveView>)))]
pub(super) async fn list_drives(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(viewing): Asked<Viewing>,
    Caller(op): Caller,
) -> Answer<Items<DriveView>> {
    Ok(Json(app.drives(&op, &team, viewing.view).await?))
}
