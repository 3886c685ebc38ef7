//! Major version 1 of the interface, and how our nouns become its values.

use super::call::Guest;
use crate::model::price;

mod bindings {
    wasmtime::component::bindgen!({ path: "plugins/wit/v1", world: "pricing" });
}

pub(crate) use bindings::{
    Pricing, PricingPre,
    muster::plugin::{
        log,
        types::{self, PlannedUse, PluginError, RateContext, RateOutput, UsageRecord},
    },
};

impl types::Host for Guest {}

impl log::Host for Guest {
    fn emit(&mut self, level: log::Level, message: String) {
        self.log(level, &message);
    }
}

pub(crate) fn context(context: &price::RateContext) -> RateContext {
    RateContext {
        team: context.team.clone(),
        config: context.config.clone(),
        now: context.now.as_micros(),
        skus: context.skus.iter().map(sku).collect(),
        members: context.members.clone(),
        attrs: Vec::new(),
    }
}

fn sku(sku: &price::Sku) -> types::Sku {
    types::Sku {
        name: sku.name.clone(),
        kind: sku.kind.clone(),
        region: sku.region.clone(),
        instance_type: sku.instance_type.clone(),
        accelerator: sku.accelerator.clone(),
        unit_price: sku.unit_price.as_nanos(),
        attrs: Vec::new(),
    }
}

pub(crate) fn record(record: &price::UsageRecord) -> UsageRecord {
    UsageRecord {
        sku: record.sku,
        member: record.member,
        quantity: record.quantity,
        segment_start: record.segment_start.as_micros(),
        from: record.from.as_micros(),
        to: record.to.as_micros(),
    }
}

pub(crate) fn planned(planned: &price::PlannedUse) -> PlannedUse {
    PlannedUse {
        sku: planned.sku,
        member: planned.member,
        quantity: planned.quantity,
        start: planned.start.as_micros(),
    }
}
