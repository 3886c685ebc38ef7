//! Members: accounts that a team issues, changes and takes back.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{
    App, books,
    credentials::{self, FirstPassword, Secret},
    gate::{Outcome, Scope},
    login::member_suspended,
    products::stale,
    users::PasswordReset,
};
use crate::{
    error::{Error, Findings, Result},
    ids::{MemberId, UserId},
    ledger::{
        account::AccountKind,
        posting::{Header, IdemKey, Posting, TransactionKind},
    },
    model::{
        action::Action,
        page::{Items, Page},
        quota::{Limits, Usage},
        team::{MemberState, Preset, Role},
    },
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::{Concern, Conn, Json, Tx, identity::MemberRow},
    time::Timestamp,
};

/// An account to issue.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    /// The name of the account within the team, for good: 2 to 63 of a-z, 0-9, `.`, `_` and `-`.
    pub account: String,
    /// The first password; made by the server when absent. It must be changed at the first login.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A role of the team's preset other than owner; the one with the least rights when absent.
    #[serde(default)]
    pub role: Option<Role>,
    /// Credits that go from the team's pool to the member at once.
    #[serde(default)]
    pub initial_credits: Option<Credits>,
    /// The name that the team uses, at most 64 characters.
    #[serde(default)]
    pub alias: Option<String>,
    /// What the team notes about the member, at most 2000 characters.
    #[serde(default)]
    pub note: Option<String>,
    /// Words for the team's policies to look at, such as `intern`: at most 16, each 1 to 32 of a-z, 0-9, `-` and `_`.
    #[serde(default)]
    pub labels: BTreeSet<String>,
}

/// A change of a member; what is absent stays.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberChange {
    /// The name that the team uses.
    #[serde(default)]
    pub alias: Option<String>,
    /// What the team notes about the member.
    #[serde(default)]
    pub note: Option<String>,
    /// Words for the team's policies, in the place of the present ones.
    #[serde(default)]
    pub labels: Option<BTreeSet<String>>,
    /// A role of the team's preset; another role ends the member's sessions.
    #[serde(default)]
    pub role: Option<Role>,
    /// `active` or `suspended`; a suspension ends the member's sessions.
    #[serde(default)]
    pub state: Option<MemberState>,
}

/// A member.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct MemberView {
    /// The membership.
    pub id: MemberId,
    /// The name of the account within the team.
    pub account: String,
    /// The platform user it is linked to.
    pub user: Option<UserId>,
    /// What the member is.
    pub role: Role,
    /// Where the membership stands.
    pub state: MemberState,
    /// The name that the team uses.
    pub alias: String,
    /// What the team notes about the member.
    pub note: String,
    /// Words for the team's policies to look at.
    pub labels: BTreeSet<String>,
    /// Credits that the member can spend; absent when the caller may not see them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Credits>,
    /// Raised by every change; the ETag.
    pub version: i64,
    /// When the account was issued.
    pub created_at: Timestamp,
}

/// A member with what they spent and hold.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct MemberDetail {
    /// The member.
    #[serde(flatten)]
    pub member: MemberView,
    /// All that was ever charged for their use; absent when the caller may not see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_spending: Option<Credits>,
    /// How many instances of theirs are not over.
    pub instances: u32,
    /// What they hold of each counted limit.
    pub usage: Usage,
}

/// What a new member needs to sign in, to be handed over.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct LoginDetails {
    /// The address of this server.
    pub server: String,
    /// The team, by its slug.
    pub team: String,
    /// The account.
    pub account: String,
    /// The first password, shown this once; a repetition of the request does not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// A member with the login details of an issued account.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct IssuedMember {
    /// The member.
    #[serde(flatten)]
    pub member: MemberView,
    /// What they need to sign in.
    pub login: LoginDetails,
}

impl From<MemberRow> for MemberView {
    fn from(row: MemberRow) -> Self {
        Self {
            id: row.id,
            account: row.account,
            user: row.user_id,
            role: row.role,
            state: row.state,
            alias: row.alias,
            note: row.note,
            labels: row.labels.0,
            balance: None,
            version: row.version,
            created_at: row.created_at,
        }
    }
}

