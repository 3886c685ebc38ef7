//! Guests that misbehave after they were admitted: a typed error each time, and the next call works.

use std::time::Duration;

use muster::{
    model::price::{ChargeLine, PlannedUse, Quote},
    plugins::{Error, Limits},
    time::Timestamp,
};

use crate::{
    Host, SHARED, context,
    guests::{guest, guest_with},
    record,
};

const ENDLESS: &str = "(loop $l (br $l))";

/// Admits `wasm`, lets it misbehave, checks that it still answers well when asked well, and gives the
/// misbehaviour.
async fn misbehaviour(host: &Host, wasm: Vec<u8>) -> (Result<Vec<ChargeLine>, Error>, Result<Quote, Error>) {
    let plugin = host.admitted(wasm).await;
    let usage = [record(1, 0, 60_000_000)];
    let planned = [PlannedUse { sku: 0, member: 0, quantity: 1, start: Timestamp::from_micros(0) }];
    let evil = context(1, r#"{"evil":1}"#);
    let rated = host.plugins.rate(&plugin, &evil, &usage).await;
    let quoted = host.plugins.quote(&plugin, &evil, &planned).await;

    let good = context(1, "{}");
    let lines = host.plugins.rate(&plugin, &good, &usage).await.unwrap();
    assert_eq!(lines.iter().map(|line| line.amount.as_nanos()).collect::<Vec<_>>(), [7]);
    let quote = host.plugins.quote(&plugin, &good, &planned).await.unwrap();
    assert_eq!(quote.per_hour.as_nanos(), 9);
    (rated, quoted)
}

/// The error of rating with `evil` under the default limits.
fn rate_error(evil: &str) -> Error {
    rate_error_of(guest(evil))
}

fn rate_error_of(wasm: Vec<u8>) -> Error {
    let shared = &*SHARED;
    shared.runtime.block_on(misbehaviour(&shared.host, wasm)).0.unwrap_err()
}

fn bad_output(evil: &str) -> String {
    match rate_error(evil) {
        Error::BadOutput(what) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    let slow = Duration::from_secs(60);
    let limits = Limits { fuel: 10_000_000, rate_deadline: slow, quote_deadline: slow, ..Limits::default() };
    let (rated, quoted) = SHARED.runtime.block_on(misbehaviour(&Host::new(limits), guest(ENDLESS)));
    assert!(matches!(rated, Err(Error::OutOfFuel { budget: 15_000_000, .. })), "{rated:?}");
    assert!(matches!(quoted, Err(Error::OutOfFuel { budget: 10_000_000, .. })), "{quoted:?}");
    assert!(quoted.unwrap_err().to_string().contains("plugins.fuel"));
}

#[test]
fn an_endless_loop_with_fuel_for_ever_meets_its_deadline() {
    let limits =
        Limits { fuel: u64::MAX / 2, rate_deadline: Duration::from_millis(200), ..Limits::default() };
    let (rated, quoted) = SHARED.runtime.block_on(misbehaviour(&Host::new(limits), guest(ENDLESS)));
    assert!(matches!(rated, Err(Error::TimedOut { .. })), "{rated:?}");
    assert_eq!(quoted.unwrap_err().to_string(), "the plugin took longer than 50ms (plugins.quote_deadline)");
}

#[test]
fn memory_ends_at_its_limit() {
    let bomb = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    let error = rate_error(bomb);
    assert!(matches!(&error, Error::Trapped(what) if what.contains("plugins.memory_bytes")), "{error:?}");
}

#[test]
fn tables_end_at_their_limit() {
    let bomb = "(loop $l (br_if $l \
                (i32.ne (table.grow $t (ref.null func) (i32.const 5000)) (i32.const -1)))) unreachable";
    let error = rate_error_of(guest_with("(table $t 1 funcref)", bomb));
    assert!(matches!(&error, Error::Trapped(what) if what.contains("plugins.table_elements")), "{error:?}");
}

#[test]
fn recursion_ends_at_the_stack() {
    let recursion = "(func $r (param i32) (result i32) \
                     (i32.add (call $r (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))";
    let error = rate_error_of(guest_with(recursion, "(drop (call $r (i32.const 0)))"));
    assert!(matches!(&error, Error::Trapped(what) if what.contains("stack")), "{error:?}");
}

#[test]
fn a_trap_is_told_apart() {
    assert!(matches!(rate_error("unreachable"), Error::Trapped(_)));
    assert!(matches!(rate_error("(drop (i32.load (i32.const -4)))"), Error::Trapped(_)));
    assert!(matches!(rate_error("(drop (i32.div_u (i32.const 1) (i32.const 0)))"), Error::Trapped(_)));
}

#[test]
fn charges_must_name_known_records_and_lines() {
    assert!(bad_output("(i32.store (i32.const 1024) (i32.const 1))").contains("record 1 of 1"));
    assert!(bad_output("(i32.store (i32.const 1024) (i32.const -1))").contains("of 1"));
    assert!(bad_output("(i32.store (i32.const 1028) (i32.const 1))").contains("line 1 of 1"));
}

#[test]
fn every_record_is_charged_once_under_a_line() {
    assert!(bad_output("(i32.store (i32.const 32) (i32.const 0))").contains("no charge for record 0"));
    let twice = "(i32.store (i32.const 32) (i32.const 2)) \
                 (memory.copy (i32.const 1040) (i32.const 1024) (i32.const 16))";
    assert!(bad_output(twice).contains("two charges"));
}

#[test]
fn amounts_are_neither_negative_nor_huge() {
    assert!(bad_output("(i64.store (i32.const 1032) (i64.const -1))").contains("-1"));
    assert!(bad_output("(i64.store (i32.const 1032) (i64.const 0x20000000000000))").contains("2^53"));
    let quoted = |amount: &str| {
        let evil = format!("(i64.store (i32.const 2048) (i64.const {amount}))");
        SHARED.runtime.block_on(misbehaviour(&SHARED.host, guest(&evil))).1
    };
    assert!(matches!(quoted("-1"), Err(Error::BadOutput(_))));
    assert_eq!(quoted("0x1fffffffffffff").unwrap().per_hour.as_nanos(), (1 << 53) - 1);
}

#[test]
fn a_quote_has_one_amount_for_each_use() {
    let evil = "(i32.store (i32.const 56) (i32.const 2))";
    let (_, quoted) = SHARED.runtime.block_on(misbehaviour(&SHARED.host, guest(evil)));
    assert!(matches!(&quoted, Err(Error::BadOutput(what)) if what.contains("2 amounts for 1")), "{quoted:?}");
}

#[test]
fn line_keys_are_keys() {
    assert!(bad_output("(i32.store8 (i32.const 96) (i32.const 65))").contains("Asage"));
    assert!(bad_output("(i32.store (i32.const 68) (i32.const 0))").contains("[a-z0-9-]"));
    assert!(bad_output("(i32.store8 (i32.const 96) (i32.const 10))").contains(r"\nsage"));
    let many = "(i32.store (i32.const 20) (i32.const 8192)) (i32.store (i32.const 24) (i32.const 65))";
    assert!(bad_output(many).contains("65 lines"));
}

#[test]
fn an_answer_that_is_too_large_is_not_copied() {
    let huge = bad_output("(i32.store (i32.const 68) (i32.const 4000000))");
    assert!(huge.contains("plugins.answer_bytes"), "{huge}");
    let many = bad_output("(i32.store (i32.const 24) (i32.const 500000))");
    assert!(many.contains("plugins.answer_bytes"), "{many}");
}

#[test]
fn an_answer_outside_memory_is_an_error() {
    assert!(matches!(rate_error("(i32.store (i32.const 64) (i32.const -8))"), Error::Trapped(_)));
    assert!(matches!(rate_error("(i32.store8 (i32.const 96) (i32.const 255))"), Error::Trapped(_)));
    assert!(matches!(rate_error("(i32.store8 (i32.const 16) (i32.const 2))"), Error::Trapped(_)));
}

#[test]
fn an_error_of_the_plugin_is_passed_on_readable() {
    let telling = |code: &str| {
        let fields = format!(r#"(data (i32.const 4096) "{code}") (data (i32.const 4128) "no\0a way")"#);
        let evil = "(i32.store8 (i32.const 16) (i32.const 1)) \
                    (i32.store (i32.const 20) (i32.const 4096)) (i32.store (i32.const 24) (i32.const 8)) \
                    (i32.store (i32.const 28) (i32.const 4128)) (i32.store (i32.const 32) (i32.const 7))";
        rate_error_of(guest_with(&fields, evil)).to_string()
    };
    assert_eq!(telling("sold-out"), r"the plugin reported sold-out: no\n way");
    assert_eq!(telling("SOLD OUT"), r"the plugin reported unreadable-code: no\n way");
}

#[test]
fn a_log_flood_is_dropped_and_a_huge_line_refused() {
    let shared = &*SHARED;
    let flood = "(loop $l (call $emit (i32.const 1) (i32.const 96) (i32.const 5)) \
                 (local.set $i (i32.add (local.get $i) (i32.const 1))) \
                 (br_if $l (i32.lt_u (local.get $i) (i32.const 20000))))";
    let (rated, _) = shared.runtime.block_on(misbehaviour(&shared.host, guest(flood)));
    assert_eq!(rated.unwrap().len(), 1);
    let huge = bad_output("(call $emit (i32.const 1) (i32.const 0) (i32.const 4000000))");
    assert!(huge.contains("plugins.answer_bytes"), "{huge}");
}

#[test]
fn a_full_queue_turns_calls_away() {
    let slow = Duration::from_secs(60);
    let limits = Limits { workers: 1, queue: 0, rate_deadline: slow, ..Limits::default() };
    let host = Host::new(limits);
    let (first, second) = SHARED.runtime.block_on(async {
        let plugin = host.admitted(guest(ENDLESS)).await;
        let (evil, usage) = (context(1, "evil"), [record(1, 0, 1)]);
        tokio::join!(host.plugins.rate(&plugin, &evil, &usage), host.plugins.rate(&plugin, &evil, &usage))
    });
    assert!(matches!(first, Err(Error::OutOfFuel { .. })), "{first:?}");
    assert!(matches!(second, Err(Error::Busy)), "{second:?}");
}
