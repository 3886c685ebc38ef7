//! Top-ups: a team asks for paid credits, whoever takes the payment says that it has arrived, and what is unused of it
//! can go back.

use serde::{Deserialize, Serialize};

use super::{
    App,
    crediting::{Word, unused},
    credits,
    gate::{Asker, Granted, Outcome, team_named},
    payments::MANUAL,
};
use crate::{
    error::{Error, Findings, Result},
    ids::{LotId, TeamId, TopUpId},
    ledger::top_up::{TopUp, TopUpState},
    model::{
        action::Action,
        page::{Items, Page},
    },
    money::Credits,
    op::Op,
    policy::{Confirmation, Facts, Resource},
    store::{Concern, Tx},
    time::Timestamp,
};

/// A top-up to ask for.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTopUp {
    /// How much, above 0.
    pub amount: Credits,
    /// Who takes the payment; unless told `manual`: the operator, by hand.
    #[serde(default = "manual")]
    pub provider: String,
    /// What the operator should know, such as a payment reference; at most 500 characters.
    #[serde(default)]
    pub note: String,
}

fn manual() -> String {
    MANUAL.to_owned()
}

/// The operator's word on a top-up.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TopUpDecision {
    /// Why, at most 500 characters; kept in the books and in the audit log.
    #[serde(default)]
    pub note: String,
}

/// What of a top-up goes back to whoever paid.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TopUpRefund {
    /// How much: at most what is unused of it in the pool.
    pub amount: Credits,
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
    /// What the provider calls the payment.
    pub provider_ref: Option<String>,
    /// Where it stands; the pool was credited when it is `succeeded`.
    pub state: TopUpState,
    /// Whether the server asked for it by itself, because the pool ran low.
    pub automatic: bool,
    /// The remark of whoever asked.
    pub note: String,
    /// Who asked.
    pub requested_by: String,
    /// The operators who have confirmed it so far.
    pub confirmed_by: Vec<String>,
    /// Who decided.
    pub decided_by: Option<String>,
    /// The lot that it became in the pool.
    pub lot: Option<LotId>,
    /// How much of it went back to whoever paid.
    pub refunded: Credits,
    /// Why it failed, or what its provider last said when it could not be asked; may be empty.
    pub failure: String,
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
            provider_ref: top_up.provider_ref,
            state: top_up.state,
            automatic: top_up.automatic,
            note: top_up.note,
            requested_by: top_up.requested_by,
            confirmed_by: top_up.confirmed_by,
            decided_by: top_up.decided_by,
            lot: top_up.lot,
            refunded: top_up.refunded,
            failure: top_up.failure,
            created_at: top_up.created_at,
            decided_at: top_up.decided_at,
        }
    }
}

impl App {
    /// A top-up to be written: by hand it waits for the operator at once, else the cashier begins the payment.
    pub(crate) fn top_up_new(&self, op: &Op, team: TeamId, new: NewTopUp) -> TopUp {
        let by_hand = self.providers.by_hand(&new.provider);
        TopUp {
            id: op.id(),
            team,
            amount: new.amount,
            provider: new.provider,
            provider_ref: None,
            state: if by_hand { TopUpState::Pending } else { TopUpState::Created },
            automatic: false,
            note: new.note,
            requested_by: op.actor.name(),
            confirmed_by: Vec::new(),
            decided_by: None,
            lot: None,
            refunded: Credits::ZERO,
            failure: String::new(),
            next_at: (!by_hand).then(|| op.now()),
            tries: 0,
            created_at: op.now(),
            decided_at: None,
        }
    }

    /// Asks for paid credits in the team's pool.
    pub async fn top_up_create(&self, op: &Op, team: &str, new: NewTopUp) -> Result<TopUpView> {
        let mut findings = credits::findings(new.amount, &new.note);
        self.providers.check(&new.provider, &mut findings);
        findings.done()?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let resource = Resource::team(scope.team.id);
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::CreateTopUp, resource, Facts::default()).await?;
        let top_up = self.top_up_new(op, scope.team.id, new);
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

