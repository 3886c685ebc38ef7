//! From a use that breaks a property to smaller ones that may break it, too.

use super::properties::Use;
use crate::time::HOUR;

/// Smaller uses, the smallest first; each is smaller in one way.
pub(super) fn smaller(uses: &[Use]) -> Vec<Vec<Use>> {
    let mut found: Vec<Vec<Use>> = Vec::new();
    if uses.len() > 1 {
        found.extend(uses.iter().map(|one| vec![one.clone()]));
        found.extend((0..uses.len()).map(|place| {
            let mut fewer = uses.to_vec();
            fewer.remove(place);
            fewer
        }));
    }
    for (place, one) in uses.iter().enumerate() {
        for simpler in simpler(one) {
            let mut changed = uses.to_vec();
            if let Some(slot) = changed.get_mut(place) {
                *slot = simpler;
            }
            found.push(changed);
        }
    }
    found
}

/// One use, made simpler in one way; never the use itself.
fn simpler(one: &Use) -> Vec<Use> {
    let mut found = Vec::new();
    if one.quantity > 1 {
        found.push(Use { quantity: 1, ..one.clone() });
        found.push(Use { quantity: one.quantity / 2, ..one.clone() });
    }
    if one.cuts.len() > 1 {
        found.extend(one.cuts.iter().map(|cut| Use { cuts: vec![*cut], ..one.clone() }));
    }
    // The segment as short as it can be, its times on the hour.
    found.push(moved(one, one.from, one.from, one.to));
    let hour = |time: i64| time / HOUR * HOUR;
    found.push(moved(one, hour(one.start), hour(one.from), hour(one.to)));
    found.push(moved(one, one.start, one.from, hour(one.to)));
    let half = one.from + (one.to - one.from) / 2;
    found.push(moved(one, one.start, one.from, half));
    found.push(moved(one, one.start, half, one.to));
    let rounded: Vec<i64> = one.cuts.iter().map(|cut| hour(*cut)).collect();
    found.push(Use { cuts: rounded, ..one.clone() });
    found.retain(|other| other != one && other.is_whole());
    found
}

/// The same at other times, with the cuts that lie within them.
fn moved(one: &Use, start: i64, from: i64, to: i64) -> Use {
    let mut cuts = one.cuts.clone();
    cuts.retain(|cut| from < *cut && *cut < to);
    Use { start, from, to, cuts, ..one.clone() }
}

impl Use {
    /// Whether its times are in their order.
    fn is_whole(&self) -> bool {
        let mut at = self.from;
        let ordered = self.cuts.iter().all(|cut| {
            let later = *cut > at;
            at = *cut;
            later
        });
        self.start <= self.from && ordered && at < self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_smaller_is_whole_and_something_else() {
        let one = Use {
            sku: 0,
            quantity: 7,
            start: HOUR + 5,
            from: 2 * HOUR + 7,
            to: 9 * HOUR + 1,
            cuts: vec![3 * HOUR + 1, 4 * HOUR],
        };
        let uses = vec![one.clone(), one.clone(), one];
        let found = smaller(&uses);
        assert!(found.iter().any(|fewer| fewer.len() == 1));
        for candidate in &found {
            assert!(*candidate != uses && candidate.iter().all(Use::is_whole), "{candidate:?}");
        }
    }
}
