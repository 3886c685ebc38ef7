//! The last step of building a plugin: from what a compiler puts out to a component.

use wit_component::ComponentEncoder;

use super::error::Error;

/// Turns a core module that was built with the SDK into a component.
///
/// # Errors
/// [`Error::Refused`] when the module does not carry the plugin interface or imports something else.
pub fn encode_component(module: &[u8]) -> Result<Vec<u8>, Error> {
    let encoded =
        ComponentEncoder::default().validate(true).module(module).and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| Error::Refused(format!("the module cannot be made a component: {error:#}")))
}
