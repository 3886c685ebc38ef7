//! Statements: a team's months, closed or still open, and what is behind each of them.

use serde::Serialize;
use serde_json::Value;

use super::{App, gate::Scope};
use crate::{
    csv,
    digest::Digest,
    error::{Error, Result},
    ids::{CreditNoteId, MemberId, SegmentId, StatementId, TeamId, TransactionId},
    ledger::{
        rating::Charge,
        statement::{Carry, Drawn, Statement, Usage, Window},
    },
    model::{
        action::Action,
        page::{Items, Page, View},
    },
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::{
        Conn,
        identity::TeamRow,
        statements::{ChargeLine, MoveRow, NoteCharges, NoteRow, StatementRow},
    },
    time::{Month, TimeZone, Timestamp},
};

/// Rows of an export that are read at once.
const EXPORT_PAGE: u32 = 500;

/// The columns of an exported statement: some are of transactions, some of charges.
const EXPORT_COLUMNS: [&str; 23] = [
    "record",
    "seq",
    "transaction",
    "kind",
    "occurred_at",
    "recorded_at",
    "actor",
    "member",
    "account",
    "resource",
    "in",
    "out",
    "owed",
    "product",
    "from",
    "to",
    "quantity",
    "amount",
    "uncovered",
    "charge",
    "price_version",
    "component_digest",
    "reason",
];

/// How far a month is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MonthState {
    /// It is open: computed anew with every look.
    Draft,
    /// It is closed and stays as it is.
    Final,
}

/// A month in the list of statements.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct StatementItem {
    /// The month, such as `2026-11`.
    pub month: String,
    /// How far it is.
    pub state: MonthState,
    /// Its place among the closed ones.
    pub number: Option<u64>,
    /// What was in the pool and the wallets when it began; once closed, and to whoever sees the team's books.
    pub opening: Option<Credits>,
    /// What is in them when it ends; likewise.
    pub closing: Option<Credits>,
    /// When it was closed.
    pub issued_at: Option<Timestamp>,
    /// Digest of the closed document.
    pub digest: Option<String>,
}

/// A team's month, or one member's part of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct StatementView {
    /// The month, such as `2026-11`.
    pub month: String,
    /// How far it is.
    pub state: MonthState,
    /// The closed statement.
    pub id: Option<StatementId>,
    /// When it was closed.
    pub issued_at: Option<Timestamp>,
    /// SHA-256 of the closed document: of `statement` with all keys in order and no spaces.
    pub digest: Option<String>,
    /// The whole team's month; absent in one member's view.
    #[schema(value_type = Option<Statement>)]
    pub statement: Option<Value>,
    /// What the member used; absent in the team's view.
    pub own: Option<Usage>,
}

/// A difference to a month that was closed before.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CreditNoteView {
    /// Its id.
    pub id: CreditNoteId,
    /// Its place among the team's credit notes, from 1.
    pub number: u64,
    /// The statement that it corrects.
    pub statement: StatementId,
    /// The month of that statement.
    pub month: String,
    /// The transaction that moved the difference.
    pub transaction: TransactionId,
    /// The member whose charges they are.
    pub member: Option<MemberId>,
    /// What it adds to that month; negative where it gives back.
    pub amount: Credits,
    /// Why.
    pub reason: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The charges that it is about, by segment.
    pub charges: Vec<CreditNoteCharges>,
}

/// The charges of one segment that a credit note is about.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CreditNoteCharges {
    /// The segment.
    pub segment: SegmentId,
    /// What was used.
    pub resource: String,
    /// Who used it.
    pub member: MemberId,
    /// The first interval.
    pub first_k: u64,
    /// The last interval.
    pub last_k: u64,
    /// How many charges there are.
    pub charges: u64,
    /// When the first interval begins.
    pub from: Timestamp,
    /// When the last one ends.
    pub to: Timestamp,
    /// What they sum to.
    pub amount: Credits,
}

/// A month as the books have it.
pub(super) struct Drafted {
    pub(super) statement: Statement,
    pub(super) window: Window,
    pub(super) row: Option<StatementRow>,
}

/// An export that was allowed, and how far it has come: each step reads the next rows.
pub struct StatementExport {
    team: TeamId,
    member: Option<MemberId>,
    window: Window,
    start_at: Timestamp,
    step: Step,
}

enum Step {
    Head,
    Moves(Window),
    Charges(Option<Box<Charge>>),
    Done,
}

