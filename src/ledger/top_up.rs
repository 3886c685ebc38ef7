//! Top-ups: requests to put paid credits into a team's pool, and how they were decided.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{TeamId, TopUpId},
    model::team::words,
    money::Credits,
    time::Timestamp,
};

words! {
    /// Where a top-up stands.
    TopUpState {
        /// Asked for, not yet paid or confirmed.
        Pending = "pending",
        /// Paid; the pool was credited in the same transaction.
        Succeeded = "succeeded",
        /// Not paid.
        Refused = "refused",
    }
}

/// A request to put paid credits into a team's pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopUp {
    /// The top-up.
    pub id: TopUpId,
    /// The team.
    pub team: TeamId,
    /// How much; above zero.
    pub amount: Credits,
    /// Who takes the payment, such as `manual`.
    pub provider: String,
    /// Where it stands.
    pub state: TopUpState,
    /// A remark of the one who asked.
    pub note: String,
    /// Who asked: a name from [`crate::op::Actor::name`].
    pub requested_by: String,
    /// Who decided.
    pub decided_by: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
}
