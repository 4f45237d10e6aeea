#!/usr/bin/env bash
# Runs the commands of the README's section "A first message" as they are written,
# in a copy of this tree, and checks that the picture is in the spool, byte for
# byte, and that mm4spool shows it: with scripts/run.sh, and with the programs alone.
# scripts/check-package.sh checks the package.
#
#   scripts/check-readme.sh
#
# Needs Rust, a C compiler, openssl and swaks; installs them as root on Debian. The
# commands use the default ports: it skips with a line if one of them is taken.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    require rust compiler openssl swaks
    build
    make_temp
    local port
    for port in 2525 2465; do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            skip "check-readme: port $port is in use, and the README's commands need it"
            tally
            return
        fi
    done
    copy_tree "$TEMP/tree"
    commands 2 >"$TEMP/client.sh"
    cd "$TEMP/tree"
    first_message "scripts/run.sh" "$(commands 1)" tls
    rm -r spool accounts accounts.demo-password
    PATH=$(dirname "$MM4D"):$PATH
    first_message "the programs alone" "$(commands 3)" plain
    tally
}

# first_message NAME SERVER KIND: the last command of SERVER starts one that listens so.
first_message() {
    : >"$TEMP/server.log"
    # In the place of this shell.
    bash -ec "$(sed '$s/^/exec /' <<<"$2")" >"$TEMP/server.log" 2>&1 &
    SERVER_PID=$!
    wait_until_listening "$3"
    if bash -ex "$TEMP/client.sh" >"$TEMP/client.log" 2>&1; then
        pass "$1: the commands of \"A first message\""
    else
        fail "$1: the commands of \"A first message\":" "$(<"$TEMP/client.log")" "$(<"$TEMP/server.log")"
    fi
    check_picture "$1"
    kill "$SERVER_PID"
    wait "$SERVER_PID" || true
    SERVER_PID=''
}

wait_until_listening() {
    local end=$((SECONDS + DEADLINE))
    until grep -q "^listening $1" "$TEMP/server.log"; do
        ((SECONDS < end)) || die "the README's server does not listen:" "$(<"$TEMP/server.log")"
        sleep 0.1
    done
}

# copy_tree DIR: the files that git knows, as they are now, and the build.
copy_tree() {
    mkdir "$1"
    git -C "$ROOT" ls-files -z | (cd "$ROOT" && xargs -0 cp --parents -t "$1")
    ln -s "$ROOT/target" "$1/target"
}

# commands N: the N-th block of indented lines of the section.
commands() {
    awk -v wanted="$1" '
        /^## / { inside = ($0 == "## A first message") }
        inside && /^    / { if (!code) block++; code = 1; if (block == wanted) print substr($0, 5); next }
        { code = 0 }
    ' "$ROOT/README.md"
}

check_picture() {
    rm -rf "$TEMP/parts"
    "$ROOT/target/release/mm4spool" extract --to "$TEMP/parts" "$TEMP"/tree/spool/new/*.eml >/dev/null || true
    if cmp -s "$TEMP"/parts/lake.png tests/messages/lake.png; then
        pass "$1: the picture in the spool is the picture that was sent"
    else
        fail "$1: the picture in the spool is not the one that was sent:" "$(ls "$TEMP/parts" 2>&1)"
    fi
}

main "$@"
