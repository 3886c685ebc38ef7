//! What a charge was computed from: everything that a price was told of one interval, with its digest.
//!
//! A charge can be computed again from this and the price's component alone, on any machine.

use serde::{Deserialize, Serialize};

use super::interval::{Interval, Segment};
use crate::{
    digest::Digest,
    model::price::{RateContext, Sku, UsageRecord},
    time::Timestamp,
};

/// What a price was told of one interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Told {
    /// The team.
    pub team: String,
    /// The member.
    pub member: String,
    /// What was rented.
    #[schema(value_type = Object)]
    pub sku: Sku,
    /// Units in use.
    pub quantity: u32,
    /// When the segment began.
    pub segment_start: Timestamp,
    /// When the interval began.
    pub from: Timestamp,
    /// When the interval ended.
    pub to: Timestamp,
    /// What the price was told the time was.
    pub now: Timestamp,
}

impl Told {
    /// What is told of an interval of a segment.
    pub fn of(segment: &Segment, interval: &Interval, now: Timestamp) -> Self {
        Self {
            team: segment.team.to_string(),
            member: segment.member.to_string(),
            sku: segment.sku.clone(),
            quantity: segment.quantity,
            segment_start: segment.start_at,
            from: interval.from,
            to: interval.to,
            now,
        }
    }

    /// Its digest, in hexadecimal: stored with the charge.
    pub fn digest(&self) -> String {
        // A plain struct of texts and numbers always has a JSON form.
        let text = serde_json::to_vec(self).unwrap_or_default();
        Digest::of(&text).to_string()
    }

    /// The call that asks a price for this interval alone.
    pub fn question(&self, config: String) -> (RateContext, UsageRecord) {
        let context = RateContext {
            team: self.team.clone(),
            config,
            now: self.now,
            skus: vec![self.sku.clone()],
            members: vec![self.member.clone()],
        };
        let record = UsageRecord {
            sku: 0,
            member: 0,
            quantity: self.quantity,
            segment_start: self.segment_start,
            from: self.from,
            to: self.to,
        };
        (context, record)
    }
}
