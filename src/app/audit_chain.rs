//! The chains over the audit logs: links are made behind the writers, and checked when somebody asks.

use std::{collections::HashMap, sync::atomic::Ordering};

use serde::Serialize;

use super::{App, audit::AuditOf};
use crate::{
    error::Result,
    ids::{AuditId, Id},
    model::{
        action::Action,
        audit::{AuditFault, ChainCheck, MOST_FAULTS, Mark, link_digest},
    },
    op::Op,
    store::{self, Conn, audit::AuditLink, record::AuditRow},
    time::Span,
};

/// The outcome of a check of an audit log.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct AuditReport {
    /// Whether everything holds.
    pub ok: bool,
    /// Events that are linked.
    pub linked: u64,
    /// Events so fresh that no link covers them yet.
    pub pending: u64,
    /// The last link, as `NUMBER:DIGEST`. Noted elsewhere, it tells a chain that was rewritten since.
    pub head: Option<String>,
    /// How many faults there are.
    pub found: u64,
    /// The first 100 of them.
    pub faults: Vec<AuditFault>,
}

/// Events that are linked in one transaction.
const PAGE: u32 = 500;

/// How long after a younger event was linked an older one may still turn up: longer than any request takes.
const LATE: Span = Span::from_seconds(300);

/// The id from which on events may not be linked yet; the empty text is before every id.
async fn fresh_from(op: &Op, conn: &mut Conn) -> Result<String> {
    let linked = conn.audit_linked_at().await?;
    // A clock that ran ahead must not hide what was written since it was set right.
    let from = linked.map(|at| AuditId::floor(at.min(op.now()) - LATE).to_string());
    Ok(from.unwrap_or_default())
}

impl App {
    /// Links every event that no link covers yet. Gives the number of links made. The first pass of a server looks at
    /// the whole log, the others only at what is fresh.
    pub async fn audit_link(&self, op: &Op) -> Result<usize> {
        let (mut links, mut after) = (0, String::new());
        if self.audit_swept.load(Ordering::Relaxed) {
            after = fresh_from(op, &mut *self.db.glance().await?).await?;
        }
        loop {
            let page = self.db.glance().await?.audit_unlinked(&after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id.to_string();
            links += self.audit_link_page(op, page).await?;
        }
        self.audit_swept.store(true, Ordering::Relaxed);
        Ok(links)
    }

    async fn audit_link_page(&self, op: &Op, page: Vec<AuditRow>) -> Result<usize> {
        let mut tx = self.db.begin().await?;
        let mut heads: HashMap<String, Mark> = HashMap::new();
        let mut links = Vec::new();
        for event in page {
            let head = match heads.remove(&event.team) {
                Some(head) => head,
                None => head_of(tx.audit_link_last(&event.team).await?),
            };
            let number = head.number + 1;
            let digest = link_digest(&event.team, number, &head.digest, &event.canonical()?);
            heads.insert(event.team.clone(), Mark { number, digest: digest.clone() });
            let event_id = event.id.to_string();
            links.push(AuditLink { team: event.team, number, event: event_id, digest, linked_at: op.now() });
        }
        match tx.audit_links_insert(&links).await {
            // Another server was faster; what it left is found by the next pass.
            Err(store::Error::Unique(_)) => return Ok(0),
            done => done?,
        }
        self.system_commit(op, tx).await?;
        Ok(links.len())
    }

    /// Checks a log against its chain, in one snapshot; with `mark`, also that the chain still passes it.
    pub async fn audit_verify(&self, op: &Op, of: AuditOf<'_>, mark: Option<Mark>) -> Result<AuditReport> {
        let mut read = self.db.read().await?;
        let (verify, site) = (Action::VerifyAuditLog, Action::VerifySiteAuditLog);
        let team = self.audit_enter(op, &mut read, of, verify, site).await?;
        let mut check = ChainCheck::new(team.clone(), mark);
        let mut linked = 0;
        loop {
            let page = read.audit_links_page(&team, linked, PAGE).await?;
            let Some(last) = page.last() else { break };
            let reached = last.link.number;
            for row in &page {
                let content = row.event.as_ref().map(AuditRow::canonical).transpose()?;
                check.link(row.link.number, &row.link.event, &row.link.digest, content.as_deref());
            }
            linked = reached;
        }
        let fresh = fresh_from(op, &mut read).await?;
        for stray in read.audit_strays(&team, &fresh, MOST_FAULTS as u32).await? {
            check.stray(&stray.to_string());
        }
        let pending = read.audit_pending(&team, &fresh).await?;
        let (head, found, faults) = check.finish();
        if let Some(first) = faults.first() {
            tracing::error!(team, found, ?first, "an audit log is not as it was written");
        }
        Ok(AuditReport {
            ok: found == 0,
            linked,
            pending,
            head: head.map(|head| head.to_string()),
            found,
            faults,
        })
    }
}

fn head_of(last: Option<AuditLink>) -> Mark {
    match last {
        Some(link) => Mark { number: link.number, digest: link.digest },
        None => Mark { number: 0, digest: String::new() },
    }
}
