#!/usr/bin/env bash
# Everything that tells whether this tree is good: format, lints, all tests, and
# the scripts against a real server (demo.sh and each check-*.sh).
#
#   scripts/test.sh [--all]
#
# With --all also scripts/check-powercut.sh, which takes a quarter of an hour.
#
# Goes on after a failure and ends with one line, `N passed, M failed, K
# skipped`: every check of the scripts, and one each for the format, the lints and
# the tests, which cargo counts itself. Status 0 only when nothing failed. Needs cargo and a C compiler; swaks, openssl
# and the other clients are installed as root on Debian, and what is missing
# after that is skipped and said so. Leaves nothing but the build.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    local check all=''
    case $* in
    '') ;;
    --all) all=1 ;;
    *)
        warn "usage: scripts/test.sh [--all]"
        exit 2
        ;;
    esac
    cd "$ROOT"
    has cargo || die "cargo is missing; see https://rustup.rs"
    ensure openssl || warn "without openssl there is no certificate, and most of this will fail"
    ensure strace || warn "without strace the tests of failing system calls skip"
    ensure shellcheck || true
    make_temp
    if has_component fmt; then
        step cargo fmt --all --check || true
    fi
    if has_component clippy; then
        step cargo clippy --locked --all-targets -- -D warnings || true
    fi
    step cargo test --locked || true
    # More than 100,000 random and mutated dialogues.
    step env PROPTEST_CASES=15000 cargo test --locked --test properties || true
    step_shellcheck || true
    if step cargo build --release --locked; then
        build
        run_check scripts/demo.sh
        for check in scripts/check-*.sh; do
            [[ -x $check ]] || continue
            [[ -n $all || $check != scripts/check-powercut.sh ]] || continue
            run_check "$check"
        done
    fi
    tally
}

# has_component NAME: cargo's subcommand works, or its absence is said aloud.
has_component() {
    cargo "$1" --version >/dev/null 2>&1 && return
    skip "cargo $1: not installed (rustup component add ${1/fmt/rustfmt})"
    return 1
}

# step COMMAND...: true when it passed.
step() {
    say "== $*"
    if "$@"; then
        pass "$*"
    else
        fail "$*"
        return 1
    fi
}

step_shellcheck() {
    if has shellcheck; then
        step shellcheck --severity=warning scripts/*.sh .ci/run
    else
        skip "shellcheck: not installed (apt-get install shellcheck)"
    fi
}

# run_check SCRIPT: shows what it says as it says it and adds up its last line.
run_check() {
    local status=0
    say "== $1"
    "$1" | tee "$TEMP/said" || status=${PIPESTATUS[0]}
    add_up "$1" "$status" "$TEMP/said"
}

main "$@"
