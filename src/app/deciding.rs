//! Deciding on requests: granted in whole or in part, refused, or taken back by whoever asked. Each is decided once.
//!
//! What is granted is done in the same transaction, by the same rules as if it were done without being asked: whoever
//! approves must be allowed to assign credits or to change the member's limits, and the money must be there. When it is
//! not, nothing is decided and the request stays open.

use serde::Deserialize;

use super::{
    App,
    credits::NewTransfer,
    gate::{Granted, Outcome, Scope, team_named},
    members::{account_of, member_in},
    quota_changes::Noted,
    quotas::LONGEST,
    requests::{RequestView, document_of, request_in},
};
use crate::{
    error::{Error, FieldError, Findings, Kind, Result},
    ids::AskId,
    ledger::posting::{IdemKey, TransactionKind},
    model::{
        action::Action,
        quota::{Limits, QuotaLevel, Temporary},
        request::{RequestKind, RequestState},
        team::MemberState,
    },
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::{Tx, requests::RequestRow},
    time::Timestamp,
};

/// Leave to give what was asked for, in whole or in part.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Credits to give, at most what was asked for; all of them when absent.
    #[serde(default)]
    pub amount: Option<Credits>,
    /// Limits to give, within what was asked for; all of them when absent.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// Until when the limits hold, at most a year ahead; as asked for when absent.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// What to say to it, at most 500 characters.
    #[serde(default)]
    pub note: String,
}

/// Why a request is not granted.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestRefusal {
    /// Why, 1 to 500 characters.
    pub note: String,
}

/// Words for a while that one member can have at once.
const MOST_TEMPORARY: usize = 16;

impl Approval {
    fn check(&self, op: &Op) -> Result<()> {
        let mut findings = Findings::new();
        findings.text(&self.note, "/note", 0, 500);
        let fine = self.until.is_none_or(|at| op.now() < at && at <= op.now() + LONGEST);
        findings.check(fine, "/until", "a time to come, at most a year ahead");
        findings.done()
    }

    /// What of the limits that were asked for is given.
    fn limits_of(&self, row: &RequestRow) -> Result<Limits> {
        let asked = row.limits.clone().unwrap_or_default();
        let given = self.limits.clone().unwrap_or_else(|| asked.clone());
        let mut findings = Findings::new();
        findings.check(self.amount.is_none(), "/amount", "this request is for limits, not for credits");
        findings.check(!given.is_empty(), "/limits", "at least one limit; refuse the request to give none");
        findings.done()?;
        let beyond = given.beyond(&asked).into_iter();
        let fields: Vec<FieldError> = beyond
            .map(|limit| FieldError {
                pointer: format!("/limits/{limit}"),
                detail: "at most what was asked for; set a quota for more".to_owned(),
            })
            .collect();
        if fields.is_empty() { Ok(given) } else { Err(Error::invalid(fields)) }
    }
}

/// Refuses to decide again, or on what is the operator's to decide.
fn open_still(op: &Op, row: &RequestRow) -> Result<()> {
    let told = match row.state_at(op.now()) {
        RequestState::Open => return Ok(()),
        RequestState::Expired => {
            format!("nobody decided until {}; the member can ask again", row.expires_at)
        }
        state => format!(
            "the request is {state} already, by {} at {}",
            row.decided_by.as_deref().unwrap_or("somebody"),
            row.decided_at.unwrap_or(row.created_at)
        ),
    };
    Err(Error::conflict("request-decided", told))
}

fn by_the_team(row: &RequestRow) -> Result<()> {
    if row.kind != RequestKind::TeamQuota {
        return Ok(());
    }
    let told = "what the whole team may hold is for the operator to decide; you can only cancel the request";
    Err(Error::conflict("operator-decides", told))
}

impl App {
    /// Grants a request of a member, in whole or in part.
    ///
    /// # Errors
    /// The conflicts `request-decided`, `operator-decides`, and `not-enough-credits`: then the request stays open.
    pub async fn request_approve(
        &self,
        op: &Op,
        team: &str,
        id: AskId,
        word: Approval,
    ) -> Result<RequestView> {
        // Checked against the clock below: a repetition may come when its time has passed.
        self.unless_answered(op).await?;
        word.check(op)?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        // Two who decide at once take turns here, and the second sees what the first has decided.
        tx.team_lock(scope.team.id).await?;
        let row = request_in(&mut tx, scope.team.id, id).await?;
        let resource = Resource::own(row.team, row.member);
        let (tx, permit) =
            self.permit(op, tx, &scope.asker, Action::ApproveRequest, resource, Facts::default()).await?;
        by_the_team(&row)?;
        open_still(op, &row)?;
        let (tx, row) = match row.kind {
            RequestKind::Credits => self.credits_give(op, tx, &scope, row, &word).await?,
            RequestKind::Quota | RequestKind::TeamQuota => {
                self.limits_give(op, tx, &scope, row, &word).await?
            }
        };
        self.request_conclude(op, tx, &permit, row, RequestState::Approved, word.note).await
    }

