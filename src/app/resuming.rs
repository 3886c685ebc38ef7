//! Starting again what was stopped: the same container with its disk, on the same host, with the same accelerators.
//!
//! It is a launch in all that concerns limits and money: the same rules are asked, the present price is quoted, and a
//! full runway is held. Only the place is given: if it is taken, the answer is no.

use super::{
    App,
    gate::{Outcome, Scope},
    instances::{InstanceView, owned},
    launch::{ATTEMPTS, UNWARNED, reserve_quota},
    prices::ActivePrice,
    purse::{Purse, Wanted, api_key, concern, launch_facts},
};
use crate::{
    error::{Error, Kind, Result},
    ids::InstanceId,
    model::{
        action::Action,
        host::{AdminState, Reach},
        instance::{Desired, State},
        placement,
    },
    money::Credits,
    op::{Actor, Op, SystemActor},
    policy::Facts,
    store::{Conn, Tx, catalog::ProductRow, fleet::HostRow, instances::InstanceRow},
};

/// What a start is priced by.
struct Offer {
    product: ProductRow,
    price: ActivePrice,
}

impl App {
    /// Starts a stopped instance again: decided, paid ahead and recorded in one transaction, or not at all.
    pub async fn instance_start(&self, op: &Op, team: &str, id: InstanceId) -> Result<InstanceView> {
        self.unless_answered(op).await?;
        for _ in 0..ATTEMPTS {
            let mut read = self.db.read().await?;
            let scope = self.enter(op, &mut read, team).await?;
            let row = owned(&mut read, &scope, id).await?;
            let offer = self.offer(&mut read, &scope, &row).await?;
            let host = read.host_fetch(row.host).await?.ok_or_else(|| Error::not_found("host"))?;
            drop(read);
            let member = row.member.to_string();
            let (per_hour, _) = self
                .price_quote(op, scope.team.id, &offer.price, &offer.product, member, row.unit_qty)
                .await?;
            let mut read = self.db.read().await?;
            let journal = read.journal_look(op, scope.team.id, &concern(op, &scope)).await?;
            let purse = Purse::of(op, &scope, &journal)?;
            let wanted = wanted(&row, per_hour, self.hold_for(&scope, per_hour)?);
            let facts = launch_facts(&mut read, &scope, &purse, wanted).await?;
            let resource = row.resource(&mut read).await?;
            let owner_name = self.owner_facts(&mut read, &scope, row.member).await?.owner_name;
            let facts = Facts { owner_name, ..facts };
            drop(read);
            // Asked before the host is: whoever may not start it shall not make the server call there.
            self.look(op, &scope.asker, Action::StartInstance, resource, facts).await?;
            startable(&row)?;
            self.stop_settle(&row).await?;
            self.container_check(&host, &row).await?;
            if let Some(started) = self.start_again(op, team, id, &offer, per_hour).await? {
                self.fleet.wake(started.host);
                return Ok(started);
            }
        }
        let told = "the catalogue or the price kept changing during the start; try again";
        Err(Error::new(Kind::Unavailable, "unavailable", told).retry_after(1))
    }

