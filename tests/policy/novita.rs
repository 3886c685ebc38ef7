//! The matrix of 39 nouns and five roles, cell by cell: what the seed document says, asked of the engine.

use muster::{
    model::{
        action::Verb,
        team::{Preset, Role},
    },
    policy::{Facts, Resource},
};

use crate::people::{POLICIES, colleague, me, member, ours, theirs};

/// One cell: may write, may look; everything or only one's own.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cell {
    No,
    View,
    ViewSelf,
    Write,
    WriteSelf,
}
use Cell::{No, View, ViewSelf, Write, WriteSelf};

const ROLES: [Role; 5] = [Role::Owner, Role::Admin, Role::Developer, Role::Basic, Role::Billing];

const MATRIX: [(&str, [Cell; 5]); 39] = [
    ("identity_verification", [Write, No, No, No, No]),
    ("balance", [Write, Write, No, No, Write]),
    ("voucher", [Write, Write, No, No, Write]),
    ("transaction", [Write, Write, No, No, Write]),
    ("billing_details", [Write, Write, No, No, Write]),
    ("balance_alert", [Write, Write, No, No, Write]),
    ("budget", [Write, Write, ViewSelf, ViewSelf, Write]),
    ("top_up", [Write, Write, No, No, Write]),
    ("auto_top_up", [Write, Write, No, No, Write]),
    ("payment_method", [Write, Write, No, No, Write]),
    ("dedicated_billing", [Write, Write, No, No, Write]),
    ("bill", [Write, Write, No, No, Write]),
    ("registry_auth", [Write, Write, View, View, No]),
    ("numa_setting", [Write, Write, View, View, No]),
    ("ssh_key", [Write, Write, View, View, No]),
    ("instance", [Write, Write, Write, WriteSelf, No]),
    ("template", [Write, Write, Write, WriteSelf, No]),
    ("image", [Write, Write, View, View, No]),
    ("image_prewarm", [Write, Write, Write, Write, No]),
    ("storage", [Write, Write, Write, WriteSelf, No]),
    ("job", [Write, Write, Write, WriteSelf, No]),
    ("network_group", [Write, Write, View, View, No]),
    ("serverless", [Write, Write, Write, WriteSelf, No]),
    ("api_key", [Write, Write, WriteSelf, WriteSelf, No]),
    ("llm_metrics", [Write, Write, Write, No, No]),
    ("llm_settings", [Write, Write, View, View, No]),
    ("llm_endpoint", [Write, Write, Write, WriteSelf, No]),
    ("dedicated_endpoint", [Write, Write, No, No, No]),
    ("dedicated_subscription", [Write, Write, No, No, No]),
    ("playground", [Write, Write, Write, Write, No]),
    ("model_upload", [Write, No, No, No, No]),
    ("metal_quote", [Write, Write, Write, View, No]),
    ("metal_order", [Write, Write, Write, View, No]),
    ("metal_instance", [View, View, View, View, No]),
    ("metal_storage", [View, View, View, View, No]),
    ("member", [Write, Write, View, View, View]),
    ("audit_log", [Write, Write, No, No, No]),
    ("quota_request", [Write, Write, No, No, No]),
    ("affiliate", [Write, No, No, No, No]),
];

fn says(cell: Cell, verb: Verb, own: bool) -> bool {
    match cell {
        No => false,
        View => verb == Verb::View,
        ViewSelf => verb == Verb::View && own,
        Write => true,
        WriteSelf => own,
    }
}

#[test]
fn every_cell_is_as_written() {
    let mut asked = 0;
    for (kind, cells) in MATRIX {
        for (role, cell) in ROLES.into_iter().zip(cells) {
            let principal = member(Preset::Novita, role);
            for verb in [Verb::View, Verb::Write] {
                for owner in [me(), colleague()] {
                    for team in [ours(), theirs()] {
                        let thing = Resource::own(team, owner);
                        let decision =
                            POLICIES.decide_group(&principal, kind, verb, &thing, &Facts::default());
                        let expected = team == ours() && says(cell, verb, owner == me());
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
    }
    assert_eq!(asked, 39 * 5 * 2 * 2 * 2);
}

#[test]
fn what_is_everybodys_is_not_ones_own() {
    for (kind, cells) in MATRIX {
        for (role, cell) in ROLES.into_iter().zip(cells) {
            let principal = member(Preset::Novita, role);
            for verb in [Verb::View, Verb::Write] {
                let whole = Resource::team(ours());
                let decision = POLICIES.decide_group(&principal, kind, verb, &whole, &Facts::default());
                assert_eq!(decision.allowed(), says(cell, verb, false), "{kind} {role} {verb:?}");
            }
        }
    }
}
