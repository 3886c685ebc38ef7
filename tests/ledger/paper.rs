//! The pure journal on paper: without any database, over thousands of lives.

use std::collections::BTreeMap;

use muster::{
    ids::{AccountId, BudgetId, Id, LotId, SegmentId},
    ledger::{
        account::{Account, AccountKind},
        booking::{BookedLine, Booking, LotMove, Made},
        budget::Budget,
        interval::Segment,
        journal::{Journal, Rows, Team, Written},
        posting::{Direction, is_balanced},
        rating::Charge,
        verify::{Entry, Moved, Payment, Report, Verifier},
    },
    model::terms::TeamTerms,
    money::Credits,
};
use proptest::prelude::*;

use crate::{
    clerk::{Clerk, Deed, NOW},
    model::{Command, Life, Model, Picture, Plan, lives},
};

/// The books of a team in memory.
struct Paper {
    clerk: Clerk,
    plans: Vec<Plan>,
    team: Team,
    budgets: BTreeMap<BudgetId, Budget>,
    rows: Rows,
    bookings: Vec<Booking>,
    segments: BTreeMap<SegmentId, Segment>,
    charges: Vec<Charge>,
    payments: Vec<Payment>,
}

impl Paper {
    fn new(plans: &[Plan]) -> Self {
        let clerk = Clerk::new(1);
        let mut rows = Rows::default();
        let mut open = |member, kind| {
            let account = Account::open(clerk.id::<AccountId>(), clerk.team, member, kind, NOW);
            rows.accounts.insert(account.id, account);
        };
        for &kind in AccountKind::ALL.iter().filter(|kind| !kind.is_personal()) {
            open(None, kind);
        }
        for member in clerk.members {
            open(Some(member), AccountKind::Wallet);
        }
        let team =
            Team { id: clerk.team, terms: TeamTerms::default(), credit_limit: Credits::ZERO, booked: 0 };
        let budgets = clerk.budgets(plans).into_iter().map(|budget| (budget.id, budget)).collect();
        Self {
            clerk,
            plans: plans.to_vec(),
            team,
            budgets,
            rows,
            bookings: Vec::new(),
            segments: BTreeMap::new(),
            charges: Vec::new(),
            payments: Vec::new(),
        }
    }

    fn journal(&self) -> Journal {
        let (clock, chance) = (self.clerk.clock.clone(), self.clerk.chance.clone());
        let lot_id = move || {
            use muster::time::Clock;
            LotId::fresh(clock.now(), &*chance)
        };
        Journal::new(self.team.clone(), self.budgets.clone(), self.rows.clone(), Box::new(lot_id))
    }

    fn run(&mut self, command: &Command) -> bool {
        self.clerk.tick(command);
        let mut journal = self.journal();
        let Some(deed) = self.clerk.act(&mut journal, command) else {
            assert_eq!(journal.rows(), &self.rows, "{command:?} was refused and changed something");
            assert!(journal.written().is_empty(), "{command:?} was refused and wrote something");
            return false;
        };
        self.keep(&journal, deed);
        true
    }

    fn keep(&mut self, journal: &Journal, deed: Deed) {
        self.team.booked = journal.team().booked;
        self.rows = journal.rows().clone();
        let bookings: Vec<_> = journal.written().iter().map(|written| self.booking(written)).collect();
        self.bookings.extend(bookings);
        let open = deed.opened.into_iter().chain(deed.advanced.map(|(_, to)| to));
        self.segments.extend(open.map(|segment| (segment.id, segment)));
        if let Some(closed) = deed.closed {
            let segment = self.segments.get_mut(&closed).unwrap();
            (segment.end_at, segment.settled) = (Some(segment.billed_until), true);
        }
        self.charges.extend(deed.charge);
        let payment =
            |(id, amount)| Payment { id, team: self.team.id, amount, refunded: Credits::ZERO, paid: true };
        self.payments.extend(deed.top_up.map(payment));
    }

    fn booking(&self, written: &Written) -> Booking {
        let lines = written.lines.iter().map(|line| {
            assert!(line.lots.iter().all(|part| part.amount.is_positive()), "{line:?}");
            let made = |lot: &muster::ledger::lot::Lot| Made {
                terms: lot.terms,
                effective_at: lot.effective_at,
                parent: lot.parent,
                origin: lot.origin,
            };
            let lots = line.lots.iter().map(|part| {
                let lot = &self.rows.lots[&part.lot];
                let own = line.line.direction == Direction::Credit && lot.transaction == written.header.id;
                LotMove { part: *part, made: own.then(|| made(lot)) }
            });
            BookedLine { line: line.line, account_move: line.account_move, lots: lots.collect() }
        });
        let lines: Vec<BookedLine> = lines.collect();
        assert!(is_balanced(&lines.iter().map(|booked| booked.line).collect::<Vec<_>>()));
        Booking { seq: written.seq, header: written.header.clone(), kind: written.kind, lines }
    }

