//! Vouchers: codes that the operator makes and teams turn into credits.
//!
//! A code is 80 random bits in letters and digits that cannot be taken for one another. It is shown once; what is
//! stored is its digest. Whoever tries codes that are none has to wait, as with wrong passwords.

use serde::{Deserialize, Serialize};

use super::{
    App,
    books::Funds,
    credentials::Secret,
    credits,
    gate::{Outcome, team_named},
    secrets::token_hash,
};
use crate::{
    chance::Chance,
    error::{Error, Kind, Result},
    ids::{MemberId, TeamId, TransactionId, VoucherId},
    ledger::{
        account::AccountKind,
        posting::{Header, IdemKey, Posting},
    },
    model::{
        action::Action,
        page::{Items, Page},
    },
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::{
        Concern, Tx,
        vouchers::{RedemptionRow, VoucherRow, redeemed},
    },
    time::{HOUR, Span, Timestamp},
};

/// Crockford's 32: digits and letters without I, L, O and U.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Letters of a code, 5 bits each.
const LENGTH: usize = 16;
/// The most vouchers that one request makes, and the most teams that one voucher is for.
const MOST_VOUCHERS: u32 = 1_000;
const MOST_USES: u32 = 1_000_000;
const MOST_DAYS: u32 = 3_650;

/// Vouchers to make.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVouchers {
    /// How much each is worth, above 0.
    pub amount: Credits,
    /// How many, 1 to 1000; unless told one.
    #[serde(default = "one")]
    pub count: u32,
    /// What they are for, at most 500 characters.
    #[serde(default)]
    pub note: String,
    /// Until when the codes can be redeemed.
    pub valid_until: Timestamp,
    /// For how many days the credits are good once they were redeemed; absent: for ever.
    #[serde(default)]
    pub credit_days: Option<u32>,
    /// How many teams may redeem each, 1 to 1000000; unless told one. A team redeems a voucher once.
    #[serde(default = "one")]
    pub most_uses: u32,
    /// The only team that may redeem them, by id or slug; absent: any.
    #[serde(default)]
    pub team: Option<String>,
}

fn one() -> u32 {
    1
}

/// Vouchers that were made.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct VouchersMade {
    /// Each with its code.
    pub items: Vec<VoucherMade>,
}

/// A voucher that was made.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct VoucherMade {
    /// Its id.
    pub id: VoucherId,
    /// The code, shown this once; a repetition of the request does not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// A voucher, without its code.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct VoucherView {
    /// Its id.
    pub id: VoucherId,
    /// How much it is worth.
    pub amount: Credits,
    /// The only team that may redeem it; absent: any.
    pub team: Option<String>,
    /// What it is for.
    pub note: String,
    /// Until when the code can be redeemed.
    pub valid_until: Timestamp,
    /// For how many days the credits are good; absent: for ever.
    pub credit_days: Option<u32>,
    /// How many teams may redeem it.
    pub most_uses: u32,
    /// How many have.
    pub uses: u32,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl From<VoucherRow> for VoucherView {
    fn from(row: VoucherRow) -> Self {
        Self {
            id: row.id,
            amount: row.amount,
            team: Some(row.team).filter(|team| !team.is_empty()),
            note: row.note,
            valid_until: row.valid_until,
            credit_days: row.credit_days,
            most_uses: row.most_uses,
            uses: row.uses,
            created_by: row.created_by,
            created_at: row.created_at,
            revoked_at: row.revoked_at,
        }
    }
}

/// A code to turn into credits.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VoucherCode {
    /// The code, such as `7K2M-9QXA-0B4T-ZR5H`; small letters, spaces and missing dashes do not matter.
    pub code: Secret,
}

/// A voucher that the team redeemed.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct RedemptionView {
    /// The voucher.
    pub voucher: VoucherId,
    /// How much it was worth.
    pub amount: Credits,
    /// Who redeemed it.
    pub member: MemberId,
    /// The transaction in the books.
    pub transaction: TransactionId,
    /// When.
    pub redeemed_at: Timestamp,
    /// When what is unused of the credits is lost; absent: never.
    pub expires_at: Option<Timestamp>,
}

impl From<RedemptionRow> for RedemptionView {
    fn from(row: RedemptionRow) -> Self {
        Self {
            voucher: row.voucher,
            amount: row.amount,
            member: row.member,
            transaction: row.transaction_id,
            redeemed_at: row.redeemed_at,
            expires_at: credit_end(row.redeemed_at, row.credit_days),
        }
    }
}

/// Credits that a voucher brought, and what the pool has now.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct VoucherRedeemed {
    /// What was redeemed.
    #[serde(flatten)]
    pub redemption: RedemptionView,
    /// The team's pool afterwards; what the team owed was paid out of it.
    pub pool: Funds,
}

fn credit_end(redeemed_at: Timestamp, days: Option<u32>) -> Option<Timestamp> {
    days.map(|days| redeemed_at + Span::from_micros(i64::from(days) * 24 * HOUR))
}

