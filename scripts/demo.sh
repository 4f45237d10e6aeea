#!/usr/bin/env bash
# Builds mm4d, starts it on free ports with a spool of its own, sends picture
# messages with swaks and openssl over plain SMTP and TLS, compares each spooled
# file with what was sent, shows one, stops the server.
#
#   scripts/demo.sh
#
# Exits 0 if all of it worked. Needs Rust, a C compiler, openssl and swaks, and
# network access to crates.io for the first build. As root on Debian 12 or 13 it
# installs what is missing; otherwise it prints the command that does. Leaves
# nothing but the build.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    require rust compiler openssl swaks
    build
    make_temp
    start_server "$TEMP"
    say "mm4d listens on 127.0.0.1:$PLAIN_PORT (plain) and 127.0.0.1:$TLS_PORT (TLS)"
    export MM4_PORT=$PLAIN_PORT MM4_TLS_PORT=$TLS_PORT MM4_CA=$TEMP/certs/ca.pem \
        MM4_PASSWORD=$PASSWORD MM4_SPOOL=$TEMP/spool
    run_sender send-swaks.sh
    run_sender send-openssl.sh
    stop_server
    say "mm4d stopped; its log:"
    sed 's/^/    /' "$SERVER_LOG"
    show_one
    tally
}

# run_sender SCRIPT: shows what it says and adds up its last line.
run_sender() {
    local status=0
    say "$1:"
    "$ROOT/scripts/$1" >"$TEMP/said" || status=$?
    sed 's/^/    /' "$TEMP/said"
    add_up "$1" "$status" "$TEMP/said"
}

# show_one: the newest mail, its head and what the inspector makes of it.
show_one() {
    local mails=("$TEMP"/spool/new/*.eml) inspector
    local mail=${mails[-1]}
    if ! [[ -f $mail ]]; then
        fail "there is no mail in the spool"
        return
    fi
    say "${#mails[@]} mails in the spool; the last one begins:"
    head -n 24 "$mail" | tr -d '\r' | sed 's/^/    /'
    inspector=$(dirname "$MM4D")/mm4spool
    if [[ -x $inspector ]]; then
        say "mm4spool show:"
        "$inspector" show "$mail" | sed 's/^/    /' || fail "mm4spool show"
    fi
}

main "$@"
