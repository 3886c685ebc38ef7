//! Coming in and going out: the operator's claim, both logins, the change of a password, the logout.
//!
//! Nothing here keeps an answer for repetitions: each answer is a secret.

use serde::{Deserialize, Serialize};

use super::{
    App,
    credentials::{self, Secret, folded, unrepeatable, wrong_credentials},
    gate::{Asker, Granted, Outcome, session_ended, signed_out},
    me::MembershipView,
    secrets::{Token, TokenKind, token_hash},
    users::UserView,
};
use crate::{
    error::{Error, Findings, Kind, Result},
    ids::{MemberId, UserId},
    model::{action::Action, team::MemberState},
    op::{Actor, Op},
    policy::{Facts, Principal, Resource},
    store::{
        Tx,
        identity::{MemberRow, TeamRow, UserRow},
        sessions::SessionRow,
    },
    time::Timestamp,
};

/// The first operator, with the one-time token that the server shows at its first start.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The one-time token, `muo_…`.
    pub token: Secret,
    /// What the operator will sign in as.
    pub login: String,
    /// The operator's password, 10 to 256 characters.
    pub password: Secret,
}

/// A user who signs in.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The login.
    pub login: String,
    /// The password.
    pub password: Secret,
}

/// An account that a team issued, with its password.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TeamLogin {
    /// Id or slug of the team.
    pub team: String,
    /// The account.
    pub account: String,
    /// Its password.
    pub password: Secret,
}

/// A change of one's own password.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    /// The present password.
    pub current_password: Secret,
    /// The new one, 10 to 256 characters.
    pub new_password: Secret,
}

/// A fresh session.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct SignedIn {
    /// The bearer token, shown this once.
    pub token: String,
    /// When the session ends by itself.
    pub expires_at: Timestamp,
    /// Whether the session may do nothing but set a new password.
    pub reset_required: bool,
    /// The user who signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserView>,
    /// The membership, after a team login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub membership: Option<MembershipView>,
}

/// Whose session.
enum Holder {
    User(UserRow),
    Member(Box<(TeamRow, MemberRow)>),
}

impl Holder {
    fn ids(&self) -> (Option<UserId>, Option<MemberId>) {
        match self {
            Self::User(row) => (Some(row.id), None),
            Self::Member(at) => (None, Some(at.1.id)),
        }
    }
}

/// An account by the names that somebody gave, and what its failures are counted under.
pub(crate) struct NamedAccount {
    pub(crate) subject: String,
    pub(crate) found: Option<(TeamRow, MemberRow)>,
}

impl NamedAccount {
    pub(crate) fn password_hash(&self) -> Option<String> {
        self.found.as_ref().and_then(|(_, member)| member.password_hash.clone())
    }
}

/// The asker of the public routes: whoever comes, comes as nobody.
fn stranger() -> Asker {
    Asker { principal: Principal::Anonymous, team: None, shadow: None }
}

/// The error for a membership that is kept but may do nothing.
pub(crate) fn member_suspended() -> Error {
    let told = "this membership is suspended; the owner or an admin of the team can make it active again";
    Error::new(Kind::Refused, "member-suspended", told)
}

impl App {
    /// Makes the first operator. The token is good once.
    pub async fn operator_claim(&self, op: &Op, claim: Claim) -> Result<SignedIn> {
        let op = unrepeatable(op);
        let mut findings = Findings::new();
        let login = credentials::name(&claim.login, "/login", &mut findings);
        credentials::password(&claim.password, "/password", &mut findings);
        findings.done()?;
        let hash = token_hash(claim.token.reveal());
        let installation = self.db.glance().await?.installation_fetch().await?;
        let open = installation.and_then(|row| row.operator_claim_hash);
        if open.as_deref() != Some(&hash) {
            return Err(claim_refused());
        }
        let password_hash = self.passwords.hash(claim.password.reveal(), op.chance()).await?;
        let tx = self.begin(&op).await?;
        let (mut tx, granted) = self.admit(&op, tx, Action::ClaimOperator).await?;
        if !tx.installation_claim_take(&hash).await? {
            return Err(claim_refused());
        }
        let user = UserRow {
            id: op.id(),
            login,
            password_hash,
            operator: true,
            must_reset: false,
            valid_from: op.now(),
            created_at: op.now(),
        };
        tx.user_insert(&user).await?;
        self.session_open(op, tx, &granted, Holder::User(user)).await
    }

