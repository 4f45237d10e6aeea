#!/usr/bin/env bash
# Builds mm4d and mm4spool as static files that run where nothing else is.
#
#   scripts/static.sh [DIR]      DIR receives the two files, default target/static
#
# The files are linked statically (+crt-static) and stripped: with musl where Rust has
# that target, which rustup is asked for, and musl-gcc is installed, otherwise with
# glibc, which makes each 1 MiB larger. Needs Rust, a C compiler, about two minutes and
# 500 MB; as root on Debian it installs what is missing.
# scripts/check-static.sh tests the files; scripts/container/Containerfile makes an
# image of them.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    local dir target file
    [[ ${1:-} != -* ]] || die "usage: scripts/static.sh [DIR]"
    require rust compiler
    dir=$(realpath -m "${1:-${CARGO_TARGET_DIR:-$ROOT/target}/static}")
    cd "$ROOT"
    target=$(static_target)
    say "building for $target ..."
    RUSTFLAGS="-C target-feature=+crt-static" \
        cargo build --release --locked --quiet --target "$target" || die "the build failed"
    mkdir -p "$dir"
    for file in mm4d mm4spool; do
        install -m 0755 "${CARGO_TARGET_DIR:-target}/$target/release/$file" "$dir/$file"
        say "$dir/$file: $(stat -c %s "$dir/$file") bytes"
    done
}

# static_target: musl's if Rust and the C compiler know it, otherwise this machine's.
static_target() {
    local host musl
    host=$(rustc -vV | sed -n 's/^host: //p')
    musl=${host/%-gnu/-musl}
    # Debian's own toolchain has no such target, and no rustup.
    if has rustup && ! has_target "$musl"; then rustup target add "$musl" >/dev/null 2>&1 || true; fi
    # The TLS library has C code, which musl's own compiler must translate.
    if has_target "$musl" && ensure musl-gcc musl-tools; then
        say "$musl"
    else
        say "$host"
    fi
}

has_target() { [[ -d $(rustc --print sysroot)/lib/rustlib/$1/lib ]]; }

main "$@"
