//! Does the model's commands with a journal, as the services do: the same clerk with a database and on paper.

use std::sync::Arc;

use muster::{
    chance::{Chance, Seeded},
    ids::*,
    ledger::{
        account::AccountKind,
        budget::{Budget, BudgetPeriod, BudgetScope, Reaction},
        hold::Cover,
        interval::{Segment, boundary},
        journal::{Journal, NewHold, Outcome, Payer, Rows, User},
        lot::{Category, Part},
        posting::{Back, Header, IdemKey, LotUse, Phase, Posting, TransactionKind},
        rating::{Charge, Tally},
    },
    model::price::Sku,
    money::{Credits, NanoCredits},
    time::{Clock, ManualClock, Span, Timestamp},
};

use crate::model::{Bite, Command, GRID, Heap, Picture, Plan, SECOND_CHANCE, SLOTS, Whose, purse_of};

/// When every life begins.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(crate::model::BEGIN * 1_000_000);

/// The people of a team, and what the clerk remembers of their instances.
pub(crate) struct Clerk {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) chance: Arc<Seeded>,
    pub(crate) team: TeamId,
    pub(crate) members: [MemberId; SLOTS],
    pub(crate) price_version: PriceVersionId,
    pub(crate) key: ApiKeyId,
    pub(crate) runs: [Option<Run>; SLOTS],
    /// What the instances, also those that ended, are billed by.
    pub(crate) segments: [Option<Segment>; SLOTS],
    pub(crate) stores: [Option<Segment>; SLOTS],
    charged: [Vec<Charged>; SLOTS],
}

/// An instance that runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) hold: HoldId,
    pub(crate) instance: InstanceId,
}

/// A charge that can be given back.
#[derive(Debug, Clone)]
struct Charged {
    charge: Charge,
    account: AccountId,
    parts: Vec<Part>,
    user: User,
    stored: bool,
}

/// What is to be written besides the journal.
#[derive(Debug, Default)]
pub(crate) struct Deed {
    pub(crate) top_up: Option<(TopUpId, Credits)>,
    /// A new instance of a member, and whether a key launched it.
    pub(crate) instance: Option<(InstanceId, MemberId, Option<ApiKeyId>)>,
    pub(crate) opened: Option<Segment>,
    pub(crate) charge: Option<Charge>,
    /// A segment that was charged: as it was and as it is.
    pub(crate) advanced: Option<(Segment, Segment)>,
    pub(crate) closed: Option<SegmentId>,
}

impl Clerk {
    pub(crate) fn new(seed: u64) -> Self {
        let (clock, chance) = (Arc::new(ManualClock::new(NOW)), Arc::new(Seeded::new(seed)));
        let id = |nth: u64| uuid::Uuid::from_u64_pair(seed, nth);
        Self {
            clock,
            chance,
            team: TeamId::from_uuid(id(1)),
            members: std::array::from_fn(|slot| MemberId::from_uuid(id(10 + slot as u64))),
            price_version: PriceVersionId::from_uuid(id(2)),
            key: ApiKeyId::from_uuid(id(3)),
            runs: [const { None }; SLOTS],
            segments: [const { None }; SLOTS],
            stores: [const { None }; SLOTS],
            charged: [const { Vec::new() }; SLOTS],
        }
    }

    pub(crate) fn id<T: Id>(&self) -> T {
        T::fresh(self.clock.now(), &*self.chance as &dyn Chance)
    }

    pub(crate) fn header(&self, idem_key: IdemKey) -> Header {
        let now = self.clock.now();
        Header {
            id: self.id(),
            team: self.team,
            occurred_at: now,
            recorded_at: now,
            actor: "system/meter".to_owned(),
            reason: String::new(),
            member: None,
            instance: None,
            reverses: None,
            idem_key,
        }
    }

    fn once(&self, kind: TransactionKind) -> Header {
        self.header(IdemKey::request(kind, self.id()))
    }

    pub(crate) fn user(&self, slot: usize) -> User {
        User { member: self.members[slot], api_key: (slot == 1).then_some(self.key) }
    }