    /// Signs a platform user in.
    pub async fn user_login(&self, op: &Op, login: Login) -> Result<SignedIn> {
        let op = unrepeatable(op);
        let name = login_name(&login.login)?;
        let known = self.db.glance().await?.user_by_login(&name).await?;
        let hash = known.map(|row| row.password_hash);
        let subject = format!("user/{name}");
        self.password_check(&op, &subject, &login.password, hash.clone()).await?;
        let tx = self.begin(&op).await?;
        let (mut tx, granted) = self.admit(&op, tx, Action::Login).await?;
        // The password may have been changed while it was checked.
        let user = tx.user_by_login(&name).await?.filter(|row| Some(&row.password_hash) == hash.as_ref());
        let user = user.ok_or_else(wrong_credentials)?;
        tx.throttle_clear(&subject).await?;
        self.session_open(op, tx, &granted, Holder::User(user)).await
    }

    /// Signs a member in with the account that the team issued.
    pub async fn team_login(&self, op: &Op, login: TeamLogin) -> Result<SignedIn> {
        let op = unrepeatable(op);
        let named = self.account_named(&login).await?;
        let hash = named.password_hash();
        self.password_check(&op, &named.subject, &login.password, hash.clone()).await?;
        let (team, member) = named.found.ok_or_else(wrong_credentials)?;
        let tx = self.begin(&op).await?;
        let (mut tx, granted) = self.admit(&op, tx, Action::TeamLogin).await?;
        let member = tx.member_fetch(member.id).await?.filter(|row| row.password_hash == hash);
        let member = member.ok_or_else(wrong_credentials)?;
        if member.state == MemberState::Suspended {
            return Err(member_suspended());
        }
        tx.throttle_clear(&named.subject).await?;
        self.session_open(op, tx, &granted, Holder::Member(Box::new((team, member)))).await
    }

    /// The account that somebody names at a door, if there is one.
    pub(crate) async fn account_named(&self, login: &TeamLogin) -> Result<NamedAccount> {
        let (named, account) = (login_name(&login.team)?, login_name(&login.account)?);
        let mut conn = self.db.glance().await?;
        let team = match named.parse() {
            Ok(id) => conn.team_fetch(id).await?,
            Err(_) => conn.team_by_slug(&named).await?,
        };
        let Some(team) = team else {
            return Ok(NamedAccount { subject: format!("team/{named}/{account}"), found: None });
        };
        let subject = format!("team/{}/{account}", team.id);
        let member = conn.member_by_account(team.id, &account).await?;
        Ok(NamedAccount { subject, found: member.map(|member| (team, member)) })
    }

    /// Changes the caller's password, ends their other sessions, and opens a full one.
    pub async fn password_change(&self, op: &Op, change: PasswordChange) -> Result<SignedIn> {
        let op = unrepeatable(op);
        let mut findings = Findings::new();
        credentials::password(&change.new_password, "/new_password", &mut findings);
        let differs = change.new_password != change.current_password;
        findings.check(differs, "/new_password", "another than the present one");
        findings.done()?;
        let holder = self.holder_of(&op).await?;
        let (subject, hash) = match &holder {
            Holder::User(row) => (format!("user/{}", row.login), Some(row.password_hash.clone())),
            Holder::Member(at) => (format!("team/{}/{}", at.0.id, at.1.account), at.1.password_hash.clone()),
        };
        self.password_check(&op, &subject, &change.current_password, hash.clone()).await?;
        let new_hash = self.passwords.hash(change.new_password.reveal(), op.chance()).await?;
        let mut tx = self.begin(&op).await?;
        let asker = self.visitor(&op, &mut tx).await?;
        let (mut tx, granted) =
            self.permit(&op, tx, &asker, Action::ChangePassword, Resource::Site, Facts::default()).await?;
        let holder = match holder {
            Holder::User(row) => {
                let row =
                    tx.user_fetch(row.id).await?.filter(|now| Some(&now.password_hash) == hash.as_ref());
                let row = row.ok_or_else(session_ended)?;
                tx.user_password_set(row.id, &new_hash, false, op.now()).await?;
                tx.sessions_revoke_of_user(row.id, op.now()).await?;
                Holder::User(UserRow { must_reset: false, ..row })
            }
            Holder::Member(at) => {
                let row = tx.member_fetch(at.1.id).await?.filter(|now| now.password_hash == hash);
                let row = row.ok_or_else(session_ended)?;
                let state = MemberState::Active;
                tx.member_password_set(row.id, &new_hash, state, op.now()).await?;
                tx.sessions_revoke_of_member(row.id, op.now()).await?;
                Holder::Member(Box::new((at.0, MemberRow { state, ..row })))
            }
        };
        tx.throttle_clear(&subject).await?;
        self.session_open(op, tx, &granted, holder).await
    }

