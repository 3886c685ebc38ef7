//! Which Rust types go into columns and come out of them: everything is an integer, a text, a flag or bytes.
//!
//! The ground does not know sqlx, so its types are stored through [`Arg`] and [`Column`] as one of the few
//! types that both databases have.

use serde::de::DeserializeOwned;
use sqlx::{Decode, Encode, Postgres, Sqlite, Type, error::BoxDynError};

use crate::{
    ids::*,
    ledger::{
        account::AccountKind,
        budget::{BudgetPeriod, BudgetScope, Reaction},
        hold::HoldState,
        lot::Category,
        posting::{Direction, Phase as EntryPhase, TransactionKind},
        top_up::TopUpState,
    },
    model::{
        alert::AlertMetric,
        delivery::DeliveryState,
        host::*,
        instance::*,
        quota::{Limits, QuotaLevel},
        request::*,
        snapshot::{SnapshotCause, SnapshotState},
        storage::StorageKind,
        team::*,
        terms::TeamTerms,
    },
    money::{Credits, NanoCredits},
    time::{Span, Timestamp},
};

/// A type that both databases store as it is.
pub trait Stored:
    for<'q> Encode<'q, Sqlite> + for<'q> Encode<'q, Postgres> + Type<Sqlite> + Type<Postgres> + Send
{
}

impl<T> Stored for T where
    T: for<'q> Encode<'q, Sqlite> + for<'q> Encode<'q, Postgres> + Type<Sqlite> + Type<Postgres> + Send
{
}

/// A value that can be bound to a placeholder.
pub trait Arg {
    /// What is stored.
    type Stored: Stored;
    /// The value as it is stored, or why it cannot be.
    fn stored(self) -> Result<Self::Stored, BoxDynError>;
}

/// A value that can be read from a column.
pub trait Column: Sized {
    /// What is stored.
    type Stored: for<'r> Decode<'r, Sqlite>
        + for<'r> Decode<'r, Postgres>
        + Type<Sqlite>
        + Type<Postgres>
        + DeserializeOwned;
    /// The value behind what is stored, or why it is none.
    fn from_stored(stored: Self::Stored) -> Result<Self, BoxDynError>;
}

/// A document: stored as JSON text, opaque to SQL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Json<T>(pub T);

impl<T: Arg> Arg for Option<T>
where
    Option<T::Stored>: Stored,
{
    type Stored = Option<T::Stored>;
    fn stored(self) -> Result<Self::Stored, BoxDynError> {
        self.map(Arg::stored).transpose()
    }
}

impl<T: Column> Column for Option<T>
where
    Option<T::Stored>:
        for<'r> Decode<'r, Sqlite> + for<'r> Decode<'r, Postgres> + Type<Sqlite> + Type<Postgres>,
    T::Stored: DeserializeOwned,
{
    type Stored = Option<T::Stored>;
    fn from_stored(stored: Self::Stored) -> Result<Self, BoxDynError> {
        stored.map(T::from_stored).transpose()
    }
}

impl<T: Arg + Clone> Arg for &T {
    type Stored = T::Stored;
    fn stored(self) -> Result<Self::Stored, BoxDynError> {
        self.clone().stored()
    }
}

impl<'a> Arg for &'a str {
    type Stored = &'a str;
    fn stored(self) -> Result<&'a str, BoxDynError> {
        Ok(self)
    }
}

impl<'a> Arg for &'a [u8] {
    type Stored = &'a [u8];
    fn stored(self) -> Result<&'a [u8], BoxDynError> {
        Ok(self)
    }
}

/// An id or nothing, where nothing is stored as the empty text: in columns that are part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blank<T>(pub(super) Option<T>);

impl<T: std::fmt::Display> Arg for Blank<T> {
    type Stored = String;
    fn stored(self) -> Result<String, BoxDynError> {
        Ok(self.0.map(|id| id.to_string()).unwrap_or_default())
    }
}

impl<T: std::str::FromStr<Err: Into<BoxDynError>>> Column for Blank<T> {
    type Stored = String;
    fn from_stored(stored: String) -> Result<Self, BoxDynError> {
        if stored.is_empty() {
            return Ok(Self(None));
        }
        stored.parse().map(|id| Self(Some(id))).map_err(Into::into)
    }
}

