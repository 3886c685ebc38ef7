//! Who is who: changes name the version they were made on, and counted limits hold in a crowd.

use muster::{
    error::Kind,
    ids::{MemberId, TeamId, UserId},
    model::{
        quota::{Limits, Usage},
        team::{MemberState, Preset, Role, Spending},
        terms::TeamTerms,
    },
    money::Credits,
    store::{
        Json,
        audit::AuditFilter,
        identity::{InstallationRow, MemberRow, TeamRow, UserRow},
        record::{AuditRow, IdempotencyRow},
        sessions::{ApiKeyRow, SessionRow},
    },
    time::{Span, Timestamp},
};

use crate::{NOW, Site};

fn later(seconds: i64) -> Timestamp {
    NOW + Span::from_seconds(seconds)
}

fn team(id: TeamId) -> TeamRow {
    TeamRow {
        id,
        slug: format!("slug-{id}"),
        name: "A team".to_owned(),
        description: String::new(),
        preset: Preset::Glows,
        spending: Spending::Wallet,
        limits: Limits { gpus: Some(4), ..Limits::default() },
        ceiling: Limits::default(),
        terms: TeamTerms::default(),
        credit_limit: Credits::ZERO,
        policy_version: 0,
        policy_shadow: 0,
        version: 1,
        created_at: NOW,
    }
}

fn member(id: MemberId, team: TeamId, account: &str, role: Role) -> MemberRow {
    MemberRow {
        id,
        team,
        account: account.to_owned(),
        user_id: None,
        password_hash: Some("hash".to_owned()),
        role,
        state: MemberState::Issued,
        alias: "Ann".to_owned(),
        note: String::new(),
        labels: muster::store::Json(Default::default()),
        limits: Limits::default(),
        temporary: Json::default(),
        version: 1,
        valid_from: NOW,
        created_at: NOW,
    }
}

