//! What the server would say to a component, and how much of each limit it uses.

use serde::Serialize;

use super::{Result, Stand, Subject, stand::Admitted};
use crate::{
    model::{
        manifest::Manifest,
        price::{PlannedUse, RateContext, Sku, UsageRecord},
    },
    money::NanoCredits,
    plugins::{Error, PRICING_WORLD, Spent},
    time::{HOUR, Timestamp},
};

/// The records of a full batch.
const BATCH: u32 = 1_000;
/// The largest list price that an amount can be.
const LARGEST: NanoCredits = NanoCredits::from_nanos((1 << 53) - 1);

/// What is known of a component.
#[derive(Debug, Serialize)]
pub struct Checkup {
    /// Its digest.
    pub digest: String,
    /// The world that it implements.
    pub world: &'static str,
    /// What it imports.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
    /// What it says about itself.
    pub manifest: Option<Manifest>,
    /// What it uses of each limit.
    pub limits: Vec<Share>,
    /// What was tried.
    pub findings: Vec<Finding>,
}

/// What is used of a limit.
#[derive(Debug, Serialize)]
pub struct Share {
    /// What is limited.
    pub what: &'static str,
    /// How much of it is used.
    pub used: u64,
    /// How much is allowed.
    pub limit: u64,
    /// Percent of the limit, rounded up.
    pub percent: u64,
    /// The setting that decides.
    pub setting: &'static str,
}

/// What a try came to.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What was tried.
    pub what: &'static str,
    /// Whether that is as it should be.
    pub ok: bool,
    /// What was seen.
    pub found: String,
}

impl Checkup {
    /// Whether everything is as it should be.
    pub fn is_fine(&self) -> bool {
        self.findings.iter().all(|finding| finding.ok)
    }
}

/// Lets the component in as the server does, and tries it.
///
/// # Errors
/// [`super::Error::Refused`] with what the server would say to it.
pub async fn checkup(stand: &Stand, subject: &Subject) -> Result<Checkup> {
    let admitted = stand.admit(subject).await?;
    let samples = Samples { stand, admitted: &admitted };
    let (mut findings, mut limits) = (Vec::new(), Vec::new());
    let allowed = &stand.limits;
    let inspected = &admitted.inspection;
    limits.push(share("bytes", inspected.size_bytes, allowed.upload_bytes, "plugins.upload_bytes"));
    limits.push(share(
        "functions",
        u64::from(inspected.functions),
        u64::from(allowed.functions),
        "plugins.functions",
    ));

    let (quoted, spent) = samples.quote().await;
    limits.push(share("fuel of a quote", spent.fuel, allowed.for_quote(1).fuel, "plugins.fuel"));
    let time = allowed.for_quote(1).deadline;
    limits.push(share(
        "microseconds of a quote",
        spent.took.as_micros(),
        time.as_micros(),
        "plugins.quote_deadline",
    ));
    findings.push(answered("a quote", quoted));
    let setting = "plugins.fuel and plugins.fuel_per_record";
    let mut memory_bytes = spent.memory_bytes;
    for (what, fuel, count) in
        [("one record", "fuel of one record", 1), ("a full batch", "fuel of a full batch", BATCH)]
    {
        let (rated, spent) = samples.rate(&samples.records(count)).await;
        let budget = allowed.for_rate(usize::try_from(count).unwrap_or(usize::MAX));
        limits.push(share(fuel, spent.fuel, budget.fuel, setting));
        if count == BATCH {
            let (used, time) = (spent.took.as_micros(), budget.deadline.as_micros());
            let setting = "plugins.rate_deadline and plugins.rate_deadline_per_record";
            limits.push(share("microseconds of a full batch", used, time, setting));
        }
        memory_bytes = memory_bytes.max(spent.memory_bytes);
        findings.push(answered(what, rated.map(drop)));
    }
    limits.push(share("bytes of memory", memory_bytes, allowed.memory_bytes, "plugins.memory_bytes"));
    findings.push(samples.twice().await);
    findings.push(samples.largest().await);

    Ok(Checkup {
        digest: inspected.digest.to_string(),
        world: PRICING_WORLD,
        imports: inspected.imports.clone(),
        exports: inspected.exports.clone(),
        manifest: inspected.manifest.clone(),
        limits,
        findings,
    })
}

