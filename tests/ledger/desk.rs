//! Does the model's commands on a real database, in the way that services do them: one transaction each.

use muster::{
    ids::*,
    ledger::{
        hold::{Hold, HoldState},
        interval::{Segment, Watermark, boundary},
        posting::{Header, IdemKey, Posting, TransactionKind},
        rating::{Charge, Tally},
    },
    money::{Credits, NanoCredits},
    store::{Outcome, Tx},
    time::{Span, Timestamp},
};

use crate::{
    model::{Command, SLOTS},
    world::{NOW, World, commit},
};

/// What was applied, so that it can be tried again.
pub(crate) type Applied = (Header, Posting);

/// A team at work.
pub(crate) struct Desk {
    pub(crate) world: World,
    pub(crate) applied: Vec<Applied>,
    running: [Option<(HoldId, SegmentId)>; SLOTS],
}

impl Desk {
    pub(crate) fn new(world: World) -> Self {
        Self { world, applied: Vec::new(), running: [None; SLOTS] }
    }

    /// Does it; false when it was refused, and then nothing was written.
    pub(crate) async fn run(&mut self, command: &Command) -> bool {
        let w = &self.world;
        match *command {
            Command::TopUp(amount) => {
                let key = IdemKey::top_up(w.op.id());
                self.post(key, Posting::top_up(w.cash, w.pool, micros(amount)).unwrap()).await
            }
            Command::Assign(slot, amount) => {
                let key = IdemKey::request(TransactionKind::Assign, w.op.id());
                self.post(key, Posting::assign(w.pool, w.wallets[slot], micros(amount)).unwrap()).await
            }
            Command::Reclaim(slot, amount) => {
                let key = IdemKey::request(TransactionKind::Reclaim, w.op.id());
                self.post(key, Posting::reclaim(w.wallets[slot], w.pool, micros(amount)).unwrap()).await
            }
            Command::Place(slot, amount) if self.running[slot].is_none() => self.place(slot, amount).await,
            Command::Place(..) => false,
            Command::Extend(slot, amount) => match self.running[slot] {
                Some((hold, _)) => self.extend(slot, hold, amount).await,
                None => false,
            },
            Command::Capture(slot, nano) => match self.running[slot] {
                Some((hold, segment)) => self.capture(slot, hold, segment, nano).await,
                None => false,
            },
            Command::Release(slot) => match self.running[slot].take() {
                Some((hold, segment)) => self.release(slot, hold, segment).await,
                None => false,
            },
        }
    }

    async fn post(&mut self, key: IdemKey, posting: Posting) -> bool {
        let mut tx = self.world.db.begin().await.unwrap();
        let applied = self.apply(&mut tx, key, posting).await;
        if applied {
            commit(tx, &self.world.op).await;
        }
        applied
    }

    async fn apply(&mut self, tx: &mut Tx, key: IdemKey, posting: Posting) -> bool {
        let header = header(&self.world, key);
        let applied = tx.posting_apply(&header, &posting).await.unwrap() == Outcome::Applied;
        if applied {
            self.applied.push((header, posting));
        }
        applied
    }

    async fn place(&mut self, slot: usize, amount: i64) -> bool {
        let (account, revenue) = (self.world.wallets[slot], self.world.revenue);
        let mut tx = self.world.db.begin().await.unwrap();
        let hold: HoldId = self.world.op.id();
        let posting = Posting::hold_place(account, revenue, micros(amount)).unwrap();
        if !self.apply(&mut tx, IdemKey::hold_place(hold), posting).await {
            return false;
        }
        let instance = self.world.plant_instance(&mut tx, self.world.members[slot]).await;
        tx.hold_insert(&new_hold(&self.world, slot, hold, instance, amount)).await.unwrap();
        let segment = new_segment(&self.world, slot, instance);
        tx.segment_open(&segment).await.unwrap();
        commit(tx, &self.world.op).await;
        self.running[slot] = Some((hold, segment.id));
        true
    }

    async fn extend(&mut self, slot: usize, id: HoldId, amount: i64) -> bool {
        let mut tx = self.world.db.begin().await.unwrap();
        let hold = tx.hold_fetch(id).await.unwrap().unwrap();
        let posting =
            Posting::hold_extend(self.world.wallets[slot], self.world.revenue, micros(amount)).unwrap();
        if !self.apply(&mut tx, IdemKey::hold_extend(id, hold.extensions + 1), posting).await {
            return false;
        }
        assert!(tx.hold_extend(id, micros(amount), hold.extensions).await.unwrap());
        commit(tx, &self.world.op).await;
        true
    }