impl App {
    /// The team's months, the latest first.
    pub async fn statements_page(
        &self,
        op: &Op,
        team: &str,
        view: View,
        page: &Page,
    ) -> Result<Items<StatementItem>> {
        let limit = page.limit()? as usize;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let owner = self.statement_look(op, &scope, view, Action::ListStatements).await?;
        let team = &scope.team;
        if let Some(cursor) = &page.cursor {
            month_parse(&team.terms.time_zone, "cursor", cursor)?;
        }
        let before = page.cursor.as_deref();
        let last = read.statement_last(team.id).await?;
        let mut months = months_of(team, last.as_ref(), op.now());
        months.retain(|month| before.is_none_or(|before| month.as_str() < before));
        months.reverse();
        let shown = Items::cut(months, limit as u32, Clone::clone);
        let (Some(latest), Some(first)) = (shown.items.first(), shown.items.last()) else {
            return Ok(Items { items: Vec::new(), next_cursor: None });
        };
        let rows = read.statements_between(team.id, first, latest).await?;
        let item = |month: String| StatementItem::of(month, &rows, owner.is_none());
        Ok(shown.map(item))
    }

    /// A month of the team, or one member's part of it.
    pub async fn statement(&self, op: &Op, team: &str, month: &str, view: View) -> Result<StatementView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let owner = self.statement_look(op, &scope, view, Action::GetStatement).await?;
        let drafted = statement_drafted(&mut read, op, &scope.team, month).await?;
        let own = match owner {
            None => None,
            Some(_) => {
                let start_at = drafted.statement.start_at;
                let used = read.window_used(scope.team.id, &drafted.window, start_at, owner).await?;
                Some(Usage::of(&used)?)
            }
        };
        StatementView::of(drafted, own)
    }

    /// Leave to export a month; [`App::statement_export_next`] reads it.
    pub async fn statement_export(
        &self,
        op: &Op,
        team: &str,
        month: &str,
        view: View,
    ) -> Result<StatementExport> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let member = self.statement_look(op, &scope, view, Action::GetStatement).await?;
        let drafted = statement_drafted(&mut read, op, &scope.team, month).await?;
        let (window, start_at) = (drafted.window, drafted.statement.start_at);
        Ok(StatementExport { team: scope.team.id, member, window, start_at, step: Step::Head })
    }

    /// The next lines of an export; `None` when it is whole. What it covers was fixed when it began.
    pub async fn statement_export_next(&self, export: &mut StatementExport) -> Result<Option<String>> {
        let step = std::mem::replace(&mut export.step, Step::Done);
        let mut read = self.db.read().await?;
        let mut lines = String::new();
        export.step = match step {
            Step::Done => return Ok(None),
            Step::Head => {
                lines += &csv::line(EXPORT_COLUMNS.map(Some));
                // One member's part has no transactions: they are the team's.
                if export.member.is_none() { Step::Moves(export.window) } else { Step::Charges(None) }
            }
            Step::Moves(mut window) => {
                let moves = read.window_moves_page(export.team, &window, EXPORT_PAGE).await?;
                lines.extend(moves.iter().map(move_line));
                match moves.last() {
                    None => Step::Charges(None),
                    Some(last) => {
                        window.first_seq = last.seq + 1;
                        Step::Moves(window)
                    }
                }
            }
            Step::Charges(after) => {
                let StatementExport { team, member, window, start_at, .. } = &*export;
                let after = after.as_deref();
                let page = read.window_charges_page(*team, window, *start_at, *member, after, EXPORT_PAGE);
                let mut page = page.await?;
                lines.extend(page.iter().map(charge_line));
                match page.pop() {
                    None => return Ok(None),
                    Some(last) => Step::Charges(Some(Box::new(last.charge))),
                }
            }
        };
        Ok(Some(lines))
    }

    /// The team's credit notes, or those about one member's charges, the latest first.
    pub async fn credit_notes_page(
        &self,
        op: &Op,
        team: &str,
        view: View,
        page: &Page,
    ) -> Result<Items<CreditNoteView>> {
        let (limit, before) = (page.limit()?, page.place::<u32>()?);
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let owner = self.statement_look(op, &scope, view, Action::ListCreditNotes).await?;
        let before = before.unwrap_or(u32::MAX);
        let rows = read.notes_page(scope.team.id, owner, u64::from(before), limit + 1).await?;
        let rows = Items::cut(rows, limit, |row| row.number.to_string());
        let mut items = Vec::with_capacity(rows.items.len());
        for row in rows.items {
            let charges = read.note_charges(&row).await?;
            items.push(CreditNoteView::of(row, charges));
        }
        Ok(Items { items, next_cursor: rows.next_cursor })
    }

    /// Asks for a look at the team's statements, or at one member's part: whose it is.
    pub(super) async fn statement_look(
        &self,
        op: &Op,
        scope: &Scope,
        view: View,
        action: Action,
    ) -> Result<Option<MemberId>> {
        let owner = scope.whose(view, None)?;
        let resource = Resource::Record { team: scope.team.id, owner };
        self.look(op, &scope.asker, action, resource, Facts::default()).await?;
        Ok(owner)
    }
}

