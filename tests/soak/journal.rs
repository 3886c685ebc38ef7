//! What the clients wrote down: every request that has got an answer which stays, and that answer.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use serde_json::Value;

use crate::server::Caller;

/// A request that was answered with success.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) caller: Caller,
    pub(crate) key: String,
    pub(crate) path: String,
    pub(crate) body: Value,
    pub(crate) answer: Value,
}

/// All entries, in the order of their answers.
#[derive(Default)]
pub(crate) struct Journal {
    entries: Mutex<Vec<Entry>>,
    closed: AtomicBool,
}

impl Journal {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, entry: Entry) {
        self.entries().push(entry);
    }

    /// Everything that was acknowledged so far.
    pub(crate) fn acknowledged(&self) -> Vec<Entry> {
        self.entries().clone()
    }

    /// No further requests, but those that are under way are asked until they are answered.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}
