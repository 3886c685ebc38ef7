//! Storage as it is metered: what is stored, how much of it counts, and what it costs by the operator's rates.

use serde::{Deserialize, Serialize};

use super::team::words;
use crate::money::{Credits, NanoCredits, prorate};

words! {
    /// What is stored.
    StorageKind {
        /// A drive, personal or the team's.
        Drive = "drive",
        /// A snapshot.
        Snapshot = "snapshot",
        /// The disk of a stopped instance.
        Stopped = "stopped",
    }
}

/// Bytes of one mebibyte: the unit that storage is metered in.
const MIB: u64 = 1 << 20;

/// Mebibytes of one gibibyte: rates are per gibibyte.
const MIB_PER_GIB: i64 = 1 << 10;

/// How many mebibytes of storage `bytes` count as: rounded up, and never none.
pub fn mebibytes(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(MIB).max(1)).unwrap_or(u32::MAX)
}

/// What a mebibyte costs for an hour where a gibibyte costs `per_gib_hour`, to the nano-credit.
///
/// # Errors
/// When the price leaves the range of an amount.
pub fn per_mib_hour(per_gib_hour: Credits) -> Result<NanoCredits, crate::money::Error> {
    prorate(per_gib_hour.to_nano()?, 1, MIB_PER_GIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begun_mebibyte_counts_and_an_empty_drive_is_one() {
        let counted = [0, 1, MIB, MIB + 1, 3 * MIB].map(mebibytes);
        assert_eq!(counted, [1, 1, 1, 2, 3]);
        assert_eq!(mebibytes(u64::MAX), u32::MAX);
    }

    #[test]
    fn a_rate_is_told_to_the_nearest_nano_credit() {
        let rate = |text: &str| per_mib_hour(text.parse().unwrap()).unwrap().as_nanos();
        assert_eq!([rate("1.024"), rate("0.000128"), rate("0.0001"), rate("0")], [1_000_000, 125, 98, 0]);
    }
}
