//! Starting: from a committed launch to a metered run. Network, drives, image, container, and the proof that it has
//! the accelerators it was given. Every part may be there already: a pass may have died half way.

use std::sync::Arc;

use super::{App, dispatch::INSTANCE_TIME, prices::sku_with};
use crate::{
    docker::{AcceleratorCheck, Backend, Trouble},
    error::{Error, Result},
    ids::SegmentId,
    ledger::interval::Segment,
    model::{
        host::Attach,
        instance::{Launch, Phase, State},
        terms::BillingStart,
    },
    op::Op,
    store::{Json, Tx, fleet::HostRow, instances::InstanceRow},
    time::Timestamp,
};

impl App {
    /// Brings a launch to life: network, drives, image, container. What ran before is started as it is.
    pub(super) async fn start(
        &self,
        op: &Op,
        host: &HostRow,
        backend: &Arc<dyn Backend>,
        row: InstanceRow,
    ) -> Result<bool> {
        let started = match &row.container_id {
            Some(id) => self.container_again(&**backend, &row, id).await,
            None => self.start_container(op, host, backend, &row).await,
        };
        match started {
            Ok(Some(id)) => self.started(op, &**backend, row, &id).await,
            // Its image is on its way.
            Ok(None) => Ok(true),
            Err(StartError::Ours(error)) => Err(error),
            Err(StartError::Host(error)) => {
                let Some(reason) = error.instance_reason() else { return Err(error.into()) };
                if row.container_id.is_some() {
                    return self.start_refused(op, &**backend, row, reason, &error.to_string()).await;
                }
                self.fail(op, row, reason, &error.to_string()).await
            }
        }
    }

    async fn start_container(
        &self,
        op: &Op,
        host: &HostRow,
        backend: &Arc<dyn Backend>,
        row: &InstanceRow,
    ) -> std::result::Result<Option<String>, StartError> {
        let launch = self.launch_of(row).await?;
        if !backend.image_present(&row.spec.0.image).await? {
            if row.snapshot.is_some() {
                // No registry has it.
                let told = "the snapshot is not on the host any more";
                return Err(crate::docker::Error::new(Trouble::ImageMissing, told).into());
            }
            self.pull_begun(op, row).await?;
            self.fleet.image_pull(host.id, backend, &row.spec.0.image)?;
            return Ok(None);
        }
        backend.network_ensure(row.team, self.installation, self.settings.network_pool).await?;
        for mount in &row.spec.0.mounts {
            let labels = [("muster.team".to_owned(), row.team.to_string())];
            backend.volume_ensure(&mount.volume, self.installation, &labels).await?;
        }
        let attach = host.facts.as_ref().map_or(Attach::None, |facts| facts.0.attach);
        let ensured = backend.ensure(&launch, self.installation, attach).await?;
        accelerators_verify(&**backend, &ensured.id, &launch.accelerators).await?;
        Ok(Some(ensured.id))
    }

    /// Starts a container again that ran before, and asks it for its accelerators as at first.
    async fn container_again(
        &self,
        backend: &dyn Backend,
        row: &InstanceRow,
        id: &str,
    ) -> std::result::Result<Option<String>, StartError> {
        let launch = self.launch_of(row).await?;
        backend.start(id, self.installation).await?;
        accelerators_verify(backend, id, &launch.accelerators).await?;
        Ok(Some(id.to_owned()))
    }

    async fn launch_of(&self, row: &InstanceRow) -> Result<Launch> {
        let mut read = self.db.read().await?;
        let accelerators = read.accelerators_of_instance(row.id).await?;
        let token = self.seal.open(&row.jupyter_sealed, &row.id.to_string())?;
        Ok(Launch {
            instance: row.id,
            generation: row.generation,
            team: row.team,
            spec: row.spec.0.clone(),
            spec_digest: row.spec_digest.clone(),
            accelerators: accelerators.into_iter().map(|row| row.uuid).collect(),
            jupyter_token: String::from_utf8_lossy(&token).into_owned(),
        })
    }

    /// The container is there: from its own start on it is metered.
    async fn started(&self, op: &Op, backend: &dyn Backend, row: InstanceRow, id: &str) -> Result<bool> {
        let Some(detail) = backend.detail(id).await? else { return Ok(true) };
        let Some(started_at) = detail.started_at else { return Ok(true) };
        let Some((mut tx, mut row)) = self.row_lock(&row).await? else { return Ok(true) };
        // One that is started again still has the start before.
        if row.started_at != Some(started_at) {
            row.started_at = Some(started_at);
            row.proof_at = Some(started_at);
            let segment = self.segment(op, &mut tx, &row, started_at).await?;
            tx.segment_open(&segment).await?;
        }
        row.container_id = Some(detail.id.clone());
        row.ports = Json(detail.ports.clone());
        row.state = State::Running;
        let row = tx.instance_save(row).await?;
        self.system_commit(op, tx).await?;
        tracing::info!(instance = %row.id, container = %detail.id, "running");
        let over = !matches!(detail.phase, Phase::Running | Phase::Paused);
        if over {
            return self.ended(op, row, &detail).await;
        }
        Ok(false)
    }