    /// Says that a payment by hand has arrived: the pool is credited. Where the site asks for two persons, the first
    /// one's word is only noted.
    ///
    /// # Errors
    /// The conflict `illegal-state` when the top-up was decided before, or is another provider's to decide.
    pub async fn top_up_confirm(
        &self,
        op: &Op,
        team: &str,
        id: TopUpId,
        decision: TopUpDecision,
    ) -> Result<TopUpView> {
        note_check(&decision.note)?;
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let found = top_up_locked(&mut tx, team, id).await;
        let (by, above) = (op.actor.name(), self.settings.two_person_above);
        let known = found.as_ref().ok();
        let confirmation = Confirmation {
            amount: known.map_or(Credits::ZERO, |top_up| top_up.amount),
            alone_up_to: above,
            again: known.is_some_and(|top_up| top_up.confirmed_by.contains(&by)),
        };
        let facts = Facts { confirmation: Some(confirmation), ..Facts::default() };
        let (mut tx, permit) =
            self.permit(op, tx, &asker, Action::ConfirmTopUp, Resource::Site, facts).await?;
        let seen = found?;
        self.by_hand_and_open(&seen)?;
        let mut top_up = seen.clone();
        top_up.confirmed_by.push(by.clone());
        let enough = above.is_none_or(|above| top_up.amount <= above) || top_up.confirmed_by.len() > 1;
        if enough {
            let word = Word { by: &by, reason: &decision.note };
            self.top_up_credit(op, &mut tx, &mut top_up, &word).await?;
        }
        tx.top_up_save(&seen, &top_up).await?;
        self.top_up_conclude(op, tx, &permit, top_up, &decision.note).await
    }

    /// Says that a payment by hand will not arrive: nothing is credited.
    ///
    /// # Errors
    /// The conflict `illegal-state` when the top-up was decided before, or is another provider's to decide.
    pub async fn top_up_refuse(
        &self,
        op: &Op,
        team: &str,
        id: TopUpId,
        decision: TopUpDecision,
    ) -> Result<TopUpView> {
        note_check(&decision.note)?;
        let tx = self.begin(op).await?;
        let (mut tx, permit, seen) = self.top_up_for(op, tx, Action::RefuseTopUp, team, id).await?;
        self.by_hand_and_open(&seen)?;
        let mut top_up = seen.clone();
        self.top_up_fail(op, &mut tx, &mut top_up, &op.actor.name(), &decision.note).await?;
        tx.top_up_save(&seen, &top_up).await?;
        self.top_up_conclude(op, tx, &permit, top_up, &decision.note).await
    }

    /// Gives unused credits of a payment back to whoever paid. A payment by hand the operator pays back by hand; any
    /// other is handed to its provider after this.
    ///
    /// # Errors
    /// The conflict `illegal-state` when the top-up is not `succeeded`, `refund-too-large` when less is unused.
    pub async fn top_up_refund(
        &self,
        op: &Op,
        team: &str,
        id: TopUpId,
        refund: TopUpRefund,
    ) -> Result<TopUpView> {
        credits::findings(refund.amount, &refund.note).done()?;
        let tx = self.begin(op).await?;
        let (mut tx, permit, seen) = self.top_up_for(op, tx, Action::RefundTopUp, team, id).await?;
        succeeded(&seen)?;
        let journal = tx.journal_look(op, seen.team, &Concern::default()).await?;
        let free = unused(&journal, &seen)?;
        let most = free.iter().try_fold(Credits::ZERO, |sum, (_, free)| sum.plus(*free))?;
        if refund.amount > most {
            let told = format!(
                "{most} credits of this top-up are unused in the pool; refund at most that, or reclaim from the \
                 members first what was assigned of it"
            );
            return Err(Error::conflict("refund-too-large", told));
        }
        let (mut top_up, by) = (seen.clone(), op.actor.name());
        let word = Word { by: &by, reason: &refund.note };
        self.top_up_take_back(op, &mut tx, &mut top_up, refund.amount, &word).await?;
        if top_up.refunded == top_up.amount {
            top_up.step(TopUpState::Refunded);
        }
        if !self.providers.by_hand(&top_up.provider) {
            (top_up.next_at, top_up.tries) = (Some(op.now()), 0);
        }
        tx.top_up_save(&seen, &top_up).await?;
        self.top_up_conclude(op, tx, &permit, top_up, &refund.note).await
    }

