//! A site in a database of its own: rows as the services write them, without the server.
//!
//! Times and ids come from the op, so that a bench with a clock of its own can move it.

use std::{path::Path, sync::Arc};

use muster::{
    app::secrets::{Token, TokenKind},
    chance::SystemChance,
    ids::{AccountId, ApiKeyId, ImageId, MemberId, ProductId, TeamId, UserId},
    ledger::{
        account::{Account, AccountKind},
        journal::Outcome,
        posting::{Header, IdemKey, Posting, TransactionKind},
    },
    model::{
        quota::{Limits, NO_ACCELERATOR},
        team::{MemberState, Preset, Role, Spending},
        terms::TeamTerms,
    },
    money::Credits,
    op::{Actor, Op, SystemActor, SystemWarrant},
    store::{
        Concern, Db, Json, Tx,
        catalog::{ImageRow, ProductRow},
        identity::{MemberRow, TeamRow, UserRow},
        sessions::{ApiKeyRow, SessionRow},
    },
    time::{Clock, Span, Timestamp},
};

/// The region of everything.
pub(crate) const REGION: &str = "here";
/// The name of the one product: a small machine without accelerators.
pub(crate) const PRODUCT: &str = "cpu-1";
/// The name of the one image.
pub(crate) const IMAGE: &str = "base";

/// An open database and who writes into it.
pub(crate) struct Site {
    pub(crate) db: Db,
    pub(crate) op: Op,
}

/// A team with one member, who owns it, and money in its pool.
pub(crate) struct Team {
    pub(crate) id: TeamId,
    pub(crate) member: MemberId,
    /// The token of the owner's API key.
    pub(crate) token: String,
    pub(crate) pool: AccountId,
}

impl Site {
    /// The default database in the data folder, migrated.
    pub(crate) async fn in_folder(data: &Path, clock: Arc<dyn Clock>) -> Self {
        Self::at(&format!("sqlite:{}", data.join("muster.db").display()), clock).await
    }

    /// The database at an address, migrated.
    pub(crate) async fn at(address: &str, clock: Arc<dyn Clock>) -> Self {
        let db = Db::open(address).await.unwrap();
        db.migrate(clock.now()).await.unwrap();
        Self { db, op: Op::new(Actor::System(SystemActor::Setup), clock, Arc::new(SystemChance)) }
    }

    /// Does `write` in one transaction.
    pub(crate) async fn write<T>(&self, write: impl AsyncFnOnce(&mut Tx) -> T) -> T {
        let mut tx = self.db.begin().await.unwrap();
        let written = write(&mut tx).await;
        tx.commit(&SystemWarrant::of(&self.op).unwrap()).await.unwrap();
        written
    }

    /// An operator with a session; gives its token.
    pub(crate) async fn operator(&self) -> String {
        let (user, now) = (self.op.id::<UserId>(), self.op.now());
        let token = Token::fresh(TokenKind::Session, self.op.chance());
        let row = UserRow {
            id: user,
            login: "operator".to_owned(),
            password_hash: "none".to_owned(),
            operator: true,
            must_reset: false,
            valid_from: now,
            created_at: now,
        };
        let session = SessionRow {
            id: self.op.id(),
            token_hash: token.hash(),
            user_id: Some(user),
            member: None,
            reset_only: false,
            created_at: now,
            expires_at: now + Span::from_seconds(86_400),
            revoked_at: None,
        };
        self.write(async |tx| {
            tx.user_insert(&row).await.unwrap();
            tx.session_insert(&session).await.unwrap();
        })
        .await;
        token.reveal().to_owned()
    }

    /// The product of that much processor time, and the image that hosts know as `reference`.
    pub(crate) async fn catalogue(&self, cpu_millis: u64, reference: &str) -> (ProductRow, ImageRow) {
        let product = ProductRow {
            id: self.op.id::<ProductId>(),
            name: PRODUCT.to_owned(),
            region: REGION.to_owned(),
            instance_type: "cpu".to_owned(),
            accelerator: NO_ACCELERATOR.to_owned(),
            gpus_per_unit: 0,
            cpu_millis,
            memory_bytes: 64 << 20,
            price_per_hour: credits(1),
            published: true,
            labels: Json(Default::default()),
            version: 1,
            created_at: self.op.now(),
        };
        let image = ImageRow {
            id: self.op.id::<ImageId>(),
            name: IMAGE.to_owned(),
            reference: reference.to_owned(),
            ports: Json(vec![22]),
            description: String::new(),
            published: true,
            version: 1,
            created_at: self.op.now(),
        };
        self.write(async |tx| {
            tx.product_insert(&product).await.unwrap();
            tx.image_insert(&image).await.unwrap();
        })
        .await;
        (product, image)
    }

