//! Typed ids: a time-ordered UUIDv7 behind a prefix that says what it names (`team_0192…`).
//!
//! Ids are public names, never secrets: a v7 id tells when it was made. Secrets live in `app/secrets.rs`.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use crate::{chance::Chance, time::Timestamp};

/// A text that should have been an id and is not: what was wanted and what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id like `{prefix}_…` (prefix and 32 hexadecimal digits), got `{got}`")]
pub struct ParseIdError {
    /// The prefix that this kind of id carries.
    pub prefix: &'static str,
    /// The refused text, cut to 80 characters.
    pub got: String,
}

/// What every id type can do, so that [`crate::op::Op::id`] can make any of them.
pub trait Id: Sized {
    /// The prefix in front of the underscore.
    const PREFIX: &'static str;
    /// Wraps a raw UUID.
    fn from_uuid(uuid: Uuid) -> Self;

    /// The least id of the millisecond that `at` lies in: what was made before it is below.
    fn floor(at: Timestamp) -> Self {
        let millis = u64::try_from(at.as_micros() / 1000).unwrap_or(0);
        Self::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid())
    }

    /// A fresh id that sorts by `now` (milliseconds) and is filled up from `chance`.
    fn fresh(now: Timestamp, chance: &dyn Chance) -> Self {
        let mut random = [0u8; 10];
        chance.fill(&mut random);
        let millis = u64::try_from(now.as_micros() / 1000).unwrap_or(0);
        Self::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}

macro_rules! id {
    ($(#[$doc:meta] $name:ident = $prefix:literal;)*) => {$(
        #[$doc]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl Id for $name {
            const PREFIX: &'static str = $prefix;
            fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse(text, $prefix).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some(concat!("^", $prefix, "_[0-9a-f]{32}$")))
                    .examples([concat!($prefix, "_01930f3c5e0a7c3db1d4a2f8e6c90b17")])
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    )*};
}

id! {
    /// This installation: the label on every container that belongs to it.
    InstallationId = "site";
    /// A platform user: a person with a login of their own.
    UserId = "user";
    /// A team.
    TeamId = "team";
    /// A membership: one person's account in one team.
    MemberId = "mem";
    /// A login session.
    SessionId = "sess";
    /// An API key.
    ApiKeyId = "key";
    /// A host that runs instances.
    HostId = "host";
    /// A product: what can be rented, and its list price.
    ProductId = "prod";
    /// An image of the catalogue.
    ImageId = "img";
    /// An instance.
    InstanceId = "inst";
    /// A personal or team drive.
    DriveId = "drv";
    /// A snapshot of an instance's disk.
    SnapshotId = "snap";
    /// A ledger account.
    AccountId = "acct";
    /// A ledger transaction.
    TransactionId = "txn";
    /// A hold on a wallet or a pool.
    HoldId = "hold";
    /// A piece of the money in a wallet or a pool, with its own terms.
    LotId = "lot";
    /// A budget of a team, a member or an API key.
    BudgetId = "bud";
    /// A metered span with constant quantity and price.
    SegmentId = "seg";
    /// A top-up.
    TopUpId = "topup";
    /// A voucher: a code that credits can be had for.
    VoucherId = "vou";
    /// A team's month, closed.
    StatementId = "stmt";
    /// A correction of a month that was closed.
    CreditNoteId = "note";
    /// A figure of a team's money that somebody wants to hear of.
    AlertId = "alrt";
    /// Where a team wants its messages sent.
    WebhookId = "hook";
    /// What a member asks for: credits, or a higher limit.
    AskId = "ask";
    /// A change of limits.
    QuotaChangeId = "qch";
    /// A plugin as a team or the site uploaded it.
    PluginId = "plug";
    /// An immutable version of a team's or the site's price.
    PriceVersionId = "price";
    /// A past span that was rated by another price.
    PriceReplayId = "replay";
    /// A recorded policy decision.
    DecisionId = "dec";
    /// An audit event.
    AuditId = "aud";
    /// A message to the outside that waits for delivery.
    OutboxId = "out";
    /// One HTTP request or one pass of a background loop.
    RequestId = "req";
}

fn parse(text: &str, prefix: &'static str) -> Result<Uuid, ParseIdError> {
    let refuse = || ParseIdError { prefix, got: text.chars().take(80).collect() };
    let hex = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')).ok_or_else(refuse)?;
    let canonical = hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !canonical {
        return Err(refuse());
    }
    Uuid::try_parse(hex).map_err(|_| refuse())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Seeded;

    #[test]
    fn an_id_reads_back_what_it_writes_and_sorts_by_time() {
        let chance = Seeded::new(7);
        let early = TeamId::fresh(Timestamp::from_micros(1_700_000_000_000_000), &chance);
        let late = TeamId::fresh(Timestamp::from_micros(1_700_000_001_000_000), &chance);
        assert!(early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse::<TeamId>().unwrap(), early);
    }

    #[test]
    fn a_foreign_prefix_and_an_upper_case_digit_are_refused() {
        let id = TeamId::fresh(Timestamp::from_micros(0), &Seeded::new(1)).to_string();
        assert!(id.parse::<MemberId>().is_err());
        assert!(id.to_uppercase().replace("TEAM", "team").parse::<TeamId>().is_err());
        assert!("team_1".parse::<TeamId>().is_err());
    }
}
