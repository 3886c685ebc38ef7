//! The books as a child would keep them: a few numbers in a box, and no line of the real ledger. What the real one does
//! is compared with this.

use std::collections::BTreeMap;

use proptest::prelude::*;

/// Members, and instances, of a model. What runs in the last place is paid from the pool, the others from their
/// wallets; what runs in the middle one was launched with an API key.
pub(crate) const SLOTS: usize = 3;

/// The moment at which every life begins, in seconds: 2027-01-15 08:00 UTC.
pub(crate) const BEGIN: i64 = 1_800_000_000;

/// Beginnings of the months around and after [`BEGIN`], in seconds.
const MONTHS: [i64; 14] = [
    1_798_761_600,
    1_801_440_000,
    1_803_859_200,
    1_806_537_600,
    1_809_129_600,
    1_811_808_000,
    1_814_400_000,
    1_817_078_400,
    1_819_756_800,
    1_822_348_800,
    1_825_027_200,
    1_827_619_200,
    1_830_297_600,
    1_832_976_000,
];

/// Length of the grid that use is billed by, in seconds: months pass quickly.
pub(crate) const GRID: i64 = 5 * 86_400;

/// For how many seconds money is good that comes back when its lot is over.
pub(crate) const SECOND_CHANCE: i64 = 86_400;

/// Something that moves money; amounts are micro-credits.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    TopUp(i64),
    /// A gift, good for so many days.
    Grant(i64, Option<i64>),
    Assign(usize, i64),
    Reclaim(usize, i64),
    Place(usize, i64),
    Extend(usize, i64),
    /// Charges the next interval; nano-credits.
    Capture(usize, i64),
    /// Charges the next interval of something that no hold pays; nano-credits.
    Store(usize, i64),
    /// Gives back so many percent of what was last charged and not given back.
    GiveBack(usize, i64),
    Release(usize),
    /// Takes what was lost.
    Expire,
    Lend(usize, i64),
    /// The pool pays so much of what is owed.
    Settle(i64),
    /// Days pass.
    Pass(i64),
}

/// Whose use a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    Team,
    Member(usize),
    Key,
}

/// What a budget that is used up does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bite {
    Alert,
    Deny,
    Drain,
}

/// A budget that stands from the beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) whose: Whose,
    pub(crate) monthly: bool,
    pub(crate) ceiling: i64,
    pub(crate) bite: Bite,
}

/// A team's budgets and what it does.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) plans: Vec<Plan>,
    pub(crate) commands: Vec<Command>,
}

/// Money that cannot be told apart: place (0 is the pool), priority, end in seconds, kind (gift, paid, lent), and when
/// it came in. The order of its fields after the first is the order of use.
pub(crate) type Sort = (usize, i64, i64, u8, i64);

/// What is left of money of one sort, and what of it each instance has pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Heap {
    pub(crate) left: i64,
    pub(crate) pinned: [i64; SLOTS],
}

/// What can be seen of the books.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Picture {
    /// Posted and held of the pool and of the wallets.
    pub(crate) purses: [(i64, i64); SLOTS + 1],
    pub(crate) earned: i64,
    pub(crate) owed: i64,
    pub(crate) paid_in: i64,
    pub(crate) given: i64,
    pub(crate) lost: i64,
    pub(crate) heaps: BTreeMap<Sort, Heap>,
    /// Reserved and spent of each budget's periods that are not untouched, by their beginning in seconds.
    pub(crate) budgets: BTreeMap<(usize, i64), (i64, i64)>,
}

#[derive(Debug, Clone)]
struct Charged {
    parts: Vec<(Sort, i64)>,
    uncovered: i64,
    from: i64,
    stored: bool,
}

#[derive(Debug, Clone, Default)]
struct Run {
    start: i64,
    k: i64,
    nano: i64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    plans: Vec<Plan>,
    now: i64,
    heaps: BTreeMap<Sort, Heap>,
    open: [bool; SLOTS],
    runs: [Run; SLOTS],
    stores: [Run; SLOTS],
    charged: [Vec<Charged>; SLOTS],
    spent: BTreeMap<(usize, i64), i64>,
    claims: BTreeMap<(usize, usize), (i64, i64)>,
    earned: i64,
    owed: i64,
    paid_in: i64,
    given: i64,
    lost: i64,
}

/// Whether a model may do something.
type Verdict = Option<()>;

impl Model {
    pub(crate) fn new(plans: &[Plan]) -> Self {
        Self { plans: plans.to_vec(), now: BEGIN, ..Self::default() }
    }

