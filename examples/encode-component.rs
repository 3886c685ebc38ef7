//! Turns a core module into a component: `encode-component MODULE COMPONENT`.

use std::{error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [module, component] = arguments.as_slice() else {
        return Err("usage: encode-component MODULE COMPONENT".into());
    };
    fs::write(component, muster::plugins::encode_component(&fs::read(module)?)?)?;
    Ok(())
}