    fn account(&self, journal: &Journal, purse: usize) -> AccountId {
        match purse {
            0 => journal.own(AccountKind::TeamPool).unwrap(),
            nth => journal.wallet(self.members[nth - 1]).unwrap(),
        }
    }

    /// The lots that must be at hand for what may come back.
    pub(crate) fn lots_charged(&self) -> Vec<LotId> {
        self.charged.iter().flatten().flat_map(|charged| &charged.parts).map(|part| part.lot).collect()
    }

    /// The budgets that stand from the beginning.
    pub(crate) fn budgets(&self, plans: &[Plan]) -> Vec<Budget> {
        let budget = |(nth, plan): (usize, &Plan)| {
            let (scope, subject) = match plan.whose {
                Whose::Team => (BudgetScope::Team, self.team.to_string()),
                Whose::Member(slot) => (BudgetScope::Member, self.members[slot].to_string()),
                Whose::Key => (BudgetScope::ApiKey, self.key.to_string()),
            };
            Budget {
                id: BudgetId::from_uuid(uuid::Uuid::from_u64_pair(self.chance_seed(), 100 + nth as u64)),
                team: self.team,
                name: format!("budget {nth}"),
                scope,
                subject,
                period: if plan.monthly { BudgetPeriod::Monthly } else { BudgetPeriod::Once },
                ceiling: micros(plan.ceiling),
                thresholds: Vec::new(),
                reaction: match plan.bite {
                    Bite::Alert => Reaction::Alert,
                    Bite::Deny => Reaction::Deny,
                    Bite::Drain => Reaction::Drain,
                },
                active: true,
                version: 1,
                created_by: "test".to_owned(),
                created_at: NOW,
            }
        };
        plans.iter().enumerate().map(budget).collect()
    }

    fn chance_seed(&self) -> u64 {
        u64::from_str_radix(&self.team.to_string()[5..21], 16).unwrap()
    }

    pub(crate) fn clock_seconds(&self) -> i64 {
        self.clock.now().as_micros() / 1_000_000
    }

    /// A second passes, and days if the command says so.
    pub(crate) fn tick(&self, command: &Command) {
        self.clock.advance(Span::from_seconds(1));
        if let Command::Pass(days) = command {
            self.clock.advance(Span::from_seconds(days * 86_400));
        }
    }

