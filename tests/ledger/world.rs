//! A database with one or more teams in it, and the rows that the books refer to.

use std::{future::Future, sync::Arc};

use muster::{
    chance::Seeded,
    ids::*,
    ledger::account::{Account, AccountKind},
    op::{Actor, Op, SystemActor, SystemWarrant},
    store::{Db, Tx},
    time::{ManualClock, Timestamp},
};

use crate::{model::SLOTS, postgres::fresh_database};

pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

/// Runs a test on a fresh SQLite file, then on a fresh Postgres database.
pub(crate) async fn on_both<F: Future<Output = ()>>(test: impl Fn(Db) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let file = Db::open(&format!("sqlite:{}/muster.db", folder.path().display())).await.unwrap();
    let server = Db::open(&fresh_database()).await.unwrap();
    for db in [file, server] {
        db.migrate(NOW).await.unwrap();
        test(db.clone()).await;
        db.close().await;
    }
}

/// What every command is done under.
pub(crate) fn operation(seed: u64) -> Op {
    let (clock, chance) = (Arc::new(ManualClock::new(NOW)), Arc::new(Seeded::new(seed)));
    Op::new(Actor::System(SystemActor::Meter), clock, chance)
}

/// Commits on the strength of a system operation.
pub(crate) async fn commit(tx: Tx, op: &Op) {
    tx.commit(&SystemWarrant::of(op).unwrap()).await.unwrap();
}

/// A team with its accounts, its members with their wallets, and what is needed to launch.
pub(crate) struct World {
    pub(crate) db: Db,
    pub(crate) op: Op,
    pub(crate) team: TeamId,
    pub(crate) members: [MemberId; SLOTS],
    pub(crate) cash: AccountId,
    pub(crate) pool: AccountId,
    pub(crate) revenue: AccountId,
    pub(crate) receivable: AccountId,
    pub(crate) wallets: [AccountId; SLOTS],
    pub(crate) price_version: PriceVersionId,
    product: ProductId,
    image: ImageId,
    host: HostId,
}

impl World {
    pub(crate) async fn new(db: &Db, seed: u64) -> Self {
        let op = operation(seed);
        let team: TeamId = op.id();
        let members: [MemberId; SLOTS] = std::array::from_fn(|_| op.id());
        let (product, image, host, price_version) = (op.id(), op.id(), op.id(), op.id());
        let mut tx = db.begin().await.unwrap();
        plant_catalogue(&mut tx, team, product, image, host, price_version).await;
        for member in members {
            plant_member(&mut tx, team, member).await;
        }
        let mut open = async |member, kind| {
            let account = Account::open(op.id(), team, member, kind, NOW);
            tx.account_insert(&account).await.unwrap();
            account.id
        };
        let cash = open(None, AccountKind::Cash).await;
        let pool = open(None, AccountKind::TeamPool).await;
        let revenue = open(None, AccountKind::Revenue).await;
        let receivable = open(None, AccountKind::Receivable).await;
        let mut wallets = [pool; SLOTS];
        for (wallet, member) in wallets.iter_mut().zip(members) {
            *wallet = open(Some(member), AccountKind::Wallet).await;
        }
        commit(tx, &op).await;
        let db = db.clone();
        Self {
            db,
            op,
            team,
            members,
            cash,
            pool,
            revenue,
            receivable,
            wallets,
            price_version,
            product,
            image,
            host,
        }
    }

    /// A row for an instance of `member`.
    pub(crate) async fn plant_instance(&self, tx: &mut Tx, member: MemberId) -> InstanceId {
        const INSTANCE: &str = "
            INSERT INTO instances (id, team, member, name, product, image, host, desired, state,
                reason_detail, generation, unit_qty, gpus, cpu_millis, memory_bytes, spec, spec_digest,
                jupyter_sealed, ports, price_version, unit_price, quoted_per_hour, created_at, warned_percent,
                version)
            VALUES ($1, $2, $3, 'box', $4, $5, $6, 'running', 'running', '', 1, 1, 0, 1000, 1, '{}',
                '', $7, '[]', $8, 0, 0, 0, 0, 1)";
        let id = self.op.id();
        let insert = tx.query(INSTANCE).bind(id).bind(self.team).bind(member);
        let insert = insert.bind(self.product).bind(self.image).bind(self.host).bind(vec![0u8]);
        insert.bind(self.price_version).execute().await.unwrap();
        id
    }

