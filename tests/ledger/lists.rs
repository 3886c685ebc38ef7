//! Lists page by page, sums, decisions and prices: what is asked of the books besides balances.

use muster::{
    ids::{PriceVersionId, TransactionId},
    ledger::{
        journal::Outcome,
        lot::Part,
        posting::{IdemKey, LotUse, Posting},
    },
    money::Credits,
    store::{ChargeCursor, ChargeFilter, Concern, Db, Error, PriceVersion},
    time::Timestamp,
};

use crate::{
    clerk::micros,
    desk::Desk,
    model::Command,
    world::{NOW, World, on_both},
};

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_charges_and_transactions_join_to_the_whole_without_repeats() {
    on_both(async |db: Db| {
        let mut desk = Desk::new(World::new(&db, 3).await);
        assert!(desk.run(&Command::TopUp(5_000)).await);
        for slot in [0, 1] {
            assert!(desk.run(&Command::Assign(slot, 1_000)).await);
            assert!(desk.run(&Command::Place(slot, 500)).await);
            for nano in [1_500, 0, 2_500, 70_000, 999] {
                assert!(desk.run(&Command::Capture(slot, nano)).await);
            }
        }
        let w = &desk.world;
        let mut read = db.read().await.unwrap();
        let everyone = ChargeFilter::default();
        let whole = read.charges_page(w.team, &everyone, ChargeCursor::START, 100).await.unwrap();
        assert_eq!(whole.len(), 10);
        assert!(whole.is_sorted_by(|newer, older| newer.from_at >= older.from_at));
        let (mut pages, mut cursor) = (Vec::new(), ChargeCursor::START);
        loop {
            let page = read.charges_page(w.team, &everyone, cursor, 3).await.unwrap();
            let Some(last) = page.last() else { break };
            cursor = ChargeCursor::after(last);
            pages.extend(page);
        }
        assert_eq!(pages, whole);

        let one = ChargeFilter { member: Some(w.members[1]), kind: "instance".to_owned() };
        let of_one = read.charges_page(w.team, &one, ChargeCursor::START, 100).await.unwrap();
        assert_eq!(of_one.len(), 5);
        let instance = of_one[0].instance.unwrap();
        let of_instance = read.charges_page_of_instance(instance, ChargeCursor::START, 100).await;
        assert_eq!(of_instance.unwrap(), of_one);
        let none = ChargeFilter { member: None, kind: "disk".to_owned() };
        assert_eq!(read.charges_page(w.team, &none, ChargeCursor::START, 100).await.unwrap(), []);
        let (since, until) = (Timestamp::from_micros(0), Timestamp::from_micros(i64::MAX));
        let spent = read.charges_sum(w.team, Some(w.members[1]), since, until).await.unwrap();
        assert_eq!(spent, micros(75));
        assert_eq!(read.charges_sum(w.team, None, since, until).await.unwrap(), micros(150));
        assert_eq!(read.charges_sum(w.team, None, since, NOW).await.unwrap(), Credits::ZERO);
        assert_eq!(read.charges_sum_of_instance(instance).await.unwrap(), micros(75));

        let whole = read.transactions_page(w.team, None, 100).await.unwrap();
        assert_eq!(whole.len(), desk.applied.len());
        let (mut pages, mut before) = (Vec::new(), None::<TransactionId>);
        loop {
            let page = read.transactions_page(w.team, before, 4).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.header.id);
            pages.extend(page);
        }
        assert_eq!(pages, whole);
        let first = &desk.applied[0];
        let found = read.transaction_fetch(first.id).await.unwrap().unwrap();
        let posting = Posting::top_up(w.cash, w.pool, micros(5_000)).unwrap();
        assert_eq!((&found.header, found.kind, &found.lines[..]), (first, posting.kind(), posting.lines()));
        let books = read.bookings_of_team(w.team, 2, 3).await.unwrap();
        assert_eq!(books.iter().map(|booking| booking.seq).collect::<Vec<_>>(), [3, 4, 5]);
        let headers: Vec<_> = books.into_iter().map(|booking| booking.header).collect();
        assert_eq!(headers, desk.applied[2..5]);
        assert_eq!(read.transactions_page_of_member(w.members[0], None, 9).await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reversal_refunds_once_and_names_what_it_takes_back() {
    on_both(async |db: Db| {
        let mut desk = Desk::new(World::new(&db, 4).await);
        for command in [Command::TopUp(90), Command::Assign(0, 90), Command::Place(0, 50)] {
            assert!(desk.run(&command).await);
        }
        assert!(desk.run(&Command::Capture(0, 70_000)).await);
        let w = &desk.world;
        let captured = desk.applied.last().unwrap();
        let mut read = db.read().await.unwrap();
        let lines = read.transaction_fetch(captured.id).await.unwrap().unwrap().lines;
        let parts: Vec<Part> = read.lot_moves_of(captured.id, 2).await.unwrap();
        drop(read);
        let lots = parts.iter().map(|part| part.lot).collect();
        let concern = Concern { members: w.members.to_vec(), lots, ..Concern::default() };
        let back = LotUse::Back { parts, otherwise: NOW };
        let refund = Posting::reversal(&lines, back);
        let mut header = w.header(IdemKey::reversal(captured.id));
        (header.reverses, header.member) = (Some(captured.id), Some(w.members[0]));
        let once = w.post_with(&concern, header.clone(), refund.clone()).await;
        assert_eq!(once.unwrap(), Outcome::Applied);
        let again = muster::ledger::posting::Header { id: w.op.id(), ..header.clone() };
        let twice = w.post_with(&concern, again, refund).await;
        assert!(matches!(twice, Err(Error::Recorded)), "{twice:?}");
        assert_eq!(desk.picture().await.purses[1], (90, 0));
        w.assert_sound().await;
        let mut read = db.read().await.unwrap();
        let of_member = read.transactions_page_of_member(w.members[0], None, 9).await.unwrap();
        assert_eq!(of_member.iter().map(|t| &t.header).collect::<Vec<_>>(), [&header]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_pays_its_own_newest_price_or_else_the_site_s() {
    on_both(async |db: Db| {
        let w = World::new(&db, 6).await;
        let version = |team, config: &str| PriceVersion {
            id: w.op.id::<PriceVersionId>(),
            team,
            number: 0,
            digest: "c0ffee".to_owned(),
            config: config.to_owned(),
            config_digest: String::new(),
            created_by: "operator".to_owned(),
            created_at: NOW,
            product: None,
            effective_at: NOW,
        };
        let (other, product) = (w.op.id(), w.op.id());
        let mut tx = db.begin().await.unwrap();
        assert_eq!(tx.price_version_insert(&version(None, "site 1")).await.unwrap(), 1);
        assert_eq!(tx.price_version_insert(&version(None, "site 2")).await.unwrap(), 2);
        assert_eq!(tx.price_version_insert(&version(Some(w.team), "own 2")).await.unwrap(), 2);
        let config = |found: Option<PriceVersion>| found.unwrap().config;
        assert_eq!(config(tx.price_version_active(w.team, Some(product), NOW).await.unwrap()), "own 2");
        assert_eq!(config(tx.price_version_active(other, None, NOW).await.unwrap()), "site 2");
        let page = tx.price_versions_page(None, None, 9).await.unwrap();
        assert_eq!(page.iter().map(|v| v.number).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(tx.price_versions_page(None, Some(2), 9).await.unwrap(), page[1..]);
        assert_eq!(tx.price_version_fetch(page[0].id).await.unwrap().as_ref(), Some(&page[0]));
    })
    .await;
}