    /// Does it, or says no and does nothing. Time passes anyway.
    pub(crate) fn run(&mut self, command: &Command) -> bool {
        self.now += 1;
        let mut after = self.clone();
        let possible = after.attempt(command).is_some();
        if possible {
            *self = after;
        }
        possible
    }

    pub(crate) fn picture(&self) -> Picture {
        let mut picture = Picture {
            earned: self.earned,
            owed: self.owed,
            paid_in: self.paid_in,
            given: self.given,
            lost: self.lost,
            ..Picture::default()
        };
        for (sort, heap) in self.heaps.iter().filter(|(_, heap)| heap.left > 0) {
            picture.purses[sort.0].0 += heap.left;
            picture.purses[sort.0].1 += heap.pinned.iter().sum::<i64>();
            picture.heaps.insert(*sort, *heap);
        }
        for (&(_, budget), &(month, amount)) in &self.claims {
            picture.budgets.entry((budget, month)).or_default().0 += amount;
        }
        for (&key, &spent) in self.spent.iter().filter(|(_, spent)| **spent != 0) {
            picture.budgets.entry(key).or_default().1 = spent;
        }
        picture
    }

    fn attempt(&mut self, command: &Command) -> Verdict {
        let now = self.now;
        match *command {
            Command::Pass(days) => self.now += days * 86_400,
            Command::TopUp(amount) => {
                self.put((0, 100, i64::MAX, 1, now), amount);
                self.paid_in += amount;
            }
            Command::Grant(amount, days) => {
                let end = days.map_or(i64::MAX, |days| now + days * 86_400);
                self.put((0, 100, end, 0, now), amount);
                self.given += amount;
            }
            Command::Assign(slot, amount) => self.carry(0, slot + 1, amount)?,
            Command::Reclaim(slot, amount) => self.carry(slot + 1, 0, amount)?,
            Command::Place(slot, amount) => {
                let free = !std::mem::replace(&mut self.open[slot], true);
                let fits = |plan: usize| amount <= self.left_of(plan, None);
                let denied =
                    self.counting(slot).any(|plan| self.plans[plan].bite != Bite::Alert && !fits(plan));
                (free && !denied).then_some(())?;
                self.pin(slot, amount)?;
                self.runs[slot] = Run { start: now, k: 0, nano: 0 };
                self.charged[slot].retain(|charged| charged.stored);
                self.claim(slot);
            }
            Command::Extend(slot, amount) => {
                let more = amount + self.held(slot);
                let fits = |plan: usize| more <= self.left_of(plan, Some(slot));
                let drained =
                    self.counting(slot).any(|plan| self.plans[plan].bite == Bite::Drain && !fits(plan));
                (self.open[slot] && !drained).then_some(())?;
                self.pin(slot, amount)?;
                self.claim(slot);
            }
            Command::Capture(slot, nano) => {
                self.open[slot].then_some(())?;
                let (from, due) = self.runs[slot].next(nano);
                let (parts, covered) = self.unpin(slot, due);
                self.earn(slot, from, due, covered, parts, false);
                self.claim(slot);
            }
            Command::Store(slot, nano) => {
                if self.stores[slot].start == 0 {
                    self.stores[slot].start = now;
                }
                let (from, due) = self.stores[slot].next(nano);
                let covered = due.min(self.spendable(slot + 1));
                let parts = self.take(slot + 1, covered)?;
                self.earn(slot, from, due, covered, parts, true);
            }
            Command::GiveBack(slot, percent) => self.give_back(slot, percent)?,
            Command::Release(slot) => {
                std::mem::replace(&mut self.open[slot], false).then_some(())?;
                self.heaps.values_mut().for_each(|heap| heap.pinned[slot] = 0);
                self.claim(slot);
            }
            Command::Expire => {
                let over = self.heaps.iter_mut().filter(|(sort, _)| sort.2 <= now);
                for (_, heap) in over {
                    let pinned = heap.pinned.iter().sum();
                    self.lost += heap.left - pinned;
                    heap.left = pinned;
                }
            }
            Command::Lend(slot, amount) => {
                self.put((slot + 1, 1_000_000, i64::MAX, 2, now), amount);
                self.owed += amount;
            }
            Command::Settle(amount) => {
                (amount <= self.owed).then_some(())?;
                self.take(0, amount)?;
                self.owed -= amount;
            }
        }
        Some(())
    }

    fn put(&mut self, sort: Sort, amount: i64) {
        self.heaps.entry(sort).or_default().left += amount;
    }

    fn spendable(&self, place: usize) -> i64 {
        let good = self.heaps.iter().filter(|(sort, _)| sort.0 == place && sort.2 > self.now);
        good.map(|(_, heap)| heap.left - heap.pinned.iter().sum::<i64>()).sum()
    }

