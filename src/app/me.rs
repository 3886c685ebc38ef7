//! The caller about themselves: who they are, their teams, their sessions.

use serde::Serialize;

use super::{
    App,
    credentials::unrepeatable,
    gate::{Outcome, session_ended},
    login::{TeamLogin, member_suspended},
    teams::not_a_user,
    users::UserView,
};
use crate::{
    error::{Error, Kind, Result},
    ids::{MemberId, SessionId, TeamId},
    model::{
        action::Action,
        page::Items,
        team::{MemberState, Preset, Role},
    },
    op::{Actor, Op},
    policy::{Facts, Resource},
    store::{
        Conn,
        identity::{MemberRow, MembershipRow, TeamRow},
        sessions::SessionRow,
    },
    time::Timestamp,
};

/// Who the caller is: a user, or a member by team login or API key.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Me {
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserView>,
    /// The membership.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub membership: Option<MembershipView>,
    /// The scopes of the API key; empty means all that its member may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

/// A team together with the caller's membership in it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct MembershipView {
    /// The team.
    pub id: TeamId,
    /// The team's name in addresses.
    pub slug: String,
    /// The team's name for people.
    pub name: String,
    /// The team's set of role rules.
    pub preset: Preset,
    /// The membership.
    pub member: MemberId,
    /// The name of the account within the team.
    pub account: String,
    /// What the member is.
    pub role: Role,
    /// Where the membership stands.
    pub state: MemberState,
}

/// A login session.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// Whether it is the one that asks.
    pub current: bool,
    /// Whether it may do nothing but set a new password.
    pub reset_required: bool,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

impl MembershipView {
    /// The view of a membership.
    pub(crate) fn of(team: &TeamRow, member: &MemberRow) -> Self {
        Self {
            id: team.id,
            slug: team.slug.clone(),
            name: team.name.clone(),
            preset: team.preset,
            member: member.id,
            account: member.account.clone(),
            role: member.role,
            state: member.state,
        }
    }
}

impl From<MembershipRow> for MembershipView {
    fn from(row: MembershipRow) -> Self {
        Self {
            id: row.team,
            slug: row.team_slug,
            name: row.team_name,
            preset: row.preset,
            member: row.id,
            account: row.account,
            role: row.role,
            state: row.state,
        }
    }
}

/// The team and the membership of an actor who is a member.
async fn membership(conn: &mut Conn, team: TeamId, member: MemberId) -> Result<MembershipView> {
    let team = conn.team_fetch(team).await?.ok_or_else(session_ended)?;
    let member = conn.member_fetch(member).await?.ok_or_else(session_ended)?;
    Ok(MembershipView::of(&team, &member))
}

/// The caller's open sessions.
async fn sessions(conn: &mut Conn, op: &Op) -> Result<Vec<SessionRow>> {
    Ok(match &op.actor {
        Actor::User { user, .. } => conn.sessions_of_user(*user, op.now()).await?,
        Actor::Member { member, .. } | Actor::Key { member, .. } => {
            conn.sessions_of_member(*member, op.now()).await?
        }
        Actor::Anonymous | Actor::System(_) => Vec::new(),
    })
}

