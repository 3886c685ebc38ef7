//! Transactions with everything that they did, in the order of the books.

use super::{
    error::Result,
    query::{Record, Row},
    tx::Conn,
};
use crate::{
    ids::{LotId, TeamId},
    ledger::{
        booking::{BookedLine, Booking, LotMove, Made},
        lot::{Part, Terms},
        posting::{Header, Line, TransactionKind},
    },
    money::Credits,
};

const BOOKINGS: &str = "
    SELECT t.*, e.line, e.account, e.account_move, e.direction, e.phase, e.amount, m.lot, m.amount AS lot_amount,
           l.category, l.priority, l.effective_at, l.expires_at, l.parent, l.origin
    FROM (SELECT * FROM transactions WHERE (team, seq) > ($1, $2) ORDER BY team, seq LIMIT $3) t
    LEFT JOIN entries e ON e.transaction_id = t.id
    LEFT JOIN lot_moves m ON m.transaction_id = e.transaction_id AND m.line = e.line
    LEFT JOIN lots l ON l.id = m.lot AND l.transaction_id = m.transaction_id AND e.direction = 'credit'
    ORDER BY t.team, t.seq, e.line, m.place";

const BOOKINGS_OF_TEAM: &str = "
    SELECT t.*, e.line, e.account, e.account_move, e.direction, e.phase, e.amount, m.lot, m.amount AS lot_amount,
           l.category, l.priority, l.effective_at, l.expires_at, l.parent, l.origin
    FROM (SELECT * FROM transactions WHERE team = $1 AND seq > $2 ORDER BY seq LIMIT $3) t
    LEFT JOIN entries e ON e.transaction_id = t.id
    LEFT JOIN lot_moves m ON m.transaction_id = e.transaction_id AND m.line = e.line
    LEFT JOIN lots l ON l.id = m.lot AND l.transaction_id = m.transaction_id AND e.direction = 'credit'
    ORDER BY t.seq, e.line, m.place";

impl Conn {
    /// At most `limit` transactions of all teams after the one with this number in this team's books.
    pub(super) async fn bookings_page(
        &mut self,
        after: Option<(TeamId, u64)>,
        limit: u32,
    ) -> Result<Vec<Booking>> {
        let (team, seq) = after.map_or((String::new(), 0), |(team, seq)| (team.to_string(), seq));
        let page = self.query(BOOKINGS).bind(team).bind(seq).bind(limit);
        Ok(gather(page.all().await?))
    }

    /// At most `limit` transactions of a team after number `after`, in order.
    pub async fn bookings_of_team(&mut self, team: TeamId, after: u64, limit: u32) -> Result<Vec<Booking>> {
        let page = self.query(BOOKINGS_OF_TEAM).bind(team).bind(after).bind(limit);
        Ok(gather(page.all().await?))
    }
}

/// One part of one line of a transaction, together with the transaction.
struct Piece {
    seq: u64,
    header: Header,
    kind: TransactionKind,
    line: Option<(u64, u64, Line)>,
    moved: Option<LotMove>,
}

/// Puts consecutive pieces of one transaction together.
fn gather(pieces: Vec<Piece>) -> Vec<Booking> {
    let mut bookings: Vec<Booking> = Vec::new();
    let mut place = 0;
    for piece in pieces {
        if bookings.last().is_none_or(|last| last.header.id != piece.header.id) {
            let Piece { seq, header, kind, .. } = piece;
            bookings.push(Booking { seq, header, kind, lines: Vec::new() });
            place = 0;
        }
        let (Some(booking), Some((number, account_move, line))) = (bookings.last_mut(), piece.line) else {
            continue;
        };
        if booking.lines.is_empty() || number != place {
            booking.lines.push(BookedLine { line, account_move, lots: Vec::new() });
            place = number;
        }
        if let Some(last) = booking.lines.last_mut() {
            last.lots.extend(piece.moved);
        }
    }
    bookings
}

impl Record for Piece {
    fn from_row(row: &Row) -> Result<Self> {
        let line = match row.get::<Option<u64>>("line")? {
            Some(number) => Some((number, row.get("account_move")?, Line::from_row(row)?)),
            None => None,
        };
        let moved = match row.get::<Option<LotId>>("lot")? {
            Some(lot) => {
                let amount: Credits = row.get("lot_amount")?;
                Some(LotMove { part: Part { lot, amount }, made: made(row)? })
            }
            None => None,
        };
        let header = Header::from_row(row)?;
        Ok(Self { seq: row.get("seq")?, header, kind: row.get("kind")?, line, moved })
    }
}

fn made(row: &Row) -> Result<Option<Made>> {
    let Some(category) = row.get("category")? else { return Ok(None) };
    Ok(Some(Made {
        terms: Terms { category, priority: row.get("priority")?, expires_at: row.get("expires_at")? },
        effective_at: row.get("effective_at")?,
        parent: row.get("parent")?,
        origin: row.get("origin")?,
    }))
}
