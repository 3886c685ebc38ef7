//! Does the model's commands on a real database, in the way that services do them: one transaction each.

use muster::{
    ids::*,
    ledger::{
        budget::Budget,
        interval::Segment,
        journal::{Journal, Outcome, Rows},
        posting::{Header, IdemKey, Posting},
    },
    money::Credits,
    store::{Advance, Concern, Error, ExportCursor, Tx},
    time::Timestamp,
};

use crate::{
    clerk::{Clerk, Deed},
    model::{Command, Picture, Plan},
    world::{World, commit},
};

/// A team at work.
pub(crate) struct Desk {
    pub(crate) world: World,
    pub(crate) clerk: Clerk,
    pub(crate) plans: Vec<Plan>,
    /// What was applied, so that it can be tried again.
    pub(crate) applied: Vec<Header>,
}

impl Desk {
    pub(crate) fn new(world: World) -> Self {
        let clerk = Clerk::new(world.seed);
        Self { world, clerk, plans: Vec::new(), applied: Vec::new() }
    }

    /// A team with these budgets.
    pub(crate) async fn with(world: World, plans: &[Plan]) -> Self {
        let desk = Self { plans: plans.to_vec(), ..Self::new(world) };
        let mut tx = desk.world.db.begin().await.unwrap();
        for budget in desk.clerk.budgets(plans) {
            plant_budget(&mut tx, &budget).await;
        }
        commit(tx, &desk.world.op).await;
        desk
    }

    /// Does it; false when it was refused, and then nothing was written.
    pub(crate) async fn run(&mut self, command: &Command) -> bool {
        self.clerk.tick(command);
        let mut tx = self.world.begin().await;
        let mut journal = self.journal(&mut tx).await;
        let before = journal.rows().clone();
        let Some(deed) = self.clerk.act(&mut journal, command) else {
            assert_eq!(journal.rows(), &before, "{command:?} was refused and changed something");
            assert!(journal.written().is_empty(), "{command:?} was refused and wrote something");
            return false;
        };
        self.applied.extend(journal.written().iter().map(|written| written.header.clone()));
        self.world.write(&mut tx, &journal, &deed).await;
        commit(tx, &self.world.op).await;
        true
    }

    /// Does them all; each must be possible.
    pub(crate) async fn run_all(&mut self, commands: &[Command]) {
        for command in commands {
            assert!(self.run(command).await, "{command:?}");
        }
    }

    async fn journal(&self, tx: &mut Tx) -> Journal {
        tx.journal(&self.world.op, self.clerk.team, &self.concern()).await.unwrap()
    }

    fn concern(&self) -> Concern {
        Concern {
            members: self.clerk.members.to_vec(),
            instances: self.clerk.runs.iter().flatten().map(|run| run.instance).collect(),
            keys: vec![self.clerk.key],
            lots: self.clerk.lots_charged(),
        }
    }

    /// The rows as they stand.
    pub(crate) async fn rows(&self) -> Rows {
        let mut read = self.world.db.read().await.unwrap();
        let journal = read.journal_look(&self.world.op, self.clerk.team, &self.concern()).await.unwrap();
        journal.rows().clone()
    }

    /// What can be seen of the books.
    pub(crate) async fn picture(&self) -> Picture {
        self.clerk.picture(&self.rows().await, &self.plans)
    }

    /// Records everything again, and finds the books as they were.
    pub(crate) async fn replay(&self) {
        let before = self.world.dump().await;
        for header in &self.applied {
            let again = Header { id: self.world.op.id(), ..header.clone() };
            let refused =
                self.world.post(again, Posting::top_up(self.world.cash, self.world.pool, ONE)).await;
            assert!(matches!(refused, Err(Error::Recorded)), "{header:?}: {refused:?}");
        }
        assert_eq!(self.world.dump().await, before);
    }
}

/// The smallest amount of money.
const ONE: Credits = Credits::from_micros(1);

