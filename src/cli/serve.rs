//! `muster serve`: builds the graph of rooms, services and doors. Nobody else does.

use std::{io::Write, os::unix::fs::DirBuilderExt, path::Path, sync::Arc, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use super::{output::Answer, problem::Failure};
use crate::{
    api::router::{DoorSettings, router, serve as serve_until},
    app::{App, Parts, Settings, StatementSettings, secrets::Seal},
    chance::{Chance, SystemChance},
    config::{Config, Database, Prove},
    plugins::{self, Compiler, PluginSettings, Plugins},
    policy::Policies,
    store::Db,
    telemetry::{Handle, Telemetry},
    time::{Clock, Span, SystemClock},
    worker::{Rhythm, Worker},
};

/// How long a stopping server waits for what is under way.
const DRAIN: Duration = Duration::from_secs(20);

/// Runs the server until it is told to stop.
pub(crate) fn run(config: &Config) -> Result<Answer, Failure> {
    let telemetry = Telemetry::start(config).map_err(|error| Failure::Invalid(error.to_string()))?;
    folder_make(&config.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::here("the server cannot start", error))?;
    runtime.block_on(serve(config, telemetry))
}

async fn serve(config: &Config, telemetry: Handle) -> Result<Answer, Failure> {
    let here =
        |what: &'static str| move |error: crate::error::Error| Failure::here(what, format!("{error:?}"));
    let (app, claim) = open(config).await.map_err(here("the server cannot start"))?;
    let app = Arc::new(app);
    let listener = tokio::net::TcpListener::bind(config.listen).await;
    let listener = listener.map_err(|error| Failure::here(config.listen, error))?;
    let door = DoorSettings {
        body_bytes: config.limits.body_bytes as usize,
        plugin_bytes: config.limits.plugin_bytes as usize,
        json_depth: config.limits.json_depth as usize,
        request_timeout: seconds(config.limits.request_seconds),
    };
    let routes = router(app.clone(), &door, Arc::new(move || telemetry.render_metrics()));
    if let Some(token) = claim {
        let url = &config.public_url;
        super::output::write(&format!(
            "Nobody runs this installation yet. Make yourself its operator, once:\n\n  \
             muster operator claim --server {url} {} YOUR-LOGIN\n\n",
            token.reveal()
        ))?;
    }
    let rhythm = Rhythm {
        tick: seconds(config.metering.tick_seconds),
        quiet: seconds(config.reconcile.interval_seconds),
        busy: seconds(config.reconcile.busy_seconds),
    };
    let told = told_to_stop().map_err(|error| Failure::here("signals", error))?;
    let worker = Worker::start(app.clone(), rhythm);
    super::output::write(&format!("muster listens on http://{}\n", config.listen))?;
    let served = serve_until(listener, routes, told).await;
    tracing::info!("stopping: no new requests, finishing what is under way");
    if tokio::time::timeout(DRAIN, worker.stop()).await.is_err() {
        tracing::warn!("a loop did not finish in time; it is taken up again at the next start");
    }
    app.close().await;
    served.map_err(|error| Failure::here("the server stopped", error))?;
    Ok(Answer::Done("stopped".into()))
}

async fn open(config: &Config) -> crate::error::Result<(App, Option<crate::app::secrets::Token>)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let chance: Arc<dyn Chance> = Arc::new(SystemChance);
    let address = match &config.database {
        Database::Sqlite(path) => format!("sqlite:{}", path.display()),
        Database::Postgres(url) => url.expose().to_owned(),
    };
    let db = Db::open(&address).await?;
    db.migrate(clock.now()).await?;
    let plugins = Plugins::new(PluginSettings {
        cache_folder: config.data_dir.join("plugin-cache"),
        compiler: Compiler::ThisProgram,
        limits: plugins::Limits {
            upload_bytes: config.limits.plugin_bytes as usize,
            ..plugins::Limits::default()
        },
    })?;
    let policies = Policies::shipped().map_err(crate::error::Error::internal)?;
    let seal = seal_open(&config.data_dir.join("seal.key"), &*chance)?;
    let simulated_dir = config.data_dir.join("simulated");
    folder_make(&simulated_dir)
        .map_err(|_| crate::error::Error::internal("no folder for simulated hosts"))?;
    let settings = Settings {
        public_url: config.public_url.clone(),
        session: Span::from_seconds(i64::from(config.session_hours) * 3600),
        team_members: config.limits.team_members,
        interval: Span::from_seconds(i64::from(config.metering.interval_seconds)),
        runway: Span::from_seconds(i64::from(config.metering.runway_seconds)),
        stop_latency: Span::from_seconds(i64::from(config.metering.stop_latency_seconds)),
        down_after: Span::from_seconds(60),
        probe_every: Span::from_seconds(i64::from(config.reconcile.probe_seconds)),
        two_person_above: config.two_person_above,
        network_pool: config.network_pool.to_string().parse().map_err(crate::error::Error::internal)?,
        simulated_dir,
        statements: StatementSettings {
            grace: Span::from_seconds(i64::from(config.grace_hours) * 3_600),
            costs: config.costs.clone(),
        },
        runway_least: Span::from_seconds(i64::from(config.metering.runway_least())),
        webhooks_allow: config.webhooks_allow.clone(),
        // An answer that comes after the request's time is heard by nobody.
        prove: Prove {
            total_seconds: config
                .prove
                .total_seconds
                .min(config.limits.request_seconds.saturating_sub(3).max(1)),
            ..config.prove.clone()
        },
    };
    let (policies, plugins) = (Arc::new(policies), Arc::new(plugins));
    App::open(Parts { db, policies, plugins, providers: Vec::new(), seal, settings, clock, chance }).await
}

/// Resolves at the first SIGTERM or SIGINT; a second one ends the process at once.
fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(130);
        });
    })
}

/// The seal of secrets at rest: its key is made at the first start and never leaves the data folder.
fn seal_open(path: &Path, chance: &dyn Chance) -> crate::error::Result<Seal> {
    use crate::error::Error;
    let mut key = Zeroizing::new([0u8; 32]);
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let text = Zeroizing::new(text);
            let broken = || Error::internal(format!("{}: expected 64 hexadecimal digits", path.display()));
            hex::decode_to_slice(text.trim(), &mut *key).map_err(|_| broken())?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            chance.fill(&mut *key);
            // Born with mode 0600, and whole or not there at all: half a key would lock the installation for good.
            let folder = path.parent().unwrap_or(Path::new("."));
            let mut file = tempfile::NamedTempFile::new_in(folder).map_err(Error::internal)?;
            writeln!(file, "{}", hex::encode(*key)).map_err(Error::internal)?;
            file.as_file().sync_all().map_err(Error::internal)?;
            file.persist_noclobber(path).map_err(|error| Error::internal(error.error))?;
        }
        Err(error) => return Err(Error::internal(format!("{}: {error}", path.display()))),
    }
    Ok(Seal::new(&key))
}

/// Makes a folder for its owner only: the sealing key and the database are inside.
fn folder_make(path: &Path) -> Result<(), Failure> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Failure::here(path.display(), error))
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}
