//! Snapshots: the rows of what was copied of instances' disks, and of what shall become of it.

use super::{Conn, Result, Tx, query::record};
use crate::{
    ids::{HostId, ImageId, InstanceId, MemberId, SnapshotId, TeamId},
    model::snapshot::{SnapshotCause, SnapshotState},
    time::Timestamp,
};

record! {
    /// A snapshot.
    pub struct SnapshotRow {
        /// The snapshot.
        pub id: SnapshotId,
        /// Its team.
        pub team: TeamId,
        /// Whose it is; absent for the team's.
        pub owner: Option<MemberId>,
        /// Whose instance it was taken of.
        pub taken_by: MemberId,
        /// The instance.
        pub instance: InstanceId,
        /// The host that has it.
        pub host: HostId,
        /// The image of the catalogue that the instance goes back to.
        pub image: ImageId,
        /// Its name for people.
        pub name: String,
        /// A note for people.
        pub note: String,
        /// Why it was taken.
        pub cause: SnapshotCause,
        /// Where it stands.
        pub state: SnapshotState,
        /// Why it failed.
        pub reason: String,
        /// The host's own id of it.
        pub stored_as: Option<String>,
        /// Bytes that were written since the image of the catalogue.
        pub size_bytes: Option<u64>,
        /// When it was asked for.
        pub created_at: Timestamp,
        /// When its host was last told to take it.
        pub taking_at: Option<Timestamp>,
        /// When it was stored.
        pub ready_at: Option<Timestamp>,
        /// Raised by every change.
        pub version: i64,
    }
}

const SNAPSHOT_INSERT: &str = "
    INSERT INTO snapshots (id, team, owner, taken_by, instance, host, image, name, note, cause, state, reason,
                           stored_as, size_bytes, created_at, taking_at, ready_at, version)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";

const SNAPSHOT_FETCH: &str = "SELECT * FROM snapshots WHERE id = $1";

const SNAPSHOT_SAVE: &str = "
    UPDATE snapshots
       SET owner = $3, state = $4, reason = $5, stored_as = $6, size_bytes = $7, taking_at = $8, ready_at = $9,
           version = version + 1
     WHERE id = $1 AND version = $2";

const SNAPSHOTS_PAGE: &str = "
    SELECT * FROM snapshots
     WHERE team = $1 AND ($2 = '' OR owner IS NULL OR owner = $2) AND id > $3 AND state <> 'deleted'
     ORDER BY id LIMIT $4";

const SNAPSHOTS_LIVE_ON: &str = "
    SELECT * FROM snapshots WHERE host = $1 AND state NOT IN ('failed', 'deleted') ORDER BY id";

const SNAPSHOTS_LIVE_OF: &str = "
    SELECT * FROM snapshots WHERE instance = $1 AND state NOT IN ('failed', 'deleted') ORDER BY id";

impl Conn {
    /// One snapshot.
    pub async fn snapshot_fetch(&mut self, id: SnapshotId) -> Result<Option<SnapshotRow>> {
        self.query(SNAPSHOT_FETCH).bind(id).optional().await
    }

    /// Snapshots of a team, or those of one member and the team's own, with ids above `after`.
    pub async fn snapshots_page(
        &mut self,
        team: TeamId,
        owner: Option<MemberId>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<SnapshotRow>> {
        let owner = owner.map(|owner| owner.to_string()).unwrap_or_default();
        self.query(SNAPSHOTS_PAGE).bind(team).bind(owner).bind(after).bind(limit).all().await
    }

    /// Snapshots on a host that are neither failed nor gone.
    pub async fn snapshots_live_on(&mut self, host: HostId) -> Result<Vec<SnapshotRow>> {
        self.query(SNAPSHOTS_LIVE_ON).bind(host).all().await
    }

    /// Snapshots of an instance that are neither failed nor gone.
    pub async fn snapshots_live_of(&mut self, instance: InstanceId) -> Result<Vec<SnapshotRow>> {
        self.query(SNAPSHOTS_LIVE_OF).bind(instance).all().await
    }
}

impl Tx {
    /// Writes a new snapshot.
    pub async fn snapshot_insert(&mut self, row: &SnapshotRow) -> Result<()> {
        self.query(SNAPSHOT_INSERT)
            .bind(row.id)
            .bind(row.team)
            .bind(row.owner)
            .bind(row.taken_by)
            .bind(row.instance)
            .bind(row.host)
            .bind(row.image)
            .bind(&row.name)
            .bind(&row.note)
            .bind(row.cause)
            .bind(row.state)
            .bind(&row.reason)
            .bind(&row.stored_as)
            .bind(row.size_bytes)
            .bind(row.created_at)
            .bind(row.taking_at)
            .bind(row.ready_at)
            .bind(row.version)
            .execute()
            .await?;
        Ok(())
    }

    /// Writes what may change of a snapshot, and gives it back with its new version.
    ///
    /// # Errors
    /// [`super::Error::Moved`] when the row is no longer the one that was read.
    pub async fn snapshot_save(&mut self, mut row: SnapshotRow) -> Result<SnapshotRow> {
        let save = self.query(SNAPSHOT_SAVE).bind(row.id).bind(row.version).bind(row.owner).bind(row.state);
        let save = save.bind(&row.reason).bind(&row.stored_as).bind(row.size_bytes);
        if save.bind(row.taking_at).bind(row.ready_at).execute().await? != 1 {
            return Err(super::Error::Moved);
        }
        row.version += 1;
        Ok(row)
    }
}
