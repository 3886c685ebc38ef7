//! Automatic top-ups in the database: one setting a team.

use super::{Conn, Result, Tx, query::record};
use crate::{ids::TeamId, money::Credits, time::Timestamp};

record! {
    /// When and how a team's pool is filled up by itself.
    pub struct AutoTopUpRow {
        /// The team.
        pub team: TeamId,
        /// Whether it is.
        pub active: bool,
        /// Below this the pool runs low.
        pub threshold: Credits,
        /// What it is filled up to; above the threshold.
        pub target: Credits,
        /// Who takes the payments.
        pub provider: String,
        /// The most in a day.
        pub day_cap: Credits,
        /// The most in a month.
        pub month_cap: Credits,
        /// The least time between two.
        pub min_gap_seconds: u32,
        /// Payments that failed in a row.
        pub failures: u32,
        /// No further one before this.
        pub next_at: Timestamp,
        /// Its version.
        pub version: i64,
    }
}

const AUTO_TOP_UP_FETCH: &str = "SELECT * FROM auto_top_ups WHERE team = $1";

const AUTO_TOP_UPS_DUE: &str = "
    SELECT * FROM auto_top_ups WHERE active AND next_at <= $1 AND team > $2 ORDER BY team LIMIT $3";

const AUTO_TOP_UP_INSERT: &str = "
    INSERT INTO auto_top_ups (team, active, threshold, target, provider, day_cap, month_cap, min_gap_seconds,
                              failures, next_at, version)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (team) DO NOTHING";

const AUTO_TOP_UP_UPDATE: &str = "
    UPDATE auto_top_ups
    SET active = $3, threshold = $4, target = $5, provider = $6, day_cap = $7, month_cap = $8,
        min_gap_seconds = $9, failures = $10, next_at = $11, version = $2 + 1
    WHERE team = $1 AND version = $2";

const AUTO_TOP_UP_DELETE: &str = "DELETE FROM auto_top_ups WHERE team = $1 AND version = $2";

const AUTO_TOP_UP_SUCCEEDED: &str = "
    UPDATE auto_top_ups SET failures = 0, next_at = 0 WHERE team = $1";

const AUTO_TOP_UP_FAILED: &str = "
    UPDATE auto_top_ups SET failures = $2, next_at = $3, active = $4 WHERE team = $1";

impl Conn {
    /// A team's setting.
    pub async fn auto_top_up_fetch(&mut self, team: TeamId) -> Result<Option<AutoTopUpRow>> {
        self.query(AUTO_TOP_UP_FETCH).bind(team).optional().await
    }

    /// At most `limit` settings that are active and may act by `now`, of teams after `after`.
    pub async fn auto_top_ups_due(
        &mut self,
        now: Timestamp,
        after: &str,
        limit: u32,
    ) -> Result<Vec<AutoTopUpRow>> {
        self.query(AUTO_TOP_UPS_DUE).bind(now).bind(after).bind(limit).all().await
    }
}

impl Tx {
    /// Writes a team's setting in the place of the one at `expected`, or the first one where that is 0; false when
    /// another is there.
    pub async fn auto_top_up_put(&mut self, row: &AutoTopUpRow, expected: i64) -> Result<bool> {
        let put = if expected == 0 {
            self.query(AUTO_TOP_UP_INSERT).bind(row.team)
        } else {
            self.query(AUTO_TOP_UP_UPDATE).bind(row.team).bind(expected)
        };
        let put = put.bind(row.active).bind(row.threshold).bind(row.target).bind(row.provider.as_str());
        let put = put.bind(row.day_cap).bind(row.month_cap).bind(row.min_gap_seconds).bind(row.failures);
        let put = put.bind(row.next_at);
        let put = if expected == 0 { put.bind(row.version) } else { put };
        Ok(put.execute().await? == 1)
    }

    /// Takes a team's setting away, if it is still at the expected version.
    pub async fn auto_top_up_delete(&mut self, team: TeamId, expected: i64) -> Result<bool> {
        Ok(self.query(AUTO_TOP_UP_DELETE).bind(team).bind(expected).execute().await? == 1)
    }

    /// Forgets the failures: a payment has arrived.
    pub async fn auto_top_up_succeeded(&mut self, team: TeamId) -> Result<()> {
        self.query(AUTO_TOP_UP_SUCCEEDED).bind(team).execute().await.map(drop)
    }

    /// Notes how many payments have failed in a row, when the next may be tried, and whether it may at all.
    pub async fn auto_top_up_failed(
        &mut self,
        team: TeamId,
        failures: u32,
        next_at: Timestamp,
        active: bool,
    ) -> Result<()> {
        let note = self.query(AUTO_TOP_UP_FAILED).bind(team).bind(failures).bind(next_at);
        note.bind(active).execute().await.map(drop)
    }
}
