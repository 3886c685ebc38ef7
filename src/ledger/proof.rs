//! What a charge was computed from: everything that a price was told of one interval, with its digest.
//!
//! A charge can be computed again from this and the price's component alone, on any machine: [`Proof::check`] compares
//! what is claimed with what is found.

use serde::{Deserialize, Serialize};

use super::{
    interval::{Interval, Segment},
    rating::{self, ChargeId, RatedLine},
};
use crate::{
    digest::Digest,
    ids::{PriceVersionId, TransactionId},
    model::price::{RateContext, Sku, UsageRecord},
    money::{Credits, Error, NanoCredits},
    time::Timestamp,
};

/// The line of a charge that no plugin has rated.
pub const PARKED_LINE: &str = "quoted";

/// What a price was told of one interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Told {
    /// The team.
    pub team: String,
    /// The member.
    pub member: String,
    /// What was rented.
    #[schema(value_type = Object)]
    pub sku: Sku,
    /// Units in use.
    pub quantity: u32,
    /// When the segment began.
    pub segment_start: Timestamp,
    /// When the interval began.
    pub from: Timestamp,
    /// When the interval ended.
    pub to: Timestamp,
    /// What the price was told the time was.
    pub now: Timestamp,
}

impl Told {
    /// What is told of an interval of a segment.
    pub fn of(segment: &Segment, interval: &Interval, now: Timestamp) -> Self {
        Self {
            team: segment.team.to_string(),
            member: segment.member.to_string(),
            sku: segment.sku.clone(),
            quantity: segment.quantity,
            segment_start: segment.start_at,
            from: interval.from,
            to: interval.to,
            now,
        }
    }

    /// The same where it was found later that nothing was used: an interval without length, which costs nothing.
    #[must_use]
    pub fn unused(mut self) -> Self {
        self.to = self.from;
        self
    }

    /// Whether it was found later that nothing was used.
    pub fn is_unused(&self) -> bool {
        self.to == self.from
    }

    /// Its digest, in hexadecimal: stored with the charge.
    pub fn digest(&self) -> String {
        // A plain struct of texts and numbers always has a JSON form.
        let text = serde_json::to_vec(self).unwrap_or_default();
        Digest::of(&text).to_string()
    }

    /// The call that asks a price for this interval alone.
    pub fn question(&self, config: String) -> (RateContext, UsageRecord) {
        let context = RateContext {
            team: self.team.clone(),
            config,
            now: self.now,
            skus: vec![self.sku.clone()],
            members: vec![self.member.clone()],
        };
        let record = UsageRecord {
            sku: 0,
            member: 0,
            quantity: self.quantity,
            segment_start: self.segment_start,
            from: self.from,
            to: self.to,
        };
        (context, record)
    }
}

/// All that is needed to compute a charge again without the server, but for the price's component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Proof {
    /// The charge.
    pub id: ChargeId,
    /// What the price was told. An interval without length: it was found later that nothing was used.
    pub told: Told,
    /// Digest of what the price was told.
    pub input_digest: String,
    /// The price version.
    pub price_version: PriceVersionId,
    /// Digest of the price's component.
    pub component_digest: String,
    /// The component's configuration, JSON text.
    pub config: String,
    /// Digest of the configuration.
    pub config_digest: String,
    /// What was quoted for an hour: no charge is higher, and a parked one is exactly that.
    pub quoted_per_hour: Credits,
    /// The lines of what the interval costs.
    pub lines: Vec<RatedLine>,
    /// What earlier revisions of the interval cost, before rounding.
    pub nano_before: NanoCredits,
    /// What this revision adds to that: the lines' sum less `nano_before`.
    pub nano: NanoCredits,
    /// What all intervals ahead of this one cost before this revision was made, before rounding.
    pub exact_before: NanoCredits,
    /// The same with this revision, which may have changed intervals ahead; equal to `exact_before` in the first.
    pub exact_before_revised: NanoCredits,
    /// What is charged: the rounded sum after the interval less the one ahead of it, less what it was charged before.
    pub amount: Credits,
    /// The part of `amount` that is owed, or that was taken off what was owed.
    pub uncovered: Credits,
    /// Whether the amount is provisional: the quoted rate, because the plugin gave no usable answer.
    pub parked: bool,
    /// Why it is; empty otherwise.
    pub parked_because: String,
    /// Why the revision was made; empty for the first.
    pub reason: String,
    /// The transaction that moved the money, together with that of its neighbours.
    pub transaction: Option<TransactionId>,
    /// When it was written.
    pub created_at: Timestamp,
}

