//! What every service that moves money writes the same way.

use super::App;
use crate::{
    ids::TeamId,
    ledger::posting::{Header, IdemKey},
    op::Op,
};

impl App {
    /// The header of a transaction that records what `op` does now in the books of `team`, once for `key`. It names
    /// no reason, member or instance; whoever has one adds it.
    pub(crate) fn header(&self, op: &Op, team: TeamId, key: IdemKey) -> Header {
        let now = op.now();
        Header {
            id: op.id(),
            team,
            occurred_at: now,
            recorded_at: now,
            actor: op.actor.name(),
            reason: String::new(),
            member: None,
            instance: None,
            reverses: None,
            idem_key: key,
        }
    }
}
