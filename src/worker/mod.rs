//! The worker door: gives the services that work by themselves their rhythm, and decides nothing.
//!
//! Two loops per host: one that looks after it, woken by its bell, and one that counts what it stores. One loop each
//! for the meter with the alerts, payments and expiring credits, the books' chain, the audit logs' chains, parked
//! charges, the end of months, and messages. One that keeps the list of hosts.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    app::App,
    ids::HostId,
    op::{Actor, Op, SystemActor},
};

/// How often to look.
#[derive(Debug, Clone, Copy)]
pub struct Rhythm {
    /// Between two passes of the meter, and of the other loops over money and messages.
    pub tick: Duration,
    /// Between two looks at a quiet host.
    pub quiet: Duration,
    /// Between two looks at a host where something is under way.
    pub busy: Duration,
}

/// The running loops.
pub struct Worker {
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// Between two passes over the audit logs.
const LINKING: Duration = Duration::from_secs(10);

/// Between two looks for months that can be closed.
const CLOSING: Duration = Duration::from_secs(60);
/// Between two looks for recorded decisions that are no longer of use.
const PRUNING: Duration = Duration::from_secs(3_600);

impl Worker {
    /// Starts the loops.
    pub fn start(app: Arc<App>, rhythm: Rhythm) -> Self {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let tick = rhythm.tick;
        let every = |pause, pass: fn(Arc<App>) -> Pass| {
            tracker.spawn(repeat(app.clone(), pause, stop.clone(), pass));
        };
        every(tick, |app| Box::pin(async move { meter(&app).await }));
        every(tick, |app| Box::pin(async move { app.cashier(&by(&app, SystemActor::Cashier)).await }));
        every(tick, |app| Box::pin(async move { bookkeeper(&app).await }));
        every(tick, |app| Box::pin(async move { recorder(&app).await }));
        every(tick, |app| Box::pin(async move { rater(&app).await }));
        every(tick, |app| Box::pin(async move { messenger(&app).await }));
        every(LINKING, |app| Box::pin(async move { linker(&app).await }));
        every(PRUNING, |app| Box::pin(async move { pruner(&app).await }));
        every(CLOSING, |app| Box::pin(async move { closer(&app).await }));
        tracker.spawn(roster(app, rhythm, stop.clone(), tracker.clone()));
        Self { tracker, stop }
    }

    /// Lets every loop finish the pass that it is in.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// One pass of a loop.
type Pass = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Makes passes with a pause after each, until told to stop; a pass that is under way is finished.
async fn repeat(app: Arc<App>, pause: Duration, stop: CancellationToken, pass: fn(Arc<App>) -> Pass) {
    while !stop.is_cancelled() {
        pass(app.clone()).await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(pause) => {}
        }
    }
}

/// A context for one of the server's own.
fn by(app: &App, actor: SystemActor) -> Op {
    app.op(Actor::System(actor))
}

async fn meter(app: &App) {
    if let Err(error) = app.meter(&by(app, SystemActor::Meter)).await {
        tracing::error!(?error, "a pass of the meter failed; the next one catches up");
    }
    if let Err(error) = app.alerts_watch(&by(app, SystemActor::Messenger)).await {
        tracing::error!(?error, "the alerts could not be looked at; the next pass does");
    }
}

async fn bookkeeper(app: &App) {
    if let Err(error) = app.books_link(&by(app, SystemActor::Bookkeeper)).await {
        tracing::error!(?error, "the books could not be linked; the next pass goes on");
    }
}

async fn linker(app: &App) {
    if let Err(error) = app.audit_link(&by(app, SystemActor::Bookkeeper)).await {
        tracing::error!(?error, "the audit logs could not be linked; the next pass goes on");
    }
}

/// Writes the looks that were recorded, and asks candidates about what was decided.
async fn recorder(app: &App) {
    if let Err(error) = app.looks_write(&by(app, SystemActor::Bookkeeper)).await {
        tracing::warn!(?error, "recorded looks could not be written, and are forgotten");
    }
    if let Err(error) = app.shadows_pass(&by(app, SystemActor::Bookkeeper)).await {
        tracing::warn!(?error, "what candidates answered could not be written, and is forgotten");
    }
}

/// Tries what a price plugin gave no usable answer for; how often is decided there.
async fn rater(app: &App) {
    if let Err(error) = app.rate_parked(&by(app, SystemActor::Rater)).await {
        tracing::error!(?error, "parked charges could not be tried again; the next pass does");
    }
}

async fn pruner(app: &App) {
    if let Err(error) = app.decisions_prune(&by(app, SystemActor::Bookkeeper)).await {
        tracing::error!(?error, "old decisions could not be forgotten; the next pass does");
    }
}

async fn closer(app: &App) {
    if let Err(error) = app.months_close(&by(app, SystemActor::Closer)).await {
        tracing::error!(?error, "closing months failed; the next pass tries again");
    }
}

/// Brings messages to webhooks, apart from the meter, which must not wait for whoever answers slowly.
async fn messenger(app: &App) {
    loop {
        match app.messages_deliver(&by(app, SystemActor::Messenger)).await {
            // There may be more that is due.
            Ok(taken) if taken > 0 => {}
            Ok(_) => return,
            Err(error) => {
                tracing::error!(?error, "a pass over the messages failed; the next one sends them");
                return;
            }
        }
    }
}

/// Keeps the loops of each host that is ours to look after.
async fn roster(app: Arc<App>, rhythm: Rhythm, stop: CancellationToken, tracker: TaskTracker) {
    let mut loops: HashMap<HostId, CancellationToken> = HashMap::new();
    while !stop.is_cancelled() {
        match app.hosts_live().await {
            Ok(live) => {
                let live: HashSet<HostId> = live.into_iter().collect();
                loops.retain(|id, stop| {
                    let stays = live.contains(id);
                    if !stays {
                        stop.cancel();
                    }
                    stays
                });
                for id in live {
                    loops.entry(id).or_insert_with(|| {
                        let own = stop.child_token();
                        tracker.spawn(host(app.clone(), id, rhythm, own.clone()));
                        tracker.spawn(storage(app.clone(), id, rhythm, own.clone()));
                        own
                    });
                }
            }
            Err(error) => tracing::error!(?error, "the list of hosts could not be read"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = app.roster_bell() => {}
            () = sleep(rhythm.quiet) => {}
        }
    }
}

async fn host(app: Arc<App>, id: HostId, rhythm: Rhythm, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let op = app.op(Actor::System(SystemActor::Reconciler));
        let busy = match app.reconcile(&op, id).await {
            Ok(pass) => pass.busy,
            Err(error) => {
                tracing::error!(host = %id, ?error, "a pass over a host failed");
                true
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = app.host_bell(id) => {}
            () = sleep(if busy { rhythm.busy } else { rhythm.quiet }) => {}
        }
    }
}

/// Beside the loop of the host, because an engine may count for minutes.
async fn storage(app: Arc<App>, id: HostId, rhythm: Rhythm, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let op = app.op(Actor::System(SystemActor::Meter));
        tokio::select! {
            // A count changes nothing until it is done, so that nobody has to wait for it.
            () = stop.cancelled() => return,
            pass = app.storage_pass(&op, id) => {
                if let Err(error) = pass {
                    tracing::warn!(host = %id, ?error, "what a host stores could not be counted");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(rhythm.quiet) => {}
        }
    }
}