/// The role that a member has when nobody says which.
const fn least_role(preset: Preset) -> Role {
    match preset {
        Preset::Glows => Role::Member,
        Preset::Grid => Role::Collaborator,
        Preset::Novita => Role::Basic,
    }
}

/// The account of a member, as policies see it.
pub(crate) fn account_of(row: &MemberRow) -> Resource {
    Resource::Member { team: row.team, id: row.id, role: row.role }
}

fn described(alias: &str, note: &str, findings: &mut Findings) {
    findings.text(alias, "/alias", 0, 64);
    findings.text(note, "/note", 0, 2000);
}

fn role_of_preset(role: Role, preset: Preset) -> Result<()> {
    let words: Vec<&str> = preset.roles().iter().map(|role| role.word()).collect();
    let mut findings = Findings::new();
    let told = format!("a role of the preset {preset}: {}", words.join(", "));
    findings.check(preset.roles().contains(&role), "/role", told);
    findings.done()
}

impl NewMember {
    /// The account's name in its stored form.
    fn check(&self) -> Result<String> {
        let mut findings = Findings::new();
        let account = credentials::name(&self.account, "/account", &mut findings);
        if let Some(secret) = &self.password {
            credentials::password(secret, "/password", &mut findings);
        }
        let credits = self.initial_credits.unwrap_or(Credits::ZERO);
        findings.check(credits >= Credits::ZERO, "/initial_credits", format!("0 or more, got {credits}"));
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        described(&text(&self.alias), &text(&self.note), &mut findings);
        labelled(&self.labels, &mut findings);
        findings.done()?;
        Ok(account)
    }

    fn row(
        &self,
        op: &Op,
        scope: &Scope,
        account: String,
        password: &FirstPassword,
        role: Role,
    ) -> MemberRow {
        MemberRow {
            id: op.id(),
            team: scope.team.id,
            account,
            user_id: None,
            password_hash: Some(password.hash.clone()),
            role,
            state: MemberState::Issued,
            alias: self.alias.clone().unwrap_or_default(),
            note: self.note.clone().unwrap_or_default(),
            labels: Json(self.labels.clone()),
            limits: Limits::default(),
            temporary: Json::default(),
            version: 1,
            valid_from: op.now(),
            created_at: op.now(),
        }
    }
}

/// The membership with this id in the team; those of other teams are not there.
pub(crate) async fn member_in(conn: &mut Conn, scope: &Scope, id: MemberId) -> Result<MemberRow> {
    let row = conn.member_fetch(id).await?.filter(|row| row.team == scope.team.id);
    row.ok_or_else(|| Error::not_found("member"))
}

impl App {
    /// For the sentence of a refusal: what the owner of the thing is called, if whoever asks may see who that is.
    pub(super) async fn owner_facts(&self, conn: &mut Conn, scope: &Scope, owner: MemberId) -> Result<Facts> {
        if scope.member.as_ref().is_some_and(|member| member.id == owner) {
            return Ok(Facts::default());
        }
        let row = member_in(conn, scope, owner).await?;
        let (principal, account) = (&scope.asker.principal, account_of(&row));
        let may = self.policies.may(principal, Action::GetMember, &account, &Facts::default());
        Ok(Facts { owner_name: may.then_some(row.account), ..Facts::default() })
    }

