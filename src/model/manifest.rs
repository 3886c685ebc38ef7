//! What a plugin says about itself: the file `muster-plugin.toml` at its author's, a section of the component
//! elsewhere.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The section of a component that holds the manifest, as JSON.
pub const SECTION: &str = "muster:manifest";
/// The most bytes of that section.
pub const SECTION_BYTES: usize = 64 << 10;

/// The most bytes of the name, of the version and the language, and of the description.
const NAME_BYTES: usize = 64;
const WORD_BYTES: usize = 32;
const DESCRIPTION_BYTES: usize = 200;

/// A plugin's manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name: `[a-z0-9-]{1,64}`.
    pub name: String,
    /// Its version, in its author's own counting.
    pub version: String,
    /// The world that it implements, such as `muster:plugin/pricing@1.0.0`.
    pub world: String,
    /// The language that it is written in.
    pub language: String,
    /// What it does, in one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its configuration.
    #[serde(default)]
    pub config: ConfigManifest,
}

/// What a plugin can be configured with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigManifest {
    /// The configuration to begin with.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub default: Map<String, Value>,
    /// A JSON Schema, for people and for forms; only the plugin itself decides what it takes.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub schema: Map<String, Value>,
}

impl Manifest {
    /// Reads the section of a component.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn from_section(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > SECTION_BYTES {
            return Err(format!("{} bytes; at most {SECTION_BYTES} are possible", bytes.len()));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The section of a component.
    pub fn to_section(&self) -> Vec<u8> {
        serde_json::json!(self).to_string().into_bytes()
    }

    /// The configuration to begin with, as JSON text.
    pub fn default_config(&self) -> String {
        Value::Object(self.config.default.clone()).to_string()
    }

    /// Whether its words are words.
    ///
    /// # Errors
    /// The field, what it holds and what it may hold.
    pub fn check(&self) -> Result<(), String> {
        let Self { name, version, world, language, description, config: _ } = self;
        if !is_name(name) {
            return Err(format!("name: expected [a-z0-9-]{{1,{NAME_BYTES}}}, got {name:?}"));
        }
        let is_word = |text: &str| {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || b".+-#".contains(&byte);
            (1..=WORD_BYTES).contains(&text.len()) && text.bytes().all(fine)
        };
        for (field, text) in [("version", version), ("language", language)] {
            if !is_word(text) {
                return Err(format!("{field}: expected [A-Za-z0-9.+#-]{{1,{WORD_BYTES}}}, got {text:?}"));
            }
        }
        if !world.starts_with("muster:plugin/") || world.len() > NAME_BYTES {
            return Err(format!("world: expected one of muster:plugin, got {world:?}"));
        }
        if description.len() > DESCRIPTION_BYTES || description.chars().any(char::is_control) {
            return Err(format!("description: expected one line of at most {DESCRIPTION_BYTES} bytes"));
        }
        Ok(())
    }
}

/// Whether a plugin can have this name.
pub fn is_name(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_BYTES).contains(&text.len()) && text.bytes().all(fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = r#"{"name": "a-1", "version": "0.1.0", "world": "muster:plugin/pricing@1.0.0",
        "language": "rust", "config": {"default": {"percent": 50}}}"#;

    #[test]
    fn a_manifest_survives_its_section() {
        let manifest = Manifest::from_section(FINE.as_bytes()).unwrap();
        assert_eq!(manifest.default_config(), r#"{"percent":50}"#);
        assert_eq!(Manifest::from_section(&manifest.to_section()), Ok(manifest));
    }

    #[test]
    fn nonsense_is_told_by_its_field() {
        let refused =
            |from: &str, to: &str| Manifest::from_section(FINE.replace(from, to).as_bytes()).unwrap_err();
        assert!(refused("a-1", "A 1").starts_with("name: "));
        assert!(refused("0.1.0", "").starts_with("version: "));
        assert!(refused("muster:plugin/", "wasi:").starts_with("world: "));
        assert!(refused("rust", "ru\\nst").starts_with("language: "));
        assert!(refused("\"language\"", "\"lang\"").contains("lang"));
        assert!(refused("{\"percent\": 50}", "[]").contains("map"));
        let long = format!(r#""description": "{}", "language""#, "x".repeat(201));
        assert!(refused("\"language\"", &long).starts_with("description: "));
        assert!(Manifest::from_section(&vec![b' '; SECTION_BYTES + 1]).unwrap_err().contains("at most"));
    }
}
