//! What a price plugin is told and what it answers, in our own words; `plugins/` turns them into WIT values.
//!
//! A plugin is a pure function of these. Strings that repeat live once in the context; a record is numbers.

use serde::{Deserialize, Serialize};

use crate::{
    money::NanoCredits,
    time::{Span, Timestamp},
};

/// What a batch of records shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateContext {
    /// The team.
    pub team: String,
    /// The plugin's configuration, JSON text.
    pub config: String,
    /// The only clock that a plugin has: when the batch was closed.
    pub now: Timestamp,
    /// What is rented; records refer to it by index.
    pub skus: Vec<Sku>,
    /// Who uses it: member ids; records refer to them by index.
    pub members: Vec<String>,
}

/// Something with a list price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sku {
    /// The product's name.
    pub name: String,
    /// What is metered: `instance` is time of a running instance.
    pub kind: String,
    /// Region of the product.
    pub region: String,
    /// Instance type of the product.
    pub instance_type: String,
    /// Accelerator model, or `none`.
    pub accelerator: String,
    /// List price of one unit for one hour, as it stood when the instance was launched.
    pub unit_price: NanoCredits,
}

/// A span of use with constant quantity: one interval of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// Index into [`RateContext::skus`].
    pub sku: u32,
    /// Index into [`RateContext::members`].
    pub member: u32,
    /// Units in use.
    pub quantity: u32,
    /// When the segment began: a price may be a function of the time since.
    pub segment_start: Timestamp,
    /// When this span began.
    pub from: Timestamp,
    /// When this span ended; after `from`.
    pub to: Timestamp,
}

/// Use that is planned and has not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedUse {
    /// Index into [`RateContext::skus`].
    pub sku: u32,
    /// Index into [`RateContext::members`].
    pub member: u32,
    /// Units.
    pub quantity: u32,
    /// When it is expected to begin.
    pub start: Timestamp,
}

/// A line that a plugin charges for one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargeLine {
    /// Index of the record in the list that was rated.
    pub record: u32,
    /// Stable key of the line, `[a-z0-9-]{1,64}`.
    pub line: String,
    /// What it costs.
    pub amount: NanoCredits,
}

/// What a plugin expects a launch to cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// Cost per hour at the start: what a hold is computed from and charges are bounded by.
    pub per_hour: NanoCredits,
}

impl UsageRecord {
    /// The length of the span.
    pub fn span(&self) -> Span {
        self.to - self.from
    }
}
