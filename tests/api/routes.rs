//! Every route is an action and every action a route.

use std::collections::BTreeSet;

use muster::{api::router::document, model::action::Action};

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
    let actions: BTreeSet<&str> = Action::ALL.iter().map(|action| action.operation()).collect();
    assert_eq!(routed, actions, "operationIds on the left, actions on the right");
}

/// The document is committed, so that a change of the API is read in a review and clients can be generated from it.
#[test]
fn the_committed_document_is_the_served_one() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let served = format!("{}\n", document().to_pretty_json().unwrap());
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    if committed != served {
        let fresh = path.with_extension("json.new");
        std::fs::write(&fresh, served).unwrap();
        panic!("the API changed: read the difference of {}, then move it into place", fresh.display());
    }
}
