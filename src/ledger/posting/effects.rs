//! What each posting does to its accounts, spelled out.

use super::*;
use crate::{
    chance::Seeded,
    ids::{Id, SegmentId},
};

/// An account, a second one and what is owed.
fn accounts() -> [AccountId; 3] {
    let chance = Seeded::new(5);
    std::array::from_fn(|_| AccountId::fresh(Timestamp::from_micros(0), &chance))
}

fn cover(covered: i64, uncovered: i64) -> Cover {
    Cover { covered: Credits::from_micros(covered), uncovered: Credits::from_micros(uncovered) }
}

/// What is posted into an account, and what is held of it, by its place in `accounts`.
fn effect(posting: Result<Posting, Error>) -> Result<[(i64, i64); 3], Error> {
    let movements = posting?.movements()?;
    Ok(accounts().map(|account| {
        let moved = movements.get(&account).copied().unwrap_or_default();
        let posted = moved.credits_posted.as_micros() - moved.debits_posted.as_micros();
        (posted, moved.debits_pending.as_micros() - moved.credits_pending.as_micros())
    }))
}

#[test]
fn a_capture_takes_what_was_held_and_the_rest_is_owed() {
    let [wallet, revenue, owed] = accounts();
    let hold = HoldId::fresh(Timestamp::from_micros(0), &Seeded::new(6));
    let capture = |part| effect(Posting::capture(hold, wallet, revenue, owed, part));
    assert_eq!(capture(cover(7, 0)), Ok([(-7, -7), (7, 7), (0, 0)]));
    assert_eq!(capture(cover(7, 2)), Ok([(-7, -7), (9, 7), (-2, 0)]));
    assert_eq!(capture(cover(0, 2)), Ok([(0, 0), (2, 0), (-2, 0)]));
    assert_eq!(capture(cover(0, 0)), Err(Error::NotPositive));
}

#[test]
fn a_charge_without_a_hold_takes_what_is_there_and_a_correction_gives_it_back() {
    let [wallet, revenue, owed] = accounts();
    let kind = TransactionKind::Correction;
    let charge = |part| effect(Posting::charge(kind, wallet, revenue, owed, part));
    assert_eq!(charge(cover(7, 2)), Ok([(-7, 0), (9, 0), (-2, 0)]));
    assert_eq!(charge(cover(7, 0)), Ok([(-7, 0), (7, 0), (0, 0)]));
    assert_eq!(charge(cover(0, 2)), Ok([(0, 0), (2, 0), (-2, 0)]));
    let back = |part| effect(Posting::give_back(wallet, revenue, owed, part, LotUse::Onward));
    assert_eq!(back(cover(7, 2)), Ok([(7, 0), (-9, 0), (2, 0)]));
    assert_eq!(back(cover(7, 0)), Ok([(7, 0), (-7, 0), (0, 0)]));
    assert_eq!(back(cover(0, 2)), Ok([(0, 0), (-2, 0), (2, 0)]));
    assert_eq!(back(cover(0, 0)), Err(Error::NotPositive));
}

#[test]
fn a_reversal_undoes_what_was_posted_debit_before_credit_and_takes_only_what_is_balanced() {
    let [wallet, revenue, owed] = accounts();
    let hold = HoldId::fresh(Timestamp::from_micros(0), &Seeded::new(6));
    let capture = Posting::capture(hold, wallet, revenue, owed, cover(7, 2)).unwrap();
    assert!(is_balanced(capture.lines()));
    let reversal = Posting::reversal(capture.lines(), LotUse::Onward).unwrap();
    let sides: Vec<Direction> = reversal.lines().iter().map(|line| line.direction).collect();
    assert_eq!(sides, [Direction::Debit, Direction::Credit].repeat(2));
    assert_eq!(effect(Ok(reversal)), Ok([(7, 0), (-9, 0), (2, 0)]));
    let half = capture.lines().split_last().unwrap().1;
    assert!(!is_balanced(half));
    assert_eq!(Posting::reversal(half, LotUse::Onward).unwrap_err(), Error::Unbalanced);
}

#[test]
fn each_revision_of_a_capture_has_a_key_of_its_own() {
    let segment = SegmentId::fresh(Timestamp::from_micros(0), &Seeded::new(7));
    let keys = [(0, 0), (0, 1), (1, 0)].map(|(k, revision)| IdemKey::capture(segment, k, revision));
    assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
}
