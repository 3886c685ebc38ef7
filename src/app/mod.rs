//! The services: one file per noun. Each decides, writes one transaction, and records; none knows HTTP.
//!
//! `gate` is the way in and out of every one of them. Loops (`dispatch`, `metering`) are services too: `worker/` only
//! gives them a rhythm.

pub mod alerts;
pub mod api_keys;
pub mod audit;
pub mod audit_chain;
pub mod auth;
pub mod authorizing;
pub mod auto_top_ups;
pub mod balance;
pub mod bills;
mod bookkeeper;
pub mod books;
pub mod budgets;
mod cashier;
pub mod catalog;
pub mod charges;
mod closing;
pub mod costs;
mod credentials;
mod crediting;
pub mod credits;
pub mod deciding;
mod dispatch;
pub mod drives;
pub mod export;
mod fleet;
mod funding;
mod gate;
pub mod hosts;
pub mod instances;
pub mod launch;
pub mod ledger;
pub mod login;
pub mod lots;
pub mod me;
pub mod members;
mod metering;
mod pausing;
pub mod payments;
mod placing;
pub mod plugins;
pub mod policies;
pub mod policy_plans;
pub mod policy_proofs;
pub mod policy_replays;
pub mod price_replays;
pub mod prices;
pub mod products;
mod purse;
pub mod quota_changes;
pub mod quotas;
mod rating;
pub mod re_rating;
mod reaching;
mod recorder;
pub mod requests;
mod resuming;
mod revisions;
mod rule_book;
pub mod secrets;
mod setup;
mod shadowing;
pub mod shadows;
pub mod snapshots;
mod snapshotting;
mod starting;
pub mod statements;
mod storage;
pub mod storage_rates;
pub mod teams;
pub mod terms;
pub mod top_ups;
pub mod transactions;
pub mod users;
pub mod vouchers;
pub mod webhooks;

use std::sync::{Arc, atomic::AtomicBool};

use crate::{
    chance::Chance,
    docker::{Connector, Direct},
    error::Result,
    ids::InstallationId,
    ledger::focus::CostTerms,
    model::destination::Allowed,
    op::{Actor, Op, SystemActor},
    plugins::Plugins,
    policy::Policies,
    store::Db,
    time::{Clock, Span},
    webhook::Sender,
};

/// What the services need to know of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address that members reach this server at; part of copyable login details.
    pub public_url: String,
    /// How long a login session lasts.
    pub session: Span,
    /// The most members of one team, without the owner.
    pub team_members: u32,
    /// Length of a metering interval; intervals lie on the wall clock's multiples of it.
    pub interval: Span,
    /// How long a launch is paid ahead.
    pub runway: Span,
    /// How long before the end of its money an instance is stopped.
    pub stop_latency: Span,
    /// How long a host may be silent before it counts as down.
    pub down_after: Span,
    /// Age of a probe that makes the next one due.
    pub probe_every: Span,
    /// The addresses that networks of instances are cut from, such as `10.201.0.0/16`.
    pub network_pool: crate::model::subnet::SubnetPool,
    /// A top-up of more than this is confirmed by two operators; `None`: one is enough.
    pub two_person_above: Option<crate::money::Credits>,
    /// The folder where simulated hosts keep their state.
    pub simulated_dir: std::path::PathBuf,
    /// Statements and cost files.
    pub statements: StatementSettings,
    /// The shortest runway that outlasts the wait for its own extension.
    pub runway_least: Span,
    /// Where webhooks may go besides public addresses.
    pub webhooks_allow: Allowed,
    /// Proofs about policies; their whole time lies within that of a request.
    pub prove: crate::config::Prove,
}

/// What statements and cost files need to know of the configuration.
#[derive(Debug, Clone)]
pub struct StatementSettings {
    /// How long after its end a month stays open for what is late; an hour or more.
    pub grace: Span,
    /// What a cost file says of the operator's invoices.
    pub costs: CostTerms,
}

impl Default for StatementSettings {
    fn default() -> Self {
        Self { grace: Span::from_seconds(48 * 3_600), costs: CostTerms::default() }
    }
}

