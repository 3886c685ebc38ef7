//! Snapshots as people see them: taking one of an own instance, lists, sharing with the team, and the wish to be rid of
//! one. What happens on hosts is `snapshotting`'s business.

use serde::{Deserialize, Serialize};

use super::{
    App,
    gate::{Granted, Outcome, Scope},
    instances::owned,
};
use crate::{
    error::{Error, Findings, Result},
    ids::{HostId, ImageId, InstanceId, MemberId, SnapshotId, TeamId},
    model::{
        action::Action,
        host::Reach,
        instance::{Desired, State},
        page::{Items, Page, View},
        snapshot::{SnapshotCause, SnapshotState},
        storage::StorageKind,
    },
    op::Op,
    policy::{Facts, Resource},
    store::{Conn, Tx, fleet::HostRow, identity::MemberRow, instances::InstanceRow, snapshots::SnapshotRow},
    time::Timestamp,
};

/// A snapshot to take.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSnapshot {
    /// A name for people, 1 to 64 characters.
    pub name: String,
    /// A note for people, at most 1000 characters.
    #[serde(default)]
    pub note: String,
}

/// A snapshot.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct SnapshotView {
    /// Its id.
    pub id: SnapshotId,
    /// Its team.
    pub team: TeamId,
    /// Whose it is; `null` for the team's.
    pub owner: Option<MemberId>,
    /// Whose instance it was taken of.
    pub taken_by: MemberId,
    /// The instance.
    pub instance: InstanceId,
    /// The host that has it; what is launched from it runs there.
    pub host: HostId,
    /// The region of its host.
    pub region: String,
    /// The image of the catalogue that it goes back to.
    pub image: ImageId,
    /// The name of that image.
    pub image_name: String,
    /// Its name.
    pub name: String,
    /// A note.
    pub note: String,
    /// Why it was taken.
    pub cause: SnapshotCause,
    /// Where it stands.
    pub state: SnapshotState,
    /// Why it failed, when it did.
    pub reason: String,
    /// Bytes that it stores: what was written since the image of the catalogue. `null` until it is ready.
    pub size_bytes: Option<u64>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was stored.
    pub ready_at: Option<Timestamp>,
}

impl NewSnapshot {
    fn check(&self) -> Result<()> {
        let mut findings = Findings::new();
        findings.text(&self.name, "/name", 1, 64);
        findings.text(&self.note, "/note", 0, 1000);
        findings.done()
    }
}

impl SnapshotView {
    async fn of(conn: &mut Conn, row: SnapshotRow) -> Result<Self> {
        let image = conn.image_fetch(row.image).await?.ok_or_else(|| Error::not_found("image"))?;
        let host = conn.host_fetch(row.host).await?.ok_or_else(|| Error::not_found("host"))?;
        Ok(Self {
            id: row.id,
            team: row.team,
            owner: row.owner,
            taken_by: row.taken_by,
            instance: row.instance,
            host: row.host,
            region: host.region,
            image: row.image,
            image_name: image.name,
            name: row.name,
            note: row.note,
            cause: row.cause,
            state: row.state,
            reason: row.reason,
            size_bytes: row.size_bytes,
            created_at: row.created_at,
            ready_at: row.ready_at,
        })
    }
}

