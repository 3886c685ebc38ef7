//! The ledger as a child would keep it: a few numbers in a box. What the real one does is compared with this.

use proptest::prelude::*;

/// Members, and instances, of a model.
pub(crate) const SLOTS: usize = 3;

/// Something that moves money; amounts are micro-credits.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    TopUp(i64),
    Assign(usize, i64),
    Reclaim(usize, i64),
    Place(usize, i64),
    Extend(usize, i64),
    /// Charges the next interval; nano-credits.
    Capture(usize, i64),
    Release(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Purse {
    pub(crate) posted: i64,
    pub(crate) held: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Model {
    pub(crate) pool: i64,
    pub(crate) wallets: [Purse; SLOTS],
    pub(crate) earned: i64,
    pub(crate) owed: i64,
    pub(crate) paid_in: i64,
    open: [bool; SLOTS],
    nano: [i64; SLOTS],
}

impl Model {
    /// Does it, or says no and does nothing.
    pub(crate) fn run(&mut self, command: &Command) -> bool {
        let before = *self;
        let possible = self.attempt(command);
        let sound = self.pool >= 0 && self.wallets.iter().all(|wallet| wallet.posted >= wallet.held);
        if !(possible && sound) {
            *self = before;
        }
        possible && sound
    }

    fn attempt(&mut self, command: &Command) -> bool {
        match *command {
            Command::TopUp(amount) => {
                self.pool += amount;
                self.paid_in += amount;
                true
            }
            Command::Assign(slot, amount) => {
                self.pool -= amount;
                self.wallets[slot].posted += amount;
                true
            }
            Command::Reclaim(slot, amount) => {
                self.pool += amount;
                self.wallets[slot].posted -= amount;
                true
            }
            Command::Place(slot, amount) => {
                self.wallets[slot].held += amount;
                self.nano[slot] = 0;
                !std::mem::replace(&mut self.open[slot], true)
            }
            Command::Extend(slot, amount) => {
                self.wallets[slot].held += amount;
                self.open[slot]
            }
            Command::Capture(slot, nano) => {
                let wallet = &mut self.wallets[slot];
                let due = round(self.nano[slot] + nano) - round(self.nano[slot]);
                let covered = due.min(wallet.held);
                self.nano[slot] += nano;
                wallet.held -= covered;
                wallet.posted -= covered;
                self.earned += due;
                self.owed += due - covered;
                self.open[slot]
            }
            Command::Release(slot) => {
                self.wallets[slot].held = 0;
                std::mem::replace(&mut self.open[slot], false)
            }
        }
    }
}

/// Nano to micro, a half to the even neighbour, in the slow and obvious way.
fn round(nano: i64) -> i64 {
    let (below, rest) = (nano / 1000, nano % 1000);
    match rest {
        0..500 => below,
        500 => below + below % 2,
        _ => below + 1,
    }
}

/// Lives of a team: half of them with some money to begin with, all of them often greedy.
pub(crate) fn lives(most: usize) -> impl Strategy<Value = Vec<Command>> {
    (any::<bool>(), commands(most)).prop_map(|(endowed, mut life)| {
        if endowed {
            let shares = (0..SLOTS).map(|slot| Command::Assign(slot, 1_500));
            life.splice(0..0, std::iter::once(Command::TopUp(5_000)).chain(shares));
        }
        life
    })
}

fn commands(most: usize) -> impl Strategy<Value = Vec<Command>> {
    let slot = 0..SLOTS;
    let command = prop_oneof![
        2 => (1i64..2_000).prop_map(Command::TopUp),
        3 => (slot.clone(), 1i64..900).prop_map(|(slot, amount)| Command::Assign(slot, amount)),
        1 => (slot.clone(), 1i64..900).prop_map(|(slot, amount)| Command::Reclaim(slot, amount)),
        3 => (slot.clone(), 1i64..500).prop_map(|(slot, amount)| Command::Place(slot, amount)),
        2 => (slot.clone(), 1i64..300).prop_map(|(slot, amount)| Command::Extend(slot, amount)),
        5 => (slot.clone(), 0i64..120_000).prop_map(|(slot, nano)| Command::Capture(slot, nano)),
        1 => slot.prop_map(Command::Release),
    ];
    prop::collection::vec(command, most / 2..most)
}
