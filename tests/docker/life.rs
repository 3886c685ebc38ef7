//! An instance from its order to its removal, as muster sees it and as the Docker client sees it.

use std::{
    io::{Read, Write},
    time::Duration,
};

use futures_util::{StreamExt, future::join_all};
use muster::{
    docker::{AcceleratorCheck, Backend, How, Trouble},
    ids::{InstallationId, TeamId},
    model::{host::Attach, instance::Phase},
    time::Span,
};
use serde_json::{Value, json};

use crate::{
    by_tcp, by_unix, fresh, launch, login, prepare,
    support::{Stand, StandHost},
    volume_of, words,
};

#[tokio::test]
async fn an_instance_gets_exactly_what_was_ordered_and_nothing_of_the_host() {
    let stand = Stand::up(1).await;
    live(&stand, &*by_unix(&stand.hosts[0])).await;
    live(&stand, &*by_tcp(&stand.hosts[0])).await;
}

async fn live(stand: &Stand, backend: &dyn Backend) {
    let host = &stand.hosts[0];
    let (installation, team) = (fresh::<InstallationId>(), fresh::<TeamId>());
    let (key, public) = stand.ssh_key();
    let gpu = &host.gpus[1..];
    let mut order = launch(team, gpu);
    order.spec.ssh_public_keys = vec![public];
    prepare(backend, team, installation).await;
    prepare(backend, team, installation).await;
    let mut wakes = backend.wakes(installation).await.unwrap();

    let made = backend.ensure(&order, installation, Attach::Runtime).await.unwrap();
    assert_eq!(made.how, How::Created);
    let again = backend.ensure(&order, installation, Attach::Runtime).await.unwrap();
    assert_eq!((again.how, &again.id), (How::Adopted, &made.id));
    let woken = tokio::time::timeout(Duration::from_secs(30), wakes.next()).await;
    woken.expect("a wake within half a minute").expect("the stream goes on");
    inspect(host, &made.id, installation, &gpu[0]);

    let detail = backend.detail(&order.container_name()).await.unwrap().unwrap();
    assert_eq!((&detail.id, detail.phase, detail.exit_code), (&made.id, Phase::Running, None));
    let ports: Vec<u16> = detail.ports.iter().map(|port| port.container).collect();
    assert_eq!(ports, [22, 8888]);

    let inside = "cat /run/muster/jupyter_token; \
        stat -c %a /run/muster/jupyter_token /root/.ssh/authorized_keys; \
        touch /team_data/x 2>&1; nvidia-smi -L";
    let said = login(host, &key, detail.ports[0].host, inside).await;
    let expected = format!(
        "token-of-the-test600\n600\ntouch: /team_data/x: Read-only file system\n\
         GPU 1: NVIDIA Stand-In (UUID: {})\n",
        gpu[0]
    );
    assert_eq!(said, expected);
    assert!(get(&host.ip, detail.ports[1].host, "/api/status").contains("stand"));

    let check = |uuids: &[String]| {
        let (id, uuids) = (made.id.clone(), uuids.to_vec());
        async move { backend.verify_accelerators(&id, &uuids).await.unwrap() }
    };
    assert_eq!(check(gpu).await, AcceleratorCheck::Confirmed);
    assert_eq!(check(&host.gpus).await, AcceleratorCheck::Differ(gpu.to_vec()));

    let stats = backend.stats(&made.id).await.unwrap();
    assert!(stats.memory_bytes > 0 && stats.cpu_nanos > 0 && stats.pids >= 2, "{stats:?}");
    assert_eq!(stats.memory_limit_bytes, 256 << 20);
    let logs = backend.logs(&made.id, 10).await.unwrap();
    assert!(logs.contains("ready: 1 keys, token of 17 bytes"), "{logs}");

    let listed = backend.list(installation).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].instance, listed[0].generation), (order.instance, 1));
    assert_eq!(backend.list(fresh()).await.unwrap(), []);

    for _ in 0..2 {
        backend.stop(&made.id, Span::from_seconds(1)).await.unwrap();
    }
    let ended = backend.detail(&made.id).await.unwrap().unwrap();
    assert!(
        ended.phase == Phase::Exited && ended.finished_at > ended.started_at && ended.exit_code.is_some()
    );
    assert_eq!(backend.stats(&made.id).await.unwrap_err().trouble, Trouble::Missing);

    let foreign = backend.remove(&made.id, fresh()).await.unwrap_err();
    assert_eq!(foreign.trouble, Trouble::Foreign);
    for _ in 0..2 {
        backend.remove(&made.id, installation).await.unwrap();
    }
    assert_eq!(backend.detail(&made.id).await.unwrap(), None);
    backend.stop(&made.id, Span::from_seconds(1)).await.unwrap();
    assert!(host.docker(&["volume", "ls", "-q"]).contains(&volume_of(team)), "a drive outlives its instance");
}

