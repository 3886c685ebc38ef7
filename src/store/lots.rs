//! Lots outside of a journal: lists of them, and those that expire.

use super::{
    convert::Blank,
    error::Result,
    query::{Record, Row},
    tx::{Conn, Tx},
};
use crate::{
    ids::{LotId, MemberId, TeamId},
    ledger::lot::Lot,
    time::Timestamp,
};

const LOTS_PAGE: &str = "
    SELECT l.*, a.member AS holder FROM lots l JOIN accounts a ON a.id = l.account
    WHERE a.team = $1 AND ($2 = '' OR a.member = $2) AND l.amount > l.spent + l.expired AND l.id > $3
    ORDER BY l.id LIMIT $4";

const LOTS_OVER: &str = "
    SELECT l.*, a.member AS holder FROM lots l JOIN accounts a ON a.id = l.account
    WHERE l.expires_at IS NOT NULL AND l.expires_at <= $1 AND l.amount > l.spent + l.expired
      AND l.pinned + l.amount > l.spent + l.expired
    ORDER BY l.expires_at, l.id LIMIT $2";

const LOTS_EXPIRING: &str = "
    SELECT l.*, a.member AS holder FROM lots l JOIN accounts a ON a.id = l.account
    WHERE l.expires_at IS NOT NULL AND l.expires_at > $1 AND l.expires_at <= $2
      AND l.amount > l.spent + l.expired AND l.expiry_told_at IS NULL
    ORDER BY l.expires_at, l.id LIMIT $3";

const LOT_EXPIRY_TOLD: &str = "
    UPDATE lots SET expiry_told_at = $2 WHERE id = $1 AND expiry_told_at IS NULL";

/// A lot with whose wallet it is in; `None`: the team's pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLot {
    /// The lot.
    pub lot: Lot,
    /// Whose wallet it is in.
    pub member: Option<MemberId>,
}

impl Conn {
    /// At most `limit` lots with something left, the oldest first, with ids above `after`: a member's, or all of the
    /// team.
    pub async fn lots_page(
        &mut self,
        team: TeamId,
        member: Option<MemberId>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<HeldLot>> {
        self.query(LOTS_PAGE).bind(team).bind(Blank(member)).bind(after).bind(limit).all().await
    }

    /// At most `limit` lots of all teams that were over by `now` and have something that is not held, the longest over
    /// first.
    pub async fn lots_over(&mut self, now: Timestamp, limit: u32) -> Result<Vec<HeldLot>> {
        self.query(LOTS_OVER).bind(now).bind(limit).all().await
    }

    /// At most `limit` lots of all teams that will be over by `soon` and whose owner was not told, the first to end
    /// first.
    pub async fn lots_expiring(
        &mut self,
        now: Timestamp,
        soon: Timestamp,
        limit: u32,
    ) -> Result<Vec<HeldLot>> {
        self.query(LOTS_EXPIRING).bind(now).bind(soon).bind(limit).all().await
    }
}

impl Tx {
    /// Notes that the owner of a lot was told that it will expire; false when that was noted before.
    pub async fn lot_expiry_told(&mut self, id: LotId, now: Timestamp) -> Result<bool> {
        Ok(self.query(LOT_EXPIRY_TOLD).bind(id).bind(now).execute().await? == 1)
    }
}

impl Record for HeldLot {
    fn from_row(row: &Row) -> Result<Self> {
        let Blank(member) = row.get("holder")?;
        Ok(Self { lot: Lot::from_row(row)?, member })
    }
}
