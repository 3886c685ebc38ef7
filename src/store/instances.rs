//! Instances: the rows of what shall run and of what was seen of it.

use super::{Conn, Json, Result, Tx, journal::list, query::record};
use crate::{
    ids::{ApiKeyId, HostId, ImageId, InstanceId, MemberId, PriceVersionId, ProductId, SnapshotId, TeamId},
    model::instance::{Desired, PublishedPort, Reason, Spec, State},
    money::Credits,
    time::Timestamp,
};

record! {
    /// An instance.
    pub struct InstanceRow {
        /// The instance.
        pub id: InstanceId,
        /// Its team.
        pub team: TeamId,
        /// The member who launched it.
        pub member: MemberId,
        /// Its name for people.
        pub name: String,
        /// Its product.
        pub product: ProductId,
        /// Its image.
        pub image: ImageId,
        /// Its host.
        pub host: HostId,
        /// What is wanted of it.
        pub desired: Desired,
        /// Where it was last seen to be.
        pub state: State,
        /// Why it no longer runs.
        pub reason: Option<Reason>,
        /// The reason in a sentence.
        pub reason_detail: String,
        /// Which container of the instance this is.
        pub generation: u32,
        /// Units of the product.
        pub unit_qty: u32,
        /// Accelerators that it was launched with.
        pub gpus: u32,
        /// Processor time in thousandths of a core.
        pub cpu_millis: u64,
        /// Memory in bytes.
        pub memory_bytes: u64,
        /// How its container is made.
        pub spec: Json<Spec>,
        /// Digest of the specification.
        pub spec_digest: String,
        /// The sealed token of its notebook server.
        pub jupyter_sealed: Vec<u8>,
        /// Its published ports.
        pub ports: Json<Vec<PublishedPort>>,
        /// The price that was quoted for its last start.
        pub price_version: PriceVersionId,
        /// List price of one unit for one hour at its last start.
        pub unit_price: Credits,
        /// Quoted price of the whole for one hour.
        pub quoted_per_hour: Credits,
        /// The engine's id of its container.
        pub container_id: Option<String>,
        /// The exit code of its main process.
        pub exit_code: Option<i64>,
        /// When it was launched.
        pub created_at: Timestamp,
        /// When the engine last started it; one that waits to be started again has the start before.
        pub started_at: Option<Timestamp>,
        /// When the engine saw it end.
        pub ended_at: Option<Timestamp>,
        /// When it was last seen to run.
        pub proof_at: Option<Timestamp>,
        /// Since when its money is not extended.
        pub draining_since: Option<Timestamp>,
        /// The lowest warning that was given, 0 for none.
        pub warned_percent: u8,
        /// The API key that started it last, if one did.
        pub api_key: Option<ApiKeyId>,
        /// When its image began to be fetched, if that was needed.
        pub pulling_at: Option<Timestamp>,
        /// The accelerators that its container was made with.
        pub held: Json<Vec<String>>,
        /// The snapshot that it was launched from, if it was.
        pub snapshot: Option<SnapshotId>,
        /// Since when it shall be paused, because its money ran out.
        pub paused_since: Option<Timestamp>,
        /// Raised by every change.
        pub version: i64,
    }
}

const INSTANCE_INSERT: &str = "
    INSERT INTO instances (id, team, member, name, product, image, host, desired, state, reason, reason_detail,
                           generation, unit_qty, gpus, cpu_millis, memory_bytes, spec, spec_digest, jupyter_sealed,
                           ports, price_version, unit_price, quoted_per_hour, container_id, exit_code, created_at,
                           started_at, ended_at, proof_at, draining_since, warned_percent, version, api_key,
                           pulling_at, held, snapshot, paused_since)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
            $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37)";

const INSTANCE_FETCH: &str = "SELECT * FROM instances WHERE id = $1";

const INSTANCES_PAGE: &str = "
    SELECT * FROM instances
     WHERE team = $1 AND ($2 = '' OR member = $2) AND id > $3
     ORDER BY id LIMIT $4";

const INSTANCES_LIVE_ON: &str = "
    SELECT * FROM instances WHERE host = $1 AND state NOT IN ('released', 'failed') ORDER BY id";

const INSTANCES_LIVE_COUNT: &str = "
    SELECT COUNT(*) FROM instances WHERE host = $1 AND state NOT IN ('released', 'failed')";

const INSTANCES_LIVE_OF_MEMBER: &str = "
    SELECT COUNT(*) FROM instances WHERE member = $1 AND state NOT IN ('released', 'failed')";

const INSTANCE_SAVE: &str = "
    UPDATE instances
       SET desired = $3, state = $4, reason = $5, reason_detail = $6, ports = $7, container_id = $8, exit_code = $9,
           started_at = $10, ended_at = $11, proof_at = $12, draining_since = $13, warned_percent = $14,
           generation = $15, pulling_at = $16, held = $17, price_version = $18, unit_price = $19,
           quoted_per_hour = $20, api_key = $21, paused_since = $22, version = version + 1
     WHERE id = $1 AND version = $2";

const INSTANCES_OF_SQLITE: &str = "SELECT * FROM instances WHERE id IN (SELECT value FROM json_each($1))";
const INSTANCES_OF_POSTGRES: &str = "
    SELECT * FROM instances WHERE id = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS TEXT)::jsonb)))";

const INSTANCE_PROOFS_SQLITE: &str = "
    UPDATE instances SET proof_at = $2
    WHERE id IN (SELECT value FROM json_each($1)) AND state = 'running' AND proof_at < $2";
const INSTANCE_PROOFS_POSTGRES: &str = "
    UPDATE instances SET proof_at = $2
    WHERE id = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS TEXT)::jsonb))) AND state = 'running'
      AND proof_at < $2";