    /// Does it in the journal; `None` when it was refused.
    pub(crate) fn act(&mut self, journal: &mut Journal, command: &Command) -> Option<Deed> {
        let mut deed = Deed::default();
        match *command {
            Command::Pass(_) => {}
            Command::TopUp(amount) => {
                let id: TopUpId = self.id();
                let [cash, pool] = self.own(journal, [AccountKind::Cash, AccountKind::TeamPool]);
                let posting = Posting::top_up(cash, pool, micros(amount));
                post(journal, self.header(IdemKey::top_up(id)), posting)?;
                deed.top_up = Some((id, micros(amount)));
            }
            Command::Grant(amount, days) => {
                let end = days.map(|days| self.clock.now() + Span::from_seconds(days * 86_400));
                let [promo, pool] = self.own(journal, [AccountKind::Promo, AccountKind::TeamPool]);
                let posting = Posting::grant(promo, pool, micros(amount), end);
                post(journal, self.once(TransactionKind::Grant), posting)?;
            }
            Command::Assign(slot, amount) => {
                let [pool, wallet] = [0, slot + 1].map(|purse| self.account(journal, purse));
                let posting = Posting::assign(pool, wallet, micros(amount));
                post(journal, self.once(TransactionKind::Assign), posting)?;
            }
            Command::Reclaim(slot, amount) => {
                let [pool, wallet] = [0, slot + 1].map(|purse| self.account(journal, purse));
                let posting = Posting::reclaim(wallet, pool, micros(amount));
                post(journal, self.once(TransactionKind::Reclaim), posting)?;
            }
            Command::Place(slot, amount) => self.place(journal, slot, micros(amount), &mut deed)?,
            Command::Extend(slot, amount) => {
                let id = self.runs[slot].as_ref()?.hold;
                let now = self.clock.now();
                let most = journal.hold_extendable(id, micros(amount), now).unwrap();
                (most == micros(amount)).then_some(())?;
                let number = journal.hold(id).unwrap().extensions + 1;
                let header = self.header(IdemKey::hold_extend(id, number));
                assert_eq!(journal.hold_extend(header, id, most).unwrap(), Outcome::Applied);
            }
            Command::Capture(slot, nano) => {
                let hold = self.runs[slot]?.hold;
                let segment = self.segments[slot].clone()?;
                let account = journal.hold(hold).unwrap().account;
                let (payer, whose) = (Payer::Hold(hold), (slot, self.user(slot), account));
                self.segments[slot] = Some(self.charge(journal, &segment, nano, payer, whose, &mut deed));
            }
            Command::Store(slot, nano) => {
                let account = self.account(journal, slot + 1);
                let segment = match &self.stores[slot] {
                    Some(segment) => segment.clone(),
                    None => {
                        let resource = self.id::<DriveId>().to_string();
                        let segment = Segment {
                            account: Some(account),
                            kind: "drive".to_owned(),
                            ..self.segment(slot, None, resource)
                        };
                        deed.opened = Some(segment.clone());
                        segment
                    }
                };
                let user = User { member: self.members[slot], api_key: None };
                let payer = Payer::Account(account);
                let to = self.charge(journal, &segment, nano, payer, (slot, user, account), &mut deed);
                self.stores[slot] = Some(to);
            }
            Command::GiveBack(slot, percent) => self.give_back(journal, slot, percent, &mut deed)?,
            Command::Release(slot) => {
                let run = self.runs[slot].take()?;
                let header = self.header(IdemKey::hold_release(run.hold));
                journal.hold_release(header, run.hold).unwrap();
                let segment = self.segments[slot].as_mut()?;
                (segment.end_at, segment.settled) = (Some(segment.billed_until), true);
                deed.closed = Some(segment.id);
            }
            Command::Expire => {
                let breakage = journal.own(AccountKind::Breakage).unwrap();
                for (lot, free) in journal.lots_over(self.clock.now()).unwrap() {
                    let posting = Posting::expire(lot.id, lot.account, breakage, free);
                    post(journal, self.header(IdemKey::expire(lot.id, lot.expired)), posting)?;
                }
            }
            Command::Lend(slot, amount) => {
                let [receivable] = self.own(journal, [AccountKind::Receivable]);
                let posting = Posting::lend(receivable, self.account(journal, slot + 1), micros(amount));
                post(journal, self.once(TransactionKind::Lend), posting)?;
            }
            Command::Settle(amount) => {
                (micros(amount) <= journal.owed().unwrap()).then_some(())?;
                let [pool, receivable] = self.own(journal, [AccountKind::TeamPool, AccountKind::Receivable]);
                let posting = Posting::settle(pool, receivable, micros(amount));
                post(journal, self.once(TransactionKind::Settle), posting)?;
            }
        }
        Some(deed)
    }

    fn own<const N: usize>(&self, journal: &Journal, kinds: [AccountKind; N]) -> [AccountId; N] {
        kinds.map(|kind| journal.own(kind).unwrap())
    }

    fn place(&mut self, journal: &mut Journal, slot: usize, amount: Credits, deed: &mut Deed) -> Option<()> {
        self.runs[slot].is_none().then_some(())?;
        let (hold, instance) = (self.id(), self.id());
        let user = self.user(slot);
        let new =
            NewHold { id: hold, user, instance, account: self.account(journal, purse_of(slot)), amount };
        let header = self.header(IdemKey::hold_place(hold));
        (journal.hold_place(header, new).unwrap() == Outcome::Applied).then_some(())?;
        let segment = self.segment(slot, Some(instance), instance.to_string());
        deed.instance = Some((instance, user.member, user.api_key));
        deed.opened = Some(segment.clone());
        self.segments[slot] = Some(segment);
        self.runs[slot] = Some(Run { hold, instance });
        self.charged[slot].retain(|charged| charged.stored);
        Some(())
    }

