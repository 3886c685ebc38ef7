//! The audit logs of teams and of the site, to be looked through and exported. `audit_chain` keeps and checks their
//! chains.

use serde::Serialize;

use super::App;
use crate::{
    csv,
    error::{Error, Findings, Result},
    ids::{AuditId, Id, MemberId},
    model::{
        action::Action,
        audit::Mark,
        page::{Items, Page},
    },
    op::Op,
    policy::{Facts, Resource},
    store::{
        Conn, Read,
        audit::{AuditFilter, AuditPlaced},
    },
    time::{Span, Timestamp},
};

/// A line of the audit log.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct AuditView {
    /// The event.
    pub id: AuditId,
    /// When.
    pub at: Timestamp,
    /// Who acted: the id of a user, a member or an API key, or a part of the server.
    pub actor: String,
    /// The member who acted, in person or by a key.
    pub member: Option<MemberId>,
    /// What they did.
    pub action: String,
    /// To what.
    pub target: String,
    /// `done` or `refused`.
    pub outcome: String,
    /// The recorded decision behind it.
    pub decision: Option<String>,
    /// The request.
    pub request: String,
    /// The texts that decided; all absent when no policy was asked.
    pub versions: AuditVersions,
    /// What changed.
    #[schema(value_type = Object)]
    pub document: serde_json::Value,
    /// The place in the chain of digests, as `NUMBER:DIGEST`; absent until it is linked, some seconds later.
    pub link: Option<String>,
}

/// The versions of the texts that decided.
#[derive(Debug, Clone, Default, Serialize, utoipa::ToSchema)]
pub struct AuditVersions {
    /// The schema.
    pub schema: Option<String>,
    /// What holds in every team.
    pub platform: Option<String>,
    /// The roles of the team's preset.
    pub preset: Option<String>,
    /// The team's own policies.
    pub team: Option<String>,
}

/// Whose log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOf<'a> {
    /// A team's, by id or slug.
    Team(&'a str),
    /// The site's own: what belongs to no team.
    Site,
}

/// Which events are wanted; what is absent does not matter.
#[derive(Debug, Clone, Default)]
pub struct AuditWanted {
    /// Who acted: the id of a user, a member or an API key, or a part of the server.
    pub actor: Option<String>,
    /// What they did, such as `CreateInstance`.
    pub action: Option<String>,
    /// To what.
    pub target: Option<String>,
    /// `done` or `refused`.
    pub outcome: Option<String>,
    /// The member who acted, in person or by a key, or to whom it was done.
    pub member: Option<MemberId>,
    /// Not before this.
    pub from: Option<Timestamp>,
    /// Before this.
    pub to: Option<Timestamp>,
}

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditForm {
    /// A line of JSON for each event.
    #[default]
    Ndjson,
    /// A table.
    Csv,
}

/// An export under way: the log as it was when it began.
pub struct AuditExport {
    read: Read,
    team: String,
    filter: AuditFilter,
    form: AuditForm,
    begun: bool,
    after: String,
    most: String,
}

/// Events of one page of an export.
const PAGE: u32 = 500;

/// How far the time in an event's id may be from its time: both are taken in the same request.
const APART: Span = Span::from_seconds(3_600);

const HEADS: [&str; 16] = [
    "id", "at", "actor", "member", "action", "target", "outcome", "decision", "request", "schema",
    "platform", "preset", "team", "document", "number", "digest",
];

impl AuditWanted {
    fn filter(&self) -> Result<AuditFilter> {
        let mut findings = Findings::new();
        let texts = [("actor", &self.actor), ("action", &self.action), ("target", &self.target)];
        for (name, text) in texts {
            findings.text(text.as_deref().unwrap_or("-"), name, 1, 200);
        }
        let outcome = self.outcome.as_deref().unwrap_or_default();
        findings.check(matches!(outcome, "" | "done" | "refused"), "outcome", "`done` or `refused`");
        let (from, to) = (self.from.unwrap_or(Timestamp::from_micros(0)), self.to.unwrap_or(END));
        findings.check(from < to, "to", "later than `from`");
        findings.done()?;
        let said = |text: &Option<String>| text.clone().unwrap_or_default();
        Ok(AuditFilter {
            actor: said(&self.actor),
            action: said(&self.action),
            target: said(&self.target),
            outcome: said(&self.outcome),
            member: self.member.map(|member| member.to_string()).unwrap_or_default(),
            from,
            to,
        })
    }
}

/// After every event.
const END: Timestamp = Timestamp::from_micros(i64::MAX);

/// The ids between which the events of a filter lie: ids begin with their time, and are what the log is sorted by.
fn bounds(filter: &AuditFilter) -> (String, String) {
    let least = AuditId::floor(filter.from - APART).to_string();
    // No id is as late as the end of all times.
    let most = if filter.to == END { String::new() } else { AuditId::floor(filter.to + APART).to_string() };
    (least, most)
}

