//! Requests: a member asks those who run the team for credits or limits, or they ask the operator for the whole team.
//! `deciding` is what becomes of them.

use serde::{Deserialize, Serialize};

use super::{
    App, credits,
    gate::{Granted, Outcome, Scope},
    quotas::{LONGEST, ceiling_check, limits_check},
};
use crate::{
    error::{Error, Findings, Result},
    ids::{AskId, MemberId, TeamId, TransactionId},
    model::{
        action::Action,
        page::{Items, Page},
        quota::Limits,
        request::{RequestKind, RequestState},
        team::{Role, Spending},
    },
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::{
        Conn, Tx,
        requests::{RequestFilter, RequestRow},
    },
    time::{Span, Timestamp},
};

/// A request to make.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRequest {
    /// `credits` or `quota`.
    pub kind: RequestKind,
    /// For `credits`: how many, above 0.
    #[serde(default)]
    pub amount: Option<Credits>,
    /// For `quota`: the limits as they should be; at least one.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// For `quota`: until when they are needed, at most a year ahead; for good when absent.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Why, 1 to 500 characters.
    pub reason: String,
    /// When the request is over if nobody has decided: 14 days from now unless told, at most 90.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// A request for what the whole team may hold.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTeamRequest {
    /// What the whole team should be able to hold; at least one limit that is counted.
    pub limits: Limits,
    /// Why, 1 to 500 characters.
    pub reason: String,
    /// When the request is over if nobody has decided: 14 days from now unless told, at most 90.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// What was given.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct GrantedView {
    /// Credits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Credits>,
    /// The transaction in the books that gave them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionId>,
    /// Limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Until when; `null`: for good.
    pub until: Option<Timestamp>,
}

/// A request.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct RequestView {
    /// The request.
    pub id: AskId,
    /// The team.
    pub team: TeamId,
    /// Who asks.
    pub member: MemberId,
    /// For what.
    pub kind: RequestKind,
    /// Where it stands.
    pub state: RequestState,
    /// The credits wanted.
    pub amount: Option<Credits>,
    /// The limits wanted.
    pub limits: Option<Limits>,
    /// Until when they are needed; `null`: for good.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// What was given.
    pub granted: Option<GrantedView>,
    /// What was said to the decision; may be empty.
    pub answer: String,
    /// Who decided, or took it back.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is over if nobody has decided.
    pub expires_at: Timestamp,
}

impl RequestView {
    pub(super) fn of(row: RequestRow, now: Timestamp) -> Self {
        let state = row.state_at(now);
        let granted = (state == RequestState::Approved).then_some(GrantedView {
            amount: row.granted_amount,
            transaction: row.transaction_id,
            limits: row.granted_limits,
            until: row.granted_until,
        });
        Self {
            id: row.id,
            team: row.team,
            member: row.member,
            kind: row.kind,
            state,
            amount: row.amount,
            limits: row.limits,
            until: row.until_at,
            reason: row.reason,
            granted,
            answer: row.answer,
            decided_by: row.decided_by,
            decided_at: row.decided_at,
            created_at: row.created_at,
            expires_at: row.expires_at,
        }
    }
}

/// How long a request stays open unless told, and at the most.
const OPEN: Span = Span::from_seconds(14 * 86_400);
const LONGEST_OPEN: Span = Span::from_seconds(90 * 86_400);

fn told_check(op: &Op, reason: &str, expires_at: Option<Timestamp>, findings: &mut Findings) {
    findings.text(reason, "/reason", 1, 500);
    let fine = expires_at.is_none_or(|at| op.now() < at && at <= op.now() + LONGEST_OPEN);
    findings.check(fine, "/expires_at", "a time to come, at most 90 days ahead");
}

