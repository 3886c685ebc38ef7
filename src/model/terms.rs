//! A team's terms of money: whose credits are spent, when billing begins, what happens when credits run out.

use serde::{Deserialize, Serialize};

use super::team::words;
use crate::time::TimeZone;

words! {
    /// When the time of an instance begins to cost.
    BillingStart {
        /// When the engine has started it.
        Running = "running",
        /// When its image begins to be fetched, if it comes to run.
        Pull = "pull",
    }
}

words! {
    /// What happens to an instance when its credits run out.
    Exhaustion {
        /// It is stopped while its hold still pays, and a snapshot is taken of its disk; it can be started again.
        SnapshotStop = "snapshot_stop",
        /// It is stopped while its hold still pays; it keeps its disk and can be started again.
        Stop = "stop",
        /// It is paused while its hold still pays: it keeps its memory and its accelerators, and goes on when it is
        /// started again. After an hour it is stopped.
        Pause = "pause",
        /// It goes on with credits that the operator lends, up to the team's credit limit, and is stopped then.
        Continue = "continue",
    }
}

/// A team's terms of money. What is absent in a stored document has its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TeamTerms {
    /// The time zone of the team's months and days, such as `Europe/Berlin`.
    pub time_zone: TimeZone,
    /// When the time of an instance begins to cost.
    pub billing_starts: BillingStart,
    /// What happens when credits run out.
    pub exhaustion: Exhaustion,
    /// How long instances are paid ahead, 10 to 1440 minutes: the time between the first warning and the stop. Absent:
    /// as the site has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runway_minutes: Option<u32>,
    /// How long an instance goes on after the first warning, in minutes, at most the runway; it never goes on unpaid.
    /// Absent: for as long as it is paid ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_minutes: Option<u32>,
}

impl Default for TeamTerms {
    fn default() -> Self {
        Self {
            time_zone: TimeZone::UTC,
            billing_starts: BillingStart::Running,
            exhaustion: Exhaustion::SnapshotStop,
            runway_minutes: None,
            grace_minutes: None,
        }
    }
}
