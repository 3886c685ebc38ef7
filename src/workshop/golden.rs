//! Answers that are kept in a file beside their cases, to be read once and compared ever after.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    Error, Result,
    cases::Amount,
    outcome::{Charges, shown},
};

/// What the names of such files end with.
pub(super) const ENDING: &str = ".golden.yaml";

/// The answers of a file of cases, by the names of the cases.
pub(super) type Golden = BTreeMap<String, Answer>;

/// What one case answered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// The quote for all of its use.
    pub(super) per_hour: Amount,
    /// What each record costs, by line.
    #[serde(default)]
    pub(super) charges: Charges,
}

/// The file beside a file of cases.
pub(super) fn path_of(cases: &Path) -> PathBuf {
    let stem = cases.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    cases.with_file_name(format!("{stem}{ENDING}"))
}

/// Reads the file, if there is one.
pub(super) fn read(path: &Path) -> Result<Golden> {
    if !path.exists() {
        return Ok(Golden::new());
    }
    let text = fs::read_to_string(path).map_err(|error| Error::here(path.display(), error))?;
    serde_saphyr::from_str(&text).map_err(|error| Error::Input(format!("{}: {error}", path.display())))
}

/// Writes the file, or takes it away when there is nothing to keep.
pub(super) fn write(path: &Path, golden: &Golden) -> Result<()> {
    let failed = |error| Error::here(path.display(), error);
    if golden.is_empty() {
        return if path.exists() { fs::remove_file(path).map_err(failed) } else { Ok(()) };
    }
    let mut text =
        "# Written by `muster plugin test --bless`: read what changed before you keep it.\n".to_owned();
    for (name, answer) in golden {
        // A text in JSON is one in YAML.
        let _ = writeln!(text, "{}:\n  per_hour: {}", serde_json::json!(name), answer.per_hour);
        if !answer.charges.is_empty() {
            text += "  charges:\n";
        }
        for charge in &answer.charges {
            let _ = writeln!(text, "    - {}", shown(charge));
        }
    }
    fs::write(path, text).map_err(failed)
}