impl App {
    /// Who the caller is.
    pub async fn me_fetch(&self, op: &Op) -> Result<Me> {
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::GetMe, Resource::Site, Facts::default()).await?;
        let mut me = Me { user: None, membership: None, scopes: None };
        match &op.actor {
            Actor::User { user, .. } => me.user = read.user_fetch(*user).await?.map(UserView::from),
            Actor::Member { team, member, .. } => {
                me.membership = Some(membership(&mut read, *team, *member).await?);
            }
            Actor::Key { team, member, scopes, .. } => {
                me.membership = Some(membership(&mut read, *team, *member).await?);
                me.scopes = Some(scopes.to_vec());
            }
            Actor::Anonymous | Actor::System(_) => {}
        }
        Ok(me)
    }

    /// The caller's teams.
    pub async fn my_teams(&self, op: &Op) -> Result<Items<MembershipView>> {
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::ListMyTeams, Resource::Site, Facts::default()).await?;
        let items = match &op.actor {
            Actor::User { user, .. } => {
                read.members_of_user(*user).await?.into_iter().map(MembershipView::from).collect()
            }
            Actor::Member { team, member, .. } | Actor::Key { team, member, .. } => {
                vec![membership(&mut read, *team, *member).await?]
            }
            Actor::Anonymous | Actor::System(_) => Vec::new(),
        };
        Ok(Items { items, next_cursor: None })
    }

    /// Links the account that a team issued to the caller, who needs no team login from then on.
    pub async fn member_link(&self, op: &Op, account: TeamLogin) -> Result<MembershipView> {
        let op = &unrepeatable(op);
        let mut conn = self.db.glance().await?;
        let asker = self.visitor(op, &mut conn).await?;
        drop(conn);
        self.look(op, &asker, Action::LinkMember, Resource::Site, Facts::default()).await?;
        let Actor::User { user, .. } = op.actor else { return Err(not_a_user()) };
        let named = self.account_named(&account).await?;
        let hash = named.password_hash();
        self.password_check(op, &named.subject, &account.password, hash.clone()).await?;
        let (team, member) = named.found.ok_or_else(super::credentials::wrong_credentials)?;
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, granted) =
            self.permit(op, tx, &asker, Action::LinkMember, Resource::Site, Facts::default()).await?;
        let member = tx.member_fetch(member.id).await?.filter(|row| row.password_hash == hash);
        let member = member.ok_or_else(super::credentials::wrong_credentials)?;
        match member.state {
            MemberState::Active => {}
            MemberState::Issued => return Err(reset_required()),
            MemberState::Suspended | MemberState::Removed => return Err(member_suspended()),
        }
        let row = tx.user_fetch(user).await?.ok_or_else(session_ended)?;
        // The user's open sessions are older than the link, and good in the team from now on. Sessions by team login
        // are not let in again by this: whatever ended them has revoked them.
        if !tx.member_link_user(member.id, user, row.valid_from).await? {
            let told = "this account is linked to a platform user already";
            return Err(Error::conflict("already-linked", told));
        }
        tx.throttle_clear(&named.subject).await?;
        let view = MembershipView::of(&team, &member);
        let outcome = Outcome {
            team: team.id.to_string(),
            target: member.id.to_string(),
            document: serde_json::json!({ "user": user }),
            status: 201,
            answer: &view,
        };
        self.conclude(op, tx, &granted, outcome).await?;
        Ok(view)
    }

    /// The caller's open sessions, the oldest first.
    pub async fn my_sessions(&self, op: &Op) -> Result<Items<SessionView>> {
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::ListMySessions, Resource::Site, Facts::default()).await?;
        let own = match op.actor {
            Actor::User { session, .. } | Actor::Member { session, .. } => Some(session),
            _ => None,
        };
        let view = |row: SessionRow| SessionView {
            id: row.id,
            current: Some(row.id) == own,
            reset_required: row.reset_only,
            created_at: row.created_at,
            expires_at: row.expires_at,
        };
        let items = sessions(&mut read, op).await?.into_iter().map(view).collect();
        Ok(Items { items, next_cursor: None })
    }

    /// Ends one of the caller's sessions.
    pub async fn my_session_revoke(&self, op: &Op, id: SessionId) -> Result<()> {
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, granted) =
            self.permit(op, tx, &asker, Action::RevokeMySession, Resource::Site, Facts::default()).await?;
        let own = sessions(&mut tx, op).await?.iter().any(|row| row.id == id);
        if !own || !tx.session_revoke(id, op.now()).await? {
            return Err(Error::not_found("session"));
        }
        let outcome = Outcome {
            team: String::new(),
            target: id.to_string(),
            document: serde_json::json!({}),
            status: 204,
            answer: &(),
        };
        self.conclude(op, tx, &granted, outcome).await
    }
}

fn reset_required() -> Error {
    let told =
        "the account still has the password that it was issued with; sign in to the team and set a new one";
    Error::new(Kind::Refused, "reset-required", told)
}
