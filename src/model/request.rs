//! Requests: what a member asks of those who decide, and where it stands.

use serde::{Deserialize, Serialize};

use super::team::words;

words! {
    /// What is asked for.
    RequestKind {
        /// Credits in the member's wallet.
        Credits = "credits",
        /// Limits of the member.
        Quota = "quota",
        /// What the operator lets the whole team hold.
        TeamQuota = "team_quota",
    }
}

words! {
    /// Where a request stands.
    RequestState {
        /// Nobody has decided yet.
        Open = "open",
        /// It was granted, in whole or in part.
        Approved = "approved",
        /// It was not granted.
        Refused = "refused",
        /// Whoever asked took it back.
        Cancelled = "cancelled",
        /// Nobody decided in time.
        Expired = "expired",
    }
}
