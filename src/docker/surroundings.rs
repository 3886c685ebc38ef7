//! What stands around containers on an engine: the marker that claims the host, volumes, and networks of
//! teams.

use std::collections::HashMap;

use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest, Volume, VolumeCreateRequest};

use super::{
    Error, Result, Trouble,
    engine::{Engine, absent_is_none, answered, check_owner},
    recipe,
};
use crate::{
    ids::{HostId, InstallationId, TeamId},
    model::subnet::{Subnet, SubnetPool},
};

/// The volume that tells whose host this is. The engine's own id cannot: cloned machines share it.
const MARKER: &str = "muster-host";
/// Label of the marker: the host's id.
const HOST: &str = "muster.host";

impl Engine {
    /// Claims the host, or confirms the claim.
    pub(super) async fn marker_ensure(&self, host: HostId, installation: InstallationId) -> Result<()> {
        let label = [(HOST.to_owned(), host.to_string())];
        let marker = match self.volume(MARKER).await? {
            Some(marker) => marker,
            // When two claim at once, the engine answers both with the first one's labels.
            None => self.volume_create(MARKER, installation, &label).await?,
        };
        check_owner(&marker.labels, installation, "the host")?;
        match marker.labels.get(HOST) {
            Some(claimed) if *claimed == host.to_string() => Ok(()),
            claimed => {
                let claimed = claimed.map_or("nobody", String::as_str);
                Err(Error::new(
                    Trouble::Foreign,
                    format!("the host is registered as {claimed}, not as {host}"),
                ))
            }
        }
    }

    /// Makes a volume, or confirms that it is there and ours.
    pub(super) async fn volume_make(
        &self,
        name: &str,
        installation: InstallationId,
        labels: &[(String, String)],
    ) -> Result<()> {
        let volume = match self.volume(name).await? {
            Some(volume) => volume,
            None => self.volume_create(name, installation, labels).await?,
        };
        check_owner(&volume.labels, installation, &format!("the volume {name}"))
    }

    /// Refuses a volume that is not there or not ours.
    pub(super) async fn volume_check(&self, name: &str, installation: InstallationId) -> Result<()> {
        let missing = || Error::new(Trouble::Missing, format!("there is no volume {name}"));
        let volume = self.volume(name).await?.ok_or_else(missing)?;
        check_owner(&volume.labels, installation, &format!("the volume {name}"))
    }

    async fn volume(&self, name: &str) -> Result<Option<Volume>> {
        absent_is_none(answered(self.docker().await?.inspect_volume(name)).await)
    }

    async fn volume_create(
        &self,
        name: &str,
        installation: InstallationId,
        labels: &[(String, String)],
    ) -> Result<Volume> {
        let mut all: HashMap<String, String> = labels.iter().cloned().collect();
        all.insert(recipe::INSTALLATION.to_owned(), installation.to_string());
        let order = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(all),
            ..VolumeCreateRequest::default()
        };
        answered(self.docker().await?.create_volume(order)).await
    }

    /// Makes the network of a team, or confirms that it is there and ours.
    pub(super) async fn network_make(
        &self,
        team: TeamId,
        installation: InstallationId,
        pool: SubnetPool,
    ) -> Result<()> {
        let name = recipe::network_name(team);
        let mut tried = Vec::new();
        loop {
            let networks = answered(self.docker().await?.list_networks(None)).await?;
            if let Some(found) = networks.iter().find(|network| network.name.as_ref() == Some(&name)) {
                let labels = found.labels.clone().unwrap_or_default();
                return check_owner(&labels, installation, &format!("the network {name}"));
            }
            let free = free_subnet(pool, team, &networks, &tried).ok_or_else(|| {
                Error::new(Trouble::CapacityNetwork, format!("no free network is left in {pool}"))
            })?;
            match self.network_create(team, installation, free).await {
                Ok(()) => return Ok(()),
                // Somebody was faster, or the range is in use outside of the engine: look again, take the
                // next.
                Err(error) if !error.is_unreachable() && tried.len() < 8 => tried.push(free),
                Err(error) => return Err(error),
            }
        }
    }

    async fn network_create(&self, team: TeamId, installation: InstallationId, subnet: Subnet) -> Result<()> {
        let bridge = ("com.docker.network.bridge.name".to_owned(), recipe::bridge_name(team));
        let range = IpamConfig { subnet: Some(subnet.to_string()), ..IpamConfig::default() };
        let order = NetworkCreateRequest {
            name: recipe::network_name(team),
            driver: Some("bridge".to_owned()),
            // Two networks cannot have one bridge, so two makers at once cannot both succeed.
            options: Some(HashMap::from([bridge])),
            ipam: Some(Ipam { config: Some(vec![range]), ..Ipam::default() }),
            labels: Some(HashMap::from([
                (recipe::INSTALLATION.to_owned(), installation.to_string()),
                (recipe::TEAM.to_owned(), team.to_string()),
            ])),
            ..NetworkCreateRequest::default()
        };
        answered(self.docker().await?.create_network(order)).await.map(drop)
    }
}

/// A part of `pool` that no network has. Each team begins to look elsewhere, so that makers seldom meet.
fn free_subnet(pool: SubnetPool, team: TeamId, networks: &[Network], tried: &[Subnet]) -> Option<Subnet> {
    let taken: Vec<Subnet> = networks
        .iter()
        .filter_map(|network| network.ipam.as_ref()?.config.as_ref())
        .flatten()
        .filter_map(|range| range.subnet.as_ref()?.parse().ok())
        .chain(tried.iter().copied())
        .collect();
    let digits = recipe::bridge_name(team);
    let first = u32::from_str_radix(digits.trim_start_matches("mst-"), 16).unwrap_or(0);
    pool.from(first).find(|part| !taken.iter().any(|other| other.overlaps(*part)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chance::Seeded, ids::Id, time::Timestamp};

    #[test]
    fn a_subnet_is_free_only_if_no_network_overlaps_it() {
        let team = TeamId::fresh(Timestamp::from_micros(0), &Seeded::new(3));
        let pool: SubnetPool = "10.201.0.0/25".parse().unwrap();
        let network = |subnet: &str| {
            let range = IpamConfig { subnet: Some(subnet.to_owned()), ..IpamConfig::default() };
            let ipam = Ipam { config: Some(vec![range]), ..Ipam::default() };
            Network { ipam: Some(ipam), ..Network::default() }
        };
        let low = network("10.201.0.0/26");
        let only = free_subnet(pool, team, std::slice::from_ref(&low), &[]).unwrap();
        assert_eq!(only.to_string(), "10.201.0.64/26");
        assert_eq!(free_subnet(pool, team, std::slice::from_ref(&low), &[only]), None);
        assert_eq!(free_subnet(pool, team, &[network("10.0.0.0/8")], &[]), None);
    }
}
