//! Compiled code survives a restart, is made anew when torn, and is nobody else's business.

use std::{fs, os::unix::fs::PermissionsExt as _};

use bytes::Bytes;
use muster::{
    digest::Digest,
    error,
    plugins::{Limits, Plugins, default_price},
};

use crate::{Host, SHARED, context, muster, no_compiler, record, start};

async fn bytes() -> error::Result<Bytes> {
    Ok(Bytes::from_static(default_price()))
}

async fn answers(plugins: &Plugins) {
    let plugin = plugins.load(Digest::of(default_price()), async { unreachable!("kept") }).await.unwrap();
    let lines = plugins.rate(&plugin, &context(3_600_000_000, "{}"), &[record(2, 0, 5)]).await.unwrap();
    assert_eq!(lines[0].amount.as_nanos(), 10);
}

#[test]
fn a_restart_compiles_nothing_anew() {
    let Host { plugins, folder } = Host::new(Limits::default());
    let digest = Digest::of(default_price());
    SHARED.runtime.block_on(async {
        plugins.load(digest, bytes()).await.unwrap();
        answers(&plugins).await;
        drop(plugins);
        let restarted = start(&folder, no_compiler(), Limits::default());
        restarted.load(digest, async { unreachable!("the bytes are not needed") }).await.unwrap();
        answers(&restarted).await;
    });
}

#[test]
fn torn_files_are_made_anew() {
    let Host { plugins, folder } = Host::new(Limits::default());
    let digest = Digest::of(default_price());
    SHARED.runtime.block_on(async {
        plugins.load(digest, bytes()).await.unwrap();
        drop(plugins);
        let file = fs::read_dir(folder.path().join("plugins")).unwrap().next().unwrap().unwrap().path();
        fs::write(&file, b"not compiled code").unwrap();
        let restarted = start(&folder, muster(), Limits::default());
        restarted.load(digest, bytes()).await.unwrap();
        answers(&restarted).await;
    });
}

#[test]
fn the_folder_is_closed_and_holds_finished_files_only() {
    let Host { plugins, folder } = Host::new(Limits::default());
    let folder = folder.path().join("plugins");
    SHARED.runtime.block_on(async {
        plugins.load(Digest::of(default_price()), bytes()).await.unwrap();
        plugins.admit(wat::parse_str("(component)").unwrap().into()).await.unwrap_err();
        plugins.admit(b"\0asm\x0d\0\x01\0\x01\x02\0\0".to_vec().into()).await.unwrap_err();
    });
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| name.ends_with(".cwasm")));
}

#[test]
fn bytes_that_are_not_the_plugins_own_are_not_loaded() {
    let host = Host::new(Limits::default());
    let other = Digest::of(b"something else");
    let loaded = SHARED.runtime.block_on(host.plugins.load(other, bytes()));
    assert_eq!(loaded.err().unwrap().kind, error::Kind::Internal);
}
