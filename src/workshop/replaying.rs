//! Real charges, asked again: what a plugin would have charged for what a server has charged already.

use std::{fs, path::Path};

use serde::Serialize;

use super::{
    Error, Result, Stand, Subject,
    cases::Amount,
    outcome::{self, shown},
};
use crate::{
    ledger::{proof::Proof, rating::exceeds_quote},
    money::NanoCredits,
};

/// What charges were, and what they would be.
#[derive(Debug, Serialize)]
pub struct Replay {
    /// The charges, in the order of their files' names.
    pub charges: Vec<Replayed>,
    /// What all of them cost, in credits.
    pub was: String,
    /// What they would cost; those without an answer are left out.
    pub is: String,
    /// Charges whose cost would be another.
    pub changed: usize,
    /// Charges that the server would not take: no answer, or more than was quoted then.
    pub unusable: usize,
}

/// One charge.
#[derive(Debug, Serialize)]
pub struct Replayed {
    /// Its id.
    pub charge: String,
    /// When the interval began.
    pub from: String,
    /// What it cost, in credits.
    pub was: String,
    /// What it would cost, by line; nothing when there is no answer.
    pub is: Option<String>,
    /// Why the server would not take it.
    pub fault: Option<String>,
}

/// Asks the plugin for every proof in `folder`, as `charge verify --save` wrote them, with the configuration of each
/// charge or with `config` for all.
///
/// # Errors
/// [`Error::Input`] when there are no proofs or one cannot be read.
pub async fn replay(stand: &Stand, subject: &Subject, folder: &Path, config: Option<&str>) -> Result<Replay> {
    let proofs = proofs(folder)?;
    let admitted = stand.admit(subject).await?;
    let (mut was_all, mut is_all) = (NanoCredits::ZERO, NanoCredits::ZERO);
    let (mut changed, mut unusable) = (0, 0);
    let mut charges = Vec::new();
    let overflow = |error: crate::money::Error| Error::Input(error.to_string());
    for proof in proofs {
        let was = proof.lines.iter().try_fold(NanoCredits::ZERO, |sum, line| sum.plus(line.nano));
        let was = was.map_err(overflow)?;
        was_all = was_all.plus(was).map_err(overflow)?;
        let config = config.map_or_else(|| proof.config.clone(), str::to_owned);
        let (context, record) = proof.told.question(config);
        let answer = outcome::charges(stand, &admitted.plugin, &context, &[record]).await.0;
        let (mut is, mut fault) = (None, None);
        match answer.map_err(|error| error.to_string()).and_then(|lines| Ok((outcome::total(&lines)?, lines)))
        {
            Err(why) => fault = Some(why),
            Ok((Amount(cost), lines)) => {
                is_all = is_all.plus(cost).map_err(overflow)?;
                changed += usize::from(cost != was);
                if exceeds_quote(cost, proof.quoted_per_hour.to_nano().map_err(overflow)?, record.span()) {
                    fault = Some(format!("{} an hour were quoted", proof.quoted_per_hour));
                }
                is = Some(lines.first().map(shown).unwrap_or_default());
            }
        }
        unusable += usize::from(fault.is_some());
        let (charge, from) = (proof.id.to_string(), proof.told.from.to_string());
        charges.push(Replayed { charge, from, was: was.to_string(), is, fault });
    }
    Ok(Replay { charges, was: was_all.to_string(), is: is_all.to_string(), changed, unusable })
}

/// The proofs in a folder of charges that a price was asked for.
fn proofs(folder: &Path) -> Result<Vec<Proof>> {
    let entries = fs::read_dir(folder).map_err(|error| Error::here(folder.display(), error))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut proofs = Vec::new();
    for path in &paths {
        let text = fs::read_to_string(path).map_err(|error| Error::here(path.display(), error))?;
        let proof = serde_json::from_str::<Proof>(&text);
        let proof = proof.map_err(|error| {
            Error::Input(format!("{}: this is no proof of a charge: {error}", path.display()))
        })?;
        // What was found not to have been used, no price is asked for.
        if !proof.told.is_unused() {
            proofs.push(proof);
        }
    }
    if proofs.is_empty() {
        let way_out = "`muster charge verify ID --save FOLDER` writes one";
        return Err(Error::Input(format!("{}: no proof of a charge (*.json); {way_out}", folder.display())));
    }
    Ok(proofs)
}
