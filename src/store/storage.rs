//! Storage in the database: the operator's rates, what was measured of drives, and the segments that meter it.

use super::{Conn, Result, Tx, query::record};
use crate::{
    ids::{DriveId, HostId, MemberId, TeamId},
    ledger::interval::Segment,
    model::storage::StorageKind,
    money::Credits,
    store::fleet::DriveRow,
    time::Timestamp,
};

record! {
    /// What a gibibyte costs for an hour.
    pub struct StorageRateRow {
        /// What is stored.
        pub kind: StorageKind,
        /// Where; empty for every region without a rate of its own.
        pub region: String,
        /// Credits per gibibyte and hour.
        pub price_per_gib_hour: Credits,
        /// Raised by every change.
        pub version: i64,
        /// When it was first set.
        pub created_at: Timestamp,
    }
}

const STORAGE_RATES: &str = "SELECT * FROM storage_rates ORDER BY kind, region";

const STORAGE_RATE_PUT: &str = "
    INSERT INTO storage_rates (kind, region, price_per_gib_hour, version, created_at) VALUES ($1, $2, $3, 1, $4)
    ON CONFLICT (kind, region) DO UPDATE
       SET price_per_gib_hour = excluded.price_per_gib_hour, version = storage_rates.version + 1
    RETURNING kind, region, price_per_gib_hour, version, created_at";

const DRIVES_ON: &str = "SELECT * FROM drives WHERE host = $1 ORDER BY id";

const DRIVE_MEASURED: &str = "UPDATE drives SET measured_bytes = $2, measured_at = $3 WHERE id = $1";

const TEAM_OWNER: &str = "
    SELECT id FROM members WHERE team = $1 AND role = 'owner' AND state <> 'removed' ORDER BY id LIMIT 1";

const SEGMENTS_NEXT: &str = "
    SELECT COALESCE(MAX(number) + 1, 0) FROM segments WHERE resource = $1 AND kind = $2";

const STORAGE_SEGMENTS_ON: &str = "
    SELECT * FROM segments
     WHERE end_at IS NULL
       AND (kind = 'drive' AND resource IN (SELECT id FROM drives WHERE host = $1)
            OR kind = 'stopped' AND instance IN (SELECT id FROM instances WHERE host = $1)
            OR kind = 'snapshot' AND resource IN (SELECT id FROM snapshots WHERE host = $1))";

const STORAGE_SEGMENTS_END: &str = "
    UPDATE segments
       SET end_at = CASE WHEN billed_until > proof_at THEN billed_until ELSE proof_at END,
           settled = (billed_until >= proof_at)
     WHERE end_at IS NULL
       AND (kind = 'drive' AND resource IN (SELECT id FROM drives WHERE host = $1)
            OR kind = 'stopped' AND instance IN (SELECT id FROM instances WHERE host = $1)
            OR kind = 'snapshot' AND resource IN (SELECT id FROM snapshots WHERE host = $1))";

impl Conn {
    /// All rates.
    pub async fn storage_rates(&mut self) -> Result<Vec<StorageRateRow>> {
        self.query(STORAGE_RATES).all().await
    }

    /// The drives on a host, of all teams.
    pub async fn drives_on(&mut self, host: HostId) -> Result<Vec<DriveRow>> {
        self.query(DRIVES_ON).bind(host).all().await
    }

    /// The owner of a team: whose use the team's own drives are.
    pub async fn team_owner(&mut self, team: TeamId) -> Result<Option<MemberId>> {
        Ok(self.query(TEAM_OWNER).bind(team).optional::<(MemberId,)>().await?.map(|(id,)| id))
    }

    /// The number of the next segment of this kind of a resource.
    pub async fn segments_next(&mut self, resource: &str, kind: &str) -> Result<u32> {
        Ok(self.query(SEGMENTS_NEXT).bind(resource).bind(kind).one::<(u32,)>().await?.0)
    }

    /// The running segments of what is stored on a host.
    pub async fn storage_segments_on(&mut self, host: HostId) -> Result<Vec<Segment>> {
        self.query(STORAGE_SEGMENTS_ON).bind(host).all().await
    }
}

impl Tx {
    /// Sets the rate of a kind in a region, and gives it as it is now.
    pub async fn storage_rate_put(
        &mut self,
        kind: StorageKind,
        region: &str,
        price_per_gib_hour: Credits,
        now: Timestamp,
    ) -> Result<StorageRateRow> {
        let put = self.query(STORAGE_RATE_PUT).bind(kind).bind(region);
        put.bind(price_per_gib_hour).bind(now).one().await
    }

    /// Notes how much is in a drive.
    pub async fn drive_measured(&mut self, id: DriveId, bytes: u64, at: Timestamp) -> Result<()> {
        self.query(DRIVE_MEASURED).bind(id).bind(bytes).bind(at).execute().await?;
        Ok(())
    }

    /// Ends the metering of what is stored on a host at its last proof, or where it is billed to if that is later.
    pub async fn storage_segments_end(&mut self, host: HostId) -> Result<()> {
        self.query(STORAGE_SEGMENTS_END).bind(host).execute().await?;
        Ok(())
    }
}