impl NewRequest {
    fn check(&self, op: &Op) -> Result<()> {
        match (self.kind, self.amount, &self.limits) {
            (RequestKind::Credits, Some(amount), limits) => {
                let mut findings = credits::findings(amount, "");
                findings.check(limits.is_none(), "/limits", "only of a request of the kind `quota`");
                findings.check(self.until.is_none(), "/until", "only of a request of the kind `quota`");
                told_check(op, &self.reason, self.expires_at, &mut findings);
                findings.done()
            }
            (RequestKind::Quota, amount, Some(limits)) => {
                let mut findings = Findings::new();
                findings.check(amount.is_none(), "/amount", "only of a request of the kind `credits`");
                findings.check(!limits.is_empty(), "/limits", "at least one limit");
                limits_check(limits, "/limits", &mut findings);
                let fine = self.until.is_none_or(|at| op.now() < at && at <= op.now() + LONGEST);
                findings.check(fine, "/until", "a time to come, at most a year ahead");
                told_check(op, &self.reason, self.expires_at, &mut findings);
                findings.done()
            }
            (RequestKind::Credits, None, _) => Err(Error::field("/amount", "how many credits")),
            (RequestKind::Quota, _, None) => Err(Error::field("/limits", "the limits as they should be")),
            (RequestKind::TeamQuota, ..) => {
                let told = "`credits` or `quota`; for the whole team post to /teams/{team}/quota-requests";
                Err(Error::field("/kind", told))
            }
        }
    }
}

/// Refuses what nobody could grant, or what would change nothing.
fn worth_asking(scope: &Scope, role: Role, kind: RequestKind) -> Result<()> {
    let told = match kind {
        RequestKind::Credits if scope.team.spending == Spending::Pool => {
            "members of this team spend its pool, so credits in a wallet would not be used; ask for a budget instead"
        }
        RequestKind::Credits if role == Role::Owner => {
            "an owner has nobody to ask for credits: top up the pool, and assign what is in it"
        }
        RequestKind::Quota if role.runs_the_team() => {
            "limits of members do not bind owners and admins; ask the operator for the whole team instead"
        }
        _ => return Ok(()),
    };
    Err(Error::conflict("nothing-to-ask-for", told))
}

/// The team's request with this id; those of other teams are not there.
pub(super) async fn request_in(conn: &mut Conn, team: TeamId, id: AskId) -> Result<RequestRow> {
    let row = conn.request_fetch(id).await?.filter(|row| row.team == team);
    row.ok_or_else(|| Error::not_found("request"))
}

/// What the audit log and messages say of a request.
pub(super) fn document_of(view: &RequestView) -> serde_json::Value {
    serde_json::json!({
        "request": view.id, "kind": view.kind, "member": view.member, "amount": view.amount, "limits": view.limits,
        "until": view.until, "reason": view.reason, "granted": view.granted, "answer": view.answer,
        "decided_by": view.decided_by, "expires_at": view.expires_at,
    })
}

impl App {
    /// Asks those who run the team for credits or for limits.
    ///
    /// # Errors
    /// The conflicts `nothing-to-ask-for`, and `request-open` when the member has asked already.
    pub async fn request_create(&self, op: &Op, team: &str, new: NewRequest) -> Result<RequestView> {
        // Checked against the clock below: a repetition may come when its time has passed.
        self.unless_answered(op).await?;
        new.check(op)?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let member = scope.member()?.clone();
        let resource = Resource::own(scope.team.id, member.id);
        let (tx, permit) =
            self.permit(op, tx, &scope.asker, Action::CreateRequest, resource, Facts::default()).await?;
        worth_asking(&scope, member.role, new.kind)?;
        let row = RequestRow {
            amount: new.amount,
            limits: new.limits,
            until_at: new.until,
            ..row_of(op, &scope, member.id, new.kind, new.reason, new.expires_at)
        };
        self.request_insert(op, tx, &permit, row).await
    }

