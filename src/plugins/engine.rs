//! The one engine: its features, its pool of instances, and the thread that moves its epoch.

use std::thread;

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::{
    error::Error,
    limits::{Limits, TICK},
};

/// How instances get their memory: the highest rung that this machine allows. `doctor` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// A pool with 4 GiB of address space for each memory: no bounds checks, the fastest.
    WidePool,
    /// A pool with small reservations and bounds checks: for machines that limit address space.
    NarrowPool,
    /// Memory on demand: slower to start an instance, no pool.
    OnDemand,
}

/// The most linear memory that any setting can give, in bytes.
const MEMORY_CAP_BYTES: usize = 256 << 20;
/// Memories and tables of one component, adapters included.
const MEMORIES: u32 = 4;
const TABLES: u32 = 8;

impl Rung {
    /// All rungs, the highest first.
    const ALL: [Self; 3] = [Self::WidePool, Self::NarrowPool, Self::OnDemand];

    /// The name for people, and on the compile child's command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WidePool => "wide-pool",
            Self::NarrowPool => "narrow-pool",
            Self::OnDemand => "on-demand",
        }
    }

    /// The rung with this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rung| rung.as_str() == name)
    }
}

/// An engine on the highest rung that works here, with its epoch already ticking.
pub(crate) fn start(limits: &Limits) -> Result<(Engine, Rung), Error> {
    let mut failure = None;
    for rung in Rung::ALL {
        match engine(rung, limits) {
            Ok(engine) => {
                start_ticking(&engine)?;
                tracing::info!(rung = rung.as_str(), "the plugin engine is ready");
                return Ok((engine, rung));
            }
            Err(error) => failure = Some(error),
        }
    }
    let cause = failure.map(|error| format!("{error:#}")).unwrap_or_default();
    Err(Error::internal("the plugin engine does not start", cause))
}

fn engine(rung: Rung, limits: &Limits) -> wasmtime::Result<Engine> {
    let mut config = config(rung);
    if rung != Rung::OnDemand {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)));
    }
    Engine::new(&config)
}

/// What compiled code depends on. The compile child uses it too: the two must agree, or the code does not
/// load.
pub(crate) fn config(rung: Rung) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // Fused adapters of valid components need it: wasmtime 48 panics on some of them without.
        .wasm_multi_memory(true)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        .shared_memory(false)
        .cranelift_nan_canonicalization(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(512 << 10);
    if rung == Rung::NarrowPool {
        config.memory_reservation(MEMORY_CAP_BYTES as u64).memory_guard_size(64 << 10);
    }
    config
}

/// A pool with a slot for every worker, and room for the instances that a component consists of.
fn pool(limits: &Limits) -> PoolingAllocationConfig {
    let slots = u32::try_from(limits.workers).unwrap_or(u32::MAX).max(8);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(limits.instances))
        .max_core_instances_per_component(limits.instances)
        .total_memories(slots.saturating_mul(MEMORIES))
        .max_memories_per_component(MEMORIES)
        .total_tables(slots.saturating_mul(TABLES))
        .max_tables_per_component(TABLES)
        .max_memory_size(limits.memory_bytes.min(MEMORY_CAP_BYTES))
        .table_elements(limits.table_elements)
        .linear_memory_keep_resident(256 << 10)
        .max_unused_warm_slots(slots);
    pool
}

/// Moves the epoch every [`TICK`] until the engine is gone. Without it no deadline would ever be noticed.
fn start_ticking(engine: &Engine) -> Result<(), Error> {
    let engine = engine.weak();
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    };
    let spawned = thread::Builder::new().name("plugin-epoch".into()).spawn(tick);
    spawned.map(drop).map_err(|error| Error::internal("the plugin clock does not start", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "the bytes come from the engine's own compiler")]
    fn what_a_child_compiles_runs_on_every_rung() {
        let wasm = wat::parse_str("(component (core module $m (memory 1)) (core instance (instantiate $m)))")
            .unwrap();
        for rung in Rung::ALL {
            assert_eq!(Rung::from_name(rung.as_str()), Some(rung));
            let code = Engine::new(&config(rung)).unwrap().precompile_component(&wasm).unwrap();
            let engine = engine(rung, &Limits::default()).unwrap();
            // SAFETY: just compiled here.
            let component = unsafe { wasmtime::component::Component::deserialize(&engine, &code) }.unwrap();
            let mut store = wasmtime::Store::new(&engine, ());
            store.set_fuel(1_000).unwrap();
            store.set_epoch_deadline(1);
            wasmtime::component::Linker::new(&engine).instantiate(&mut store, &component).unwrap();
        }
    }
}
