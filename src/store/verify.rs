//! Reads the whole books in one snapshot, page by page, through the checks of `ledger::verify`.

use super::{
    error::Result,
    every::{Numbered, PAGE, Placed, Used, is_full},
    shares::{PeriodOf, Pin},
    tx::Read,
};
use crate::{
    ids::TeamId,
    ledger::verify::{Report, Verifier},
    model::terms::TeamTerms,
};

const BOOKED_BY_TEAM: &str = "SELECT id, booked, terms FROM teams WHERE id > $1 ORDER BY id LIMIT $2";

impl Read {
    /// Checks everything that must be true of the books, as they stand at the moment of this reading.
    pub async fn ledger_verify(&mut self) -> Result<Report> {
        let mut checks = Verifier::new();
        self.read_teams(&mut checks).await?;
        self.each_row(|row| checks.account(row)).await?;
        self.each_row(|row: Numbered| checks.entry(&row.entry)).await?;
        self.each_row(|row| checks.hold(row)).await?;
        self.each_row(|row| checks.lot(row)).await?;
        self.each_row(|row: Placed| checks.lot_move(&row.moved)).await?;
        self.each_row(|Pin(hold, lot, amount)| checks.pin(hold, lot, amount)).await?;
        self.each_row(|row| checks.budget(row)).await?;
        self.each_row(|PeriodOf(budget, row)| checks.period(budget, row)).await?;
        self.each_row(|row| checks.claim(&row)).await?;
        self.each_row(|row| checks.segment(row)).await?;
        self.each_row(|row: Used| checks.charge(&row.charge, row.api_key)).await?;
        self.each_row(|row| checks.top_up(row)).await?;
        self.each_row(|row| checks.link(row)).await?;
        self.read_bookings(&mut checks).await?;
        Ok(checks.finish())
    }

    async fn read_teams(&mut self, checks: &mut Verifier) -> Result<()> {
        let mut after = String::new();
        loop {
            let page = self.query(BOOKED_BY_TEAM).bind(after).bind(PAGE);
            let page: Vec<(TeamId, u64, TeamTerms)> = page.all().await?;
            let Some((last, ..)) = page.last() else { return Ok(()) };
            let is_last = !is_full(&page);
            after = last.to_string();
            page.into_iter().for_each(|(team, booked, terms)| checks.team(team, booked, terms.time_zone));
            if is_last {
                return Ok(());
            }
        }
    }

    async fn read_bookings(&mut self, checks: &mut Verifier) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.bookings_page(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.header.team, last.seq));
            page.iter().for_each(|booking| checks.booking(booking));
            if !is_full(&page) {
                return Ok(());
            }
        }
    }
}