impl<T: serde::Serialize> Arg for Json<T> {
    type Stored = String;
    fn stored(self) -> Result<String, BoxDynError> {
        Ok(serde_json::to_string(&self.0)?)
    }
}

impl<T: DeserializeOwned> Column for Json<T> {
    type Stored = String;
    fn from_stored(stored: String) -> Result<Self, BoxDynError> {
        Ok(Json(serde_json::from_str(&stored)?))
    }
}

macro_rules! as_it_is {
    ($($name:ty)*) => {$(
        impl Arg for $name {
            type Stored = $name;
            fn stored(self) -> Result<$name, BoxDynError> {
                Ok(self)
            }
        }

        impl Column for $name {
            type Stored = $name;
            fn from_stored(stored: $name) -> Result<Self, BoxDynError> {
                Ok(stored)
            }
        }
    )*};
}

as_it_is! { i64 bool String Vec<u8> }

macro_rules! as_integer {
    ($($name:ty)*) => {$(
        impl Arg for $name {
            type Stored = i64;
            fn stored(self) -> Result<i64, BoxDynError> {
                Ok(i64::try_from(self)?)
            }
        }

        impl Column for $name {
            type Stored = i64;
            fn from_stored(stored: i64) -> Result<Self, BoxDynError> {
                Ok(<$name>::try_from(stored)?)
            }
        }
    )*};
}

as_integer! { i32 u8 u16 u32 u64 usize }

macro_rules! as_document {
    ($($name:ty)*) => {$(
        impl Arg for $name {
            type Stored = String;
            fn stored(self) -> Result<String, BoxDynError> {
                Json(self).stored()
            }
        }

        impl Column for $name {
            type Stored = String;
            fn from_stored(stored: String) -> Result<Self, BoxDynError> {
                Json::from_stored(stored).map(|Json(document)| document)
            }
        }
    )*};
}

as_document! { Limits TeamTerms }

macro_rules! as_count {
    ($($name:ident: $read:ident $write:ident,)*) => {$(
        impl Arg for $name {
            type Stored = i64;
            fn stored(self) -> Result<i64, BoxDynError> {
                Ok(self.$write())
            }
        }

        impl Column for $name {
            type Stored = i64;
            fn from_stored(stored: i64) -> Result<Self, BoxDynError> {
                Ok($name::$read(stored))
            }
        }
    )*};
}

as_count! {
    Credits: from_micros as_micros,
    NanoCredits: from_nanos as_nanos,
    Timestamp: from_micros as_micros,
    Span: from_micros as_micros,
}

macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl Arg for $name {
            type Stored = String;
            fn stored(self) -> Result<String, BoxDynError> {
                Ok(self.to_string())
            }
        }

        impl Column for $name {
            type Stored = String;
            fn from_stored(stored: String) -> Result<Self, BoxDynError> {
                Ok(stored.parse()?)
            }
        }
    )*};
}

as_text! {
    InstallationId UserId TeamId MemberId SessionId ApiKeyId HostId ProductId ImageId InstanceId DriveId SnapshotId
    AccountId TransactionId HoldId LotId BudgetId SegmentId TopUpId VoucherId StatementId CreditNoteId AlertId
    AskId QuotaChangeId WebhookId PluginId PriceVersionId PriceReplayId DecisionId AuditId OutboxId RequestId
}

macro_rules! as_word {
    ($($name:ident)*) => {$(
        impl Arg for $name {
            type Stored = &'static str;
            fn stored(self) -> Result<&'static str, BoxDynError> {
                Ok(self.word())
            }
        }

        impl Column for $name {
            type Stored = String;
            fn from_stored(stored: String) -> Result<Self, BoxDynError> {
                Ok(stored.parse()?)
            }
        }
    )*};
}

as_word! {
    Preset Role MemberState Spending HostKind AdminState Reach Attach Desired State Reason StorageKind
    AccountKind TransactionKind Direction EntryPhase HoldState TopUpState
    Category BudgetScope BudgetPeriod Reaction AlertMetric DeliveryState QuotaLevel RequestKind RequestState
    SnapshotState SnapshotCause
}
