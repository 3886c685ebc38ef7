//! Top-ups: a team asks for paid credits, the operator confirms the payment or refuses.

use serde::{Deserialize, Serialize};

use super::{
    App, books, credits,
    gate::{Outcome, team_named},
};
use crate::{
    error::{Error, Findings, Result},
    ids::TopUpId,
    ledger::{
        account::AccountKind,
        posting::{Header, IdemKey, Posting},
        top_up::{TopUp, TopUpState},
    },
    model::{
        action::Action,
        page::{Items, Page},
    },
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::Concern,
    time::Timestamp,
};

/// A payment by hand: the operator sees the money arrive and confirms.
const MANUAL: &str = "manual";

/// A top-up to ask for.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTopUp {
    /// How much, above 0.
    pub amount: Credits,
    /// What the operator should know, such as a payment reference; at most 500 characters.
    #[serde(default)]
    pub note: String,
}

/// The operator's word on a top-up.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TopUpDecision {
    /// Why, at most 500 characters; kept in the books and in the audit log.
    #[serde(default)]
    pub note: String,
}

/// A top-up.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct TopUpView {
    /// Its id.
    pub id: TopUpId,
    /// How much.
    pub amount: Credits,
    /// Who takes the payment.
    pub provider: String,
    /// Where it stands; the pool was credited when it is `succeeded`.
    pub state: TopUpState,
    /// The remark of whoever asked.
    pub note: String,
    /// Who asked.
    pub requested_by: String,
    /// Who decided.
    pub decided_by: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
}

impl From<TopUp> for TopUpView {
    fn from(top_up: TopUp) -> Self {
        Self {
            id: top_up.id,
            amount: top_up.amount,
            provider: top_up.provider,
            state: top_up.state,
            note: top_up.note,
            requested_by: top_up.requested_by,
            decided_by: top_up.decided_by,
            created_at: top_up.created_at,
            decided_at: top_up.decided_at,
        }
    }
}

impl App {
    /// Asks the operator to credit a payment to the team's pool.
    pub async fn top_up_create(&self, op: &Op, team: &str, new: NewTopUp) -> Result<TopUpView> {
        credits::check(new.amount, &new.note)?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let resource = Resource::team(scope.team.id);
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::CreateTopUp, resource, Facts::default()).await?;
        let top_up = TopUp {
            id: op.id(),
            team: scope.team.id,
            amount: new.amount,
            provider: MANUAL.to_owned(),
            state: TopUpState::Pending,
            note: new.note,
            requested_by: op.actor.name(),
            decided_by: None,
            created_at: op.now(),
            decided_at: None,
        };
        tx.top_up_insert(&top_up).await?;
        let view = TopUpView::from(top_up);
        let outcome = Outcome {
            team: scope.team.id.to_string(),
            target: view.id.to_string(),
            document: serde_json::json!({ "amount": view.amount, "provider": view.provider }),
            status: 201,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    /// The team's top-ups, the newest first.
    pub async fn top_ups_page(&self, op: &Op, team: &str, page: &Page) -> Result<Items<TopUpView>> {
        let (limit, before) = (page.limit()?, page.place()?);
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::ListTopUps, resource, Facts::default()).await?;
        let rows = read.top_ups_page(scope.team.id, before, limit + 1).await?;
        Ok(Items::cut(rows, limit, |row| row.id.to_string()).map(TopUpView::from))
    }

    /// Says that a payment has arrived: the pool is credited.
    ///
    /// # Errors
    /// The conflict `illegal-state` when the top-up was decided before.
    pub async fn top_up_confirm(
        &self,
        op: &Op,
        team: &str,
        id: TopUpId,
        decision: TopUpDecision,
    ) -> Result<TopUpView> {
        self.top_up_decide(op, team, id, TopUpState::Succeeded, decision).await
    }

    /// Says that a payment will not arrive: nothing is credited.
    ///
    /// # Errors
    /// The conflict `illegal-state` when the top-up was decided before.
    pub async fn top_up_refuse(
        &self,
        op: &Op,
        team: &str,
        id: TopUpId,
        decision: TopUpDecision,
    ) -> Result<TopUpView> {
        self.top_up_decide(op, team, id, TopUpState::Refused, decision).await
    }

    async fn top_up_decide(
        &self,
        op: &Op,
        team: &str,
        id: TopUpId,
        state: TopUpState,
        decision: TopUpDecision,
    ) -> Result<TopUpView> {
        let mut findings = Findings::new();
        findings.text(&decision.note, "/note", 0, 500);
        findings.done()?;
        let confirms = state == TopUpState::Succeeded;
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let action = if confirms { Action::ConfirmTopUp } else { Action::RefuseTopUp };
        let (mut tx, permit) = self.permit(op, tx, &asker, action, Resource::Site, Facts::default()).await?;
        let team = team_named(&mut tx, team).await?.id;
        tx.team_lock(team).await?;
        let found = tx.top_up_fetch(id).await?.filter(|top_up| top_up.team == team);
        let mut top_up = found.ok_or_else(|| Error::not_found("top-up"))?;
        let (by, now) = (op.actor.name(), op.now());
        if !tx.top_up_decide(id, state, &by, now).await? {
            let told = format!("this top-up is {} already; ask for a new one instead", top_up.state);
            return Err(Error::conflict("illegal-state", told));
        }
        if confirms {
            let mut journal = tx.journal(op, team, &Concern::default()).await?;
            let (cash, pool) = (journal.own(AccountKind::Cash)?, journal.own(AccountKind::TeamPool)?);
            let posting = Posting::top_up(cash, pool, top_up.amount)?;
            let reason = decision.note.clone();
            let header = Header { reason, ..self.header(op, team, IdemKey::top_up(id)) };
            books::post(&mut journal, header, &posting, cash)?;
            tx.journal_write(&journal).await?;
        }
        (top_up.state, top_up.decided_by, top_up.decided_at) = (state, Some(by), Some(now));
        let view = TopUpView::from(top_up);
        let outcome = Outcome {
            team: team.to_string(),
            target: id.to_string(),
            document: serde_json::json!({
                "amount": view.amount, "state": view.state, "note": decision.note,
            }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }
}
