//! The files of cases: what is used, and what an author expects it to cost.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::{Error, Result};
use crate::{
    model::price::{PlannedUse, RateContext, Sku, UsageRecord},
    money::NanoCredits,
    time::{Span, Timestamp},
};

/// The most records of one case: more than a month of intervals of a quarter of an hour.
pub(super) const RECORDS: usize = 50_000;
/// Who uses, where a case does not care.
const SOMEBODY: &str = "somebody";

/// An amount of credits, exact to the nano-credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Amount(pub(super) NanoCredits);

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseFile {
    /// The configuration of its cases; the manifest's default if there is none.
    pub(super) config: Option<Value>,
    /// What can be used, by name.
    #[serde(default)]
    pub(super) skus: BTreeMap<String, SkuText>,
    #[serde(default)]
    pub(super) cases: Vec<Case>,
    /// What must hold for whatever is used.
    pub(super) properties: Option<Properties>,
}

/// Something with a list price.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SkuText {
    price: Amount,
    kind: Option<String>,
    region: Option<String>,
    instance_type: Option<String>,
    accelerator: Option<String>,
}

/// One case: facts in, expectations out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) config: Option<Value>,
    team: Option<String>,
    now: Option<Timestamp>,
    #[serde(rename = "use")]
    usage: Vec<UseText>,
    /// What each record costs, by line, in their order.
    pub(super) charges: Option<Vec<BTreeMap<String, Amount>>>,
    /// What all records cost, by line.
    pub(super) lines: Option<BTreeMap<String, Amount>>,
    /// What all records cost.
    pub(super) total: Option<Amount>,
    /// What the plugin quotes for all of it at its start.
    pub(super) per_hour: Option<Amount>,
    /// How the plugin refuses.
    pub(super) error: Option<ErrorText>,
    /// Whether the answer is kept in the file beside.
    #[serde(default)]
    pub(super) golden: bool,
}

/// What is used.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UseText {
    sku: Option<String>,
    member: Option<String>,
    quantity: Option<u32>,
    /// When the segment began; `from` if it is not said.
    start: Option<Timestamp>,
    from: Timestamp,
    to: Option<Timestamp>,
    #[serde(rename = "for", default, deserialize_with = "span")]
    length: Option<Span>,
    /// Cut into records of this length.
    #[serde(default, deserialize_with = "span")]
    every: Option<Span>,
}

/// An expected refusal.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ErrorText {
    pub(super) code: String,
    /// What the message has in it.
    #[serde(default)]
    pub(super) message: String,
}

/// What must hold for whatever is used.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Properties {
    /// How often to try.
    pub(super) runs: Option<u32>,
    /// Properties that this price does not have by intention.
    #[serde(default)]
    pub(super) except: BTreeSet<super::properties::Property>,
}

/// What a plugin is asked.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) context: RateContext,
    pub(super) records: Vec<UsageRecord>,
    pub(super) planned: Vec<PlannedUse>,
}

/// Use that is cut into records of a length above 0, the last of them maybe shorter.
pub(super) fn pieces(whole: UsageRecord, every: Span) -> impl Iterator<Item = UsageRecord> {
    let mut at = whole.from;
    std::iter::from_fn(move || {
        let (from, to) = (at, (at + every).min(whole.to));
        at = to;
        (from < whole.to).then_some(UsageRecord { from, to, ..whole })
    })
}

/// The files of cases in a folder, in the order of their names.
pub(super) fn case_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| Error::here(folder.display(), error))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.ends_with(".yaml") && !name.ends_with(super::golden::ENDING)
        })
        .collect();
    paths.sort();
    Ok(paths)
}

