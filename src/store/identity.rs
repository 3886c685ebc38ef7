//! The installation, its users, teams and members: the rows of who is who.
//!
//! A change of a team or a member names the version it was made on and returns `false` when that is no longer
//! the present one. Sessions and keys are in `sessions.rs`.

use std::collections::BTreeSet;

use super::{Conn, Error, Json, Result, Tx, query::record};
use crate::{
    ids::{InstallationId, MemberId, TeamId, UserId},
    model::{
        quota::{Limits, Temporary},
        team::{MemberState, Preset, Role, Spending},
        terms::TeamTerms,
    },
    money::Credits,
    time::Timestamp,
};

record! {
    /// This installation; there is one row.
    pub struct InstallationRow {
        /// The installation.
        pub id: InstallationId,
        /// When its database was prepared.
        pub created_at: Timestamp,
        /// Digest of the one-time token that makes the first operator; `None` once it was used.
        pub operator_claim_hash: Option<Vec<u8>>,
    }
}

record! {
    /// A platform user.
    pub struct UserRow {
        /// The user.
        pub id: UserId,
        /// What they sign in as.
        pub login: String,
        /// Their password, hashed (PHC text).
        pub password_hash: String,
        /// Whether they run the installation.
        pub operator: bool,
        /// Whether the next login may do nothing but set a new password.
        pub must_reset: bool,
        /// Sessions opened earlier are no longer good.
        pub valid_from: Timestamp,
        /// When the account was made.
        pub created_at: Timestamp,
    }
}

record! {
    /// A team.
    pub struct TeamRow {
        /// The team.
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
        /// What holds for members who have no word of their own.
        pub limits: Limits,
        /// What the operator lets the whole team hold.
        pub ceiling: Limits,
        /// Its terms of money.
        pub terms: TeamTerms,
        /// How much the operator lends it at the most.
        pub credit_limit: Credits,
        /// The number of its live policies; 0 when it has none of its own.
        pub policy_version: i64,
        /// The number of the candidate for its policies that is asked beside them; 0 when none is.
        pub policy_shadow: i64,
        /// Raised by every change.
        pub version: i64,
        /// When it was made.
        pub created_at: Timestamp,
    }
}

record! {
    /// A membership.
    pub struct MemberRow {
        /// The membership.
        pub id: MemberId,
        /// Its team.
        pub team: TeamId,
        /// The name of the account within the team.
        pub account: String,
        /// The platform user it is linked to.
        pub user_id: Option<UserId>,
        /// The password of the team login, hashed (PHC text); `None` when there is none.
        pub password_hash: Option<String>,
        /// What the member is.
        pub role: Role,
        /// Where the membership stands.
        pub state: MemberState,
        /// The name that the team uses.
        pub alias: String,
        /// What the team notes about the member.
        pub note: String,
        /// The words that the team gave the member, for its policies.
        pub labels: Json<BTreeSet<String>>,
        /// The member's own limits, over the team's.
        pub limits: Limits,
        /// Limits that hold for a while, over the member's own.
        pub temporary: Json<Vec<Temporary>>,
        /// Raised by every change.
        pub version: i64,
        /// Sessions opened earlier are no longer good here.
        pub valid_from: Timestamp,
        /// When the membership was made.
        pub created_at: Timestamp,
    }
}

record! {
    /// A user's membership with the names of its team.
    pub struct MembershipRow {
        /// The membership.
        pub id: MemberId,
        /// Its team.
        pub team: TeamId,
        /// The team's name in addresses.
        pub team_slug: String,
        /// The team's name for people.
        pub team_name: String,
        /// The team's set of role rules.
        pub preset: Preset,
        /// The name of the account within the team.
        pub account: String,
        /// What the member is.
        pub role: Role,
        /// Where the membership stands.
        pub state: MemberState,
    }
}

const INSTALLATION_FETCH: &str = "SELECT id, created_at, operator_claim_hash FROM installation";

const INSTALLATION_INSERT: &str = "
    INSERT INTO installation (singleton, id, created_at, operator_claim_hash) VALUES (1, $1, $2, $3)";

