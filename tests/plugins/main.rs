//! Plugins through their public door: real components, a real compile child, hostile guests.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../money/site.rs"]
#[expect(dead_code, reason = "the same server as in the tests of money, which ask more of it")]
mod site;

mod author;
mod cache;
mod desk;
mod guests;
mod guide;
mod hostile;
mod list_price;
mod sources;
mod uploads;

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use muster::{
    digest::Digest,
    model::price::{RateContext, Sku, UsageRecord},
    money::NanoCredits,
    plugins::{Compiler, Limits, Plugin, PluginSettings, Plugins, default_price},
    time::Timestamp,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The program under test compiles.
fn muster() -> Compiler {
    Compiler::Child(PathBuf::from(env!("CARGO_BIN_EXE_muster")))
}

/// A compiler that is not there: whatever asks for it fails with an internal error.
fn no_compiler() -> Compiler {
    Compiler::Child(PathBuf::from("/nonexistent/compiler"))
}

/// A host of its own, with an empty cache.
struct Host {
    plugins: Plugins,
    folder: TempDir,
}

impl Host {
    fn new(limits: Limits) -> Self {
        let folder = TempDir::new().unwrap();
        let plugins = start(&folder, muster(), limits);
        Self { plugins, folder }
    }

    /// Admits and loads `wasm`.
    async fn admitted(&self, wasm: impl Into<Bytes>) -> Arc<Plugin> {
        let inspection = self.plugins.admit(wasm.into()).await.unwrap();
        self.plugins.load(inspection.digest, async { unreachable!("it is in memory") }).await.unwrap()
    }
}

fn start(folder: &TempDir, compiler: Compiler, limits: Limits) -> Plugins {
    let cache_folder = folder.path().join("plugins");
    Plugins::new(PluginSettings { cache_folder, compiler, limits }).unwrap()
}

/// What most tests share: a runtime, a host with the default limits, and the default price.
struct Shared {
    runtime: Runtime,
    host: Host,
    list_price: Arc<Plugin>,
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let host = Host::new(Limits::default());
    let list_price = runtime.block_on(host.admitted(default_price()));
    assert_eq!(list_price.digest(), Digest::of(default_price()));
    Shared { runtime, host, list_price }
});

/// A context with one product at `price` nano-credits an hour.
fn context(price: i64, config: &str) -> RateContext {
    let sku = Sku {
        name: "gpu.h100".into(),
        kind: "instance".into(),
        region: "lab".into(),
        instance_type: "h100x8".into(),
        accelerator: "h100".into(),
        unit_price: NanoCredits::from_nanos(price),
    };
    RateContext {
        team: "team_a".into(),
        config: config.into(),
        now: Timestamp::from_micros(1_800_000_000_000_000),
        skus: vec![sku],
        members: vec!["mem_a".into()],
    }
}

/// A span of a segment that began at the epoch, in microseconds since then.
fn record(quantity: u32, from: i64, to: i64) -> UsageRecord {
    UsageRecord {
        sku: 0,
        member: 0,
        quantity,
        segment_start: Timestamp::from_micros(0),
        from: Timestamp::from_micros(from),
        to: Timestamp::from_micros(to),
    }
}
