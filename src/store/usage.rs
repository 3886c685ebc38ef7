//! What is held of each counted limit: one row per member and one per team, moved only by conditional
//! updates.

use super::{Conn, Error, Result, Tx, query::record};
use crate::{ids::TeamId, model::quota::Usage, money::Credits};

record! {
    struct UsageRow {
        instances: u32,
        gpus: u32,
        snapshots: u32,
        network_groups: u32,
        storage_bytes: u64,
        spend_per_hour: Credits,
    }
}

const USAGE_INSERT: &str = "
    INSERT INTO usages (holder, team, instances, gpus, snapshots, network_groups, storage_bytes)
    VALUES ($1, $2, 0, 0, 0, 0, 0)";

const USAGE_FETCH: &str = "
    SELECT u.instances, u.gpus, u.snapshots, u.network_groups, u.storage_bytes,
           CAST((SELECT COALESCE(SUM(i.quoted_per_hour), 0) FROM instances i
                  WHERE i.team = u.team AND (u.holder = u.team OR u.holder = i.member)
                    AND i.state NOT IN ('stopped', 'released', 'failed')) AS BIGINT) AS spend_per_hour
      FROM usages u WHERE u.holder = $1";

const USAGE_RESERVE: &str = "
    UPDATE usages SET instances = instances + $2, gpus = gpus + $3
     WHERE holder = $1
       AND (CAST($4 AS BIGINT) IS NULL OR instances + $2 <= $4)
       AND (CAST($5 AS BIGINT) IS NULL OR gpus + $3 <= $5)";

const USAGE_RELEASE: &str = "
    UPDATE usages SET instances = instances - $2, gpus = gpus - $3 WHERE holder = $1";

const USAGE_SNAPSHOT_RESERVE: &str = "
    UPDATE usages SET snapshots = snapshots + 1
     WHERE holder = $1 AND (CAST($2 AS BIGINT) IS NULL OR snapshots + 1 <= $2)";

const USAGE_SNAPSHOT_RELEASE: &str = "UPDATE usages SET snapshots = snapshots - 1 WHERE holder = $1";

impl Conn {
    /// What the holder, a member's or a team's id, holds; nothing when there is no row.
    pub async fn usage_fetch(&mut self, holder: &str) -> Result<Usage> {
        let row: Option<UsageRow> = self.query(USAGE_FETCH).bind(holder).optional().await?;
        Ok(row.map_or_else(Usage::default, |row| Usage {
            instances: row.instances,
            gpus: row.gpus,
            snapshots: row.snapshots,
            network_groups: row.network_groups,
            storage_bytes: row.storage_bytes,
            spend_per_hour: row.spend_per_hour,
        }))
    }
}

impl Tx {
    /// Writes the row of a new holder, who holds nothing.
    pub async fn usage_insert(&mut self, holder: &str, team: TeamId) -> Result<()> {
        self.query(USAGE_INSERT).bind(holder).bind(team).execute().await?;
        Ok(())
    }

    /// Counts instances and GPUs for the holder, unless that would cross one of the limits; whether it
    /// fitted.
    pub async fn usage_reserve(
        &mut self,
        holder: &str,
        instances: u32,
        gpus: u32,
        most_instances: Option<u32>,
        most_gpus: Option<u32>,
    ) -> Result<bool> {
        let query = self.query(USAGE_RESERVE).bind(holder).bind(instances).bind(gpus);
        Ok(query.bind(most_instances).bind(most_gpus).execute().await? == 1)
    }

    /// Gives instances and GPUs back.
    ///
    /// # Errors
    /// [`Error::Missing`] without such a holder, [`Error::Check`] when they hold less than that.
    pub async fn usage_release(&mut self, holder: &str, instances: u32, gpus: u32) -> Result<()> {
        let query = self.query(USAGE_RELEASE).bind(holder).bind(instances).bind(gpus);
        match query.execute().await? {
            0 => Err(Error::Missing),
            _ => Ok(()),
        }
    }

    /// Counts one more snapshot for the holder, unless that would cross the limit; whether it fitted.
    pub async fn usage_snapshot_reserve(&mut self, holder: &str, most: Option<u32>) -> Result<bool> {
        Ok(self.query(USAGE_SNAPSHOT_RESERVE).bind(holder).bind(most).execute().await? == 1)
    }

    /// Counts one snapshot less.
    ///
    /// # Errors
    /// [`Error::Missing`] without such a holder, [`Error::Check`] when they hold none.
    pub async fn usage_snapshot_release(&mut self, holder: &str) -> Result<()> {
        match self.query(USAGE_SNAPSHOT_RELEASE).bind(holder).execute().await? {
            0 => Err(Error::Missing),
            _ => Ok(()),
        }
    }
}