    /// A team that spends from its pool, with a million credits in it.
    pub(crate) async fn team(&self, slug: &str) -> Team {
        let (id, member, now) = (self.op.id::<TeamId>(), self.op.id::<MemberId>(), self.op.now());
        let token = Token::fresh(TokenKind::ApiKey, self.op.chance());
        let account = |kind| Account::open(self.op.id(), id, None, kind, now);
        let kinds =
            [AccountKind::Promo, AccountKind::TeamPool, AccountKind::Revenue, AccountKind::Receivable];
        let accounts = kinds.map(account);
        let [promo, pool, ..] = accounts.each_ref().map(|account| account.id);
        let wallet = Account::open(self.op.id(), id, Some(member), AccountKind::Wallet, now);
        let posting = Posting::grant(promo, pool, credits(1_000_000), None).unwrap();
        let header = self.header(id, IdemKey::request(TransactionKind::Grant, self.op.id()));
        self.write(async |tx| {
            tx.team_insert(&team_row(id, slug, now)).await.unwrap();
            tx.member_insert(&member_row(member, id, now)).await.unwrap();
            tx.api_key_insert(&key_row(self.op.id(), id, member, &token, now)).await.unwrap();
            for holder in [id.to_string(), member.to_string()] {
                tx.usage_insert(&holder, id).await.unwrap();
            }
            for account in accounts.iter().chain([&wallet]) {
                tx.account_insert(account).await.unwrap();
            }
            let mut journal = tx.journal(&self.op, id, &Concern::default()).await.unwrap();
            assert_eq!(journal.post(header, &posting).unwrap(), Outcome::Applied);
            tx.journal_write(&journal).await.unwrap();
        })
        .await;
        Team { id, member, token: token.reveal().to_owned(), pool }
    }

    /// The header of a transaction in a team's books.
    pub(crate) fn header(&self, team: TeamId, idem_key: IdemKey) -> Header {
        Header {
            id: self.op.id(),
            team,
            occurred_at: self.op.now(),
            recorded_at: self.op.now(),
            actor: self.op.actor.name(),
            reason: String::new(),
            member: None,
            instance: None,
            reverses: None,
            idem_key,
        }
    }

    /// Fails unless the books are sound; gives how many entries they have.
    pub(crate) async fn verify(&self) -> u64 {
        let report = self.db.read().await.unwrap().ledger_verify().await.unwrap();
        assert!(report.is_clean() && report.counts.entries > 0, "the books: {report:?}");
        report.counts.entries
    }

    /// The one number that a statement answers with.
    pub(crate) async fn count(&self, sql: &'static str) -> u64 {
        let mut read = self.db.read().await.unwrap();
        let (count,): (i64,) = read.query(sql).one().await.unwrap();
        u64::try_from(count).unwrap()
    }
}

/// A whole number of credits.
pub(crate) fn credits(whole: i64) -> Credits {
    Credits::from_micros(whole * 1_000_000)
}

fn team_row(id: TeamId, slug: &str, now: Timestamp) -> TeamRow {
    TeamRow {
        id,
        slug: slug.to_owned(),
        name: slug.to_owned(),
        description: String::new(),
        preset: Preset::Glows,
        spending: Spending::Pool,
        limits: Limits::default(),
        ceiling: Limits::default(),
        terms: TeamTerms::default(),
        credit_limit: Credits::ZERO,
        policy_version: 0,
        policy_shadow: 0,
        version: 1,
        created_at: now,
    }
}

fn member_row(id: MemberId, team: TeamId, now: Timestamp) -> MemberRow {
    MemberRow {
        id,
        team,
        account: "owner".to_owned(),
        user_id: None,
        password_hash: None,
        role: Role::Owner,
        state: MemberState::Active,
        alias: String::new(),
        note: String::new(),
        labels: muster::store::Json(Default::default()),
        limits: Limits::default(),
        temporary: Json::default(),
        version: 1,
        valid_from: now,
        created_at: now,
    }
}

fn key_row(id: ApiKeyId, team: TeamId, member: MemberId, token: &Token, now: Timestamp) -> ApiKeyRow {
    ApiKeyRow {
        id,
        team,
        member,
        name: "bench".to_owned(),
        secret_hash: token.hash(),
        scopes: Json(Vec::new()),
        created_at: now,
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
    }
}
