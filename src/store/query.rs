//! A statement with its arguments, and the rows that come of it. One text for both databases.

use futures_util::TryStreamExt;
use serde::Deserialize;
use serde_json::{Map, Value};
use sqlx::{
    Arguments, Either, Executor, Row as _, error::BoxDynError, postgres::PgArguments, postgres::PgRow,
    sqlite::SqliteArguments, sqlite::SqliteRow,
};

use super::{
    convert::{Arg, Column, Json},
    error::{Error, Result},
    tx::{Conn, Wire},
};

/// One row of an answer.
pub enum Row {
    /// From SQLite.
    Sqlite(SqliteRow),
    /// From Postgres.
    Postgres(PgRow),
    /// From Postgres, as JSON: a row of one of several shapes, see [`Query::parts`].
    Json(Map<String, Value>),
}

impl Row {
    /// The value of the column with this name.
    ///
    /// # Errors
    /// [`Error::Decode`] when there is no such column, or its value is none of that type.
    pub fn get<T: Column>(&self, name: &str) -> Result<T> {
        match self {
            Self::Sqlite(row) => read(row.try_get::<T::Stored, _>(name), &name),
            Self::Postgres(row) => read(row.try_get::<T::Stored, _>(name), &name),
            Self::Json(row) => read(T::Stored::deserialize(row.get(name).unwrap_or(&Value::Null)), &name),
        }
    }

    /// The value of the column at this place, counted from 0.
    ///
    /// # Errors
    /// [`Error::Decode`] when there is no such column, or its value is none of that type.
    pub fn at<T: Column>(&self, place: usize) -> Result<T> {
        match self {
            Self::Sqlite(row) => read(row.try_get::<T::Stored, _>(place), &place),
            Self::Postgres(row) => read(row.try_get::<T::Stored, _>(place), &place),
            Self::Json(_) => read(Err::<T::Stored, _>("a row in JSON has names only"), &place),
        }
    }
}

fn read<T: Column>(
    stored: std::result::Result<T::Stored, impl Into<BoxDynError>>,
    column: &dyn std::fmt::Display,
) -> Result<T> {
    let value = stored.map_err(Into::into).and_then(T::from_stored);
    value.map_err(|source| Error::Decode { column: column.to_string(), source })
}

/// What a row is read into: a struct by [`record!`](super::record), or a tuple of columns by position.
pub trait Record: Sized {
    /// Reads the row.
    ///
    /// # Errors
    /// [`Error::Decode`] with the column that cannot be read.
    fn from_row(row: &Row) -> Result<Self>;
}

macro_rules! tuples {
    ($(($($name:ident $place:tt),+))*) => {$(
        impl<$($name: Column),+> Record for ($($name,)+) {
            fn from_row(row: &Row) -> Result<Self> {
                Ok(($(row.at::<$name>($place)?,)+))
            }
        }
    )*};
}

tuples! { (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) }

