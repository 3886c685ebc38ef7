//! The journal of a team: read under the team's lock, written at once.
//!
//! Nothing relies on the lock alone: every row is written only if it is still as it was read (an account by the number
//! of its moves, a lot by its counters, a hold by its amounts), and the tables' own CHECKs stand behind that. However
//! many transactions a journal has, the database runs each statement here once, over a list in JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    error::{Error, Result},
    shares::{PeriodOf, Pin},
    tx::{Conn, Tx},
};
use crate::{
    ids::{ApiKeyId, BudgetId, HoldId, InstanceId, LotId, MemberId, TeamId, TransactionId},
    ledger::{
        account::Account,
        budget::{Budget, Claim},
        hold::Hold,
        journal::{Journal, Rows, Team},
        lot::{Lot, Part},
    },
    model::terms::TeamTerms,
    money::Credits,
    op::Op,
    time::Timestamp,
};

const BOOKS: &str = "SELECT booked, terms, credit_limit FROM teams WHERE id = $1";

const ACCOUNTS_SQLITE: &str = "
    SELECT * FROM accounts
    WHERE team = $1 AND (member = '' OR member IN (SELECT value FROM json_each($2)))";
const ACCOUNTS_POSTGRES: &str = "
    SELECT * FROM accounts
    WHERE team = $1
      AND (member = '' OR member = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($2 AS TEXT)::jsonb))))";

const LOTS_SQLITE: &str = "
    SELECT * FROM lots WHERE account IN (SELECT value FROM json_each($1)) AND amount > spent + expired
    UNION
    SELECT * FROM lots WHERE id IN (SELECT value FROM json_each($2))";
const LOTS_POSTGRES: &str = "
    SELECT * FROM lots
    WHERE account = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS TEXT)::jsonb))) AND amount > spent + expired
    UNION
    SELECT * FROM lots WHERE id = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($2 AS TEXT)::jsonb)))";

const HOLDS_SQLITE: &str = "
    SELECT * FROM holds WHERE state = 'open' AND instance IN (SELECT value FROM json_each($1))";
const HOLDS_POSTGRES: &str = "
    SELECT * FROM holds
    WHERE state = 'open' AND instance = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS TEXT)::jsonb)))";

const PINS_SQLITE: &str = "SELECT * FROM pins WHERE hold IN (SELECT value FROM json_each($1))";
const PINS_POSTGRES: &str = "
    SELECT * FROM pins WHERE hold = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS TEXT)::jsonb)))";

const CLAIMS_SQLITE: &str = "SELECT * FROM budget_claims WHERE hold IN (SELECT value FROM json_each($1))";
const CLAIMS_POSTGRES: &str = "
    SELECT * FROM budget_claims WHERE hold = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS TEXT)::jsonb)))";

const BUDGETS_SQLITE: &str = "
    SELECT * FROM budgets
    WHERE team = $1 AND (active AND subject IN (SELECT value FROM json_each($2))
                         OR id IN (SELECT value FROM json_each($3)))";
const BUDGETS_POSTGRES: &str = "
    SELECT * FROM budgets
    WHERE team = $1
      AND (active AND subject = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($2 AS TEXT)::jsonb)))
           OR id = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($3 AS TEXT)::jsonb))))";

const PERIODS_SQLITE: &str = "SELECT * FROM budget_periods WHERE budget IN (SELECT value FROM json_each($1))";
const PERIODS_POSTGRES: &str = "
    SELECT * FROM budget_periods
    WHERE budget = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS TEXT)::jsonb)))";

const BOOKED_ADVANCE: &str = "UPDATE teams SET booked = $2 WHERE id = $1 AND booked = $3";

