//! Plugins: WebAssembly components that price usage, and the only room that knows wasmtime.
//!
//! A plugin is a pure function over plain values without WASI. Here it is checked, compiled in a child
//! process, and called with a budget on a fresh instance; its answer is believed only after `output` looked
//! at it. What to do when a plugin fails is decided by services, not here.

mod build;
mod call;
mod compile;
mod engine;
mod error;
mod host;
mod inspect;
mod limits;
mod output;
mod v1;

pub use build::{embed_manifest, encode_component, is_core_module};
pub use call::{LogLine, Spent};
pub use compile::{Compiler, compile_child_main};
pub use engine::Rung;
pub use error::Error;
pub use host::{Plugin, PluginSettings, Plugins};
pub use inspect::{Inspection, inspect};
pub use limits::Limits;

/// The world that price components implement.
pub const PRICING_WORLD: &str = "muster:plugin/pricing@1.0.0";

/// The price component that ships with the server; `plugins/examples/list-price` is its source.
pub fn default_price() -> &'static [u8] {
    include_bytes!("../../plugins/examples/list-price/list-price.wasm")
}
