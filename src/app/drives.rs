//! Drives: the named volumes that members and teams keep on hosts.

use serde::Serialize;

use super::App;
use crate::{
    error::Result,
    ids::{DriveId, HostId, MemberId},
    model::{
        action::Action,
        page::{Items, View},
    },
    op::Op,
    policy::{Facts, Resource},
    store::fleet::DriveRow,
    time::Timestamp,
};

/// A drive.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct DriveView {
    /// Its id.
    pub id: DriveId,
    /// Whose it is; absent for the team's own.
    pub member: Option<MemberId>,
    /// The host that it is on; instances that mount it run there.
    pub host: HostId,
    /// Where instances see it.
    pub target: String,
    /// How many bytes were in it when they were last counted; absent before the first time.
    pub size_bytes: Option<u64>,
    /// When they were last counted.
    pub measured_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl App {
    /// The drives of a team: the caller's own and the team's, or everybody's.
    pub async fn drives(&self, op: &Op, team: &str, view: View) -> Result<Items<DriveView>> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let owner = scope.owner_in(view);
        let resource = Resource::Record { team: scope.team.id, owner };
        self.look(op, &scope.asker, Action::ListDrives, resource, Facts::default()).await?;
        let rows = read.drives_of_team(scope.team.id).await?;
        let shown = |row: &DriveRow| row.member.is_none() || owner.is_none() || row.member == owner;
        let items = rows.into_iter().filter(shown).map(DriveView::from).collect();
        Ok(Items { items, next_cursor: None })
    }
}

impl From<DriveRow> for DriveView {
    fn from(row: DriveRow) -> Self {
        let target =
            if row.member.is_some() { super::launch::PERSONAL_DRIVE } else { super::launch::TEAM_DRIVE };
        Self {
            id: row.id,
            member: row.member,
            host: row.host,
            target: target.to_owned(),
            size_bytes: row.measured_bytes,
            measured_at: row.measured_at,
            created_at: row.created_at,
        }
    }
}
