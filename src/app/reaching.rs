//! Reaching hosts: whether they answer, and what follows from that for what runs there.
//!
//! A host that does not answer is not dead: its instances keep everything, and are not billed beyond the last proof.

use super::{App, dispatch::Pass};
use crate::{
    docker::Backend,
    error::Result,
    ids::HostId,
    model::host::{AdminState, Reach},
    op::Op,
    store::fleet::HostRow,
    time::{Span, Timestamp},
};

/// How old the last note that a host answered may be before it is written again.
const TOLD_OFTEN: Span = Span::from_seconds(15);

impl App {
    /// The hosts that are ours to look after.
    pub async fn hosts_live(&self) -> Result<Vec<HostId>> {
        let mut read = self.db.read().await?;
        let hosts = read.hosts_all().await?;
        Ok(hosts.into_iter().filter(|h| h.admin_state != AdminState::Retired).map(|h| h.id).collect())
    }

    /// Waits for the bell of a host.
    pub async fn host_bell(&self, host: HostId) {
        self.fleet.bell(host).notified().await;
    }

    /// Waits until hosts were registered or retired.
    pub async fn roster_bell(&self) {
        self.fleet.roster().notified().await;
    }

    /// Notes that a host did not answer. It is not dead for that: its instances keep everything, and are not billed
    /// beyond the last proof of life.
    pub(super) async fn host_missed(&self, op: &Op, host: &HostRow, why: &str) -> Result<Pass> {
        let mut tx = self.db.begin().await?;
        let misses = host.misses + 1;
        let silent = op.now() - host.last_ok_at.unwrap_or(host.created_at);
        let down = misses >= 3 && silent >= self.settings.down_after;
        let reach = if down { Reach::Down } else { Reach::Suspect };
        tx.host_reach_save(host.id, reach, why, misses, host.last_ok_at).await?;
        if down {
            tx.instances_unreachable(host.id).await?;
            tx.storage_segments_end(host.id).await?;
        }
        if down && host.reach != reach {
            let document = serde_json::json!({ "host": host.name, "why": why });
            self.note(op, &mut tx, "", "host.down", &host.id.to_string(), document).await?;
        }
        self.system_commit(op, tx).await?;
        if host.reach != reach {
            tracing::warn!(host = %host.name, %reach, why, "a host does not answer");
        }
        Ok(Pass { busy: true })
    }

    /// Notes that a host answered. `false`: what answers there is not our host, so nothing may be done to it.
    pub(super) async fn host_answered(&self, op: &Op, host: &HostRow, backend: &dyn Backend) -> Result<bool> {
        let back = host.reach != Reach::Up;
        if back {
            // The address may have moved to another engine while it was away.
            if let Err(error) = backend.mark(host.id, self.installation).await {
                self.host_missed(op, host, &error.to_string()).await?;
                return Ok(false);
            }
            tracing::info!(host = %host.name, "a host answers");
            self.fleet.measure_soon(host.id, op.now());
        }
        let told = host.last_ok_at.is_some_and(|at| op.now() - at < TOLD_OFTEN);
        if back || !told {
            let mut tx = self.db.begin().await?;
            tx.host_reach_save(host.id, Reach::Up, "", 0, Some(op.now())).await?;
            if host.reach == Reach::Down {
                let document = serde_json::json!({ "host": host.name });
                self.note(op, &mut tx, "", "host.up", &host.id.to_string(), document).await?;
            }
            self.system_commit(op, tx).await?;
        }
        let stale =
            host.facts.as_ref().is_none_or(|facts| op.now() - facts.0.probed_at > self.settings.probe_every);
        if (stale || back) && self.fleet.probe_begins(host.id, op.now()) {
            // What runs there goes on without a probe; only new launches want to know.
            if let Err(error) = self.host_probe_save(op, host, backend).await {
                tracing::warn!(host = %host.name, ?error, "a probe failed");
            }
        }
        Ok(true)
    }
}

/// What is proof of life at `now`, beside start and end by the engine's clock: by one that was behind ours at the last
/// probe, it is not that late yet.
pub(super) fn by_the_engine(host: &HostRow, now: Timestamp) -> Timestamp {
    let offset = host.facts.as_ref().map_or(0, |facts| facts.0.clock_offset_micros);
    now + Span::from_micros(offset.min(0))
}