impl CaseFile {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| Error::here(path.display(), error))?;
        let wrong = |what: String| Error::Input(format!("{}: {what}", path.display()));
        let mut file: Self = serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let mut names = BTreeSet::new();
        if let Some(case) = file.cases.iter().find(|case| !names.insert(case.name.as_str())) {
            return Err(wrong(format!("two cases have the name {:?}", case.name)));
        }
        if file.skus.is_empty() {
            let price = Amount(NanoCredits::from_nanos(1_000_000_000));
            file.skus.insert("gpu".to_owned(), SkuText { price, ..SkuText::default() });
        }
        Ok(file)
    }

    /// What can be used, as a plugin is told.
    pub(super) fn sku_table(&self) -> Vec<Sku> {
        let told =
            |text: &Option<String>, otherwise: &str| text.clone().unwrap_or_else(|| otherwise.to_owned());
        let sku = |(name, text): (&String, &SkuText)| Sku {
            name: name.clone(),
            kind: told(&text.kind, "instance"),
            region: told(&text.region, "lab"),
            instance_type: told(&text.instance_type, name),
            accelerator: told(&text.accelerator, "none"),
            unit_price: text.price.0,
        };
        self.skus.iter().map(sku).collect()
    }

    /// What a case asks.
    ///
    /// # Errors
    /// What cannot be meant, in words.
    pub(super) fn question(
        &self,
        case: &Case,
        default_config: &str,
    ) -> std::result::Result<Question, String> {
        let mut members: Vec<String> = Vec::new();
        let (mut records, mut planned) = (Vec::new(), Vec::new());
        for usage in &case.usage {
            let name = match &usage.sku {
                Some(name) => name,
                None if self.skus.len() == 1 => self.skus.keys().next().ok_or("there is no sku")?,
                None => return Err(format!("which sku? The file has {}", listed(self.skus.keys()))),
            };
            let sku = self.skus.keys().position(|known| known == name);
            let sku =
                sku.ok_or_else(|| format!("sku {name:?}: the file has {}", listed(self.skus.keys())))?;
            let who = usage.member.as_deref().unwrap_or(SOMEBODY);
            let member = members.iter().position(|known| known == who).unwrap_or_else(|| {
                members.push(who.to_owned());
                members.len() - 1
            });
            let (sku, member) = (index(sku)?, index(member)?);
            let (quantity, from) = (usage.quantity.unwrap_or(1), usage.from);
            if quantity == 0 {
                return Err("quantity: at least 1".to_owned());
            }
            let segment_start = usage.start.unwrap_or(from);
            if segment_start > from {
                return Err("start: not after `from`".to_owned());
            }
            planned.push(PlannedUse { sku, member, quantity, start: segment_start });
            let Some(end) = usage.end()? else { continue };
            let whole = UsageRecord { sku, member, quantity, segment_start, from, to: end };
            records.extend(pieces(whole, usage.every.unwrap_or(end - from)).take(RECORDS + 1));
            if records.len() > RECORDS {
                return Err(format!("more than {RECORDS} records"));
            }
        }
        if planned.is_empty() {
            return Err("use: at least one".to_owned());
        }
        let latest = records.iter().map(|record| record.to).max();
        let latest = latest.or_else(|| planned.iter().map(|planned| planned.start).max());
        let now = case.now.or(latest).unwrap_or(Timestamp::from_micros(0));
        let config = case.config.as_ref().or(self.config.as_ref());
        let context = RateContext {
            team: case.team.clone().unwrap_or_else(|| "team".to_owned()),
            config: config.map_or_else(|| default_config.to_owned(), Value::to_string),
            now,
            skus: self.sku_table(),
            members,
        };
        Ok(Question { context, records, planned })
    }
}

impl UseText {
    /// When the use ends, where it was told.
    fn end(&self) -> std::result::Result<Option<Timestamp>, String> {
        let end = match (self.to, self.length) {
            (Some(_), Some(_)) => return Err("`to` or `for`, not both".to_owned()),
            (Some(to), None) => Some(to),
            (None, Some(length)) => Some(self.from + length),
            (None, None) if self.every.is_some() => return Err("`every` needs `to` or `for`".to_owned()),
            (None, None) => None,
        };
        if end.is_some_and(|end| end <= self.from) {
            return Err("`to` is after `from`".to_owned());
        }
        if self.every.is_some_and(|every| every.as_micros() <= 0) {
            return Err("`every` is above 0".to_owned());
        }
        Ok(end)
    }
}

fn index(place: usize) -> std::result::Result<u32, String> {
    u32::try_from(place).map_err(|error| error.to_string())
}

fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse()
            .map(Self)
            .map_err(|error: crate::money::Error| de::Error::custom(format!("{text:?}: {error}")))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

fn span<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<Span>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(|_| {
        de::Error::custom(format!("expected a length of time such as 15m, 36h or 1h30m, got {text:?}"))
    })
}