    /// Moves the credits from the pool to the member's wallet.
    async fn credits_give(
        &self,
        op: &Op,
        tx: Tx,
        scope: &Scope,
        mut row: RequestRow,
        word: &Approval,
    ) -> Result<(Tx, RequestRow)> {
        let asked = row.amount.unwrap_or(Credits::ZERO);
        let amount = word.amount.unwrap_or(asked);
        let mut findings = Findings::new();
        findings.positive(amount, "/amount");
        findings.check(amount <= asked, "/amount", format!("at most the {asked} that were asked for"));
        findings.check(word.limits.is_none(), "/limits", "this request is for credits, not for limits");
        findings.check(word.until.is_none(), "/until", "credits that are assigned have no end");
        findings.done()?;
        let resource = Resource::team(row.team);
        let asked = self.permit(op, tx, &scope.asker, Action::AssignCredits, resource, Facts::default());
        let (mut tx, _) = asked.await?;
        let member = member_in(&mut tx, scope, row.member).await?;
        if member.state == MemberState::Removed {
            return Err(gone());
        }
        let new = NewTransfer { member: row.member, amount, note: row.reason.clone() };
        let (kind, key) = (TransactionKind::Assign, IdemKey::asked(row.id));
        let moved = self.transfer_post(op, &mut tx, row.team, kind, new, key).await?;
        row.granted_amount = Some(amount);
        row.transaction_id = Some(moved.transaction);
        Ok((tx, row))
    }

    /// Puts the limits over the member's own, for good or for a while.
    async fn limits_give(
        &self,
        op: &Op,
        mut tx: Tx,
        scope: &Scope,
        mut row: RequestRow,
        word: &Approval,
    ) -> Result<(Tx, RequestRow)> {
        let given = word.limits_of(&row)?;
        let until = word.until.or(row.until_at);
        if until.is_some_and(|until| until <= op.now()) {
            let told = "the time until which the limits were needed has passed; name another, or refuse";
            return Err(Error::field("/until", told));
        }
        let mut member = member_in(&mut tx, scope, row.member).await?;
        let resource = account_of(&member);
        let asked = self.permit(op, tx, &scope.asker, Action::PutMemberQuota, resource, Facts::default());
        let (mut tx, _) = asked.await?;
        if member.state == MemberState::Removed {
            return Err(gone());
        }
        let said = |words: &[Temporary]| Limits::default().under(words, op.now());
        let words = &mut member.temporary.0;
        let (kind, before, after) = match until {
            None => {
                let after = given.or(&member.limits);
                (QuotaLevel::Standing, std::mem::replace(&mut member.limits, after.clone()), after)
            }
            Some(until) => {
                words.retain(|word| op.now() < word.until);
                if words.len() >= MOST_TEMPORARY {
                    let told =
                        format!("a member can have {MOST_TEMPORARY} limits for a while at once; end some");
                    return Err(Error::conflict("too-many", told));
                }
                let before = said(words);
                words.push(Temporary { limits: given.clone(), until });
                (QuotaLevel::Temporary, before, said(words))
            }
        };
        if !tx.member_limits_put(&member).await? {
            return Err(moved());
        }
        let reason = if word.note.is_empty() { &row.reason } else { &word.note };
        let noted = Noted { kind, before: &before, after: &after, until, reason, request: Some(row.id) };
        self.quota_note(op, &mut tx, scope, Some(&member), noted).await?;
        row.granted_limits = Some(given);
        row.granted_until = until;
        Ok((tx, row))
    }

    /// Does not grant a request of a member.
    ///
    /// # Errors
    /// The conflicts `request-decided` and `operator-decides`.
    pub async fn request_refuse(
        &self,
        op: &Op,
        team: &str,
        id: AskId,
        word: RequestRefusal,
    ) -> Result<RequestView> {
        word.check()?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        tx.team_lock(scope.team.id).await?;
        let row = request_in(&mut tx, scope.team.id, id).await?;
        let resource = Resource::own(row.team, row.member);
        let (tx, permit) =
            self.permit(op, tx, &scope.asker, Action::RefuseRequest, resource, Facts::default()).await?;
        by_the_team(&row)?;
        open_still(op, &row)?;
        self.request_conclude(op, tx, &permit, row, RequestState::Refused, word.note).await
    }