    /// Shares `amount` out over what is free in a place, in the order of use.
    fn share(&self, place: usize, mut amount: i64) -> Option<Vec<(Sort, i64)>> {
        let mut parts = Vec::new();
        for (sort, heap) in self.heaps.iter().filter(|(sort, _)| sort.0 == place && sort.2 > self.now) {
            let part = amount.min(heap.left - heap.pinned.iter().sum::<i64>());
            if part > 0 {
                parts.push((*sort, part));
                amount -= part;
            }
        }
        (amount == 0).then_some(parts)
    }

    fn take(&mut self, place: usize, amount: i64) -> Option<Vec<(Sort, i64)>> {
        let parts = self.share(place, amount)?;
        for (sort, part) in &parts {
            self.heaps.get_mut(sort)?.left -= part;
        }
        Some(parts)
    }

    fn carry(&mut self, from: usize, to: usize, amount: i64) -> Verdict {
        for ((_, priority, end, kind, since), part) in self.take(from, amount)? {
            self.put((to, priority, end, kind, since), part);
        }
        Some(())
    }

    fn pin(&mut self, slot: usize, amount: i64) -> Verdict {
        for (sort, part) in self.share(purse_of(slot), amount)? {
            self.heaps.get_mut(&sort)?.pinned[slot] += part;
        }
        Some(())
    }

    /// Takes what is pinned, up to `due`.
    fn unpin(&mut self, slot: usize, due: i64) -> (Vec<(Sort, i64)>, i64) {
        let (mut parts, mut missing) = (Vec::new(), due);
        for (sort, heap) in &mut self.heaps {
            let part = missing.min(heap.pinned[slot]);
            if part > 0 {
                heap.left -= part;
                heap.pinned[slot] -= part;
                missing -= part;
                parts.push((*sort, part));
            }
        }
        (parts, due - missing)
    }

    fn held(&self, slot: usize) -> i64 {
        self.heaps.values().map(|heap| heap.pinned[slot]).sum()
    }

    fn earn(
        &mut self,
        slot: usize,
        from: i64,
        due: i64,
        covered: i64,
        parts: Vec<(Sort, i64)>,
        stored: bool,
    ) {
        self.earned += due;
        self.owed += due - covered;
        if due > 0 {
            self.charged[slot].push(Charged { parts, uncovered: due - covered, from, stored });
        }
        self.spend(slot, from, due, stored);
    }

    /// Counts a charge for every budget; what is stored was not launched by a key.
    fn spend(&mut self, slot: usize, from: i64, amount: i64, stored: bool) {
        let plans: Vec<usize> = self.counting(slot).collect();
        for plan in plans {
            if !(stored && self.plans[plan].whose == Whose::Key) {
                *self.spent.entry((plan, self.period(plan, from))).or_default() += amount;
            }
        }
    }

    /// Half of the last charge or less comes back, in whole even micro-credits.
    fn give_back(&mut self, slot: usize, percent: i64) -> Verdict {
        let charged = self.charged[slot].last()?.clone();
        let covered: i64 = charged.parts.iter().map(|(_, part)| part).sum();
        let back = (covered * percent / 100) & !1;
        let forgiven = (charged.uncovered.min(self.owed) * percent / 100) & !1;
        (back + forgiven > 0).then_some(())?;
        self.charged[slot].pop();
        let mut missing = back;
        for (sort, part) in charged.parts {
            let part = part.min(missing);
            missing -= part;
            let sort =
                if sort.2 <= self.now { (sort.0, 100, self.now + SECOND_CHANCE, 0, self.now) } else { sort };
            self.put(sort, part);
        }
        self.owed -= forgiven;
        self.earned -= back + forgiven;
        let run = if charged.stored { &mut self.stores[slot] } else { &mut self.runs[slot] };
        run.nano -= (back + forgiven) * 1_000;
        self.spend(slot, charged.from, -(back + forgiven), charged.stored);
        Some(())
    }

    // Budgets.

