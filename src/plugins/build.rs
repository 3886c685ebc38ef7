//! The last steps of building a plugin: from what a compiler puts out to a component that says what it is.

use wasmparser::{BinaryReaderError, Encoding, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::error::Error;
use crate::model::manifest::{Manifest, SECTION};

/// The interface, for modules of languages whose tools do not put its description in.
const WIT: &str = include_str!("../../plugins/wit/v1/muster.wit");

/// Turns a core module into a component: one that was built with the SDK, or any that has the functions of the price
/// world.
///
/// # Errors
/// [`Error::Refused`] when the module does not carry the plugin interface or imports something else.
pub fn encode_component(module: &[u8]) -> Result<Vec<u8>, Error> {
    let refused = |cause: String| Error::Refused(format!("the module cannot be made a component: {cause}"));
    let mut module = module.to_vec();
    if !is_described(&module).map_err(unreadable)? {
        let mut resolve = Resolve::default();
        let described = resolve
            .push_str("muster.wit", WIT)
            .map_err(|error| error.to_string())
            .and_then(|package| {
                resolve.select_world(&[package], Some("pricing")).map_err(|error| error.to_string())
            })
            .and_then(|world| {
                embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
                    .map_err(|error| format!("{error:#}"))
            });
        described.map_err(|error| refused(format!("the interface is not read: {error}")))?;
    }
    let encoded =
        ComponentEncoder::default().validate(true).module(&module).and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| refused(format!("{error:#}")))
}

/// Whether a module says which world it is made for.
fn is_described(module: &[u8]) -> Result<bool, BinaryReaderError> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CustomSection(section) = payload?
            && section.name().starts_with("component-type")
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn unreadable(error: BinaryReaderError) -> Error {
    Error::Refused(format!("it cannot be read as WebAssembly: {error}"))
}

/// Whether these are the bytes of a core module, which is no component yet.
pub fn is_core_module(wasm: &[u8]) -> bool {
    let first = Parser::new(0).parse_all(wasm).next();
    matches!(first, Some(Ok(Payload::Version { encoding: Encoding::Module, .. })))
}

/// Puts the manifest behind everything that the component has, in the place of one that stands there already.
///
/// # Errors
/// [`Error::Refused`] when this is no component.
pub fn embed_manifest(component: &[u8], manifest: &Manifest) -> Result<Vec<u8>, Error> {
    let mut whole = Vec::with_capacity(component.len() + 1_024);
    let (mut depth, mut copied) = (0_u32, 0);
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(unreadable)? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 1 && section.name() == SECTION => {
                let range = section.range();
                // The range is that of the contents; identifier and length stand before it.
                let head = 1 + number(range.len()).len();
                let from = range.start.saturating_sub(head);
                whole.extend_from_slice(component.get(copied..from).unwrap_or_default());
                copied = range.end;
            }
            _ => {}
        }
    }
    whole.extend_from_slice(component.get(copied..).unwrap_or_default());
    let contents = [number(SECTION.len()), SECTION.as_bytes().to_vec(), manifest.to_section()].concat();
    whole.push(0);
    whole.extend(number(contents.len()));
    whole.extend(contents);
    Ok(whole)
}

/// A length as WebAssembly writes it: LEB128.
fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::{Limits, inspect::inspect};

    #[test]
    fn a_manifest_is_put_in_once_and_read_back() {
        let said = |version: &str| Manifest {
            name: "flat".into(),
            version: version.into(),
            world: crate::plugins::PRICING_WORLD.into(),
            language: "wat".into(),
            description: "x".repeat(200),
            config: Default::default(),
        };
        let bare = wat::parse_str("(component (core module))").unwrap();
        let first = embed_manifest(&bare, &said("1")).unwrap();
        let second = embed_manifest(&first, &said("2")).unwrap();
        assert_eq!(first.len(), second.len());
        let found = |wasm: &[u8]| inspect(wasm, &Limits::default()).unwrap().manifest;
        assert_eq!(found(&bare), None);
        assert_eq!(found(&first), Some(said("1")));
        assert_eq!(found(&second), Some(said("2")));
        let twice = [first.clone(), second[bare.len()..].to_vec()].concat();
        assert!(inspect(&twice, &Limits::default()).unwrap_err().to_string().contains("two manifests"));
    }
}
