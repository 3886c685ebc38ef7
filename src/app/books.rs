//! What the services that read and move money share: the header of a transaction, the step that posts it, what an
//! account holds, and whose money a question is about.

use serde::Serialize;

use super::{App, gate::Scope};
use crate::{
    error::{Error, Result},
    ids::{AccountId, MemberId, TeamId},
    ledger::{
        account::{Account, AccountKind},
        journal::{Journal, Outcome},
        posting::{Header, IdemKey, Posting},
    },
    model::page::View,
    money::Credits,
    op::Op,
};

/// The most that one request may move: whoever asks for more has slipped on the keyboard.
pub(crate) const MOST: Credits = Credits::from_micros(100_000_000 * crate::money::MICROS_PER_CREDIT);

/// What is in an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Funds {
    /// What was paid in less what was charged.
    pub posted: Credits,
    /// The part of it that is held for running instances.
    pub held: Credits,
    /// The rest: what can be spent or moved.
    pub available: Credits,
}

impl Funds {
    /// What is in `account`.
    pub(crate) fn of(account: &Account) -> Result<Self> {
        let balance = &account.balance;
        Ok(Self { posted: balance.posted()?, held: balance.pending(), available: balance.available()? })
    }
}

impl Scope {
    /// Whose money a question is about: the caller's own, one member's, or with `None` the whole team's. Who is no
    /// member has none of their own, and so asks about the team.
    pub(crate) fn whose(&self, view: View, member: Option<MemberId>) -> Result<Option<MemberId>> {
        let own = self.member.as_ref().map(|member| member.id);
        match view {
            View::Own if own.is_some() && member.is_some() && member != own => Err(Error::field(
                "member",
                "`view=self` shows your own only; ask with `view=admin` for others",
            )),
            View::Own => Ok(own.or(member)),
            View::Admin => Ok(member),
        }
    }
}

impl App {
    /// The header of a transaction that records what `op` does now in the books of `team`, once for `key`. It names
    /// no reason, member or instance; whoever has one adds it.
    pub(crate) fn header(&self, op: &Op, team: TeamId, key: IdemKey) -> Header {
        let now = op.now();
        Header {
            id: op.id(),
            team,
            occurred_at: now,
            recorded_at: now,
            actor: op.actor.name(),
            reason: String::new(),
            member: None,
            instance: None,
            reverses: None,
            idem_key: key,
        }
    }
}

/// Puts `posting` into the journal; `source` is the account that pays.
///
/// # Errors
/// The conflict `not-enough-credits` when `source` has too little; then nothing was written.
pub(crate) fn post(
    journal: &mut Journal,
    header: Header,
    posting: &Posting,
    source: AccountId,
) -> Result<()> {
    match journal.post(header, posting)? {
        Outcome::Applied => Ok(()),
        Outcome::Refused(_) => Err(not_enough(journal.account(source)?)?),
    }
}

fn not_enough(source: &Account) -> Result<Error> {
    let Funds { posted, held, available } = Funds::of(source)?;
    let (place, way_out) = match source.kind {
        AccountKind::Wallet => ("the member's wallet", "take less, or release instances that hold the rest"),
        _ => ("the team's pool", "take less, or top up the pool"),
    };
    let told = format!(
        "{place} has {available} credits available ({posted} in it, {held} of them held for instances), which is \
         less than was asked for; {way_out}"
    );
    Ok(Error::conflict("not-enough-credits", told))
}
