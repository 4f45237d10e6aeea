#!/usr/bin/env bash
# Looks for input that breaks a property, guided by the code they reach.
#
#   scripts/fuzz.sh [--minimise] [SECONDS] [TARGET]
#
# SECONDS for each target, 60 by default; TARGET is `session`,
# `header` or `proxy`, all by default. Begins with tests/corpus and with what
# earlier runs have found, which is kept in tests/fuzz/corpus, outside git. An
# input that breaks a promise is shown and kept in tests/fuzz/artifacts; status 1.
#
#   --minimise   afterwards put into tests/corpus what reaches code that nothing
#                there reaches yet, up to a number; tests/corpus.rs replays it
#
# Needs cargo-fuzz and a C++ compiler; g++ is installed as root on Debian.
# Without them nothing is looked for; status 77. Not part of scripts/test.sh.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The longest input that is tried, in bytes.
MAX_LENGTH=4096
# The longest that one input may take, in seconds, and what it may take, in MiB.
INPUT_SECONDS=10
INPUT_MEMORY=1024
# How reluctantly inputs grow (100 is libFuzzer's own): a whole session is long.
LENGTH_CONTROL=10
# Files that --minimise fills tests/corpus up to; tests/corpus.rs fails at 260 in all.
declare -A MAX_FILES=([session]=135 [header]=60 [proxy]=60)

main() {
    local seconds='' minimise='' targets=() target
    while (($# > 0)); do
        case $1 in
        --minimise) minimise=1 ;;
        session | header | proxy) targets+=("$1") ;;
        '' | *[!0-9]* | 0*) usage ;;
        *) seconds=$1 ;;
        esac
        shift
    done
    cd "$ROOT"
    require_fuzzer
    ((${#targets[@]} > 0)) || targets=(session header proxy)
    for target in "${targets[@]}"; do
        look "$target" "${seconds:-60}"
        [[ -z $minimise ]] || keep "$target"
    done
    tally
}

usage() {
    warn "usage: scripts/fuzz.sh [--minimise] [SECONDS] [session|header|proxy]"
    exit 2
}

# require_fuzzer: what is missing, how to get it, and the end of the script.
require_fuzzer() {
    if ! has cargo; then
        skip "fuzzing: cargo is missing; see https://rustup.rs"
    elif ! cargo fuzz --version >/dev/null 2>&1; then
        skip "fuzzing: cargo-fuzz is missing (cargo install cargo-fuzz --locked)"
    elif ! ensure c++ g++; then
        skip "fuzzing: a C++ compiler is missing (apt-get install g++)"
    fi
    ((SKIPPED == 0)) || {
        tally
        exit "$SKIPPED_STATUS"
    }
}

# fuzz TARGET DIR... -- FLAG...: runs the target. No sanitizer: they find faults
# of unsafe code, of which there is none, and would need a nightly compiler.
fuzz() {
    local target=$1
    shift
    cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none "$target" "$@" \
        -timeout="$INPUT_SECONDS" -rss_limit_mb="$INPUT_MEMORY" -max_len="$MAX_LENGTH"
}

# look TARGET SECONDS: new inputs go to the first directory.
look() {
    local target=$1 seconds=$2
    mkdir -p "tests/fuzz/corpus/$target"
    say "== fuzzing $target for $seconds s"
    if fuzz "$target" "tests/fuzz/corpus/$target" "tests/corpus/$target" -- \
        -dict="tests/fuzz/$target.dict" -max_total_time="$seconds" \
        -len_control="$LENGTH_CONTROL" -print_final_stats=1; then
        pass "fuzzing $target for $seconds s broke no promise"
    else
        fail "fuzzing $target: see above and tests/fuzz/artifacts/$target"
    fi
}

# keep TARGET: lines of code count, not how often they were run, or the corpus
# would have thousands of files. The longest go first: they reach most at once.
keep() {
    local target=$1 count file
    [[ -n ${TEMP:-} ]] || make_temp
    cp -r "tests/corpus/$target" "$TEMP/$target"
    if ! fuzz "$target" "$TEMP/$target" "tests/fuzz/corpus/$target" -- -set_cover_merge=1 -use_counters=0; then
        fail "minimising the corpus of $target"
        return
    fi
    count=$(find "tests/corpus/$target" -type f | wc -l)
    while ((count < MAX_FILES[$target])) && IFS=' ' read -r _ file; do
        [[ ! -e tests/corpus/$target/$file ]] || continue
        cp "$TEMP/$target/$file" "tests/corpus/$target/$file"
        count=$((count + 1))
    done < <(find "$TEMP/$target" -type f -printf '%s %f\n' | sort -k 1,1nr -k 2)
    pass "tests/corpus/$target has $count files"
}

main "$@"
