//! Lots: where the credits of a team or a member came from and until when they are good; and the loss of those that are
//! over.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{App, books};
use crate::{
    error::Result,
    ids::{LotId, MemberId, TeamId},
    ledger::{
        account::AccountKind,
        lot::Category,
        posting::{Header, IdemKey, Posting},
    },
    model::{
        action::Action,
        page::{Items, Page, View},
    },
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::{Concern, lots::HeldLot},
    time::{HOUR, Span, Timestamp},
};

/// How long before their end the owner of credits is told.
const WARNING: Span = Span::from_micros(7 * 24 * HOUR);
/// Lots that one pass looks at, and that one transaction takes.
const PAGE: u32 = 200;

/// A piece of the credits of a team or a member, with its own terms.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct LotView {
    /// Its id.
    pub id: LotId,
    /// Whose wallet it is in; absent: the team's pool.
    pub member: Option<MemberId>,
    /// What kind of money it is.
    pub category: Category,
    /// How much came in.
    pub amount: Credits,
    /// What is still in it.
    pub left: Credits,
    /// The part of that which is held for instances.
    pub held: Credits,
    /// Lower is used first.
    pub priority: i64,
    /// When it came in.
    pub effective_at: Timestamp,
    /// When what is not held of it is lost; absent: never.
    pub expires_at: Option<Timestamp>,
    /// The lot that it was first part of, where it came in from outside.
    pub origin: LotId,
}

impl LotView {
    fn of(held: HeldLot) -> Result<Self> {
        let HeldLot { lot, member } = held;
        Ok(Self {
            left: lot.left()?,
            id: lot.id,
            member,
            category: lot.terms.category,
            amount: lot.amount,
            held: lot.pinned,
            priority: lot.terms.priority,
            effective_at: lot.effective_at,
            expires_at: lot.terms.expires_at,
            origin: lot.origin,
        })
    }
}

impl App {
    /// The lots of the caller's wallet; with `view=admin` those of the pool and of all wallets, or of one member's.
    pub async fn lots_page(
        &self,
        op: &Op,
        team: &str,
        view: View,
        member: Option<MemberId>,
        page: &Page,
    ) -> Result<Items<LotView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let team = scope.team.id;
        let owner = scope.whose(view, member)?;
        let resource = Resource::Record { team, owner };
        self.look(op, &scope.asker, Action::ListLots, resource, Facts::default()).await?;
        let rows = read.lots_page(team, owner, page.after(), limit + 1).await?;
        let rows = Items::cut(rows, limit, |row| row.lot.id.to_string());
        let items = rows.items.into_iter().map(LotView::of).collect::<Result<_>>()?;
        Ok(Items { items, next_cursor: rows.next_cursor })
    }

    /// Takes what is not held of lots that are over. What is held stays good for the instance that it is held for, and
    /// is lost when it comes free.
    pub(crate) async fn lots_expire(&self, op: &Op) -> Result<()> {
        let over = self.db.glance().await?.lots_over(op.now(), PAGE).await?;
        let mut teams: BTreeMap<TeamId, BTreeSet<MemberId>> = BTreeMap::new();
        for held in over {
            teams.entry(held.lot.team).or_default().extend(held.member);
        }
        for (team, members) in teams {
            if let Err(error) = self.lots_expire_of(op, team, members.into_iter().collect()).await {
                tracing::error!(%team, ?error, "credits that are over could not be taken");
            }
        }
        Ok(())
    }

    async fn lots_expire_of(&self, op: &Op, team: TeamId, members: Vec<MemberId>) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let mut journal = tx.journal(op, team, &Concern { members, ..Concern::default() }).await?;
        let breakage = journal.own(AccountKind::Breakage)?;
        let mut told = Vec::new();
        for (lot, free) in journal.lots_over(op.now())?.into_iter().take(PAGE as usize) {
            let member = journal.account(lot.account)?.member;
            let header = self.header(op, team, IdemKey::expire(lot.id, lot.expired));
            let header = Header { member, ..header };
            let posting = Posting::expire(lot.id, lot.account, breakage, free)?;
            books::post(&mut journal, header, &posting, lot.account)?;
            let document = serde_json::json!({
                "lot": lot.id, "member": member, "amount": free, "expires_at": lot.terms.expires_at,
            });
            told.push((lot.id, document));
        }
        tx.journal_write(&journal).await?;
        for (lot, document) in told {
            self.tell(op, &mut tx, &team.to_string(), "credits.expired", &lot.to_string(), document).await?;
        }
        self.system_commit(op, tx).await
    }

    /// Tells the owners of credits that these will be over in a week; once for each lot.
    pub(crate) async fn lots_warn(&self, op: &Op) -> Result<()> {
        let now = op.now();
        let soon = self.db.glance().await?.lots_expiring(now, now + WARNING, PAGE).await?;
        for HeldLot { lot, member } in soon {
            let mut tx = self.db.begin().await?;
            tx.team_lock(lot.team).await?;
            if !tx.lot_expiry_told(lot.id, now).await? {
                continue;
            }
            let document = serde_json::json!({
                "lot": lot.id, "member": member, "left": lot.left()?, "expires_at": lot.terms.expires_at,
            });
            let (team, target) = (lot.team.to_string(), lot.id.to_string());
            self.tell(op, &mut tx, &team, "credits.expiring", &target, document).await?;
            self.system_commit(op, tx).await?;
        }
        Ok(())
    }
}