    async fn capture(&mut self, slot: usize, hold: HoldId, segment: SegmentId, nano: i64) -> bool {
        let nano = NanoCredits::from_nanos(nano);
        let mut tx = self.world.db.begin().await.unwrap();
        let segment = tx.segment_fetch(segment).await.unwrap().unwrap();
        let proof = boundary(segment.start_at, segment.grid, segment.next_k + 1);
        assert!(tx.segment_proof_advance(segment.id, proof).await.unwrap());
        let segment = tx.segment_fetch(segment.id).await.unwrap().unwrap();
        let intervals: Vec<_> = segment.closed_intervals().collect();
        let [interval] = intervals[..] else { panic!("expected one interval, got {intervals:?}") };

        let mut tally = Tally::from_cumulative(segment.cumulative);
        let amount = tally.charge(nano).unwrap();
        let cover = tx.hold_fetch(hold).await.unwrap().unwrap().cover(amount).unwrap();
        let mut charge = new_charge(&segment, interval.from, interval.to, interval.k);
        (charge.nano, charge.amount, charge.uncovered) = (nano, amount, cover.uncovered);
        if amount.is_positive() {
            let w = &self.world;
            let posting = Posting::capture(w.wallets[slot], w.revenue, w.receivable, cover).unwrap();
            let key = IdemKey::capture(segment.id, interval.k, 0);
            assert!(self.apply(&mut tx, key, posting).await, "a capture was refused");
            charge.transaction = self.applied.last().map(|(header, _)| header.id);
        }
        assert!(tx.hold_capture(hold, cover.covered).await.unwrap());
        tx.charge_insert(&charge).await.unwrap();
        let to = Watermark { billed_until: interval.to, next_k: interval.k + 1 };
        assert!(tx.segment_advance(segment.id, segment.watermark(), to, tally.cumulative()).await.unwrap());
        commit(tx, &self.world.op).await;
        true
    }

    async fn release(&mut self, slot: usize, hold: HoldId, segment: SegmentId) -> bool {
        let mut tx = self.world.db.begin().await.unwrap();
        assert!(tx.segment_close(segment, Timestamp::from_micros(0)).await.unwrap().is_some());
        assert!(tx.segment_close(segment, NOW).await.unwrap().is_none());
        let rest = tx.hold_fetch(hold).await.unwrap().unwrap().remaining().unwrap();
        if rest.is_positive() {
            let posting = Posting::hold_release(self.world.wallets[slot], self.world.revenue, rest).unwrap();
            assert!(self.apply(&mut tx, IdemKey::hold_release(hold), posting).await);
        }
        assert!(tx.hold_close(hold, rest, NOW).await.unwrap());
        assert!(!tx.hold_close(hold, Credits::ZERO, NOW).await.unwrap(), "a hold was closed twice");
        commit(tx, &self.world.op).await;
        true
    }
}

pub(crate) fn micros(micros: i64) -> Credits {
    Credits::from_micros(micros)
}

pub(crate) fn header(world: &World, idem_key: IdemKey) -> Header {
    Header {
        id: world.op.id(),
        team: world.team,
        occurred_at: NOW,
        recorded_at: NOW,
        actor: world.op.actor.name(),
        reason: String::new(),
        member: None,
        instance: None,
        reverses: None,
        idem_key,
    }
}

pub(crate) fn new_hold(world: &World, slot: usize, id: HoldId, instance: InstanceId, amount: i64) -> Hold {
    Hold {
        id,
        team: world.team,
        member: world.members[slot],
        instance,
        account: world.wallets[slot],
        reserved: micros(amount),
        captured: Credits::ZERO,
        released: Credits::ZERO,
        extensions: 0,
        state: HoldState::Open,
        created_at: NOW,
        closed_at: None,
    }
}

pub(crate) fn new_segment(world: &World, slot: usize, instance: InstanceId) -> Segment {
    let start_at = NOW + Span::from_seconds(17);
    Segment {
        id: world.op.id(),
        team: world.team,
        member: world.members[slot],
        instance,
        kind: "instance".to_owned(),
        number: 0,
        quantity: 1,
        price_version: world.price_version,
        unit_price: NanoCredits::ZERO,
        grid: Span::from_seconds(60),
        start_at,
        end_at: None,
        proof_at: start_at,
        billed_until: start_at,
        next_k: 0,
        cumulative: NanoCredits::ZERO,
        settled: false,
    }
}

fn new_charge(segment: &Segment, from_at: Timestamp, to_at: Timestamp, k: u64) -> Charge {
    Charge {
        segment: segment.id,
        k,
        revision: 0,
        team: segment.team,
        member: segment.member,
        instance: segment.instance,
        kind: segment.kind.clone(),
        from_at,
        to_at,
        quantity: segment.quantity,
        nano: NanoCredits::ZERO,
        amount: Credits::ZERO,
        uncovered: Credits::ZERO,
        price_version: segment.price_version,
        component_digest: String::new(),
        config_digest: String::new(),
        input_digest: String::new(),
        parked: false,
        parked_because: String::new(),
        transaction: None,
        created_at: NOW,
    }
}
