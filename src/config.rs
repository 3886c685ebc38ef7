//! Settings: from flag, else environment, else file, else default; read once, checked once, refused with every reason.
//!
//! A setting has one dotted key everywhere: `limits.body_bytes` in the file, `MUSTER_LIMITS_BODY_BYTES` in the
//! environment. [`SETTINGS`] is the reference. Here is what settings mean; where they come from is in `sources`.

mod sources;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use crate::model::destination::Allowed;

pub use sources::{Error, Sources, environment};

use crate::{
    ledger::focus::CostTerms,
    money::{Credits, MICROS_PER_CREDIT},
};

/// A setting as the reference shows it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Dotted key.
    pub key: &'static str,
    /// What its value is: a unit or a form.
    pub unit: &'static str,
    /// The value when nothing is said; for paths and addresses a word about it.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
}

macro_rules! settings {
    ($($key:literal, $unit:literal, $default:literal, $about:literal;)*) => {
        /// Every setting there is.
        pub const SETTINGS: &[Setting] =
            &[$(Setting { key: $key, unit: $unit, default: $default, about: $about },)*];
    };
}

settings! {
    "data_dir", "path", "./muster-data", "folder of the database, the sealing key and the plugin cache";
    "database", "sqlite:PATH or postgres://…", "sqlite:<data_dir>/muster.db", "where everything is stored";
    "database_file", "path", "(none)", "file that holds the value of `database`, for a URL with a password";
    "listen", "address:port", "127.0.0.1:7070", "where the server answers";
    "public_url", "http(s) URL", "http://<listen>", "how clients reach the server, for links";
    "log.format", "text or json", "text", "form of the log on standard error";
    "log.filter", "directives", "info", "what is logged, such as `info,muster::worker=debug`";
    "limits.body_bytes", "bytes", "1048576", "largest JSON body of a request";
    "limits.plugin_bytes", "bytes", "33554432", "largest plugin component";
    "limits.request_seconds", "seconds", "30", "longest that a request may take";
    "limits.json_depth", "levels", "32", "deepest nesting of a JSON body";
    "limits.team_members", "members", "200", "most members of one team";
    "policy.prove.solver", "program", "cvc5", "solver that proofs about policies ask; without it there are none";
    "policy.prove.question_millis", "milliseconds", "2000", "longest that the solver thinks about one question";
    "policy.prove.total_seconds", "seconds", "20", "longest that one proof takes; less than a request may take";
    "metering.interval_seconds", "seconds", "60", "length of a usage interval on the wall clock's grid; divides 900";
    "metering.tick_seconds", "seconds", "5", "pause between two passes of the meter";
    "metering.runway_seconds", "seconds", "3600", "how long a hold keeps an instance funded";
    "metering.stop_latency_seconds", "seconds", "30", "time kept back in a hold to stop while still funded";
    "reconcile.interval_seconds", "seconds", "30", "pause between two passes over a quiet host";
    "reconcile.busy_seconds", "seconds", "2", "pause between two passes while something is changing";
    "reconcile.probe_seconds", "seconds", "600", "pause between two probes of a host's accelerators";
    "top_ups.two_person_above", "credits or none", "none", "a top-up of more is confirmed by two operators";
    "statements.grace_hours", "hours", "48", "how long after its end a month stays open for what is late";
    "costs.provider", "name", "muster", "who sells, in cost files: the name on your invoices";
    "costs.currency", "ISO 4217 code", "USD", "currency of your invoices, in cost files";
    "costs.credit_price", "decimal", "1", "what a credit is worth in that currency";
    "session.hours", "hours", "12", "how long a login lasts";
    "network.pool", "IPv4 CIDR, /8 to /20", "10.201.0.0/16", "addresses for the teams' container networks";
    "webhooks.allow", "hosts, CIDRs", "", "where webhooks may go besides public addresses, with commas between";
}

/// Everything that can be set, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Folder of the database, the sealing key and the plugin cache.
    pub data_dir: PathBuf,
    /// Where everything is stored.
    pub database: Database,
    /// Where the server answers.
    pub listen: SocketAddr,
    /// How clients reach the server; no slash at the end.
    pub public_url: String,
    /// The log.
    pub log: Log,
    /// Bounds on what a client may send or have.
    pub limits: Limits,
    /// Proofs about policies.
    pub prove: Prove,
    /// The meter's rhythm and the holds' length.
    pub metering: Metering,
    /// The rhythm of the passes over hosts.
    pub reconcile: Reconcile,
    /// A top-up of more than this is confirmed by two operators; `None`: one is enough.
    pub two_person_above: Option<Credits>,
    /// How long after its end a month stays open for what is late, in hours.
    pub grace_hours: u32,
    /// What cost files say of the operator's invoices.
    pub costs: CostTerms,
    /// How long a login lasts, in hours.
    pub session_hours: u32,
    /// Addresses for the teams' container networks.
    pub network_pool: Cidr,
    /// Where webhooks may go besides public addresses.
    pub webhooks_allow: Allowed,
}

