//! The worker door: gives the services that look after hosts and meters their rhythm, and decides nothing.
//!
//! Two loops per host, one that looks after it, woken by its bell, and one that counts what it stores; one loop each for
//! the meter, the cashier and the bookkeeper; one that keeps the list of hosts.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    app::App,
    ids::HostId,
    op::{Actor, SystemActor},
};

/// How often to look.
#[derive(Debug, Clone, Copy)]
pub struct Rhythm {
    /// Between two passes of the meter, and of the bookkeeper.
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

impl Worker {
    /// Starts the loops.
    pub fn start(app: Arc<App>, rhythm: Rhythm) -> Self {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        tracker.spawn(meter(app.clone(), rhythm, stop.clone()));
        tracker.spawn(cashier(app.clone(), rhythm, stop.clone()));
        tracker.spawn(bookkeeper(app.clone(), rhythm, stop.clone()));
        tracker.spawn(messages(app.clone(), rhythm, stop.clone()));
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

async fn meter(app: Arc<App>, rhythm: Rhythm, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let op = app.op(Actor::System(SystemActor::Meter));
        if let Err(error) = app.meter(&op).await {
            tracing::error!(?error, "a pass of the meter failed; the next one catches up");
        }
        let op = app.op(Actor::System(SystemActor::Messenger));
        if let Err(error) = app.alerts_watch(&op).await {
            tracing::error!(?error, "the alerts could not be looked at; the next pass does");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(rhythm.tick) => {}
        }
    }
}

/// Brings messages to webhooks, apart from the meter, which must not wait for whoever answers slowly.
async fn messages(app: Arc<App>, rhythm: Rhythm, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let op = app.op(Actor::System(SystemActor::Messenger));
        match app.messages_deliver(&op).await {
            // There may be more that is due.
            Ok(taken) if taken > 0 => continue,
            Ok(_) => {}
            Err(error) => tracing::error!(?error, "a pass over the messages failed; the next one sends them"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(rhythm.tick) => {}
        }
    }
}

async fn cashier(app: Arc<App>, rhythm: Rhythm, stop: CancellationToken) {
    while !stop.is_cancelled() {
        app.cashier(&app.op(Actor::System(SystemActor::Cashier))).await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(rhythm.tick) => {}
        }
    }
}

async fn bookkeeper(app: Arc<App>, rhythm: Rhythm, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let op = app.op(Actor::System(SystemActor::Bookkeeper));
        if let Err(error) = app.books_link(&op).await {
            tracing::error!(?error, "the books could not be linked; the next pass goes on");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(rhythm.tick) => {}
        }
    }
}

/// Keeps one loop per host that is ours to look after.
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