const TRANSACTIONS_INSERT_SQLITE: &str = "
    INSERT INTO transactions (id, team, kind, occurred_at, recorded_at, actor, reason, member, instance,
                              reverses, idem_key, seq)
    SELECT value->>'id', value->>'team', value->>'kind', value->>'occurred_at', value->>'recorded_at',
           value->>'actor', value->>'reason', value->>'member', value->>'instance', value->>'reverses',
           value->>'idem_key', value->>'seq'
    FROM json_each($1) WHERE TRUE
    ON CONFLICT DO NOTHING";
const TRANSACTIONS_INSERT_POSTGRES: &str = "
    INSERT INTO transactions (id, team, kind, occurred_at, recorded_at, actor, reason, member, instance,
                              reverses, idem_key, seq)
    SELECT * FROM jsonb_to_recordset(CAST($1 AS TEXT)::jsonb)
        AS n(id TEXT, team TEXT, kind TEXT, occurred_at BIGINT, recorded_at BIGINT, actor TEXT, reason TEXT,
             member TEXT, instance TEXT, reverses TEXT, idem_key TEXT, seq BIGINT)
    ON CONFLICT DO NOTHING";

const ENTRIES_INSERT_SQLITE: &str = "
    INSERT INTO entries (transaction_id, line, account, account_move, direction, phase, amount)
    SELECT value->>'t', value->>'line', value->>'account', value->>'move', value->>'direction', value->>'phase',
           value->>'amount'
    FROM json_each($1)";
const ENTRIES_INSERT_POSTGRES: &str = "
    INSERT INTO entries (transaction_id, line, account, account_move, direction, phase, amount)
    SELECT * FROM jsonb_to_recordset(CAST($1 AS TEXT)::jsonb)
        AS n(t TEXT, line BIGINT, account TEXT, move BIGINT, direction TEXT, phase TEXT, amount BIGINT)";

const LOTS_INSERT_SQLITE: &str = "
    INSERT INTO lots (id, team, account, category, priority, effective_at, expires_at, parent, origin,
                      transaction_id, amount, pinned, spent, expired)
    SELECT value->>'id', value->>'team', value->>'account', value->>'category', value->>'priority',
           value->>'effective_at', value->>'expires_at', value->>'parent', value->>'origin',
           value->>'transaction_id', value->>'amount', value->>'pinned', value->>'spent', value->>'expired'
    FROM json_each($1)";
const LOTS_INSERT_POSTGRES: &str = "
    INSERT INTO lots (id, team, account, category, priority, effective_at, expires_at, parent, origin,
                      transaction_id, amount, pinned, spent, expired)
    SELECT * FROM jsonb_to_recordset(CAST($1 AS TEXT)::jsonb)
        AS n(id TEXT, team TEXT, account TEXT, category TEXT, priority BIGINT, effective_at BIGINT,
             expires_at BIGINT, parent TEXT, origin TEXT, transaction_id TEXT, amount BIGINT, pinned BIGINT,
             spent BIGINT, expired BIGINT)";

const LOT_MOVES_INSERT_SQLITE: &str = "
    INSERT INTO lot_moves (transaction_id, line, place, lot, amount)
    SELECT value->>'t', value->>'line', value->>'place', value->>'lot', value->>'amount' FROM json_each($1)";
const LOT_MOVES_INSERT_POSTGRES: &str = "
    INSERT INTO lot_moves (transaction_id, line, place, lot, amount)
    SELECT * FROM jsonb_to_recordset(CAST($1 AS TEXT)::jsonb)
        AS n(t TEXT, line BIGINT, place BIGINT, lot TEXT, amount BIGINT)";

const ACCOUNTS_UPDATE_SQLITE: &str = "
    UPDATE accounts
    SET debits_posted = n.value->>'debits_posted', credits_posted = n.value->>'credits_posted',
        debits_pending = n.value->>'debits_pending', credits_pending = n.value->>'credits_pending',
        moves = n.value->>'moves'
    FROM json_each($1) n
    WHERE accounts.id = n.value->>'id' AND accounts.moves = n.value->>'seen'";
