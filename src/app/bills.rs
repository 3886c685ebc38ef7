//! Bills: what was charged, interval by interval, and what it sums to.

use std::collections::{BTreeMap, btree_map::Entry};

use serde::Serialize;

use super::App;
use crate::{
    error::{Error, Findings, Result},
    ids::{InstanceId, MemberId, PriceVersionId, SegmentId},
    ledger::rating::{Charge, ChargeId, RatedLine},
    model::{
        action::Action,
        page::{Items, Page, View},
    },
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::{ChargeCursor, ChargeFilter, Conn},
    time::Timestamp,
};

/// A page of charges, with what all charges of the same filter sum to.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Bill {
    /// The charges, the newest first.
    pub items: Vec<ChargeView>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
    /// The sum of all charges that the filter lets through, on every page.
    pub total: Credits,
}

/// What one interval was charged.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ChargeView {
    /// Its id: segment, interval and revision.
    pub id: ChargeId,
    /// When the interval begins.
    pub from: Timestamp,
    /// When it ends.
    pub to: Timestamp,
    /// Who used it.
    pub member: MemberId,
    /// The account name of who used it.
    pub account: String,
    /// What was used: the id of an instance, a drive or another resource.
    pub resource: String,
    /// The instance, where it is one or belongs to one.
    pub instance: Option<InstanceId>,
    /// What was metered, such as `instance`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Units in use.
    pub quantity: u32,
    /// What was charged; negative where a later revision gives back.
    pub amount: Credits,
    /// The part of it that no hold covered: it is owed. Where the amount is negative, what was taken off what is owed.
    pub uncovered: Credits,
    /// The price version that was applied.
    pub price_version: PriceVersionId,
    /// Digest of the price plugin.
    pub component_digest: String,
    /// The price's own lines, which the exact cost is the sum of.
    pub lines: Vec<RatedLine>,
    /// Whether the amount is provisional, because the price plugin gave no usable answer.
    pub parked: bool,
    /// Why it is; empty otherwise.
    pub parked_because: String,
    /// The span of constant use and price that the interval is of.
    pub segment: SegmentId,
    /// The number of the interval in its segment.
    pub k: u64,
    /// 0 for the first; then the number of the revision of the segment that it came with.
    pub revision: u32,
    /// Why a later revision was made; empty for the first.
    pub reason: String,
}

/// Which charges a bill is about.
#[derive(Debug, Default)]
pub struct BillFilter {
    /// The caller's own, or everybody's.
    pub view: View,
    /// Only this member's.
    pub member: Option<MemberId>,
    /// Only what was metered as this; empty for everything.
    pub kind: String,
}

impl App {
    /// The charges of the team, or of one member.
    pub async fn bill(&self, op: &Op, team: &str, filter: BillFilter, page: &Page) -> Result<Bill> {
        let limit = page.limit()?;
        let after = page.cursor.as_deref().map_or(Ok(ChargeCursor::START), cursor_parse)?;
        let mut findings = Findings::new();
        findings.text(&filter.kind, "type", 0, 64);
        findings.done()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let team = scope.team.id;
        let member = scope.whose(filter.view, filter.member)?;
        let resource = Resource::Record { team, owner: member };
        self.look(op, &scope.asker, Action::ListBills, resource, Facts::default()).await?;
        let filter = ChargeFilter { member, kind: filter.kind };
        let total = read.charges_total(team, &filter).await?;
        let rows = read.charges_page(team, &filter, after, limit + 1).await?;
        let rows = Items::cut(rows, limit, cursor_text);
        let accounts = account_names(&mut read, &rows.items).await?;
        let Items { items, next_cursor } = rows.map(|charge| ChargeView::of(charge, &accounts));
        Ok(Bill { items, next_cursor, total })
    }
}

/// The account names of whoever was charged.
async fn account_names(conn: &mut Conn, charges: &[Charge]) -> Result<BTreeMap<MemberId, String>> {
    let mut names = BTreeMap::new();
    for charge in charges {
        if let Entry::Vacant(place) = names.entry(charge.member)
            && let Some(member) = conn.member_fetch(charge.member).await?
        {
            place.insert(member.account);
        }
    }
    Ok(names)
}

/// A place in the list as a text that [`cursor_parse`] reads: begin, segment, interval and revision.
fn cursor_text(charge: &Charge) -> String {
    format!("{}.{}.{}.{}", charge.from_at.as_micros(), charge.segment, charge.k, charge.revision)
}

fn cursor_parse(text: &str) -> Result<ChargeCursor> {
    let read = || {
        let mut parts = text.split('.');
        let cursor = ChargeCursor {
            from_at: Timestamp::from_micros(parts.next()?.parse().ok()?),
            segment: Some(parts.next()?.parse().ok()?),
            k: parts.next()?.parse().ok()?,
            revision: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(cursor)
    };
    read().ok_or_else(|| Error::field("cursor", "the `next_cursor` of the page before, as it was given"))
}

impl ChargeView {
    /// One charge on its own.
    pub(crate) async fn of_one(conn: &mut Conn, charge: Charge) -> Result<Self> {
        let accounts = account_names(conn, std::slice::from_ref(&charge)).await?;
        Ok(Self::of(charge, &accounts))
    }

    fn of(charge: Charge, accounts: &BTreeMap<MemberId, String>) -> Self {
        Self {
            id: charge.id(),
            from: charge.from_at,
            to: charge.to_at,
            member: charge.member,
            account: accounts.get(&charge.member).cloned().unwrap_or_default(),
            resource: charge.resource,
            instance: charge.instance,
            kind: charge.kind,
            quantity: charge.quantity,
            amount: charge.amount,
            uncovered: charge.uncovered,
            price_version: charge.price_version,
            component_digest: charge.component_digest,
            lines: charge.lines,
            parked: charge.parked,
            parked_because: charge.parked_because,
            segment: charge.segment,
            k: charge.k,
            revision: charge.revision,
            reason: charge.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chance::Seeded, ids::Id};

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let segment = SegmentId::fresh(Timestamp::from_micros(5), &Seeded::new(1));
        let text = format!("17.{segment}.3.1");
        let place =
            ChargeCursor { from_at: Timestamp::from_micros(17), segment: Some(segment), k: 3, revision: 1 };
        assert_eq!(cursor_parse(&text).unwrap(), place);
        for wrong in ["", "17", "17.3.1", &format!("{text}.1"), &format!("17.{segment}.-3.1"), "x.y.z.0"] {
            let error = cursor_parse(wrong).unwrap_err();
            assert_eq!(
                (error.code, error.fields[0].pointer.as_str()),
                ("invalid-input", "cursor"),
                "{wrong}"
            );
        }
    }
}
