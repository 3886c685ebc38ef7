//! The FOCUS file of a month against the rules of FOCUS 1.2: every column, every row, to the micro-credit.

use std::collections::BTreeMap;

use muster::{ledger::focus::COLUMNS, money::Credits};
use serde_json::{Value, json};

use crate::{
    month::{close_months, csv_read, give_back, november, wait_until},
    resume::{assign, launch, plant, settle},
    site::Site,
    storage::{count, count_after, rate},
};

type Row = BTreeMap<&'static str, Option<String>>;

/// What a column may hold.
enum Holds {
    Text,
    /// One of these.
    Words(&'static [&'static str]),
    Number,
    Instant,
    /// A JSON object.
    Object,
}

/// When a column may be, must be or must not be null.
#[derive(PartialEq)]
enum Null {
    Never,
    May,
    /// Not for use that is no correction; the rules leave the rest open.
    NeverForUse,
    /// Only use that is no correction has it.
    OnlyForUse,
}

const CATEGORIES: &[&str] = &["Usage", "Purchase", "Tax", "Credit", "Adjustment"];
const SERVICES: &[&str] = &[
    "AI and Machine Learning",
    "Analytics",
    "Business Applications",
    "Compute",
    "Databases",
    "Developer Tools",
    "Multicloud",
    "Identity",
    "Integration",
    "Internet of Things",
    "Management and Governance",
    "Media",
    "Migration",
    "Mobile",
    "Networking",
    "Security",
    "Storage",
    "Web",
    "Other",
];

/// The columns of FOCUS 1.2 that are mandatory, and those that are for a seller like this one; ours begin with `x_`.
fn rules() -> Vec<(&'static str, Holds, Null)> {
    use Holds::{Instant, Number, Object, Text, Words};
    use Null::{May, Never, NeverForUse, OnlyForUse};
    vec![
        ("BilledCost", Number, Never),
        ("BillingAccountId", Text, Never),
        ("BillingAccountName", Text, May),
        ("BillingCurrency", Words(&["USD"]), Never),
        ("BillingPeriodEnd", Instant, Never),
        ("BillingPeriodStart", Instant, Never),
        ("ChargeCategory", Words(CATEGORIES), Never),
        ("ChargeClass", Words(&["Correction"]), May),
        ("ChargeDescription", Text, May),
        ("ChargeFrequency", Words(&["One-Time", "Recurring", "Usage-Based"]), Never),
        ("ChargePeriodEnd", Instant, Never),
        ("ChargePeriodStart", Instant, Never),
        ("ConsumedQuantity", Number, OnlyForUse),
        ("ConsumedUnit", Words(&["Seconds", "MiB-Seconds"]), OnlyForUse),
        ("ContractedCost", Number, Never),
        ("ContractedUnitPrice", Number, NeverForUse),
        ("EffectiveCost", Number, Never),
        ("InvoiceId", Text, May),
        ("InvoiceIssuerName", Text, Never),
        ("ListCost", Number, Never),
        ("ListUnitPrice", Number, NeverForUse),
        ("PricingCategory", Words(&["Standard", "Dynamic", "Committed", "Other"]), NeverForUse),
        ("PricingCurrency", Text, Never),
        ("PricingCurrencyContractedUnitPrice", Number, NeverForUse),
        ("PricingCurrencyEffectiveCost", Number, Never),
        ("PricingCurrencyListUnitPrice", Number, NeverForUse),
        ("PricingQuantity", Number, NeverForUse),
        ("PricingUnit", Words(&["Hours", "MiB-Hours"]), NeverForUse),
        ("ProviderName", Text, Never),
        ("PublisherName", Text, Never),
        ("RegionId", Text, May),
        ("RegionName", Text, May),
        ("ResourceId", Text, May),
        ("ResourceName", Text, May),
        ("ResourceType", Text, May),
        ("ServiceCategory", Words(SERVICES), Never),
        ("ServiceName", Text, Never),
        ("ServiceSubcategory", Words(&["Containers", "Other (Storage)", "Other (Other)"]), Never),
        ("SkuId", Text, NeverForUse),
        ("SkuMeter", Text, May),
        ("SkuPriceDetails", Object, May),
        ("SkuPriceId", Text, NeverForUse),
        ("SubAccountId", Text, May),
        ("SubAccountName", Text, May),
        ("Tags", Object, May),
        ("x_PriceComponent", Text, May),
        ("x_PriceVersion", Text, May),
    ]
}

async fn focus(site: &Site, month: &str) -> Vec<Row> {
    let (kind, text) = site.file(&site.owner, &format!("costs?view=admin&month={month}&form=focus")).await;
    assert_eq!(kind, "text/csv; charset=utf-8");
    let mut rows = csv_read(&text).into_iter();
    let head: Vec<String> = rows.next().unwrap().into_iter().flatten().collect();
    assert_eq!(head, COLUMNS);
    let row = |cells: Vec<Option<String>>| {
        assert_eq!(cells.len(), COLUMNS.len());
        COLUMNS.into_iter().zip(cells).collect()
    };
    rows.map(row).collect()
}

