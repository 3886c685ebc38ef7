//! A plugin's folder: its manifest, its build, its component; and what the commands are about.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Error, Result};
use crate::{
    digest::Digest,
    model::manifest::Manifest,
    plugins::{self, Inspection, Limits, PRICING_WORLD, embed_manifest, encode_component, is_core_module},
};

/// The file that makes a folder a plugin's.
pub const MANIFEST_FILE: &str = "muster-plugin.toml";
/// The folder of the cases within a plugin's.
const CASES_FOLDER: &str = "cases";

/// A plugin's folder.
#[derive(Debug)]
pub struct Project {
    /// The folder.
    pub folder: PathBuf,
    /// What the plugin says about itself.
    pub manifest: Manifest,
    build: Build,
}

/// How the plugin is built, as its manifest's file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    /// Run by the shell in the plugin's folder.
    command: String,
    /// What the command makes: a core module or a component, from the plugin's folder.
    output: PathBuf,
}

/// What `build` made.
#[derive(Debug)]
pub struct Built {
    /// The component.
    pub component: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size_bytes: usize,
}

/// What a command is about: a component, and where its cases are.
#[derive(Debug)]
pub struct Subject {
    /// The component's file.
    pub path: PathBuf,
    /// The component.
    pub wasm: Bytes,
    /// The folder of its cases, where it has one.
    pub cases: Option<PathBuf>,
}

impl Project {
    /// Reads the manifest of a folder.
    ///
    /// # Errors
    /// [`Error::Input`] with the file and the field that is wrong.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST_FILE);
        let text = fs::read_to_string(&path).map_err(|error| {
            let way_out = "`muster plugin new NAME` makes a folder with one";
            Error::Input(format!("{}: {error}; {way_out}", path.display()))
        })?;
        let wrong = |what: String| Error::Input(format!("{}: {}", path.display(), what.trim_end()));
        let mut table: toml::Table = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let build = table
            .remove("build")
            .ok_or_else(|| wrong("[build] is missing: it has a command and its output".to_owned()))?;
        let build = build.try_into::<Build>().map_err(|error| wrong(format!("[build] {error}")))?;
        let manifest = toml::Value::Table(table).try_into::<Manifest>();
        let manifest = manifest.map_err(|error| wrong(error.to_string()))?;
        manifest.check().map_err(wrong)?;
        if manifest.world != PRICING_WORLD {
            return Err(wrong(format!("world: this muster has {PRICING_WORLD}, got {:?}", manifest.world)));
        }
        Ok(Self { folder: folder.to_owned(), manifest, build })
    }

    /// Where the component is put.
    pub fn component_path(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.manifest.name))
    }

    /// Runs the build's command, makes a component of its output, puts the manifest in, and keeps it.
    ///
    /// # Errors
    /// [`Error::Here`] when the command fails, with what is missing for it; [`Error::Refused`] when its output is not
    /// what a plugin is made of.
    pub fn build(&self) -> Result<Built> {
        let Build { command, output } = &self.build;
        let status = Command::new("/bin/sh").arg("-c").arg(command).current_dir(&self.folder).status();
        let status = status.map_err(|error| Error::here("/bin/sh", error))?;
        if !status.success() {
            let missing = self.missing().map_or_else(String::new, |way_out| format!("\n{way_out}"));
            return Err(Error::Here(format!("`{command}` failed ({status}){missing}")));
        }
        let made = self.folder.join(output);
        let wasm = fs::read(&made).map_err(|error| {
            let why = "[build] output says where `command` puts what it builds";
            Error::Here(format!("{}: {error}; {why} ({MANIFEST_FILE})", made.display()))
        })?;
        let refused = |error: plugins::Error| Error::Refused(error.to_string());
        let component = if is_core_module(&wasm) { encode_component(&wasm).map_err(refused)? } else { wasm };
        let component = embed_manifest(&component, &self.manifest).map_err(refused)?;
        let path = self.component_path();
        fs::write(&path, &component).map_err(|error| Error::here(path.display(), error))?;
        Ok(Built { digest: Digest::of(&component), size_bytes: component.len(), component: path })
    }

    /// What the language's tools lack, if that is known, and how to come by it.
    fn missing(&self) -> Option<String> {
        let answers = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).current_dir(&self.folder).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        match self.manifest.language.as_str() {
            "rust" => {
                let target = ["--print", "target-libdir", "--target", "wasm32-unknown-unknown"];
                let target_name = "wasm32-unknown-unknown";
                let way_out = format!("the target is missing: `rustup target add {target_name}`");
                match answers("rustc", &target) {
                    None => Some("there is no rustc: https://rustup.rs installs Rust".to_owned()),
                    Some(folder) if !Path::new(&folder).exists() => Some(way_out),
                    Some(_) => None,
                }
            }
            "python" => (!self.folder.join(".venv").exists()).then(|| {
                let install = "`python3 -m venv .venv && .venv/bin/pip install -r requirements.txt`";
                format!("componentize-py is not there: {install}")
            }),
            "c" => answers("clang", &["--version"])
                .is_none()
                .then(|| "there is no clang: on Debian `apt-get install clang lld make`".to_owned()),
            _ => None,
        }
    }
}

impl Subject {
    /// What stands at `path`: a plugin's folder whose component was built, or a component's file.
    ///
    /// # Errors
    /// [`Error::Input`] when there is no component.
    pub fn read(path: &Path) -> Result<Self> {
        let (component, cases) = if path.is_dir() {
            let project = Project::read(path)?;
            (project.component_path(), Some(path.join(CASES_FOLDER)))
        } else {
            (path.to_owned(), None)
        };
        let wasm = fs::read(&component).map_err(|error| {
            let way_out = if cases.is_some() { "; `muster plugin build` makes it" } else { "" };
            Error::Input(format!("{}: {error}{way_out}", component.display()))
        })?;
        Ok(Self { path: component, wasm: wasm.into(), cases: cases.filter(|folder| folder.is_dir()) })
    }
}

/// What a component is.
#[derive(Debug, Serialize)]
pub struct Inspected {
    /// Its digest.
    pub digest: String,
    /// Its size in bytes.
    pub size_bytes: usize,
    /// Functions in all its modules.
    pub functions: u32,
    /// What it imports.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
    /// What it says about itself, if it does.
    pub manifest: Option<Manifest>,
}

/// Looks at a component without running it.
///
/// # Errors
/// [`Error::Refused`] when the server would refuse it at a first look.
pub fn inspect(subject: &Subject) -> Result<Inspected> {
    let seen = plugins::inspect(&subject.wasm, &Limits::default());
    let seen = seen.map_err(|error| Error::Refused(error.to_string()))?;
    let Inspection { digest, size_bytes, functions, imports, exports, manifest } = seen;
    Ok(Inspected { digest: digest.to_string(), size_bytes, functions, imports, exports, manifest })
}
