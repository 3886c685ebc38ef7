//! The operation context: who does something, when, under which request. Carried through every service call.

use std::sync::Arc;

use crate::{
    chance::Chance,
    ids::{ApiKeyId, Id, MemberId, RequestId, SessionId, TeamId, UserId},
    time::{Clock, Timestamp},
};

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// Nobody signed in.
    Anonymous,
    /// A platform user, by a login session.
    User {
        /// The user.
        user: UserId,
        /// The session that the token belongs to.
        session: SessionId,
        /// Whether the session may do nothing but set a new password.
        reset_only: bool,
        /// When the session was opened: older than the membership's epoch means signed out there.
        since: Timestamp,
    },
    /// A member by team login.
    Member {
        /// The team.
        team: TeamId,
        /// The membership.
        member: MemberId,
        /// The session that the token belongs to.
        session: SessionId,
        /// Whether the session may do nothing but set a new password.
        reset_only: bool,
        /// When the session was opened.
        since: Timestamp,
    },
    /// A member's API key.
    Key {
        /// The key.
        key: ApiKeyId,
        /// The team.
        team: TeamId,
        /// The member on whose behalf the key acts.
        member: MemberId,
        /// The actions the key may ask for; empty means all that its member may do.
        scopes: Arc<[String]>,
    },
    /// A loop of the server itself.
    System(SystemActor),
}

/// Which loop of the server acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemActor {
    /// Makes hosts look as the database says.
    Reconciler,
    /// Meters, captures, extends and drains.
    Meter,
    /// Sees to payments, to credits that expire, and to pools that run low.
    Cashier,
    /// Chains the books.
    Bookkeeper,
    /// Closes months and writes credit notes.
    Closer,
    /// Rates parked charges again.
    Rater,
    /// Prepares an empty database.
    Setup,
    /// Notes when API keys come in.
    Doorkeeper,
    /// Watches figures for alerts, and brings messages to webhooks.
    Messenger,
}

impl SystemActor {
    /// The name in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reconciler => "system/reconciler",
            Self::Meter => "system/meter",
            Self::Cashier => "system/cashier",
            Self::Bookkeeper => "system/bookkeeper",
            Self::Closer => "system/closer",
            Self::Rater => "system/rater",
            Self::Setup => "system/setup",
            Self::Doorkeeper => "system/doorkeeper",
            Self::Messenger => "system/messenger",
        }
    }
}

impl Actor {
    /// The name in the audit log.
    pub fn name(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::User { user, .. } => user.to_string(),
            Self::Member { member, .. } => member.to_string(),
            Self::Key { key, .. } => key.to_string(),
            Self::System(system) => system.name().to_owned(),
        }
    }
}

/// The idempotency key of a request, with what it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key.
    pub key: String,
    /// Who asked what: principal, method and path.
    pub scope: String,
    /// Digest of the body, in hexadecimal.
    pub digest: String,
}

/// The context of one operation.
#[derive(Clone)]
pub struct Op {
    /// Who acts.
    pub actor: Actor,
    /// The request or the pass of a loop.
    pub request: RequestId,
    /// The client's idempotency key, if it sent one.
    pub idempotency: Option<Idempotency>,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
}

impl Op {
    /// A context for `actor` with a fresh request id.
    pub fn new(actor: Actor, clock: Arc<dyn Clock>, chance: Arc<dyn Chance>) -> Self {
        let request = RequestId::fresh(clock.now(), &*chance);
        Self { actor, request, idempotency: None, clock, chance }
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A fresh id of any kind.
    pub fn id<T: Id>(&self) -> T {
        T::fresh(self.now(), &*self.chance)
    }

    /// The source of randomness, for secrets.
    pub fn chance(&self) -> &dyn Chance {
        &*self.chance
    }
}

/// Leave to commit a change: either the policy's permit or a loop of our own. Only `policy::Permit` and
/// [`SystemWarrant`] implement it (`tests/tidy.rs` watches), and a store transaction commits against nothing else.
pub trait Warrant {
    /// The decision behind it, for the audit trail; `None` for the server's own loops.
    fn decision(&self) -> Option<String>;
}

/// The warrant of a system actor.
#[derive(Debug)]
pub struct SystemWarrant(());

impl SystemWarrant {
    /// The warrant of `op`, if a loop of the server acts and nobody else.
    pub fn of(op: &Op) -> Option<Self> {
        matches!(op.actor, Actor::System(_)).then_some(Self(()))
    }
}

impl Warrant for SystemWarrant {
    fn decision(&self) -> Option<String> {
        None
    }
}
