//! Rows of lots, of what holds have pinned of them, and of budgets with their periods and claims.

use super::{
    error::Result,
    query::{Record, Row},
};
use crate::{
    ids::{BudgetId, HoldId, LotId},
    ledger::{
        budget::{Budget, Claim, Period},
        lot::{Lot, Terms},
    },
    money::Credits,
};

/// What a hold has pinned of a lot.
pub(super) struct Pin(pub(super) HoldId, pub(super) LotId, pub(super) Credits);

/// A period with the budget that it is of.
pub(super) struct PeriodOf(pub(super) BudgetId, pub(super) Period);

impl Record for Pin {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self(row.get("hold")?, row.get("lot")?, row.get("amount")?))
    }
}

impl Record for PeriodOf {
    fn from_row(row: &Row) -> Result<Self> {
        let period = Period {
            start_at: row.get("start_at")?,
            end_at: row.get("end_at")?,
            reserved: row.get("reserved")?,
            spent: row.get("spent")?,
            told_percent: row.get("told_percent")?,
        };
        Ok(Self(row.get("budget")?, period))
    }
}

impl Record for Claim {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            hold: row.get("hold")?,
            budget: row.get("budget")?,
            start_at: row.get("start_at")?,
            reserved: row.get("reserved")?,
        })
    }
}

impl Record for Lot {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            team: row.get("team")?,
            account: row.get("account")?,
            terms: Terms {
                category: row.get("category")?,
                priority: row.get("priority")?,
                expires_at: row.get("expires_at")?,
            },
            effective_at: row.get("effective_at")?,
            parent: row.get("parent")?,
            origin: row.get("origin")?,
            transaction: row.get("transaction_id")?,
            amount: row.get("amount")?,
            pinned: row.get("pinned")?,
            spent: row.get("spent")?,
            expired: row.get("expired")?,
        })
    }
}

impl Record for Budget {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            team: row.get("team")?,
            name: row.get("name")?,
            scope: row.get("scope")?,
            subject: row.get("subject")?,
            period: row.get("period")?,
            ceiling: row.get("ceiling")?,
            thresholds: row.get::<super::Json<Vec<u8>>>("thresholds")?.0,
            reaction: row.get("reaction")?,
            active: row.get("active")?,
            version: row.get("version")?,
            created_by: row.get("created_by")?,
            created_at: row.get("created_at")?,
        })
    }
}