    /// The deciding transaction. `None`: what the quote was made for has changed meanwhile, so quote again.
    async fn start_again(
        &self,
        op: &Op,
        team: &str,
        id: InstanceId,
        quoted: &Offer,
        per_hour: Credits,
    ) -> Result<Option<InstanceView>> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let mut journal = tx.journal(op, scope.team.id, &concern(op, &scope)).await?;
        let mut row = owned(&mut tx, &scope, id).await?;
        let offer = self.offer(&mut tx, &scope, &row).await?;
        if !offer.same_price(quoted) {
            return Ok(None);
        }
        let hold = self.hold_for(&scope, per_hour)?;
        let purse = Purse::of(op, &scope, &journal)?;
        let facts = launch_facts(&mut tx, &scope, &purse, wanted(&row, per_hour, hold)).await?;
        let resource = row.resource(&mut tx).await?;
        let owner_name = self.owner_facts(&mut tx, &scope, row.member).await?.owner_name;
        let facts = Facts { owner_name, ..facts };
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::StartInstance, resource, facts).await?;
        startable(&row)?;
        if tx.hold_open_of_instance(id).await?.is_some() {
            let told = "its last run is still being charged; try again in a moment";
            return Err(Error::conflict("illegal-state", told));
        }
        self.stopped_end(&mut tx, id).await?;
        if row.state == State::Stopped {
            take_again(&mut tx, &row).await?;
            reserve_quota(op, &mut tx, &scope, 0, row.gpus).await?;
            if !tx.allocations_take(id, &row.held.0).await? {
                return Err(no_capacity("somebody else has just taken its accelerators"));
            }
            row.desired = Desired::Running;
            row.state = State::Scheduled;
            (row.ended_at, row.exit_code, row.proof_at) = (None, None, None);
        }
        (row.reason, row.reason_detail) = (None, String::new());
        // What was paused has all that it had, and only goes on.
        row.paused_since = None;
        // A fetch that was given up must not be billed to this run.
        row.pulling_at = None;
        (row.draining_since, row.warned_percent) = (None, UNWARNED);
        row.price_version = offer.price.version;
        (row.unit_price, row.quoted_per_hour) = (offer.product.price_per_hour, per_hour);
        row.api_key = api_key(op);
        self.hold_place(op, &mut journal, &row, purse.account, hold)?;
        tx.journal_write(&journal).await?;
        let row = tx.instance_save(row).await?;
        let view = InstanceView::of(&mut tx, row).await?;
        let outcome = Outcome {
            team: view.team.to_string(),
            target: view.id.to_string(),
            document: serde_json::json!({ "gpus": view.gpus, "price_per_hour": view.price_per_hour }),
            status: 202,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(Some(view))
    }

    async fn offer(&self, conn: &mut Conn, scope: &Scope, row: &InstanceRow) -> Result<Offer> {
        let product = conn.product_fetch(row.product).await?.ok_or_else(|| Error::not_found("product"))?;
        let price = self.price_active(conn, scope.team.id, Some(product.id)).await?;
        Ok(Offer { product, price })
    }

    /// Charges the rest of the last run and gives back what is left of its hold, if the loop of the host has not yet.
    async fn stop_settle(&self, row: &InstanceRow) -> Result<()> {
        let op = self.op(Actor::System(SystemActor::Meter));
        // Twice: what is charged first, and what is left of the hold then.
        for _ in 0..2 {
            if !self.stopped(&op, row.clone()).await? {
                break;
            }
        }
        Ok(())
    }

    /// Refuses what cannot be started because its host is away or its container is gone.
    async fn container_check(&self, host: &HostRow, row: &InstanceRow) -> Result<()> {
        let goes_on = row.state == State::Paused && host.admin_state != AdminState::Retired;
        if host.reach != Reach::Up || (host.admin_state != AdminState::Active && !goes_on) {
            return Err(no_capacity(&placement::NoReturn::NotTaking.to_string()));
        }
        let Some(container) = &row.container_id else { return Ok(()) };
        if self.backend(host).await?.detail(container).await?.is_some() {
            return Ok(());
        }
        let told = "its container was removed from the host, and its disk with it; release the instance and launch \
                    another. What is on drives is still there";
        Err(Error::conflict("container-gone", told))
    }
}

impl Offer {
    fn same_price(&self, quoted: &Offer) -> bool {
        self.price.version == quoted.price.version && self.product.version == quoted.product.version
    }
}

/// A stopped instance still counts as one, its GPUs do not, and it costs nothing by the hour; a paused one has kept
/// its GPUs.
pub(super) fn wanted(row: &InstanceRow, per_hour: Credits, hold: Credits) -> Wanted {
    let gpus = if row.state == State::Paused { 0 } else { row.gpus };
    Wanted { instances: 0, gpus, per_hour, hold }
}

/// Refuses what is not stopped.
fn startable(row: &InstanceRow) -> Result<()> {
    let stopped = row.state == State::Stopped && row.desired == Desired::Stopped;
    let paused = row.state == State::Paused && row.desired == Desired::Running && row.paused_since.is_some();
    if stopped || paused {
        return Ok(());
    }
    let told = match (row.desired, row.state) {
        (Desired::Released, _) | (_, State::Released | State::Failed) => {
            "only a stopped instance can be started, and this one was given up; launch another".to_owned()
        }
        (Desired::Stopped, state) => {
            format!("the instance is {state} and not stopped yet; try again in a moment")
        }
        (Desired::Running, state) => format!("the instance is {state} and is wanted to run already"),
    };
    Err(Error::conflict("illegal-state", told))
}

/// Locks the instance's host, and refuses if it has no room for it any more.
async fn take_again(tx: &mut Tx, row: &InstanceRow) -> Result<()> {
    tx.host_lock(row.host).await?;
    let host = tx.candidate(row.host).await?;
    let Some(host) = host else { return Err(no_capacity("its host was retired")) };
    if row.held.0.len() != row.gpus as usize {
        return Err(no_capacity("it is not recorded which accelerators it had"));
    }
    let room = placement::place_again(&row.held.0, row.cpu_millis, row.memory_bytes, &host);
    room.map_err(|why| no_capacity(&why.to_string()))
}

fn no_capacity(why: &str) -> Error {
    let told = format!(
        "the instance can be started only where its disk is, with the accelerators it had, and not now: {why}. Try \
         again later, or release it and launch another"
    );
    Error::conflict("no-capacity", told)
}