/// The month that a text names.
pub(super) fn month_parse(zone: &TimeZone, pointer: &str, text: &str) -> Result<Month> {
    let month = zone.month_named(text);
    month.ok_or_else(|| Error::field(pointer, format!("expected a month such as 2026-11, got {text:?}")))
}

/// The first month of a team.
pub(super) fn month_first(team: &TeamRow) -> Month {
    team.terms.time_zone.month_at(team.created_at)
}

/// The month after the one with this name.
pub(super) fn month_after(zone: &TimeZone, name: &str) -> Result<Month> {
    let month = zone.month_named(name).ok_or_else(|| Error::internal(format!("no month is {name}")))?;
    Ok(zone.month_at(month.end_at))
}

/// The names of a team's months up to now, the first one first.
fn months_of(team: &TeamRow, last: Option<&StatementRow>, now: Timestamp) -> Vec<String> {
    let zone = &team.terms.time_zone;
    let mut month = month_first(team);
    let end = zone.month_at(now).name().max(last.map(|row| row.month.clone()).unwrap_or_default());
    let mut names = vec![month.name()];
    while month.name() < end {
        month = zone.month_at(month.end_at);
        names.push(month.name());
    }
    names
}

/// A month as the books have it: as it was closed, or computed from the last closed one on.
pub(super) async fn statement_drafted(
    conn: &mut Conn,
    op: &Op,
    team: &TeamRow,
    name: &str,
) -> Result<Drafted> {
    let zone = &team.terms.time_zone;
    month_parse(zone, "month", name)?;
    if let Some(row) = conn.statement_of_month(team.id, name).await? {
        let statement = row.read()?;
        let before = match row.number {
            1 => Carry::NOTHING,
            number => conn.statement_before(team.id, number).await?.ok_or_else(|| missing(&row))?.carry()?,
        };
        let upto = statement.cut();
        let window = Window { after: before.cut, upto, first_seq: before.first_seq };
        return Ok(Drafted { statement, window, row: Some(row) });
    }
    let last = conn.statement_last(team.id).await?;
    let (mut month, mut carry) = match &last {
        None => (month_first(team), Carry::NOTHING),
        Some(row) => (month_after(zone, &row.month)?, row.carry()?),
    };
    if name > zone.month_at(op.now()).name().as_str() || name < month.name().as_str() {
        return Err(Error::not_found("statement"));
    }
    let booked = conn.team_booked(team.id).await?;
    loop {
        let window = carry.window(&month, booked);
        if month.name() == name {
            let statement = statement_draw(conn, team, &month, &carry, &window).await?;
            return Ok(Drafted { statement, window, row: None });
        }
        let drawn = moved(conn, team.id, &month, &carry, &window).await?;
        carry = Statement::draw(team.id, zone, &month, &carry, &window, drawn)?.carry(None);
        month = zone.month_at(month.end_at);
    }
}

/// Draws up a month with everything in it.
pub(super) async fn statement_draw(
    conn: &mut Conn,
    team: &TeamRow,
    month: &Month,
    carry: &Carry,
    window: &Window,
) -> Result<Statement> {
    let mut drawn = moved(conn, team.id, month, carry, window).await?;
    drawn.used = conn.window_used(team.id, window, carry.start_of(month), None).await?;
    drawn.credit_notes = conn.window_notes(team.id, window).await?;
    Statement::draw(team.id, &team.terms.time_zone, month, carry, window, drawn)
}

/// What a month moved, without what it was used for: enough to go on from.
async fn moved(
    conn: &mut Conn,
    team: TeamId,
    month: &Month,
    carry: &Carry,
    window: &Window,
) -> Result<Drawn> {
    let lines = conn.window_moved(team, window, carry.start_of(month)).await?;
    let count = conn.window_counted(team, window).await?;
    Ok(Drawn { lines, count, used: Vec::new(), credit_notes: Vec::new() })
}

fn missing(row: &StatementRow) -> Error {
    Error::internal(format!("the statement before {} of {} is missing", row.month, row.team))
}

impl StatementRow {
    /// The statement that the document says.
    pub(super) fn read(&self) -> Result<Statement> {
        serde_json::from_str(&self.document).map_err(Error::internal)
    }