const ACCOUNTS_UPDATE_POSTGRES: &str = "
    UPDATE accounts
    SET debits_posted = n.debits_posted, credits_posted = n.credits_posted,
        debits_pending = n.debits_pending, credits_pending = n.credits_pending, moves = n.moves
    FROM jsonb_to_recordset(CAST($1 AS TEXT)::jsonb)
        AS n(id TEXT, seen BIGINT, moves BIGINT, debits_posted BIGINT, credits_posted BIGINT,
             debits_pending BIGINT, credits_pending BIGINT)
    WHERE accounts.id = n.id AND accounts.moves = n.seen";

const LOTS_UPDATE_SQLITE: &str = "
    UPDATE lots
    SET pinned = n.value->>'pinned', spent = n.value->>'spent', expired = n.value->>'expired'
    FROM json_each($1) n
    WHERE lots.id = n.value->>'id' AND lots.pinned = n.value->>'seen_pinned'
      AND lots.spent = n.value->>'seen_spent' AND lots.expired = n.value->>'seen_expired'";
const LOTS_UPDATE_POSTGRES: &str = "
    UPDATE lots SET pinned = n.pinned, spent = n.spent, expired = n.expired
    FROM jsonb_to_recordset(CAST($1 AS TEXT)::jsonb)
        AS n(id TEXT, pinned BIGINT, spent BIGINT, expired BIGINT, seen_pinned BIGINT, seen_spent BIGINT,
             seen_expired BIGINT)
    WHERE lots.id = n.id AND lots.pinned = n.seen_pinned AND lots.spent = n.seen_spent
      AND lots.expired = n.seen_expired";

const HOLDS_PUT_SQLITE: &str = "
    INSERT INTO holds (id, team, member, instance, account, reserved, captured, released, extensions, state,
                       created_at, closed_at, api_key)
    SELECT value->>'id', value->>'team', value->>'member', value->>'instance', value->>'account',
           value->>'reserved', value->>'captured', value->>'released', value->>'extensions', value->>'state',
           value->>'created_at', value->>'closed_at', value->>'api_key'
    FROM json_each($1)";
const HOLDS_PUT_POSTGRES: &str = "
    INSERT INTO holds (id, team, member, instance, account, reserved, captured, released, extensions, state,
                       created_at, closed_at, api_key)
    SELECT * FROM jsonb_to_recordset(CAST($1 AS TEXT)::jsonb)
        AS n(id TEXT, team TEXT, member TEXT, instance TEXT, account TEXT, reserved BIGINT, captured BIGINT,
             released BIGINT, extensions BIGINT, state TEXT, created_at BIGINT, closed_at BIGINT, api_key TEXT)";

const HOLDS_UPDATE_SQLITE: &str = "
    UPDATE holds
    SET reserved = n.value->>'reserved', captured = n.value->>'captured', released = n.value->>'released',
        extensions = n.value->>'extensions', state = n.value->>'state', closed_at = n.value->>'closed_at'
    FROM json_each($1) n
    WHERE holds.id = n.value->>'id' AND holds.state = 'open' AND holds.reserved = n.value->>'seen_reserved'
      AND holds.captured = n.value->>'seen_captured' AND holds.extensions = n.value->>'seen_extensions'";
const HOLDS_UPDATE_POSTGRES: &str = "
    UPDATE holds
    SET reserved = n.reserved, captured = n.captured, released = n.released, extensions = n.extensions,
        state = n.state, closed_at = n.closed_at
    FROM jsonb_to_recordset(CAST($1 AS TEXT)::jsonb)
        AS n(id TEXT, reserved BIGINT, captured BIGINT, released BIGINT, extensions BIGINT, state TEXT,
             closed_at BIGINT, seen_reserved BIGINT, seen_captured BIGINT, seen_extensions BIGINT)
    WHERE holds.id = n.id AND holds.state = 'open' AND holds.reserved = n.seen_reserved
      AND holds.captured = n.seen_captured AND holds.extensions = n.seen_extensions";

