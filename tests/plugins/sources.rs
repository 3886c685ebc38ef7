//! Plugins built from their sources here: the committed component is what its source says, the examples work.
//!
//! Needs Debian's compiler for guests; the build script installs it when it runs as root and fails otherwise.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use muster::{
    model::price::{PlannedUse, UsageRecord},
    plugins::{Error, Limits, embed_manifest, encode_component},
    time::{HOUR, Timestamp},
    workshop::Project,
};

use crate::{Host, SHARED, context, desk::Desk, list_price::amounts, record};

/// The folder that guests are built in, with the core modules of the examples; built once.
pub(crate) static TARGET: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/build-guests.sh");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let built = Command::new(script).arg(&folder).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    folder
});

fn built(name: &str) -> Vec<u8> {
    let modules = TARGET.join("wasm32-unknown-unknown/release");
    encode_component(&fs::read(modules.join(name).with_extension("wasm")).unwrap()).unwrap()
}

#[test]
fn the_default_price_is_what_its_source_builds() {
    let shared = &*SHARED;
    let host = Host::new(Limits::default());
    let usage: Vec<_> =
        (1..500i64).map(|k| record((k % 8) as u32 + 1, k * k * 977, k * k * 1_009 + k)).collect();
    shared.runtime.block_on(async {
        let rebuilt = host.admitted(built("list_price")).await;
        for (price, discount) in
            [(0, 0), (1, 0), (1_999_999_999, 0), (999_999_999_999, 33), (7, 50), (7, 100)]
        {
            let from_source = amounts(&host.plugins, &rebuilt, price, discount, &usage).await;
            let committed = amounts(&shared.host.plugins, &shared.list_price, price, discount, &usage).await;
            assert_eq!(from_source, committed, "price {price}, discount {discount}");
        }
    });
}

#[test]
fn the_night_is_cheaper_by_the_microsecond() {
    let host = Host::new(Limits::default());
    let night = r#"{"from_hour": 22, "to_hour": 6, "percent": 60}"#;
    SHARED.runtime.block_on(async {
        let plugin = host.admitted(built("night_rate")).await;
        // (day, night) in nano-credits, at one credit an hour.
        let cost = async |config: &str, usage: &[UsageRecord]| {
            let lines = host.plugins.rate(&plugin, &context(1_000_000_000, config), usage).await.unwrap();
            let of =
                |key| lines.iter().filter(|line| line.line == key).map(|line| line.amount.as_nanos()).sum();
            let (day, night): (i64, i64) = (of("day"), of("night"));
            (day, night)
        };
        assert_eq!(cost(night, &[record(1, 0, 24 * HOUR)]).await, (16_000_000_000, 4_800_000_000));
        assert_eq!(cost(night, &[record(2, 21 * HOUR, 23 * HOUR)]).await, (2_000_000_000, 1_200_000_000));
        assert_eq!(cost(night, &[record(1, 6 * HOUR, 22 * HOUR)]).await.1, 0);
        let noon = r#"{"from_hour": 12, "to_hour": 13, "percent": 0}"#;
        assert_eq!(cost(noon, &[record(1, 0, 48 * HOUR)]).await, (46_000_000_000, 0));

        let pieces: Vec<_> = (0..1_234).map(|k| record(3, k * 77_777_777, (k + 1) * 77_777_777)).collect();
        let whole = [record(3, 0, 1_234 * 77_777_777)];
        assert_eq!(cost(night, &pieces).await, cost(night, &whole).await);

        let planned = [PlannedUse { sku: 0, member: 0, quantity: 2, start: Timestamp::from_micros(0) }];
        let quoted = host.plugins.quote(&plugin, &context(1_000_000_000, night), &planned).await.unwrap();
        assert_eq!(quoted.per_hour.as_nanos(), 2_000_000_000);
        let empty = host.plugins.quote(&plugin, &context(1, "{}"), &planned).await;
        assert!(matches!(&empty, Err(Error::Plugin { code, .. }) if code == "bad-config"), "{empty:?}");
    });
}

#[test]
fn every_example_says_what_it_is_and_passes_its_cases() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/examples");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert_eq!(folders.len(), 4);
    for folder in folders {
        let manifest = Project::read(&folder).unwrap().manifest;
        let desk = Desk::new();
        let wasm = embed_manifest(&built(&manifest.name.replace('-', "_")), &manifest).unwrap();
        desk.write("example.wasm", wasm);
        let cases = folder.join("cases");
        let line = format!("muster plugin test example.wasm --seed 1 --cases {}", cases.display());
        let tested = desk.run(&line);
        assert!(tested.starts_with("exit 0\n") && tested.contains("property within-quote"), "{tested}");
        let checked = desk.run("muster plugin check example.wasm");
        assert!(checked.starts_with("exit 0\n"), "{checked}");
    }
}
