//! Platform users, as the operator keeps them.

use serde::{Deserialize, Serialize};

use super::{
    App,
    credentials::{self, Secret},
    gate::Outcome,
};
use crate::{
    error::{Error, Findings, Result},
    ids::UserId,
    model::{
        action::Action,
        page::{Items, Page},
    },
    op::Op,
    policy::{Facts, Resource},
    store::identity::UserRow,
    time::Timestamp,
};

/// A user to make.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// What they sign in as: 2 to 63 of a-z, 0-9, `.`, `_` and `-`.
    pub login: String,
    /// The first password; made by the server when absent. It must be changed at the first login.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Whether they run the site.
    #[serde(default)]
    pub operator: bool,
}

/// A first password to give again.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordReset {
    /// The password; made by the server when absent. It must be changed at the next login.
    #[serde(default)]
    pub password: Option<Secret>,
}

/// A user.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct UserView {
    /// Their id.
    pub id: UserId,
    /// What they sign in as.
    pub login: String,
    /// Whether they run the site.
    pub operator: bool,
    /// Whether their next login may do nothing but set a new password.
    pub must_reset: bool,
    /// When the account was made.
    pub created_at: Timestamp,
}

/// A user with their first password.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct IssuedUser {
    /// The user.
    #[serde(flatten)]
    pub user: UserView,
    /// The first password, shown this once; a repetition of the request does not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

impl PasswordReset {
    pub(crate) fn check(&self) -> Result<()> {
        let mut findings = Findings::new();
        if let Some(secret) = &self.password {
            credentials::password(secret, "/password", &mut findings);
        }
        findings.done()
    }
}

impl From<UserRow> for UserView {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id,
            login: row.login,
            operator: row.operator,
            must_reset: row.must_reset,
            created_at: row.created_at,
        }
    }
}

impl App {
    /// Makes a user, who has to change the first password.
    pub async fn user_create(&self, op: &Op, new: NewUser) -> Result<IssuedUser> {
        let mut findings = Findings::new();
        let login = credentials::name(&new.login, "/login", &mut findings);
        if let Some(secret) = &new.password {
            credentials::password(secret, "/password", &mut findings);
        }
        findings.done()?;
        let password = self.first_password(op, new.password.as_ref()).await?;
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, granted) =
            self.permit(op, tx, &asker, Action::CreateUser, Resource::Site, Facts::default()).await?;
        let row = UserRow {
            id: op.id(),
            login,
            password_hash: password.hash,
            operator: new.operator,
            must_reset: true,
            valid_from: op.now(),
            created_at: op.now(),
        };
        tx.user_insert(&row).await?;
        let mut issued = IssuedUser { user: row.into(), password: None };
        let UserView { id, login, operator, .. } = &issued.user;
        let outcome = Outcome {
            team: String::new(),
            target: id.to_string(),
            document: serde_json::json!({ "login": login, "operator": operator }),
            status: 201,
            answer: &issued,
        };
        self.conclude(op, tx, &granted, outcome).await?;
        issued.password = Some(password.plain);
        Ok(issued)
    }

    /// Users, the oldest first.
    pub async fn users_page(&self, op: &Op, page: &Page) -> Result<Items<UserView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::ListUsers, Resource::Site, Facts::default()).await?;
        let rows = read.users_page(page.after(), limit + 1).await?;
        Ok(Items::cut(rows, limit, |row| row.id.to_string()).map(UserView::from))
    }

    /// Gives a user a first password again and ends their sessions.
    pub async fn user_password_reset(&self, op: &Op, id: UserId, reset: PasswordReset) -> Result<IssuedUser> {
        reset.check()?;
        let password = self.first_password(op, reset.password.as_ref()).await?;
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, granted) =
            self.permit(op, tx, &asker, Action::ResetUserPassword, Resource::Site, Facts::default()).await?;
        let mut row = tx.user_fetch(id).await?.ok_or_else(|| Error::not_found("user"))?;
        tx.user_password_set(id, &password.hash, true, op.now()).await?;
        tx.sessions_revoke_of_user(id, op.now()).await?;
        row.must_reset = true;
        let mut issued = IssuedUser { user: row.into(), password: None };
        let outcome = Outcome {
            team: String::new(),
            target: id.to_string(),
            document: serde_json::json!({}),
            status: 200,
            answer: &issued,
        };
        self.conclude(op, tx, &granted, outcome).await?;
        issued.password = Some(password.plain);
        Ok(issued)
    }
}