    fn picture(&self) -> Picture {
        self.clerk.picture(&self.rows, &self.plans)
    }

    fn verify(&self) -> Report {
        let mut checks = Verifier::new();
        checks.team(self.team.id, self.team.booked, self.team.terms.time_zone.clone());
        self.rows.accounts.values().for_each(|account| checks.account(account.clone()));
        let mut entries = Vec::new();
        for booking in &self.bookings {
            for booked in &booking.lines {
                let (transaction, account_move) = (booking.header.id, booked.account_move);
                entries.push((Entry { transaction, account_move, line: booked.line }, booking, booked));
            }
        }
        entries.sort_by_key(|(entry, ..)| (entry.line.account, entry.account_move));
        entries.iter().for_each(|(entry, ..)| checks.entry(entry));
        self.rows.holds.values().for_each(|hold| checks.hold(hold.clone()));
        self.rows.lots.values().for_each(|lot| checks.lot(lot.clone()));
        for (entry, booking, booked) in &entries {
            for moved in &booked.lots {
                checks.lot_move(&Moved {
                    part: moved.part,
                    account: entry.line.account,
                    direction: entry.line.direction,
                    phase: entry.line.phase,
                    transaction: entry.transaction,
                    kind: booking.kind,
                    recorded_at: booking.header.recorded_at,
                });
            }
        }
        let pins = self.rows.pins.iter().filter(|(_, amount)| amount.is_positive());
        pins.for_each(|((hold, lot), amount)| checks.pin(*hold, *lot, *amount));
        self.budgets.values().for_each(|budget| checks.budget(budget.clone()));
        self.rows.periods.iter().for_each(|((budget, _), period)| checks.period(*budget, *period));
        let claims = self.rows.claims.values().filter(|claim| claim.reserved.is_positive());
        claims.for_each(|claim| checks.claim(claim));
        self.segments.values().for_each(|segment| checks.segment(segment.clone()));
        let mut charges: Vec<_> = self.charges.iter().collect();
        charges.sort_by_key(|charge| (charge.segment, charge.k, charge.revision));
        for charge in charges {
            let by_key = charge.instance.is_some() && charge.member == self.clerk.members[1];
            checks.charge(charge, by_key.then_some(self.clerk.key));
        }
        self.payments.iter().for_each(|payment| checks.top_up(*payment));
        self.bookings.iter().for_each(|booking| checks.booking(booking));
        checks.finish()
    }

    /// A team that has lived.
    fn lived(life: &Life) -> Self {
        let mut paper = Self::new(&life.plans);
        for command in &life.commands {
            paper.run(command);
        }
        paper
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_life_agrees_with_the_model_at_every_step_and_leaves_sound_books(life in lives(60)) {
        let (mut paper, mut model) = (Paper::new(&life.plans), Model::new(&life.plans));
        for command in &life.commands {
            prop_assert_eq!(paper.run(command), model.run(command), "{:?}", command);
            prop_assert_eq!(paper.picture(), model.picture(), "{:?}", command);
        }
        let report = paper.verify();
        prop_assert!(report.is_clean(), "{:#?}", report);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_two_wallets_are_charged_does_not_depend_on_who_comes_first(
        life in lives(40), first in charges_of(0), second in charges_of(1),
    ) {
        let (mut one, mut other) = (Paper::lived(&life), Paper::lived(&life));
        for (command, nth) in first.iter().chain(&second).zip(0..) {
            prop_assert_eq!(one.clerk.clock_seconds(), other.clerk.clock_seconds(), "{}", nth);
            one.run(command);
            let turned = if nth < second.len() { &second[nth] } else { &first[nth - second.len()] };
            other.run(turned);
        }
        prop_assert_eq!(one.picture(), other.picture());
        prop_assert!(other.verify().is_clean());
    }
}

/// What is never refused, of one slot.
fn charges_of(slot: usize) -> impl Strategy<Value = Vec<Command>> {
    let command = prop_oneof![
        3 => (0i64..120_000).prop_map(move |nano| Command::Capture(slot, nano)),
        1 => Just(Command::Release(slot)),
    ];
    prop::collection::vec(command, 1..5)
}
