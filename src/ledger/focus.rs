//! The rows of a cost file as FOCUS 1.2 wants them: which columns there are, and what is in them.
//!
//! Money here is exact: a cost is micro-credits times what a credit is worth, printed with all its digits. Only the two
//! unit prices and the hours are rounded, in the twelfth decimal. `docs/focus.md` says which rule decided what.

use serde_json::json;

use crate::{
    ids::{MemberId, PriceVersionId, StatementId, TeamId},
    model::price::Sku,
    money::{Credits, prorate},
    time::{HOUR, Timestamp},
};

/// The columns of a cost file, in their order: FOCUS's own by name, then ours.
pub const COLUMNS: [&str; 47] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingCurrency",
    "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "Tags",
    "x_PriceComponent",
    "x_PriceVersion",
];

/// The currency that things are priced in: virtual, and bought before it is used.
const PRICING_CURRENCY: &str = "Credits";

/// Decimals of rounded unit prices and hours.
const FINE: u32 = 12;

/// What the operator says about their invoices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostTerms {
    /// Who sells: the name on the invoice.
    pub provider: String,
    /// The currency of the invoice, by its ISO 4217 code.
    pub currency: String,
    /// What a credit is worth in that currency.
    pub credit_price: Credits,
}

impl Default for CostTerms {
    /// A credit is a dollar.
    fn default() -> Self {
        Self {
            provider: "muster".to_owned(),
            currency: "USD".to_owned(),
            credit_price: Credits::from_micros(crate::money::MICROS_PER_CREDIT),
        }
    }
}

/// What all rows of a file share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The team.
    pub team: TeamId,
    /// Its name.
    pub team_name: String,
    /// When the month begins.
    pub start_at: Timestamp,
    /// When it ends.
    pub end_at: Timestamp,
    /// The closed statement; `None` while the month is open.
    pub invoice: Option<StatementId>,
    /// What the operator says.
    pub terms: CostTerms,
}

/// What kind of cost a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// Something was used.
    Usage,
    /// Given credits paid for use.
    Credit,
    /// Anything else.
    Adjustment,
}

/// A row before it is written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// What kind of cost it is.
    pub category: Category,
    /// Whether it corrects a month that was closed before.
    pub correction: bool,
    /// What it is, for people.
    pub description: String,
    /// When what it is for begins.
    pub from: Timestamp,
    /// When that ends.
    pub to: Timestamp,
    /// Whose cost it is, with their account name; `None` for the team's own.
    pub member: Option<(MemberId, String)>,
    /// How much; negative where it takes away from a cost.
    pub credits: Credits,
    /// What was used, for a cost of use.
    pub used: Option<CostUse>,
}

/// What was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostUse {
    /// The id of the resource.
    pub resource: String,
    /// What its owner calls it.
    pub resource_name: Option<String>,
    /// What was rented.
    pub sku: Sku,
    /// Units times microseconds of use.
    pub unit_micros: i64,
    /// The price version.
    pub price_version: PriceVersionId,
    /// Digest of the price's component.
    pub component_digest: String,
}

impl Category {
    /// The word in `ChargeCategory`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Usage => "Usage",
            Self::Credit => "Credit",
            Self::Adjustment => "Adjustment",
        }
    }
}

/// How FOCUS files a kind of use: category, subcategory, name, meter, resource type, and its unit.
struct Service {
    category: &'static str,
    subcategory: &'static str,
    name: &'static str,
    meter: &'static str,
    resource: &'static str,
    unit: &'static str,
}

impl Service {
    fn of(kind: &str) -> Self {
        let storage = |meter, resource| Self {
            category: "Storage",
            subcategory: "Other (Storage)",
            name: "Storage",
            meter,
            resource,
            unit: "MiB-",
        };
        match kind {
            "instance" => Self {
                category: "Compute",
                subcategory: "Containers",
                name: "Instances",
                meter: "Instance Time",
                resource: "Instance",
                unit: "",
            },
            "drive" => storage("Drive Space", "Drive"),
            "snapshot" => storage("Snapshot Space", "Snapshot"),
            "stopped" => storage("Disk Space of Stopped Instances", "Instance Disk"),
            _ => Self {
                category: "Other",
                subcategory: "Other (Other)",
                name: "Other Use",
                meter: "Use",
                resource: "Resource",
                unit: "",
            },
        }
    }
}

