//! Hostile guests, written as core modules in WebAssembly text and turned into components here: no compiler
//! needed.

use muster::plugins::encode_component;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A guest that answers one record with 7 nano-credits under the line `usage`, and a quote for one use with
/// 9; but does `evil` first when its configuration is anything but `{}`.
///
/// Within `evil` the answer of `rate` lies at 16: tag, lines, number of lines, charges, number of charges.
/// The line's key lies at 96 and its address at 64; the charge at 1024 is record, line, amount. `$next` is
/// free memory.
pub(crate) fn guest(evil: &str) -> Vec<u8> {
    guest_with("", evil)
}

/// Like [`guest`], with more fields of the module.
pub(crate) fn guest_with(fields: &str, evil: &str) -> Vec<u8> {
    let parameters =
        "(param i32 i32 i32 i32 i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (local $i i32)";
    component(&format!(
        r#"(module
            (import "muster:plugin/log@1.0.0" "emit" (func $emit (param i32 i32 i32)))
            (memory (export "memory") 80)
            (global $next (mut i32) (i32.const 65536))
            (data (i32.const 16) "\00\00\00\00\40\00\00\00\01\00\00\00\00\04\00\00\01\00\00\00")
            (data (i32.const 48) "\00\00\00\00\00\08\00\00\01\00\00\00")
            (data (i32.const 64) "\60\00\00\00\05\00\00\00")
            (data (i32.const 96) "usage")
            (data (i32.const 1024) "\00\00\00\00\00\00\00\00\07\00\00\00\00\00\00\00")
            (data (i32.const 2048) "\09\00\00\00\00\00\00\00")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local.set 0 (global.get $next))
                (global.set $next (i32.add (global.get $next) (local.get 3)))
                (global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                (local.get 0))
            {fields}
            (func (export "muster:plugin/tariff@1.0.0#rate") {parameters}
                (if (i32.ne (local.get 3) (i32.const 2)) (then {evil}))
                (i32.const 16))
            (func (export "muster:plugin/tariff@1.0.0#quote") {parameters}
                (if (i32.ne (local.get 3) (i32.const 2)) (then {evil}))
                (i32.const 48)))"#
    ))
}

/// A component of the pricing world from a core module in text.
fn component(module: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap();
    let mut resolve = Resolve::default();
    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/wit/v1");
    let (package, _) = resolve.push_path(wit).unwrap();
    let world = resolve.select_world(&[package], Some("pricing")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    encode_component(&module).unwrap()
}

/// A component whose one module has `functions` empty functions: small to upload, endless to compile.
pub(crate) fn function_bomb(functions: u32) -> Vec<u8> {
    let number = |mut value: u32| {
        let mut bytes = Vec::new();
        while value > 127 {
            bytes.push((value & 127) as u8 | 128);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    };
    let section = |id: u8, body: Vec<u8>| [vec![id], number(body.len() as u32), body].concat();
    let count = number(functions);
    let types = section(1, vec![1, 0x60, 0, 0]);
    let declared = section(3, [count.clone(), vec![0; functions as usize]].concat());
    let bodies = section(10, [count, [2, 0, 0x0b].repeat(functions as usize)].concat());
    let module = [b"\0asm\x01\0\0\0".to_vec(), types, declared, bodies].concat();
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, module)].concat()
}
