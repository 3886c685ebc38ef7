//! The folder that a team keeps its policies in: `*.cedar`, `cases.toml` and `policy.toml`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::problem::Failure;
use crate::{app::policy_plans::Case, model::team::Preset};

/// The text of a new folder.
const SAMPLE: &str = r#"
// The team's own policies, beside those of its preset. Nothing here can lift a guardrail, and the owner can always
// mend what is written here. `docs/guides/policies.md` begins at the beginning, `docs/policy.md` has the words.

@id("night-spot")
@advice("interns launch no spot machines after 18:00")
@lifted_by("team owner")
forbid (principal, action == Action::"CreateInstance", resource is Instance)
when
{
  principal.labels.contains("intern") &&
  resource.product like "spot-*" &&
  context.hour >= 18
};
"#;

const SAMPLE_CASES: &str = r#"
# What must stay true whatever is changed. `muster policy test` asks these here, the server asks them in every plan.

[[case]]
name = "interns have no spot machines in the evening"
who = { role = "ROLE", labels = ["intern"] }
action = "createInstance"
thing = { product = "spot-h100", accelerator = "h100", gpus = 1 }
hour = 18
expect = "deny"
by = "night-spot"

[[case]]
name = "and have them by day"
who = { role = "ROLE", labels = ["intern"] }
action = "createInstance"
thing = { product = "spot-h100", accelerator = "h100", gpus = 1 }
hour = 17
expect = "allow"
"#;

/// What `policy.toml` says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    preset: Preset,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    #[serde(default)]
    case: Vec<Case>,
}

/// A folder as it was read.
pub(super) struct Folder {
    /// The team's set of role rules.
    pub(super) preset: Preset,
    /// All policies, file after file in the order of their names.
    pub(super) text: String,
    /// All cases.
    pub(super) cases: Vec<Case>,
    /// Each file with the number of its first line in `text`.
    files: Vec<(String, usize)>,
}

impl Folder {
    /// Reads a folder.
    pub(super) fn read(folder: &Path) -> Result<Self, Failure> {
        let about = folder.join("policy.toml");
        let about: About = toml_read(&about, "`muster policy init` makes one")?;
        let mut paths: Vec<PathBuf> = fs::read_dir(folder)
            .map_err(|error| Failure::here(folder.display(), error))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "cedar"))
            .collect();
        paths.sort();
        let (mut text, mut files) = (String::new(), Vec::new());
        for path in paths {
            files.push((path.display().to_string(), text.matches('\n').count() + 1));
            text += &fs::read_to_string(&path).map_err(|error| Failure::here(path.display(), error))?;
            if !text.ends_with('\n') && !text.is_empty() {
                text.push('\n');
            }
        }
        let path = folder.join("cases.toml");
        let cases: Cases = if path.exists() { toml_read(&path, "")? } else { Cases::default() };
        Ok(Self { preset: about.preset, text, cases: cases.case, files })
    }

    /// The file and the line in it of a line of the whole text.
    pub(super) fn place(&self, line: usize) -> (&str, usize) {
        let file = self.files.iter().rev().find(|(_, first)| *first <= line);
        file.map_or(("policies", line), |(name, first)| (name.as_str(), line - first + 1))
    }

    /// Puts what is live into a folder, in the place of what is there.
    pub(super) fn write(folder: &Path, live: &Value) -> Result<(), Failure> {
        let preset = live["preset"].as_str().unwrap_or_default();
        let preset = preset.parse().map_err(|error| Failure::here("the server's answer", error))?;
        let cases = serde_json::from_value(live["cases"].clone());
        let cases = Cases { case: cases.map_err(|error| Failure::here("the server's answer", error))? };
        let text = live["text"].as_str().unwrap_or_default();
        file_write(folder, "policy.toml", &toml_text(&About { preset })?)?;
        file_write(folder, "team.cedar", text)?;
        file_write(folder, "cases.toml", &toml_text(&cases)?)
    }
}

/// Begins a folder. What is there already stays.
pub(super) fn samples_write(folder: &Path, preset: Preset) -> Result<(), Failure> {
    if folder.join("policy.toml").exists() {
        return Err(Failure::Invalid(format!("{}: there is a policy.toml already\n", folder.display())));
    }
    let role = preset.roles().last().map_or("member", |role| role.word());
    file_write(folder, "policy.toml", &toml_text(&About { preset })?)?;
    file_write(folder, "team.cedar", SAMPLE.trim_start())?;
    file_write(folder, "cases.toml", &SAMPLE_CASES.trim_start().replace("ROLE", role))
}

fn file_write(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::here(folder.display(), error))?;
    let path = folder.join(name);
    fs::write(&path, text).map_err(|error| Failure::here(path.display(), error))
}

fn toml_text(value: &impl Serialize) -> Result<String, Failure> {
    toml::to_string(value).map_err(|error| Failure::here("the file", error))
}

fn toml_read<T: serde::de::DeserializeOwned>(path: &Path, way_out: &str) -> Result<T, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        let way_out = if way_out.is_empty() { String::new() } else { format!("; {way_out}") };
        Failure::here(path.display(), format!("{error}{way_out}"))
    })?;
    toml::from_str(&text).map_err(|error| Failure::Invalid(format!("{}: {error}", path.display())))
}
