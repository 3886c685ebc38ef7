//! Alerts in the database, and the figures that they watch.

use super::{Conn, Result, Tx, query::record};
use crate::{
    ids::{AccountId, AlertId, TeamId},
    model::alert::{AlertMetric, Figure},
    money::Credits,
    time::Timestamp,
};

record! {
    /// A figure that somebody wants to hear of.
    pub struct AlertRow {
        /// The alert.
        pub id: AlertId,
        /// Its team.
        pub team: TeamId,
        /// Which figure.
        pub metric: AlertMetric,
        /// The member whose wallet, or the budget; the empty text for the pool.
        pub subject: String,
        /// Where the bad side begins.
        pub threshold: Figure,
        /// Whether it fires the next time that the figure is on the bad side.
        pub armed: bool,
        /// When it fired last.
        pub fired_at: Option<Timestamp>,
        /// Raised by every change.
        pub version: i64,
        /// Who made it.
        pub created_by: String,
        /// When it was made.
        pub created_at: Timestamp,
    }
}

const ALERT_INSERT: &str = "
    INSERT INTO alerts (id, team, metric, subject, threshold, armed, fired_at, version, created_by, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const ALERT_FETCH: &str = "SELECT * FROM alerts WHERE id = $1";

const ALERTS_PAGE: &str = "SELECT * FROM alerts WHERE team = $1 AND id > $2 ORDER BY id LIMIT $3";

const ALERTS_OF_TEAM: &str = "SELECT * FROM alerts WHERE team = $1 ORDER BY id";

const ALERTS_COUNT: &str = "SELECT COUNT(*) FROM alerts WHERE team = $1";

const ALERT_TEAMS: &str = "SELECT DISTINCT team FROM alerts ORDER BY team";

const ALERT_ARM: &str = "
    UPDATE alerts SET armed = $3, fired_at = $4, version = version + 1 WHERE id = $1 AND version = $2";

const ALERT_DELETE: &str = "DELETE FROM alerts WHERE id = $1";

const COSTS_OF_TEAM: &str = "
    SELECT a.id, CAST(SUM(s.quoted_per_hour) AS BIGINT)
      FROM segments s
      LEFT JOIN holds h ON h.instance = s.instance AND h.state = 'open'
      JOIN accounts a ON a.id = COALESCE(s.account, h.account)
     WHERE s.team = $1 AND s.end_at IS NULL AND NOT s.settled
     GROUP BY a.id";

impl Conn {
    /// An alert.
    pub async fn alert_fetch(&mut self, id: AlertId) -> Result<Option<AlertRow>> {
        self.query(ALERT_FETCH).bind(id).optional().await
    }

    /// The team's alerts with ids above `after`.
    pub async fn alerts_page(&mut self, team: TeamId, after: &str, limit: u32) -> Result<Vec<AlertRow>> {
        self.query(ALERTS_PAGE).bind(team).bind(after).bind(limit).all().await
    }

    /// All alerts of the team.
    pub async fn alerts_of_team(&mut self, team: TeamId) -> Result<Vec<AlertRow>> {
        self.query(ALERTS_OF_TEAM).bind(team).all().await
    }

    /// How many alerts the team has.
    pub async fn alerts_count(&mut self, team: TeamId) -> Result<u32> {
        Ok(self.query(ALERTS_COUNT).bind(team).one::<(u32,)>().await?.0)
    }

    /// The teams that have alerts.
    pub async fn alert_teams(&mut self) -> Result<Vec<TeamId>> {
        Ok(self.query(ALERT_TEAMS).all::<(TeamId,)>().await?.into_iter().map(|(team,)| team).collect())
    }

    /// What runs now costs per hour, by the account that pays.
    pub async fn costs_of_team(&mut self, team: TeamId) -> Result<Vec<(AccountId, Credits)>> {
        self.query(COSTS_OF_TEAM).bind(team).all().await
    }
}

impl Tx {
    /// Writes a new alert.
    pub async fn alert_insert(&mut self, row: &AlertRow) -> Result<()> {
        let insert = self.query(ALERT_INSERT).bind(row.id).bind(row.team).bind(row.metric);
        let insert = insert.bind(&row.subject).bind(row.threshold).bind(row.armed).bind(row.fired_at);
        insert.bind(row.version).bind(&row.created_by).bind(row.created_at).execute().await.map(drop)
    }

    /// Writes whether an alert is armed and when it fired, if it is still at its version; whether it was.
    pub async fn alert_arm(&mut self, row: &AlertRow) -> Result<bool> {
        let update = self.query(ALERT_ARM).bind(row.id).bind(row.version).bind(row.armed);
        Ok(update.bind(row.fired_at).execute().await? == 1)
    }

    /// Takes an alert away.
    pub async fn alert_delete(&mut self, id: AlertId) -> Result<()> {
        self.query(ALERT_DELETE).bind(id).execute().await.map(drop)
    }
}
