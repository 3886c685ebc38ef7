//! A look at an uploaded component before anything expensive touches it: its kind, its counts, its imports.
//!
//! This only counts. Whether the code is valid is found out by the compile child, which has limits of its
//! own.

use wasmparser::{BinaryReaderError, Encoding, Instance, Parser, Payload};

use super::{error::Error, limits::Limits};
use crate::{
    digest::Digest,
    model::manifest::{Manifest, SECTION},
};

/// What there is to know about a component.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// The name of these bytes: what price versions pin.
    pub digest: Digest,
    /// Its size in bytes.
    pub size_bytes: usize,
    /// Functions in all its modules.
    pub functions: u32,
    /// What it imports, such as `muster:plugin/log@1.0.0`.
    pub imports: Vec<String>,
    /// What it exports, such as `muster:plugin/tariff@1.0.0`.
    pub exports: Vec<String>,
    /// What it says about itself, if it does.
    pub manifest: Option<Manifest>,
}

/// Refuses what cannot be a plugin or is too large to compile.
///
/// # Errors
/// [`Error::Refused`] or [`Error::TooLarge`] with the reason.
pub fn inspect(wasm: &[u8], limits: &Limits) -> Result<Inspection, Error> {
    if wasm.len() > limits.upload_bytes {
        return Err(Error::TooLarge { size: wasm.len(), limit: limits.upload_bytes });
    }
    if !wasm.starts_with(b"\0asm") {
        return Err(Error::Refused("this is not WebAssembly: upload the .wasm file of a component".into()));
    }
    let mut counts = Counts::default();
    for payload in Parser::new(0).parse_all(wasm) {
        counts.add(payload.map_err(unreadable)?).map_err(unreadable)?;
        counts.check(limits)?;
    }
    for import in &counts.outer_imports {
        check_import(import)?;
    }
    let manifest = read_manifest(&counts.manifests)?;
    let Counts { functions, outer_imports: imports, outer_exports: exports, .. } = counts;
    let (digest, size_bytes) = (Digest::of(wasm), wasm.len());
    Ok(Inspection { digest, size_bytes, functions, imports, exports, manifest })
}

/// What was seen so far, nested modules and components included.
#[derive(Default)]
struct Counts {
    /// How many modules or components surround the payload; 1 is the outermost component itself.
    depth: u32,
    core_module: bool,
    functions: u32,
    largest_function_bytes: usize,
    most_locals: u32,
    data_bytes: usize,
    modules: u32,
    instances: u32,
    imports: u32,
    outer_imports: Vec<String>,
    outer_exports: Vec<String>,
    manifests: Vec<Vec<u8>>,
}

impl Counts {
    fn add(&mut self, payload: Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::Version { encoding, .. } => {
                self.core_module |= self.depth == 0 && encoding == Encoding::Module;
                self.depth += 1;
            }
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            Payload::FunctionSection(section) => {
                self.functions = self.functions.saturating_add(section.count());
            }
            Payload::CodeSectionEntry(body) => {
                self.largest_function_bytes = self.largest_function_bytes.max(body.range().len());
                let mut locals = 0u32;
                for group in body.get_locals_reader()? {
                    locals = locals.saturating_add(group?.0);
                }
                self.most_locals = self.most_locals.max(locals);
            }
            Payload::DataSection(section) => self.data_bytes += section.range().len(),
            Payload::ModuleSection { .. } => self.modules += 1,
            Payload::InstanceSection(section) => {
                for instance in section {
                    self.instances += u32::from(matches!(instance?, Instance::Instantiate { .. }));
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import?;
                    self.imports += 1;
                    if self.depth == 1 {
                        self.outer_imports.push(import.name.name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(section) if self.depth == 1 => {
                for export in section {
                    self.outer_exports.push(export?.name.name.to_owned());
                }
            }
            // The third is one too many already.
            Payload::CustomSection(section)
                if self.depth == 1 && section.name() == SECTION && self.manifests.len() < 2 =>
            {
                self.manifests.push(section.data().to_vec());
            }
            _ => {}
        }
        Ok(())
    }

    fn check(&self, limits: &Limits) -> Result<(), Error> {
        if self.core_module {
            return Err(Error::Refused(
                "this is a core module, not a component: turn it into one with \
                 `wasm-tools component new in.wasm -o out.wasm`"
                    .into(),
            ));
        }
        within("functions", self.functions, limits.functions, "plugins.functions")?;
        within(
            "bytes in one function",
            self.largest_function_bytes,
            limits.function_bytes,
            "plugins.function_bytes",
        )?;
        within(
            "locals in one function",
            self.most_locals,
            limits.function_locals,
            "plugins.function_locals",
        )?;
        within("bytes of data", self.data_bytes, limits.data_bytes, "plugins.data_bytes")?;
        within("modules", self.modules, limits.modules, "plugins.modules")?;
        within("instances", self.instances, limits.instances, "plugins.instances")?;
        within("imports", self.imports, limits.imports, "plugins.imports")
    }
}

fn within<N: PartialOrd + std::fmt::Display>(
    what: &str,
    found: N,
    limit: N,
    setting: &str,
) -> Result<(), Error> {
    if found <= limit {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "it has {found} {what}, {setting} allows {limit}: make the component smaller"
    )))
}

/// The manifest, where there is one; nonsense is refused.
fn read_manifest(sections: &[Vec<u8>]) -> Result<Option<Manifest>, Error> {
    let refused = |what: String| Error::Refused(format!("its manifest cannot be meant: {what}"));
    match sections {
        [] => Ok(None),
        [section] => Manifest::from_section(section).map(Some).map_err(refused),
        _ => Err(refused("there are two manifests".into())),
    }
}

/// A plugin can have the product's own imports and nothing else.
fn check_import(import: &str) -> Result<(), Error> {
    if import.starts_with("muster:plugin/") {
        return Ok(());
    }
    let way_out = if import.starts_with("wasi:") || import.starts_with("wasi_") {
        "plugins have no WASI: no files, sockets, clocks or chance. Build Rust for wasm32-unknown-unknown, \
         Python with `componentize-py … --stub-wasi`, JavaScript with random, stdio, clocks, http and \
         fetch-event disabled"
    } else {
        "plugins can import muster:plugin/* and nothing else"
    };
    Err(Error::Refused(format!("it imports {import}, but {way_out}")))
}

fn unreadable(error: BinaryReaderError) -> Error {
    Error::Refused(format!("it cannot be read as WebAssembly: {error}"))
}
