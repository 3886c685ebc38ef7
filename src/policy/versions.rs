//! The versions of the texts that come with the binary, for the audit log: 16 hexadecimal digits of their digests.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use super::shipped;
use crate::model::team::Preset;

/// The versions of the shipped texts.
#[derive(Debug)]
pub struct TextVersions {
    /// The schema.
    pub schema: String,
    /// The policies that hold in every team.
    pub platform: String,
    presets: Vec<(Preset, String)>,
}

static SHIPPED: LazyLock<TextVersions> = LazyLock::new(|| TextVersions {
    schema: digest([shipped::SCHEMA.text]),
    platform: digest(shipped::PLATFORM.iter().map(|text| text.text)),
    presets: Preset::ALL
        .iter()
        .map(|preset| (*preset, format!("{preset}/{}", digest([shipped::preset(*preset).text]))))
        .collect(),
});

fn digest(texts: impl IntoIterator<Item = &'static str>) -> String {
    let mut hasher = Sha256::new();
    texts.into_iter().for_each(|text| hasher.update(text));
    let mut digest = hex::encode(hasher.finalize());
    digest.truncate(16);
    digest
}

impl TextVersions {
    /// Those of this binary.
    pub fn shipped() -> &'static Self {
        &SHIPPED
    }

    /// The roles of a preset: its name and its version.
    pub fn preset(&self, preset: Preset) -> Option<&str> {
        self.presets.iter().find(|(known, _)| *known == preset).map(|(_, version)| version.as_str())
    }
}
