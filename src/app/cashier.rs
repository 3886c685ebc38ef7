//! The cashier: begins payments, asks after them, hands refunds to their providers, and looks after credits that expire
//! and pools that run low.
//!
//! Before a provider is asked for anything, the try is written down. Whoever finds a written try and no answer knows
//! that the answer may have been lost, and asks for the payment by its top-up before beginning another.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::{
    App,
    payments::{Answered, NoAnswer, Order, Payment, Provider},
};
use crate::{
    error::{Error, Result},
    ledger::top_up::{TopUp, TopUpState},
    op::Op,
    store,
    time::Span,
};

/// Payments that are seen to in one pass, and how many of them at once.
const PAGE: u32 = 100;
const AT_ONCE: usize = 8;

/// How long a provider may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The wait after the first try; every further one doubles it.
const FIRST_WAIT_SECONDS: i64 = 10;
/// The longest wait.
const LONGEST_WAIT_SECONDS: i64 = 3_600;

fn wait_after(tries: u32) -> Span {
    let doublings = tries.saturating_sub(1).min(20);
    Span::from_seconds((FIRST_WAIT_SECONDS << doublings).min(LONGEST_WAIT_SECONDS))
}

impl App {
    /// One pass over all that the cashier looks after. What fails is in the log, and is taken up by the next pass.
    pub async fn cashier(&self, op: &Op) {
        let passes = [
            ("credits that are over", self.lots_expire(op).await),
            ("credits that expire soon", self.lots_warn(op).await),
            ("pools that run low", self.auto_top_ups_ask(op).await),
            ("payments", self.payments_see_to(op).await),
        ];
        for (what, outcome) in passes {
            if let Err(error) = outcome {
                tracing::error!(?error, "a pass of the cashier over {what} failed");
            }
        }
    }

    async fn payments_see_to(&self, op: &Op) -> Result<()> {
        let due = self.db.glance().await?.top_ups_due(op.now(), PAGE).await?;
        let each = stream::iter(due).map(|top_up| async move {
            if let Err(error) = self.payment_see_to(op, &top_up).await {
                tracing::error!(top_up = %top_up.id, ?error, "a payment could not be seen to");
            }
        });
        each.buffer_unordered(AT_ONCE).collect::<()>().await;
        Ok(())
    }

    async fn payment_see_to(&self, op: &Op, seen: &TopUp) -> Result<()> {
        let tries = seen.tries.saturating_add(1);
        let noted = TopUp { tries, next_at: Some(op.now() + wait_after(tries)), ..seen.clone() };
        let mut tx = self.db.begin().await?;
        match tx.top_up_save(seen, &noted).await {
            // A message came first, or another server: what it found out is newer.
            Err(store::Error::Moved) => return Ok(()),
            saved => saved?,
        }
        self.system_commit(op, tx).await?;

        let answer = match self.providers.get(&seen.provider) {
            Some(provider) => {
                let asked = tokio::time::timeout(PATIENCE, ask(&**provider, seen)).await;
                asked.unwrap_or_else(|_| Err(NoAnswer(format!("nothing within {} s", PATIENCE.as_secs()))))
            }
            None => Err(NoAnswer(format!("this server has no provider {}", seen.provider))),
        };

        let mut tx = self.db.begin().await?;
        tx.team_lock(seen.team).await?;
        let now = tx.top_up_fetch(seen.id).await?.ok_or_else(|| Error::not_found("top-up"))?;
        match answer {
            Ok(payment) => {
                self.payment_apply(op, &mut tx, &now, &payment).await?;
            }
            Err(error) => {
                tracing::warn!(top_up = %seen.id, provider = seen.provider, %error, "a provider gave no answer");
                let failure = error.to_string().chars().take(500).collect();
                if now.state == noted.state && now.tries == noted.tries {
                    tx.top_up_save(&now, &TopUp { failure, ..now.clone() }).await?;
                }
            }
        }
        self.system_commit(op, tx).await
    }
}

/// Asks a provider what is to be asked about a top-up in this state.
async fn ask(provider: &dyn Provider, top_up: &TopUp) -> Answered<Payment> {
    let order = Order::of(top_up);
    match top_up.state {
        TopUpState::Created => {
            if top_up.tries > 0
                && let Some(begun) = provider.poll(&order).await?
            {
                return Ok(begun);
            }
            provider.start(&order).await
        }
        TopUpState::Pending => {
            let known = provider.poll(&order).await?;
            known.ok_or_else(|| NoAnswer("it does not know the payment that it took".to_owned()))
        }
        TopUpState::Succeeded | TopUpState::Refunded => provider.refund(&order, top_up.refunded).await,
        TopUpState::Failed | TopUpState::Disputed => {
            Err(NoAnswer(format!("there is nothing to ask about what is {}", top_up.state)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour() {
        let seconds: Vec<i64> = [1, 2, 3, 9, 10, 11, u32::MAX]
            .into_iter()
            .map(|tries| wait_after(tries).as_micros() / crate::time::SECOND)
            .collect();
        assert_eq!(seconds, [10, 20, 40, 2_560, 3_600, 3_600, 3_600]);
    }
}