/// One comparison of what is claimed with what is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is compared.
    pub check: &'static str,
    /// Whether they are equal.
    pub ok: bool,
    /// What the charge says.
    pub stated: String,
    /// What was found.
    pub found: String,
}

impl Check {
    fn equal(check: &'static str, stated: impl ToString, found: impl ToString) -> Self {
        let (stated, found) = (stated.to_string(), found.to_string());
        Self { check, ok: stated == found, stated, found }
    }
}

impl Proof {
    /// Whether the price has to be asked: a parked charge and an interval without use are priced without it.
    pub fn asks_price(&self) -> bool {
        !self.parked && !self.told.is_unused()
    }

    /// Compares everything that can be computed again. `component` is the digest of the component's bytes, `answer`
    /// what it says now, or why it says nothing; both are looked at only where the price has to be asked.
    ///
    /// # Errors
    /// [`Error::Overflow`] when the numbers of the proof are no amounts of money.
    pub fn check(
        &self,
        component: &str,
        answer: Result<Vec<RatedLine>, String>,
    ) -> Result<Vec<Check>, Error> {
        let mut checks = Vec::new();
        if self.asks_price() {
            checks.push(Check::equal("component digest", &self.component_digest, component));
        }
        let config = Digest::of(self.config.as_bytes());
        checks.push(Check::equal("configuration digest", &self.config_digest, config));
        checks.push(Check::equal("input digest", &self.input_digest, self.told.digest()));
        let found = if self.told.is_unused() {
            Ok(Vec::new())
        } else if self.parked {
            let told = &self.told;
            let per_hour = self.quoted_per_hour.to_nano()?;
            let nano = rating::at_rate(per_hour, told.segment_start, told.from, told.to)?;
            Ok(vec![RatedLine { line: PARKED_LINE.to_owned(), nano }])
        } else {
            answer
        };
        let found = found.map_or_else(|why| format!("no answer: {why}"), |lines| lines_text(&lines));
        checks.push(Check::equal("lines", lines_text(&self.lines), found));
        self.check_sums(&mut checks)?;
        Ok(checks)
    }

    /// The arithmetic from the lines to the amount.
    fn check_sums(&self, checks: &mut Vec<Check>) -> Result<(), Error> {
        let cost = self.lines.iter().try_fold(NanoCredits::ZERO, |sum, line| sum.plus(line.nano))?;
        let stated = self.nano_before.plus(self.nano)?;
        checks.push(Check::equal("exact cost", nano_text(stated), nano_text(cost)));
        let span = self.told.to - self.told.from;
        let within = !rating::exceeds_quote(cost, self.quoted_per_hour.to_nano()?, span);
        let found = if within { "within" } else { "above" };
        checks.push(Check::equal("the quote", "within", found));
        checks.push(Check::equal("amount", self.amount, self.amount_found()?));
        let most = Credits::from_micros(self.amount.as_micros().saturating_abs());
        let owed = (Credits::ZERO..=most).contains(&self.uncovered);
        let found = if owed { self.uncovered.to_string() } else { format!("0 to {most}") };
        checks.push(Check::equal("owed part", self.uncovered, found));
        Ok(())
    }

    /// What is charged by the sums of the proof.
    fn amount_found(&self) -> Result<Credits, Error> {
        let step = |before: NanoCredits, nano: NanoCredits| before.plus(nano)?.round().minus(before.round());
        let is = step(self.exact_before_revised, self.nano_before.plus(self.nano)?)?;
        if self.id.revision == 0 { Ok(is) } else { is.minus(step(self.exact_before, self.nano_before)?) }
    }
}