/// Which database, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A Postgres server, by URL.
    Postgres(Secret),
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// How and what is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Bounds on what a client may send or have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest JSON body, in bytes.
    pub body_bytes: u32,
    /// Largest plugin component, in bytes.
    pub plugin_bytes: u32,
    /// Longest that a request may take, in seconds.
    pub request_seconds: u32,
    /// Deepest nesting of a JSON body.
    pub json_depth: u32,
    /// Most members of one team.
    pub team_members: u32,
}

/// Proofs about policies: who is asked, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prove {
    /// The solver's program: a name on the usual paths, or a path.
    pub solver: String,
    /// Longest that the solver thinks about one question, in milliseconds.
    pub question_millis: u32,
    /// Longest that one proof takes, in seconds.
    pub total_seconds: u32,
}

impl Default for Prove {
    fn default() -> Self {
        Self { solver: "cvc5".to_owned(), question_millis: 2_000, total_seconds: 20 }
    }
}

/// The meter's rhythm and the holds' length, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metering {
    /// Length of a usage interval on the wall clock's grid.
    pub interval_seconds: u32,
    /// Pause between two passes of the meter.
    pub tick_seconds: u32,
    /// How long a hold keeps an instance funded.
    pub runway_seconds: u32,
    /// Time kept back in a hold so that an instance is stopped while still funded.
    pub stop_latency_seconds: u32,
}

/// The rhythm of the passes over hosts, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconcile {
    /// Pause between two passes over a quiet host.
    pub interval_seconds: u32,
    /// Pause between two passes while something is changing.
    pub busy_seconds: u32,
    /// Pause between two probes of a host's accelerators.
    pub probe_seconds: u32,
}

