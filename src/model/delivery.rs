//! The way of a message to a webhook: when it is tried again, and when it is given up.

use serde::{Deserialize, Serialize};

use super::team::words;
use crate::time::Span;

words! {
    /// Where a message stands on its way to a webhook.
    DeliveryState {
        /// It is to be sent.
        Waiting = "waiting",
        /// It was taken.
        Delivered = "delivered",
        /// It was tried often enough; somebody has to say that it is to be sent again.
        Dead = "dead",
    }
}

/// After how many tries a message is given up.
pub const MOST_TRIES: u32 = 12;

const FIRST_PAUSE_SECONDS: i64 = 10;
const LONGEST_PAUSE_SECONDS: i64 = 6 * 3_600;

/// How long to wait after the `tries`-th try failed; `None`: it is given up.
pub fn pause_after(tries: u32) -> Option<Span> {
    if tries >= MOST_TRIES {
        return None;
    }
    let seconds = FIRST_PAUSE_SECONDS << tries.saturating_sub(1);
    Some(Span::from_seconds(seconds.min(LONGEST_PAUSE_SECONDS)))
}

/// Whether a webhook that asked for kinds beginning with one of `prefixes` gets a message of `kind`; none ask for all.
pub fn is_wanted(prefixes: &[String], kind: &str) -> bool {
    prefixes.is_empty() || prefixes.iter().any(|prefix| kind.starts_with(prefix.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_six_hours_and_end_with_the_last_try() {
        let seconds: Vec<i64> =
            (1..).map_while(pause_after).map(|span| span.as_micros() / crate::time::SECOND).collect();
        assert_eq!(seconds, [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120, 10_240]);
    }

    #[test]
    fn a_webhook_gets_what_begins_with_what_it_asked_for() {
        let prefixes = ["budget.".to_owned(), "instance.draining".to_owned()];
        assert!(is_wanted(&prefixes, "budget.threshold") && is_wanted(&prefixes, "instance.draining"));
        assert!(!is_wanted(&prefixes, "instance.out_of_credits") && is_wanted(&[], "anything"));
    }
}