    /// Says that whoever made a payment by hand took the money back: what is unused leaves the pool, what was used is
    /// owed.
    ///
    /// # Errors
    /// The conflict `illegal-state` when the top-up is not `succeeded`, or is another provider's to decide.
    pub async fn top_up_dispute(
        &self,
        op: &Op,
        team: &str,
        id: TopUpId,
        decision: TopUpDecision,
    ) -> Result<TopUpView> {
        note_check(&decision.note)?;
        let tx = self.begin(op).await?;
        let (mut tx, permit, seen) = self.top_up_for(op, tx, Action::DisputeTopUp, team, id).await?;
        succeeded(&seen)?;
        self.by_hand(&seen)?;
        let (mut top_up, by) = (seen.clone(), op.actor.name());
        let word = Word { by: &by, reason: &decision.note };
        self.top_up_dispute_apply(op, &mut tx, &mut top_up, &word).await?;
        tx.top_up_save(&seen, &top_up).await?;
        self.top_up_conclude(op, tx, &permit, top_up, &decision.note).await
    }

    /// The top-up that the operator wants to decide about, with the team locked, and leave to do so.
    async fn top_up_for(
        &self,
        op: &Op,
        mut tx: Tx,
        action: Action,
        team: &str,
        id: TopUpId,
    ) -> Result<(Tx, Granted, TopUp)> {
        let asker: Asker = self.visitor(op, &mut tx).await?;
        let (mut tx, permit) = self.permit(op, tx, &asker, action, Resource::Site, Facts::default()).await?;
        let top_up = top_up_locked(&mut tx, team, id).await?;
        Ok((tx, permit, top_up))
    }

    async fn top_up_conclude(
        &self,
        op: &Op,
        tx: Tx,
        permit: &Granted,
        top_up: TopUp,
        note: &str,
    ) -> Result<TopUpView> {
        let team = top_up.team.to_string();
        let view = TopUpView::from(top_up);
        let outcome = Outcome {
            team,
            target: view.id.to_string(),
            document: serde_json::json!({
                "amount": view.amount, "state": view.state, "refunded": view.refunded, "note": note,
            }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, permit, outcome).await?;
        Ok(view)
    }

    fn by_hand_and_open(&self, top_up: &TopUp) -> Result<()> {
        if !top_up.state.is_open() {
            let told = format!("this top-up is {} already; ask for a new one instead", top_up.state);
            return Err(Error::conflict("illegal-state", told));
        }
        self.by_hand(top_up)
    }

    fn by_hand(&self, top_up: &TopUp) -> Result<()> {
        if self.providers.by_hand(&top_up.provider) {
            return Ok(());
        }
        let told = format!("the payment provider {} decides about this top-up; wait for it", top_up.provider);
        Err(Error::conflict("illegal-state", told))
    }
}

fn succeeded(top_up: &TopUp) -> Result<()> {
    if top_up.state == TopUpState::Succeeded {
        return Ok(());
    }
    let told = format!("this top-up is {}; only money that has arrived can go back", top_up.state);
    Err(Error::conflict("illegal-state", told))
}

fn note_check(note: &str) -> Result<()> {
    let mut findings = Findings::new();
    findings.text(note, "/note", 0, 500);
    findings.done()
}

/// A top-up as it stands under the lock of its team.
async fn top_up_locked(tx: &mut Tx, team: &str, id: TopUpId) -> Result<TopUp> {
    let team = team_named(tx, team).await?.id;
    tx.team_lock(team).await?;
    let found = tx.top_up_fetch(id).await?.filter(|top_up| top_up.team == team);
    found.ok_or_else(|| Error::not_found("top-up"))
}