    /// Asks the operator for what the whole team may hold.
    ///
    /// # Errors
    /// The conflict `request-open` when the member has asked already.
    pub async fn team_request_create(&self, op: &Op, team: &str, new: NewTeamRequest) -> Result<RequestView> {
        self.unless_answered(op).await?;
        let mut findings = Findings::new();
        findings.check(!new.limits.is_empty(), "/limits", "at least one limit");
        ceiling_check(&new.limits, "/limits", &mut findings);
        told_check(op, &new.reason, new.expires_at, &mut findings);
        findings.done()?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let resource = Resource::team(scope.team.id);
        let (tx, permit) =
            self.permit(op, tx, &scope.asker, Action::CreateTeamRequest, resource, Facts::default()).await?;
        let member = scope.member()?.id;
        let row = row_of(op, &scope, member, RequestKind::TeamQuota, new.reason, new.expires_at);
        let row = RequestRow { limits: Some(new.limits), ..row };
        self.request_insert(op, tx, &permit, row).await
    }

    async fn request_insert(
        &self,
        op: &Op,
        mut tx: Tx,
        permit: &Granted,
        row: RequestRow,
    ) -> Result<RequestView> {
        tx.request_insert(&row).await?;
        let view = RequestView::of(row, op.now());
        let (team, document) = (view.team.to_string(), document_of(&view));
        self.tell(op, &mut tx, &team, "request.created", &view.id.to_string(), document.clone()).await?;
        let outcome = Outcome { team, target: view.id.to_string(), document, status: 201, answer: &view };
        self.conclude(op, tx, permit, outcome).await?;
        Ok(view)
    }

    /// The team's requests, the newest first; whoever may see only their own sees their own.
    pub async fn requests_page(
        &self,
        op: &Op,
        team: &str,
        member: Option<MemberId>,
        kind: Option<RequestKind>,
        state: Option<RequestState>,
        page: &Page,
    ) -> Result<Items<RequestView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let team = scope.team.id;
        let all = Resource::team(team);
        let own = scope.member.as_ref().map(|member| member.id).filter(|_| {
            !self.policies.may(&scope.asker.principal, Action::ListRequests, &all, &Facts::default())
        });
        let asked = own.map_or(all, |own| Resource::own(team, member.unwrap_or(own)));
        self.look(op, &scope.asker, Action::ListRequests, asked, Facts::default()).await?;
        let filter = RequestFilter { member: own.or(member), kind, state };
        let rows = read.requests_page(team, filter, op.now(), page.after(), limit + 1).await?;
        let view = |row| RequestView::of(row, op.now());
        Ok(Items::cut(rows, limit, |row| row.id.to_string()).map(view))
    }

    /// Requests of all teams for what they may hold, the newest first; for the operator.
    pub async fn team_requests_page(
        &self,
        op: &Op,
        state: Option<RequestState>,
        page: &Page,
    ) -> Result<Items<RequestView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::ListTeamRequests, Resource::Site, Facts::default()).await?;
        let rows = read.requests_of_teams(state, op.now(), page.after(), limit + 1).await?;
        let view = |row| RequestView::of(row, op.now());
        Ok(Items::cut(rows, limit, |row| row.id.to_string()).map(view))
    }

    /// One request.
    pub async fn request_fetch(&self, op: &Op, team: &str, id: AskId) -> Result<RequestView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let row = request_in(&mut read, scope.team.id, id).await?;
        let resource = Resource::own(row.team, row.member);
        self.look(op, &scope.asker, Action::GetRequest, resource, Facts::default()).await?;
        Ok(RequestView::of(row, op.now()))
    }
}

fn row_of(
    op: &Op,
    scope: &Scope,
    member: MemberId,
    kind: RequestKind,
    reason: String,
    expires_at: Option<Timestamp>,
) -> RequestRow {
    RequestRow {
        id: op.id(),
        team: scope.team.id,
        member,
        kind,
        state: RequestState::Open,
        amount: None,
        limits: None,
        until_at: None,
        reason,
        granted_amount: None,
        granted_limits: None,
        granted_until: None,
        transaction_id: None,
        answer: String::new(),
        decided_by: None,
        decided_at: None,
        created_at: op.now(),
        expires_at: expires_at.unwrap_or(op.now() + OPEN),
    }
}