    /// Notes that the image is being fetched, and since when.
    async fn pull_begun(&self, op: &Op, row: &InstanceRow) -> Result<()> {
        if row.state == State::Pulling {
            return Ok(());
        }
        let Some((mut tx, mut row)) = self.row_lock(row).await? else { return Ok(()) };
        if row.state.may_become(State::Pulling) {
            row.state = State::Pulling;
            row.pulling_at.get_or_insert(op.now());
            tx.instance_save(row).await?;
            self.system_commit(op, tx).await?;
        }
        Ok(())
    }

    /// The segment that a run is metered by. It begins when the engine started the container, or by the team's terms
    /// when its image began to be fetched.
    pub(super) async fn segment(
        &self,
        op: &Op,
        tx: &mut Tx,
        row: &InstanceRow,
        started_at: Timestamp,
    ) -> Result<Segment> {
        let gone = || Error::internal("an instance without its team or product");
        let team = tx.team_fetch(row.team).await?.ok_or_else(gone)?;
        let product = tx.product_fetch(row.product).await?.ok_or_else(gone)?;
        let earlier = tx.segments_of_instance(row.id).await?;
        let earlier = earlier.iter().filter(|segment| segment.kind == INSTANCE_TIME).count();
        // What is started again has its image already.
        let pulling_at = row.pulling_at.filter(|_| earlier == 0);
        let begin = begin_of(team.terms.billing_starts, pulling_at, started_at);
        Ok(Segment {
            id: op.id::<SegmentId>(),
            team: row.team,
            member: row.member,
            resource: row.id.to_string(),
            instance: Some(row.id),
            account: None,
            kind: INSTANCE_TIME.to_owned(),
            number: u32::try_from(earlier).unwrap_or(u32::MAX),
            quantity: row.unit_qty,
            price_version: row.price_version,
            sku: sku_with(&product, row.unit_price.to_nano()?),
            quoted_per_hour: row.quoted_per_hour,
            grid: self.settings.interval,
            start_at: begin,
            end_at: None,
            proof_at: started_at,
            billed_until: begin,
            next_k: 0,
            cumulative: crate::money::NanoCredits::ZERO,
            settled: false,
        })
    }
}

/// When a run begins to cost.
fn begin_of(starts: BillingStart, pulling_at: Option<Timestamp>, started_at: Timestamp) -> Timestamp {
    match (starts, pulling_at) {
        (BillingStart::Pull, Some(pulling_at)) => pulling_at.min(started_at),
        (BillingStart::Pull, None) | (BillingStart::Running, _) => started_at,
    }
}

/// Asks inside a fresh container whether it has the accelerators it was given: a toolkit that gives none, or all, does
/// so without an error. An image that cannot tell is believed.
async fn accelerators_verify(
    backend: &dyn Backend,
    id: &str,
    wanted: &[String],
) -> std::result::Result<(), crate::docker::Error> {
    if wanted.is_empty() {
        return Ok(());
    }
    match backend.verify_accelerators(id, wanted).await {
        Ok(AcceleratorCheck::Confirmed | AcceleratorCheck::Unknown(_)) => Ok(()),
        // What ended at once cannot be asked, and is no fault of the host.
        Err(error) => match backend.detail(id).await? {
            Some(detail) if detail.phase != Phase::Running => Ok(()),
            _ => Err(error),
        },
        Ok(AcceleratorCheck::Differ(seen)) => {
            let said = format!("the instance sees {seen:?} and was given {wanted:?}");
            Err(crate::docker::Error::new(Trouble::GpuDriver, said))
        }
    }
}

enum StartError {
    Ours(Error),
    Host(crate::docker::Error),
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<crate::docker::Error> for StartError {
    fn from(error: crate::docker::Error) -> Self {
        Self::Host(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_team_that_says_so_pays_for_the_fetch_of_an_image() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let begin = |starts, pulling| begin_of(starts, pulling, at(100));
        assert_eq!(begin(BillingStart::Running, Some(at(40))), at(100));
        assert_eq!(begin(BillingStart::Pull, Some(at(40))), at(40));
        assert_eq!(begin(BillingStart::Pull, None), at(100), "the image was there");
        assert_eq!(begin(BillingStart::Pull, Some(at(130))), at(100), "the engine's clock is behind");
    }
}