/// What the engine itself says of the container.
fn inspect(host: &StandHost, id: &str, installation: InstallationId, gpu: &str) {
    let told: Value = serde_json::from_str(&host.docker(&["inspect", id])).unwrap();
    let (config, limits) = (&told[0]["Config"], &told[0]["HostConfig"]);
    let visible: Vec<_> =
        words(&config["Env"]).into_iter().filter(|line| line.starts_with("NVIDIA_VISI")).collect();
    assert_eq!(visible, [format!("NVIDIA_VISIBLE_DEVICES={gpu}")]);
    assert!(!told.to_string().contains("token-of-the-test"));
    assert_eq!(config["Labels"]["muster.installation"], installation.to_string());
    assert_eq!(config["Labels"]["muster.generation"], "1");
    assert_eq!(config["Labels"]["muster.accelerators"], gpu);
    assert_eq!(config["Labels"]["muster.spec"], "0123abcd");

    let expected = json!({"Runtime": "nvidia", "Memory": 256 << 20,
        "MemorySwap": 256 << 20, "NanoCpus": 500_000_000,
        "PidsLimit": 128, "ShmSize": 64 << 20, "Init": true, "Privileged": false, "Binds": null,
        "SecurityOpt": ["no-new-privileges"], "CapDrop": ["ALL"]});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&limits[name], value, "{name}");
    }
    assert_eq!(words(&limits["CapAdd"]).len(), 9);
    assert_eq!(limits["RestartPolicy"]["Name"], "no");
    assert_eq!(limits["LogConfig"]["Config"]["max-size"], "10m");
    assert_eq!(told[0]["Mounts"][0]["Destination"], "/team_data");
    assert_eq!(told[0]["Mounts"][0]["RW"], false);
    let networks = told[0]["NetworkSettings"]["Networks"].as_object().unwrap();
    assert_eq!(networks.len(), 1);
    let network: Value =
        serde_json::from_str(&host.docker(&["network", "inspect", networks.keys().next().unwrap()])).unwrap();
    let bridge = network[0]["Options"]["com.docker.network.bridge.name"].as_str().unwrap();
    assert!(bridge.starts_with("mst-") && bridge.len() == 12);
    let subnet = network[0]["IPAM"]["Config"][0]["Subnet"].as_str().unwrap();
    assert!(subnet.starts_with("10.201.") && subnet.ends_with("/26"), "{subnet}");
}

fn get(ip: &str, port: u16, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect((ip, port)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn many_makers_at_once_make_one_container_and_one_network() {
    let stand = Stand::up(1).await;
    let backend = by_tcp(&stand.hosts[0]);
    let (installation, team) = (fresh::<InstallationId>(), fresh::<TeamId>());
    for made in join_all((0..4).map(|_| prepare(&*backend, team, installation))).await {
        made
    }
    let order = launch(team, &stand.hosts[0].gpus);
    let ensured = join_all((0..8).map(|_| backend.ensure(&order, installation, Attach::Runtime))).await;
    let ensured: Vec<_> = ensured.into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(ensured.iter().filter(|one| one.how == How::Created).count(), 1);
    assert!(ensured.iter().all(|one| one.id == ensured[0].id));
    let listed = backend.list(installation).await.unwrap();
    assert_eq!((listed.len(), listed[0].phase), (1, Phase::Running));
    let networks = stand.hosts[0].docker(&["network", "ls", "-q", "--filter", "label=muster.team"]);
    assert_eq!(networks.lines().count(), 1);

    let mut other = order.clone();
    other.spec_digest = "another".to_owned();
    let refused = backend.ensure(&other, installation, Attach::Runtime).await.unwrap_err();
    assert_eq!(refused.trouble, Trouble::NameConflict, "{refused}");
    let refused = backend.network_ensure(team, fresh(), "10.201.0.0/16".parse().unwrap()).await.unwrap_err();
    assert_eq!(refused.trouble, Trouble::Foreign, "{refused}");
}

#[tokio::test]
async fn what_a_host_cannot_do_is_told_by_its_reason_and_leaves_nothing() {
    let stand = Stand::up(1).await;
    let backend = by_unix(&stand.hosts[0]);
    let (installation, team) = (fresh::<InstallationId>(), fresh::<TeamId>());
    let good = launch(team, &[]);

    let trouble =
        async |order: &_, attach| backend.ensure(order, installation, attach).await.unwrap_err().trouble;
    assert_eq!(trouble(&good, Attach::None).await, Trouble::Missing, "no volume yet");
    prepare(&*backend, team, installation).await;

    let mut order = good.clone();
    order.spec.image = "no/such:1".to_owned();
    assert_eq!(trouble(&order, Attach::None).await, Trouble::ImageMissing);
    assert!(!backend.image_present("no/such:1").await.unwrap());
    assert!(backend.image_present(crate::support::IMAGE).await.unwrap());
    let pulled = backend.image_pull("127.0.0.1:9/none:1").await.unwrap_err();
    assert_eq!(pulled.trouble, Trouble::Registry, "{pulled}");

    let order = launch(team, &stand.hosts[0].gpus);
    assert_eq!(trouble(&order, Attach::DeviceRequest).await, Trouble::GpuDriver);
    assert_eq!(trouble(&order, Attach::Cdi).await, Trouble::GpuDriver);
    assert_eq!(trouble(&order, Attach::None).await, Trouble::GpuDriver);

    let mut order = good.clone();
    order.spec.command = Some(vec!["ignored-by-the-entrypoint".to_owned()]);
    order.team = fresh();
    assert_eq!(trouble(&order, Attach::None).await, Trouble::Missing, "no network of that team");
    assert_eq!(backend.list(installation).await.unwrap(), []);

    let narrow = "10.202.0.0/26".parse().unwrap();
    backend.network_ensure(fresh(), installation, narrow).await.unwrap();
    let full = backend.network_ensure(fresh(), installation, narrow).await.unwrap_err();
    assert_eq!(full.trouble, Trouble::CapacityNetwork, "{full}");
}
