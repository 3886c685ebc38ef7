//! Engines that die and cables that are pulled.

use muster::{
    docker::{How, Trouble},
    ids::{InstallationId, TeamId},
    model::{host::Attach, instance::Phase},
};

use crate::{by_tcp, by_unix, fresh, launch, prepare, support::Stand};

#[tokio::test]
async fn a_container_outlives_a_killed_engine_and_is_found_again() {
    let mut stand = Stand::up(1).await;
    let backend = by_unix(&stand.hosts[0]);
    let (installation, team) = (fresh::<InstallationId>(), fresh::<TeamId>());
    prepare(&*backend, team, installation).await;
    let order = launch(team, &stand.hosts[0].gpus);
    let made = backend.ensure(&order, installation, Attach::Runtime).await.unwrap();
    let before = backend.detail(&made.id).await.unwrap().unwrap();

    stand.kill9(0);
    let error = backend.list(installation).await.unwrap_err();
    assert_eq!(error.trouble, Trouble::Unreachable, "{error}");

    stand.start(0).await;
    let after = backend.detail(&made.id).await.unwrap().unwrap();
    assert_eq!((after.phase, after.started_at), (Phase::Running, before.started_at));
    let again = backend.ensure(&order, installation, Attach::Runtime).await.unwrap();
    assert_eq!((again.how, again.id), (How::Adopted, made.id));
}

#[tokio::test]
async fn a_host_behind_a_cut_is_unreachable_and_then_just_goes_on() {
    let stand = Stand::up(1).await;
    let installation = fresh::<InstallationId>();
    by_tcp(&stand.hosts[0]).list(installation).await.unwrap();

    let backend = by_tcp(&stand.hosts[0]);
    stand.cut(0);
    let error = backend.list(installation).await.unwrap_err();
    assert_eq!(error.trouble, Trouble::Unreachable, "{error}");
    stand.heal(0);
    assert_eq!(backend.list(installation).await.unwrap(), []);
}