    /// Issues an account, with its first credits, and answers what its holder needs to sign in.
    pub async fn member_create(&self, op: &Op, team: &str, new: NewMember) -> Result<IssuedMember> {
        let account = new.check()?;
        let password = self.first_password(op, new.password.as_ref()).await?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let role = new.role.unwrap_or(least_role(scope.team.preset));
        let row = new.row(op, &scope, account, &password, role);
        let facts = Facts { target_role: Some(role), ..Facts::default() };
        let (mut tx, granted) =
            self.permit(op, tx, &scope.asker, Action::CreateMember, account_of(&row), facts).await?;
        role_of_preset(role, scope.team.preset)?;
        let credits = new.initial_credits.unwrap_or(Credits::ZERO);
        if credits.is_positive() {
            let resource = Resource::own(row.team, row.id);
            let asked = self.permit(op, tx, &scope.asker, Action::AssignCredits, resource, Facts::default());
            (tx, _) = asked.await?;
        }
        tx.team_lock(row.team).await?;
        let most = self.settings.team_members;
        if tx.members_count(row.team).await? >= most {
            let told = format!("the team has all {most} members that it may have; remove one first");
            return Err(Error::conflict("member-limit", told));
        }
        tx.member_insert(&row).await?;
        self.holdings_open(op, &mut tx, &row).await?;
        if credits.is_positive() {
            let mut journal = tx.journal(op, row.team, &Concern::of(row.id)).await?;
            let (pool, wallet) = (journal.own(AccountKind::TeamPool)?, journal.wallet(row.id)?);
            let header = self.transfer_header(op, &row, TransactionKind::Assign, "initial credits");
            books::post(&mut journal, header, &Posting::assign(pool, wallet, credits)?, pool)?;
            tx.journal_write(&journal).await?;
        }
        let login = self.login_details(&scope, &row);
        let mut issued = IssuedMember { member: row.into(), login };
        issued.member.balance = Some(credits);
        let outcome = issue_outcome(&scope, &issued, 201);
        self.conclude(op, tx, &granted, outcome).await?;
        issued.login.password = Some(password.plain);
        Ok(issued)
    }

    fn login_details(&self, scope: &Scope, row: &MemberRow) -> LoginDetails {
        LoginDetails {
            server: self.settings.public_url.clone(),
            team: scope.team.slug.clone(),
            account: row.account.clone(),
            password: None,
        }
    }

    /// The header of a transfer between the team's pool and the member's wallet.
    fn transfer_header(&self, op: &Op, member: &MemberRow, kind: TransactionKind, reason: &str) -> Header {
        let header = self.header(op, member.team, IdemKey::request(kind, op.request));
        Header { member: Some(member.id), reason: reason.to_owned(), ..header }
    }

