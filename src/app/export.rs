//! The export of the books, for the operator: what an auditor reads, and what two databases are compared by.

use serde::Deserialize;

use super::App;
use crate::{
    error::Result,
    model::action::Action,
    op::Op,
    policy::{Facts, Resource},
    store::{ExportCursor, Read},
};

/// What an export has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportForm {
    /// Everything in the books as it stands.
    Dump,
    /// The transactions in order, each with its lines and lots.
    Log,
}

/// An export under way: the books at the moment at which it began.
pub struct LedgerExport {
    read: Read,
    cursor: ExportCursor,
}

impl App {
    /// Begins an export of the books of all teams.
    pub async fn ledger_export(&self, op: &Op, form: ExportForm) -> Result<LedgerExport> {
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::ExportLedger, Resource::Site, Facts::default()).await?;
        let cursor = match form {
            ExportForm::Dump => ExportCursor::dump(),
            ExportForm::Log => ExportCursor::log(),
        };
        Ok(LedgerExport { read, cursor })
    }
}

impl LedgerExport {
    /// The next lines of JSON, each with its end; `None` after the last.
    ///
    /// # Errors
    /// What the database says; the export is incomplete then.
    pub async fn lines(&mut self) -> Result<Option<String>> {
        Ok(self.read.export_page(&mut self.cursor).await?)
    }
}
