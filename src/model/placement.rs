//! Placement: which host a launch goes to. Pure and advisory; the transaction that takes the accelerators decides.

use crate::ids::HostId;

/// What a launch needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Region it must be in.
    pub region: String,
    /// Accelerator model, or `None` for a machine without.
    pub accelerator: Option<String>,
    /// How many accelerators.
    pub gpus: u32,
    /// Processor time in thousandths of a core.
    pub cpu_millis: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The host that its drives or its snapshot are on, when they are on one.
    pub bound_to: Option<HostId>,
}

/// A host as placement sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The host.
    pub host: HostId,
    /// Its region.
    pub region: String,
    /// Whether it is active and up.
    pub takes_new: bool,
    /// UUIDs and models of its free, healthy accelerators, in a stable order.
    pub free: Vec<(String, String)>,
    /// Free processor time in thousandths of a core.
    pub free_cpu_millis: u64,
    /// Free memory in bytes.
    pub free_memory_bytes: u64,
}

/// Where a launch goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The host.
    pub host: HostId,
    /// UUIDs of the accelerators to take.
    pub accelerators: Vec<String>,
}

/// How many hosts each filter removed, when none is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoPlace {
    /// Hosts in another region.
    pub other_region: u32,
    /// Hosts that are cordoned or do not answer.
    pub not_taking: u32,
    /// Hosts other than the one its drives are on.
    pub not_bound: u32,
    /// Hosts with too few free accelerators of the model.
    pub accelerators: u32,
    /// Hosts with too little free processor time.
    pub cpu: u32,
    /// Hosts with too little free memory.
    pub memory: u32,
}

impl std::fmt::Display for NoPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reasons = [
            (self.other_region, "in another region"),
            (self.not_taking, "cordoned or not answering"),
            (self.not_bound, "without its drives or its snapshot"),
            (self.accelerators, "without enough free accelerators"),
            (self.cpu, "without enough free cores"),
            (self.memory, "without enough free memory"),
        ];
        let told: Vec<String> =
            reasons.iter().filter(|(n, _)| *n > 0).map(|(n, why)| format!("{n} {why}")).collect();
        if told.is_empty() { f.write_str("there are no hosts") } else { f.write_str(&told.join(", ")) }
    }
}

/// Why a host cannot take an instance back that it had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoReturn {
    /// It is cordoned or does not answer.
    NotTaking,
    /// Somebody else has the accelerators, or they are not healthy.
    Accelerators,
    /// Too little processor time is free.
    Cpu,
    /// Too little memory is free.
    Memory,
}

impl std::fmt::Display for NoReturn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotTaking => "its host is cordoned or does not answer",
            Self::Accelerators => "its accelerators are in use or not healthy",
            Self::Cpu => "its host has too few free cores",
            Self::Memory => "its host has too little free memory",
        })
    }
}

/// Whether `candidate`, its own host, can take back what has `held` these accelerators: its container is bound to them.
///
/// # Errors
/// What stands in the way first.
pub fn place_again(
    held: &[String],
    cpu_millis: u64,
    memory_bytes: u64,
    candidate: &Candidate,
) -> Result<(), NoReturn> {
    let free = |uuid: &String| candidate.free.iter().any(|(free, _)| free == uuid);
    if !candidate.takes_new {
        Err(NoReturn::NotTaking)
    } else if !held.iter().all(free) {
        Err(NoReturn::Accelerators)
    } else if candidate.free_cpu_millis < cpu_millis {
        Err(NoReturn::Cpu)
    } else if candidate.free_memory_bytes < memory_bytes {
        Err(NoReturn::Memory)
    } else {
        Ok(())
    }
}

/// The best fit: of the hosts that pass every filter, the one with the fewest free accelerators that suffice, so that
/// whole hosts stay whole; then the one with the least free memory; then the lowest id.
pub fn place(need: &Need, candidates: &[Candidate]) -> Result<Place, NoPlace> {
    let mut removed = NoPlace::default();
    let mut best: Option<((usize, u64, HostId), Place)> = None;
    for candidate in candidates {
        let Some(place) = fit(need, candidate, &mut removed) else { continue };
        let rank = (candidate.free.len(), candidate.free_memory_bytes, candidate.host);
        if best.as_ref().is_none_or(|(least, _)| rank < *least) {
            best = Some((rank, place));
        }
    }
    best.map(|(_, place)| place).ok_or(removed)
}

fn fit(need: &Need, candidate: &Candidate, removed: &mut NoPlace) -> Option<Place> {
    if candidate.region != need.region {
        removed.other_region += 1;
        return None;
    }
    if !candidate.takes_new {
        removed.not_taking += 1;
        return None;
    }
    if need.bound_to.is_some_and(|host| host != candidate.host) {
        removed.not_bound += 1;
        return None;
    }
    let wanted = need.gpus as usize;
    let accelerators: Vec<String> = candidate
        .free
        .iter()
        .filter(|(_, model)| need.accelerator.as_deref() == Some(model))
        .take(wanted)
        .map(|(uuid, _)| uuid.clone())
        .collect();
    if accelerators.len() < wanted {
        removed.accelerators += 1;
        return None;
    }
    if candidate.free_cpu_millis < need.cpu_millis {
        removed.cpu += 1;
        return None;
    }
    if candidate.free_memory_bytes < need.memory_bytes {
        removed.memory += 1;
        return None;
    }
    Some(Place { host: candidate.host, accelerators })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chance::Seeded, ids::Id, time::Timestamp};

    fn hosts(free: &[usize]) -> Vec<Candidate> {
        let chance = Seeded::new(3);
        free.iter()
            .enumerate()
            .map(|(i, &n)| Candidate {
                host: HostId::fresh(Timestamp::from_micros(i as i64 * 1000), &chance),
                region: "lab".into(),
                takes_new: true,
                free: (0..n).map(|k| (format!("GPU-{i}-{k}"), "H100".to_owned())).collect(),
                free_cpu_millis: 8000,
                free_memory_bytes: 1 << 34,
            })
            .collect()
    }

    fn need(gpus: u32) -> Need {
        Need {
            region: "lab".into(),
            accelerator: (gpus > 0).then(|| "H100".into()),
            gpus,
            cpu_millis: 1000,
            memory_bytes: 1 << 30,
            bound_to: None,
        }
    }

    #[test]
    fn the_smallest_gap_that_suffices_is_taken() {
        let hosts = hosts(&[8, 2, 4]);
        assert_eq!(place(&need(2), &hosts).unwrap().host, hosts[1].host);
        assert_eq!(place(&need(3), &hosts).unwrap().host, hosts[2].host);
        assert_eq!(place(&need(8), &hosts).unwrap().accelerators.len(), 8);
    }

    #[test]
    fn a_refusal_counts_what_each_filter_removed() {
        let mut hosts = hosts(&[1, 1, 8]);
        hosts[2].takes_new = false;
        let removed = place(&need(2), &hosts).unwrap_err();
        assert_eq!(removed.to_string(), "1 cordoned or not answering, 2 without enough free accelerators");
    }
}