const PINS_PUT_SQLITE: &str = "
    INSERT INTO pins (hold, lot, amount)
    SELECT value->>'hold', value->>'lot', value->>'amount' FROM json_each($1) WHERE TRUE
    ON CONFLICT (hold, lot) DO UPDATE SET amount = excluded.amount";
const PINS_PUT_POSTGRES: &str = "
    INSERT INTO pins (hold, lot, amount)
    SELECT * FROM jsonb_to_recordset(CAST($1 AS TEXT)::jsonb) AS n(hold TEXT, lot TEXT, amount BIGINT)
    ON CONFLICT (hold, lot) DO UPDATE SET amount = excluded.amount";

const PINS_CLEAR_SQLITE: &str = "
    DELETE FROM pins WHERE amount = 0 AND hold IN (SELECT value FROM json_each($1))";
const PINS_CLEAR_POSTGRES: &str = "
    DELETE FROM pins
    WHERE amount = 0 AND hold = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS TEXT)::jsonb)))";

const PERIODS_PUT_SQLITE: &str = "
    INSERT INTO budget_periods (budget, start_at, end_at, reserved, spent, told_percent)
    SELECT value->>'budget', value->>'start_at', value->>'end_at', value->>'reserved', value->>'spent',
           value->>'told_percent'
    FROM json_each($1) WHERE TRUE
    ON CONFLICT (budget, start_at)
    DO UPDATE SET reserved = excluded.reserved, spent = excluded.spent, told_percent = excluded.told_percent";
const PERIODS_PUT_POSTGRES: &str = "
    INSERT INTO budget_periods (budget, start_at, end_at, reserved, spent, told_percent)
    SELECT * FROM jsonb_to_recordset(CAST($1 AS TEXT)::jsonb)
        AS n(budget TEXT, start_at BIGINT, end_at BIGINT, reserved BIGINT, spent BIGINT, told_percent BIGINT)
    ON CONFLICT (budget, start_at)
    DO UPDATE SET reserved = excluded.reserved, spent = excluded.spent, told_percent = excluded.told_percent";

const CLAIMS_PUT_SQLITE: &str = "
    INSERT INTO budget_claims (hold, budget, start_at, reserved)
    SELECT value->>'hold', value->>'budget', value->>'start_at', value->>'reserved' FROM json_each($1) WHERE TRUE
    ON CONFLICT (hold, budget) DO UPDATE SET start_at = excluded.start_at, reserved = excluded.reserved";
const CLAIMS_PUT_POSTGRES: &str = "
    INSERT INTO budget_claims (hold, budget, start_at, reserved)
    SELECT * FROM jsonb_to_recordset(CAST($1 AS TEXT)::jsonb)
        AS n(hold TEXT, budget TEXT, start_at BIGINT, reserved BIGINT)
    ON CONFLICT (hold, budget) DO UPDATE SET start_at = excluded.start_at, reserved = excluded.reserved";

const CLAIMS_CLEAR_SQLITE: &str = "
    DELETE FROM budget_claims WHERE reserved = 0 AND hold IN (SELECT value FROM json_each($1))";
const CLAIMS_CLEAR_POSTGRES: &str = "
    DELETE FROM budget_claims
    WHERE reserved = 0 AND hold = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS TEXT)::jsonb)))";

const LOT_MOVES_OF: &str = "
    SELECT lot, amount FROM lot_moves WHERE transaction_id = $1 AND line = $2 ORDER BY place";

/// What a journal concerns, besides the team's own accounts: only these are read.
#[derive(Debug, Clone, Default)]
pub struct Concern {
    /// Members whose wallets, and budgets, are concerned.
    pub members: Vec<MemberId>,
    /// Instances whose open holds are concerned; their members are to be named too.
    pub instances: Vec<InstanceId>,
    /// API keys whose budgets are concerned.
    pub keys: Vec<ApiKeyId>,
    /// Lots that may be used up already, for money that comes back.
    pub lots: Vec<LotId>,
}

