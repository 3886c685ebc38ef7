//! The audit log in the database: looked through by filters, exported in order, and chained behind the writers.

use serde_json::json;

use super::{
    Conn, Error, Result, Tx,
    query::{Record, Row, record},
    record::AuditRow,
};
use crate::{ids::AuditId, time::Timestamp};

/// Which events are wanted; an empty text does not matter.
#[derive(Debug, Clone)]
pub struct AuditFilter {
    /// Who acted, as the log names them.
    pub actor: String,
    /// What they did.
    pub action: String,
    /// To what.
    pub target: String,
    /// `done` or `refused`.
    pub outcome: String,
    /// The member who acted, or to whom it was done.
    pub member: String,
    /// Not before this.
    pub from: Timestamp,
    /// Before this.
    pub to: Timestamp,
}

/// An event with its place in the chain, if it has one yet.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditPlaced {
    /// The event.
    pub event: AuditRow,
    /// The number of its link.
    pub number: Option<u64>,
    /// The digest of its link.
    pub digest: Option<String>,
}

/// A link with the event that it covers, if that is still there.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditLinked {
    /// The link.
    pub link: AuditLink,
    /// The event.
    pub event: Option<AuditRow>,
}

record! {
    /// A link of a chain over an audit log.
    pub struct AuditLink {
        /// The team, or the empty text for the site.
        pub team: String,
        /// Its place, from 1.
        pub number: u64,
        /// The event that it covers.
        pub event: String,
        /// The digest of the link before, and of the event.
        pub digest: String,
        /// When it was made.
        pub linked_at: Timestamp,
    }
}

impl Record for AuditPlaced {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            event: AuditRow::from_row(row)?,
            number: row.get("link_number")?,
            digest: row.get("link_digest")?,
        })
    }
}

impl Record for AuditLinked {
    fn from_row(row: &Row) -> Result<Self> {
        let there = row.get::<Option<String>>("id")?.is_some();
        let link = AuditLink {
            team: row.get("link_team")?,
            number: row.get("link_number")?,
            event: row.get("link_event")?,
            digest: row.get("link_digest")?,
            linked_at: row.get("link_at")?,
        };
        Ok(Self { link, event: if there { Some(AuditRow::from_row(row)?) } else { None } })
    }
}

const AUDIT_PAGE: &str = "
    SELECT e.*, l.number AS link_number, l.digest AS link_digest
      FROM audit_events e LEFT JOIN audit_links l ON l.event = e.id
     WHERE e.team = $1 AND ($2 = '' OR e.actor = $2) AND ($3 = '' OR e.action = $3) AND ($4 = '' OR e.target = $4)
       AND ($5 = '' OR e.outcome = $5) AND ($6 = '' OR e.member = $6 OR e.target = $6)
       AND e.at >= $7 AND e.at < $8 AND e.id >= $9 AND e.id < $10
     ORDER BY e.id DESC LIMIT $11";

const AUDIT_AFTER: &str = "
    SELECT e.*, l.number AS link_number, l.digest AS link_digest
      FROM audit_events e LEFT JOIN audit_links l ON l.event = e.id
     WHERE e.team = $1 AND ($2 = '' OR e.actor = $2) AND ($3 = '' OR e.action = $3) AND ($4 = '' OR e.target = $4)
       AND ($5 = '' OR e.outcome = $5) AND ($6 = '' OR e.member = $6 OR e.target = $6)
       AND e.at >= $7 AND e.at < $8 AND e.id > $9 AND e.id < $10
     ORDER BY e.id LIMIT $11";

const AUDIT_UNLINKED: &str = "
    SELECT * FROM audit_events e
     WHERE e.id > $1 AND NOT EXISTS (SELECT 1 FROM audit_links l WHERE l.event = e.id)
     ORDER BY e.id LIMIT $2";

const AUDIT_LINKED_AT: &str = "SELECT at FROM audit_events WHERE id = (SELECT MAX(event) FROM audit_links)";

const AUDIT_LINK_LAST: &str = "SELECT * FROM audit_links WHERE team = $1 ORDER BY number DESC LIMIT 1";

const AUDIT_LINKS_PAGE: &str = "
    SELECT l.team AS link_team, l.number AS link_number, l.event AS link_event, l.digest AS link_digest,
           l.linked_at AS link_at, e.*
      FROM audit_links l LEFT JOIN audit_events e ON e.id = l.event
     WHERE l.team = $1 AND l.number > $2 ORDER BY l.number LIMIT $3";

const AUDIT_STRAYS: &str = "
    SELECT e.id FROM audit_events e
     WHERE e.team = $1 AND e.id < $2 AND NOT EXISTS (SELECT 1 FROM audit_links l WHERE l.event = e.id)
     ORDER BY e.id LIMIT $3";

const AUDIT_PENDING: &str = "
    SELECT COUNT(*) FROM audit_events e
     WHERE e.team = $1 AND e.id >= $2 AND NOT EXISTS (SELECT 1 FROM audit_links l WHERE l.event = e.id)";

