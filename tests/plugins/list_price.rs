//! The default price equals the formula in native code, to the last nano-credit.

use std::sync::Arc;

use muster::{
    model::price::{PlannedUse, UsageRecord},
    money::{NanoCredits, prorate},
    plugins::{Error, Plugin, Plugins},
    time::{HOUR, Timestamp},
};
use proptest::prelude::*;

use crate::{SHARED, context, record};

/// A thousand hours, so that the amounts of 8 units at 1 000 credits stay below 2^53 nano-credits.
const LONGEST: i64 = 1_000 * HOUR;

/// What `usage` costs at `price` less `discount` percent, by the product's own arithmetic.
fn expected(price: i64, discount: i64, usage: &UsageRecord) -> i64 {
    let rate = NanoCredits::from_nanos(price * i64::from(usage.quantity) * (100 - discount));
    let until =
        |time: Timestamp| prorate(rate, (time - usage.segment_start).as_micros(), 100 * HOUR).unwrap();
    until(usage.to).as_nanos() - until(usage.from).as_nanos()
}

fn config(discount: i64) -> String {
    if discount == 0 { "{}".into() } else { format!(r#"{{"discount_percent": {discount}}}"#) }
}

/// What `usage` costs at `price` less `discount` percent, by the plugin.
pub(crate) async fn amounts(
    plugins: &Plugins,
    plugin: &Arc<Plugin>,
    price: i64,
    discount: i64,
    usage: &[UsageRecord],
) -> Vec<i64> {
    let lines = plugins.rate(plugin, &context(price, &config(discount)), usage).await.unwrap();
    assert!(lines.iter().all(|line| line.line == "usage"));
    assert!(lines.iter().map(|line| line.record as usize).eq(0..usage.len()));
    lines.iter().map(|line| line.amount.as_nanos()).collect()
}

fn usages() -> impl Strategy<Value = Vec<UsageRecord>> {
    let usage = (1u32..=8, 0..LONGEST - 1, 1..LONGEST);
    let usage =
        usage.prop_map(|(quantity, from, length)| record(quantity, from, (from + length).min(LONGEST)));
    prop::collection::vec(usage, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn it_equals_the_native_formula(
        price in 0i64..1_000_000_000_000,
        discount in 0i64..=100,
        usage in usages(),
    ) {
        let shared = &*SHARED;
        let (plugins, plugin) = (&shared.host.plugins, &shared.list_price);
        let rated = shared.runtime.block_on(amounts(plugins, plugin, price, discount, &usage));
        let native: Vec<i64> = usage.iter().map(|usage| expected(price, discount, usage)).collect();
        prop_assert_eq!(rated, native);
    }

    #[test]
    fn cutting_an_interval_changes_nothing(
        price in 0i64..1_000_000_000_000,
        discount in 0i64..=100,
        mut cuts in prop::collection::btree_set(0..LONGEST, 2..30),
    ) {
        let shared = &*SHARED;
        let (plugins, plugin) = (&shared.host.plugins, &shared.list_price);
        let (first, last) = (cuts.pop_first().unwrap(), *cuts.last().unwrap());
        let mut from = first;
        let parts: Vec<_> = cuts.iter().map(|to| record(3, std::mem::replace(&mut from, *to), *to)).collect();
        let whole = [record(3, first, last)];
        let rated = shared.runtime.block_on(amounts(plugins, plugin, price, discount, &parts));
        let whole = shared.runtime.block_on(amounts(plugins, plugin, price, discount, &whole));
        prop_assert_eq!(rated.iter().sum::<i64>(), whole[0]);
    }
}

#[test]
fn a_list_longer_than_a_batch_is_split() {
    let shared = &*SHARED;
    let usage: Vec<_> =
        (0..2_345).map(|minute| record(2, minute * 60_000_000, (minute + 1) * 60_000_000)).collect();
    let rated =
        shared.runtime.block_on(amounts(&shared.host.plugins, &shared.list_price, 1_999_999_999, 0, &usage));
    let native: Vec<i64> = usage.iter().map(|usage| expected(1_999_999_999, 0, usage)).collect();
    assert_eq!(rated, native);
}

#[test]
fn nothing_costs_nothing() {
    let shared = &*SHARED;
    let rated = shared.runtime.block_on(amounts(&shared.host.plugins, &shared.list_price, 5, 0, &[]));
    assert!(rated.is_empty());
}

#[test]
fn a_quote_is_the_first_hour() {
    let shared = &*SHARED;
    let planned = |quantity| PlannedUse { sku: 0, member: 0, quantity, start: Timestamp::from_micros(77) };
    let quote = |config: &str| {
        let context = context(1_999_999_999, config);
        let planned = [planned(1), planned(3)];
        shared
            .runtime
            .block_on(async { shared.host.plugins.quote(&shared.list_price, &context, &planned).await })
    };
    assert_eq!(quote("{}").unwrap().per_hour.as_nanos(), 4 * 1_999_999_999);
    assert_eq!(quote(r#"{"discount_percent":100}"#).unwrap().per_hour, NanoCredits::ZERO);
}

#[test]
fn a_bad_configuration_is_refused_by_name() {
    let shared = &*SHARED;
    for config in [
        "",
        "[]",
        "null",
        "{",
        "{} {}",
        r#"{"discount": 10}"#,
        r#"{"discount_percent": 101}"#,
        r#"{"discount_percent": -1}"#,
        r#"{"discount_percent": 1.5}"#,
        r#"{"discount_percent": "10"}"#,
    ] {
        let (context, usage) = (context(1, config), [record(1, 0, 1)]);
        let rated = shared.host.plugins.rate(&shared.list_price, &context, &usage);
        match shared.runtime.block_on(rated) {
            Err(Error::Plugin { code, message }) => {
                assert_eq!(code, "bad-config", "{config}");
                assert!(message.contains("discount_percent"), "{message}");
            }
            other => panic!("{config}: {other:?}"),
        }
    }
}

#[test]
fn records_that_make_no_sense_are_refused_by_name() {
    let shared = &*SHARED;
    let backwards = record(1, 10, 5);
    let before_start = record(1, -5, 5);
    let unknown_sku = UsageRecord { sku: 1, ..record(1, 0, 5) };
    let beyond_2_53 = record(u32::MAX, 0, LONGEST);
    for usage in [backwards, before_start, unknown_sku, beyond_2_53] {
        let rated = shared.runtime.block_on(async {
            shared.host.plugins.rate(&shared.list_price, &context(1_000_000_000_000, "{}"), &[usage]).await
        });
        assert!(matches!(&rated, Err(Error::Plugin { code, .. }) if code == "bad-input"), "{rated:?}");
    }
}