    /// Takes a request back.
    ///
    /// # Errors
    /// The conflict `request-decided`.
    pub async fn request_cancel(&self, op: &Op, team: &str, id: AskId) -> Result<RequestView> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        tx.team_lock(scope.team.id).await?;
        let row = request_in(&mut tx, scope.team.id, id).await?;
        let resource = Resource::own(row.team, row.member);
        let (tx, permit) =
            self.permit(op, tx, &scope.asker, Action::CancelRequest, resource, Facts::default()).await?;
        open_still(op, &row)?;
        self.request_conclude(op, tx, &permit, row, RequestState::Cancelled, String::new()).await
    }

    /// Grants what a team asked to hold, in whole or in part; for the operator.
    ///
    /// # Errors
    /// The conflict `request-decided`.
    pub async fn team_request_approve(&self, op: &Op, id: AskId, word: Approval) -> Result<RequestView> {
        word.check(op)?;
        let action = Action::ApproveTeamRequest;
        let (mut tx, permit, scope, mut row) = self.team_request(op, action, id).await?;
        if word.until.is_some() {
            return Err(Error::field(
                "/until",
                "what a whole team may hold has no end; change it when it is time",
            ));
        }
        let given = word.limits_of(&row)?;
        let ceiling = given.or(&scope.team.ceiling);
        if !tx.team_ceiling_put(row.team, scope.team.version, &ceiling).await? {
            return Err(moved());
        }
        let noted = Noted {
            kind: QuotaLevel::Ceiling,
            before: &scope.team.ceiling,
            after: &ceiling,
            until: None,
            reason: if word.note.is_empty() { &row.reason } else { &word.note },
            request: Some(row.id),
        };
        self.quota_note(op, &mut tx, &scope, None, noted).await?;
        row.granted_limits = Some(given);
        self.request_conclude(op, tx, &permit, row, RequestState::Approved, word.note).await
    }

    /// Does not grant what a team asked to hold; for the operator.
    ///
    /// # Errors
    /// The conflict `request-decided`.
    pub async fn team_request_refuse(&self, op: &Op, id: AskId, word: RequestRefusal) -> Result<RequestView> {
        word.check()?;
        let (tx, permit, _, row) = self.team_request(op, Action::RefuseTeamRequest, id).await?;
        self.request_conclude(op, tx, &permit, row, RequestState::Refused, word.note).await
    }

    /// Leave for the operator to decide on an open request of a team, with the team locked.
    async fn team_request(
        &self,
        op: &Op,
        action: Action,
        id: AskId,
    ) -> Result<(Tx, Granted, Scope, RequestRow)> {
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, permit) = self.permit(op, tx, &asker, action, Resource::Site, Facts::default()).await?;
        let of_a_team = |row: &RequestRow| row.kind == RequestKind::TeamQuota;
        let seen = tx.request_fetch(id).await?.filter(of_a_team);
        let seen = seen.ok_or_else(|| Error::not_found("request"))?;
        tx.team_lock(seen.team).await?;
        let row = request_in(&mut tx, seen.team, id).await?;
        open_still(op, &row)?;
        let team = team_named(&mut tx, &row.team.to_string()).await?;
        Ok((tx, permit, Scope { asker, team, member: None }, row))
    }

    async fn request_conclude(
        &self,
        op: &Op,
        mut tx: Tx,
        permit: &Granted,
        mut row: RequestRow,
        state: RequestState,
        answer: String,
    ) -> Result<RequestView> {
        row.state = state;
        row.answer = answer;
        row.decided_by = Some(op.actor.name());
        row.decided_at = Some(op.now());
        if !tx.request_decide(&row).await? {
            return Err(moved());
        }
        let view = RequestView::of(row, op.now());
        let (team, target, document) = (view.team.to_string(), view.id.to_string(), document_of(&view));
        if state != RequestState::Cancelled {
            let kind = format!("request.{state}");
            self.tell(op, &mut tx, &team, &kind, &target, document.clone()).await?;
        }
        self.conclude(op, tx, permit, Outcome { team, target, document, status: 200, answer: &view }).await?;
        Ok(view)
    }
}

impl RequestRefusal {
    fn check(&self) -> Result<()> {
        let mut findings = Findings::new();
        findings.text(&self.note, "/note", 1, 500);
        findings.done()
    }
}

/// The error for a member who has gone meanwhile.
fn gone() -> Error {
    Error::conflict("illegal-state", "the member was removed; nothing can be given, so refuse the request")
}

/// The error for a row that somebody changed at the same moment.
fn moved() -> Error {
    let told = "somebody changed the same thing at this moment; look at it, and try again";
    Error::new(Kind::Unavailable, "unavailable", told).retry_after(1)
}
