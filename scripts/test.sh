#!/usr/bin/env bash
# Tests this tree: format, lints, all tests of cargo, and the demo against a real
# server.
#
#   scripts/test.sh          what continuous integration runs
#   scripts/test.sh --all    before a release: also each scripts/check-*.sh and
#                            100,000 random dialogues
#
# Continues after a failure. Prints one line for each step, and the output of a
# step that failed. The last line is `N passed, N failed, N skipped`; exits 0 if
# nothing failed. Needs Rust, a C compiler, openssl and swaks: as root on Debian 12
# or 13 it installs what is missing, otherwise it prints the command that does.
# With --all the checks also install what they need: clients, a browser, qemu.
# Leaves nothing but the build and, with --all, those packages; no service.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    local all='' check
    case ${1:-} in
    '') ;;
    --all) all=yes ;;
    *) die "usage: scripts/test.sh [--all]" ;;
    esac
    cd "$ROOT"
    require rust compiler openssl swaks
    make_temp
    if has_component fmt; then step cargo fmt --all --check || true; fi
    if has_component clippy; then
        step cargo clippy --locked --all-targets -- -D warnings || true
    fi
    cargo_test
    step_shellcheck || true
    if step cargo build --release --locked; then
        build
        run_check scripts/demo.sh
        if [[ -n $all ]]; then
            for check in scripts/check-*.sh scripts/cluster.sh; do run_check "$check"; done
        fi
    fi
    if [[ -n $all ]]; then
        step env PROPTEST_CASES=15000 cargo test --locked --test properties || true
    else
        say "left out: 100,000 random dialogues," scripts/check-*.sh scripts/cluster.sh
        say "          scripts/test.sh --all runs them, too (installs packages; up to hours)"
    fi
    tally
}

# cargo_test: all tests, counted one by one. A test that cannot have what it
# needs prints a line with SKIPPED and passes; it counts as skipped.
cargo_test() {
    local status=0 passed failed skipped
    say "running cargo test ..."
    cargo test --locked --no-fail-fast -- --show-output >"$TEMP/tests" 2>&1 || status=$?
    passed=$(count passed) failed=$(count failed)
    skipped=$(grep -c '^SKIPPED' "$TEMP/tests" || true)
    sed -n 's/^SKIPPED/&/p' "$TEMP/tests"
    PASSED=$((PASSED + passed - skipped)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))
    if ((status == 0)); then
        say "ok      cargo test: $passed tests"
        return
    fi
    ((failed > 0)) || fail "cargo test: ended with status $status"
    say "FAILED  cargo test: $failed of $((passed + failed)) tests; the failures:"
    failures_of "$TEMP/tests"
}

# count WORD: the sum of `N WORD` in cargo's lines `test result:`.
count() {
    awk -v word="$1" '/^test result:/ {
        for (i = 2; i <= NF; i++) if ($i ~ "^" word) sum += $(i - 1)
    } END { print sum + 0 }' "$TEMP/tests"
}

# failures_of FILE: each `failures:` section, and errors of the compiler.
failures_of() {
    awk '/^failures:$/ { show = 1 } /^test result:/ { show = 0 } /^error/ { print } show' "$1" |
        tail -n 400
}

# has_component NAME: cargo's subcommand works, or its absence is reported.
has_component() {
    cargo "$1" --version >/dev/null 2>&1 && return
    skip "cargo $1: not installed (rustup component add ${1/fmt/rustfmt})"
    return 1
}

# step COMMAND...: true when it passed. Its output is shown only when it failed.
step() {
    say "running $* ..."
    if "$@" >"$TEMP/step" 2>&1 </dev/null; then
        pass "$*"
    else
        tail -n 400 "$TEMP/step"
        fail "$*"
        return 1
    fi
}

step_shellcheck() {
    if has shellcheck; then
        step shellcheck --severity=warning scripts/*.sh scripts/*/*.sh .ci/run
    else
        skip "shellcheck: not installed (apt-get install shellcheck)"
    fi
}

# run_check SCRIPT: adds up its last line; shows its output when it failed, and
# each check that it skipped.
run_check() {
    local status=0 failed=$FAILED
    say "running $1 ..."
    "$1" >"$TEMP/step" 2>&1 </dev/null || status=$?
    grep '^ *SKIPPED' "$TEMP/step" || true
    add_up "$1" "$status" "$TEMP/step"
    if ((FAILED > failed)); then
        tail -n 400 "$TEMP/step"
    else
        say "ok      $1: $(tail -n 1 "$TEMP/step")"
    fi
}

main "$@"
