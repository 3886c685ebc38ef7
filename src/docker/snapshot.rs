//! Snapshots on an engine: a container's disk committed as an image with our labels, and how much room there is for it.
//!
//! Volumes are never part of a commit. The container is paused while its disk is copied, and goes on by itself unless
//! the engine dies meanwhile: then it stays paused until the dispatcher lets it go on.

use std::{collections::HashMap, time::Duration};

use bollard::{
    models::{ContainerConfig, ContainerCreateBody, HostConfig},
    query_parameters::{
        CommitContainerOptionsBuilder, InspectContainerOptionsBuilder, ListImagesOptionsBuilder,
        RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
    },
};

use super::{
    Error, Result, Trouble,
    engine::{Engine, absent_is_none, answered, answered_within, check_owner},
    probe, reading, recipe,
};
use crate::{
    ids::{InstallationId, SnapshotId},
    model::snapshot::{self, Room, SnapshotOrder, StoredSnapshot},
};

/// Label: the snapshot that an image is.
const SNAPSHOT: &str = "muster.snapshot";
/// Label: the size of the catalogue's image below it, so that only what was written since counts.
const BELOW_BYTES: &str = "muster.snapshot.below-bytes";
/// How long a copy may take: engines write some fifty megabytes a second.
const COMMIT_DEADLINE: Duration = Duration::from_secs(7200);
/// How long an engine may count the files of one container.
const SIZE_DEADLINE: Duration = Duration::from_secs(60);

impl Engine {
    /// How much a snapshot of a container would take, and how much its host has.
    pub(super) async fn room(&self, container: &str, probe_image: &str) -> Result<Room> {
        let docker = self.docker().await?;
        let sized = InspectContainerOptionsBuilder::new().size(true).build();
        let found = answered_within(SIZE_DEADLINE, docker.inspect_container(container, Some(sized)));
        let written = found.await?.size_rw.and_then(|bytes| u64::try_from(bytes).ok());
        Ok(Room { disk_bytes: written.unwrap_or(0), free_bytes: self.free_bytes(probe_image).await? })
    }

    /// What is free where the engine keeps images: a container's root lies on the same disk.
    async fn free_bytes(&self, image: &str) -> Result<Option<u64>> {
        let docker = self.docker().await?;
        let made = match answered(docker.create_container(None, looker(image))).await {
            Ok(made) => made.id,
            Err(error) if error.is_unreachable() => return Err(error),
            Err(_) => return Ok(None),
        };
        let printed = probe::run(self, &made).await;
        let force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let removed = answered(docker.remove_container(&made, Some(force))).await;
        match printed {
            Err(error) if error.is_unreachable() => Err(error),
            printed => removed.map(|()| printed.ok().as_deref().and_then(available)),
        }
    }

    /// Commits the container's disk.
    pub(super) async fn commit(&self, order: &SnapshotOrder, installation: InstallationId) -> Result<()> {
        let docker = self.docker().await?;
        let missing = || Error::new(Trouble::Missing, format!("there is no container {}", order.container));
        let container = self.inspect(&order.container).await?.ok_or_else(missing)?;
        let labels = reading::labels(&container);
        check_owner(&labels, installation, &format!("the container {}", order.container))?;
        // A container from a snapshot has the labels of that snapshot.
        let below = match labels.get(BELOW_BYTES).filter(|_| labels.contains_key(SNAPSHOT)) {
            Some(below) => below.clone(),
            None => self.image_bytes(container.image.as_deref().unwrap_or_default()).await?.to_string(),
        };
        let config = ContainerConfig {
            labels: Some(HashMap::from([
                (recipe::INSTALLATION.to_owned(), installation.to_string()),
                (recipe::TEAM.to_owned(), order.team.to_string()),
                (SNAPSHOT.to_owned(), order.snapshot.to_string()),
                (BELOW_BYTES.to_owned(), below),
            ])),
            ..ContainerConfig::default()
        };
        let options = CommitContainerOptionsBuilder::new()
            .container(&order.container)
            .repo(snapshot::REPOSITORY)
            .tag(&order.snapshot.to_string())
            .pause(true)
            .build();
        answered_within(COMMIT_DEADLINE, docker.commit_container(options, config)).await.map(drop)
    }