const INSTALLATION_CLAIM_TAKE: &str = "
    UPDATE installation SET operator_claim_hash = NULL WHERE operator_claim_hash = $1";

const INSTALLATION_CLAIM_RENEW: &str = "
    UPDATE installation SET operator_claim_hash = $1 WHERE operator_claim_hash IS NOT NULL";

const USER_INSERT: &str = "
    INSERT INTO users (id, login, password_hash, operator, must_reset, valid_from, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

const USER_FETCH: &str = "SELECT * FROM users WHERE id = $1";

const USER_BY_LOGIN: &str = "SELECT * FROM users WHERE login = $1";

const USERS_PAGE: &str = "SELECT * FROM users WHERE id > $1 ORDER BY id LIMIT $2";

const USER_PASSWORD_SET: &str = "
    UPDATE users SET password_hash = $2, must_reset = $3, valid_from = $4 WHERE id = $1";

const TEAM_INSERT: &str = "
    INSERT INTO teams (id, slug, name, description, preset, spending, limits, terms, credit_limit, version, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

const TEAM_FETCH: &str = "SELECT * FROM teams WHERE id = $1";

const TEAM_BY_SLUG: &str = "SELECT * FROM teams WHERE slug = $1";

const TEAMS_PAGE: &str = "SELECT * FROM teams WHERE id > $1 ORDER BY id LIMIT $2";

const TEAM_UPDATE: &str = "
    UPDATE teams SET name = $3, description = $4, spending = $5, version = version + 1
     WHERE id = $1 AND version = $2";

const TEAM_LIMITS_PUT: &str = "
    UPDATE teams SET limits = $3, version = version + 1 WHERE id = $1 AND version = $2";

const TEAM_CEILING_PUT: &str = "
    UPDATE teams SET ceiling = $3, version = version + 1 WHERE id = $1 AND version = $2";

const TEAM_TERMS_PUT: &str = "
    UPDATE teams SET terms = $3, spending = $4, version = version + 1 WHERE id = $1 AND version = $2";

const TEAM_CREDIT_LIMIT_PUT: &str = "
    UPDATE teams SET credit_limit = $2, version = version + 1 WHERE id = $1";

const TEAM_LOCK_SQLITE: &str = "SELECT id FROM teams WHERE id = $1";
const TEAM_LOCK_POSTGRES: &str = "SELECT id FROM teams WHERE id = $1 FOR UPDATE";

const MEMBER_INSERT: &str = "
    INSERT INTO members (id, team, account, user_id, password_hash, role, state, alias, note, limits, version,
                         valid_from, created_at, labels)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

const MEMBER_FETCH: &str = "SELECT * FROM members WHERE id = $1";

const MEMBER_BY_ACCOUNT: &str = "SELECT * FROM members WHERE team = $1 AND account = $2";

const MEMBER_OF_USER: &str = "
    SELECT * FROM members WHERE team = $1 AND user_id = $2 AND state <> 'removed'";

const MEMBERS_PAGE: &str = "SELECT * FROM members WHERE team = $1 AND id > $2 ORDER BY id LIMIT $3";

const MEMBERS_COUNT: &str = "
    SELECT COUNT(*) FROM members WHERE team = $1 AND role <> 'owner' AND state <> 'removed'";

const MEMBERS_OF_USER: &str = "
    SELECT m.id, m.team, t.slug AS team_slug, t.name AS team_name, t.preset, m.account, m.role, m.state
      FROM members m JOIN teams t ON t.id = m.team
     WHERE m.user_id = $1 AND m.state <> 'removed'
     ORDER BY m.id";

const MEMBER_UPDATE: &str = "
    UPDATE members
       SET role = $3, state = $4, alias = $5, note = $6, valid_from = $7, labels = $8, version = version + 1
     WHERE id = $1 AND version = $2 AND state <> 'removed'";

const MEMBER_LIMITS_PUT: &str = "
    UPDATE members SET limits = $3, temporary = $4, version = version + 1
     WHERE id = $1 AND version = $2 AND state <> 'removed'";

const MEMBER_PASSWORD_SET: &str = "
    UPDATE members SET password_hash = $2, state = $3, valid_from = $4, version = version + 1
     WHERE id = $1 AND state <> 'removed'";

const MEMBER_LINK_USER: &str = "
    UPDATE members SET user_id = $2, valid_from = $3, version = version + 1
     WHERE id = $1 AND user_id IS NULL AND state <> 'removed'";

const MEMBER_REMOVE: &str = "
    UPDATE members SET state = 'removed', password_hash = NULL, valid_from = $3, version = version + 1
     WHERE id = $1 AND version = $2 AND state <> 'removed'";

impl MemberRow {
    /// What holds for the member at `now` in a team with these defaults.
    pub fn limits_at(&self, now: Timestamp, team: &Limits) -> Limits {
        self.limits.under(&self.temporary.0, now).or(team)
    }
}

impl Conn {
    /// This installation; `None` before the database was prepared.
    pub async fn installation_fetch(&mut self) -> Result<Option<InstallationRow>> {
        self.query(INSTALLATION_FETCH).optional().await
    }

    /// One user.
    pub async fn user_fetch(&mut self, id: UserId) -> Result<Option<UserRow>> {
        self.query(USER_FETCH).bind(id).optional().await
    }

    /// The user who signs in as `login`.
    pub async fn user_by_login(&mut self, login: &str) -> Result<Option<UserRow>> {
        self.query(USER_BY_LOGIN).bind(login).optional().await
    }

    /// Users with ids above `after`.
    pub async fn users_page(&mut self, after: &str, limit: u32) -> Result<Vec<UserRow>> {
        self.query(USERS_PAGE).bind(after).bind(limit).all().await
    }

    /// One team.
    pub async fn team_fetch(&mut self, id: TeamId) -> Result<Option<TeamRow>> {
        self.query(TEAM_FETCH).bind(id).optional().await
    }

    /// The team with this name in addresses.
    pub async fn team_by_slug(&mut self, slug: &str) -> Result<Option<TeamRow>> {
        self.query(TEAM_BY_SLUG).bind(slug).optional().await
    }

    /// Teams with ids above `after`.
    pub async fn teams_page(&mut self, after: &str, limit: u32) -> Result<Vec<TeamRow>> {
        self.query(TEAMS_PAGE).bind(after).bind(limit).all().await
    }

    /// One membership, removed or not.
    pub async fn member_fetch(&mut self, id: MemberId) -> Result<Option<MemberRow>> {
        self.query(MEMBER_FETCH).bind(id).optional().await
    }

    /// The membership with this account name, removed or not: names are not given twice.
    pub async fn member_by_account(&mut self, team: TeamId, account: &str) -> Result<Option<MemberRow>> {
        self.query(MEMBER_BY_ACCOUNT).bind(team).bind(account).optional().await
    }

    /// The user's present membership in the team.
    pub async fn member_of_user(&mut self, team: TeamId, user: UserId) -> Result<Option<MemberRow>> {
        self.query(MEMBER_OF_USER).bind(team).bind(user).optional().await
    }

    /// The team's memberships with ids above `after`, removed ones too.
    pub async fn members_page(&mut self, team: TeamId, after: &str, limit: u32) -> Result<Vec<MemberRow>> {
        self.query(MEMBERS_PAGE).bind(team).bind(after).bind(limit).all().await
    }

    /// How many members the team has, without its owner.
    pub async fn members_count(&mut self, team: TeamId) -> Result<u32> {
        Ok(self.query(MEMBERS_COUNT).bind(team).one::<(u32,)>().await?.0)
    }

    /// The user's present memberships.
    pub async fn members_of_user(&mut self, user: UserId) -> Result<Vec<MembershipRow>> {
        self.query(MEMBERS_OF_USER).bind(user).all().await
    }
}

impl Tx {
    /// Writes the one installation; a second is a conflict.
    pub async fn installation_insert(&mut self, row: &InstallationRow) -> Result<()> {
        self.query(INSTALLATION_INSERT)
            .bind(row.id)
            .bind(row.created_at)
            .bind(&row.operator_claim_hash)
            .or_conflict(|| crate::error::Error::conflict("installed", "this database was prepared before"))
            .execute()
            .await?;
        Ok(())
    }

    /// Uses up the operator's claim; `false` when it is another one or was used before.
    pub async fn installation_claim_take(&mut self, hash: &[u8]) -> Result<bool> {
        Ok(self.query(INSTALLATION_CLAIM_TAKE).bind(hash).execute().await? == 1)
    }

    /// Puts another one-time token in the place of one that was never used; whether there was one.
    pub async fn installation_claim_renew(&mut self, hash: &[u8]) -> Result<bool> {
        Ok(self.query(INSTALLATION_CLAIM_RENEW).bind(hash).execute().await? == 1)
    }

    /// Writes a new user; the login must be free.
    pub async fn user_insert(&mut self, row: &UserRow) -> Result<()> {
        self.query(USER_INSERT)
            .bind(row.id)
            .bind(&row.login)
            .bind(&row.password_hash)
            .bind(row.operator)
            .bind(row.must_reset)
            .bind(row.valid_from)
            .bind(row.created_at)
            .or_conflict(|| {
                crate::error::Error::conflict("login-taken", "a user with this login exists; choose another")
            })
            .execute()
            .await?;
        Ok(())
    }

    /// Sets a user's password; sessions opened before `valid_from` are no longer good. `false` without such a
    /// user.
    pub async fn user_password_set(
        &mut self,
        id: UserId,
        password_hash: &str,
        must_reset: bool,
        valid_from: Timestamp,
    ) -> Result<bool> {
        let query = self.query(USER_PASSWORD_SET).bind(id).bind(password_hash);
        Ok(query.bind(must_reset).bind(valid_from).execute().await? == 1)
    }

    /// Writes a new team; the slug must be free.
    pub async fn team_insert(&mut self, row: &TeamRow) -> Result<()> {
        self.query(TEAM_INSERT)
            .bind(row.id)
            .bind(&row.slug)
            .bind(&row.name)
            .bind(&row.description)
            .bind(row.preset)
            .bind(row.spending)
            .bind(&row.limits)
            .bind(&row.terms)
            .bind(row.credit_limit)
            .bind(row.version)
            .bind(row.created_at)
            .or_conflict(|| {
                crate::error::Error::conflict("slug-taken", "a team with this slug exists; choose another")
            })
            .execute()
            .await?;
        Ok(())
    }

    /// Writes name, description and spending of a team; `false` when `row.version` is not the present one.
    pub async fn team_update(&mut self, row: &TeamRow) -> Result<bool> {
        let query = self.query(TEAM_UPDATE).bind(row.id).bind(row.version);
        let query = query.bind(&row.name).bind(&row.description).bind(row.spending);
        Ok(query.execute().await? == 1)
    }

    /// Writes the limits of a team; `false` when `version` is not the present one.
    pub async fn team_limits_put(&mut self, id: TeamId, version: i64, limits: &Limits) -> Result<bool> {
        let query = self.query(TEAM_LIMITS_PUT).bind(id).bind(version).bind(limits);
        Ok(query.execute().await? == 1)
    }

    /// Writes what the whole team may hold; `false` when `version` is not the present one.
    pub async fn team_ceiling_put(&mut self, id: TeamId, version: i64, ceiling: &Limits) -> Result<bool> {
        let query = self.query(TEAM_CEILING_PUT).bind(id).bind(version).bind(ceiling);
        Ok(query.execute().await? == 1)
    }

    /// Writes the terms of money of a team; `false` when `version` is not the present one.
    pub async fn team_terms_put(
        &mut self,
        id: TeamId,
        version: i64,
        terms: &TeamTerms,
        spending: Spending,
    ) -> Result<bool> {
        let query = self.query(TEAM_TERMS_PUT).bind(id).bind(version).bind(terms).bind(spending);
        Ok(query.execute().await? == 1)
    }

    /// Writes how much the operator lends a team at the most.
    pub async fn team_credit_limit_put(&mut self, id: TeamId, limit: Credits) -> Result<()> {
        self.query(TEAM_CREDIT_LIMIT_PUT).bind(id).bind(limit).execute().await.map(drop)
    }

    /// Keeps other changes of the team's money and quota waiting until this transaction ends: the first
    /// statement of each of them, so that they lock in one order. On SQLite the turn to write is that lock
    /// already.
    ///
    /// # Errors
    /// [`Error::Missing`] without such a team.
    pub async fn team_lock(&mut self, id: TeamId) -> Result<()> {
        let found = self.query_by(TEAM_LOCK_SQLITE, TEAM_LOCK_POSTGRES).bind(id);
        found.optional::<(TeamId,)>().await?.map(drop).ok_or(Error::Missing)
    }

    /// Writes a new membership; the account name must be free in the team, and its user not yet a member.
    pub async fn member_insert(&mut self, row: &MemberRow) -> Result<()> {
        self.query(MEMBER_INSERT)
            .bind(row.id)
            .bind(row.team)
            .bind(&row.account)
            .bind(row.user_id)
            .bind(&row.password_hash)
            .bind(row.role)
            .bind(row.state)
            .bind(&row.alias)
            .bind(&row.note)
            .bind(&row.limits)
            .bind(row.version)
            .bind(row.valid_from)
            .bind(row.created_at)
            .bind(&row.labels)
            .or_conflict(|| {
                let told = "the team has, or had, a member with this account name; choose another";
                crate::error::Error::conflict("account-taken", told)
            })
            .execute()
            .await?;
        Ok(())
    }

    /// Writes role, state, alias, note, labels and `valid_from` of a member; `false` when `row.version` is not the
    /// present one or the member was removed.
    pub async fn member_update(&mut self, row: &MemberRow) -> Result<bool> {
        let query = self.query(MEMBER_UPDATE).bind(row.id).bind(row.version).bind(row.role).bind(row.state);
        let query = query.bind(&row.alias).bind(&row.note).bind(row.valid_from).bind(&row.labels);
        let query =
            query.or_conflict(|| crate::error::Error::conflict("owner-exists", "a team has one owner"));
        Ok(query.execute().await? == 1)
    }

    /// Writes the limits of a member, the standing ones and those for a while; `false` when `row.version` is not the
    /// present one or the member was removed.
    pub async fn member_limits_put(&mut self, row: &MemberRow) -> Result<bool> {
        let query = self.query(MEMBER_LIMITS_PUT).bind(row.id).bind(row.version);
        Ok(query.bind(&row.limits).bind(&row.temporary).execute().await? == 1)
    }

    /// Sets a member's password and state; sessions opened before `valid_from` are no longer good. `false`
    /// when there is no such member any more.
    pub async fn member_password_set(
        &mut self,
        id: MemberId,
        password_hash: &str,
        state: MemberState,
        valid_from: Timestamp,
    ) -> Result<bool> {
        let query = self.query(MEMBER_PASSWORD_SET).bind(id).bind(password_hash);
        Ok(query.bind(state).bind(valid_from).execute().await? == 1)
    }

    /// Links a membership to a platform user, whose sessions opened from `valid_from` on are good in the team;
    /// `false` when it is linked already or was removed.
    pub async fn member_link_user(
        &mut self,
        id: MemberId,
        user: UserId,
        valid_from: Timestamp,
    ) -> Result<bool> {
        let query = self.query(MEMBER_LINK_USER).bind(id).bind(user).bind(valid_from);
        let query = query.or_conflict(|| {
            crate::error::Error::conflict("already-member", "the user is a member of this team already")
        });
        Ok(query.execute().await? == 1)
    }

    /// Removes a member, who keeps a row for the books; `false` when `version` is not the present one or they
    /// were removed before.
    pub async fn member_remove(&mut self, id: MemberId, version: i64, now: Timestamp) -> Result<bool> {
        Ok(self.query(MEMBER_REMOVE).bind(id).bind(version).bind(now).execute().await? == 1)
    }
}