impl App {
    /// Wishes a snapshot of an own instance, running or stopped. It is ready when its host has copied the disk.
    pub async fn snapshot_create(
        &self,
        op: &Op,
        team: &str,
        instance: InstanceId,
        new: NewSnapshot,
    ) -> Result<SnapshotView> {
        new.check()?;
        self.unless_answered(op).await?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let row = owned(&mut read, &scope, instance).await?;
        let facts = snapshot_facts(&mut read, &scope).await?;
        let host = read.host_fetch(row.host).await?.ok_or_else(|| Error::not_found("host"))?;
        drop(read);
        // Asked before the host is: whoever may not take one shall not make the server call there.
        let resource = Resource::own(row.team, row.member);
        self.look(op, &scope.asker, Action::CreateSnapshot, resource, facts).await?;
        copyable(&row)?;
        self.room_check(&host, &row).await?;

        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        tx.team_lock(scope.team.id).await?;
        let row = owned(&mut tx, &scope, instance).await?;
        let facts = snapshot_facts(&mut tx, &scope).await?;
        let resource = Resource::own(row.team, row.member);
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::CreateSnapshot, resource, facts).await?;
        copyable(&row)?;
        unless_copied(&mut tx, &row).await?;
        let snapshot = wish(op, &row, SnapshotCause::User, new.name, new.note);
        if !self.snapshot_wish(&mut tx, scope.member()?, &snapshot).await? {
            // The policy saw room for the member a moment ago in this very transaction: this is the net under it.
            let told = "another snapshot took the rest of the quota meanwhile, or the team keeps as many as the \
                        operator lets it; look at what is held";
            return Err(Error::conflict("quota-race", told));
        }
        let view = self.snapshot_conclude(op, tx, &permit, snapshot, 202).await?;
        self.fleet.wake(view.host);
        Ok(view)
    }

    /// Snapshots of a team: the caller's own and the team's, or everybody's.
    pub async fn snapshots_page(
        &self,
        op: &Op,
        team: &str,
        view: View,
        page: &Page,
    ) -> Result<Items<SnapshotView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let owner = scope.owner_in(view);
        let resource = Resource::Record { team: scope.team.id, owner };
        self.look(op, &scope.asker, Action::ListSnapshots, resource, Facts::default()).await?;
        let rows = read.snapshots_page(scope.team.id, owner, page.after(), limit + 1).await?;
        let rows = Items::cut(rows, limit, |row| row.id.to_string());
        let mut items = Vec::with_capacity(rows.items.len());
        for row in rows.items {
            items.push(SnapshotView::of(&mut read, row).await?);
        }
        Ok(Items { items, next_cursor: rows.next_cursor })
    }

    /// One snapshot.
    pub async fn snapshot_fetch(&self, op: &Op, team: &str, id: SnapshotId) -> Result<SnapshotView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let row = snapshot_owned(&mut read, &scope, id).await?;
        self.look(op, &scope.asker, Action::GetSnapshot, in_sight(&scope, &row), Facts::default()).await?;
        SnapshotView::of(&mut read, row).await
    }

    /// Gives a member's snapshot to the team: it is the team's from now on, and the pool pays for it.
    pub async fn snapshot_share(&self, op: &Op, team: &str, id: SnapshotId) -> Result<SnapshotView> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        tx.team_lock(scope.team.id).await?;
        let mut row = snapshot_owned(&mut tx, &scope, id).await?;
        let facts = match row.owner {
            Some(owner) => self.owner_facts(&mut tx, &scope, owner).await?,
            None => Facts::default(),
        };
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::ShareSnapshot, whose(&row), facts).await?;
        let Some(owner) = row.owner.filter(|_| row.state == SnapshotState::Ready) else {
            let told = match row.owner {
                None => "it is the team's already".to_owned(),
                Some(_) => format!("the snapshot is {}; only one that is ready can be shared", row.state),
            };
            return Err(Error::conflict("illegal-state", told));
        };
        row.owner = None;
        let row = tx.snapshot_save(row).await?;
        tx.usage_snapshot_release(&owner.to_string()).await?;
        self.fleet.measure_soon(row.host, op.now());
        self.snapshot_conclude(op, tx, &permit, row, 200).await
    }

    /// Wishes a snapshot gone, for good. It counts no longer; what was launched from it goes on.
    pub async fn snapshot_delete(&self, op: &Op, team: &str, id: SnapshotId) -> Result<SnapshotView> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        tx.team_lock(scope.team.id).await?;
        let row = snapshot_owned(&mut tx, &scope, id).await?;
        let facts = match row.owner {
            Some(owner) => self.owner_facts(&mut tx, &scope, owner).await?,
            None => Facts::default(),
        };
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::DeleteSnapshot, whose(&row), facts).await?;
        let row = self.snapshot_unwish(&mut tx, row).await?;
        let view = self.snapshot_conclude(op, tx, &permit, row, 202).await?;
        self.fleet.wake(view.host);
        Ok(view)
    }

    /// Whether a snapshot may be seen, and so launched from.
    pub(super) fn may_see(&self, scope: &Scope, row: &SnapshotRow) -> bool {
        self.decide(&scope.asker, Action::GetSnapshot, &in_sight(scope, row), &Facts::default()).allowed()
    }

    /// Writes a new snapshot and counts it, unless its owner's limit stands against it; whether it fitted.
    pub(super) async fn snapshot_wish(
        &self,
        tx: &mut Tx,
        owner: &MemberRow,
        row: &SnapshotRow,
    ) -> Result<bool> {
        let team =
            tx.team_fetch(row.team).await?.ok_or_else(|| Error::internal("a member without a team"))?;
        let limits = owner.limits_at(row.created_at, &team.limits);
        let most = limits.snapshots.filter(|_| !owner.role.runs_the_team());
        let fits = tx.usage_snapshot_reserve(&owner.id.to_string(), most).await?
            && tx.usage_snapshot_reserve(&row.team.to_string(), team.ceiling.snapshots).await?;
        if fits {
            tx.snapshot_insert(row).await?;
        }
        Ok(fits)
    }

    /// Marks a snapshot for removal: it counts and costs no longer. One that failed has nothing to remove.
    pub(super) async fn snapshot_unwish(&self, tx: &mut Tx, mut row: SnapshotRow) -> Result<SnapshotRow> {
        row.state = match row.state {
            SnapshotState::Deleting | SnapshotState::Deleted => return Ok(row),
            SnapshotState::Failed => SnapshotState::Deleted,
            SnapshotState::Wanted | SnapshotState::Taking | SnapshotState::Ready => {
                self.snapshot_uncount(tx, &row).await?;
                SnapshotState::Deleting
            }
        };
        Ok(tx.snapshot_save(row).await?)
    }

    /// Gives back what a snapshot counts, and ends its bill at its last proof.
    pub(super) async fn snapshot_uncount(&self, tx: &mut Tx, row: &SnapshotRow) -> Result<()> {
        self.stored_end(tx, &row.id.to_string(), StorageKind::Snapshot).await?;
        if let Some(owner) = row.owner {
            tx.usage_snapshot_release(&owner.to_string()).await?;
        }
        Ok(tx.usage_snapshot_release(&row.team.to_string()).await?)
    }

    /// Has an instance's disk copied that is being stopped because its money ran out; the copy of the last time makes
    /// place for it. `false`: the member's limit stands against it.
    pub(super) async fn snapshot_of_exhausted(
        &self,
        op: &Op,
        tx: &mut Tx,
        instance: &InstanceRow,
    ) -> Result<bool> {
        let gone = || Error::internal("an instance without its member");
        let member = tx.member_fetch(instance.member).await?.ok_or_else(gone)?;
        for before in tx.snapshots_live_of(instance.id).await? {
            let own = before.cause == SnapshotCause::Credit && before.owner.is_some();
            if own {
                self.snapshot_unwish(tx, before).await?;
            }
        }
        let name: String = instance.name.chars().take(40).collect();
        let note = "taken when its money ran out".to_owned();
        let row = wish(op, instance, SnapshotCause::Credit, format!("{name} out of credits"), note);
        self.snapshot_wish(tx, &member, &row).await
    }

    /// Fails every snapshot of a host that is given up, for nobody reaches it there any more.
    pub(super) async fn snapshots_lose(&self, op: &Op, tx: &mut Tx, host: HostId) -> Result<()> {
        let mut rows = tx.snapshots_live_on(host).await?;
        // In the order in which every change of several teams locks them.
        rows.sort_by_key(|row| (row.team, row.id));
        for row in rows {
            tx.team_lock(row.team).await?;
            let row = tx.snapshot_fetch(row.id).await?.filter(|fresh| fresh.version == row.version);
            if let Some(row) = row {
                let why = "its host was retired";
                self.snapshot_end_write(op, tx, row, SnapshotState::Failed, why).await?;
            }
        }
        Ok(())
    }

    async fn snapshot_conclude(
        &self,
        op: &Op,
        mut tx: Tx,
        permit: &Granted,
        row: SnapshotRow,
        status: u16,
    ) -> Result<SnapshotView> {
        let view = SnapshotView::of(&mut tx, row).await?;
        let outcome = Outcome {
            team: view.team.to_string(),
            target: view.id.to_string(),
            document: serde_json::json!({
                "name": view.name, "instance": view.instance, "owner": view.owner, "state": view.state,
            }),
            status,
            answer: &view,
        };
        self.conclude(op, tx, permit, outcome).await?;
        Ok(view)
    }

    /// Refuses what its host has no room for, before anything is promised. The host looks again before it copies.
    async fn room_check(&self, host: &HostRow, row: &InstanceRow) -> Result<()> {
        let Some(container) = &row.container_id else { return Ok(()) };
        if host.reach != Reach::Up {
            let told = "the host of the instance does not answer; try again when it does";
            return Err(Error::conflict("illegal-state", told));
        }
        let room = self.backend(host).await?.snapshot_room(container, &host.probe_image).await?;
        if room.suffices() {
            return Ok(());
        }
        let told = format!(
            "there is no room for the snapshot: {}. Delete files or snapshots there, or keep the data on a drive",
            room.lack()
        );
        Err(Error::conflict("no-room", told))
    }
}

