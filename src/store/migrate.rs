//! The schema's steps, carried in the binary. A step is one file of the same name in `migrations/sqlite` and
//! `migrations/postgres`, applied in one transaction and noted with the digest of its text.

use sha2::{Digest, Sha256};

use super::{
    db::{Db, Dialect},
    error::{Error, Result},
    query::record,
    tx::{Conn, Tx},
};
use crate::time::Timestamp;

struct Step {
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! steps {
    ($($name:literal)*) => {
        &[$(Step {
            name: $name,
            sqlite: include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../../migrations/postgres/", $name, ".sql")),
        },)*]
    };
}

/// Every step, in order: the first is number 1. Only ever add at the end.
const STEPS: &[Step] = steps! {
    "0001_base" "0002_money" "0003_requests" "0004_snapshots" "0005_policies" "0006_shadow"
    "0007_product_labels" "0008_price_replays" "0009_plugin_manifests"
};

/// The number of the last step that this binary carries.
#[expect(clippy::cast_possible_wrap, reason = "a handful of steps")]
pub const SCHEMA_NUMBER: i64 = STEPS.len() as i64;

const STEPS_CREATE: &str = "
    CREATE TABLE IF NOT EXISTS schema_steps (
        number     BIGINT PRIMARY KEY,
        name       TEXT NOT NULL,
        digest     TEXT NOT NULL,
        applied_at BIGINT NOT NULL
    )";
const STEPS_EXIST_SQLITE: &str =
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name = 'schema_steps'";
const STEPS_EXIST_POSTGRES: &str =
    "SELECT to_regclass('schema_steps')::TEXT WHERE to_regclass('schema_steps') IS NOT NULL";
const STEPS_APPLIED: &str = "SELECT name, digest FROM schema_steps ORDER BY number";
const STEP_NOTE: &str = "INSERT INTO schema_steps (number, name, digest, applied_at) VALUES ($1, $2, $3, $4)";
/// Two servers that start at once take turns. The number is ours by choice and means nothing.
const LOCK_POSTGRES: &str = "SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock(7461939201)";

impl Db {
    /// Applies the steps that the database lacks; the number of steps applied. Several servers may do so at
    /// once.
    ///
    /// # Errors
    /// [`Error::NewerSchema`] and [`Error::AlteredStep`], or what the database says; the step that failed
    /// left nothing.
    pub async fn migrate(&self, now: Timestamp) -> Result<usize> {
        let mut applied = 0;
        loop {
            let mut tx = self.begin().await?;
            if tx.dialect() == Dialect::Postgres {
                tx.script(LOCK_POSTGRES).await?;
            }
            tx.script(STEPS_CREATE).await?;
            let done = tx.steps_done().await?;
            let Some(step) = STEPS.get(done) else {
                tx.settle().await?;
                return Ok(applied);
            };
            tx.step_apply(step, done, now).await?;
            tx.settle().await?;
            applied += 1;
        }
    }

    /// Whether the schema is exactly the one that this binary knows.
    ///
    /// # Errors
    /// [`Error::OlderSchema`], [`Error::NewerSchema`] and [`Error::AlteredStep`].
    pub async fn schema_check(&self) -> Result<()> {
        let mut read = self.read().await?;
        let exist: Option<(String,)> =
            read.query_by(STEPS_EXIST_SQLITE, STEPS_EXIST_POSTGRES).optional().await?;
        let done = if exist.is_some() { read.steps_done().await? } else { 0 };
        if done < STEPS.len() {
            return Err(Error::OlderSchema { found: number(done), known: SCHEMA_NUMBER });
        }
        Ok(())
    }
}

record! {
    /// A step that was applied to a database.
    struct AppliedStep {
        /// The step's name.
        name: String,
        /// SHA-256 of its text, in hexadecimal.
        digest: String,
    }
}

impl Conn {
    /// How many steps were applied, all of them known and unaltered.
    async fn steps_done(&mut self) -> Result<usize> {
        let applied: Vec<AppliedStep> = self.query(STEPS_APPLIED).all().await?;
        if applied.len() > STEPS.len() {
            return Err(Error::NewerSchema { found: number(applied.len()), known: SCHEMA_NUMBER });
        }
        for (done, step) in applied.iter().zip(STEPS) {
            if done.name != step.name || done.digest != step.digest(self.dialect()) {
                return Err(Error::AlteredStep { name: done.name.clone() });
            }
        }
        Ok(applied.len())
    }
}

impl Tx {
    async fn step_apply(&mut self, step: &Step, done: usize, now: Timestamp) -> Result<()> {
        let dialect = self.dialect();
        self.script(step.text(dialect)).await?;
        let note = self.query(STEP_NOTE).bind(number(done) + 1).bind(step.name);
        note.bind(step.digest(dialect)).bind(now).execute().await?;
        Ok(())
    }
}

impl Step {
    fn text(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }

    fn digest(&self, dialect: Dialect) -> String {
        hex::encode(Sha256::digest(self.text(dialect)))
    }
}

fn number(steps: usize) -> i64 {
    i64::try_from(steps).unwrap_or(i64::MAX)
}