impl Concern {
    /// The team's own accounts and one member's.
    pub fn of(member: MemberId) -> Self {
        Self { members: vec![member], ..Self::default() }
    }

    /// The team's own accounts, one member's, and the open hold of one of their instances.
    pub fn hold_of(member: MemberId, instance: InstanceId) -> Self {
        Self { instances: vec![instance], ..Self::of(member) }
    }
}

impl Conn {
    /// The journal of a team as it stands, to look at: only a [`Tx`] writes one.
    ///
    /// # Errors
    /// [`Error::Missing`] without such a team.
    pub async fn journal_look(&mut self, op: &Op, team: TeamId, concern: &Concern) -> Result<Journal> {
        let (booked, terms, credit_limit): (u64, TeamTerms, Credits) =
            self.query(BOOKS).bind(team).one().await?;
        let mut rows = Rows::default();
        let members = list(&concern.members);
        let accounts = self.query_by(ACCOUNTS_SQLITE, ACCOUNTS_POSTGRES).bind(team).bind(members);
        let accounts: Vec<Account> = accounts.all().await?;
        let spendable: Vec<_> =
            accounts.iter().filter(|account| account.floor.is_some()).map(|account| account.id).collect();
        rows.accounts = accounts.into_iter().map(|account| (account.id, account)).collect();
        let lots = self.query_by(LOTS_SQLITE, LOTS_POSTGRES).bind(list(&spendable)).bind(list(&concern.lots));
        rows.lots = lots.all::<Lot>().await?.into_iter().map(|lot| (lot.id, lot)).collect();
        let mut keys = concern.keys.clone();
        if !concern.instances.is_empty() {
            let holds = self.query_by(HOLDS_SQLITE, HOLDS_POSTGRES).bind(list(&concern.instances));
            let holds: Vec<Hold> = holds.all().await?;
            keys.extend(holds.iter().filter_map(|hold| hold.api_key));
            let ids: Vec<HoldId> = holds.iter().map(|hold| hold.id).collect();
            rows.holds = holds.into_iter().map(|hold| (hold.id, hold)).collect();
            let pins = self.query_by(PINS_SQLITE, PINS_POSTGRES).bind(list(&ids)).all::<Pin>().await?;
            rows.pins = pins.into_iter().map(|Pin(hold, lot, amount)| ((hold, lot), amount)).collect();
            let claims =
                self.query_by(CLAIMS_SQLITE, CLAIMS_POSTGRES).bind(list(&ids)).all::<Claim>().await?;
            rows.claims = claims.into_iter().map(|claim| ((claim.hold, claim.budget), claim)).collect();
        }
        let budgets = self.budgets_counting(team, concern, &keys, &rows).await?;
        if !budgets.is_empty() {
            let ids: Vec<BudgetId> = budgets.keys().copied().collect();
            let periods = self.query_by(PERIODS_SQLITE, PERIODS_POSTGRES).bind(list(&ids));
            let periods = periods.all::<PeriodOf>().await?;
            rows.periods = periods
                .into_iter()
                .map(|PeriodOf(budget, period)| ((budget, period.start_at), period))
                .collect();
        }
        let op = op.clone();
        let lot_id = Box::new(move || op.id::<LotId>());
        Ok(Journal::new(Team { id: team, terms, credit_limit, booked }, budgets, rows, lot_id))
    }

    async fn budgets_counting(
        &mut self,
        team: TeamId,
        concern: &Concern,
        keys: &[ApiKeyId],
        rows: &Rows,
    ) -> Result<BTreeMap<BudgetId, Budget>> {
        let mut subjects = vec![team.to_string()];
        subjects.extend(concern.members.iter().map(ToString::to_string));
        subjects.extend(keys.iter().map(ToString::to_string));
        let claimed: Vec<BudgetId> = rows.claims.keys().map(|(_, budget)| *budget).collect();
        let budgets = self.query_by(BUDGETS_SQLITE, BUDGETS_POSTGRES).bind(team);
        let budgets = budgets.bind(list(&subjects)).bind(list(&claimed)).all::<Budget>().await?;
        Ok(budgets.into_iter().map(|budget| (budget.id, budget)).collect())
    }