impl TryFrom<AuditPlaced> for AuditView {
    type Error = Error;
    fn try_from(placed: AuditPlaced) -> Result<Self> {
        let AuditPlaced { event: row, number, digest } = placed;
        let link = number.zip(digest).map(|(number, digest)| Mark { number, digest }.to_string());
        Ok(Self {
            id: row.id,
            at: row.at,
            actor: row.actor,
            member: row.member,
            action: row.action,
            target: row.target,
            outcome: row.outcome,
            decision: row.decision,
            request: row.request,
            versions: AuditVersions {
                schema: row.schema_version,
                platform: row.platform_version,
                preset: row.preset_version,
                team: row.team_version,
            },
            document: serde_json::from_str(&row.document).map_err(Error::internal)?,
            link,
        })
    }
}

impl App {
    /// The log, the newest first.
    pub async fn audit_page(
        &self,
        op: &Op,
        of: AuditOf<'_>,
        wanted: &AuditWanted,
        page: &Page,
    ) -> Result<Items<AuditView>> {
        let (limit, filter) = (page.limit()?, wanted.filter()?);
        let mut read = self.db.read().await?;
        let (list, site) = (Action::ListAuditEvents, Action::ListSiteAuditEvents);
        let team = self.audit_enter(op, &mut read, of, list, site).await?;
        let (least, most) = bounds(&filter);
        let before = Some(page.after()).filter(|cursor| !cursor.is_empty()).unwrap_or(&most);
        let rows = read.audit_page(&team, &filter, &least, before, limit + 1).await?;
        let rows: Result<Vec<AuditView>> = rows.into_iter().map(AuditView::try_from).collect();
        Ok(Items::cut(rows?, limit, |row| row.id.to_string()))
    }

    /// Begins an export, the oldest event first.
    pub async fn audit_export(
        &self,
        op: &Op,
        of: AuditOf<'_>,
        wanted: &AuditWanted,
        form: AuditForm,
    ) -> Result<AuditExport> {
        let filter = wanted.filter()?;
        let mut read = self.db.read().await?;
        let (export, site) = (Action::ExportAuditEvents, Action::ExportSiteAuditEvents);
        let team = self.audit_enter(op, &mut read, of, export, site).await?;
        let (after, most) = bounds(&filter);
        let most = if most.is_empty() { "aud_g".to_owned() } else { most };
        Ok(AuditExport { read, team, filter, form, begun: false, after, most })
    }

    /// Leave to read a log, and the name of its chain.
    pub(super) async fn audit_enter(
        &self,
        op: &Op,
        conn: &mut Conn,
        of: AuditOf<'_>,
        of_team: Action,
        of_site: Action,
    ) -> Result<String> {
        match of {
            AuditOf::Team(team) => {
                let scope = self.enter(op, conn, team).await?;
                let team = scope.team.id;
                self.look(op, &scope.asker, of_team, Resource::team(team), Facts::default()).await?;
                Ok(team.to_string())
            }
            AuditOf::Site => {
                let asker = self.visitor(op, conn).await?;
                self.look(op, &asker, of_site, Resource::Site, Facts::default()).await?;
                Ok(String::new())
            }
        }
    }
}

impl AuditExport {
    /// The next lines, each with its end; `None` after the last.
    ///
    /// # Errors
    /// What the database says; the export is incomplete then.
    pub async fn lines(&mut self) -> Result<Option<String>> {
        let rows = self.read.audit_after(&self.team, &self.filter, &self.after, &self.most, PAGE).await?;
        let begins = !std::mem::replace(&mut self.begun, true);
        let mut text = String::new();
        if begins && self.form == AuditForm::Csv {
            text.push_str(&csv::line(HEADS.map(Some)));
        }
        if let Some(last) = rows.last() {
            self.after = last.event.id.to_string();
        }
        for row in rows {
            match self.form {
                AuditForm::Csv => text.push_str(&csv_of(&row)),
                AuditForm::Ndjson => {
                    let line = serde_json::to_string(&AuditView::try_from(row)?).map_err(Error::internal)?;
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}

fn csv_of(placed: &AuditPlaced) -> String {
    let row = &placed.event;
    let (id, at) = (row.id.to_string(), row.at.to_string());
    let member = row.member.map(|member| member.to_string());
    let number = placed.number.map(|number| number.to_string());
    csv::line([
        Some(id.as_str()),
        Some(&at),
        Some(&row.actor),
        member.as_deref(),
        Some(&row.action),
        Some(&row.target),
        Some(&row.outcome),
        row.decision.as_deref(),
        Some(&row.request),
        row.schema_version.as_deref(),
        row.platform_version.as_deref(),
        row.preset_version.as_deref(),
        row.team_version.as_deref(),
        Some(&row.document),
        number.as_deref(),
        placed.digest.as_deref(),
    ])
}
