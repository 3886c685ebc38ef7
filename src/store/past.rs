//! The books as they were: balances at an earlier moment, from the entries that were written by then.

use super::{convert::Blank, error::Result, query::record, tx::Conn};
use crate::{
    ids::{AccountId, MemberId, TeamId},
    ledger::account::{Account, Balance},
    money::Credits,
    time::Timestamp,
};

const SUMS_AT: &str = "
    SELECT e.account,
           CAST(SUM(CASE WHEN e.phase = 'posted' AND e.direction = 'debit' THEN e.amount ELSE 0 END) AS BIGINT)
               AS debits_posted,
           CAST(SUM(CASE WHEN e.phase = 'posted' AND e.direction = 'credit' THEN e.amount ELSE 0 END) AS BIGINT)
               AS credits_posted,
           CAST(SUM(CASE WHEN e.direction = 'credit' THEN 0 WHEN e.phase = 'pending' THEN e.amount
                         WHEN e.phase = 'released' THEN -e.amount ELSE 0 END) AS BIGINT) AS debits_pending,
           CAST(SUM(CASE WHEN e.direction = 'debit' THEN 0 WHEN e.phase = 'pending' THEN e.amount
                         WHEN e.phase = 'released' THEN -e.amount ELSE 0 END) AS BIGINT) AS credits_pending
    FROM transactions t JOIN entries e ON e.transaction_id = t.id
    WHERE t.team = $1 AND t.recorded_at <= $2
    GROUP BY e.account";

const CHARGES_TOTAL_AT: &str = "
    SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM charges
    WHERE team = $1 AND ($2 = '' OR member = $2) AND created_at <= $3";

record! {
    /// The counters of an account at some moment.
    struct Sums {
        /// The account.
        account: AccountId,
        /// Sum of all posted debits.
        debits_posted: Credits,
        /// Sum of all posted credits.
        credits_posted: Credits,
        /// Debits that were held.
        debits_pending: Credits,
        /// Credits that were expected.
        credits_pending: Credits,
    }
}

impl Conn {
    /// All accounts of the team with the balances that were written by `at`.
    pub async fn accounts_of_team_at(&mut self, team: TeamId, at: Timestamp) -> Result<Vec<Account>> {
        let mut accounts = self.accounts_of_team(team).await?;
        let sums: Vec<Sums> = self.query(SUMS_AT).bind(team).bind(at).all().await?;
        for account in &mut accounts {
            let found = sums.iter().find(|sums| sums.account == account.id);
            account.balance = found.map_or_else(Balance::default, |sums| Balance {
                debits_posted: sums.debits_posted,
                credits_posted: sums.credits_posted,
                debits_pending: sums.debits_pending,
                credits_pending: sums.credits_pending,
            });
        }
        Ok(accounts)
    }

    /// What the team, or one member of it, had been charged by `at`.
    pub async fn charges_total_at(
        &mut self,
        team: TeamId,
        member: Option<MemberId>,
        at: Timestamp,
    ) -> Result<Credits> {
        let sum = self.query(CHARGES_TOTAL_AT).bind(team).bind(Blank(member)).bind(at);
        let (sum,) = sum.one::<(Credits,)>().await?;
        Ok(sum)
    }
}
