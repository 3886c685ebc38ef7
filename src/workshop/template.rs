//! Folders that plugins begin with. They are carried in the binary, the SDK and the interface with them, so that a new
//! plugin needs nothing from this repository.

use std::{fs, path::Path};

use super::{Error, MANIFEST_FILE, Result};
use crate::model::manifest::is_name;

/// What a template calls the plugin, and what it calls it where a language wants no hyphens.
const NAME: &str = "my-plugin";
const IDENTIFIER: &str = "my_plugin";

/// A file of a template: its path in the new folder, and its text.
type File = (&'static str, &'static str);

macro_rules! files {
    ($from:literal: $($path:literal)*) => {
        &[$(($path, include_str!(concat!("../../plugins/templates/", $from, "/", $path))),)*]
    };
}

/// The interface, for every language.
const WIT: &[File] = &[("muster/wit/v1/muster.wit", include_str!("../../plugins/wit/v1/muster.wit"))];

/// What Rust has besides.
const RUST_SDK: &[File] = &[
    ("muster/sdk/Cargo.toml", include_str!("../../plugins/sdk/Cargo.toml")),
    ("muster/sdk/src/lib.rs", include_str!("../../plugins/sdk/src/lib.rs")),
    ("muster/sdk/src/cumulative.rs", include_str!("../../plugins/sdk/src/cumulative.rs")),
    ("muster/sdk/src/panics.rs", include_str!("../../plugins/sdk/src/panics.rs")),
];

/// The cases, which are the same in every language: the templates are one price.
const CASES: &[File] = files!("shared": "cases/price.yaml" "cases/price.golden.yaml");

/// A language that a plugin can be begun in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Rust.
    Rust,
    /// C, without a standard library.
    C,
    /// Python.
    Python,
    /// JavaScript.
    JavaScript,
}

impl Language {
    fn files(self) -> [&'static [File]; 4] {
        match self {
            Self::Rust => {
                let own = files!("rust": ".cargo/config.toml" ".gitignore" "Cargo.toml" "README.md"
                    "muster-plugin.toml" "src/lib.rs");
                [own, RUST_SDK, WIT, CASES]
            }
            Self::C => {
                let own = files!("c": ".gitignore" "Makefile" "README.md" "muster-plugin.toml" "plugin.c");
                let bindings = files!("c": "muster/c/libc/stdlib.h" "muster/c/libc/string.h" "muster/c/muster.c"
                    "muster/c/muster.h" "muster/c/pricing.c" "muster/c/pricing.h");
                [own, bindings, WIT, CASES]
            }
            Self::Python => {
                let own = files!("python": ".gitignore" "README.md" "app.py" "muster-plugin.toml" "requirements.txt");
                [own, &[], WIT, CASES]
            }
            Self::JavaScript => {
                let own = files!("js": ".gitignore" "README.md" "muster-plugin.toml" "muster/build.mjs" "package.json"
                    "plugin.js");
                [own, &[], WIT, CASES]
            }
        }
    }
}

/// Begins a plugin in a new folder.
///
/// # Errors
/// [`Error::Input`] when the name is none or the folder holds a plugin already.
pub fn project_new(folder: &Path, name: &str, language: Language) -> Result<()> {
    if !is_name(name) {
        return Err(Error::Input(format!("NAME: expected [a-z0-9-]{{1,64}}, got {name:?}")));
    }
    if folder.join(MANIFEST_FILE).exists() {
        return Err(Error::Input(format!("{}: there is a {MANIFEST_FILE} already", folder.display())));
    }
    let identifier = name.replace('-', "_");
    for (path, text) in language.files().into_iter().flatten() {
        let path = folder.join(path);
        let failed = |error| Error::here(path.display(), error);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        fs::write(&path, text.replace(NAME, name).replace(IDENTIFIER, &identifier)).map_err(failed)?;
    }
    Ok(())
}
