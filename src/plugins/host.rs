//! The room's door: admit an upload, load a plugin, ask it for prices.

use std::{
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::{sync::Semaphore, task::spawn_blocking};
use wasmtime::{
    Engine, Store,
    component::{Component, HasSelf, Linker},
};

use super::{
    PRICING_WORLD,
    call::{self, Guest, Spent},
    compile::{Cache, Compiler},
    engine::{self, Rung},
    error::Error,
    inspect::{Inspection, inspect},
    limits::{Budget, Limits},
    output, v1,
};
use crate::{
    digest::Digest,
    error,
    model::{
        manifest::Manifest,
        price::{ChargeLine, PlannedUse, Quote, RateContext, Sku, UsageRecord},
    },
    money::NanoCredits,
    time::{HOUR, Timestamp},
};

/// What the room needs to start.
#[derive(Debug, Clone)]
pub struct PluginSettings {
    /// The folder of compiled code; made when missing, closed to others.
    pub cache_folder: PathBuf,
    /// Which program compiles.
    pub compiler: Compiler,
    /// Limits on uploads and calls.
    pub limits: Limits,
}

/// All plugins of a server: one engine, one cache, one bounded pool of workers.
pub struct Plugins {
    engine: Engine,
    rung: Rung,
    linker: Linker<Guest>,
    cache: Cache,
    limits: Limits,
    /// Calls that may run, and calls that may run or wait.
    workers: Arc<Semaphore>,
    places: Arc<Semaphore>,
    /// The most recently used at the end.
    loaded: Mutex<Vec<Arc<Plugin>>>,
}

/// A plugin that is ready to be called.
pub struct Plugin {
    digest: Digest,
    linked: v1::PricingPre<Guest>,
}

impl Plugin {
    /// The digest of its component.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Plugins {
    /// Starts the engine on the best rung that this machine allows and opens the cache.
    ///
    /// # Errors
    /// [`Error::Internal`] when the engine does not start or the folder cannot be made.
    pub fn new(settings: PluginSettings) -> Result<Self, Error> {
        let PluginSettings { cache_folder, compiler, limits } = settings;
        let (engine, rung) = engine::start(&limits)?;
        let mut linker = Linker::new(&engine);
        v1::Pricing::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)
            .map_err(|error| Error::internal("the plugin interface does not link", error))?;
        let cache = Cache::open(cache_folder, compiler, (engine.clone(), rung), limits.clone())?;
        let workers = Arc::new(Semaphore::new(limits.workers));
        let places = Arc::new(Semaphore::new(limits.workers.saturating_add(limits.queue)));
        Ok(Self { engine, rung, linker, cache, limits, workers, places, loaded: Mutex::default() })
    }

    /// How instances get their memory on this machine.
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// Decides whether `wasm` can be a plugin: looks at it, compiles it, starts an instance and asks for a
    /// price.
    ///
    /// The trial has the configuration that the manifest says to begin with, which the plugin must take. Without a
    /// manifest it has none, and a plugin that answers it with an error of its own is admitted.
    ///
    /// # Errors
    /// [`Error::Refused`] or [`Error::TooLarge`] with the reason, [`Error::Busy`], [`Error::Internal`].
    pub async fn admit(&self, wasm: Bytes) -> Result<Inspection, Error> {
        let inspection = self.inspect(wasm.clone()).await?;
        let component = match self.cache.load(&inspection.digest) {
            Some(component) => component,
            None => self.cache.compile(&inspection.digest, &wasm).await?,
        };
        let plugin = Arc::new(self.link(inspection.digest, &component)?);
        self.try_out(&plugin, inspection.manifest.as_ref()).await?;
        self.keep(plugin);
        Ok(inspection)
    }

    /// The plugin named `digest`, from memory, from the cache folder, or compiled anew from what `wasm`
    /// resolves to; `wasm` is awaited only in the last case.
    ///
    /// # Errors
    /// Those of `wasm`, and those of [`Plugins::admit`] when the component is no longer acceptable.
    pub async fn load(
        &self,
        digest: Digest,
        wasm: impl Future<Output = error::Result<Bytes>>,
    ) -> error::Result<Arc<Plugin>> {
        if let Some(plugin) = self.kept(digest) {
            return Ok(plugin);
        }
        let component = match self.cache.load(&digest) {
            Some(component) => component,
            None => {
                let wasm = wasm.await?;
                if self.inspect(wasm.clone()).await?.digest != digest {
                    return Err(Error::Internal(format!(
                        "the stored bytes of plugin {digest} are not its own"
                    ))
                    .into());
                }
                self.cache.compile(&digest, &wasm).await?
            }
        };
        let plugin = Arc::new(self.link(digest, &component)?);
        self.keep(plugin.clone());
        Ok(plugin)
    }

    /// What `records` cost: at least one line for each, in the order of the records' batches.
    ///
    /// Lists longer than a batch are split; every batch meets a fresh instance.
    ///
    /// # Errors
    /// Every kind but [`Error::Refused`] and [`Error::TooLarge`]. On an error there are no charges at all.
    pub async fn rate(
        &self,
        plugin: &Arc<Plugin>,
        context: &RateContext,
        records: &[UsageRecord],
    ) -> Result<Vec<ChargeLine>, Error> {
        self.rate_watched(plugin, context, records).await.0
    }

    /// [`Plugins::rate`], and what the calls used.
    pub async fn rate_watched(
        &self,
        plugin: &Arc<Plugin>,
        context: &RateContext,
        records: &[UsageRecord],
    ) -> (Result<Vec<ChargeLine>, Error>, Spent) {
        let mut spent = Spent::default();
        let lines = self.rate_batches(plugin, context, records, &mut spent).await;
        (lines, spent)
    }

    async fn rate_batches(
        &self,
        plugin: &Arc<Plugin>,
        context: &RateContext,
        records: &[UsageRecord],
        spent: &mut Spent,
    ) -> Result<Vec<ChargeLine>, Error> {
        let context = Arc::new(v1::context(context));
        let batch = self.limits.records_per_batch.clamp(1, 1_000);
        let mut lines = Vec::with_capacity(records.len());
        for (number, records) in records.chunks(batch).enumerate() {
            let (count, first) = (records.len(), number * batch);
            let records: Vec<v1::UsageRecord> = records.iter().map(v1::record).collect();
            let (context, limits) = (context.clone(), self.limits.clone());
            let budget = limits.for_rate(count);
            let answer = self.call(plugin, "rate", budget, move |guest, store| {
                guest.muster_plugin_tariff().call_rate(store, &context, &records)
            });
            let (answer, used) = answer.await;
            spent.add(used);
            lines.extend(output::charges(answer?, count, first, &limits)?);
        }
        Ok(lines)
    }

    /// What `planned` will cost per hour at its start, all together.
    ///
    /// # Errors
    /// Those of [`Plugins::rate`].
    pub async fn quote(
        &self,
        plugin: &Arc<Plugin>,
        context: &RateContext,
        planned: &[PlannedUse],
    ) -> Result<Quote, Error> {
        self.quote_watched(plugin, context, planned).await.0
    }

    /// [`Plugins::quote`], and what the call used.
    pub async fn quote_watched(
        &self,
        plugin: &Arc<Plugin>,
        context: &RateContext,
        planned: &[PlannedUse],
    ) -> (Result<Quote, Error>, Spent) {
        let (context, count) = (v1::context(context), planned.len());
        let planned: Vec<v1::PlannedUse> = planned.iter().map(v1::planned).collect();
        let answer = self.call(plugin, "quote", self.limits.for_quote(count), move |guest, store| {
            guest.muster_plugin_tariff().call_quote(store, &context, &planned)
        });
        let (answer, spent) = answer.await;
        (answer.and_then(|amounts| output::quote(&amounts, count)), spent)
    }

    /// Calls `plugin` on a fresh instance, on a worker.
    async fn call<T: Send + 'static>(
        &self,
        plugin: &Arc<Plugin>,
        function: &'static str,
        budget: Budget,
        ask: impl FnOnce(&v1::Pricing, &mut Store<Guest>) -> wasmtime::Result<Result<T, v1::PluginError>>
        + Send
        + 'static,
    ) -> (Result<T, Error>, Spent) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return (Err(Error::Busy), Spent::default());
        };
        let Ok(worker) = self.workers.clone().acquire_owned().await else {
            return (Err(Error::Busy), Spent::default());
        };
        let (engine, limits, plugin) = (self.engine.clone(), self.limits.clone(), plugin.clone());
        let work = move || {
            // Held by the work itself: a caller that gives up does not make room for another.
            let _held = (place, worker);
            call::run(&engine, plugin.digest, &limits, budget, function, |store| {
                let guest = plugin.linked.instantiate(&mut *store)?;
                ask(&guest, store)
            })
        };
        match spawn_blocking(work).await {
            Ok((answer, spent)) => {
                let told = |answer: Result<T, _>| answer.map_err(|error| output::plugin_error(&error));
                (answer.and_then(told), spent)
            }
            Err(error) => (Err(Error::internal("a plugin call broke", error)), Spent::default()),
        }
    }

    /// Asks `plugin` for the price of an hour of something, as a trial.
    async fn try_out(&self, plugin: &Arc<Plugin>, manifest: Option<&Manifest>) -> Result<(), Error> {
        if let Some(manifest) = manifest
            && manifest.world != PRICING_WORLD
        {
            let world = &manifest.world;
            return Err(Error::Refused(format!(
                "its manifest names the world {world}; this server has {PRICING_WORLD}"
            )));
        }
        let config = manifest.map_or_else(|| "{}".to_owned(), Manifest::default_config);
        let context = trial_context(config);
        let start = context.now;
        let record = UsageRecord {
            sku: 0,
            member: 0,
            quantity: 1,
            segment_start: start,
            from: start,
            to: Timestamp::from_micros(HOUR),
        };
        let planned = PlannedUse { sku: 0, member: 0, quantity: 1, start };
        let rated = self.rate(plugin, &context, &[record]).await.map(drop);
        let quoted = self.quote(plugin, &context, &[planned]).await.map(drop);
        for answer in [rated, quoted] {
            match answer {
                Ok(()) => {}
                Err(Error::Plugin { .. }) if manifest.is_none() => {}
                Err(error @ (Error::Busy | Error::Internal(_))) => return Err(error),
                Err(error) => return Err(Error::Refused(format!("in a trial call, {error}"))),
            }
        }
        Ok(())
    }

    async fn inspect(&self, wasm: Bytes) -> Result<Inspection, Error> {
        let limits = self.limits.clone();
        let inspected = spawn_blocking(move || inspect(&wasm, &limits)).await;
        inspected.map_err(|error| Error::internal("a plugin could not be inspected", error))?
    }

    /// Connects the component to what the host offers, and checks that it offers what the host calls.
    fn link(&self, digest: Digest, component: &Component) -> Result<Plugin, Error> {
        let linked = self.linker.instantiate_pre(component).and_then(v1::PricingPre::new);
        match linked {
            Ok(linked) => Ok(Plugin { digest, linked }),
            Err(error) => {
                Err(Error::Refused(format!("it does not fit muster:plugin/pricing@1.0.0: {error:#}")))
            }
        }
    }

    fn kept(&self, digest: Digest) -> Option<Arc<Plugin>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let place = loaded.iter().position(|plugin| plugin.digest == digest)?;
        let plugin = loaded.remove(place);
        loaded.push(plugin.clone());
        Some(plugin)
    }

    fn keep(&self, plugin: Arc<Plugin>) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|other| other.digest != plugin.digest);
        loaded.push(plugin);
        if loaded.len() > self.limits.loaded {
            loaded.remove(0);
        }
    }
}

/// The context of the trial at upload: one product, one member.
fn trial_context(config: String) -> RateContext {
    let sku = Sku {
        name: "trial".into(),
        kind: "instance".into(),
        region: "trial".into(),
        instance_type: "trial".into(),
        accelerator: "none".into(),
        unit_price: NanoCredits::from_nanos(1_000_000_000),
    };
    RateContext {
        team: "trial".into(),
        config,
        now: Timestamp::from_micros(0),
        skus: vec![sku],
        members: vec!["trial".into()],
    }
}
