//! What is refused at upload, with the reason and the way out.

use std::time::Duration;

use muster::{
    error::Kind,
    plugins::{Error, Limits},
};
use tempfile::TempDir;

use crate::{
    Host, SHARED,
    guests::{function_bomb, guest, guest_with},
    no_compiler, start,
};

/// Why a host without a compiler refuses `wasm`: whatever is refused here is refused before anything
/// compiles.
fn refused_early(wasm: Vec<u8>) -> String {
    let folder = TempDir::new().unwrap();
    let plugins = start(&folder, no_compiler(), Limits::default());
    refusal(SHARED.runtime.block_on(plugins.admit(wasm.into())))
}

fn refused(limits: Limits, wasm: Vec<u8>) -> String {
    let host = Host::new(limits);
    refusal(SHARED.runtime.block_on(host.plugins.admit(wasm.into())))
}

fn refusal<T: std::fmt::Debug>(admitted: Result<T, Error>) -> String {
    match admitted {
        Err(Error::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn text(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap()
}

#[test]
fn what_is_not_a_component_is_refused_before_compiling() {
    assert!(refused_early(b"hello".to_vec()).contains("not WebAssembly"));
    assert!(refused_early(Vec::new()).contains("not WebAssembly"));
    assert!(refused_early(b"(component)".to_vec()).contains("not WebAssembly"));
    assert!(refused_early(b"\0asm garbage".to_vec()).contains("cannot be read"));
    assert!(refused_early(text("(module)")).contains("core module"));
    let mut torn = guest("");
    torn.truncate(torn.len() / 2);
    assert!(refused_early(torn).contains("cannot be read"));
}

#[test]
fn a_wasi_import_is_refused_by_name_before_compiling() {
    let wasi = text(
        r#"(component (import "wasi:sockets/tcp-create-socket@0.2.6"
            (instance (export "create-tcp-socket" (func (result u32))))))"#,
    );
    let reason = refused_early(wasi);
    assert!(reason.contains("wasi:sockets/tcp-create-socket@0.2.6"), "{reason}");
    assert!(reason.contains("wasm32-unknown-unknown"), "{reason}");
    assert!(refused_early(text(r#"(component (import "x" (func)))"#)).contains("imports x"));
}

#[test]
fn bombs_are_refused_before_compiling() {
    assert!(refused_early(function_bomb(1_000_000)).contains("plugins.functions"));
    let instances = "(core instance (instantiate $m))".repeat(41);
    assert!(
        refused_early(text(&format!("(component (core module $m) {instances})")))
            .contains("plugins.instances")
    );
    let modules = "(core module)".repeat(65);
    assert!(refused_early(text(&format!("(component {modules})"))).contains("plugins.modules"));
    let locals = "i64 ".repeat(5_001);
    let locals = text(&format!("(component (core module (func (local {locals}))))"));
    assert!(refused_early(locals).contains("plugins.function_locals"));
}

#[test]
fn an_upload_that_is_too_large_is_told_its_limit() {
    let host = Host::new(Limits { upload_bytes: 100, ..Limits::default() });
    let error = SHARED.runtime.block_on(host.plugins.admit(vec![0; 101].into())).unwrap_err();
    assert!(matches!(error, Error::TooLarge { size: 101, limit: 100 }));
    assert_eq!(muster::error::Error::from(error).kind, Kind::TooLarge);
}

#[test]
fn what_does_not_compile_is_refused() {
    let invalid = text("(component (core module (func (result i32))))");
    assert!(refused(Limits::default(), invalid).contains("does not compile"));
    let memory64 = text("(component (core module (memory i64 1)))");
    assert!(refused(Limits::default(), memory64).contains("does not compile"));
    let threads = text("(component (core module (memory 1 1 shared)))");
    assert!(refused(Limits::default(), threads).contains("does not compile"));
}

#[test]
fn a_compile_has_limits() {
    let memory = Limits { compile_memory_bytes: 48 << 20, ..Limits::default() };
    assert!(refused(memory, function_bomb(30_000)).contains("plugins.compile_memory_bytes"));
    let wall = Limits { compile_wall: Duration::from_millis(1), ..Limits::default() };
    assert!(refused(wall, guest("")).contains("plugins.compile_wall"));
}

#[test]
fn what_lacks_the_interface_is_refused() {
    assert!(refused(Limits::default(), text("(component)")).contains("muster:plugin/pricing@1.0.0"));
}

#[test]
fn a_guest_that_hangs_or_traps_at_its_start_is_refused() {
    let limits = Limits { fuel: 1_000_000, fuel_per_record: 0, ..Limits::default() };
    let hangs = guest_with("(func $s (loop $l (br $l))) (start $s)", "");
    assert!(refused(limits.clone(), hangs).contains("plugins.fuel"));
    let traps = guest_with("(func $s unreachable) (start $s)", "");
    assert!(refused(limits, traps).contains("trial call"));
}

#[test]
fn a_refusal_is_the_clients_fault_and_a_missing_compiler_is_ours() {
    let client = muster::error::Error::from(Error::Refused("no".into()));
    assert_eq!((client.kind, client.code), (Kind::Invalid, "plugin-refused"));
    let folder = TempDir::new().unwrap();
    let plugins = start(&folder, no_compiler(), Limits::default());
    let ours = SHARED.runtime.block_on(plugins.admit(guest("").into())).unwrap_err();
    assert_eq!(muster::error::Error::from(ours).kind, Kind::Internal);
}