/// A fresh code: `XXXX-XXXX-XXXX-XXXX`.
fn code_fresh(chance: &dyn Chance) -> String {
    let mut bits = [0u8; LENGTH];
    chance.fill(&mut bits);
    let mut code = String::with_capacity(LENGTH + 3);
    for (place, bits) in bits.into_iter().enumerate() {
        if place > 0 && place % 4 == 0 {
            code.push('-');
        }
        code.push(char::from(LETTERS[usize::from(bits & 31)]));
    }
    code
}

/// The digest of a code as somebody typed it; `None` for what cannot be one.
fn code_hash(typed: &str) -> Option<Vec<u8>> {
    if typed.len() > 64 {
        return None;
    }
    let letters = typed.chars().filter(|c| !c.is_whitespace() && *c != '-');
    let plain: String = letters
        .map(|letter| match letter.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            letter => letter,
        })
        .collect();
    let is_code = plain.len() == LENGTH && plain.bytes().all(|byte| LETTERS.contains(&byte));
    is_code.then(|| token_hash(&plain))
}

impl App {
    /// Makes vouchers and shows their codes, this once.
    pub async fn vouchers_create(&self, op: &Op, new: NewVouchers) -> Result<VouchersMade> {
        // Checked against the clock below: a repetition may come when its time has passed.
        self.unless_answered(op).await?;
        let mut findings = credits::findings(new.amount, &new.note);
        let within = |number: u32, most: u32| (1..=most).contains(&number);
        findings.check(within(new.count, MOST_VOUCHERS), "/count", format!("1 to {MOST_VOUCHERS}"));
        findings.check(new.valid_until > op.now(), "/valid_until", "a time to come");
        let days = new.credit_days.is_none_or(|days| within(days, MOST_DAYS));
        findings.check(days, "/credit_days", format!("1 to {MOST_DAYS}"));
        findings.check(within(new.most_uses, MOST_USES), "/most_uses", format!("1 to {MOST_USES}"));
        findings.done()?;
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &asker, Action::CreateVouchers, Resource::Site, Facts::default()).await?;
        let team = team_of(&mut tx, new.team.as_deref()).await?;
        let mut made = VouchersMade { items: Vec::new() };
        let mut codes = Vec::new();
        for _ in 0..new.count {
            let code = code_fresh(op.chance());
            let hash = code_hash(&code).ok_or_else(|| Error::internal("a fresh code is none"))?;
            let row = VoucherRow {
                id: op.id(),
                code_hash: hash,
                team: team.map(|team| team.to_string()).unwrap_or_default(),
                amount: new.amount,
                note: new.note.clone(),
                valid_until: new.valid_until,
                credit_days: new.credit_days,
                most_uses: new.most_uses,
                uses: 0,
                created_by: op.actor.name(),
                created_at: op.now(),
                revoked_at: None,
            };
            tx.voucher_insert(&row).await?;
            made.items.push(VoucherMade { id: row.id, code: None });
            codes.push(code);
        }
        let first = made.items.first().map(|voucher| voucher.id.to_string());
        let outcome = Outcome {
            team: team.map(|team| team.to_string()).unwrap_or_default(),
            target: first.unwrap_or_default(),
            document: serde_json::json!({
                "amount": new.amount, "count": new.count, "most_uses": new.most_uses, "note": new.note,
            }),
            status: 201,
            answer: &made,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        for (voucher, code) in made.items.iter_mut().zip(codes) {
            voucher.code = Some(code);
        }
        Ok(made)
    }