fn user(id: UserId) -> UserRow {
    UserRow {
        id,
        login: "ann@example.org".to_owned(),
        password_hash: "hash".to_owned(),
        operator: true,
        must_reset: false,
        valid_from: NOW,
        created_at: NOW,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_back_as_they_were_written() {
    for site in Site::both().await {
        let (team, user) = (team(site.op.id()), user(site.op.id()));
        let mut member = member(site.op.id(), team.id, "ann", Role::Owner);
        member.user_id = Some(user.id);
        let installation =
            InstallationRow { id: site.op.id(), created_at: NOW, operator_claim_hash: Some(vec![1, 2, 3]) };
        let session = SessionRow {
            id: site.op.id(),
            token_hash: vec![0, 255],
            user_id: Some(user.id),
            member: None,
            reset_only: true,
            created_at: NOW,
            expires_at: later(10),
            revoked_at: None,
        };
        let key = ApiKeyRow {
            id: site.op.id(),
            team: team.id,
            member: member.id,
            name: "ci".to_owned(),
            secret_hash: vec![7; 32],
            scopes: Json(vec!["ListInstances".to_owned()]),
            created_at: NOW,
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
        };
        let mut tx = site.db.begin().await.unwrap();
        tx.installation_insert(&installation).await.unwrap();
        tx.user_insert(&user).await.unwrap();
        tx.team_insert(&team).await.unwrap();
        tx.member_insert(&member).await.unwrap();
        tx.session_insert(&session).await.unwrap();
        tx.api_key_insert(&key).await.unwrap();
        assert!(!tx.installation_claim_take(&[9]).await.unwrap());
        assert!(tx.installation_claim_take(&[1, 2, 3]).await.unwrap());
        assert!(!tx.installation_claim_take(&[1, 2, 3]).await.unwrap(), "a claim is good once");
        site.commit(tx).await.unwrap();

        let mut read = site.db.read().await.unwrap();
        assert_eq!(read.installation_fetch().await.unwrap().unwrap().operator_claim_hash, None);
        assert_eq!(read.user_by_login("ann@example.org").await.unwrap(), Some(user.clone()));
        assert_eq!(read.user_fetch(user.id).await.unwrap(), Some(user.clone()));
        assert_eq!(read.team_by_slug(&team.slug).await.unwrap(), Some(team.clone()));
        assert_eq!(read.team_fetch(site.op.id()).await.unwrap(), None);
        assert_eq!(read.member_by_account(team.id, "ann").await.unwrap(), Some(member.clone()));
        assert_eq!(read.member_of_user(team.id, user.id).await.unwrap(), Some(member.clone()));
        assert_eq!(read.members_of_user(user.id).await.unwrap()[0].team_slug, team.slug);
        assert_eq!(read.session_by_hash(&[0, 255]).await.unwrap(), Some(session.clone()));
        assert_eq!(read.sessions_of_user(user.id, NOW).await.unwrap(), vec![session]);
        assert_eq!(read.sessions_of_user(user.id, later(10)).await.unwrap(), vec![]);
        assert_eq!(read.api_key_by_hash(&[7; 32]).await.unwrap(), Some(key));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_begins_after_the_last_id_of_the_one_before() {
    for site in Site::both().await {
        let mut tx = site.db.begin().await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..5 {
            let row = team(site.op.id());
            tx.team_insert(&row).await.unwrap();
            ids.push(row.id);
        }
        ids.sort();
        let first = tx.teams_page("", 3).await.unwrap();
        let rest = tx.teams_page(&first[2].id.to_string(), 3).await.unwrap();
        assert_eq!(first.iter().chain(&rest).map(|row| row.id).collect::<Vec<_>>(), ids);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_an_old_version_changes_nothing() {
    for site in Site::both().await {
        let mut tx = site.db.begin().await.unwrap();
        let mut team = team(site.op.id());
        let mut member = member(site.op.id(), team.id, "ann", Role::Member);
        tx.team_insert(&team).await.unwrap();
        tx.member_insert(&member).await.unwrap();

        team.name = "Another name".to_owned();
        assert!(tx.team_update(&team).await.unwrap());
        assert!(!tx.team_update(&team).await.unwrap());
        assert!(!tx.team_limits_put(team.id, 1, &Limits::default()).await.unwrap());
        assert!(tx.team_limits_put(team.id, 2, &Limits::default()).await.unwrap());
        let now = tx.team_fetch(team.id).await.unwrap().unwrap();
        assert_eq!((now.name.as_str(), now.version, now.limits), ("Another name", 3, Limits::default()));

        member.role = Role::Admin;
        member.state = MemberState::Active;
        assert!(tx.member_update(&member).await.unwrap());
        assert!(!tx.member_update(&member).await.unwrap());
        assert!(tx.member_limits_put(&MemberRow { version: 2, ..member.clone() }).await.unwrap());
        assert!(tx.member_password_set(member.id, "new", MemberState::Active, later(1)).await.unwrap());
        assert!(!tx.member_remove(member.id, 3, later(2)).await.unwrap());
        assert!(tx.member_remove(member.id, 4, later(2)).await.unwrap());
        assert!(!tx.member_remove(member.id, 5, later(3)).await.unwrap(), "nobody is removed twice");
        assert!(!tx.member_password_set(member.id, "x", MemberState::Active, later(3)).await.unwrap());
        let gone = tx.member_fetch(member.id).await.unwrap().unwrap();
        assert_eq!((gone.state, gone.password_hash, gone.valid_from), (MemberState::Removed, None, later(2)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_given_once_and_a_team_has_one_owner() {
    for site in Site::both().await {
        let (team, user) = (team(site.op.id()), user(site.op.id()));
        let owner = member(site.op.id(), team.id, "ann", Role::Owner);
        let other = member(site.op.id(), team.id, "bob", Role::Member);
        let mut tx = site.db.begin().await.unwrap();
        tx.user_insert(&user).await.unwrap();
        tx.team_insert(&team).await.unwrap();
        tx.member_insert(&owner).await.unwrap();
        tx.member_insert(&other).await.unwrap();
        assert!(tx.member_link_user(owner.id, user.id, owner.valid_from).await.unwrap());
        assert!(!tx.member_link_user(owner.id, user.id, owner.valid_from).await.unwrap(), "linked already");
        site.commit(tx).await.unwrap();

        let mut tx = site.db.begin().await.unwrap();
        told(tx.team_insert(&TeamRow { id: site.op.id(), ..team.clone() }).await, "slug-taken");
        let mut tx = site.db.begin_again(tx).await;
        told(tx.user_insert(&UserRow { id: site.op.id(), ..user.clone() }).await, "login-taken");
        let mut tx = site.db.begin_again(tx).await;
        told(tx.member_insert(&member(site.op.id(), team.id, "ann", Role::Member)).await, "account-taken");
        let mut tx = site.db.begin_again(tx).await;
        told(tx.member_update(&MemberRow { role: Role::Owner, ..other.clone() }).await, "owner-exists");
        let mut tx = site.db.begin_again(tx).await;
        told(tx.member_link_user(other.id, user.id, other.valid_from).await, "already-member");
    }
}

/// The conflict that a client would be told, with its code.
fn told<T>(outcome: muster::store::Result<T>, code: &str) {
    let error = muster::error::Error::from(outcome.err().expect("a conflict"));
    assert_eq!((error.kind, error.code), (Kind::Conflict, code));
}

trait BeginAgain {
    /// A fresh transaction in place of one that a conflict broke.
    async fn begin_again(&self, broken: muster::store::Tx) -> muster::store::Tx;
}

impl BeginAgain for muster::store::Db {
    async fn begin_again(&self, broken: muster::store::Tx) -> muster::store::Tx {
        drop(broken);
        self.begin().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_keys_and_throttles_end_as_they_are_told() {
    for site in Site::both().await {
        let mut tx = site.db.begin().await.unwrap();
        let (team, user) = (team(site.op.id()), user(site.op.id()));
        tx.user_insert(&user).await.unwrap();
        tx.team_insert(&team).await.unwrap();
        let member = member(site.op.id(), team.id, "ann", Role::Owner);
        tx.member_insert(&member).await.unwrap();
        for number in 0..4_u8 {
            let of_user = number < 2;
            tx.session_insert(&SessionRow {
                id: site.op.id(),
                token_hash: vec![number],
                user_id: of_user.then_some(user.id),
                member: (!of_user).then_some(member.id),
                reset_only: false,
                created_at: NOW,
                expires_at: later(100),
                revoked_at: None,
            })
            .await
            .unwrap();
        }
        let first = tx.session_by_hash(&[0]).await.unwrap().unwrap();
        assert!(tx.session_revoke(first.id, later(1)).await.unwrap());
        assert!(!tx.session_revoke(first.id, later(2)).await.unwrap());
        assert_eq!(tx.session_fetch(first.id).await.unwrap().unwrap().revoked_at, Some(later(1)));
        assert_eq!(tx.sessions_revoke_of_user(user.id, later(3)).await.unwrap(), 1);
        assert_eq!(tx.sessions_of_member(member.id, NOW).await.unwrap().len(), 2);
        assert_eq!(tx.sessions_revoke_of_member(member.id, later(3)).await.unwrap(), 2);

        assert_eq!(tx.throttle_fail("ann", NOW, NOW).await.unwrap(), 1);
        assert_eq!(tx.throttle_fail("ann", later(1), NOW).await.unwrap(), 2);
        tx.throttle_block("ann", later(9)).await.unwrap();
        assert_eq!(tx.throttle_fetch("ann").await.unwrap().unwrap().blocked_until, later(9));
        assert_eq!(
            tx.throttle_fail("ann", later(90), later(30)).await.unwrap(),
            1,
            "old failures are forgotten"
        );
        tx.throttle_clear("ann").await.unwrap();
        assert_eq!(tx.throttle_fetch("ann").await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reservations_at_once_fill_a_quota_and_never_overflow_it() {
    for site in Site::both().await {
        let team = team(site.op.id());
        let holder = team.id.to_string();
        let mut tx = site.db.begin().await.unwrap();
        tx.team_insert(&team).await.unwrap();
        tx.usage_insert(&holder, team.id).await.unwrap();
        site.commit(tx).await.unwrap();
        let takers = (0..48).map(|_| {
            let (db, warrant, holder, team) = (site.db.clone(), site.warrant(), holder.clone(), team.id);
            tokio::spawn(async move {
                let mut tx = db.begin().await.unwrap();
                tx.team_lock(team).await.unwrap();
                let fitted = tx.usage_reserve(&holder, 1, 2, None, Some(9)).await.unwrap();
                tx.commit(&warrant).await.unwrap();
                fitted
            })
        });
        let fitted = futures_util::future::join_all(takers.collect::<Vec<_>>()).await;
        assert_eq!(fitted.into_iter().filter(|fitted| *fitted.as_ref().unwrap()).count(), 4);
        let mut tx = site.db.begin().await.unwrap();
        assert_eq!(
            tx.usage_fetch(&holder).await.unwrap(),
            Usage { instances: 4, gpus: 8, ..Usage::default() }
        );
        assert!(!tx.usage_reserve(&holder, 1, 0, Some(4), None).await.unwrap());
        tx.usage_release(&holder, 4, 8).await.unwrap();
        assert_eq!(tx.usage_fetch(&holder).await.unwrap(), Usage::default());
        assert_eq!(tx.usage_fetch("nobody").await.unwrap(), Usage::default());
        let missing = tx.usage_release("nobody", 1, 0).await;
        assert!(matches!(missing, Err(muster::store::Error::Missing)));
        let below = tx.usage_release(&holder, 1, 0).await;
        assert!(matches!(below, Err(muster::store::Error::Check(_))), "{below:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_read_newest_first_and_an_answer_is_kept_once() {
    for site in Site::both().await {
        let mut tx = site.db.begin().await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..3 {
            let row = AuditRow {
                id: site.op.id(),
                team: String::new(),
                at: NOW,
                actor: "system/setup".to_owned(),
                action: "CreateUser".to_owned(),
                target: String::new(),
                outcome: "done".to_owned(),
                decision: None,
                request: site.op.request.to_string(),
                document: "{}".to_owned(),
                member: None,
                schema_version: None,
                platform_version: None,
                preset_version: None,
                team_version: None,
            };
            tx.audit_insert(&row).await.unwrap();
            ids.push(row.id);
        }
        ids.sort();
        let all = AuditFilter {
            actor: String::new(),
            action: String::new(),
            target: String::new(),
            outcome: String::new(),
            member: String::new(),
            from: NOW,
            to: later(1),
        };
        let newest = tx.audit_page("", &all, "", "", 2).await.unwrap();
        assert_eq!(newest.iter().map(|row| row.event.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
        let rest = tx.audit_page("", &all, "", &ids[1].to_string(), 2).await.unwrap();
        assert_eq!(rest.iter().map(|row| row.event.id).collect::<Vec<_>>(), [ids[0]]);

        let answer = IdempotencyRow {
            scope: "user POST /teams".to_owned(),
            key: "k".to_owned(),
            digest: "d".to_owned(),
            status: 201,
            body: "{}".to_owned(),
            created_at: NOW,
        };
        tx.idempotency_insert(&answer).await.unwrap();
        assert_eq!(tx.idempotency_fetch(&answer.scope, "k").await.unwrap(), Some(answer.clone()));
        assert_eq!(tx.idempotency_forget(NOW).await.unwrap(), 0);
        told(tx.idempotency_insert(&answer).await, "idempotency-race");
    }
}
