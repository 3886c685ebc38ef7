//! What an engine stores: that it is counted, and that a container that is started again finds its disk.

use muster::{
    docker::Trouble,
    ids::{InstallationId, TeamId},
    model::{host::Attach, instance::Phase},
    time::Span,
};

use crate::{by_tcp, by_unix, fresh, launch, prepare, support::Stand, volume_of};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn what_was_written_is_counted_and_survives_a_stop_and_a_start() {
    let stand = Stand::up(1).await;
    let (host, backend) = (&stand.hosts[0], by_tcp(&stand.hosts[0]));
    let (installation, team) = (fresh::<InstallationId>(), fresh::<TeamId>());
    prepare(&*backend, team, installation).await;
    let mut order = launch(team, &host.gpus);
    order.spec.mounts[0].read_only = false;
    let made = backend.ensure(&order, installation, Attach::Runtime).await.unwrap();
    let first = backend.detail(&made.id).await.unwrap().unwrap();
    let write = |path: &str, mebibytes: u32| {
        let command = format!("head -c {} /dev/zero > {path} && sync", mebibytes * 1024 * 1024);
        host.docker(&["exec", &made.id, "sh", "-c", &command]);
    };
    write("/kept", 5);
    write("/team_data/shared", 3);
    backend.stop(&made.id, Span::from_seconds(1)).await.unwrap();

    let usage = backend.usage(installation).await.unwrap();
    let near = |bytes: u64, mebibytes: u64| (mebibytes * MIB..(mebibytes + 1) * MIB).contains(&bytes);
    let [(volume, bytes)] = usage.volumes.as_slice() else { panic!("{usage:?}") };
    assert!(*volume == volume_of(team) && near(*bytes, 3), "{usage:?}");
    let [(instance, 1, bytes)] = usage.writable_layers.as_slice() else { panic!("{usage:?}") };
    assert!(*instance == order.instance && near(*bytes, 5), "{usage:?}");
    assert_eq!(backend.usage(fresh()).await.unwrap(), Default::default(), "nothing of others");
    assert_eq!(by_unix(host).usage(installation).await.unwrap(), usage, "the same by the other way");

    for _ in 0..2 {
        backend.start(&made.id, installation).await.unwrap();
    }
    let again = backend.detail(&made.id).await.unwrap().unwrap();
    assert_eq!((again.phase, &again.id, again.finished_at), (Phase::Running, &first.id, None));
    assert!(again.started_at > first.started_at, "{again:?}");
    assert_eq!(again.ports.len(), 2, "published again");
    let kept = host.docker(&["exec", &made.id, "sh", "-c", "wc -c < /kept; cat /run/muster/jupyter_token"]);
    assert_eq!(kept.trim(), "5242880\ntoken-of-the-test", "its disk and its files");
    let seen = backend.verify_accelerators(&made.id, &host.gpus).await.unwrap();
    assert_eq!(seen, muster::docker::AcceleratorCheck::Confirmed);

    assert_eq!(backend.start(&made.id, fresh()).await.unwrap_err().trouble, Trouble::Foreign);
    backend.remove(&made.id, installation).await.unwrap();
    assert_eq!(backend.start(&made.id, installation).await.unwrap_err().trouble, Trouble::Missing);
    let usage = backend.usage(installation).await.unwrap();
    assert!(usage.writable_layers.is_empty() && usage.volumes.len() == 1, "{usage:?}");
}
