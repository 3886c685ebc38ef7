//! Lists: keyset cursors, sealed by nothing because they hold nothing but the last id shown.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The most rows of one page.
pub const MOST: u32 = 200;

/// Which page of a list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Rows of a page, 1 to 200; 50 unless told.
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Whose rows a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// The caller's own.
    #[default]
    #[serde(rename = "self")]
    Own,
    /// Everybody's of the team.
    Admin,
}

/// One page of a list; never cut short without a cursor.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Items<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
}

impl Page {
    /// The number of rows asked for.
    pub fn limit(&self) -> Result<u32> {
        let limit = self.limit.unwrap_or(50);
        if (1..=MOST).contains(&limit) {
            return Ok(limit);
        }
        Err(Error::field("limit", format!("1 to {MOST}, got {limit}")))
    }

    /// The id after which the page begins; the empty text is before every id.
    pub fn after(&self) -> &str {
        self.cursor.as_deref().unwrap_or("")
    }

    /// Where the page before ended; `None` for the first page.
    pub fn place<T: FromStr>(&self) -> Result<Option<T>> {
        let cursor = self.cursor.as_deref().map(str::parse).transpose();
        cursor.map_err(|_| Error::field("cursor", "the `next_cursor` of the page before, as it was given"))
    }
}

impl<T> Items<T> {
    /// A page out of `limit + 1` rows: the extra one only tells that there is a next page.
    pub fn cut(mut rows: Vec<T>, limit: u32, key: impl Fn(&T) -> String) -> Self {
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next_cursor = if more { rows.last().map(key) } else { None };
        Self { items: rows, next_cursor }
    }

    /// The same page with every row turned into something else.
    pub fn map<U>(self, turn: impl FnMut(T) -> U) -> Items<U> {
        Items { items: self.items.into_iter().map(turn).collect(), next_cursor: self.next_cursor }
    }
}
