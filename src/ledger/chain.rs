//! The chain of digests over a team's books: each link covers the transactions since the link before, and that link.
//!
//! Links are made behind the writers, so that a chain costs them nothing. Whoever rewrites history has to rewrite every
//! later link too, and then differs from any link that was noted elsewhere.

use sha2::{Digest as _, Sha256};

use super::booking::Booking;
use crate::{ids::TeamId, time::Timestamp};

/// A link as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The team.
    pub team: TeamId,
    /// The number of the last transaction that it covers.
    pub through_seq: u64,
    /// The digest of the link before, and of the transactions since.
    pub digest: String,
    /// When it was made.
    pub linked_at: Timestamp,
}

/// A link that is being made: fed with transactions in order, then closed.
#[derive(Debug, Clone)]
pub struct Linking(Sha256);

impl Linking {
    /// After the link with the digest `previous`; empty text before the first one of a team.
    pub fn after(team: TeamId, previous: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(format!("{team} {previous}\n"));
        Self(hasher)
    }

    /// Covers one more transaction.
    ///
    /// # Errors
    /// Never in practice: a booking has a canonical form.
    pub fn add(&mut self, booking: &Booking) -> Result<(), serde_json::Error> {
        self.0.update(booking.canonical()?);
        self.0.update("\n");
        Ok(())
    }

    /// The digest of the link.
    pub fn digest(self) -> String {
        hex::encode(self.0.finalize())
    }
}
