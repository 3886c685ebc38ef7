//! Holds in the database, to be read; the journal moves them, together with a posting.

use super::{
    error::Result,
    query::{Record, Row},
    tx::Conn,
};
use crate::{
    ids::{HoldId, InstanceId},
    ledger::hold::Hold,
};

const HOLD_FETCH: &str = "SELECT * FROM holds WHERE id = $1";

const HOLD_OPEN_OF_INSTANCE: &str = "SELECT * FROM holds WHERE instance = $1 AND state = 'open'";

const HOLD_LAST_OF_INSTANCE: &str = "
    SELECT * FROM holds WHERE instance = $1 ORDER BY created_at DESC, id DESC LIMIT 1";

impl Conn {
    /// A hold.
    pub async fn hold_fetch(&mut self, id: HoldId) -> Result<Option<Hold>> {
        self.query(HOLD_FETCH).bind(id).optional().await
    }

    /// The open hold of an instance.
    pub async fn hold_open_of_instance(&mut self, instance: InstanceId) -> Result<Option<Hold>> {
        self.query(HOLD_OPEN_OF_INSTANCE).bind(instance).optional().await
    }

    /// The last hold of an instance, open or not: it says which account the last run was paid from.
    pub async fn hold_last_of_instance(&mut self, instance: InstanceId) -> Result<Option<Hold>> {
        self.query(HOLD_LAST_OF_INSTANCE).bind(instance).optional().await
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
            api_key: row.get("api_key")?,
            extensions: row.get("extensions")?,
            state: row.get("state")?,
            created_at: row.get("created_at")?,
            closed_at: row.get("closed_at")?,
        })
    }
}
