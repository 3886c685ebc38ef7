//! Snapshots of containers on real engines: what is in them, what they weigh, what an engine keeps and lets go.

use std::time::Duration;

use muster::{
    docker::{Backend, Trouble},
    ids::{InstallationId, SnapshotId, TeamId},
    model::{
        host::Attach,
        instance::{Launch, Phase},
        snapshot::{self, SnapshotOrder, StoredSnapshot},
    },
    time::Span,
};

use crate::{
    by_tcp, by_unix, fresh, launch, prepare,
    support::{IMAGE, Stand, StandHost},
};

const MIB: u64 = 1 << 20;

fn near(bytes: u64, mebibytes: u64) -> bool {
    (mebibytes * MIB..(mebibytes + 1) * MIB).contains(&bytes)
}

fn write(host: &StandHost, container: &str, path: &str, mebibytes: u32) {
    let command = format!("head -c {} /dev/urandom > {path} && sync", mebibytes * 1024 * 1024);
    host.docker(&["exec", container, "sh", "-c", &command]);
}

fn order_of(order: &Launch, container: &str) -> SnapshotOrder {
    SnapshotOrder { snapshot: fresh(), team: order.team, container: container.to_owned() }
}

/// The one snapshot that the host has.
async fn only(backend: &dyn Backend, of: InstallationId) -> StoredSnapshot {
    let mut all = backend.snapshots(of).await.unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[tokio::test]
async fn a_snapshot_has_the_disk_and_not_the_drives_and_weighs_what_was_written() {
    let stand = Stand::up(1).await;
    let (host, backend) = (&stand.hosts[0], by_tcp(&stand.hosts[0]));
    let (installation, team) = (fresh::<InstallationId>(), fresh::<TeamId>());
    prepare(&*backend, team, installation).await;
    let mut order = launch(team, &[]);
    order.spec.mounts[0].read_only = false;
    let made = backend.ensure(&order, installation, Attach::Runtime).await.unwrap();
    write(host, &made.id, "/kept", 5);
    write(host, &made.id, "/team_data/shared", 3);

    let room = backend.snapshot_room(&made.id, IMAGE).await.unwrap();
    assert!(near(room.disk_bytes, 5), "{room:?}");
    assert!(room.free_bytes.is_some_and(|free| free > 100 * MIB) && room.suffices(), "{room:?}");
    let room = backend.snapshot_room(&made.id, "no-such:image").await.unwrap();
    assert_eq!(room.free_bytes, None, "without the tool the host cannot tell");

    let first = order_of(&order, &made.id);
    backend.snapshot_take(&first, installation).await.unwrap();
    let running = backend.detail(&made.id).await.unwrap().unwrap();
    assert_eq!(running.phase, Phase::Running, "it goes on when its disk was copied");
    let stored = only(&*backend, installation).await;
    assert_eq!((stored.snapshot, stored.named), (first.snapshot, true));
    assert!(near(stored.size_bytes, 5), "{stored:?}");
    assert_eq!(
        by_unix(host).snapshots(installation).await.unwrap(),
        std::slice::from_ref(&stored),
        "by the other way too"
    );
    assert!(backend.snapshots(fresh()).await.unwrap().is_empty(), "nothing of others");
    let strangers = backend.snapshot_take(&order_of(&order, &made.id), fresh()).await.unwrap_err();
    assert_eq!(strangers.trouble, Trouble::Foreign, "{strangers}");
    let usage = backend.usage(installation).await.unwrap();
    assert_eq!(usage.snapshots, [(first.snapshot, stored.size_bytes)]);

    // A child has its own labels and token, and its snapshot weighs all that was written since the catalogue's image.
    let mut child = launch(team, &[]);
    child.spec.image = snapshot::reference(first.snapshot);
    child.jupyter_token = "another-token".to_owned();
    let born = backend.ensure(&child, installation, Attach::Runtime).await.unwrap();
    let kept = "wc -c < /kept; cat /run/muster/jupyter_token; echo; test -e /team_data/shared && echo shared";
    let told = host.docker(&["exec", &born.id, "sh", "-c", kept]);
    assert_eq!(told.trim(), "5242880\nanother-token\nshared", "the volume is mounted, not copied");
    let seen = backend.list(installation).await.unwrap();
    assert!(seen.iter().any(|one| one.id == born.id && one.instance == child.instance), "{seen:?}");
    write(host, &born.id, "/more", 2);
    let second = order_of(&child, &born.id);
    backend.snapshot_take(&second, installation).await.unwrap();
    let all = backend.snapshots(installation).await.unwrap();
    let grown = all.iter().find(|one| one.snapshot == second.snapshot).unwrap();
    assert!(near(grown.size_bytes, 7), "{all:?}");

    // The parent goes: what runs from it goes on, and the engine keeps the data for that long.
    assert!(!backend.snapshot_remove(&stored, installation).await.unwrap());
    assert!(!backend.image_present(&snapshot::reference(first.snapshot)).await.unwrap());
    assert_eq!(backend.detail(&born.id).await.unwrap().unwrap().phase, Phase::Running);
    backend.remove(&born.id, installation).await.unwrap();
    for one in backend.snapshots(installation).await.unwrap() {
        assert!(backend.snapshot_remove(&one, installation).await.unwrap(), "{one:?}");
        assert!(backend.snapshot_remove(&one, installation).await.unwrap(), "again");
    }
    assert!(backend.snapshots(installation).await.unwrap().is_empty());
    assert!(backend.image_present(IMAGE).await.unwrap());
}

#[tokio::test]
async fn of_two_with_one_label_the_named_one_counts_and_a_stopped_container_is_copied_too() {
    let stand = Stand::up(1).await;
    let backend = by_unix(&stand.hosts[0]);
    let (installation, team) = (fresh::<InstallationId>(), fresh::<TeamId>());
    prepare(&*backend, team, installation).await;
    let order = launch(team, &[]);
    let made = backend.ensure(&order, installation, Attach::Runtime).await.unwrap();
    write(&stand.hosts[0], &made.id, "/kept", 1);
    backend.stop(&made.id, Span::from_seconds(1)).await.unwrap();
    let wish = order_of(&order, &made.id);
    for _ in 0..2 {
        backend.snapshot_take(&wish, installation).await.unwrap();
    }
    let all = backend.snapshots(installation).await.unwrap();
    assert_eq!(all.iter().map(|one| one.named).filter(|named| *named).count(), 1, "{all:?}");
    for twin in all.iter().filter(|one| !one.named) {
        assert!(backend.snapshot_remove(twin, installation).await.unwrap());
    }
    assert!(only(&*backend, installation).await.named, "the other is left alone");
    assert_eq!(backend.detail(&made.id).await.unwrap().unwrap().phase, Phase::Exited);
    let gone = SnapshotOrder { snapshot: fresh::<SnapshotId>(), team, container: "none".to_owned() };
    assert_eq!(backend.snapshot_take(&gone, installation).await.unwrap_err().trouble, Trouble::Missing);
}

#[tokio::test]
async fn a_paused_container_keeps_its_memory_through_the_death_of_its_engine() {
    let mut stand = Stand::up(1).await;
    let backend = by_unix(&stand.hosts[0]);
    let (installation, team) = (fresh::<InstallationId>(), fresh::<TeamId>());
    prepare(&*backend, team, installation).await;
    let gpus = stand.hosts[0].gpus.clone();
    let made = backend.ensure(&launch(team, &gpus), installation, Attach::Runtime).await.unwrap();
    let count = "(while true; do sleep 0.1; echo >> /tmp/beats; done) &";
    stand.hosts[0].docker(&["exec", "-d", &made.id, "sh", "-c", &format!("{count} wait")]);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let before = backend.detail(&made.id).await.unwrap().unwrap();
    for _ in 0..2 {
        backend.pause(&made.id).await.unwrap();
    }
    stand.kill9(0);
    stand.start(0).await;
    let paused = backend.detail(&made.id).await.unwrap().unwrap();
    assert_eq!((paused.phase, paused.started_at), (Phase::Paused, before.started_at));
    assert_eq!(backend.list(installation).await.unwrap()[0].phase, Phase::Paused);
    for _ in 0..2 {
        backend.resume(&made.id).await.unwrap();
    }
    let beats = |host: &StandHost| host.docker(&["exec", &made.id, "sh", "-c", "wc -l < /tmp/beats"]);
    let first: u32 = beats(&stand.hosts[0]).trim().parse().unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let later: u32 = beats(&stand.hosts[0]).trim().parse().unwrap();
    assert!(first > 0 && later > first, "{first} {later}");
    assert_eq!(backend.detail(&made.id).await.unwrap().unwrap().phase, Phase::Running);
    backend.pause(&made.id).await.unwrap();
    backend.stop(&made.id, Span::from_seconds(1)).await.unwrap();
    assert_eq!(backend.detail(&made.id).await.unwrap().unwrap().phase, Phase::Exited);
}
