//! Vouchers and who redeemed them. Of a code only its digest is stored.

use super::{Conn, Result, Tx, query::record};
use crate::{
    error::Error,
    ids::{MemberId, TeamId, TransactionId, VoucherId},
    money::Credits,
    time::Timestamp,
};

record! {
    /// A code that credits can be had for.
    pub struct VoucherRow {
        /// The voucher.
        pub id: VoucherId,
        /// Digest of its code.
        pub code_hash: Vec<u8>,
        /// The only team that may redeem it, by id; empty for any.
        pub team: String,
        /// How much it is worth; above zero.
        pub amount: Credits,
        /// What it is for.
        pub note: String,
        /// Until when the code can be redeemed.
        pub valid_until: Timestamp,
        /// For how many days the credits are good; `None`: for ever.
        pub credit_days: Option<u32>,
        /// How many teams may redeem it.
        pub most_uses: u32,
        /// How many have.
        pub uses: u32,
        /// Who made it.
        pub created_by: String,
        /// When it was made.
        pub created_at: Timestamp,
        /// When it was revoked.
        pub revoked_at: Option<Timestamp>,
    }
}

record! {
    /// A voucher that a team redeemed.
    pub struct RedemptionRow {
        /// The voucher.
        pub voucher: VoucherId,
        /// The team.
        pub team: TeamId,
        /// Who redeemed it.
        pub member: MemberId,
        /// The transaction that brought the credits.
        pub transaction_id: TransactionId,
        /// When.
        pub redeemed_at: Timestamp,
        /// How much it was worth.
        pub amount: Credits,
        /// For how many days the credits are good.
        pub credit_days: Option<u32>,
    }
}

const VOUCHER_INSERT: &str = "
    INSERT INTO vouchers (id, code_hash, team, amount, note, valid_until, credit_days, most_uses, uses, created_by,
                          created_at, revoked_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

const VOUCHER_FETCH: &str = "SELECT * FROM vouchers WHERE id = $1";

const VOUCHER_BY_HASH: &str = "SELECT * FROM vouchers WHERE code_hash = $1";

const VOUCHERS_PAGE: &str = "SELECT * FROM vouchers WHERE id < $1 ORDER BY id DESC LIMIT $2";

const VOUCHER_USE: &str = "
    UPDATE vouchers SET uses = uses + 1
    WHERE id = $1 AND uses < most_uses AND revoked_at IS NULL AND valid_until > $2";

const VOUCHER_REVOKE: &str = "UPDATE vouchers SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";

const REDEMPTION_INSERT: &str = "
    INSERT INTO voucher_redemptions (voucher, team, member, transaction_id, redeemed_at)
    VALUES ($1, $2, $3, $4, $5)";

const REDEMPTION_FETCH: &str = "
    SELECT r.*, v.amount, v.credit_days FROM voucher_redemptions r JOIN vouchers v ON v.id = r.voucher
    WHERE r.voucher = $1 AND r.team = $2";

const REDEMPTIONS_PAGE: &str = "
    SELECT r.*, v.amount, v.credit_days FROM voucher_redemptions r JOIN vouchers v ON v.id = r.voucher
    WHERE r.team = $1 AND r.transaction_id < $2 ORDER BY r.transaction_id DESC LIMIT $3";

/// Sorts after every id of a voucher.
const AFTER_ALL_VOUCHERS: &str = "vov";
/// Sorts after every id of a transaction.
const AFTER_ALL_TRANSACTIONS: &str = "txo";

impl Conn {
    /// A voucher.
    pub async fn voucher_fetch(&mut self, id: VoucherId) -> Result<Option<VoucherRow>> {
        self.query(VOUCHER_FETCH).bind(id).optional().await
    }

    /// The voucher whose code has this digest.
    pub async fn voucher_by_hash(&mut self, code_hash: &[u8]) -> Result<Option<VoucherRow>> {
        self.query(VOUCHER_BY_HASH).bind(code_hash).optional().await
    }

    /// At most `limit` vouchers before `before`, the newest first.
    pub async fn vouchers_page(&mut self, before: Option<VoucherId>, limit: u32) -> Result<Vec<VoucherRow>> {
        let before = before.map_or_else(|| AFTER_ALL_VOUCHERS.to_owned(), |id| id.to_string());
        self.query(VOUCHERS_PAGE).bind(before).bind(limit).all().await
    }

    /// What a team made of a voucher.
    pub async fn redemption_fetch(
        &mut self,
        voucher: VoucherId,
        team: TeamId,
    ) -> Result<Option<RedemptionRow>> {
        self.query(REDEMPTION_FETCH).bind(voucher).bind(team).optional().await
    }

    /// At most `limit` of a team's redemptions before that of the transaction `before`, the newest first.
    pub async fn redemptions_page(
        &mut self,
        team: TeamId,
        before: Option<TransactionId>,
        limit: u32,
    ) -> Result<Vec<RedemptionRow>> {
        let before = before.map_or_else(|| AFTER_ALL_TRANSACTIONS.to_owned(), |id| id.to_string());
        self.query(REDEMPTIONS_PAGE).bind(team).bind(before).bind(limit).all().await
    }
}

impl Tx {
    /// Writes a new voucher.
    pub async fn voucher_insert(&mut self, row: &VoucherRow) -> Result<()> {
        let insert = self.query(VOUCHER_INSERT).bind(row.id).bind(&row.code_hash).bind(row.team.as_str());
        let insert = insert.bind(row.amount).bind(row.note.as_str()).bind(row.valid_until);
        let insert = insert.bind(row.credit_days).bind(row.most_uses).bind(row.uses);
        let insert = insert.bind(row.created_by.as_str()).bind(row.created_at).bind(row.revoked_at);
        insert.execute().await.map(drop)
    }

    /// Counts a use of a voucher; false when it has none left, is revoked or over.
    pub async fn voucher_use(&mut self, id: VoucherId, now: Timestamp) -> Result<bool> {
        Ok(self.query(VOUCHER_USE).bind(id).bind(now).execute().await? == 1)
    }

    /// Revokes a voucher; false when it was revoked before.
    pub async fn voucher_revoke(&mut self, id: VoucherId, now: Timestamp) -> Result<bool> {
        Ok(self.query(VOUCHER_REVOKE).bind(id).bind(now).execute().await? == 1)
    }

    /// Writes who redeemed a voucher.
    ///
    /// # Errors
    /// The conflict `voucher-redeemed` when the team has redeemed it before.
    pub async fn redemption_insert(&mut self, row: &RedemptionRow) -> Result<()> {
        let insert = self.query(REDEMPTION_INSERT).bind(row.voucher).bind(row.team).bind(row.member);
        let insert = insert.bind(row.transaction_id).bind(row.redeemed_at);
        insert.or_conflict(redeemed).execute().await.map(drop)
    }
}

/// The error for a voucher that the team had before.
pub fn redeemed() -> Error {
    Error::conflict("voucher-redeemed", "your team has redeemed this voucher already; it is good once a team")
}