    fn counting(&self, slot: usize) -> impl Iterator<Item = usize> + use<'_> {
        let counts = move |plan: &Plan| match plan.whose {
            Whose::Team => true,
            Whose::Member(member) => member == slot,
            Whose::Key => slot == 1,
        };
        (0..self.plans.len()).filter(move |&plan| counts(&self.plans[plan]))
    }

    fn period(&self, plan: usize, at: i64) -> i64 {
        if self.plans[plan].monthly { month_of(at) } else { BEGIN }
    }

    /// What is left of a budget now, if the claim of one instance did not count. What runs on into a new month is
    /// claimed of it from its first instant.
    fn left_of(&self, plan: usize, without: Option<usize>) -> i64 {
        let period = self.period(plan, self.now);
        let spent = self.spent.get(&(plan, period)).copied().unwrap_or_default();
        let claims = self
            .claims
            .iter()
            .filter(|((slot, of), (begin, _))| *of == plan && *begin <= period && Some(*slot) != without);
        let reserved: i64 = claims.map(|(_, (_, amount))| amount).sum();
        (self.plans[plan].ceiling - spent - reserved).max(0)
    }

    fn claim(&mut self, slot: usize) {
        self.claims.retain(|(of, _), _| *of != slot);
        let held = self.held(slot);
        let plans: Vec<usize> = self.counting(slot).collect();
        for plan in plans.into_iter().filter(|_| held > 0) {
            self.claims.insert((slot, plan), (self.period(plan, self.now), held));
        }
    }
}

impl Run {
    /// When the next interval begins, and what it costs.
    fn next(&mut self, nano: i64) -> (i64, i64) {
        let from = if self.k == 0 { self.start } else { (self.start / GRID + self.k) * GRID };
        let due = round(self.nano + nano) - round(self.nano);
        (self.k, self.nano) = (self.k + 1, self.nano + nano);
        (from, due)
    }
}

/// The place that pays for what runs in a slot.
pub(crate) const fn purse_of(slot: usize) -> usize {
    if slot == SLOTS - 1 { 0 } else { slot + 1 }
}

fn month_of(at: i64) -> i64 {
    MONTHS.into_iter().filter(|month| *month <= at).max().unwrap()
}

/// Nano to micro, a half to the even neighbour, in the slow and obvious way.
fn round(nano: i64) -> i64 {
    let (below, rest) = (nano.div_euclid(1000), nano.rem_euclid(1000));
    match rest {
        0..500 => below,
        500 => below + below.rem_euclid(2),
        _ => below + 1,
    }
}

/// Lives of a team: half of them with some money to begin with, all of them often greedy.
pub(crate) fn lives(most: usize) -> impl Strategy<Value = Life> {
    (any::<bool>(), plans(), commands(most)).prop_map(|(endowed, plans, mut commands)| {
        if endowed {
            let shares = (0..SLOTS).map(|slot| Command::Assign(slot, 1_500));
            let gift = [Command::TopUp(5_000), Command::Grant(900, Some(20))];
            commands.splice(0..0, gift.into_iter().chain(shares));
        }
        Life { plans, commands }
    })
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let whose = prop_oneof![Just(Whose::Team), (0..SLOTS).prop_map(Whose::Member), Just(Whose::Key)];
    let bite = prop_oneof![Just(Bite::Alert), Just(Bite::Deny), Just(Bite::Drain)];
    let plan = (whose, any::<bool>(), 50i64..1_500, bite);
    let plan = plan.prop_map(|(whose, monthly, ceiling, bite)| Plan { whose, monthly, ceiling, bite });
    prop::collection::vec(plan, 0..4)
}

fn commands(most: usize) -> impl Strategy<Value = Vec<Command>> {
    let slot = 0..SLOTS;
    let days = prop::option::of(1i64..40);
    let command = prop_oneof![
        2 => (1i64..2_000).prop_map(Command::TopUp),
        2 => (1i64..900, days).prop_map(|(amount, days)| Command::Grant(amount, days)),
        3 => (slot.clone(), 1i64..900).prop_map(|(slot, amount)| Command::Assign(slot, amount)),
        2 => (slot.clone(), 1i64..900).prop_map(|(slot, amount)| Command::Reclaim(slot, amount)),
        4 => (slot.clone(), 1i64..500).prop_map(|(slot, amount)| Command::Place(slot, amount)),
        3 => (slot.clone(), 1i64..300).prop_map(|(slot, amount)| Command::Extend(slot, amount)),
        6 => (slot.clone(), 0i64..120_000).prop_map(|(slot, nano)| Command::Capture(slot, nano)),
        2 => (slot.clone(), 0i64..120_000).prop_map(|(slot, nano)| Command::Store(slot, nano)),
        2 => (slot.clone(), 1i64..=100).prop_map(|(slot, percent)| Command::GiveBack(slot, percent)),
        1 => slot.clone().prop_map(Command::Release),
        1 => Just(Command::Expire),
        1 => (slot, 1i64..200).prop_map(|(slot, amount)| Command::Lend(slot, amount)),
        1 => (1i64..200).prop_map(Command::Settle),
        2 => (1i64..6).prop_map(Command::Pass),
    ];
    prop::collection::vec(command, most / 2..most)
}
