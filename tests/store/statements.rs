//! Every SQL statement of the store prepares on the database that it is for.
//!
//! Statements are found in the source by their shape, `const NAME: &str = "…";`, as `src/store/mod.rs` asks
//! for. One whose name ends in `_SQLITE` or `_POSTGRES` is for that database only.

use std::{collections::BTreeMap, path::Path, str::FromStr};

use muster::store::Dialect;
use sqlx::{ConnectOptions, Executor, SqlSafeStr};

use crate::Site;

/// Words that a statement can begin with. Texts that begin otherwise are no statements.
const VERBS: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"];

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_prepares_on_both_databases() {
    let statements = statements();
    assert!(statements.len() > 50, "only {} statements were found", statements.len());
    let mut wrong = Vec::new();
    for site in Site::both().await {
        let dialect = site.db.dialect();
        let mut check = Check::connect(&site).await;
        for (name, sql) in &statements {
            let foreign = match dialect {
                Dialect::Sqlite => "_POSTGRES",
                Dialect::Postgres => "_SQLITE",
            };
            if name.ends_with(foreign) {
                continue;
            }
            // SQLite takes several statements in one.
            for sql in sql.split(';') {
                if let Err(error) = check.prepare(sql).await {
                    wrong.push(format!("{name} on {dialect:?}: {error}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The raw drivers: the store's own door takes only texts known when it is compiled, and these are read here.
enum Check {
    Sqlite(sqlx::SqliteConnection),
    Postgres(sqlx::PgConnection),
}

impl Check {
    async fn connect(site: &Site) -> Self {
        match site.db.dialect() {
            Dialect::Sqlite => {
                let options = sqlx::sqlite::SqliteConnectOptions::from_str(&site.address).unwrap();
                Self::Sqlite(options.connect().await.unwrap())
            }
            Dialect::Postgres => {
                let options = sqlx::postgres::PgConnectOptions::from_str(&site.address).unwrap();
                Self::Postgres(options.connect().await.unwrap())
            }
        }
    }

    async fn prepare(&mut self, sql: &str) -> sqlx::Result<()> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned()).into_sql_str();
        match self {
            Self::Sqlite(conn) => conn.prepare(sql).await.map(drop),
            Self::Postgres(conn) => conn.prepare(sql).await.map(drop),
        }
    }
}

/// `file::NAME` and text of every statement in `src/store`.
fn statements() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut paths = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store")];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        for (name, text) in statements_of(&std::fs::read_to_string(&path).unwrap()) {
            found.insert(format!("{file}::{name}"), text);
        }
    }
    found
}

/// Name and text of every statement in a source.
fn statements_of(source: &str) -> Vec<(String, String)> {
    let constant = |rest: &str| -> Option<(String, String)> {
        let (name, rest) = rest.split_once(": &str =")?;
        let (text, _) = rest.trim_start().strip_prefix('"')?.split_once("\";")?;
        let is_statement = VERBS.iter().any(|verb| text.trim_start().starts_with(verb));
        is_statement.then(|| (name.to_owned(), text.replace("\\\"", "\"")))
    };
    let source = source.replace("\npub(super) const ", "\nconst ");
    source.split("\nconst ").skip(1).filter_map(constant).collect()
}
