//! A database with one or more teams in it, and the rows that the books refer to.

use std::{future::Future, sync::Arc};

use muster::{
    chance::Seeded,
    ids::*,
    ledger::{
        account::{Account, AccountKind},
        posting::{Header, IdemKey},
    },
    op::{Actor, Op, SystemActor, SystemWarrant},
    store::{Db, Error, Tx},
    time::ManualClock,
};

pub(crate) use crate::clerk::NOW;
use crate::{clerk::Clerk, model::SLOTS, postgres::fresh_database};

/// Runs a test on a fresh SQLite file, then on a fresh Postgres database; what it gave on each.
pub(crate) async fn on_both<T, F: Future<Output = T>>(test: impl Fn(Db) -> F) -> [T; 2] {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = on_one(&format!("sqlite:{}/muster.db", folder.path().display()), &test).await;
    [sqlite, on_one(&fresh_database(), &test).await]
}

async fn on_one<T, F: Future<Output = T>>(address: &str, test: &impl Fn(Db) -> F) -> T {
    let db = Db::open(address).await.unwrap();
    db.migrate(NOW).await.unwrap();
    let given = test(db.clone()).await;
    db.close().await;
    given
}

/// What every command is done under.
pub(crate) fn operation(seed: u64) -> Op {
    // Apart from the clerk's own chance, which begins at the seed.
    let (clock, chance) = (Arc::new(ManualClock::new(NOW)), Arc::new(Seeded::new(seed ^ (1 << 60))));
    Op::new(Actor::System(SystemActor::Meter), clock, chance)
}

/// Commits on the strength of a system operation.
pub(crate) async fn commit(tx: Tx, op: &Op) {
    tx.commit(&SystemWarrant::of(op).unwrap()).await.unwrap();
}

/// A team with its accounts, its members with their wallets, and what is needed to launch.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) db: Db,
    pub(crate) op: Op,
    pub(crate) seed: u64,
    pub(crate) team: TeamId,
    pub(crate) members: [MemberId; SLOTS],
    pub(crate) cash: AccountId,
    pub(crate) pool: AccountId,
    pub(crate) promo: AccountId,
    pub(crate) wallets: [AccountId; SLOTS],
    pub(crate) price_version: PriceVersionId,
    product: ProductId,
    image: ImageId,
    host: HostId,
}

impl World {
    /// The team of the clerk with this seed.
    pub(crate) async fn new(db: &Db, seed: u64) -> Self {
        let op = operation(seed);
        let Clerk { team, members, price_version, .. } = Clerk::new(seed);
        let (product, image, host) = (op.id(), op.id(), op.id());
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
        let mut own = std::collections::BTreeMap::new();
        for &kind in AccountKind::ALL.iter().filter(|kind| !kind.is_personal()) {
            own.insert(kind, open(None, kind).await);
        }
        let mut wallets = [own[&AccountKind::TeamPool]; SLOTS];
        for (wallet, member) in wallets.iter_mut().zip(members) {
            *wallet = open(Some(member), AccountKind::Wallet).await;
        }
        commit(tx, &op).await;
        let db = db.clone();
        Self {
            db,
            op,
            seed,
            team,
            members,
            cash: own[&AccountKind::Cash],
            pool: own[&AccountKind::TeamPool],
            promo: own[&AccountKind::Promo],
            wallets,
            price_version,
            product,
            image,
            host,
        }
    }

    /// A transaction; where many want one at once, whoever is sent away asks again, as clients do.
    pub(crate) async fn begin(&self) -> Tx {
        loop {
            match self.db.begin().await {
                Err(Error::Busy(_)) => {}
                begun => return begun.unwrap(),
            }
        }
    }

    /// A header in the team's books, with the world's own clock and chance.
    pub(crate) fn header(&self, idem_key: IdemKey) -> Header {
        Header {
            id: self.op.id(),
            team: self.team,
            occurred_at: NOW,
            recorded_at: NOW,
            actor: self.op.actor.name(),
            reason: String::new(),
            member: None,
            instance: None,
            reverses: None,
            idem_key,
        }
    }

    /// A row for an instance of `member`.
    pub(crate) async fn plant_instance(&self, tx: &mut Tx, member: MemberId) -> InstanceId {
        let id = self.op.id();
        self.plant_instance_as(tx, id, member, None).await;
        id
    }

    /// A row for the instance `id` of `member`, launched by `key`.
    pub(crate) async fn plant_instance_as(
        &self,
        tx: &mut Tx,
        id: InstanceId,
        member: MemberId,
        key: Option<ApiKeyId>,
    ) {
        const INSTANCE: &str = "
            INSERT INTO instances (id, team, member, name, product, image, host, desired, state,
                reason_detail, generation, unit_qty, gpus, cpu_millis, memory_bytes, spec, spec_digest,
                jupyter_sealed, ports, price_version, unit_price, quoted_per_hour, created_at, warned_percent,
                version, api_key)
            VALUES ($1, $2, $3, 'box', $4, $5, $6, 'running', 'running', '', 1, 1, 0, 1000, 1, '{}',
                '', $7, '[]', $8, 0, 0, 0, 0, 1, $9)";
        let insert = tx.query(INSTANCE).bind(id).bind(self.team).bind(member);
        let insert = insert.bind(self.product).bind(self.image).bind(self.host).bind(vec![0u8]);
        insert.bind(self.price_version).bind(key).execute().await.unwrap();
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