    pub(crate) fn segment(&self, slot: usize, instance: Option<InstanceId>, resource: String) -> Segment {
        let start_at = self.clock.now();
        Segment {
            id: self.id(),
            team: self.team,
            member: self.members[slot],
            resource,
            instance,
            account: None,
            kind: "instance".to_owned(),
            number: 0,
            quantity: 1,
            price_version: self.price_version,
            sku: sku(),
            quoted_per_hour: Credits::ZERO,
            grid: Span::from_seconds(GRID),
            start_at,
            end_at: None,
            proof_at: start_at,
            billed_until: start_at,
            next_k: 0,
            cumulative: NanoCredits::ZERO,
            settled: false,
        }
    }

    /// Charges the next interval of a segment; the segment as it is then.
    fn charge(
        &mut self,
        journal: &mut Journal,
        segment: &Segment,
        nano: i64,
        payer: Payer,
        (slot, user, account): (usize, User, AccountId),
        deed: &mut Deed,
    ) -> Segment {
        let mut proven = segment.clone();
        proven.proof_at = boundary(segment.start_at, segment.grid, segment.next_k + 1);
        let intervals: Vec<_> = proven.closed_intervals().collect();
        let [interval] = intervals[..] else { panic!("expected one interval, got {intervals:?}") };
        let mut tally = Tally::from_cumulative(segment.cumulative);
        let nano = NanoCredits::from_nanos(nano);
        let amount = tally.charge(nano).unwrap();
        let header = self.header(IdemKey::capture(segment.id, interval.k, 0));
        let transaction = amount.is_positive().then_some(header.id);
        let Cover { uncovered, .. } =
            journal.capture(header, payer, user, &[(interval.from, amount)]).unwrap();
        let charge = Charge {
            segment: segment.id,
            k: interval.k,
            revision: 0,
            team: segment.team,
            member: segment.member,
            resource: segment.resource.clone(),
            instance: segment.instance,
            kind: segment.kind.clone(),
            from_at: interval.from,
            to_at: interval.to,
            quantity: segment.quantity,
            nano,
            amount,
            uncovered,
            price_version: segment.price_version,
            component_digest: String::new(),
            config_digest: String::new(),
            input_digest: String::new(),
            told_now: self.clock.now(),
            lines: Vec::new(),
            parked: false,
            parked_because: String::new(),
            reason: String::new(),
            transaction,
            created_at: self.clock.now(),
        };
        if transaction.is_some() {
            let written = journal.written().last().unwrap();
            let paid = |line: &&muster::ledger::journal::WrittenLine| {
                line.line.account == account && line.line.phase == Phase::Posted
            };
            let parts = written.lines.iter().find(paid).map(|line| line.lots.clone()).unwrap_or_default();
            let stored = segment.account.is_some();
            self.charged[slot].push(Charged { charge: charge.clone(), account, parts, user, stored });
        }
        let (billed_until, next_k) = (interval.to, interval.k + 1);
        let to = Segment { billed_until, next_k, cumulative: tally.cumulative(), ..proven };
        deed.charge = Some(charge);
        deed.advanced = Some((segment.clone(), to.clone()));
        to
    }

    fn give_back(&mut self, journal: &mut Journal, slot: usize, percent: i64, deed: &mut Deed) -> Option<()> {
        let Charged { charge, account, parts, user, stored } = self.charged[slot].last()?.clone();
        let part = |amount: Credits| micros((amount.as_micros() * percent / 100) & !1);
        let covered = part(charge.amount.minus(charge.uncovered).unwrap());
        let uncovered = part(charge.uncovered.min(journal.owed().unwrap()));
        let back = covered.plus(uncovered).unwrap();
        back.is_positive().then_some(())?;
        let otherwise = self.clock.now() + Span::from_seconds(SECOND_CHANCE);
        let [revenue, receivable] = self.own(journal, [AccountKind::Revenue, AccountKind::Receivable]);
        let lots = LotUse::Back { parts, otherwise };
        let cover = Cover { covered, uncovered };
        let posting = Posting::give_back(account, revenue, receivable, receivable, Back::of(cover), lots);
        let header = self.header(IdemKey::capture(charge.segment, charge.k, 1));
        let transaction = Some(header.id);
        post(journal, header, posting)?;
        let less = Credits::ZERO.minus(back).unwrap();
        journal.budgets_spend(user, &[(charge.from_at, less)]).unwrap();
        self.charged[slot].pop();
        let segments = if stored { &mut self.stores } else { &mut self.segments };
        let segment = segments[slot].as_mut()?;
        let (from, nano) = (segment.clone(), less.to_nano().unwrap());
        segment.cumulative = segment.cumulative.plus(nano).unwrap();
        deed.advanced = Some((from, segment.clone()));
        deed.charge = Some(Charge {
            revision: 1,
            nano,
            amount: less,
            uncovered: cover.uncovered,
            transaction,
            reason: "too much".to_owned(),
            ..charge
        });
        Some(())
    }
}

