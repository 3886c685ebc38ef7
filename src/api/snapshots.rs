//! Snapshots over HTTP.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    extract::{Asked, At, Caller, Sent},
    instances::Listing,
    problem::Problem,
};
use crate::{
    app::{
        App,
        snapshots::{NewSnapshot, SnapshotView},
    },
    ids::{InstanceId, SnapshotId},
    model::page::{Items, Page},
};

type Answer<T> = Result<Json<T>, Problem>;

/// Takes a snapshot of an own instance, running or stopped: its disk without its drives. A running instance is paused,
/// and not billed, while its disk is copied. It is ready a while later.
#[utoipa::path(post, path = "/teams/{team}/instances/{instance}/snapshots", operation_id = "createSnapshot",
    tag = "snapshots",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("instance" = InstanceId, Path, description = "The instance"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewSnapshot, responses((status = 202, body = SnapshotView)))]
pub(super) async fn create_snapshot(
    State(app): State<Arc<App>>,
    At((team, instance)): At<(String, InstanceId)>,
    Sent { op, body }: Sent<NewSnapshot>,
) -> Result<(StatusCode, Json<SnapshotView>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(app.snapshot_create(&op, &team, instance, body).await?)))
}

/// The team's snapshots: the caller's own and the team's, or everybody's.
#[utoipa::path(get, path = "/teams/{team}/snapshots", operation_id = "listSnapshots", tag = "snapshots",
    params(("team" = String, Path, description = "Id or slug of the team"), Listing),
    responses((status = 200, body = Items<SnapshotView>)))]
pub(super) async fn list_snapshots(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(listing): Asked<Listing>,
    Caller(op): Caller,
) -> Answer<Items<SnapshotView>> {
    let page = Page { limit: listing.limit, cursor: listing.cursor };
    Ok(Json(app.snapshots_page(&op, &team, listing.view, &page).await?))
}

/// One snapshot.
#[utoipa::path(get, path = "/teams/{team}/snapshots/{snapshot}", operation_id = "getSnapshot", tag = "snapshots",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("snapshot" = SnapshotId, Path, description = "The snapshot")),
    responses((status = 200, body = SnapshotView)))]
pub(super) async fn get_snapshot(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, SnapshotId)>,
    Caller(op): Caller,
) -> Answer<SnapshotView> {
    Ok(Json(app.snapshot_fetch(&op, &team, id).await?))
}

/// Gives a member's snapshot to the team: every member may launch from it, and the pool pays for what it stores.
#[utoipa::path(post, path = "/teams/{team}/snapshots/{snapshot}/share", operation_id = "shareSnapshot",
    tag = "snapshots",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("snapshot" = SnapshotId, Path, description = "The snapshot"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    responses((status = 200, body = SnapshotView)))]
pub(super) async fn share_snapshot(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, SnapshotId)>,
    Caller(op): Caller,
) -> Answer<SnapshotView> {
    Ok(Json(app.snapshot_share(&op, &team, id).await?))
}

/// Deletes a snapshot for good. What was launched from it goes on.
#[utoipa::path(delete, path = "/teams/{team}/snapshots/{snapshot}", operation_id = "deleteSnapshot",
    tag = "snapshots",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("snapshot" = SnapshotId, Path, description = "The snapshot")),
    responses((status = 202, body = SnapshotView)))]
pub(super) async fn delete_snapshot(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, SnapshotId)>,
    Caller(op): Caller,
) -> Result<(StatusCode, Json<SnapshotView>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(app.snapshot_delete(&op, &team, id).await?)))
}
