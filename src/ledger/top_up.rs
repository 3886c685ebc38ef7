//! Top-ups: payments for paid credits in a team's pool, and where each of them stands.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{LotId, TeamId, TopUpId},
    model::team::words,
    money::{Credits, Error},
    time::Timestamp,
};

words! {
    /// Where a top-up stands.
    TopUpState {
        /// Asked for; the provider may not know of it yet.
        Created = "created",
        /// The provider, or the operator, waits for the money.
        Pending = "pending",
        /// Paid; the pool was credited in the same transaction.
        Succeeded = "succeeded",
        /// Not paid.
        Failed = "failed",
        /// All of it went back to whoever paid.
        Refunded = "refunded",
        /// Whoever paid took the money back.
        Disputed = "disputed",
    }
}

impl TopUpState {
    /// Whether a top-up may go from here to `next`. A payment that failed may still arrive late: then the provider has
    /// the money, and the team its credits.
    pub const fn may_become(self, next: Self) -> bool {
        use TopUpState::{Created, Disputed, Failed, Pending, Refunded, Succeeded};
        matches!(
            (self, next),
            (Created, Pending | Succeeded | Failed)
                | (Pending, Succeeded | Failed)
                | (Failed, Succeeded)
                | (Succeeded, Refunded | Disputed)
        )
    }

    /// Whether it is not decided yet.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Created | Self::Pending)
    }
}

/// A payment for paid credits in a team's pool.
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
    /// What the provider calls the payment, once it knows of it.
    pub provider_ref: Option<String>,
    /// Where it stands.
    pub state: TopUpState,
    /// Whether the server asked for it by itself, because the pool ran low.
    pub automatic: bool,
    /// A remark of the one who asked.
    pub note: String,
    /// Who asked: a name from [`crate::op::Actor::name`].
    pub requested_by: String,
    /// The operators who have confirmed it so far.
    pub confirmed_by: Vec<String>,
    /// Who decided.
    pub decided_by: Option<String>,
    /// The lot that it became.
    pub lot: Option<LotId>,
    /// How much of it went back to whoever paid.
    pub refunded: Credits,
    /// Why it failed, or what the provider last said when it could not be asked; may be empty.
    pub failure: String,
    /// When the server sees to it again by itself; `None`: there is nothing to see to.
    pub next_at: Option<Timestamp>,
    /// How often the server has seen to it in its present state.
    pub tries: u32,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
}

impl TopUp {
    /// What did not go back to whoever paid.
    pub fn kept(&self) -> Result<Credits, Error> {
        self.amount.minus(self.refunded)
    }

    /// Takes the step to `next`; false when there is no such step from here.
    pub fn step(&mut self, next: TopUpState) -> bool {
        let fine = self.state.may_become(next);
        if fine {
            (self.state, self.tries, self.next_at) = (next, 0, None);
        }
        fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_taken_where_there_is_one_and_begins_to_wait_anew() {
        use crate::{chance::Seeded, ids::Id};
        let (now, chance) = (Timestamp::from_micros(0), Seeded::new(1));
        let mut top_up = TopUp {
            id: TopUpId::fresh(now, &chance),
            team: TeamId::fresh(now, &chance),
            amount: Credits::from_micros(10),
            provider: "bank".to_owned(),
            provider_ref: None,
            state: TopUpState::Pending,
            automatic: false,
            note: String::new(),
            requested_by: String::new(),
            confirmed_by: Vec::new(),
            decided_by: None,
            lot: None,
            refunded: Credits::from_micros(4),
            failure: String::new(),
            next_at: Some(now),
            tries: 3,
            created_at: now,
            decided_at: None,
        };
        assert_eq!(top_up.kept(), Ok(Credits::from_micros(6)));
        assert!(!top_up.step(TopUpState::Refunded));
        assert_eq!((top_up.state, top_up.tries, top_up.next_at), (TopUpState::Pending, 3, Some(now)));
        assert!(top_up.state.is_open() && TopUpState::Created.is_open());
        assert!(top_up.step(TopUpState::Succeeded));
        assert_eq!((top_up.state, top_up.tries, top_up.next_at), (TopUpState::Succeeded, 0, None));
        assert!(!top_up.state.is_open());
    }

    #[test]
    fn only_these_steps_lead_on() {
        let steps: Vec<String> = TopUpState::ALL
            .iter()
            .flat_map(|from| TopUpState::ALL.iter().map(move |to| (*from, *to)))
            .filter(|(from, to)| from.may_become(*to))
            .map(|(from, to)| format!("{from} {to}"))
            .collect();
        let expected = [
            "created pending",
            "created succeeded",
            "created failed",
            "pending succeeded",
            "pending failed",
            "succeeded refunded",
            "succeeded disputed",
            "failed succeeded",
        ];
        assert_eq!(steps, expected);
        assert!(TopUpState::ALL.iter().all(|state| !state.may_become(*state)));
    }
}