impl Frame {
    /// The cells of a row, one for each of [`COLUMNS`]; `None` is null.
    ///
    /// # Errors
    /// When a cost leaves the range of money.
    pub fn cells(&self, cost: &Cost) -> Result<Vec<Option<String>>, crate::money::Error> {
        let worth = i128::from(self.terms.credit_price.as_micros());
        let billed = decimal(i128::from(cost.credits.as_micros()) * worth, 12);
        let used = cost.used.as_ref();
        let service = used.map(|used| Service::of(&used.sku.kind));
        let regular = used.filter(|_| !cost.correction);
        let priced = regular.map(|used| Priced::of(used, cost.credits));
        let list = match (regular, &priced) {
            (Some(used), Some(_)) => {
                let list = prorate(used.sku.unit_price, used.unit_micros, HOUR)?.round();
                decimal(i128::from(list.as_micros()) * worth, 12)
            }
            _ => billed.clone(),
        };
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let of_use = |read: fn(&CostUse) -> &str| used.and_then(|used| text(read(used)));
        let of_service =
            |read: fn(&Service) -> &'static str| service.as_ref().map(|service| read(service).to_owned());
        let unit = |time: &str| {
            service.as_ref().filter(|_| regular.is_some()).map(|service| format!("{}{time}", service.unit))
        };
        let cells = vec![
            Some(billed.clone()),
            Some(self.team.to_string()),
            text(&self.team_name),
            text(&self.terms.currency),
            Some(second(self.end_at)),
            Some(second(self.start_at)),
            text(cost.category.word()),
            cost.correction.then(|| "Correction".to_owned()),
            text(&cost.description),
            text(if used.is_some() { "Usage-Based" } else { "One-Time" }),
            Some(second(cost.to)),
            Some(second(cost.from)),
            regular.map(|used| decimal(i128::from(used.unit_micros), 6)),
            unit("Seconds"),
            Some(billed.clone()),
            priced.as_ref().map(|priced| decimal(priced.paid * worth, FINE + 6)),
            Some(billed.clone()),
            self.invoice.map(|id| id.to_string()),
            text(&self.terms.provider),
            Some(list),
            priced.as_ref().map(|priced| decimal(priced.list * worth, 15)),
            regular.map(|_| "Standard".to_owned()),
            text(PRICING_CURRENCY),
            priced.as_ref().map(|priced| decimal(priced.paid, FINE)),
            Some(cost.credits.to_string()),
            priced.as_ref().map(|priced| decimal(priced.list, 9)),
            priced.as_ref().map(|priced| decimal(priced.hours, FINE)),
            unit("Hours"),
            text(&self.terms.provider),
            text(&self.terms.provider),
            of_use(|used| &used.sku.region),
            of_use(|used| &used.sku.region),
            of_use(|used| &used.resource),
            used.and_then(|used| used.resource_name.clone()).filter(|name| !name.is_empty()),
            of_service(|service| service.resource),
            of_service(|service| service.category).or_else(|| text("Other")),
            of_service(|service| service.name).or_else(|| text("Credits")),
            of_service(|service| service.subcategory).or_else(|| text("Other (Other)")),
            of_use(|used| &used.sku.name),
            of_service(|service| service.meter),
            used.map(|used| details(&used.sku)),
            used.map(|used| format!("{}/{}", used.sku.kind, used.sku.name)),
            cost.member.as_ref().map(|(id, _)| id.to_string()),
            cost.member.as_ref().and_then(|(_, account)| text(account)),
            used.map(|used| json!({ "muster/kind": used.sku.kind }).to_string()),
            of_use(|used| &used.component_digest),
            used.map(|used| used.price_version.to_string()),
        ];
        debug_assert_eq!(cells.len(), COLUMNS.len());
        Ok(cells)
    }
}

/// Quantities and unit prices of a row of use.
struct Priced {
    /// Hours of one unit, in 1e-12.
    hours: i128,
    /// The list price of an hour, in nano-credits.
    list: i128,
    /// What an hour cost in this row, in 1e-12 credits: prices may change while something runs.
    paid: i128,
}

impl Priced {
    fn of(used: &CostUse, credits: Credits) -> Self {
        let (micros, hour) = (i128::from(used.unit_micros), i128::from(HOUR));
        let hours = divided(micros * 10i128.pow(FINE), hour);
        let paid = divided(i128::from(credits.as_micros()) * 10i128.pow(FINE - 6) * hour, micros);
        Self { hours, list: i128::from(used.sku.unit_price.as_nanos()), paid: paid.max(0) }
    }
}

/// `a ÷ b`, a half to the even neighbour; nothing where nothing was used.
fn divided(a: i128, b: i128) -> i128 {
    if b <= 0 {
        return 0;
    }
    let (whole, rest) = (a.div_euclid(b), a.rem_euclid(b));
    whole + i128::from(rest * 2 > b || (rest * 2 == b && whole % 2 != 0))
}

/// A decimal number with `scale` digits after the point, without idle zeros, sign or exponent.
fn decimal(value: i128, scale: u32) -> String {
    let one = 10u128.pow(scale);
    let (whole, part) = (value.unsigned_abs() / one, value.unsigned_abs() % one);
    let sign = if value < 0 { "-" } else { "" };
    if part == 0 {
        return format!("{sign}{whole}");
    }
    let digits = format!("{part:0width$}", width = scale as usize);
    format!("{sign}{whole}.{}", digits.trim_end_matches('0'))
}

/// An instant to the second, as FOCUS writes it.
fn second(at: Timestamp) -> String {
    let whole = at.as_micros().div_euclid(crate::time::SECOND) * crate::time::SECOND;
    Timestamp::from_micros(whole).to_string()
}

/// What is the same for all uses at this price.
fn details(sku: &Sku) -> String {
    let mut details = serde_json::Map::new();
    for (key, value) in [("InstanceType", &sku.instance_type), ("x_Accelerator", &sku.accelerator)] {
        if !value.is_empty() {
            details.insert(key.to_owned(), json!(value));
        }
    }
    serde_json::Value::Object(details).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_exponent_no_plus_and_no_idle_zeros() {
        assert_eq!(decimal(1_500_000, 6), "1.5");
        assert_eq!(decimal(-1, 12), "-0.000000000001");
        assert_eq!(decimal(0, 6), "0");
        assert_eq!(decimal(7_000_000, 6), "7");
    }

    #[test]
    fn a_half_goes_to_the_even_neighbour_and_nothing_used_costs_nothing_an_hour() {
        assert_eq!([divided(5, 2), divided(7, 2), divided(-5, 2), divided(9, 0)], [2, 4, -2, 0]);
    }
}