/// A block of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// The first address.
    pub address: Ipv4Addr,
    /// How many leading bits are fixed.
    pub prefix: u8,
}

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Database {
    /// The URL, without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Database::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Database::Postgres(url) => f.write_str(&url_redacted(url.expose())),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A database URL with password and parameters starred: both can carry secrets.
fn url_redacted(url: &str) -> String {
    let (front, parameters) = url.split_once('?').map_or((url, ""), |(front, _)| (front, "?***"));
    let Some((scheme, rest)) = front.split_once("://") else { return "***".to_owned() };
    let shown = match rest.rsplit_once('@') {
        Some((who, place)) => format!("{}:***@{place}", who.split(':').next().unwrap_or_default()),
        None => rest.to_owned(),
    };
    format!("{scheme}://{shown}{parameters}")
}

impl Metering {
    /// The shortest runway that outlasts the wait for its own extension, in seconds.
    pub const fn runway_least(&self) -> u32 {
        self.interval_seconds + self.tick_seconds + self.stop_latency_seconds
    }
}

impl Config {
    /// Understands and checks the sources, and says everything that is wrong with them at once.
    ///
    /// # Errors
    /// One line for each unknown key and each value out of its limits.
    pub fn parse(sources: &Sources) -> Result<Self, Error> {
        let mut problems = Vec::new();
        let said = sources.layers(&mut problems);
        let wrong = &mut problems;
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        let data_dir = said.parse("data_dir", wrong, path, "a path", PathBuf::new());
        let database = if said.says("database") {
            said.parse("database", wrong, Database::parse, DATABASE_WANTED, Database::beside(&data_dir))
        } else if let Some((path, url)) = &sources.database_file {
            // The value is a secret: a refusal names the file and not what is in it.
            Database::parse(url.trim()).unwrap_or_else(|| {
                wrong.push(format!("database_file: expected {DATABASE_WANTED} in {}", path.display()));
                Database::beside(&data_dir)
            })
        } else {
            Database::beside(&data_dir)
        };
        if said.says("database") && said.says("database_file") {
            wrong.push("database: say it here or in database_file, not in both".to_owned());
        }
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = "an address and a port such as 127.0.0.1:7070 or [::]:7070";
        let listen = said.parse("listen", wrong, |text| text.parse().ok(), address, any);
        let public_url = if said.says("public_url") {
            said.parse(
                "public_url",
                wrong,
                url_base,
                "a URL such as https://muster.example.org",
                String::new(),
            )
        } else {
            format!("http://{listen}")
        };
        let filter = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let log = Log {
            format: said.parse("log.format", wrong, LogFormat::parse, "text or json", LogFormat::Text),
            filter: said.parse("log.filter", wrong, filter, "directives such as info", String::new()),
        };
        let limits = Limits {
            body_bytes: said.number("limits.body_bytes", 1_024..=67_108_864, wrong),
            plugin_bytes: said.number("limits.plugin_bytes", 65_536..=268_435_456, wrong),
            request_seconds: said.number("limits.request_seconds", 1..=600, wrong),
            json_depth: said.number("limits.json_depth", 4..=127, wrong),
            team_members: said.number("limits.team_members", 1..=100_000, wrong),
        };
        let program = |text: &str| {
            let fine = !text.is_empty() && !text.starts_with('-') && !text.contains(char::is_whitespace);
            fine.then(|| text.to_owned())
        };
        let named = "the name of a program or its path, such as cvc5 or /usr/bin/cvc5";
        let prove = Prove {
            solver: said.parse("policy.prove.solver", wrong, program, named, String::new()),
            question_millis: said.number("policy.prove.question_millis", 1..=60_000, wrong),
            total_seconds: said.number("policy.prove.total_seconds", 1..=300, wrong),
        };
        let metering = Metering {
            interval_seconds: said.parse("metering.interval_seconds", wrong, interval, INTERVAL_WANTED, 1),
            tick_seconds: said.number("metering.tick_seconds", 1..=600, wrong),
            runway_seconds: said.number("metering.runway_seconds", 1..=86_400, wrong),
            stop_latency_seconds: said.number("metering.stop_latency_seconds", 0..=600, wrong),
        };
        // A hold must outlast the wait for its own extension, or a funded instance would run dry between two ticks.
        let least = metering.runway_least();
        if metering.runway_seconds < least {
            wrong.push(format!(
                "metering.runway_seconds: expected at least {least}, the sum of interval_seconds, tick_seconds and \
                 stop_latency_seconds, got {}",
                metering.runway_seconds
            ));
        }
        let reconcile = Reconcile {
            interval_seconds: said.number("reconcile.interval_seconds", 1..=3_600, wrong),
            busy_seconds: said.number("reconcile.busy_seconds", 1..=600, wrong),
            probe_seconds: said.number("reconcile.probe_seconds", 10..=86_400, wrong),
        };
        let above = "an amount of credits such as 1000, or none";
        let two_person_above = said.parse("top_ups.two_person_above", wrong, credits_or_none, above, None);
        let grace_hours = said.number("statements.grace_hours", 1..=672, wrong);
        let fallback = CostTerms::default();
        let name = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let code = "a code of three capital letters such as USD";
        let worth = "a number above 0 with at most 6 decimals, such as 0.85";
        let costs = CostTerms {
            provider: said.parse("costs.provider", wrong, name, "a name", fallback.provider),
            currency: said.parse("costs.currency", wrong, currency, code, fallback.currency),
            credit_price: said.parse("costs.credit_price", wrong, price, worth, fallback.credit_price),
        };
        let session_hours = said.number("session.hours", 1..=720, wrong);
        let whole = Cidr { address: Ipv4Addr::UNSPECIFIED, prefix: 8 };
        let block = "an IPv4 block from /8 to /20 that begins at its first address, such as 10.201.0.0/16";
        let network_pool = said.parse("network.pool", wrong, Cidr::parse, block, whole);
        let outlets = "hosts, addresses or blocks such as hooks.lan,10.0.0.0/8";
        let webhooks_allow =
            said.parse("webhooks.allow", wrong, |text| text.parse().ok(), outlets, Allowed::default());
        if problems.is_empty() {
            Ok(Self {
                data_dir,
                database,
                listen,
                public_url,
                log,
                limits,
                prove,
                metering,
                reconcile,
                two_person_above,
                grace_hours,
                costs,
                session_hours,
                network_pool,
                webhooks_allow,
            })
        } else {
            Err(Error(problems))
        }
    }

    /// The settings by key, as a file could hold them; with `redact` no password is among them.
    pub fn settings(&self, redact: bool) -> Vec<(&'static str, String)> {
        let database = match &self.database {
            Database::Postgres(url) if !redact => url.expose().to_owned(),
            database => database.to_string(),
        };
        let two_person_above = self.two_person_above.map_or("none".to_owned(), |above| above.to_string());
        vec![
            ("data_dir", self.data_dir.display().to_string()),
            ("database", database),
            ("listen", self.listen.to_string()),
            ("public_url", self.public_url.clone()),
            ("log.format", self.log.format.word().to_owned()),
            ("log.filter", self.log.filter.clone()),
            ("limits.body_bytes", self.limits.body_bytes.to_string()),
            ("limits.plugin_bytes", self.limits.plugin_bytes.to_string()),
            ("limits.request_seconds", self.limits.request_seconds.to_string()),
            ("limits.json_depth", self.limits.json_depth.to_string()),
            ("limits.team_members", self.limits.team_members.to_string()),
            ("policy.prove.solver", self.prove.solver.clone()),
            ("policy.prove.question_millis", self.prove.question_millis.to_string()),
            ("policy.prove.total_seconds", self.prove.total_seconds.to_string()),
            ("metering.interval_seconds", self.metering.interval_seconds.to_string()),
            ("metering.tick_seconds", self.metering.tick_seconds.to_string()),
            ("metering.runway_seconds", self.metering.runway_seconds.to_string()),
            ("metering.stop_latency_seconds", self.metering.stop_latency_seconds.to_string()),
            ("reconcile.interval_seconds", self.reconcile.interval_seconds.to_string()),
            ("reconcile.busy_seconds", self.reconcile.busy_seconds.to_string()),
            ("reconcile.probe_seconds", self.reconcile.probe_seconds.to_string()),
            ("top_ups.two_person_above", two_person_above),
            ("statements.grace_hours", self.grace_hours.to_string()),
            ("costs.provider", self.costs.provider.clone()),
            ("costs.currency", self.costs.currency.clone()),
            ("costs.credit_price", self.costs.credit_price.to_string()),
            ("session.hours", self.session_hours.to_string()),
            ("network.pool", self.network_pool.to_string()),
            ("webhooks.allow", self.webhooks_allow.to_string()),
        ]
    }
}

/// Months begin at midnight, and every offset in use is a multiple of a quarter of an hour: an interval that divides
/// one never lies in two months, in whatever time zone.
const QUARTER_SECONDS: u32 = 900;

const INTERVAL_WANTED: &str = "a whole number of seconds that divides 900, such as 10, 60 or 300";

fn interval(text: &str) -> Option<u32> {
    let seconds: u32 = text.replace('_', "").parse().ok()?;
    (seconds > 0 && QUARTER_SECONDS.is_multiple_of(seconds)).then_some(seconds)
}

/// `none`, or an amount that is not below zero.
fn credits_or_none(text: &str) -> Option<Option<Credits>> {
    if text == "none" {
        return Some(None);
    }
    text.parse().ok().filter(|above| *above >= Credits::ZERO).map(Some)
}

const DATABASE_WANTED: &str = "sqlite:PATH or postgres://user:password@host/name";

impl Database {
    fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return (!path.is_empty()).then(|| Self::Sqlite(path.into()));
        }
        let place = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"))?;
        (!place.is_empty()).then(|| Self::Postgres(Secret::new(text)))
    }

    fn beside(data_dir: &Path) -> Self {
        Self::Sqlite(data_dir.join("muster.db"))
    }
}

impl LogFormat {
    fn parse(word: &str) -> Option<Self> {
        [Self::Text, Self::Json].into_iter().find(|format| format.word() == word)
    }

    /// The word in the settings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl Cidr {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (Ipv4Addr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        let begins = (8..=20).contains(&prefix) && address.to_bits().checked_shl(u32::from(prefix))? == 0;
        begins.then_some(Self { address, prefix })
    }
}

/// A currency by its ISO 4217 code.
fn currency(text: &str) -> Option<String> {
    let fine = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    fine.then(|| text.to_owned())
}

/// What a credit is worth; up to a million.
fn price(text: &str) -> Option<Credits> {
    let most = Credits::from_micros(1_000_000 * MICROS_PER_CREDIT);
    text.parse().ok().filter(|price: &Credits| price.is_positive() && *price <= most)
}

fn url_base(text: &str) -> Option<String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let host = host.trim_end_matches('/');
    let plain = !host.is_empty() && !host.contains(['?', '#', '@', ' ']);
    plain.then(|| text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests;