/// Everything below the doors, put together once at the start.
pub struct App {
    pub(crate) db: Db,
    pub(crate) policies: Arc<Policies>,
    pub(crate) plugins: Arc<Plugins>,
    pub(crate) providers: payments::Providers,
    pub(crate) fleet: fleet::Fleet,
    pub(crate) passwords: secrets::Passwords,
    pub(crate) seal: secrets::Seal,
    pub(crate) webhooks: Sender,
    pub(crate) settings: Settings,
    pub(crate) installation: InstallationId,
    pub(crate) retries: re_rating::Retries,
    /// Whether this server has looked through the whole audit log for events without a link.
    pub(crate) audit_swept: AtomicBool,
    pub(crate) rule_book: rule_book::RuleBook,
    /// Turns at working out what policies would do, so that plans leave the other processors to requests.
    pub(crate) planning: tokio::sync::Semaphore,
    /// Turns at proving what policies cannot do.
    pub(crate) proving: policy_proofs::Proving,
    pub(crate) recorder: recorder::Recorder,
    pub(crate) shadows: shadowing::Shadows,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
}

/// Plans, replays and publications that are worked out at once; others wait.
const PLANS_AT_ONCE: usize = 2;

/// The parts that [`App`] is made of.
pub struct Parts {
    /// The migrated database.
    pub db: Db,
    /// The shipped policies.
    pub policies: Arc<Policies>,
    /// The plugin host.
    pub plugins: Arc<Plugins>,
    /// Who takes payments, besides the operator by hand.
    pub providers: Vec<Arc<dyn payments::Provider>>,
    /// The seal of secrets at rest.
    pub seal: secrets::Seal,
    /// The settings.
    pub settings: Settings,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where chance comes from.
    pub chance: Arc<dyn Chance>,
}

impl App {
    /// Puts the parts together; on an empty database the installation and its default price are made first.
    /// The second value is the one-time token of an installation that nobody has claimed yet.
    pub async fn open(parts: Parts) -> Result<(Self, Option<secrets::Token>)> {
        let Parts { db, policies, plugins, providers, seal, settings, clock, chance } = parts;
        let op = Op::new(Actor::System(SystemActor::Setup), clock.clone(), chance.clone());
        let (installation, claim) = setup::installation_ensure(&db, &op).await?;
        setup::default_price_ensure(&db, &op, &plugins).await?;
        let direct = Direct { simulated_dir: settings.simulated_dir.clone(), clock: clock.clone() };
        let fleet = fleet::Fleet::new(Arc::new(direct));
        let passwords = secrets::Passwords::default();
        let providers = payments::Providers::new(providers);
        let retries = re_rating::Retries::default();
        let webhooks = Sender::new(settings.webhooks_allow.clone());
        let app = Self {
            db,
            policies,
            plugins,
            providers,
            fleet,
            passwords,
            seal,
            webhooks,
            settings,
            installation,
            retries,
            audit_swept: AtomicBool::new(false),
            rule_book: rule_book::RuleBook::default(),
            planning: tokio::sync::Semaphore::new(PLANS_AT_ONCE),
            proving: policy_proofs::Proving::default(),
            recorder: recorder::Recorder::default(),
            shadows: shadowing::Shadows::default(),
            clock,
            chance,
        };
        Ok((app, claim))
    }

    /// The same with connections to hosts that `connector` makes: a simulator of the whole server brings its own hosts.
    #[must_use]
    pub fn with_connector(self, connector: Arc<dyn Connector>) -> Self {
        Self { fleet: fleet::Fleet::new(connector), ..self }
    }

    /// A context for `actor` with a fresh request id.
    pub fn op(&self, actor: Actor) -> Op {
        Op::new(actor, self.clock.clone(), self.chance.clone())
    }

    /// A digest that only this installation can compute; see [`secrets::Seal::fingerprint`].
    pub fn fingerprint(&self, text: &[u8]) -> String {
        self.seal.fingerprint(text)
    }

    /// The clock, for what outlives one operation.
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Whether requests can be served: the database takes writes.
    pub async fn ready(&self) -> Result<()> {
        Ok(self.db.ping_write().await?)
    }

    /// Finishes what is under way and closes the database.
    pub async fn close(&self) {
        self.db.close().await;
    }
}