fn of<'r>(row: &'r Row, column: &str) -> &'r str {
    row[column].as_deref().unwrap_or("")
}

/// A decimal number in units of 1e-12.
fn exact(text: &str) -> i128 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    assert!(!whole.is_empty() && plain(whole) && plain(part) && part.len() <= 18, "no plain number: {text}");
    let part = format!("{part:0<18}");
    sign * (whole.parse::<i128>().unwrap() * 1_000_000_000_000 + part[..12].parse::<i128>().unwrap())
}

fn is_regular_use(row: &Row) -> bool {
    of(row, "ChargeCategory") == "Usage" && row["ChargeClass"].is_none()
}

/// Checks one row against the rules.
fn check(row: &Row) {
    for (column, holds, null) in rules() {
        let Some(text) = &row[column] else {
            let fine = null == Null::May || (null != Null::Never && !is_regular_use(row));
            assert!(fine, "{column} is null in {row:#?}");
            continue;
        };
        assert!(!text.is_empty(), "{column}: null is nothing, not an empty text");
        assert!(null != Null::OnlyForUse || is_regular_use(row), "{column} is not null in {row:#?}");
        match holds {
            Holds::Text => {}
            Holds::Words(words) => assert!(words.contains(&text.as_str()), "{column}: {text}"),
            Holds::Number => assert!(exact(text) != i128::MAX),
            Holds::Instant => {
                text.parse::<muster::time::Timestamp>().unwrap();
                assert!(text.len() == 20 && text.ends_with('Z'), "{column}: {text}");
            }
            Holds::Object => assert!(serde_json::from_str::<Value>(text).unwrap().is_object()),
        }
    }
    // Prices times quantities are costs, to the micro-credit that costs are rounded to.
    if is_regular_use(row) {
        for (price, cost) in [("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")] {
            let product = exact(of(row, price)) * exact(of(row, "PricingQuantity")) / 1_000_000_000_000;
            assert!(
                (product - exact(of(row, cost))).abs() <= 1_000_000,
                "{price} x quantity is not {cost}: {row:#?}"
            );
        }
        assert!(exact(of(row, "ConsumedQuantity")) > 0);
        let inside = of(row, "ChargePeriodStart") >= of(row, "BillingPeriodStart")
            && of(row, "ChargePeriodEnd") <= of(row, "BillingPeriodEnd");
        assert!(inside && of(row, "ChargePeriodStart") < of(row, "ChargePeriodEnd"), "{row:#?}");
        assert_eq!(of(row, "ChargeFrequency"), "Usage-Based");
    }
    if row["SkuId"].is_none() {
        assert!(row["SkuMeter"].is_none() && row["SkuPriceId"].is_none() && row["SkuPriceDetails"].is_none());
    }
}

/// The sum of a column over rows of a category, in micro-credits.
fn sum(rows: &[Row], category: &str, column: &str) -> i64 {
    let rows = rows.iter().filter(|row| of(row, "ChargeCategory") == category);
    let sum: i128 = rows.map(|row| exact(of(row, column))).sum();
    assert_eq!(sum % 1_000_000, 0);
    i64::try_from(sum / 1_000_000).unwrap()
}

fn micros(value: &Value) -> i64 {
    value.as_str().unwrap().parse::<Credits>().unwrap().as_micros()
}

#[test]
fn the_rules_are_about_the_columns_that_there_are() {
    let named: Vec<&str> = rules().into_iter().map(|(column, _, _)| column).collect();
    assert_eq!(named, COLUMNS);
    let own = COLUMNS.iter().position(|column| column.starts_with("x_")).unwrap();
    assert!(COLUMNS[..own].is_sorted() && COLUMNS[own..].iter().all(|column| column.starts_with("x_")));
}

#[tokio::test]
async fn every_row_keeps_the_rules_and_use_sums_to_what_the_statement_charged() {
    for site in Site::both().await {
        november(&site).await;
        for month in ["2025-11", "2025-12"] {
            let rows = focus(&site, month).await;
            rows.iter().for_each(check);
            let statement = site.get(&site.owner, &format!("statements/{month}?view=admin")).await.want(200);
            let total = micros(&statement["statement"]["usage"]["total"]);
            assert!(total > 0);
            assert_eq!(sum(&rows, "Usage", "BilledCost"), total);
            assert_eq!(sum(&rows, "Usage", "PricingCurrencyEffectiveCost"), total);
            assert!(rows.iter().all(|row| row["InvoiceId"].is_none()), "an open month has no invoice");
        }
        let rows = focus(&site, "2025-11").await;
        // Two instances, each on one day of November.
        let use_rows: Vec<&Row> = rows.iter().filter(|row| is_regular_use(row)).collect();
        let days: Vec<&str> = use_rows.iter().map(|row| of(row, "ChargePeriodStart")).collect();
        assert_eq!(days, ["2025-11-22T00:00:00Z", "2025-11-30T00:00:00Z"]);
        for (row, name) in use_rows.iter().zip(["first", "second"]) {
            assert_eq!((of(row, "ServiceCategory"), of(row, "ResourceType")), ("Compute", "Instance"));
            assert_eq!((of(row, "ResourceName"), of(row, "SkuId")), (name, "cpu"));
            assert_eq!((of(row, "SubAccountName"), of(row, "ListUnitPrice")), ("member", "6"));
            assert_eq!(of(row, "SubAccountId"), site.member.to_string());
        }
        // The gift is used up before what was paid, and paid for all of it: nothing is left to pay.
        assert_eq!(sum(&rows, "Credit", "BilledCost"), -sum(&rows, "Usage", "BilledCost"));
    }
}