    /// Whose password the caller can change.
    async fn holder_of(&self, op: &Op) -> Result<Holder> {
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        let holder = match &op.actor {
            Actor::User { user, .. } => {
                Holder::User(read.user_fetch(*user).await?.ok_or_else(session_ended)?)
            }
            Actor::Member { team, member, .. } | Actor::Key { team, member, .. } => {
                let team = read.team_fetch(*team).await?.ok_or_else(session_ended)?;
                let member = read.member_fetch(*member).await?.ok_or_else(session_ended)?;
                Holder::Member(Box::new((team, member)))
            }
            Actor::Anonymous | Actor::System(_) => return Err(signed_out()),
        };
        drop(read);
        self.look(op, &asker, Action::ChangePassword, Resource::Site, Facts::default()).await?;
        Ok(holder)
    }

    /// Ends the session that the caller's token belongs to.
    pub async fn logout(&self, op: &Op) -> Result<()> {
        let op = &unrepeatable(op);
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, granted) =
            self.permit(op, tx, &asker, Action::Logout, Resource::Site, Facts::default()).await?;
        let (Actor::User { session, .. } | Actor::Member { session, .. }) = op.actor else {
            return Err(signed_out());
        };
        tx.session_revoke(session, op.now()).await?;
        let outcome = Outcome {
            team: String::new(),
            target: session.to_string(),
            document: serde_json::json!({}),
            status: 204,
            answer: &(),
        };
        self.conclude(op, tx, &granted, outcome).await
    }

    /// Asks leave for a route that is open to everybody.
    async fn admit(&self, op: &Op, tx: Tx, action: Action) -> Result<(Tx, Granted)> {
        self.permit(op, tx, &stranger(), action, Resource::Site, Facts::default()).await
    }

    /// Opens a session, records who came in, and commits.
    async fn session_open(
        &self,
        mut op: Op,
        mut tx: Tx,
        granted: &Granted,
        holder: Holder,
    ) -> Result<SignedIn> {
        let token = Token::fresh(TokenKind::Session, op.chance());
        let (user_id, member) = holder.ids();
        let reset_only = match &holder {
            Holder::User(row) => row.must_reset,
            Holder::Member(at) => at.1.state == MemberState::Issued,
        };
        let session = SessionRow {
            id: op.id(),
            token_hash: token.hash(),
            user_id,
            member,
            reset_only,
            created_at: op.now(),
            expires_at: op.now() + self.settings.session,
            revoked_at: None,
        };
        tx.session_insert(&session).await?;
        let mut signed_in = SignedIn {
            token: String::new(),
            expires_at: session.expires_at,
            reset_required: reset_only,
            user: None,
            membership: None,
        };
        let mut recorded_in = String::new();
        let (session, since) = (session.id, session.created_at);
        match holder {
            Holder::User(row) => {
                op.actor = Actor::User { user: row.id, session, reset_only, since };
                signed_in.user = Some(row.into());
            }
            Holder::Member(at) => {
                let (team, row) = *at;
                op.actor = Actor::Member { team: team.id, member: row.id, session, reset_only, since };
                recorded_in = team.id.to_string();
                signed_in.membership = Some(MembershipView::of(&team, &row));
            }
        }
        let outcome = Outcome {
            team: recorded_in,
            target: session.to_string(),
            document: serde_json::json!({ "reset_required": reset_only }),
            status: 200,
            answer: &(),
        };
        self.conclude(&op, tx, granted, outcome).await?;
        signed_in.token = token.reveal().to_owned();
        Ok(signed_in)
    }
}

/// A name that somebody signs in with; one that is far too long to be any is refused before it costs anything.
fn login_name(text: &str) -> Result<String> {
    let name = folded(text);
    if name.len() > 128 { Err(wrong_credentials()) } else { Ok(name) }
}

fn claim_refused() -> Error {
    let told = "this one-time token is not good: it was used, or a later start of the server made another; \
                the server shows the present one when it starts unclaimed";
    Error::new(Kind::Unauthenticated, "claim-refused", told)
}
