//! Hosts, accelerators and drives: the rows of what runs things and of what they keep.

use super::{Conn, Json, Result, Tx, query::record};
use crate::{
    ids::{DriveId, HostId, InstanceId, MemberId, TeamId},
    model::{
        host::{AcceleratorFacts, AdminState, HostFacts, HostKind, Reach},
        placement::Candidate,
    },
    time::Timestamp,
};

record! {
    /// A host as registered and as last seen.
    pub struct HostRow {
        /// The host.
        pub id: HostId,
        /// Its name for people.
        pub name: String,
        /// What drives it.
        pub kind: HostKind,
        /// Where its engine answers.
        pub endpoint: String,
        /// The sealed TLS documents of a `tcp://` endpoint.
        pub tls_sealed: Option<Vec<u8>>,
        /// Its region.
        pub region: String,
        /// The address at which published ports are reached.
        pub address: String,
        /// The image that a probe runs.
        pub probe_image: String,
        /// What the operator wants of it.
        pub admin_state: AdminState,
        /// Whether it answers.
        pub reach: Reach,
        /// Why not, when it does not.
        pub reach_detail: String,
        /// What the last probe found.
        pub facts: Option<Json<HostFacts>>,
        /// Calls missed in a row.
        pub misses: u32,
        /// When it last answered.
        pub last_ok_at: Option<Timestamp>,
        /// Raised by every change of how it is reached.
        pub version: i64,
        /// When it was registered.
        pub created_at: Timestamp,
    }
}

record! {
    /// An accelerator that a probe found.
    pub struct AcceleratorRow {
        /// The vendor's UUID.
        pub uuid: String,
        /// Its host.
        pub host: HostId,
        /// Its model.
        pub model: String,
        /// Its memory in MiB.
        pub memory_mib: u32,
        /// Its driver version.
        pub driver: String,
        /// Whether the last probe found it.
        pub healthy: bool,
        /// When a probe last found it.
        pub seen_at: Timestamp,
        /// The instance that holds it.
        pub instance: Option<InstanceId>,
    }
}

record! {
    /// A drive: a named volume on one host.
    pub struct DriveRow {
        /// The drive.
        pub id: DriveId,
        /// Its team.
        pub team: TeamId,
        /// Whose it is; `None` for the team's own.
        pub member: Option<MemberId>,
        /// The host that it is on.
        pub host: HostId,
        /// The volume's name there.
        pub volume: String,
        /// When it was made.
        pub created_at: Timestamp,
        /// How many bytes were last seen in it.
        pub measured_bytes: Option<u64>,
        /// When that was.
        pub measured_at: Option<Timestamp>,
    }
}

record! {
    struct LoadRow {
        host: HostId,
        cpu_millis: u64,
        memory_bytes: u64,
    }
}