/// The facts of a new snapshot.
async fn snapshot_facts(conn: &mut Conn, scope: &Scope) -> Result<Facts> {
    let used = match &scope.member {
        Some(member) => conn.usage_fetch(&member.id.to_string()).await?,
        None => Default::default(),
    };
    Ok(Facts { snapshots_used: Some(used.snapshots), ..Facts::default() })
}

/// Refuses what has no disk that can be copied, or not now.
fn copyable(row: &InstanceRow) -> Result<()> {
    let fine = match (row.desired, row.state) {
        (Desired::Running, State::Running) => row.paused_since.is_none(),
        (Desired::Stopped, State::Stopped) => row.container_id.is_some(),
        _ => false,
    };
    if fine {
        return Ok(());
    }
    let told = match row.state {
        State::Stopped => "the instance never ran, so that there is nothing to keep".to_owned(),
        state => format!("the instance is {state}; a snapshot can be taken of what runs or is stopped"),
    };
    Err(Error::conflict("illegal-state", told))
}

/// Refuses a second copy of an instance's disk while the first one is under way.
async fn unless_copied(conn: &mut Conn, row: &InstanceRow) -> Result<()> {
    let all = conn.snapshots_live_of(row.id).await?;
    if all.iter().any(|snapshot| snapshot.state.is_pending()) {
        let told = "a snapshot of the instance is being taken; try again when it is ready";
        return Err(Error::conflict("illegal-state", told).retry_after(5));
    }
    Ok(())
}

