//! Storage rates: what the operator asks for a gibibyte of storage. What has no rate is not billed.

use serde::{Deserialize, Serialize};

use super::{App, gate::Outcome};
use crate::{
    error::{Findings, Result},
    model::{
        action::Action,
        page::Items,
        storage::{self, StorageKind},
    },
    money::{Credits, NanoCredits},
    op::Op,
    policy::{Facts, Resource},
    store::storage::StorageRateRow,
    time::Timestamp,
};

/// The highest rate: a gibibyte that costs more per hour is a slip of the keyboard.
const HIGHEST_RATE: Credits = Credits::from_micros(1_000 * crate::money::MICROS_PER_CREDIT);

/// A rate to set.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStorageRate {
    /// What is stored.
    pub kind: StorageKind,
    /// Where; empty, as unless told, for every region that has no rate of its own.
    #[serde(default)]
    pub region: String,
    /// Credits for one gibibyte (2^30 bytes) and hour, 0 to 1000. With 0 it is not billed there.
    pub price_per_gib_hour: Credits,
}

/// What a gibibyte of storage costs.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct StorageRateView {
    /// What is stored.
    pub kind: StorageKind,
    /// Where; empty for every region that has no rate of its own.
    pub region: String,
    /// Credits for one gibibyte and hour.
    pub price_per_gib_hour: Credits,
    /// What price plugins are told: nano-credits for one mebibyte and hour, to the nearest whole one.
    pub nano_per_mib_hour: NanoCredits,
    /// Raised by every change.
    pub version: i64,
    /// When it was first set.
    pub created_at: Timestamp,
}

impl StorageRateView {
    fn of(row: StorageRateRow) -> Result<Self> {
        Ok(Self {
            nano_per_mib_hour: storage::per_mib_hour(row.price_per_gib_hour)?,
            kind: row.kind,
            region: row.region,
            price_per_gib_hour: row.price_per_gib_hour,
            version: row.version,
            created_at: row.created_at,
        })
    }
}

impl App {
    /// Sets a rate. What is stored already costs it from the next measurement on.
    pub async fn storage_rate_put(&self, op: &Op, new: NewStorageRate) -> Result<StorageRateView> {
        let mut findings = Findings::new();
        findings.text(&new.region, "/region", 0, 64);
        let fine = (Credits::ZERO..=HIGHEST_RATE).contains(&new.price_per_gib_hour);
        let told = format!("0 to {HIGHEST_RATE} credits, got {}", new.price_per_gib_hour);
        findings.check(fine, "/price_per_gib_hour", told);
        findings.done()?;
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &asker, Action::PutStorageRate, Resource::Site, Facts::default()).await?;
        let row = tx.storage_rate_put(new.kind, &new.region, new.price_per_gib_hour, op.now()).await?;
        let view = StorageRateView::of(row)?;
        let outcome = Outcome {
            team: String::new(),
            target: format!("{}/{}", view.kind, view.region),
            document: serde_json::json!({ "price_per_gib_hour": view.price_per_gib_hour }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    /// All rates.
    pub async fn storage_rates(&self, op: &Op) -> Result<Items<StorageRateView>> {
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::ListStorageRates, Resource::Site, Facts::default()).await?;
        let rows = read.storage_rates().await?;
        let items = rows.into_iter().map(StorageRateView::of).collect::<Result<_>>()?;
        Ok(Items { items, next_cursor: None })
    }
}

/// What a gibibyte costs for an hour in a region: by its own rate, else by that of every region. `None` where there is
/// no rate, or it is nothing: then nothing is billed.
pub(crate) fn rate_in(rates: &[StorageRateRow], kind: StorageKind, region: &str) -> Option<Credits> {
    let of = |region: &str| rates.iter().find(|rate| rate.kind == kind && rate.region == region);
    let rate = of(region).or_else(|| of(""))?.price_per_gib_hour;
    rate.is_positive().then_some(rate)
}
