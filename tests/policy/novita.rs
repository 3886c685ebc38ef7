//! The matrix of 39 nouns and five roles, cell by cell: what the seed document says, asked of the engine.

use muster::{
    model::{action::Verb, team::Preset},
    policy::{Facts, Resource},
};

use crate::{
    matrix::{Cell, cells},
    people::{POLICIES, colleague, me, member, ours, theirs},
};

#[test]
fn every_cell_is_as_written() {
    let mut asked = 0;
    for cell in cells() {
        let Cell { kind, role, .. } = cell;
        let principal = member(Preset::Novita, role);
        for verb in [Verb::View, Verb::Write] {
            for owner in [me(), colleague()] {
                for team in [ours(), theirs()] {
                    let thing = Resource::own(team, owner);
                    let decision = POLICIES.decide_group(&principal, kind, verb, &thing, &Facts::default());
                    let expected = team == ours() && cell.says(verb, owner == me());
                    let cell =
                        format!("{kind} {role} {verb:?} own={} ours={}", owner == me(), team == ours());
                    assert_eq!(decision.allowed(), expected, "{cell}: {:?}", decision.determining());
                    assert_eq!(decision.foreign(), team == theirs(), "{cell}");
                    assert!(decision.errors().is_empty(), "{cell}");
                    asked += 1;
                }
            }
        }
    }
    assert_eq!(asked, 39 * 5 * 2 * 2 * 2);
}

#[test]
fn what_is_everybodys_is_not_ones_own() {
    for cell in cells() {
        let Cell { kind, role, .. } = cell;
        let principal = member(Preset::Novita, role);
        for verb in [Verb::View, Verb::Write] {
            let whole = Resource::team(ours());
            let decision = POLICIES.decide_group(&principal, kind, verb, &whole, &Facts::default());
            assert_eq!(decision.allowed(), cell.says(verb, false), "{kind} {role} {verb:?}");
        }
    }
}