    /// The lots that a line of a transaction moved, in the order in which they were taken.
    pub async fn lot_moves_of(&mut self, transaction: TransactionId, line: usize) -> Result<Vec<Part>> {
        let moves = self.query(LOT_MOVES_OF).bind(transaction).bind(line).all::<(LotId, Credits)>().await?;
        Ok(moves.into_iter().map(|(lot, amount)| Part { lot, amount }).collect())
    }
}

impl Tx {
    /// Opens the journal of a team: locks the team, and reads what `concern` names.
    ///
    /// # Errors
    /// [`Error::Missing`] without such a team.
    pub async fn journal(&mut self, op: &Op, team: TeamId, concern: &Concern) -> Result<Journal> {
        self.team_lock(team).await?;
        self.journal_look(op, team, concern).await
    }

    /// Writes what the journal did.
    ///
    /// # Errors
    /// [`Error::Recorded`] when one of its facts was recorded before, [`Error::Moved`] when a row is no longer as it
    /// was read: drop the transaction then.
    pub async fn journal_write(&mut self, journal: &Journal) -> Result<()> {
        let (read, rows) = (journal.rows_read(), journal.rows());
        self.transactions_write(journal).await?;
        let lots = changed(&read.lots, &rows.lots);
        self.all_or_none(
            LOTS_INSERT_SQLITE,
            LOTS_INSERT_POSTGRES,
            lots.fresh.iter().map(|lot| lot_json(lot)),
        )
        .await?;
        self.entries_write(journal).await?;
        let accounts = changed(&read.accounts, &rows.accounts).moved;
        let accounts = accounts.iter().map(|(was, is)| account_json(was, is));
        self.all_or_none(ACCOUNTS_UPDATE_SQLITE, ACCOUNTS_UPDATE_POSTGRES, accounts).await?;
        let moved = lots.moved.iter().map(|(was, is)| lot_moved_json(was, is));
        self.all_or_none(LOTS_UPDATE_SQLITE, LOTS_UPDATE_POSTGRES, moved).await?;
        let holds = changed(&read.holds, &rows.holds);
        let fresh = holds.fresh.iter().map(|hold| hold_json(hold));
        self.all_or_none(HOLDS_PUT_SQLITE, HOLDS_PUT_POSTGRES, fresh).await?;
        let moved = holds.moved.iter().map(|(was, is)| hold_moved_json(was, is));
        self.all_or_none(HOLDS_UPDATE_SQLITE, HOLDS_UPDATE_POSTGRES, moved).await?;
        self.shares_write(read, rows).await
    }

    async fn transactions_write(&mut self, journal: &Journal) -> Result<()> {
        let written = journal.written();
        if written.is_empty() {
            return Ok(());
        }
        let transactions = written.iter().map(|written| {
            let header = &written.header;
            json!({
                "id": header.id, "team": header.team, "kind": written.kind,
                "occurred_at": header.occurred_at.as_micros(), "recorded_at": header.recorded_at.as_micros(),
                "actor": header.actor, "reason": header.reason,
                "member": header.member.map(|id| id.to_string()).unwrap_or_default(),
                "instance": header.instance.map(|id| id.to_string()).unwrap_or_default(),
                "reverses": header.reverses, "idem_key": header.idem_key.as_str(), "seq": written.seq,
            })
        });
        let (team, count) = (journal.team(), written.len() as u64);
        let advance = self.query(BOOKED_ADVANCE).bind(team.id).bind(team.booked);
        if advance.bind(team.booked - count).execute().await? != 1 {
            return Err(Error::Moved);
        }
        let insert = self.query_by(TRANSACTIONS_INSERT_SQLITE, TRANSACTIONS_INSERT_POSTGRES);
        match insert.bind(Value::from_iter(transactions).to_string()).execute().await? {
            inserted if inserted == count => Ok(()),
            _ => Err(Error::Recorded),
        }
    }