const HOST_INSERT: &str = "
    INSERT INTO hosts (id, name, kind, endpoint, tls_sealed, region, address, probe_image, admin_state, reach,
                       reach_detail, facts, misses, last_ok_at, version, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

const HOST_FETCH: &str = "SELECT * FROM hosts WHERE id = $1";

const HOST_BY_NAME: &str = "SELECT * FROM hosts WHERE name = $1";

const HOSTS_ALL: &str = "SELECT * FROM hosts WHERE admin_state <> 'retired' ORDER BY id";

const HOSTS_PAGE: &str = "SELECT * FROM hosts WHERE id > $1 ORDER BY id LIMIT $2";

const HOST_LOCK_SQLITE: &str = "SELECT id FROM hosts WHERE id = $1";
const HOST_LOCK_POSTGRES: &str = "SELECT id FROM hosts WHERE id = $1 FOR UPDATE";

const HOST_ADMIN_SAVE: &str = "UPDATE hosts SET admin_state = $2 WHERE id = $1";

const HOST_REACH_SAVE: &str = "
    UPDATE hosts SET reach = $2, reach_detail = $3, misses = $4, last_ok_at = $5 WHERE id = $1";

const HOST_FACTS_SAVE: &str = "UPDATE hosts SET facts = $2 WHERE id = $1";

const ACCELERATOR_PUT: &str = "
    INSERT INTO accelerators (uuid, host, model, memory_mib, driver, healthy, seen_at)
    VALUES ($1, $2, $3, $4, $5, TRUE, $6)
    ON CONFLICT (uuid) DO UPDATE
       SET host = excluded.host, model = excluded.model, memory_mib = excluded.memory_mib,
           driver = excluded.driver, healthy = TRUE, seen_at = excluded.seen_at";

const ACCELERATORS_UNSEEN: &str = "UPDATE accelerators SET healthy = FALSE WHERE host = $1 AND seen_at < $2";

const ACCELERATORS_PAGE: &str = "
    SELECT a.uuid, a.host, a.model, a.memory_mib, a.driver, a.healthy, a.seen_at, l.instance
      FROM accelerators a LEFT JOIN allocations l ON l.accelerator = a.uuid
     WHERE a.uuid > $1 ORDER BY a.uuid LIMIT $2";

const ACCELERATORS_OF_INSTANCE: &str = "
    SELECT a.uuid, a.host, a.model, a.memory_mib, a.driver, a.healthy, a.seen_at, l.instance
      FROM accelerators a JOIN allocations l ON l.accelerator = a.uuid
     WHERE l.instance = $1 ORDER BY a.uuid";

const ACCELERATORS_FREE: &str = "
    SELECT a.host, a.uuid, a.model
      FROM accelerators a LEFT JOIN allocations l ON l.accelerator = a.uuid
     WHERE l.instance IS NULL AND a.healthy
     ORDER BY a.host, a.uuid";

const HOST_LOADS: &str = "
    SELECT host, CAST(SUM(cpu_millis) AS BIGINT) AS cpu_millis, CAST(SUM(memory_bytes) AS BIGINT) AS memory_bytes
      FROM instances
     WHERE state NOT IN ('stopped', 'released', 'failed')
     GROUP BY host";

const ALLOCATION_TAKE: &str = "
    INSERT INTO allocations (accelerator, instance) VALUES ($1, $2) ON CONFLICT (accelerator) DO NOTHING";

const ALLOCATIONS_FREE: &str = "DELETE FROM allocations WHERE instance = $1";

const DRIVE_INSERT: &str = "
    INSERT INTO drives (id, team, member, host, volume, created_at) VALUES ($1, $2, $3, $4, $5, $6)";

const DRIVE_ON: &str = "
    SELECT * FROM drives
     WHERE team = $1 AND host = $2 AND ((member IS NULL AND $3 = '') OR member = $3)";

const DRIVE_HOSTS: &str = "
    SELECT d.host FROM drives d JOIN hosts h ON h.id = d.host
     WHERE d.team = $1 AND h.region = $2 AND h.admin_state <> 'retired'
       AND ((d.member IS NULL AND $3 = '') OR d.member = $3)
     ORDER BY d.id LIMIT 1";

const DRIVES_OF_TEAM: &str = "SELECT * FROM drives WHERE team = $1 ORDER BY id";

impl Conn {
    /// One host.
    pub async fn host_fetch(&mut self, id: HostId) -> Result<Option<HostRow>> {
        self.query(HOST_FETCH).bind(id).optional().await
    }

    /// The host with this name.
    pub async fn host_by_name(&mut self, name: &str) -> Result<Option<HostRow>> {
        self.query(HOST_BY_NAME).bind(name).optional().await
    }

    /// Every host that is not retired.
    pub async fn hosts_all(&mut self) -> Result<Vec<HostRow>> {
        self.query(HOSTS_ALL).all().await
    }

    /// Hosts with ids above `after`, retired ones too.
    pub async fn hosts_page(&mut self, after: &str, limit: u32) -> Result<Vec<HostRow>> {
        self.query(HOSTS_PAGE).bind(after).bind(limit).all().await
    }

    /// Accelerators with UUIDs above `after`, and who holds them.
    pub async fn accelerators_page(&mut self, after: &str, limit: u32) -> Result<Vec<AcceleratorRow>> {
        self.query(ACCELERATORS_PAGE).bind(after).bind(limit).all().await
    }

    /// The accelerators that an instance holds, by UUID.
    pub async fn accelerators_of_instance(&mut self, instance: InstanceId) -> Result<Vec<AcceleratorRow>> {
        self.query(ACCELERATORS_OF_INSTANCE).bind(instance).all().await
    }

    /// Every host as placement sees it.
    pub async fn candidates(&mut self) -> Result<Vec<Candidate>> {
        let hosts = self.hosts_all().await?;
        let free: Vec<(HostId, String, String)> = self.query(ACCELERATORS_FREE).all().await?;
        let loads: Vec<LoadRow> = self.query(HOST_LOADS).all().await?;
        let candidate = |host: HostRow| {
            let load = loads.iter().find(|load| load.host == host.id);
            let (cpu, memory) = load.map_or((0, 0), |load| (load.cpu_millis, load.memory_bytes));
            let size = host
                .facts
                .as_ref()
                .map_or((0, 0), |facts| (u64::from(facts.0.cpu_millis), facts.0.memory_bytes));
            Candidate {
                host: host.id,
                region: host.region,
                takes_new: host.admin_state == AdminState::Active && host.reach == Reach::Up,
                free: free
                    .iter()
                    .filter(|(of, _, _)| *of == host.id)
                    .map(|(_, uuid, model)| (uuid.clone(), model.clone()))
                    .collect(),
                free_cpu_millis: size.0.saturating_sub(cpu),
                free_memory_bytes: size.1.saturating_sub(memory),
            }
        };
        Ok(hosts.into_iter().map(candidate).collect())
    }

    /// One host as placement sees it.
    pub async fn candidate(&mut self, host: HostId) -> Result<Option<Candidate>> {
        Ok(self.candidates().await?.into_iter().find(|candidate| candidate.host == host))
    }

    /// The drive of a team, or of one member of it, on a host.
    pub async fn drive_on(
        &mut self,
        team: TeamId,
        member: Option<MemberId>,
        host: HostId,
    ) -> Result<Option<DriveRow>> {
        let member = member.map(|member| member.to_string()).unwrap_or_default();
        self.query(DRIVE_ON).bind(team).bind(host).bind(member).optional().await
    }

    /// The host in a region that has the drive of a team, or of one member of it.
    pub async fn drive_host(
        &mut self,
        team: TeamId,
        member: Option<MemberId>,
        region: &str,
    ) -> Result<Option<HostId>> {
        let member = member.map(|member| member.to_string()).unwrap_or_default();
        let found =
            self.query(DRIVE_HOSTS).bind(team).bind(region).bind(member).optional::<(HostId,)>().await?;
        Ok(found.map(|(host,)| host))
    }

    /// A team's drives: its own and its members'.
    pub async fn drives_of_team(&mut self, team: TeamId) -> Result<Vec<DriveRow>> {
        self.query(DRIVES_OF_TEAM).bind(team).all().await
    }
}

impl Tx {
    /// Registers a host; its name must be free.
    pub async fn host_insert(&mut self, row: &HostRow) -> Result<()> {
        self.query(HOST_INSERT)
            .bind(row.id)
            .bind(&row.name)
            .bind(row.kind)
            .bind(&row.endpoint)
            .bind(&row.tls_sealed)
            .bind(&row.region)
            .bind(&row.address)
            .bind(&row.probe_image)
            .bind(row.admin_state)
            .bind(row.reach)
            .bind(&row.reach_detail)
            .bind(&row.facts)
            .bind(row.misses)
            .bind(row.last_ok_at)
            .bind(row.version)
            .bind(row.created_at)
            .or_conflict(|| {
                crate::error::Error::conflict("name-taken", "a host with this name is registered")
            })
            .execute()
            .await?;
        Ok(())
    }

    /// Keeps other transactions from placing on the host until this one ends.
    pub async fn host_lock(&mut self, id: HostId) -> Result<()> {
        self.query_by(HOST_LOCK_SQLITE, HOST_LOCK_POSTGRES).bind(id).optional::<(HostId,)>().await?;
        Ok(())
    }

    /// Writes what the operator wants of a host.
    pub async fn host_admin_save(&mut self, id: HostId, state: AdminState) -> Result<()> {
        self.query(HOST_ADMIN_SAVE).bind(id).bind(state).execute().await?;
        Ok(())
    }

    /// Writes whether a host answers.
    pub async fn host_reach_save(
        &mut self,
        id: HostId,
        reach: Reach,
        detail: &str,
        misses: u32,
        last_ok_at: Option<Timestamp>,
    ) -> Result<()> {
        let query = self.query(HOST_REACH_SAVE).bind(id).bind(reach).bind(detail);
        query.bind(misses).bind(last_ok_at).execute().await?;
        Ok(())
    }

    /// Writes what a probe found; accelerators it did not find are no longer healthy.
    pub async fn host_facts_save(
        &mut self,
        id: HostId,
        facts: &HostFacts,
        accelerators: &[AcceleratorFacts],
    ) -> Result<()> {
        self.query(HOST_FACTS_SAVE).bind(id).bind(Json(facts)).execute().await?;
        for found in accelerators {
            let query = self.query(ACCELERATOR_PUT).bind(&found.uuid).bind(id).bind(&found.model);
            query.bind(found.memory_mib).bind(&found.driver).bind(facts.probed_at).execute().await?;
        }
        self.query(ACCELERATORS_UNSEEN).bind(id).bind(facts.probed_at).execute().await?;
        Ok(())
    }

    /// Gives the accelerators to an instance; `false` when another holds one of them, and then none is kept only
    /// if the caller drops the transaction.
    pub async fn allocations_take(&mut self, instance: InstanceId, accelerators: &[String]) -> Result<bool> {
        for uuid in accelerators {
            if self.query(ALLOCATION_TAKE).bind(uuid).bind(instance).execute().await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes every accelerator back from an instance; how many it held.
    pub async fn allocations_free(&mut self, instance: InstanceId) -> Result<u32> {
        let freed = self.query(ALLOCATIONS_FREE).bind(instance).execute().await?;
        Ok(u32::try_from(freed).unwrap_or(u32::MAX))
    }

    /// Writes a drive.
    pub async fn drive_insert(&mut self, row: &DriveRow) -> Result<()> {
        let query = self.query(DRIVE_INSERT).bind(row.id).bind(row.team).bind(row.member);
        query.bind(row.host).bind(&row.volume).bind(row.created_at).execute().await?;
        Ok(())
    }
}