    /// The members whom the caller may see, the oldest first; whoever may see only themselves sees themselves.
    pub async fn members_page(&self, op: &Op, team: &str, page: &Page) -> Result<Items<MemberView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let team = scope.team.id;
        let all = Resource::team(team);
        let own = scope.member.clone().filter(|_| {
            !self.policies.may(&scope.asker.principal, Action::ListMembers, &all, &Facts::default())
        });
        let asked = own.as_ref().map_or(all, |own| Resource::own(team, own.id));
        self.look(op, &scope.asker, Action::ListMembers, asked, Facts::default()).await?;
        let rows = match own {
            Some(own) => vec![own],
            None => read.members_page(team, page.after(), limit + 1).await?,
        };
        let mut wallets = HashMap::new();
        for account in read.accounts_of_team(team).await? {
            if let (AccountKind::Wallet, Some(member)) = (account.kind, account.member) {
                wallets.insert(member, account.balance.available()?);
            }
        }
        let view = |row: MemberRow| {
            let balance = wallets.get(&row.id).copied().filter(|_| self.shows_money(&scope, row.id));
            MemberView { balance, ..row.into() }
        };
        Ok(Items::cut(rows, limit, |row| row.id.to_string()).map(view))
    }

    /// Whether the caller may see the balance of the member.
    fn shows_money(&self, scope: &Scope, member: MemberId) -> bool {
        let resource = Resource::own(scope.team.id, member);
        self.policies.may(&scope.asker.principal, Action::GetBalance, &resource, &Facts::default())
    }

    /// One member, with what they spent and hold.
    pub async fn member_fetch(&self, op: &Op, team: &str, id: MemberId) -> Result<MemberDetail> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let row = member_in(&mut read, &scope, id).await?;
        self.look(op, &scope.asker, Action::GetMember, account_of(&row), Facts::default()).await?;
        let (team, shown) = (row.team, self.shows_money(&scope, id));
        let mut member = MemberView::from(row);
        let mut total_spending = None;
        if shown {
            member.balance = Some(read.account_of_member(team, id).await?.balance.available()?);
            let (since, until) = (Timestamp::from_micros(0), Timestamp::from_micros(i64::MAX));
            total_spending = Some(read.charges_sum(team, Some(id), since, until).await?);
        }
        let instances = read.instances_live_of_member(id).await?;
        let usage = read.usage_fetch(&id.to_string()).await?;
        Ok(MemberDetail { member, total_spending, instances, usage })
    }

    /// Changes a member, if they are still at the expected version. Another role or a suspension ends their sessions.
    pub async fn member_update(
        &self,
        op: &Op,
        team: &str,
        id: MemberId,
        expected: i64,
        change: MemberChange,
    ) -> Result<MemberView> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let before = member_in(&mut tx, &scope, id).await?;
        let facts = Facts { target_role: change.role, ..Facts::default() };
        let (mut tx, granted) =
            self.permit(op, tx, &scope.asker, Action::UpdateMember, account_of(&before), facts).await?;
        let mut row = changed(before.clone(), change, scope.team.preset)?;
        row.version = expected;
        let ends = row.role != before.role || row.state == MemberState::Suspended;
        if ends {
            row.valid_from = op.now();
            tx.sessions_revoke_of_member(id, op.now()).await?;
        }
        if !tx.member_update(&row).await? {
            return Err(stale());
        }
        row.version += 1;
        let view = MemberView::from(row);
        let outcome = Outcome {
            team: scope.team.id.to_string(),
            target: id.to_string(),
            document: serde_json::json!({
                "role": view.role, "state": view.state, "alias": view.alias, "note": view.note, "labels": view.labels,
                "role_before": before.role, "state_before": before.state, "labels_before": before.labels.0,
            }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &granted, outcome).await?;
        Ok(view)
    }

    /// Gives a member a first password again, which ends their sessions.
    pub async fn member_password_reset(
        &self,
        op: &Op,
        team: &str,
        id: MemberId,
        reset: PasswordReset,
    ) -> Result<IssuedMember> {
        reset.check()?;
        let password = self.first_password(op, reset.password.as_ref()).await?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let mut row = member_in(&mut tx, &scope, id).await?;
        let resource = account_of(&row);
        let (mut tx, granted) = self
            .permit(op, tx, &scope.asker, Action::ResetMemberPassword, resource, Facts::default())
            .await?;
        match (row.role, row.state) {
            (Role::Owner, _) => {
                let told = "the owner signs in as a platform user; only the operator can reset that password";
                return Err(Error::conflict("owner-has-no-password", told));
            }
            (_, MemberState::Suspended) => return Err(member_suspended()),
            (_, MemberState::Removed) => return Err(Error::not_found("member")),
            (_, MemberState::Issued | MemberState::Active) => {}
        }
        row.state = MemberState::Issued;
        tx.member_password_set(id, &password.hash, row.state, op.now()).await?;
        tx.sessions_revoke_of_member(id, op.now()).await?;
        row.version += 1;
        let login = self.login_details(&scope, &row);
        let mut issued = IssuedMember { member: row.into(), login };
        let outcome = issue_outcome(&scope, &issued, 200);
        self.conclude(op, tx, &granted, outcome).await?;
        issued.login.password = Some(password.plain);
        Ok(issued)
    }

    /// Removes a member: their credits go back to the pool, their sessions and keys end.
    pub async fn member_remove(&self, op: &Op, team: &str, id: MemberId) -> Result<()> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let row = member_in(&mut tx, &scope, id).await?;
        let resource = account_of(&row);
        let (tx, granted) =
            self.permit(op, tx, &scope.asker, Action::RemoveMember, resource, Facts::default()).await?;
        let (tx, returned) = self.member_clear(op, tx, &row).await?;
        let outcome = Outcome {
            team: scope.team.id.to_string(),
            target: id.to_string(),
            document: serde_json::json!({ "account": row.account, "credits_returned": returned }),
            status: 204,
            answer: &(),
        };
        self.conclude(op, tx, &granted, outcome).await
    }

    /// Writes a removal; how many credits went back to the pool.
    async fn member_clear(&self, op: &Op, mut tx: Tx, row: &MemberRow) -> Result<(Tx, Credits)> {
        let mut journal = tx.journal(op, row.team, &Concern::of(row.id)).await?;
        let live = tx.instances_live_of_member(row.id).await?;
        let wallet = journal.wallet(row.id)?;
        if live > 0 || journal.account(wallet)?.balance.pending().is_positive() {
            let told = format!(
                "{live} instances of this member are not over, or money is still held for them; release them \
                 first and wait for their last bill"
            );
            return Err(Error::conflict("member-in-use", told));
        }
        let rest = journal.spendable(wallet, op.now())?;
        if rest.is_positive() {
            let pool = journal.own(AccountKind::TeamPool)?;
            let header = self.transfer_header(op, row, TransactionKind::Reclaim, "member removed");
            books::post(&mut journal, header, &Posting::reclaim(wallet, pool, rest)?, wallet)?;
            tx.journal_write(&journal).await?;
        }
        if !tx.member_remove(row.id, row.version, op.now()).await? {
            return Err(Error::not_found("member"));
        }
        tx.sessions_revoke_of_member(row.id, op.now()).await?;
        tx.api_keys_revoke_of_member(row.team, row.id, op.now()).await?;
        Ok((tx, rest))
    }
}