    async fn entries_write(&mut self, journal: &Journal) -> Result<()> {
        let (mut entries, mut lot_moves) = (Vec::new(), Vec::new());
        for written in journal.written() {
            let id = written.header.id;
            for (place, line) in written.lines.iter().enumerate() {
                let (of, amount) = (&line.line, line.line.amount.as_micros());
                entries.push(json!({
                    "t": id, "line": place, "account": of.account, "move": line.account_move,
                    "direction": of.direction, "phase": of.phase, "amount": amount,
                }));
                for (nth, part) in line.lots.iter().enumerate() {
                    let amount = part.amount.as_micros();
                    lot_moves.push(
                        json!({ "t": id, "line": place, "place": nth, "lot": part.lot, "amount": amount }),
                    );
                }
            }
        }
        self.all_or_none(ENTRIES_INSERT_SQLITE, ENTRIES_INSERT_POSTGRES, entries).await?;
        self.all_or_none(LOT_MOVES_INSERT_SQLITE, LOT_MOVES_INSERT_POSTGRES, lot_moves).await
    }

    /// What holds have of lots and of budgets.
    async fn shares_write(&mut self, read: &Rows, rows: &Rows) -> Result<()> {
        let differs = |was: Option<&Credits>, is: &Credits| was.is_none_or(|was| was != is);
        let pins = rows.pins.iter().filter(|(key, amount)| differs(read.pins.get(key), amount));
        let pins: Vec<Value> = pins
            .map(|((hold, lot), amount)| json!({ "hold": hold, "lot": lot, "amount": amount.as_micros() }))
            .collect();
        let emptied: Vec<HoldId> = rows
            .pins
            .iter()
            .filter(|(_, amount)| **amount == Credits::ZERO)
            .map(|((hold, _), _)| *hold)
            .collect();
        self.all_or_none(PINS_PUT_SQLITE, PINS_PUT_POSTGRES, pins).await?;
        if !emptied.is_empty() {
            self.query_by(PINS_CLEAR_SQLITE, PINS_CLEAR_POSTGRES).bind(list(&emptied)).execute().await?;
        }
        let periods = rows.periods.iter().filter(|(key, period)| read.periods.get(key) != Some(period));
        let periods: Vec<Value> = periods
            .map(|((budget, start_at), period)| {
                json!({
                    "budget": budget, "start_at": start_at.as_micros(),
                    "end_at": period.end_at.map(Timestamp::as_micros), "reserved": period.reserved.as_micros(),
                    "spent": period.spent.as_micros(), "told_percent": period.told_percent,
                })
            })
            .collect();
        self.all_or_none(PERIODS_PUT_SQLITE, PERIODS_PUT_POSTGRES, periods).await?;
        let claims = rows.claims.iter().filter(|(key, claim)| read.claims.get(key) != Some(claim));
        let claims: Vec<&Claim> = claims.map(|(_, claim)| claim).collect();
        let puts = claims.iter().map(|claim| {
            json!({
                "hold": claim.hold, "budget": claim.budget, "start_at": claim.start_at.as_micros(),
                "reserved": claim.reserved.as_micros(),
            })
        });
        self.all_or_none(CLAIMS_PUT_SQLITE, CLAIMS_PUT_POSTGRES, puts).await?;
        let ended: Vec<HoldId> =
            claims.iter().filter(|claim| claim.reserved == Credits::ZERO).map(|claim| claim.hold).collect();
        if !ended.is_empty() {
            self.query_by(CLAIMS_CLEAR_SQLITE, CLAIMS_CLEAR_POSTGRES).bind(list(&ended)).execute().await?;
        }
        Ok(())
    }