#[tokio::test]
async fn what_corrects_a_closed_month_is_a_correction_in_the_next() {
    for site in Site::both().await {
        november(&site).await;
        wait_until(&site, "2025-12-03T00:00:00Z");
        assert_eq!(close_months(&site).await, 1);
        let closed = focus(&site, "2025-11").await;
        let statement = site.get(&site.owner, "statements/2025-11?view=admin").await.want(200);
        assert!(closed.iter().all(|row| of(row, "InvoiceId") == statement["id"].as_str().unwrap()));
        give_back(&site).await;
        assert_eq!(focus(&site, "2025-11").await, closed, "what is closed stays as it is");

        let rows = focus(&site, "2025-12").await;
        rows.iter().for_each(check);
        let corrections: Vec<&Row> = rows.iter().filter(|row| row["ChargeClass"].is_some()).collect();
        assert_eq!(corrections.len(), 1);
        let correction = corrections[0];
        assert_eq!((of(correction, "BilledCost"), of(correction, "ChargeCategory")), ("-0.1", "Usage"));
        assert_eq!(of(correction, "ChargePeriodStart"), "2025-11-22T00:00:00Z");
        assert_eq!(of(correction, "BillingPeriodStart"), "2025-12-01T00:00:00Z");
        assert_eq!(of(correction, "ResourceName"), "first");
        let december = site.get(&site.owner, "statements/2025-12?view=admin").await.want(200);
        assert_eq!(sum(&rows, "Usage", "BilledCost"), micros(&december["statement"]["usage"]["total"]));
    }
}

#[tokio::test]
async fn a_member_exports_their_own_costs() {
    for site in Site::both().await {
        november(&site).await;
        let (_, whole) = site.file(&site.owner, "costs?view=admin&month=2025-11").await;
        let (_, own) = site.file(&site.worker, "costs?month=2025-11").await;
        assert_eq!(own, whole, "nobody else used anything");
        let (_, admins) = site.file(&site.admin, "costs?month=2025-11").await;
        assert_eq!(admins.lines().count(), 1, "only the head: {admins}");
    }
}

#[tokio::test]
async fn storage_is_use_of_its_own_kind_and_a_debt_that_is_given_up_an_adjustment() {
    for site in Site::both().await {
        let host = plant(&site).await;
        rate(&site, "drive", "", "1.024").await;
        site.grant("100").await;
        assign(&site, "6").await;
        count(&site, host).await;
        let id = launch(&site, &site.worker, "cpu", true).await;
        settle(&site, host).await;
        count_after(&site, host, 60).await;
        site.post(&site.worker, &format!("instances/{id}/release"), json!({})).await.want(202);
        settle(&site, host).await;
        let [_, left] = site.available().await;
        let body = json!({ "member": site.member, "amount": left });
        site.post(&site.owner, "credits/reclaim", body).await.want(201);
        count_after(&site, host, 3_600).await;
        let given_up = json!({ "amount": "0.1", "note": "given up" });
        site.post(&site.operator, "credits/write-off", given_up).await.want(201);

        let rows = focus(&site, "2025-11").await;
        rows.iter().for_each(check);
        let stored: Vec<&Row> = rows.iter().filter(|row| of(row, "ServiceCategory") == "Storage").collect();
        assert!(!stored.is_empty(), "{rows:#?}");
        for row in stored {
            assert_eq!((of(row, "ConsumedUnit"), of(row, "PricingUnit")), ("MiB-Seconds", "MiB-Hours"));
            assert_eq!((of(row, "ListUnitPrice"), of(row, "SubAccountName")), ("0.001", "member"));
        }
        let statement = site.get(&site.owner, "statements/2025-11?view=admin").await.want(200);
        let usage = micros(&statement["statement"]["usage"]["total"]);
        assert_eq!(sum(&rows, "Usage", "BilledCost"), usage);
        assert_eq!(sum(&rows, "Adjustment", "BilledCost"), -100_000, "{rows:#?}");
        site.assert_sound().await;
    }
}
