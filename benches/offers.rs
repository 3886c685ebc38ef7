//! P5: a list of 500 offers, of which a member sees those that the policies show, beside one decision.
//!
//! Offers that are alike to the policies (region, type, accelerator, labels) have one answer. `P5 apart` is the same
//! list with no two alike.

use std::{hint::black_box, sync::Arc, time::Instant};

use muster::{
    model::action::Action,
    policy::{Facts, Policies, Principal, Resource},
};

use crate::{
    decision::{fresh, instance, seat},
    support::report::{Bar, Wanted},
};

const ROUNDS: usize = 9;
const LISTS: u32 = 20;
const DECISIONS: u32 = 5_000;
const OFFERS: usize = 500;
/// Kinds of machines: 3 regions with 8 models each.
const KINDS: usize = 24;

pub(crate) fn measure() -> Vec<Bar> {
    let policies = Policies::shipped().unwrap();
    let alike = bar("P5", "list 500 offers ÷ one decision", Wanted::AtMost(60.0, 20.0), KINDS);
    let apart = bar("P5 apart", "list 500 offers, no two alike ÷ one decision", Wanted::Nothing, OFFERS);
    vec![compare(alike, &policies, KINDS), compare(apart, &policies, OFFERS)]
}

fn bar(id: &'static str, what: &'static str, wanted: Wanted, kinds: usize) -> Bar {
    let settings =
        format!("preset glows, role member, {kinds} kinds of machines, {ROUNDS} rounds, one thread");
    Bar { id, what, wanted, unit: "µs", ours: Vec::new(), yardstick: Vec::new(), settings }
}

fn compare(mut bar: Bar, policies: &Policies, kinds: usize) -> Bar {
    let (team, me) = (fresh(), fresh());
    let principal = Principal::Member(Arc::new(seat(team, me)));
    let offers: Vec<Resource> = (0..OFFERS).map(|number| offer(number % kinds)).collect();
    let own = instance(team, me);
    let list = || {
        let shown = policies.may_each(&principal, Action::ListCatalog, black_box(&offers));
        assert_eq!(shown.iter().filter(|shown| **shown).count(), OFFERS);
    };
    let one = || {
        let decision = policies.decide(&principal, Action::GetInstance, black_box(&own), &Facts::default());
        assert!(decision.allowed());
    };
    list();
    for _ in 0..ROUNDS {
        bar.ours.push(time(LISTS, &list));
        bar.yardstick.push(time(DECISIONS, &one));
    }
    bar
}

/// Microseconds of one.
fn time(count: u32, work: &dyn Fn()) -> f64 {
    let began = Instant::now();
    (0..count).for_each(|_| work());
    began.elapsed().as_secs_f64() * 1e6 / f64::from(count)
}

fn offer(kind: usize) -> Resource {
    Resource::Offer {
        region: format!("region-{}", kind / 8),
        instance_type: "gpu".to_owned(),
        accelerator: format!("model-{}", kind % 8),
        product_labels: Default::default(),
    }
}
