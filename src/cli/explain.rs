//! A charge in words: what was used, what it costs, how that was rounded, and who paid.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{
    ledger::proof::{Proof, nano_text},
    money::{Credits, NanoCredits},
};

/// The arithmetic of a charge, line by line: `detail` is the charge with its payment as the server tells it.
pub(crate) fn explanation(detail: &Value, proof: &Proof) -> String {
    let mut page = Page(String::new());
    let charge = &detail["charge"];
    let (told, sku) = (&proof.told, &proof.told.sku);
    let seconds = |micros: i64| Credits::from_micros(micros).to_string();
    page.0 += &format!("Charge {}: {} credits\n\n", proof.id, proof.amount);
    page.line(
        "used",
        format!(
            "{} of {} ({}), by {}",
            said(&charge["resource"]),
            sku.name,
            sku.kind,
            said(&charge["account"])
        ),
    );
    if told.is_unused() {
        page.line("interval", format!("{} to {}", said(&charge["from"]), said(&charge["to"])));
        page.line("", "it was found later that nothing was used in it, so it costs nothing");
    } else {
        let length = seconds((told.to - told.from).as_micros());
        page.line("interval", format!("{} to {}, {length} s", told.from, told.to));
    }
    page.line(
        "",
        format!("number {} of {}, which began {}", proof.id.k, proof.id.segment, told.segment_start),
    );
    page.line("quantity", told.quantity.to_string());
    page.line("list price", format!("{} credits an hour for each", nano_text(sku.unit_price)));
    page.line("quoted", format!("{} credits an hour for all: no charge is higher", proof.quoted_per_hour));
    page.line("price", format!("{}, component {}", proof.price_version, proof.component_digest));
    if proof.parked {
        page.line("provisional", format!("the quoted rate, because {}", proof.parked_because));
    }
    if proof.id.revision > 0 {
        page.line("revision", format!("{}, because: {}", proof.id.revision, proof.reason));
    }
    page.0.push('\n');
    sums(&mut page, proof);
    page.0.push('\n');
    payment(&mut page, &detail["payment"], proof);
    page.0
}

/// From the lines to the amount.
fn sums(page: &mut Page, proof: &Proof) {
    for line in &proof.lines {
        page.line("line", format!("{} {}", nano_text(line.nano), line.line));
    }
    let add = |one: NanoCredits, other: NanoCredits| {
        NanoCredits::from_nanos(one.as_nanos().saturating_add(other.as_nanos()))
    };
    let step = |name: &str, page: &mut Page, before: NanoCredits, cost: NanoCredits| {
        let after = add(before, cost);
        page.line(name, format!("{} + {} = {}", nano_text(before), nano_text(cost), nano_text(after)));
        let (from, to) = (before.round(), after.round());
        let charged = Credits::from_micros(to.as_micros().saturating_sub(from.as_micros()));
        page.line("  rounded", format!("{to} - {from} = {charged}"));
    };
    step("exact sum", page, proof.exact_before_revised, add(proof.nano_before, proof.nano));
    if proof.id.revision > 0 {
        step("before it", page, proof.exact_before, proof.nano_before);
        page.line("difference", proof.amount.to_string());
    }
}

/// Who paid, out of which lots.
fn payment(page: &mut Page, payment: &Value, proof: &Proof) {
    if payment.is_null() {
        page.line("paid", "nothing had to be moved");
        return;
    }
    page.line("transaction", format!("{} ({})", said(&payment["transaction"]), said(&payment["kind"])));
    page.line(
        "",
        format!("it moved {} credits for this charge and its neighbours", said(&payment["amount"])),
    );
    for lot in payment["lots"].as_array().into_iter().flatten() {
        let whose = match (said(&lot["account"]).as_str(), &lot["member"]) {
            ("team_pool", _) => "the team's pool".to_owned(),
            (_, member) => format!("the wallet of {}", said(member)),
        };
        let way = if lot["direction"] == "debit" { "out of" } else { "back into" };
        let (amount, category) = (said(&lot["amount"]), said(&lot["category"]));
        page.line("lot", format!("{amount} {way} {} ({category}) in {whose}", said(&lot["lot"])));
    }
    if proof.uncovered.is_positive() {
        let told = if proof.amount.is_positive() {
            "of this charge had no money behind it: the team owes it"
        } else {
            "of this were taken off what the team owes"
        };
        page.line("owed", format!("{} {told}", proof.uncovered));
    }
}

/// Lines of name and value.
struct Page(String);

impl Page {
    fn line(&mut self, name: &str, text: impl AsRef<str>) {
        // A name that somebody chose may not steer the terminal.
        let text: String = text.as_ref().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        // Writing to a text cannot fail.
        let _ = writeln!(self.0, "{name:12} {text}");
    }
}

fn said(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
