//! What a probe brings back, who may claim a host, and whom a host trusts.

use muster::{
    docker::{Trouble, connect},
    ids::{HostId, InstallationId},
    model::host::{Attach, Endpoint},
    time::SystemClock,
};

use crate::{
    by_tcp, by_unix, fresh,
    support::{IMAGE, Plan, Stand},
};

#[tokio::test]
async fn a_probe_shows_the_accelerators_or_says_why_there_are_none() {
    let bare = Plan { gpus: None, live_restore: false };
    let stand = Stand::up_with(&[Plan::default(), bare]).await;

    for backend in [by_unix(&stand.hosts[0]), by_tcp(&stand.hosts[0])] {
        let probe = backend.probe(IMAGE, &SystemClock).await.unwrap();
        let found: Vec<_> = probe.accelerators.iter().map(|one| one.uuid.clone()).collect();
        assert_eq!(found, stand.hosts[0].gpus);
        assert_eq!(probe.accelerators[0].model, "NVIDIA Stand-In");
        assert_eq!(probe.accelerators[0].memory_mib, 81_559);
        assert_eq!(probe.facts.attach, Attach::Runtime);
        assert_eq!(probe.facts.no_accelerators_because, None);
        assert!(probe.facts.live_restore && probe.facts.cpu_millis >= 1000);
        assert!(probe.facts.memory_bytes > 1 << 30 && !probe.facts.engine_version.is_empty());
        assert!(probe.facts.clock_offset_micros.abs() < 5_000_000, "{:?}", probe.facts);
    }

    let probe = by_unix(&stand.hosts[1]).probe(IMAGE, &SystemClock).await.unwrap();
    let because = probe.facts.no_accelerators_because.unwrap();
    assert_eq!((probe.facts.attach, probe.accelerators.len()), (Attach::None, 0));
    assert!(because.contains("could not select device driver"), "{because}");
    assert!(probe.facts.warnings.iter().any(|text| text.contains("live-restore is off")));

    let probe = by_unix(&stand.hosts[1]).probe("127.0.0.1:9/none:1", &SystemClock).await.unwrap();
    let because = probe.facts.no_accelerators_because.unwrap();
    assert!(because.contains("probe image 127.0.0.1:9/none:1 is not on the host"), "{because}");

    for host in &stand.hosts {
        assert_eq!(host.docker(&["ps", "-aq"]), "", "a probe leaves nothing behind");
    }
}

#[tokio::test]
async fn a_host_is_claimed_once_and_trusts_only_its_own_authority() {
    let stand = Stand::up(1).await;
    let host = &stand.hosts[0];
    let (ours, theirs) = (fresh::<InstallationId>(), fresh::<InstallationId>());
    let id = fresh::<HostId>();

    let (first, second) = (by_unix(host), by_tcp(host));
    let (one, two) = tokio::join!(first.mark(id, ours), second.mark(id, ours));
    one.and(two).unwrap();
    assert_eq!(first.mark(id, theirs).await.unwrap_err().trouble, Trouble::Foreign);
    assert_eq!(first.mark(fresh(), ours).await.unwrap_err().trouble, Trouble::Foreign);

    let endpoint = Endpoint::Tcp { authority: host.authority.clone() };
    let strange = stand.strange_documents();
    let mut mixed = strange.clone();
    mixed.ca_pem.clone_from(&host.tls.ca_pem);
    // A host we do not trust, and a host that does not trust us.
    for documents in [strange, mixed] {
        let error = connect(&endpoint, Some(&documents)).unwrap().list(ours).await.unwrap_err();
        assert_eq!(error.trouble, Trouble::Certificate, "{error}");
    }
    let mut broken = host.tls.clone();
    broken.key_pem = "nothing".to_owned();
    for documents in [None, Some(&broken)] {
        let refused = connect(&endpoint, documents).err().unwrap();
        assert_eq!(refused.trouble, Trouble::Endpoint, "{refused}");
    }
}
