//! Fate of one life of the server: when it dies, and which of its commits and calls go wrong before that.
//!
//! A server that is dead commits nothing and reaches no host any more, whatever of it still runs; so a death between
//! any two moments looks to the outside exactly like a power cut.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use muster::store::{self, Error, Faults};

use crate::dice::Dice;

/// How often things go wrong, in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    /// Whether the disk is full: nothing can be stored.
    pub(crate) full: bool,
    /// Transactions that do not begin, or are refused at their commit.
    pub(crate) refused: u64,
    /// Transactions that are stored while their caller hears otherwise.
    pub(crate) unheard: u64,
    /// Calls to a host that are lost on the way there.
    pub(crate) lost: u64,
    /// Calls to a host whose answer is lost on the way back.
    pub(crate) unanswered: u64,
}

/// One life of the server.
pub(crate) struct Fate(Mutex<Thread>);

struct Thread {
    dice: Dice,
    weather: Weather,
    /// Moments that are left to live; `None`: for ever.
    left: Option<u64>,
    dead: bool,
    /// Whether something was stored since somebody asked.
    written: bool,
}

/// What happens to a call to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// It is made and answered.
    Made,
    /// It never arrives.
    Lost,
    /// It takes effect, and nobody hears of it.
    Unanswered,
}

impl Fate {
    pub(crate) fn new(seed: u64) -> Self {
        let thread = Thread {
            dice: Dice::new(seed),
            weather: Weather::default(),
            left: None,
            dead: false,
            written: true,
        };
        Self(Mutex::new(thread))
    }

    fn thread(&self) -> MutexGuard<'_, Thread> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on things go wrong this often.
    pub(crate) fn weather(&self, weather: Weather) {
        self.thread().weather = weather;
    }

    /// Dies after this many more moments.
    pub(crate) fn doom(&self, moments: u64) {
        self.thread().left = Some(moments);
    }

    /// Dies now.
    pub(crate) fn end(&self) {
        self.thread().dead = true;
    }

    /// Whether something was stored since this was asked last.
    pub(crate) fn has_written(&self) -> bool {
        std::mem::take(&mut self.thread().written)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.thread().dead
    }

    /// What happens to the next call to a host.
    pub(crate) fn call(&self) -> Call {
        let mut thread = self.thread();
        if thread.passes() {
            return Call::Lost;
        }
        let roll = thread.dice.below(100);
        let Weather { lost, unanswered, .. } = thread.weather;
        if thread.passes() || (lost..lost + unanswered).contains(&roll) {
            Call::Unanswered
        } else if roll < lost {
            Call::Lost
        } else {
            Call::Made
        }
    }
}

impl Thread {
    /// One moment passes; whether the server is dead after it.
    fn passes(&mut self) -> bool {
        if let Some(left) = &mut self.left {
            self.dead |= *left == 0;
            *left = left.saturating_sub(1);
        }
        self.dead
    }
}

impl Faults for Fate {
    fn begin(&self) -> store::Result<()> {
        let thread = self.thread();
        if thread.dead {
            return Err(Error::Closed);
        }
        if thread.dice.below(200) < thread.weather.refused {
            return Err(Error::Busy(Duration::from_secs(2)));
        }
        Ok(())
    }

    fn commit(&self) -> store::Result<()> {
        let mut thread = self.thread();
        if thread.passes() {
            return Err(Error::Closed);
        }
        let full = "database or disk is full".to_owned();
        if thread.weather.full {
            return Err(Error::Commit(full));
        }
        if thread.dice.below(200) < thread.weather.refused {
            return Err(*thread.dice.one_of(&[true, false])).map_err(|whole| match whole {
                true => Error::Commit(full),
                false => Error::ReadOnly,
            });
        }
        Ok(())
    }

    fn committed(&self) -> store::Result<()> {
        let mut thread = self.thread();
        thread.written = true;
        if thread.passes() || thread.dice.percent(thread.weather.unheard) {
            return Err(Error::Uncertain);
        }
        Ok(())
    }
}