/// Declares a struct that a row is read into: each field from the column of its name.
macro_rules! record {
    (
        $(#[$doc:meta])* $vis:vis struct $name:ident {
            $($(#[$fdoc:meta])* $fvis:vis $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $name { $($(#[$fdoc])* $fvis $field: $type,)* }

        impl $crate::store::Record for $name {
            fn from_row(row: &$crate::store::Row) -> $crate::store::Result<Self> {
                Ok(Self { $($field: row.get(stringify!($field))?,)* })
            }
        }
    };
}
pub(super) use record;

pub(super) enum Args {
    Sqlite(SqliteArguments),
    Postgres(PgArguments),
}

/// A statement on its way: bind, then ask for rows or for the number of rows touched.
#[must_use = "a query does nothing until it is asked for its rows or executed"]
pub struct Query<'c> {
    conn: &'c mut Conn,
    sql: &'static str,
    args: Result<Args>,
    conflict: Option<fn() -> crate::error::Error>,
}

impl<'c> Query<'c> {
    pub(super) fn new(conn: &'c mut Conn, sql: &'static str) -> Self {
        let args = match conn.wire() {
            Wire::Sqlite(_) => Args::Sqlite(SqliteArguments::default()),
            Wire::Postgres(_) => Args::Postgres(PgArguments::default()),
        };
        Self { conn, sql, args: Ok(args), conflict: None }
    }

    /// Binds the next placeholder. A value that cannot be stored is told when the query runs.
    pub fn bind(mut self, value: impl Arg) -> Self {
        if let Ok(args) = &mut self.args {
            let added = value.stored().and_then(|stored| match args {
                Args::Sqlite(args) => args.add(stored),
                Args::Postgres(args) => args.add(stored),
            });
            if let Err(source) = added {
                self.args = Err(Error::Encode(source));
            }
        }
        self
    }

    /// What a unique violation means here.
    pub fn or_conflict(mut self, meaning: fn() -> crate::error::Error) -> Self {
        self.conflict = Some(meaning);
        self
    }

    /// All rows.
    ///
    /// # Errors
    /// Whatever the database says; the transaction is broken after it.
    pub async fn all<T: Record + Send>(self) -> Result<Vec<T>> {
        let mut rows = Vec::new();
        self.each(&mut |step| {
            if let Step::Row(row) = step {
                rows.push(T::from_row(&row)?);
            }
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// Whatever the database says; the transaction is broken after it.
    pub async fn optional<T: Record + Send>(self) -> Result<Option<T>> {
        let mut found = None;
        self.each(&mut |step| {
            if let (Step::Row(row), None) = (step, &found) {
                found = Some(T::from_row(&row)?);
            }
            Ok(())
        })
        .await?;
        Ok(found)
    }

    /// The row that must be there.
    ///
    /// # Errors
    /// [`Error::Missing`] without a row; else whatever the database says.
    pub async fn one<T: Record + Send>(self) -> Result<T> {
        self.optional().await?.ok_or(Error::Missing)
    }

    /// Runs the statement; the number of rows it touched.
    ///
    /// # Errors
    /// Whatever the database says; the transaction is broken after it.
    pub async fn execute(self) -> Result<u64> {
        let mut touched = 0;
        self.each(&mut |step| {
            if let Step::Done(rows) = step {
                touched += rows;
            }
            Ok(())
        })
        .await?;
        Ok(touched)
    }

    /// Reads several lists in one go, and shows each row with the number of its list, from 0. SQLite runs one
    /// statement for each, one after the other; Postgres, which takes only one, tells the number as `part` and the row
    /// as JSON in `item`.
    ///
    /// # Errors
    /// Whatever the database says; the transaction is broken after it.
    pub(super) async fn parts(self, visit: &mut (dyn FnMut(usize, &Row) -> Result<()> + Send)) -> Result<()> {
        let mut part = 0;
        self.each(&mut |step| match step {
            Step::Row(row @ Row::Sqlite(_)) => visit(part, &row),
            Step::Row(row) => visit(row.get("part")?, &Row::Json(row.get::<Json<_>>("item")?.0)),
            Step::Done(_) => {
                part += 1;
                Ok(())
            }
        })
        .await
    }

    /// Runs several changes in one go, each of which has to touch so many rows; the number of the first that touched
    /// others, from 0, after which the transaction is broken. SQLite runs one statement for each, one after the other;
    /// Postgres, which takes only one, tells the numbers as the columns of its only row.
    ///
    /// # Errors
    /// Whatever the database says; the transaction is broken after it.
    pub(super) async fn touch_each(self, expected: &[u64]) -> Result<Option<usize>> {
        let (mut part, mut astray) = (0, None);
        let done = self
            .each(&mut |step| {
                match step {
                    Step::Row(row) => {
                        for (place, rows) in expected.iter().enumerate() {
                            if row.at::<u64>(place)? != *rows {
                                astray = astray.or(Some(place));
                            }
                        }
                        part = expected.len();
                    }
                    Step::Done(rows) => {
                        if expected.get(part).is_some_and(|expected| *expected != rows) {
                            astray = Some(part);
                        }
                        part += 1;
                    }
                }
                // What comes after it may rest on it, so it is not waited for.
                if astray.is_some() { Err(Error::Moved) } else { Ok(()) }
            })
            .await;
        match astray {
            Some(place) => Ok(Some(place)),
            None => done.map(|()| None),
        }
    }

    /// Runs the statement and shows each step as it comes. Not generic, so that the drivers are compiled once.
    async fn each(self, visit: &mut (dyn FnMut(Step) -> Result<()> + Send)) -> Result<()> {
        let Self { conn, sql, args, conflict } = self;
        conn.enter()?;
        let outcome = run(conn.wire(), sql, args?, visit).await;
        match outcome {
            Ok(()) => {
                conn.leave();
                Ok(())
            }
            Err(error @ Error::Unique(_)) => Err(match conflict {
                Some(meaning) => Error::Told(Box::new(meaning().with_inside(error))),
                None => error,
            }),
            Err(error) => Err(error),
        }
    }
}

/// What comes of a statement.
enum Step {
    Row(Row),
    /// It is done, and has touched so many rows.
    Done(u64),
}

async fn run(
    wire: Wire<'_>,
    sql: &'static str,
    args: Args,
    visit: &mut (dyn FnMut(Step) -> Result<()> + Send),
) -> Result<()> {
    match (wire, args) {
        (Wire::Sqlite(wire), Args::Sqlite(args)) => {
            let mut steps = wire.fetch_many(sqlx::query_with(sql, args));
            while let Some(step) = steps.try_next().await? {
                visit(match step {
                    Either::Left(done) => Step::Done(done.rows_affected()),
                    Either::Right(row) => Step::Row(Row::Sqlite(row)),
                })?;
            }
        }
        (Wire::Postgres(wire), Args::Postgres(args)) => {
            let mut steps = wire.fetch_many(sqlx::query_with(sql, args));
            while let Some(step) = steps.try_next().await? {
                visit(match step {
                    Either::Left(done) => Step::Done(done.rows_affected()),
                    Either::Right(row) => Step::Row(Row::Postgres(row)),
                })?;
            }
        }
        // The arguments were made for this very connection, so the two cannot differ.
        _ => return Err(Error::Broken),
    }
    Ok(())
}
