//! The bookkeeper: chains the books of every team behind the writers, so that nobody can rewrite what was linked
//! without its being seen.

use super::App;
use crate::{
    error::Result,
    ids::TeamId,
    ledger::chain::{Link, Linking},
    op::Op,
};

/// Teams that are asked for at once.
const TEAMS_PAGE: u32 = 200;

/// Transactions that one link covers at the most.
const MOST: u32 = 1_000;

impl App {
    /// Links every transaction that no link covers yet. Gives the number of links made.
    pub async fn books_link(&self, op: &Op) -> Result<u64> {
        let (mut links, mut after) = (0, None);
        loop {
            let mut read = self.db.glance().await?;
            let teams = read.teams_to_link(after, TEAMS_PAGE).await?;
            drop(read);
            let Some((last, ..)) = teams.last() else { return Ok(links) };
            after = Some(*last);
            for (team, ..) in teams {
                while self.team_link(op, team).await? {
                    links += 1;
                }
            }
        }
    }

    /// Makes the next link of a team's chain; false when everything is linked, or somebody else made it.
    async fn team_link(&self, op: &Op, team: TeamId) -> Result<bool> {
        let mut read = self.db.read().await?;
        let before = read.link_last(team).await?;
        let reached = before.as_ref().map_or(0, |link| link.through_seq);
        let page = read.bookings_of_team(team, reached, MOST).await?;
        drop(read);
        let Some(last) = page.last() else { return Ok(false) };
        let mut linking = Linking::after(team, before.as_ref().map_or("", |link| &link.digest));
        for booking in &page {
            linking.add(booking).map_err(crate::error::Error::internal)?;
        }
        let digest = linking.digest();
        let link = Link { team, through_seq: last.seq, digest, linked_at: op.now() };
        let mut tx = self.db.begin().await?;
        tx.team_lock(team).await?;
        if tx.link_last(team).await? != before {
            return Ok(false);
        }
        tx.link_insert(&link).await?;
        self.system_commit(op, tx).await?;
        Ok(true)
    }
}