    /// What it leaves to the next one.
    pub(super) fn carry(&self) -> Result<Carry> {
        let digest: Digest = self.digest.parse().map_err(Error::internal)?;
        Ok(self.read()?.carry(Some(digest)))
    }
}

impl StatementItem {
    fn of(month: String, rows: &[StatementRow], whole: bool) -> Self {
        let row = rows.iter().find(|row| row.month == month);
        let books = row.filter(|_| whole);
        Self {
            state: if row.is_some() { MonthState::Final } else { MonthState::Draft },
            number: row.map(|row| row.number),
            opening: books.map(|row| row.opening),
            closing: books.map(|row| row.closing),
            issued_at: row.map(|row| row.issued_at),
            digest: books.map(|row| row.digest.clone()),
            month,
        }
    }
}

impl StatementView {
    fn of(drafted: Drafted, own: Option<Usage>) -> Result<Self> {
        let Drafted { statement, row, .. } = drafted;
        let whole = match &row {
            Some(row) => serde_json::from_str(&row.document).map_err(Error::internal)?,
            None => serde_json::to_value(&statement).map_err(Error::internal)?,
        };
        Ok(Self {
            state: if row.is_some() { MonthState::Final } else { MonthState::Draft },
            id: row.as_ref().map(|row| row.id),
            issued_at: row.as_ref().map(|row| row.issued_at),
            digest: row.as_ref().filter(|_| own.is_none()).map(|row| row.digest.clone()),
            statement: own.is_none().then_some(whole),
            month: statement.month,
            own,
        })
    }
}

impl CreditNoteView {
    fn of(row: NoteRow, charges: Vec<NoteCharges>) -> Self {
        let charges = charges.into_iter().map(|charges| CreditNoteCharges {
            segment: charges.segment,
            resource: charges.resource,
            member: charges.member,
            first_k: charges.first_k,
            last_k: charges.last_k,
            charges: charges.charges,
            from: charges.from_at,
            to: charges.to_at,
            amount: charges.amount,
        });
        Self {
            id: row.id,
            number: row.number,
            statement: row.statement,
            month: row.month.0,
            transaction: row.transaction,
            member: row.member,
            amount: row.amount,
            reason: row.reason,
            issued_at: row.issued_at,
            charges: charges.collect(),
        }
    }
}

/// A line of the export from what its columns hold; those that are not named are empty.
fn export_line(cells: &[(&str, String)]) -> String {
    let cell = |column: &str| cells.iter().find(|(name, _)| *name == column).map(|(_, text)| text.as_str());
    csv::line(EXPORT_COLUMNS.map(|column| cell(column).filter(|text| !text.is_empty())))
}

fn move_line(row: &MoveRow) -> String {
    let (incoming, outgoing) = match row.net.as_micros() {
        net if net >= 0 => (row.net, Credits::ZERO),
        net => (Credits::ZERO, Credits::from_micros(-net)),
    };
    export_line(&[
        ("record", "transaction".to_owned()),
        ("seq", row.seq.to_string()),
        ("transaction", row.id.to_string()),
        ("kind", row.kind.to_string()),
        ("occurred_at", row.occurred_at.to_string()),
        ("recorded_at", row.recorded_at.to_string()),
        ("actor", row.actor.clone()),
        ("member", row.member.map(|id| id.to_string()).unwrap_or_default()),
        ("resource", row.instance.map(|id| id.to_string()).unwrap_or_default()),
        ("in", incoming.to_string()),
        ("out", outgoing.to_string()),
        ("owed", row.owed.to_string()),
        ("reason", row.reason.clone()),
    ])
}

fn charge_line(row: &ChargeLine) -> String {
    let charge = &row.charge;
    export_line(&[
        ("record", "charge".to_owned()),
        ("seq", row.seq.to_string()),
        ("transaction", charge.transaction.map(|id| id.to_string()).unwrap_or_default()),
        ("kind", charge.kind.clone()),
        ("recorded_at", charge.created_at.to_string()),
        ("member", charge.member.to_string()),
        ("account", row.account.clone()),
        ("resource", charge.resource.clone()),
        ("product", row.sku.name.clone()),
        ("from", charge.from_at.to_string()),
        ("to", charge.to_at.to_string()),
        ("quantity", charge.quantity.to_string()),
        ("amount", charge.amount.to_string()),
        ("uncovered", charge.uncovered.to_string()),
        ("charge", format!("{}.{}.{}", charge.segment, charge.k, charge.revision)),
        ("price_version", charge.price_version.to_string()),
        ("component_digest", charge.component_digest.clone()),
        ("reason", charge.reason.clone()),
    ])
}