    /// All vouchers, the newest first.
    pub async fn vouchers_page(&self, op: &Op, page: &Page) -> Result<Items<VoucherView>> {
        let (limit, before) = (page.limit()?, page.place()?);
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::ListVouchers, Resource::Site, Facts::default()).await?;
        let rows = read.vouchers_page(before, limit + 1).await?;
        Ok(Items::cut(rows, limit, |row| row.id.to_string()).map(VoucherView::from))
    }

    /// Ends a voucher: its code is good no more. Credits that it brought stay.
    ///
    /// # Errors
    /// The conflict `illegal-state` when it was revoked before.
    pub async fn voucher_revoke(&self, op: &Op, id: VoucherId) -> Result<VoucherView> {
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &asker, Action::RevokeVoucher, Resource::Site, Facts::default()).await?;
        let voucher = tx.voucher_fetch(id).await?.ok_or_else(|| Error::not_found("voucher"))?;
        if !tx.voucher_revoke(id, op.now()).await? {
            return Err(Error::conflict("illegal-state", "this voucher is revoked already"));
        }
        let view = VoucherView::from(VoucherRow { revoked_at: Some(op.now()), ..voucher });
        let outcome = Outcome {
            team: view.team.clone().unwrap_or_default(),
            target: id.to_string(),
            document: serde_json::json!({ "uses": view.uses }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    /// Turns a code into credits of the team's pool, and pays what the team owes out of them.
    ///
    /// # Errors
    /// `voucher-unknown` for a code that is none, is revoked or is another team's; `voucher-over` for one that came too
    /// late or was used up; `voucher-redeemed` for one that the team had before.
    pub async fn voucher_redeem(&self, op: &Op, team: &str, code: VoucherCode) -> Result<VoucherRedeemed> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let team = scope.team.id;
        let resource = Resource::team(team);
        let (mut tx, permit) = self
            .permit(op, tx, &scope.asker, Action::RedeemVoucher, resource.clone(), Facts::default())
            .await?;
        let member = scope.member()?.id;
        let subject = format!("voucher/{member}");
        self.throttle_pass(op, &subject, "voucher codes").await?;
        let mut journal = tx.journal(op, team, &Concern::default()).await?;
        let hash = code_hash(code.code.reveal());
        let found = match &hash {
            Some(hash) => tx.voucher_by_hash(hash).await?,
            None => None,
        };
        let here = found.filter(|voucher| {
            voucher.revoked_at.is_none() && (voucher.team.is_empty() || voucher.team == team.to_string())
        });
        let Some(voucher) = here else {
            drop(tx);
            let decision = self.decide(&scope.asker, Action::RedeemVoucher, &resource, &Facts::default());
            self.throttle_count(op, &subject, &decision.permit(op.id())?).await?;
            let told = "this is no voucher code that is good for your team; look at it again";
            return Err(Error::new(Kind::Invalid, "voucher-unknown", told));
        };
        if tx.redemption_fetch(voucher.id, team).await?.is_some() {
            return Err(redeemed());
        }
        if !tx.voucher_use(voucher.id, op.now()).await? {
            let told = if voucher.valid_until <= op.now() {
                format!("this voucher could be redeemed until {}", voucher.valid_until)
            } else {
                "this voucher was redeemed as often as it may be".to_owned()
            };
            return Err(Error::conflict("voucher-over", told));
        }
        let expires_at = credit_end(op.now(), voucher.credit_days);
        let (promo, pool) = (journal.own(AccountKind::Promo)?, journal.own(AccountKind::TeamPool)?);
        let posting = Posting::voucher(promo, pool, voucher.amount, expires_at)?;
        let header = self.header(op, team, IdemKey::voucher(voucher.id, team));
        let header = Header { reason: voucher.note.clone(), ..header };
        super::books::post(&mut journal, header.clone(), &posting, promo)?;
        self.debt_settle(op, &mut journal, &header, voucher.amount)?;
        tx.journal_write(&journal).await?;
        let row = RedemptionRow {
            voucher: voucher.id,
            team,
            member,
            transaction_id: header.id,
            redeemed_at: op.now(),
            amount: voucher.amount,
            credit_days: voucher.credit_days,
        };
        tx.redemption_insert(&row).await?;
        tx.throttle_clear(&subject).await?;
        let pool = Funds::of(journal.account(pool)?)?;
        let answer = VoucherRedeemed { redemption: row.into(), pool };
        let outcome = Outcome {
            team: team.to_string(),
            target: voucher.id.to_string(),
            document: serde_json::json!({ "amount": voucher.amount, "transaction": header.id }),
            status: 201,
            answer: &answer,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(answer)
    }

    /// The vouchers that the team redeemed, the newest first.
    pub async fn redemptions_page(&self, op: &Op, team: &str, page: &Page) -> Result<Items<RedemptionView>> {
        let (limit, before) = (page.limit()?, page.place()?);
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::ListVoucherRedemptions, resource, Facts::default()).await?;
        let rows = read.redemptions_page(scope.team.id, before, limit + 1).await?;
        Ok(Items::cut(rows, limit, |row| row.transaction_id.to_string()).map(RedemptionView::from))
    }
}

/// The team that somebody names in a field.
async fn team_of(tx: &mut Tx, named: Option<&str>) -> Result<Option<TeamId>> {
    let Some(named) = named else { return Ok(None) };
    let team = team_named(tx, named).await.map_err(|error| match error.kind {
        Kind::NotFound => Error::field("/team", "there is no such team"),
        _ => error,
    });
    team.map(|team| Some(team.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Seeded;

    #[test]
    fn a_code_has_four_groups_and_reads_the_same_however_it_is_typed() {
        let code = code_fresh(&Seeded::new(5));
        assert_eq!(code.len(), 19);
        assert!(code.split('-').all(|group| group.len() == 4));
        let hash = code_hash(&code).unwrap();
        assert_eq!(code_hash(&code.to_lowercase().replace('-', " ")), Some(hash.clone()));
        assert_eq!(code_hash(&code.replace('0', "o").replace('1', "l").replace('-', "")), Some(hash));
    }

    #[test]
    fn what_cannot_be_a_code_is_none() {
        for typed in ["", "1234", "UUUU-UUUU-UUUU-UUUU", "0000-0000-0000-00000", &"0".repeat(100), "ÄÄÄÄÄÄÄÄ"]
        {
            assert_eq!(code_hash(typed), None, "{typed}");
        }
    }
}