/// The record of an account that was issued, or issued again.
fn issue_outcome<'a>(scope: &Scope, issued: &'a IssuedMember, status: u16) -> Outcome<'a, IssuedMember> {
    let MemberView { id, account, role, balance, .. } = &issued.member;
    Outcome {
        team: scope.team.id.to_string(),
        target: id.to_string(),
        document: serde_json::json!({ "account": account, "role": role, "initial_credits": balance }),
        status,
        answer: issued,
    }
}

/// The most labels of a member or a product, and the longest one.
const MOST_LABELS: usize = 16;
const LONGEST_LABEL: usize = 32;

/// Refuses labels that are too many, too long, or of other letters.
pub(super) fn labelled(labels: &BTreeSet<String>, findings: &mut Findings) {
    findings.check(labels.len() <= MOST_LABELS, "/labels", format!("at most {MOST_LABELS} labels"));
    for (index, label) in labels.iter().enumerate().take(MOST_LABELS) {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let fine = (1..=LONGEST_LABEL).contains(&label.len()) && label.chars().all(allowed);
        findings.check(
            fine,
            &format!("/labels/{index}"),
            format!("1 to {LONGEST_LABEL} of a-z, 0-9, `-` and `_`"),
        );
    }
}

/// The row after a change. An issued account becomes active by its first password and by nothing else, so it can
/// neither be suspended nor made active.
fn changed(mut row: MemberRow, change: MemberChange, preset: Preset) -> Result<MemberRow> {
    row.alias = change.alias.unwrap_or(row.alias);
    row.note = change.note.unwrap_or(row.note);
    row.labels = change.labels.map_or(row.labels, Json);
    let mut findings = Findings::new();
    described(&row.alias, &row.note, &mut findings);
    labelled(&row.labels.0, &mut findings);
    let state = change.state.unwrap_or(row.state);
    let may_be_set = matches!(state, MemberState::Active | MemberState::Suspended) || state == row.state;
    findings.check(may_be_set, "/state", "`active` or `suspended`");
    findings.done()?;
    if let Some(role) = change.role {
        role_of_preset(role, preset)?;
        row.role = role;
    }
    let told = match (row.state, state) {
        (from, to) if from == to => None,
        _ if row.role == Role::Owner => Some("a team always has its owner, who cannot be suspended"),
        (MemberState::Active, MemberState::Suspended) | (MemberState::Suspended, MemberState::Active) => None,
        (MemberState::Issued, _) => {
            Some("the member has not set a password yet; reset the password or remove the member instead")
        }
        _ => Some("the member was removed"),
    };
    if let Some(told) = told {
        return Err(Error::conflict("illegal-state", told));
    }
    row.state = state;
    Ok(row)
}