const AUDIT_LINKS_INSERT_SQLITE: &str = "
    INSERT INTO audit_links (team, number, event, digest, linked_at)
    SELECT value->>'team', value->>'number', value->>'event', value->>'digest', value->>'linked_at'
      FROM json_each($1)";
const AUDIT_LINKS_INSERT_POSTGRES: &str = "
    INSERT INTO audit_links (team, number, event, digest, linked_at)
    SELECT * FROM jsonb_to_recordset(CAST($1 AS TEXT)::jsonb)
        AS n(team TEXT, number BIGINT, event TEXT, digest TEXT, linked_at BIGINT)";

/// The end of all ids.
const LAST: &str = "aud_g";

impl AuditRow {
    /// The event as its link covers it: all of its columns, in a list.
    ///
    /// # Errors
    /// Never in practice: texts and numbers have such a form.
    pub fn canonical(&self) -> Result<String> {
        let form = json!([
            self.id,
            self.team,
            self.at.as_micros(),
            self.actor,
            self.action,
            self.target,
            self.outcome,
            self.decision,
            self.request,
            self.document,
            self.member,
            self.schema_version,
            self.platform_version,
            self.preset_version,
            self.team_version,
        ]);
        serde_json::to_string(&form).map_err(|error| Error::Encode(error.into()))
    }
}

impl Conn {
    /// The events of a team, or with the empty text of the site, newest first, with ids from `least` on and below
    /// `before`; the empty text begins at the newest.
    pub async fn audit_page(
        &mut self,
        team: &str,
        filter: &AuditFilter,
        least: &str,
        before: &str,
        limit: u32,
    ) -> Result<Vec<AuditPlaced>> {
        let before = if before.is_empty() { LAST } else { before };
        self.audit_query(AUDIT_PAGE, team, filter, least, before, limit).await
    }

    /// The events of a team, or with the empty text of the site, oldest first, with ids above `after` and below `most`.
    pub async fn audit_after(
        &mut self,
        team: &str,
        filter: &AuditFilter,
        after: &str,
        most: &str,
        limit: u32,
    ) -> Result<Vec<AuditPlaced>> {
        self.audit_query(AUDIT_AFTER, team, filter, after, most, limit).await
    }

    async fn audit_query(
        &mut self,
        sql: &'static str,
        team: &str,
        filter: &AuditFilter,
        from: &str,
        to: &str,
        limit: u32,
    ) -> Result<Vec<AuditPlaced>> {
        let page = self.query(sql).bind(team).bind(&filter.actor).bind(&filter.action).bind(&filter.target);
        let page = page.bind(&filter.outcome).bind(&filter.member).bind(filter.from).bind(filter.to);
        page.bind(from).bind(to).bind(limit).all().await
    }

    /// Events that no link covers, of all chains, with ids above `after`.
    pub async fn audit_unlinked(&mut self, after: &str, limit: u32) -> Result<Vec<AuditRow>> {
        self.query(AUDIT_UNLINKED).bind(after).bind(limit).all().await
    }

    /// When the youngest event that is linked was written.
    pub async fn audit_linked_at(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.query(AUDIT_LINKED_AT).optional::<(Timestamp,)>().await?.map(|(at,)| at))
    }

    /// The last link of a chain.
    pub async fn audit_link_last(&mut self, team: &str) -> Result<Option<AuditLink>> {
        self.query(AUDIT_LINK_LAST).bind(team).optional().await
    }

    /// The links of a chain after `after`, each with its event.
    pub async fn audit_links_page(&mut self, team: &str, after: u64, limit: u32) -> Result<Vec<AuditLinked>> {
        self.query(AUDIT_LINKS_PAGE).bind(team).bind(after).bind(limit).all().await
    }

    /// The first events with ids below `before` that no link covers.
    pub async fn audit_strays(&mut self, team: &str, before: &str, limit: u32) -> Result<Vec<AuditId>> {
        let found = self.query(AUDIT_STRAYS).bind(team).bind(before).bind(limit).all::<(AuditId,)>().await?;
        Ok(found.into_iter().map(|(id,)| id).collect())
    }

    /// How many events with ids from `least` on no link covers yet.
    pub async fn audit_pending(&mut self, team: &str, least: &str) -> Result<u64> {
        Ok(self.query(AUDIT_PENDING).bind(team).bind(least).one::<(u64,)>().await?.0)
    }
}

impl Tx {
    /// Adds links.
    ///
    /// # Errors
    /// [`Error::Unique`] when somebody else linked one of the events, or took one of the places.
    pub async fn audit_links_insert(&mut self, links: &[AuditLink]) -> Result<()> {
        let rows = links.iter().map(|link| {
            json!({
                "team": link.team, "number": link.number, "event": link.event, "digest": link.digest,
                "linked_at": link.linked_at.as_micros(),
            })
        });
        let rows = serde_json::Value::Array(rows.collect()).to_string();
        let insert = self.query_by(AUDIT_LINKS_INSERT_SQLITE, AUDIT_LINKS_INSERT_POSTGRES);
        insert.bind(rows.as_str()).execute().await.map(drop)
    }
}