    /// All accounts of the team, as text that can be compared.
    pub(crate) async fn dump(&self) -> String {
        let mut read = self.db.read().await.unwrap();
        let accounts = read.accounts_of_team(self.team).await.unwrap();
        let transactions = read.transactions_page(self.team, None, 10_000).await.unwrap();
        format!("{accounts:#?}\n{transactions:#?}")
    }

    /// Fails with what is wrong unless the books are sound.
    pub(crate) async fn assert_sound(&self) {
        let report = self.db.read().await.unwrap().ledger_verify().await.unwrap();
        assert!(report.is_clean(), "{report:#?}");
        assert!(report.counts.entries > 0, "verified nothing: {report:?}");
    }
}

async fn plant_catalogue(
    tx: &mut Tx,
    team: TeamId,
    product: ProductId,
    image: ImageId,
    host: HostId,
    price_version: PriceVersionId,
) {
    const TEAM: &str = "
        INSERT INTO teams (id, slug, name, description, preset, spending, limits, version, created_at)
        VALUES ($1, $2, 'A team', '', 'glows', 'wallet', '{}', 1, 0)";
    const PRODUCT: &str = "
        INSERT INTO products (id, name, region, instance_type, accelerator, gpus_per_unit, cpu_millis,
            memory_bytes, price_per_hour, published, version, created_at)
        VALUES ($1, $2, 'here', 'cpu', 'none', 0, 1000, 1, 0, $3, 1, 0)";
    const IMAGE: &str = "
        INSERT INTO images (id, name, reference, ports, description, published, version, created_at)
        VALUES ($1, $2, 'image', '[]', '', $3, 1, 0)";
    const HOST: &str = "
        INSERT INTO hosts (id, name, kind, endpoint, region, address, probe_image, admin_state, reach,
            reach_detail, misses, version, created_at)
        VALUES ($1, $2, 'simulated', '', 'here', '', '', 'active', 'up', '', 0, 1, 0)";
    const COMPONENT: &str = "
        INSERT INTO components (digest, wasm, world, created_at) VALUES ('c0ffee', $1, 'price', 0)
        ON CONFLICT (digest) DO NOTHING";
    const PRICE_VERSION: &str = "
        INSERT INTO price_versions (id, team, number, digest, config, config_digest, created_by, created_at)
        VALUES ($1, $2, 1, 'c0ffee', '{}', '', 'test', 0)";
    tx.query(TEAM).bind(team).bind(team.to_string()).execute().await.unwrap();
    tx.query(PRODUCT).bind(product).bind(product.to_string()).bind(true).execute().await.unwrap();
    tx.query(IMAGE).bind(image).bind(image.to_string()).bind(true).execute().await.unwrap();
    tx.query(HOST).bind(host).bind(host.to_string()).execute().await.unwrap();
    tx.query(COMPONENT).bind(vec![0u8]).execute().await.unwrap();
    tx.query(PRICE_VERSION).bind(price_version).bind(team).execute().await.unwrap();
}

async fn plant_member(tx: &mut Tx, team: TeamId, member: MemberId) {
    const MEMBER: &str = "
        INSERT INTO members (id, team, account, role, state, alias, note, limits, version, valid_from,
            created_at)
        VALUES ($1, $2, $3, 'member', 'active', '', '', '{}', 1, 0, 0)";
    tx.query(MEMBER).bind(member).bind(team).bind(member.to_string()).execute().await.unwrap();
}
