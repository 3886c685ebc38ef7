//! Every route is an action and every action a route.

use std::collections::BTreeSet;

use muster::{api::router::document, model::action::Action};

/// Actions whose nouns have no route yet.
const AWAITED: [Action; 29] = [
    Action::GrantCredits,
    Action::ConfirmTopUp,
    Action::RefuseTopUp,
    Action::VerifyLedger,
    Action::GetBalance,
    Action::AssignCredits,
    Action::ReclaimCredits,
    Action::CreateTopUp,
    Action::ListTopUps,
    Action::ListTransactions,
    Action::ListBills,
    Action::ListPrices,
    Action::ActivatePrice,
    Action::UploadPlugin,
    Action::ListPlugins,
    Action::GetPlugin,
    Action::ListCatalog,
    Action::CreateEstimate,
    Action::CreateInstance,
    Action::ListInstances,
    Action::GetInstance,
    Action::ReleaseInstance,
    Action::GetInstanceAccess,
    Action::GetInstanceLogs,
    Action::GetInstanceMetrics,
    Action::GetInstanceBilling,
    Action::GetInstanceConfig,
    Action::GetInstanceHardware,
    Action::ListDrives,
];

#[test]
fn every_operation_is_an_action_and_every_action_has_its_route() {
    let document = document();
    let mut operations = BTreeSet::new();
    for (path, item) in &document.paths.paths {
        let all = [&item.get, &item.put, &item.post, &item.patch, &item.delete];
        for operation in all.into_iter().flatten() {
            let id = operation.operation_id.clone().unwrap();
            assert!(operations.insert(id.clone()), "{id} at {path} is there twice");
        }
    }
    let routed: BTreeSet<&str> = operations.iter().map(String::as_str).collect();
    let awaited: BTreeSet<&str> = AWAITED.iter().map(|action| action.operation()).collect();
    let actions: BTreeSet<&str> = Action::ALL.iter().map(|action| action.operation()).collect();
    assert_eq!(routed.difference(&actions).collect::<Vec<_>>(), Vec::<&&str>::new(), "not actions");
    assert_eq!(routed.intersection(&awaited).collect::<Vec<_>>(), Vec::<&&str>::new(), "no longer awaited");
    let missing: Vec<&&str> =
        actions.iter().filter(|a| !routed.contains(*a) && !awaited.contains(*a)).collect();
    assert_eq!(missing, Vec::<&&str>::new(), "without a route");
}
