//! Costs: a team's month as a FOCUS file, row by row.
//!
//! The rows are those of the month's statement, so what was used sums to what the statement says was charged.

use std::collections::VecDeque;

use super::{App, statements::statement_drafted};
use crate::{
    csv,
    error::Result,
    ids::{MemberId, TeamId},
    ledger::{
        focus::{COLUMNS, Category, Cost, CostUse, Frame},
        posting::TransactionKind,
        statement::Window,
    },
    model::{action::Action, page::View},
    op::Op,
    store::{AdjustmentRow, CostRow, GiftRow},
    time::{Span, TimeZone, Timestamp},
};

/// Longer than any day, shorter than any two.
const PAST_MIDNIGHT: Span = Span::from_seconds(30 * 3_600);

/// A cost file that was allowed, and how far it has come: each step reads the rows of the next day.
pub struct CostExport {
    frame: Frame,
    team: TeamId,
    member: Option<MemberId>,
    window: Window,
    steps: VecDeque<Step>,
}

enum Step {
    Head,
    /// A day, or a part of one; late when it is before the month.
    Day {
        from: Timestamp,
        to: Timestamp,
    },
    Rest,
}

impl App {
    /// Leave to export a month's costs; [`App::cost_export_next`] reads them.
    pub async fn cost_export(&self, op: &Op, team: &str, month: &str, view: View) -> Result<CostExport> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let member = self.statement_look(op, &scope, view, Action::ExportCosts).await?;
        let team = &scope.team;
        let drafted = statement_drafted(&mut read, op, team, month).await?;
        let (window, start_at) = (drafted.window, drafted.statement.start_at);
        let zone = &team.terms.time_zone;
        // The day before is looked at in any case: see `Conn::window_used`.
        let before = start_at - Span::from_seconds(3_600);
        let late = read.window_costs_begin(team.id, &window, start_at).await?;
        let first = zone.day_at(late.map_or(before, |late| late.min(before)));
        let mut steps = VecDeque::from([Step::Head]);
        steps.extend(days(zone, first, start_at));
        steps.extend(days(zone, start_at, window.upto.end_at));
        steps.push_back(Step::Rest);
        let frame = Frame {
            team: team.id,
            team_name: team.name.clone(),
            start_at,
            end_at: window.upto.end_at,
            invoice: drafted.row.map(|row| row.id),
            terms: self.settings.statements.costs.clone(),
        };
        Ok(CostExport { frame, team: team.id, member, window, steps })
    }

    /// The next lines of a cost file; `None` when it is whole.
    pub async fn cost_export_next(&self, export: &mut CostExport) -> Result<Option<String>> {
        let Some(step) = export.steps.pop_front() else { return Ok(None) };
        let mut read = self.db.read().await?;
        let CostExport { frame, team, member, window, .. } = &*export;
        let mut costs = Vec::new();
        match step {
            Step::Head => return Ok(Some(csv::line(COLUMNS.map(Some)))),
            Step::Day { from, to } => {
                let rows = read.window_costs(*team, window, (from, to), *member).await?;
                costs.extend(rows.into_iter().map(|row| of_use(row, from, to, from < frame.start_at)));
            }
            Step::Rest => {
                let gifts = read.window_gifts(*team, window, *member).await?;
                costs.extend(gifts.into_iter().map(|row| of_gift(row, frame)));
                if member.is_none() {
                    let adjusted = read.window_adjusted(*team, window).await?;
                    costs.extend(adjusted.into_iter().map(|row| of_adjustment(&row, frame)));
                }
            }
        }
        let mut lines = String::new();
        for cost in &costs {
            let cells = frame.cells(cost)?;
            lines += &csv::line(cells.iter().map(Option::as_deref));
        }
        Ok(Some(lines))
    }
}

/// The days from `from` up to `to`; the first and the last may be cut short.
fn days(zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<Step> {
    let (mut at, mut days) = (from, Vec::new());
    while at < to {
        let next = zone.day_at(zone.day_at(at) + PAST_MIDNIGHT).min(to);
        // A calendar without a next day has come to its end.
        let next = if next > at { next } else { to };
        days.push(Step::Day { from: at, to: next });
        at = next;
    }
    days
}

fn of_use(row: CostRow, from: Timestamp, to: Timestamp, correction: bool) -> Cost {
    let sku = row.sku.0;
    let what = if correction { "Correction of" } else { "Use of" };
    Cost {
        category: Category::Usage,
        correction,
        description: format!("{what} {} ({})", sku.name, sku.kind),
        from,
        to,
        member: Some((row.member, row.account)),
        credits: row.amount,
        used: Some(CostUse {
            resource: row.resource,
            resource_name: row.resource_name,
            sku,
            unit_micros: row.unit_micros,
            price_version: row.price_version,
            component_digest: row.component_digest,
        }),
    }
}

fn of_gift(row: GiftRow, frame: &Frame) -> Cost {
    Cost {
        category: Category::Credit,
        correction: false,
        description: "Use that was paid with given credits".to_owned(),
        from: frame.start_at,
        to: frame.end_at,
        member: row.member.map(|member| (member, row.account)),
        credits: row.amount,
        used: None,
    }
}

fn of_adjustment(row: &AdjustmentRow, frame: &Frame) -> Cost {
    let description = match row.kind {
        TransactionKind::Writeoff => "Debt that was given up",
        _ => "Paid credits that were lost unused",
    };
    Cost {
        category: Category::Adjustment,
        correction: false,
        description: format!("{description} ({})", row.id),
        from: frame.start_at,
        to: frame.end_at,
        member: None,
        credits: row.amount,
        used: None,
    }
}
