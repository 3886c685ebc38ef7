//! Placing a launch: which host its drives and its snapshot bind it to, and taking room there.

use std::collections::BTreeSet;

use super::{
    gate::Scope,
    launch::{NewInstance, Plan},
};
use crate::{
    error::{Error, Result},
    ids::{HostId, SnapshotId},
    model::{
        placement::{self, Place},
        snapshot::SnapshotState,
    },
    store::{Conn, Tx, catalog::ProductRow, snapshots::SnapshotRow},
};

/// What the disk of an instance begins with.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// An image of the catalogue, by name or id.
    Image(&'a str),
    /// A snapshot.
    Snapshot(SnapshotId),
}

/// The host that the wanted drives are on, if any exist already in the region.
pub(super) async fn bound_host(
    tx: &mut Tx,
    scope: &Scope,
    new: &NewInstance,
    plan: &Plan,
) -> Result<Option<HostId>> {
    let (member, region) = (scope.member()?, &plan.product.region);
    let mut hosts = BTreeSet::new();
    let wanted = [(new.mount_team_drive, None), (new.mount_personal_drive, Some(member.id))];
    for (_, owner) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
        hosts.extend(tx.drive_host(scope.team.id, owner, region).await?);
    }
    if hosts.len() > 1 {
        let told = "the team's drive and your own are on different hosts of this region; mount one of them";
        return Err(Error::conflict("drives-apart", told));
    }
    let drives = hosts.into_iter().next();
    let Some(snapshot) = &plan.snapshot else { return Ok(drives) };
    if drives.is_some_and(|host| host != snapshot.host) {
        let told = "the drives and the snapshot are on different hosts of this region; launch without drives";
        return Err(Error::conflict("drives-apart", told));
    }
    Ok(Some(snapshot.host))
}

/// The snapshot to launch from, if there is one that is ready.
pub(super) async fn snapshot_ready(
    conn: &mut Conn,
    scope: &Scope,
    id: SnapshotId,
    product: Option<&ProductRow>,
) -> Result<SnapshotRow> {
    let row = conn.snapshot_fetch(id).await?.filter(|row| row.team == scope.team.id);
    let Some(row) = row.filter(|row| row.state != SnapshotState::Deleted) else {
        return Err(Error::field(
            "/snapshot",
            "there is no such snapshot; `snapshot ls` lists those you may see",
        ));
    };
    if row.state != SnapshotState::Ready {
        let told = format!("the snapshot is {}; only one that is ready can be launched from", row.state);
        return Err(Error::conflict("illegal-state", told));
    }
    let host = conn.host_fetch(row.host).await?.ok_or_else(|| Error::not_found("host"))?;
    if let Some(product) = product.filter(|product| product.region != host.region) {
        let told = format!(
            "the snapshot is in the region {} and {} is in {}; take a product of its region",
            host.region, product.name, product.region
        );
        return Err(Error::field("/product", told));
    }
    Ok(row)
}

/// Chooses the host and locks it, so that what it has free cannot be promised twice.
pub(super) async fn take_place(tx: &mut Tx, plan: &Plan, bound_to: Option<HostId>) -> Result<Place> {
    let need = plan.need(bound_to);
    let mut candidates = tx.candidates().await?;
    loop {
        let place = placement::place(&need, &candidates).map_err(|why| {
            let way = match plan.snapshot {
                Some(_) => "a snapshot is launched on the host that has it. Try again later, or take a smaller product",
                None => {
                    "try again later, take a smaller product, or launch without drives if they bind it to a full host"
                }
            };
            Error::conflict("no-capacity", format!("no host can take this now: {why}; {way}"))
        })?;
        tx.host_lock(place.host).await?;
        // Seen again under the lock: another launch may have taken it between the look and the lock.
        let fresh: Vec<_> = tx.candidate(place.host).await?.into_iter().collect();
        match placement::place(&need, &fresh) {
            Ok(place) => return Ok(place),
            Err(_) => candidates.retain(|candidate| candidate.host != place.host),
        }
    }
}