    /// Runs a statement over a list; each of its items must touch one row.
    pub(super) async fn all_or_none(
        &mut self,
        sqlite: &'static str,
        postgres: &'static str,
        items: impl IntoIterator<Item = Value>,
    ) -> Result<()> {
        let items: Vec<Value> = items.into_iter().collect();
        if items.is_empty() {
            return Ok(());
        }
        let count = items.len() as u64;
        let touched = self.query_by(sqlite, postgres).bind(Value::Array(items).to_string()).execute().await?;
        if touched == count { Ok(()) } else { Err(Error::Moved) }
    }
}

/// Ids as a JSON array of texts.
pub(super) fn list<T: Serialize>(ids: &[T]) -> String {
    // Ids and texts always have a JSON form.
    serde_json::to_string(ids).unwrap_or_default()
}

/// Rows that a journal made, and those that it moved, as they were and as they are.
struct Changed<'a, T> {
    fresh: Vec<&'a T>,
    moved: Vec<(&'a T, &'a T)>,
}

fn changed<'a, K: Ord, T: PartialEq>(read: &'a BTreeMap<K, T>, rows: &'a BTreeMap<K, T>) -> Changed<'a, T> {
    let (mut fresh, mut moved) = (Vec::new(), Vec::new());
    for (key, is) in rows {
        match read.get(key) {
            None => fresh.push(is),
            Some(was) if was != is => moved.push((was, is)),
            Some(_) => {}
        }
    }
    Changed { fresh, moved }
}

fn lot_json(lot: &Lot) -> Value {
    json!({
        "id": lot.id, "team": lot.team, "account": lot.account, "category": lot.terms.category,
        "priority": lot.terms.priority, "effective_at": lot.effective_at.as_micros(),
        "expires_at": lot.terms.expires_at.map(Timestamp::as_micros), "parent": lot.parent, "origin": lot.origin,
        "transaction_id": lot.transaction, "amount": lot.amount.as_micros(), "pinned": lot.pinned.as_micros(),
        "spent": lot.spent.as_micros(), "expired": lot.expired.as_micros(),
    })
}

fn lot_moved_json(was: &Lot, is: &Lot) -> Value {
    json!({
        "id": is.id, "pinned": is.pinned.as_micros(), "spent": is.spent.as_micros(),
        "expired": is.expired.as_micros(), "seen_pinned": was.pinned.as_micros(),
        "seen_spent": was.spent.as_micros(), "seen_expired": was.expired.as_micros(),
    })
}

fn account_json(was: &Account, is: &Account) -> Value {
    let balance = &is.balance;
    json!({
        "id": is.id, "seen": was.moves, "moves": is.moves, "debits_posted": balance.debits_posted.as_micros(),
        "credits_posted": balance.credits_posted.as_micros(),
        "debits_pending": balance.debits_pending.as_micros(),
        "credits_pending": balance.credits_pending.as_micros(),
    })
}

fn hold_json(hold: &Hold) -> Value {
    json!({
        "id": hold.id, "team": hold.team, "member": hold.member, "instance": hold.instance,
        "account": hold.account, "reserved": hold.reserved.as_micros(), "captured": hold.captured.as_micros(),
        "released": hold.released.as_micros(), "extensions": hold.extensions, "state": hold.state,
        "created_at": hold.created_at.as_micros(), "closed_at": hold.closed_at.map(Timestamp::as_micros),
        "api_key": hold.api_key,
    })
}

fn hold_moved_json(was: &Hold, is: &Hold) -> Value {
    json!({
        "id": is.id, "reserved": is.reserved.as_micros(), "captured": is.captured.as_micros(),
        "released": is.released.as_micros(), "extensions": is.extensions, "state": is.state,
        "closed_at": is.closed_at.map(Timestamp::as_micros), "seen_reserved": was.reserved.as_micros(),
        "seen_captured": was.captured.as_micros(), "seen_extensions": was.extensions,
    })
}