const SEGMENT_PROOFS_SQLITE: &str = "
    UPDATE segments SET proof_at = $2
    WHERE instance IN (SELECT value FROM json_each($1)) AND kind = 'instance' AND end_at IS NULL AND proof_at < $2";
const SEGMENT_PROOFS_POSTGRES: &str = "
    UPDATE segments SET proof_at = $2
    WHERE instance = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS TEXT)::jsonb))) AND kind = 'instance'
      AND end_at IS NULL AND proof_at < $2";

const INSTANCES_UNREACHABLE: &str = "
    UPDATE instances SET state = 'unreachable', version = version + 1 WHERE host = $1 AND state = 'running'";

impl Conn {
    /// One instance.
    pub async fn instance_fetch(&mut self, id: InstanceId) -> Result<Option<InstanceRow>> {
        self.query(INSTANCE_FETCH).bind(id).optional().await
    }

    /// Instances of a team, or of one member of it, with ids above `after`.
    pub async fn instances_page(
        &mut self,
        team: TeamId,
        member: Option<MemberId>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<InstanceRow>> {
        let member = member.map(|member| member.to_string()).unwrap_or_default();
        self.query(INSTANCES_PAGE).bind(team).bind(member).bind(after).bind(limit).all().await
    }

    /// The instances with these ids.
    pub async fn instances_of(&mut self, ids: &[InstanceId]) -> Result<Vec<InstanceRow>> {
        self.query_by(INSTANCES_OF_SQLITE, INSTANCES_OF_POSTGRES).bind(list(ids)).all().await
    }

    /// Instances on a host that are not over.
    pub async fn instances_live_on(&mut self, host: HostId) -> Result<Vec<InstanceRow>> {
        self.query(INSTANCES_LIVE_ON).bind(host).all().await
    }

    /// How many instances on a host are not over.
    pub async fn instances_live_count(&mut self, host: HostId) -> Result<u32> {
        Ok(self.query(INSTANCES_LIVE_COUNT).bind(host).one::<(u32,)>().await?.0)
    }

    /// How many instances of a member are not over.
    pub async fn instances_live_of_member(&mut self, member: MemberId) -> Result<u32> {
        Ok(self.query(INSTANCES_LIVE_OF_MEMBER).bind(member).one::<(u32,)>().await?.0)
    }
}

impl Tx {
    /// Writes a new instance.
    pub async fn instance_insert(&mut self, row: &InstanceRow) -> Result<()> {
        self.query(INSTANCE_INSERT)
            .bind(row.id)
            .bind(row.team)
            .bind(row.member)
            .bind(&row.name)
            .bind(row.product)
            .bind(row.image)
            .bind(row.host)
            .bind(row.desired)
            .bind(row.state)
            .bind(row.reason)
            .bind(&row.reason_detail)
            .bind(row.generation)
            .bind(row.unit_qty)
            .bind(row.gpus)
            .bind(row.cpu_millis)
            .bind(row.memory_bytes)
            .bind(&row.spec)
            .bind(&row.spec_digest)
            .bind(&row.jupyter_sealed)
            .bind(&row.ports)
            .bind(row.price_version)
            .bind(row.unit_price)
            .bind(row.quoted_per_hour)
            .bind(&row.container_id)
            .bind(row.exit_code)
            .bind(row.created_at)
            .bind(row.started_at)
            .bind(row.ended_at)
            .bind(row.proof_at)
            .bind(row.draining_since)
            .bind(row.warned_percent)
            .bind(row.version)
            .bind(row.api_key)
            .bind(row.pulling_at)
            .bind(&row.held)
            .bind(row.snapshot)
            .bind(row.paused_since)
            .execute()
            .await?;
        Ok(())
    }

    /// Writes what may change of an instance, and gives it back with its new version.
    ///
    /// # Errors
    /// [`super::Error::Moved`] when the row is no longer the one that was read.
    pub async fn instance_save(&mut self, mut row: InstanceRow) -> Result<InstanceRow> {
        let touched = self
            .query(INSTANCE_SAVE)
            .bind(row.id)
            .bind(row.version)
            .bind(row.desired)
            .bind(row.state)
            .bind(row.reason)
            .bind(&row.reason_detail)
            .bind(&row.ports)
            .bind(&row.container_id)
            .bind(row.exit_code)
            .bind(row.started_at)
            .bind(row.ended_at)
            .bind(row.proof_at)
            .bind(row.draining_since)
            .bind(row.warned_percent)
            .bind(row.generation)
            .bind(row.pulling_at)
            .bind(&row.held)
            .bind(row.price_version)
            .bind(row.unit_price)
            .bind(row.quoted_per_hour)
            .bind(row.api_key)
            .bind(row.paused_since)
            .execute()
            .await?;
        if touched != 1 {
            return Err(super::Error::Moved);
        }
        row.version += 1;
        Ok(row)
    }

    /// Notes that instances were seen to run at `at`; never moves backwards.
    pub async fn proofs_advance(&mut self, instances: &[InstanceId], at: Timestamp) -> Result<()> {
        let ids = list(instances);
        let rows = self.query_by(INSTANCE_PROOFS_SQLITE, INSTANCE_PROOFS_POSTGRES).bind(ids.as_str());
        rows.bind(at).execute().await?;
        let segments = self.query_by(SEGMENT_PROOFS_SQLITE, SEGMENT_PROOFS_POSTGRES).bind(ids.as_str());
        segments.bind(at).execute().await?;
        Ok(())
    }

    /// Marks what runs on a host that does not answer.
    pub async fn instances_unreachable(&mut self, host: HostId) -> Result<()> {
        self.query(INSTANCES_UNREACHABLE).bind(host).execute().await?;
        Ok(())
    }
}
