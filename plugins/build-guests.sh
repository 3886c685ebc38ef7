#!/bin/sh
# Builds the example plugins from source as core modules, into the folder that is named by the first argument.
#
# Debian's compiler is used, since it brings the sources of the standard library for wasm32; a version that
# rustup installed works the same with `rustup target add wasm32-unknown-unknown`. Missing packages are
# installed when this runs as root; otherwise it says what is missing and fails.
set -eu

out=${1:?usage: build-guests.sh OUTPUT_FOLDER}
here=$(cd "$(dirname "$0")" && pwd)
packages="rustc-web cargo-web rust-web-src lld-19"

for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' && continue
    if [ "$(id -u)" -ne 0 ]; then
        echo "build-guests: needs the Debian packages $packages; install them or run as root" >&2
        exit 1
    fi
    apt-get update -q && apt-get install -q -y --no-install-recommends $packages
    break
done

# No source locations: they would carry the paths of the machine that builds. A small stack makes instances cheap.
flags="-Zlocation-detail=none -C link-arg=-zstack-size=65536"

cd "$here"
env -u RUSTUP_TOOLCHAIN -u CARGO -u LD_LIBRARY_PATH \
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags" CARGO_TARGET_DIR="$out" \
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-19 \
    /usr/bin/cargo build --locked --release --workspace --exclude muster-plugin \
    --target wasm32-unknown-unknown -Zbuild-std=std,panic_abort
