//! Instances, hosts and holds as rows, for benches that need them without a host and without the server.

use muster::{
    ids::{HoldId, HostId, InstanceId, PriceVersionId},
    ledger::{
        interval::Segment,
        journal::{NewHold, Outcome, User},
        posting::IdemKey,
    },
    model::{
        host::{AdminState, HostKind, Reach},
        instance::{Desired, Spec, State},
        price::Sku,
    },
    money::{Credits, NanoCredits},
    store::{
        Component, Concern, Json, PriceVersion, Tx,
        catalog::{ImageRow, ProductRow},
        fleet::HostRow,
        instances::InstanceRow,
    },
    time::{SECOND, Span},
};

use super::site::{REGION, Site, Team};

/// Length of a metering interval: the server's default.
pub(crate) const INTERVAL: Span = Span::from_micros(60 * SECOND);

/// What every planted instance is of.
pub(crate) struct Ground {
    pub(crate) product: ProductRow,
    pub(crate) image: ImageRow,
    pub(crate) host: HostId,
    pub(crate) price: PriceVersionId,
}

impl Site {
    /// A pretended host that nothing looks at.
    pub(crate) async fn host(&self) -> HostId {
        let row = HostRow {
            id: self.op.id(),
            name: "host".to_owned(),
            kind: HostKind::Simulated,
            endpoint: "simulated:".to_owned(),
            tls_sealed: None,
            region: REGION.to_owned(),
            address: "127.0.0.1".to_owned(),
            probe_image: String::new(),
            admin_state: AdminState::Active,
            reach: Reach::Up,
            reach_detail: String::new(),
            facts: None,
            misses: 0,
            last_ok_at: None,
            version: 1,
            created_at: self.op.now(),
        };
        self.write(async |tx| tx.host_insert(&row).await.unwrap()).await;
        row.id
    }

    /// A price of the site that nothing is rated by.
    pub(crate) async fn price(&self) -> PriceVersionId {
        let digest = "none".to_owned();
        let component = Component {
            digest: digest.clone(),
            wasm: Vec::new(),
            world: String::new(),
            created_at: self.op.now(),
        };
        let version = PriceVersion {
            id: self.op.id(),
            team: None,
            number: 0,
            digest,
            config: "{}".to_owned(),
            config_digest: String::new(),
            created_by: self.op.actor.name(),
            created_at: self.op.now(),
            product: None,
            effective_at: self.op.now(),
        };
        self.write(async |tx| {
            tx.component_put(&component).await.unwrap();
            tx.price_version_insert(&version).await.unwrap();
        })
        .await;
        version.id
    }

    /// A running instance of the team, without a hold and without a segment.
    pub(crate) async fn instance(&self, tx: &mut Tx, team: &Team, ground: &Ground) -> InstanceId {
        let now = self.op.now();
        let row = InstanceRow {
            id: self.op.id(),
            team: team.id,
            member: team.member,
            name: "box".to_owned(),
            product: ground.product.id,
            image: ground.image.id,
            host: ground.host,
            desired: Desired::Running,
            state: State::Running,
            reason: None,
            reason_detail: String::new(),
            generation: 1,
            unit_qty: 1,
            gpus: 0,
            cpu_millis: ground.product.cpu_millis,
            memory_bytes: ground.product.memory_bytes,
            spec_digest: String::new(),
            spec: Json(spec(&ground.image.reference)),
            jupyter_sealed: Vec::new(),
            ports: Json(Vec::new()),
            price_version: ground.price,
            unit_price: ground.product.price_per_hour,
            quoted_per_hour: ground.product.price_per_hour,
            container_id: None,
            exit_code: None,
            created_at: now,
            started_at: Some(now),
            ended_at: None,
            proof_at: Some(now),
            draining_since: None,
            warned_percent: 0,
            version: 1,
            api_key: None,
            pulling_at: None,
            held: Json(Vec::new()),
            snapshot: None,
            paused_since: None,
        };
        tx.instance_insert(&row).await.unwrap();
        row.id
    }

    /// Holds money of the team's pool for an instance: what a launch does to the books.
    pub(crate) async fn hold(&self, tx: &mut Tx, team: &Team, instance: InstanceId, amount: Credits) {
        let hold: HoldId = self.op.id();
        let mut journal = tx.journal(&self.op, team.id, &Concern::of(team.member)).await.unwrap();
        let user = User { member: team.member, api_key: None };
        let new = NewHold { id: hold, user, instance, account: team.pool, amount };
        let header = self.header(team.id, IdemKey::hold_place(hold));
        assert_eq!(journal.hold_place(header, new).unwrap(), Outcome::Applied);
        tx.journal_write(&journal).await.unwrap();
    }

    /// A segment that begins now and runs on.
    pub(crate) async fn segment(&self, tx: &mut Tx, team: &Team, instance: InstanceId, ground: &Ground) {
        let now = self.op.now();
        let segment = Segment {
            id: self.op.id(),
            team: team.id,
            member: team.member,
            resource: instance.to_string(),
            instance: Some(instance),
            account: None,
            kind: "instance".to_owned(),
            number: 0,
            quantity: 1,
            price_version: ground.price,
            sku: sku(&ground.product),
            quoted_per_hour: ground.product.price_per_hour,
            grid: INTERVAL,
            start_at: now,
            end_at: None,
            proof_at: now,
            billed_until: now,
            next_k: 0,
            cumulative: NanoCredits::ZERO,
            settled: false,
        };
        tx.segment_open(&segment).await.unwrap();
    }
}

fn sku(product: &ProductRow) -> Sku {
    Sku {
        name: product.name.clone(),
        kind: "instance".to_owned(),
        region: product.region.clone(),
        instance_type: product.instance_type.clone(),
        accelerator: product.accelerator.clone(),
        unit_price: product.price_per_hour.to_nano().unwrap(),
    }
}

fn spec(image: &str) -> Spec {
    Spec {
        image: image.to_owned(),
        cpu_millis: 10,
        memory_bytes: 64 << 20,
        shm_bytes: 64 << 20,
        pids: 4096,
        ports: vec![22],
        env: Vec::new(),
        mounts: Vec::new(),
        ssh_public_keys: Vec::new(),
        command: None,
    }
}
