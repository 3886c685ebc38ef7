//! One version of a team's own policies, ready to be asked. It is a layer beside the shipped ones: both are asked, and
//! what they say is put together as if they were one set.

use std::sync::Arc;

use cedar_policy::Policy;
use sha2::{Digest, Sha256};

use super::{Error, Named, Policies, index::Index, text};

/// A version of a team's policies. Immutable; whoever asks holds on to one for the whole request.
#[derive(Debug)]
pub struct Rules {
    number: i64,
    digest: String,
    index: Result<Index, String>,
    named: Named,
}

impl Rules {
    /// The version's number, from 1; a draft has the number 0.
    pub const fn number(&self) -> i64 {
        self.number
    }

    /// The digest of the text.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Whom and what the text names.
    pub const fn named(&self) -> &Named {
        &self.named
    }

    /// The sets to ask.
    ///
    /// # Errors
    /// When the text can no longer be read. What cannot be read forbids everything.
    pub(super) fn index(&self) -> Result<&Index, Error> {
        self.index
            .as_ref()
            .map_err(|why| Error::Policy { id: format!("team@{}", self.number), why: why.clone() })
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number && self.digest == other.digest
    }
}

impl Eq for Rules {}

impl Policies {
    /// Prepares the text of a version that was published. A text that cannot be read (an older server's, say) gives
    /// rules that forbid everything to everybody but the owner, who can publish others.
    pub fn rules(&self, number: i64, text: &str) -> Arc<Rules> {
        let index = text::team(text).and_then(|policies| self.layer(&policies));
        Arc::new(Rules::new(number, text, index.map_err(|error| error.to_string())))
    }

    pub(super) fn layer(&self, policies: &[Policy]) -> Result<Index, Error> {
        Index::build_layer(policies, &self.schema, &self.actions, &self.types.member)
    }
}

impl Rules {
    pub(super) fn new(number: i64, text: &str, index: Result<Index, String>) -> Self {
        Self { number, digest: digest(text), index, named: Named::of(text) }
    }
}

/// SHA-256 of a text, in hexadecimal.
pub(super) fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}