    async fn image_bytes(&self, image: &str) -> Result<u64> {
        let found = absent_is_none(answered(self.docker().await?.inspect_image(image)).await);
        let found = match found {
            // The catalogue's image was removed under the container: all of the copy counts then.
            Err(error) if error.trouble == Trouble::ImageMissing => None,
            found => found?,
        };
        Ok(found.and_then(|image| image.size).and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0))
    }

    /// Every image that is a snapshot of the installation.
    pub(super) async fn snapshots_listed(&self, installation: InstallationId) -> Result<Vec<StoredSnapshot>> {
        let docker = self.docker().await?;
        let ours = vec![format!("{}={installation}", recipe::INSTALLATION), SNAPSHOT.to_owned()];
        let options = ListImagesOptionsBuilder::new().all(false).filters(&[("label", ours)].into()).build();
        let listed = answered(docker.list_images(Some(options))).await?;
        let stored = listed.into_iter().filter_map(|image| {
            let below = image.labels.get(BELOW_BYTES).and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
            let snapshot: SnapshotId = image.labels.get(SNAPSHOT)?.parse().ok()?;
            Some(StoredSnapshot {
                snapshot,
                named: image.repo_tags.contains(&snapshot::reference(snapshot)),
                stored_as: image.id,
                size_bytes: u64::try_from(image.size).unwrap_or(0).saturating_sub(below),
            })
        });
        Ok(stored.collect())
    }

    /// Takes a snapshot away; what runs from it goes on. `false`: the engine keeps it for as long as something does.
    pub(super) async fn snapshot_drop(&self, stored: &StoredSnapshot, of: InstallationId) -> Result<bool> {
        // It may have lost its name to a twin, or be gone since it was listed; and only what is ours may be taken away.
        let listed = self.snapshots_listed(of).await?;
        let Some(stored) = listed.iter().find(|one| one.stored_as == stored.stored_as) else {
            return Ok(true);
        };
        let docker = self.docker().await?;
        let name = snapshot::reference(stored.snapshot);
        if stored.named {
            // By its name and with force, an engine gives up the name even where a container runs from it.
            let force = RemoveImageOptionsBuilder::new().force(true).build();
            gone(answered(docker.remove_image(&name, Some(force), None)).await)?;
        }
        let unused = RemoveImageOptionsBuilder::new().force(false).build();
        gone(answered(docker.remove_image(&stored.stored_as, Some(unused), None)).await)
    }
}

/// Whether an image is gone now; one that a container or another image still needs is not.
fn gone<T>(answer: Result<T>) -> Result<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(error) if error.trouble == Trouble::ImageMissing || error.trouble == Trouble::Missing => Ok(true),
        Err(error) if error.said.contains("unable to") && !error.is_unreachable() => Ok(false),
        Err(error) => Err(error),
    }
}

fn looker(image: &str) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec!["df".to_owned()]),
        cmd: Some(vec!["-Pk".to_owned(), "/".to_owned()]),
        env: Some(vec![format!("{}=void", recipe::VISIBLE_DEVICES)]),
        labels: Some(HashMap::from([(probe::PROBE.to_owned(), "room".to_owned())])),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            readonly_rootfs: Some(true),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            cap_drop: Some(vec!["ALL".to_owned()]),
            memory: Some(64 << 20),
            memory_swap: Some(64 << 20),
            pids_limit: Some(16),
            log_config: Some(recipe::bounded_log()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// The bytes under "Available" in what `df -Pk` prints; `None` if it is something else.
fn available(printed: &str) -> Option<u64> {
    let mut lines = printed.lines().filter(|line| !line.trim().is_empty());
    let column = lines.next()?.split_whitespace().position(|word| word == "Available")?;
    let kibibytes: u64 = lines.next()?.split_whitespace().nth(column)?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_read_from_the_column_that_says_so_and_from_nothing_else() {
        let printed = "Filesystem           1024-blocks    Used Available Capacity Mounted on\n\
                       overlay              102687672 64195132 33230276  66% /\n";
        assert_eq!(available(printed), Some(33_230_276 * 1024));
        for other in ["", "df: not found", "Filesystem 1024-blocks Used Available Capacity Mounted on\n"] {
            assert_eq!(available(other), None, "{other:?}");
        }
    }

    #[test]
    fn what_is_still_used_is_no_failure_and_anything_else_is() {
        let said = "conflict: unable to delete 5b0c (cannot be forced) - image is being used by running container 3f";
        assert_eq!(gone::<()>(Err(Error::from_answer(409, said))), Ok(false));
        assert_eq!(gone::<()>(Err(Error::from_answer(404, "No such image: x"))), Ok(true));
        assert!(gone::<()>(Err(Error::from_answer(500, "no space left on device"))).is_err());
    }
}
