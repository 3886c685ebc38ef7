//! The texts that come with the binary. A test compares this list with the files under `policies/`.

use crate::model::team::Preset;

/// A text with its path under `policies/`.
pub(crate) struct Text {
    /// Where it lies, for error messages.
    pub(crate) path: &'static str,
    /// The Cedar text.
    pub(crate) text: &'static str,
}

macro_rules! text {
    ($path:literal) => {
        Text { path: $path, text: include_str!(concat!("../../policies/", $path)) }
    };
}

/// The schema that all texts follow.
pub(crate) const SCHEMA: Text = text!("schema.cedarschema");

/// What holds in every team.
pub(crate) const PLATFORM: [Text; 4] = [
    text!("platform/guardrails.cedar"),
    text!("platform/limits.cedar"),
    text!("platform/site.cedar"),
    text!("platform/visibility.cedar"),
];

/// What is true of every question, for proofs; no decision reads it.
pub(crate) const FACTS: Text = text!("proofs/facts.cedar");

/// The roles of a team with this preset.
pub(crate) const fn preset(preset: Preset) -> Text {
    match preset {
        Preset::Glows => text!("presets/glows/roles.cedar"),
        Preset::Grid => text!("presets/grid/roles.cedar"),
        Preset::Novita => text!("presets/novita/roles.cedar"),
    }
}

/// In plain words what the roles of such a team may do.
pub(crate) const fn prose(preset: Preset) -> &'static str {
    match preset {
        Preset::Glows => include_str!("../../policies/presets/glows/README.md"),
        Preset::Grid => include_str!("../../policies/presets/grid/README.md"),
        Preset::Novita => include_str!("../../policies/presets/novita/README.md"),
    }
}