fn post(
    journal: &mut Journal,
    header: Header,
    posting: Result<Posting, muster::ledger::posting::Error>,
) -> Option<()> {
    let before = journal.rows().clone();
    let outcome = journal.post(header, &posting.unwrap()).unwrap();
    if outcome != Outcome::Applied {
        assert_eq!(journal.rows(), &before, "a refused posting changed something");
    }
    (outcome == Outcome::Applied).then_some(())
}

pub(crate) fn micros(micros: i64) -> Credits {
    Credits::from_micros(micros)
}

fn sku() -> Sku {
    Sku {
        name: "cpu".to_owned(),
        kind: "instance".to_owned(),
        region: "here".to_owned(),
        instance_type: "cpu".to_owned(),
        accelerator: "none".to_owned(),
        unit_price: NanoCredits::ZERO,
    }
}

impl Clerk {
    /// What can be seen in these rows.
    pub(crate) fn picture(&self, rows: &Rows, plans: &[Plan]) -> Picture {
        let posted = |kind| {
            let found = rows.accounts.values().find(|account| account.kind == kind).unwrap();
            found.balance.posted().unwrap().as_micros()
        };
        let purse_with = |account: AccountId| {
            let account = &rows.accounts[&account];
            let wallet = self.members.iter().position(|member| Some(*member) == account.member);
            wallet.map_or(0, |slot| slot + 1)
        };
        let mut picture = Picture {
            earned: posted(AccountKind::Revenue),
            owed: -posted(AccountKind::Receivable),
            paid_in: -posted(AccountKind::Cash),
            given: -posted(AccountKind::Promo),
            lost: posted(AccountKind::Breakage),
            ..Picture::default()
        };
        for account in rows.accounts.values().filter(|account| account.floor.is_some()) {
            let (posted, held) = (account.balance.posted().unwrap(), account.balance.pending());
            picture.purses[purse_with(account.id)] = (posted.as_micros(), held.as_micros());
        }
        for lot in rows.lots.values().filter(|lot| lot.left().unwrap().is_positive()) {
            let kind = match lot.terms.category {
                Category::Promo => 0,
                Category::Paid => 1,
                Category::Lent => 2,
            };
            let seconds = |at: Timestamp| at.as_micros() / 1_000_000;
            let end = lot.terms.expires_at.map_or(i64::MAX, seconds);
            let sort = (purse_with(lot.account), lot.terms.priority, end, kind, seconds(lot.effective_at));
            let heap: &mut Heap = picture.heaps.entry(sort).or_default();
            heap.left += lot.left().unwrap().as_micros();
            for (slot, run) in self.runs.iter().enumerate() {
                let pin = run.as_ref().and_then(|run| rows.pins.get(&(run.hold, lot.id)));
                heap.pinned[slot] += pin.map_or(0, |pin| pin.as_micros());
            }
        }
        let budgets = self.budgets(plans);
        for ((budget, start_at), period) in &rows.periods {
            let nth = budgets.iter().position(|own| own.id == *budget).unwrap();
            let said = (period.reserved.as_micros(), period.spent.as_micros());
            if said != (0, 0) {
                picture.budgets.insert((nth, start_at.as_micros() / 1_000_000), said);
            }
        }
        picture
    }
}
