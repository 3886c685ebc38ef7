//! Holds in the database. Their amounts move only together with a posting, and only while they are open.

use super::{
    error::Result,
    query::{Record, Row},
    tx::{Conn, Tx},
};
use crate::{
    ids::{HoldId, InstanceId},
    ledger::hold::Hold,
    money::Credits,
    time::Timestamp,
};

const HOLD_INSERT: &str = "
    INSERT INTO holds (id, team, member, instance, account, reserved, captured, released, extensions, state,
                       created_at, closed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

const HOLD_FETCH: &str = "SELECT * FROM holds WHERE id = $1";

const HOLD_OPEN_OF_INSTANCE: &str = "SELECT * FROM holds WHERE instance = $1 AND state = 'open'";

const HOLD_EXTEND: &str = "
    UPDATE holds SET reserved = reserved + $2, extensions = extensions + 1
    WHERE id = $1 AND state = 'open' AND extensions = $3";

const HOLD_CAPTURE: &str = "
    UPDATE holds SET captured = captured + $2
    WHERE id = $1 AND state = 'open' AND reserved - captured - released >= $2";

const HOLD_CLOSE: &str = "
    UPDATE holds SET released = released + $2, state = 'closed', closed_at = $3
    WHERE id = $1 AND state = 'open' AND reserved - captured - released = $2";

impl Tx {
    /// Writes a new hold.
    ///
    /// # Errors
    /// [`super::Error::Unique`] when its instance has an open one.
    pub async fn hold_insert(&mut self, hold: &Hold) -> Result<()> {
        let insert = self.query(HOLD_INSERT).bind(hold.id).bind(hold.team).bind(hold.member);
        let insert = insert.bind(hold.instance).bind(hold.account).bind(hold.reserved).bind(hold.captured);
        let insert = insert.bind(hold.released).bind(hold.extensions).bind(hold.state);
        insert.bind(hold.created_at).bind(hold.closed_at).execute().await.map(drop)
    }

    /// Adds `amount`; false when the hold is closed or was extended `extensions` times no longer.
    pub async fn hold_extend(&mut self, id: HoldId, amount: Credits, extensions: u32) -> Result<bool> {
        Ok(self.query(HOLD_EXTEND).bind(id).bind(amount).bind(extensions).execute().await? == 1)
    }

    /// Marks `covered` as charged; false when the hold is closed or has not so much left.
    pub async fn hold_capture(&mut self, id: HoldId, covered: Credits) -> Result<bool> {
        Ok(self.query(HOLD_CAPTURE).bind(id).bind(covered).execute().await? == 1)
    }

    /// Closes the hold, giving back `rest`; false when it is closed or `rest` is not exactly what it has
    /// left.
    pub async fn hold_close(&mut self, id: HoldId, rest: Credits, now: Timestamp) -> Result<bool> {
        Ok(self.query(HOLD_CLOSE).bind(id).bind(rest).bind(now).execute().await? == 1)
    }
}

impl Conn {
    /// A hold.
    pub async fn hold_fetch(&mut self, id: HoldId) -> Result<Option<Hold>> {
        self.query(HOLD_FETCH).bind(id).optional().await
    }

    /// The open hold of an instance.
    pub async fn hold_open_of_instance(&mut self, instance: InstanceId) -> Result<Option<Hold>> {
        self.query(HOLD_OPEN_OF_INSTANCE).bind(instance).optional().await
    }
}

impl Record for Hold {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            team: row.get("team")?,
            member: row.get("member")?,
            instance: row.get("instance")?,
            account: row.get("account")?,
            reserved: row.get("reserved")?,
            captured: row.get("captured")?,
            released: row.get("released")?,
            extensions: row.get("extensions")?,
            state: row.get("state")?,
            created_at: row.get("created_at")?,
            closed_at: row.get("closed_at")?,
        })
    }
}