impl World {
    /// Posts on its own, in the books of the header's team.
    pub(crate) async fn post(
        &self,
        header: Header,
        posting: Result<Posting, muster::ledger::posting::Error>,
    ) -> Result<Outcome, Error> {
        let concern = Concern { members: self.members.to_vec(), ..Concern::default() };
        self.post_with(&concern, header, posting).await
    }

    /// Posts on its own, with more rows at hand.
    pub(crate) async fn post_with(
        &self,
        concern: &Concern,
        header: Header,
        posting: Result<Posting, muster::ledger::posting::Error>,
    ) -> Result<Outcome, Error> {
        let mut tx = self.begin().await;
        let mut journal = tx.journal(&self.op, header.team, concern).await?;
        let outcome = journal.post(header, &posting.unwrap()).expect("the journal has what it needs");
        if outcome == Outcome::Applied {
            tx.journal_write(&journal).await?;
            commit(tx, &self.op).await;
        }
        Ok(outcome)
    }

    /// Writes what a clerk did.
    pub(crate) async fn write(&self, tx: &mut Tx, journal: &Journal, deed: &Deed) {
        if let Some((instance, member, key)) = deed.instance {
            self.plant_instance_as(tx, instance, member, key).await;
        }
        if let Some((id, amount)) = deed.top_up {
            self.plant_top_up(tx, id, amount).await;
        }
        tx.journal_write(journal).await.unwrap();
        if let Some(segment) = &deed.opened {
            tx.segment_open(segment).await.unwrap();
        }
        if let Some((from, to)) = &deed.advanced {
            advance(tx, from, to).await;
        }
        tx.charges_insert(deed.charge.as_slice()).await.unwrap();
        if let Some(segment) = deed.closed {
            let start = Timestamp::from_micros(0);
            assert!(tx.segment_close(segment, start).await.unwrap().is_some());
            assert!(tx.segment_close(segment, start).await.unwrap().is_none(), "a segment was closed twice");
        }
    }

    /// The whole books, as the operator exports them.
    pub(crate) async fn dump(&self) -> String {
        let mut read = self.db.read().await.unwrap();
        let (mut text, mut cursor) = (String::new(), ExportCursor::dump());
        while let Some(page) = read.export_page(&mut cursor).await.unwrap() {
            text.push_str(&page);
        }
        text
    }

    async fn plant_top_up(&self, tx: &mut Tx, id: TopUpId, amount: Credits) {
        const TOP_UP: &str = "
            INSERT INTO top_ups (id, team, amount, provider, state, automatic, note, requested_by, confirmed_by,
                refunded, failure, next_at, tries, created_at)
            VALUES ($1, $2, $3, 'manual', 'succeeded', $4, '', 'test', '[]', 0, '', 0, 0, 0)";
        let insert = tx.query(TOP_UP).bind(id).bind(self.team).bind(amount).bind(false);
        insert.execute().await.unwrap();
    }
}

async fn advance(tx: &mut Tx, from: &Segment, to: &Segment) {
    if to.end_at.is_none() {
        tx.segment_proof_advance(from.id, to.proof_at).await.unwrap();
    }
    let advance = Advance {
        segment: from.id,
        from: from.watermark(),
        to: to.watermark(),
        cumulative_before: from.cumulative,
        cumulative: to.cumulative,
    };
    tx.segments_advance(&[advance]).await.unwrap();
}

async fn plant_budget(tx: &mut Tx, budget: &Budget) {
    const BUDGET: &str = "
        INSERT INTO budgets (id, team, name, scope, subject, period, ceiling, thresholds, reaction, active, version,
            created_by, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, '[]', $8, $9, 1, 'test', $10)";
    let insert = tx.query(BUDGET).bind(budget.id).bind(budget.team).bind(budget.name.as_str());
    let insert = insert.bind(budget.scope).bind(budget.subject.as_str()).bind(budget.period);
    let insert = insert.bind(budget.ceiling).bind(budget.reaction).bind(true).bind(budget.created_at);
    insert.execute().await.unwrap();
}

/// The key of a top-up that nobody else makes.
pub(crate) fn fresh_key(world: &World) -> IdemKey {
    IdemKey::top_up(world.op.id())
}
