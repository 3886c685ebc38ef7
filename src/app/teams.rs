//! Teams: made by a platform user, who becomes the owner.

use serde::{Deserialize, Serialize};

use super::{App, credentials, gate::Outcome, products::stale};
use crate::{
    error::{Error, Findings, Kind, Result},
    ids::{MemberId, TeamId, UserId},
    ledger::account::{Account, AccountKind},
    model::{
        action::Action,
        page::{Items, Page},
        quota::Limits,
        team::{MemberState, Preset, Role, Spending},
        terms::TeamTerms,
    },
    money::Credits,
    op::{Actor, Op},
    policy::{Facts, Resource},
    store::{
        Json, Tx,
        identity::{MemberRow, TeamRow},
    },
    time::Timestamp,
};

/// A team to make.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTeam {
    /// Its name in addresses, for good: 2 to 63 of a-z, 0-9, `.`, `_` and `-`.
    pub slug: String,
    /// Its name for people, 1 to 64 characters.
    pub name: String,
    /// What it says about itself, at most 2000 characters.
    #[serde(default)]
    pub description: String,
    /// Its set of role rules, for good.
    pub preset: Preset,
}

/// A change of a team; what is absent stays.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TeamChange {
    /// Its name for people.
    #[serde(default)]
    pub name: Option<String>,
    /// What it says about itself.
    #[serde(default)]
    pub description: Option<String>,
}

/// A team.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct TeamView {
    /// Its id.
    pub id: TeamId,
    /// Its name in addresses.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// What it says about itself.
    pub description: String,
    /// Its set of role rules.
    pub preset: Preset,
    /// Whose money a launch spends.
    pub spending: Spending,
    /// Raised by every change; the ETag.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

impl From<TeamRow> for TeamView {
    fn from(row: TeamRow) -> Self {
        Self {
            id: row.id,
            slug: row.slug,
            name: row.name,
            description: row.description,
            preset: row.preset,
            spending: row.spending,
            version: row.version,
            created_at: row.created_at,
        }
    }
}

fn told_apart(name: &str, description: &str, findings: &mut Findings) {
    findings.text(name, "/name", 1, 64);
    findings.text(description, "/description", 0, 2000);
}

/// The account name of whoever made the team.
const OWNER_ACCOUNT: &str = "owner";

impl App {
    /// Makes a team with its books, and its maker the owner.
    pub async fn team_create(&self, op: &Op, new: NewTeam) -> Result<TeamView> {
        let mut findings = Findings::new();
        let slug = credentials::name(&new.slug, "/slug", &mut findings);
        told_apart(&new.name, &new.description, &mut findings);
        findings.done()?;
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, granted) =
            self.permit(op, tx, &asker, Action::CreateTeam, Resource::Site, Facts::default()).await?;
        let Actor::User { user, .. } = op.actor else { return Err(not_a_user()) };
        let team = TeamRow {
            id: op.id(),
            slug,
            name: new.name,
            description: new.description,
            preset: new.preset,
            spending: new.preset.spending(),
            limits: Limits::default(),
            ceiling: Limits::default(),
            terms: TeamTerms::default(),
            credit_limit: Credits::ZERO,
            policy_version: 0,
            policy_shadow: 0,
            version: 1,
            created_at: op.now(),
        };
        tx.team_insert(&team).await?;
        tx.usage_insert(&team.id.to_string(), team.id).await?;
        for &kind in AccountKind::ALL.iter().filter(|kind| !kind.is_personal()) {
            tx.account_insert(&Account::open(op.id(), team.id, None, kind, op.now())).await?;
        }
        let owner = self.owner_insert(op, &mut tx, team.id, user).await?;
        let view = TeamView::from(team);
        let outcome = Outcome {
            team: view.id.to_string(),
            target: view.id.to_string(),
            document: serde_json::json!({ "slug": view.slug, "preset": view.preset, "owner": owner }),
            status: 201,
            answer: &view,
        };
        self.conclude(op, tx, &granted, outcome).await?;
        Ok(view)
    }

    async fn owner_insert(&self, op: &Op, tx: &mut Tx, team: TeamId, user: UserId) -> Result<MemberId> {
        let row = tx.user_fetch(user).await?.ok_or_else(|| Error::not_found("user"))?;
        let owner = MemberRow {
            id: op.id(),
            team,
            account: OWNER_ACCOUNT.to_owned(),
            user_id: Some(user),
            password_hash: None,
            role: Role::Owner,
            state: MemberState::Active,
            alias: String::new(),
            note: String::new(),
            labels: Json(Default::default()),
            limits: Limits::default(),
            temporary: Json::default(),
            version: 1,
            // The session that makes the team is older than the team, and good in it.
            valid_from: row.valid_from,
            created_at: op.now(),
        };
        tx.member_insert(&owner).await?;
        self.holdings_open(op, tx, &owner).await?;
        Ok(owner.id)
    }

    /// What every member has from the start: a count of what they hold, and a wallet.
    pub(crate) async fn holdings_open(&self, op: &Op, tx: &mut Tx, member: &MemberRow) -> Result<()> {
        tx.usage_insert(&member.id.to_string(), member.team).await?;
        let wallet = Account::open(op.id(), member.team, Some(member.id), AccountKind::Wallet, op.now());
        Ok(tx.account_insert(&wallet).await?)
    }

    /// Teams of the site, the oldest first.
    pub async fn teams_page(&self, op: &Op, page: &Page) -> Result<Items<TeamView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::ListTeams, Resource::Site, Facts::default()).await?;
        let rows = read.teams_page(page.after(), limit + 1).await?;
        Ok(Items::cut(rows, limit, |row| row.id.to_string()).map(TeamView::from))
    }

    /// One team.
    pub async fn team_fetch(&self, op: &Op, team: &str) -> Result<TeamView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::GetTeam, resource, Facts::default()).await?;
        Ok(scope.team.into())
    }

    /// Changes name or description of a team, if it is still at the expected version.
    pub async fn team_update(
        &self,
        op: &Op,
        team: &str,
        expected: i64,
        change: TeamChange,
    ) -> Result<TeamView> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let mut row = scope.team;
        let resource = Resource::team(row.id);
        let (mut tx, granted) =
            self.permit(op, tx, &scope.asker, Action::UpdateTeam, resource, Facts::default()).await?;
        row.version = expected;
        row.name = change.name.unwrap_or(row.name);
        row.description = change.description.unwrap_or(row.description);
        let mut findings = Findings::new();
        told_apart(&row.name, &row.description, &mut findings);
        findings.done()?;
        if !tx.team_update(&row).await? {
            return Err(stale());
        }
        row.version += 1;
        let view = TeamView::from(row);
        let outcome = Outcome {
            team: view.id.to_string(),
            target: view.id.to_string(),
            document: serde_json::json!({ "name": view.name, "description": view.description }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &granted, outcome).await?;
        Ok(view)
    }
}

/// The error for what only a platform user can do.
pub(crate) fn not_a_user() -> Error {
    let told =
        "only a platform user can do this: sign in with your own login, not with a team's account or a key";
    Error::new(Kind::Refused, "not-a-user", told)
}
