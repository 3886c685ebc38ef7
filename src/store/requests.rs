//! Requests in the database: what members ask for and what became of it.

use super::{Conn, Result, Tx, query::record};
use crate::{
    error::Error as ToldError,
    ids::{AskId, MemberId, TeamId, TransactionId},
    model::{
        quota::Limits,
        request::{RequestKind, RequestState},
    },
    money::Credits,
    time::Timestamp,
};

record! {
    /// A request.
    pub struct RequestRow {
        /// The request.
        pub id: AskId,
        /// The team.
        pub team: TeamId,
        /// Who asks.
        pub member: MemberId,
        /// For what.
        pub kind: RequestKind,
        /// Where it stands, but for the time that runs out: see [`RequestRow::state_at`].
        pub state: RequestState,
        /// The credits wanted, of a request for credits.
        pub amount: Option<Credits>,
        /// The limits wanted, of any other.
        pub limits: Option<Limits>,
        /// Until when the limits are wanted; `None`: for good.
        pub until_at: Option<Timestamp>,
        /// Why.
        pub reason: String,
        /// The credits given.
        pub granted_amount: Option<Credits>,
        /// The limits given.
        pub granted_limits: Option<Limits>,
        /// Until when they were given; `None`: for good.
        pub granted_until: Option<Timestamp>,
        /// The transaction that gave the credits.
        pub transaction_id: Option<TransactionId>,
        /// What was said to the decision.
        pub answer: String,
        /// Who decided, or took it back.
        pub decided_by: Option<String>,
        /// When.
        pub decided_at: Option<Timestamp>,
        /// When it was made.
        pub created_at: Timestamp,
        /// When it is over if nobody has decided.
        pub expires_at: Timestamp,
    }
}

impl RequestRow {
    /// Where it stands at `now`.
    pub fn state_at(&self, now: Timestamp) -> RequestState {
        match self.state {
            RequestState::Open if self.expires_at <= now => RequestState::Expired,
            state => state,
        }
    }
}

/// Which requests of a team are wanted; what is `None` does not matter.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestFilter {
    /// Whose.
    pub member: Option<MemberId>,
    /// For what.
    pub kind: Option<RequestKind>,
    /// Standing where.
    pub state: Option<RequestState>,
}

const REQUEST_INSERT: &str = "
    INSERT INTO requests (id, team, member, kind, state, amount, limits, until_at, reason, answer, created_at,
                          expires_at)
    VALUES ($1, $2, $3, $4, 'open', $5, $6, $7, $8, '', $9, $10)";

const REQUEST_FETCH: &str = "SELECT * FROM requests WHERE id = $1";

const REQUESTS_PAGE: &str = "
    SELECT * FROM requests
     WHERE team = $1 AND ($2 = '' OR member = $2) AND ($3 = '' OR kind = $3)
       AND ($4 = '' OR CASE WHEN state = 'open' AND expires_at <= $5 THEN 'expired' ELSE state END = $4)
       AND ($6 = '' OR id < $6)
     ORDER BY id DESC LIMIT $7";

const REQUESTS_OF_TEAMS: &str = "
    SELECT * FROM requests
     WHERE kind = 'team_quota'
       AND ($1 = '' OR CASE WHEN state = 'open' AND expires_at <= $2 THEN 'expired' ELSE state END = $1)
       AND ($3 = '' OR id < $3)
     ORDER BY id DESC LIMIT $4";

const REQUESTS_EXPIRE: &str = "
    UPDATE requests SET state = 'expired'
     WHERE member = $1 AND kind = $2 AND state = 'open' AND expires_at <= $3";

const REQUEST_DECIDE: &str = "
    UPDATE requests
       SET state = $2, granted_amount = $3, granted_limits = $4, granted_until = $5, transaction_id = $6, answer = $7,
           decided_by = $8, decided_at = $9
     WHERE id = $1 AND state = 'open'";

fn word(state: Option<RequestState>) -> &'static str {
    state.map_or("", RequestState::word)
}

impl Conn {
    /// One request.
    pub async fn request_fetch(&mut self, id: AskId) -> Result<Option<RequestRow>> {
        self.query(REQUEST_FETCH).bind(id).optional().await
    }

    /// Requests of a team as they stand at `now`, newest first, with ids below `before`; the empty text begins at the
    /// newest.
    pub async fn requests_page(
        &mut self,
        team: TeamId,
        filter: RequestFilter,
        now: Timestamp,
        before: &str,
        limit: u32,
    ) -> Result<Vec<RequestRow>> {
        let member = filter.member.map(|member| member.to_string()).unwrap_or_default();
        let page = self.query(REQUESTS_PAGE).bind(team).bind(member);
        let page = page.bind(filter.kind.map_or("", RequestKind::word)).bind(word(filter.state));
        page.bind(now).bind(before).bind(limit).all().await
    }

    /// Requests for what whole teams may hold, likewise.
    pub async fn requests_of_teams(
        &mut self,
        state: Option<RequestState>,
        now: Timestamp,
        before: &str,
        limit: u32,
    ) -> Result<Vec<RequestRow>> {
        let page = self.query(REQUESTS_OF_TEAMS).bind(word(state)).bind(now);
        page.bind(before).bind(limit).all().await
    }
}

impl Tx {
    /// Writes a new request. The member's earlier one of the kind is over, or this is a conflict.
    pub async fn request_insert(&mut self, row: &RequestRow) -> Result<()> {
        let over = self.query(REQUESTS_EXPIRE).bind(row.member).bind(row.kind);
        over.bind(row.created_at).execute().await?;
        let insert = self.query(REQUEST_INSERT).bind(row.id).bind(row.team).bind(row.member).bind(row.kind);
        let insert = insert.bind(row.amount).bind(&row.limits).bind(row.until_at).bind(&row.reason);
        let insert = insert.bind(row.created_at).bind(row.expires_at).or_conflict(|| {
            let told = "you have asked for this already and nobody has decided yet; cancel that request first, or wait";
            ToldError::conflict("request-open", told)
        });
        insert.execute().await.map(drop)
    }

    /// Writes what became of an open request; `false` when it was not open any more.
    pub async fn request_decide(&mut self, row: &RequestRow) -> Result<bool> {
        let update = self.query(REQUEST_DECIDE).bind(row.id).bind(row.state).bind(row.granted_amount);
        let update = update.bind(&row.granted_limits).bind(row.granted_until).bind(row.transaction_id);
        let update = update.bind(&row.answer).bind(&row.decided_by).bind(row.decided_at);
        Ok(update.execute().await? == 1)
    }
}
