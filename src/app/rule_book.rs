//! The policies of teams, kept ready to be asked. Which version is live stands in the team's row, which every request
//! reads in its own transaction: so a version that any server published holds for the next request of every server, and
//! a request that is under way keeps the one that it began with.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::App;
use crate::{
    error::{Error, Result},
    ids::TeamId,
    policy::Rules,
    store::{Conn, identity::TeamRow},
};

/// Teams whose policies are kept before all are forgotten.
const MOST: usize = 1_024;

/// The last version that was asked of each team.
#[derive(Debug, Default)]
pub(crate) struct RuleBook(Mutex<HashMap<TeamId, Arc<Rules>>>);

impl RuleBook {
    fn find(&self, team: TeamId, number: i64) -> Option<Arc<Rules>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&team).filter(|rules| rules.number() == number).cloned()
    }

    /// Keeps a version, unless a newer one is kept already.
    pub(super) fn keep(&self, team: TeamId, rules: Arc<Rules>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.get(&team).is_some_and(|known| known.number() > rules.number()) {
            return;
        }
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(team, rules);
    }
}

impl App {
    /// The live policies of the team as its row says; `None` when it has none.
    pub(crate) async fn rules_of(&self, conn: &mut Conn, team: &TeamRow) -> Result<Option<Arc<Rules>>> {
        if team.policy_version == 0 {
            return Ok(None);
        }
        if let Some(rules) = self.rule_book.find(team.id, team.policy_version) {
            return Ok(Some(rules));
        }
        let row = conn.policy_version_fetch(team.id, team.policy_version).await?;
        let row = row.ok_or_else(|| Error::internal("the live version of a team's policies is not there"))?;
        let rules = self.policies.rules(row.number, &row.text);
        self.rule_book.keep(team.id, rules.clone());
        Ok(Some(rules))
    }
}
