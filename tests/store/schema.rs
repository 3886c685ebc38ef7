//! Migrations: idempotent, in company, refused when the database is ahead or altered, and the same on both.

use std::collections::BTreeMap;

use muster::store::{Dialect, Error, SCHEMA_NUMBER};

use crate::{NOW, Site};

const COLUMNS_SQLITE: &str = "
    SELECT t.name, c.name, c.type, c.\"notnull\" = 1 OR c.pk > 0
      FROM sqlite_schema t JOIN pragma_table_info(t.name) c
     WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name <> 'schema_steps'";
const COLUMNS_POSTGRES: &str = "
    SELECT table_name::TEXT, column_name::TEXT, data_type::TEXT, is_nullable = 'NO'
      FROM information_schema.columns
     WHERE table_schema = 'public' AND table_name <> 'schema_steps'";

const INDEXES_SQLITE: &str = "
    SELECT name FROM sqlite_schema WHERE type = 'index' AND name NOT LIKE 'sqlite%' ORDER BY name";
const INDEXES_POSTGRES: &str = "
    SELECT indexname::TEXT FROM pg_indexes
     WHERE schemaname = 'public' AND indexname NOT LIKE '%\\_pkey' AND indexname NOT LIKE '%\\_key'
     ORDER BY indexname COLLATE \"C\"";

#[tokio::test(flavor = "multi_thread")]
async fn steps_are_applied_once_even_by_servers_that_start_together() {
    for site in Site::empty().await {
        assert!(matches!(site.db.schema_check().await, Err(Error::OlderSchema { found: 0, .. })));
        let other = muster::store::Db::open(&site.address).await.unwrap();
        let (one, two) = tokio::join!(site.db.migrate(NOW), other.migrate(NOW));
        assert_eq!(i64::try_from(one.unwrap() + two.unwrap()).unwrap(), SCHEMA_NUMBER);
        assert_eq!(site.db.migrate(NOW).await.unwrap(), 0);
        site.db.schema_check().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_with_the_way_out() {
    for site in Site::both().await {
        let mut tx = site.db.begin().await.unwrap();
        let sql = "INSERT INTO schema_steps (number, name, digest, applied_at) VALUES ($1, 'future', '', 0)";
        tx.query(sql).bind(SCHEMA_NUMBER + 1).execute().await.unwrap();
        site.commit(tx).await.unwrap();
        for refused in [site.db.migrate(NOW).await.err(), site.db.schema_check().await.err()] {
            let refused = refused.unwrap();
            assert!(matches!(refused, Error::NewerSchema { .. }), "{refused:?}");
            assert!(refused.to_string().contains("start the newer muster"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_with_another_text_is_refused() {
    for site in Site::both().await {
        let mut tx = site.db.begin().await.unwrap();
        tx.query("UPDATE schema_steps SET digest = 'other' WHERE number = 1").execute().await.unwrap();
        site.commit(tx).await.unwrap();
        assert!(matches!(site.db.migrate(NOW).await, Err(Error::AlteredStep { .. })));
        assert!(matches!(site.db.schema_check().await, Err(Error::AlteredStep { .. })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_databases_have_the_same_tables_columns_and_indexes() {
    let [sqlite, postgres] = Site::both().await;
    let (sqlite, postgres) = (columns(&sqlite).await, columns(&postgres).await);
    assert!(sqlite.len() > 100, "a comparison of nothing proves nothing");
    for (column, kind) in &sqlite {
        assert_eq!(Some(kind), postgres.get(column), "{column:?}");
    }
    assert_eq!(sqlite.len(), postgres.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_databases_have_the_same_indexes() {
    let mut found = Vec::new();
    for site in Site::both().await {
        let mut read = site.db.read().await.unwrap();
        let names: Vec<(String,)> = read.query_by(INDEXES_SQLITE, INDEXES_POSTGRES).all().await.unwrap();
        found.push(names);
    }
    assert_eq!(found[0], found[1]);
}

/// Type and nullability by table and column, where a flag of SQLite is known by its CHECK.
async fn columns(site: &Site) -> BTreeMap<(String, String), (&'static str, bool)> {
    let mut read = site.db.read().await.unwrap();
    let columns: Vec<(String, String, String, bool)> =
        read.query_by(COLUMNS_SQLITE, COLUMNS_POSTGRES).all().await.unwrap();
    let scripts: Vec<(String, String)> = match site.db.dialect() {
        Dialect::Sqlite => {
            read.query("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").all().await.unwrap()
        }
        Dialect::Postgres => Vec::new(),
    };
    let is_flag = |table: &str, column: &str| {
        let check = format!("CHECK ({column} IN (0, 1))");
        scripts.iter().any(|(name, script)| name == table && script.contains(&check))
    };
    let kind = |table: &str, column: &str, kind: &str| match kind {
        "INTEGER" if is_flag(table, column) => "flag",
        "boolean" => "flag",
        "INTEGER" | "bigint" => "integer",
        "TEXT" | "text" => "text",
        "BLOB" | "bytea" => "bytes",
        other => panic!("{table}.{column} is of type {other}, which is none of ours"),
    };
    let named = |(table, column, of, required): (String, String, String, bool)| {
        let kind = kind(&table, &column, &of);
        ((table, column), (kind, required))
    };
    columns.into_iter().map(named).collect()
}