fn share(
    what: &'static str,
    used: impl TryInto<u64>,
    limit: impl TryInto<u64>,
    setting: &'static str,
) -> Share {
    let (used, limit) = (used.try_into().unwrap_or(u64::MAX), limit.try_into().unwrap_or(u64::MAX));
    let percent = u128::from(used) * 100;
    let percent = percent.div_ceil(u128::from(limit.max(1)));
    Share { what, used, limit, percent: u64::try_from(percent).unwrap_or(u64::MAX), setting }
}

fn answered(what: &'static str, answer: std::result::Result<(), Error>) -> Finding {
    match answer {
        Ok(()) => Finding { what, ok: true, found: "answered".to_owned() },
        Err(error) => Finding { what, ok: false, found: error.to_string() },
    }
}

/// Questions with the configuration to begin with.
struct Samples<'a> {
    stand: &'a Stand,
    admitted: &'a Admitted,
}

impl Samples<'_> {
    fn context(&self, unit_price: NanoCredits) -> RateContext {
        let sku = Sku {
            name: "gpu".to_owned(),
            kind: "instance".to_owned(),
            region: "lab".to_owned(),
            instance_type: "gpu".to_owned(),
            accelerator: "h100".to_owned(),
            unit_price,
        };
        RateContext {
            team: "team".to_owned(),
            config: self.admitted.default_config(),
            now: Timestamp::from_micros(i64::from(BATCH) * HOUR),
            skus: vec![sku],
            members: vec!["somebody".to_owned()],
        }
    }

    /// Hours of one segment.
    fn records(&self, count: u32) -> Vec<UsageRecord> {
        let hour = |number: u32| Timestamp::from_micros(i64::from(number) * HOUR);
        let record = |number| UsageRecord {
            sku: 0,
            member: 0,
            quantity: 8,
            segment_start: hour(0),
            from: hour(number),
            to: hour(number + 1),
        };
        (0..count).map(record).collect()
    }

    async fn quote(&self) -> (std::result::Result<(), Error>, Spent) {
        let planned = [PlannedUse { sku: 0, member: 0, quantity: 8, start: Timestamp::from_micros(0) }];
        let context = self.context(NanoCredits::from_nanos(1_000_000_000));
        let (answer, spent) =
            self.stand.plugins.quote_watched(&self.admitted.plugin, &context, &planned).await;
        (answer.map(drop), spent)
    }

    async fn rate(
        &self,
        records: &[UsageRecord],
    ) -> (std::result::Result<Vec<crate::model::price::ChargeLine>, Error>, Spent) {
        let context = self.context(NanoCredits::from_nanos(1_000_000_000));
        self.stand.plugins.rate_watched(&self.admitted.plugin, &context, records).await
    }

    /// The same question twice: answers and fuel are the same, since every call meets a fresh instance.
    async fn twice(&self) -> Finding {
        let records = self.records(100);
        let (first, second) = (self.rate(&records).await, self.rate(&records).await);
        let same = match (&first.0, &second.0) {
            (Ok(one), Ok(other)) => one == other,
            (Err(one), Err(other)) => one.to_string() == other.to_string(),
            _ => false,
        };
        let found = match (same, first.1.fuel == second.1.fuel) {
            (false, _) => "asked twice, it answers twice: it is no pure function",
            (true, false) => {
                "the same answer, with another amount of fuel: it looks at more than its arguments"
            }
            (true, true) => "the same answer with the same fuel",
        };
        Finding { what: "the same question twice", ok: same, found: found.to_owned() }
    }

    /// A list price just below 2^53 nano-credits: an answer or a refusal, but no trap and no wrong sign.
    async fn largest(&self) -> Finding {
        let context = self.context(LARGEST);
        let answer = self.stand.plugins.rate(&self.admitted.plugin, &context, &self.records(1)).await;
        let (ok, found) = match answer {
            Ok(_) => (true, "answered".to_owned()),
            Err(error @ Error::Plugin { .. }) => (true, format!("{error}, as it should")),
            Err(error) => (false, error.to_string()),
        };
        Finding { what: "a price of 2^53 nano-credits", ok, found }
    }
}