fn wish(op: &Op, of: &InstanceRow, cause: SnapshotCause, name: String, note: String) -> SnapshotRow {
    SnapshotRow {
        id: op.id(),
        team: of.team,
        owner: Some(of.member),
        taken_by: of.member,
        instance: of.id,
        host: of.host,
        image: of.image,
        name,
        note,
        cause,
        state: SnapshotState::Wanted,
        reason: String::new(),
        stored_as: None,
        size_bytes: None,
        created_at: op.now(),
        taking_at: None,
        ready_at: None,
        version: 1,
    }
}

/// The snapshot, if it is the team's or one of its members': another team's is not there, nor is one that is gone.
pub(super) async fn snapshot_owned(conn: &mut Conn, scope: &Scope, id: SnapshotId) -> Result<SnapshotRow> {
    let row = conn.snapshot_fetch(id).await?.filter(|row| row.team == scope.team.id);
    row.filter(|row| row.state != SnapshotState::Deleted).ok_or_else(|| Error::not_found("snapshot"))
}

/// A snapshot as the policy sees it when it is to be changed.
fn whose(row: &SnapshotRow) -> Resource {
    Resource::Record { team: row.team, owner: row.owner }
}

/// A snapshot as the policy sees it when it is looked at or launched from: the team's are there for every member.
pub(super) fn in_sight(scope: &Scope, row: &SnapshotRow) -> Resource {
    let owner = row.owner.or_else(|| scope.member.as_ref().map(|member| member.id));
    Resource::Record { team: row.team, owner }
}