/// Nano-credits as credits with all nine decimals.
pub fn nano_text(nano: NanoCredits) -> String {
    let (sign, nanos) = (if nano.as_nanos() < 0 { "-" } else { "" }, nano.as_nanos().unsigned_abs());
    format!("{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// Lines as one text, in their order.
fn lines_text(lines: &[RatedLine]) -> String {
    let lines: Vec<String> =
        lines.iter().map(|line| format!("{} {}", line.line, nano_text(line.nano))).collect();
    if lines.is_empty() { "nothing".to_owned() } else { lines.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chance::Seeded, ids::Id};

    fn proof() -> Proof {
        let (start, chance) = (Timestamp::from_micros(0), Seeded::new(1));
        let told = Told {
            team: "team".to_owned(),
            member: "member".to_owned(),
            sku: Sku {
                name: "cpu".to_owned(),
                kind: "instance".to_owned(),
                region: "here".to_owned(),
                instance_type: "cpu".to_owned(),
                accelerator: "none".to_owned(),
                unit_price: NanoCredits::from_nanos(3_600_000_000),
            },
            quantity: 1,
            segment_start: start,
            from: Timestamp::from_micros(1_000_000),
            to: Timestamp::from_micros(2_000_000),
            now: Timestamp::from_micros(2_000_000),
        };
        let config = "{}".to_owned();
        Proof {
            id: ChargeId { segment: Id::fresh(start, &chance), k: 1, revision: 0 },
            input_digest: told.digest(),
            told,
            price_version: Id::fresh(start, &chance),
            component_digest: "aa".to_owned(),
            config_digest: Digest::of(config.as_bytes()).to_string(),
            config,
            quoted_per_hour: Credits::from_micros(3_600_000),
            lines: lines(1_000_000),
            nano_before: NanoCredits::ZERO,
            nano: NanoCredits::from_nanos(1_000_000),
            exact_before: NanoCredits::from_nanos(600),
            exact_before_revised: NanoCredits::from_nanos(600),
            amount: Credits::from_micros(1_000),
            uncovered: Credits::ZERO,
            parked: false,
            parked_because: String::new(),
            reason: String::new(),
            transaction: None,
            created_at: start,
        }
    }

    fn lines(nanos: i64) -> Vec<RatedLine> {
        vec![RatedLine { line: "use".to_owned(), nano: NanoCredits::from_nanos(nanos) }]
    }

    /// The checks that fail, when the component says that the interval costs a milli-credit.
    fn failing(proof: &Proof) -> Vec<&'static str> {
        let checks = proof.check("aa", Ok(lines(1_000_000))).unwrap();
        checks.into_iter().filter(|check| !check.ok).map(|check| check.check).collect()
    }

    /// A change of a proof, and what is found to be wrong then.
    type Lie = (fn(&mut Proof), &'static [&'static str]);

    #[test]
    fn an_honest_proof_holds_and_each_lie_is_named() {
        assert_eq!(failing(&proof()), [""; 0]);
        let lies: [Lie; 7] = [
            (|proof| proof.component_digest = "bb".to_owned(), &["component digest"]),
            (|proof| proof.config.push(' '), &["configuration digest"]),
            (|proof| proof.told.quantity = 2, &["input digest"]),
            (|proof| proof.lines = lines(999_999), &["lines", "exact cost"]),
            (|proof| proof.nano = NanoCredits::from_nanos(999_999), &["exact cost"]),
            (|proof| proof.amount = Credits::from_micros(1_001), &["amount"]),
            (|proof| proof.uncovered = Credits::from_micros(1_001), &["owed part"]),
        ];
        for (lie, named) in lies {
            let mut proof = proof();
            lie(&mut proof);
            assert_eq!(failing(&proof), named);
        }
    }

    #[test]
    fn a_parked_charge_is_the_quoted_rate_and_an_unused_one_nothing() {
        let mut parked = Proof { parked: true, ..proof() };
        parked.lines[0].line = PARKED_LINE.to_owned();
        assert_eq!(failing(&parked), [""; 0]);
        let told = proof().told.unused();
        let given_back = Proof {
            id: ChargeId { revision: 1, ..proof().id },
            input_digest: told.digest(),
            told,
            lines: Vec::new(),
            nano_before: NanoCredits::from_nanos(1_000_000),
            nano: NanoCredits::from_nanos(-1_000_000),
            amount: Credits::from_micros(-1_000),
            ..proof()
        };
        assert_eq!(failing(&given_back), [""; 0]);
    }
}
