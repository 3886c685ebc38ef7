//! Write a price plugin for muster in Rust.
//!
//! Implement [`Tariff`], name it in [`export!`], build for `wasm32-unknown-unknown` and turn the module into
//! a component. A plugin is a pure function: no clock, no chance, no files, no network, and every call meets
//! a fresh instance. `examples/list-price` is the smallest useful one.

#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit/v1",
        world: "pricing",
        pub_export_macro: true,
        default_bindings_module: "muster_plugin::bindings",
    });
}

pub mod cumulative;
mod panics;

pub use bindings::{
    export,
    exports::muster::plugin::tariff::Guest as Tariff,
    muster::plugin::{
        log,
        types::{Charge, NanoCredits, PlannedUse, PluginError, RateContext, RateOutput, Sku, UsageRecord},
    },
};
