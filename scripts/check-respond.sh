#!/usr/bin/env bash
# Lets two mm4d exchange REQ and RES by scripts/respond.sh: a REQ is answered once, also
# when it came twice, and when the peer was down; scripts/consume.sh takes both.
#
#   scripts/check-respond.sh
#
# Needs swaks and openssl, which it installs as root on Debian. Leaves nothing but the
# build and the packages.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

EAST='' WEST='' RESPONDER=''

main() {
    require rust compiler openssl swaks
    build
    export MM4SPOOL_PROGRAM=${MM4D%/*}/mm4spool
    make_temp
    trap end_all EXIT
    mkdir "$TEMP/east" "$TEMP/west"
    # A RES is sent by a system's mailbox, which is no telephone number.
    start_server "$TEMP/east" --addresses any
    EAST=$SERVER_PID EAST_PORT=$PLAIN_PORT EAST_PASSWORD=$PASSWORD
    start_server "$TEMP/west" --addresses any
    WEST=$SERVER_PID WEST_TLS_PORT=$TLS_PORT
    (umask 077 && printf '%s\n' "$PASSWORD" >"$TEMP/west.password")
    printf '# the peer that sends to east\ndemo 127.0.0.1:%s tls demo %s %s\n' \
        "$WEST_TLS_PORT" "$TEMP/west.password" "$TEMP/west/certs/ca.pem" >"$TEMP/relays"
    check_follow
    check_peer_down
    check_consume
    tally
}

end_all() {
    local status=$? pid
    for pid in "$EAST" "$WEST" "$RESPONDER"; do
        [[ -z $pid ]] || kill -KILL "$pid" 2>/dev/null || true
    done
    SERVER_PID=''
    clean_up "$status"
}

# send_req TRANSACTION: a picture message to east, with that Transaction-ID.
send_req() {
    sed "s/^X-Mms-Transaction-ID: .*\r/X-Mms-Transaction-ID: \"$1\"\r/I" "$MESSAGES/forward_req.eml" >"$TEMP/req"
    { stuffed "$TEMP/req" && printf .; } | POSIXLY_CORRECT=1 SWAKS_OPT_auth_password=$EAST_PASSWORD swaks \
        --silent 2 --server "127.0.0.1:$EAST_PORT" --from "$SENDER" --to "$RECIPIENT" --auth LOGIN \
        --auth-user demo --data - --no-data-fixup >"$TEMP/swaks" 2>&1 || die "swaks:" "$(<"$TEMP/swaks")"
}

respond() { "$ROOT/scripts/respond.sh" "$1" "$TEMP/relays" "$TEMP/state" "$TEMP/east/spool"; }

# responses TRANSACTION: how many RES of it are at west, with the status Ok.
responses() {
    "$MM4SPOOL_PROGRAM" list --type forward.RES --transaction "$1" --status Ok "$TEMP/west/spool" |
        grep -vc '^TIME' || true
}

wait_for_response() {
    local end=$((SECONDS + DEADLINE))
    until [[ $(responses "$1") != 0 ]]; do
        ((SECONDS < end)) || return 1
        sleep 0.2
    done
}

check_follow() {
    local status=0
    send_req before
    "$ROOT/scripts/respond.sh" --follow "$TEMP/relays" "$TEMP/state" "$TEMP/east/spool" >"$TEMP/responder" 2>&1 &
    RESPONDER=$!
    if wait_for_response before; then
        pass "a REQ that was there is answered, over TLS"
    else
        fail "a REQ that was there is not answered:" "$(<"$TEMP/responder")"
    fi
    send_req twice
    send_req twice
    send_req after
    if wait_for_response after && [[ $(responses twice) == 1 ]]; then
        pass "REQs that arrive are answered, and one that came twice only once"
    else
        fail "REQs that arrive: $(responses twice) answers, not 1:" "$(<"$TEMP/responder")"
    fi
    kill -TERM "$RESPONDER"
    wait "$RESPONDER" || status=$?
    RESPONDER=''
    if ((status == 0)); then pass "respond.sh ends at SIGTERM"; else fail "respond.sh ended with $status"; fi
}

check_peer_down() {
    local status=0
    send_req down
    sed "s/:$WEST_TLS_PORT /:1 /" "$TEMP/relays" >"$TEMP/relays.down"
    "$ROOT/scripts/respond.sh" --once "$TEMP/relays.down" "$TEMP/state" "$TEMP/east/spool" >"$TEMP/down" 2>&1 || status=$?
    if ((status == 1)) && [[ $(responses down) == 0 ]]; then
        pass "an answer that the peer did not accept is a failure"
    else
        fail "status $status while the peer is down:" "$(<"$TEMP/down")"
    fi
    if respond --once >"$TEMP/up" 2>&1 && [[ $(responses down) == 1 ]] && respond --once >"$TEMP/up" 2>&1 &&
        [[ $(responses down) == 1 && $(responses before) == 1 ]]; then
        pass "the next run sends it, and the one after it nothing"
    else
        fail "the next run:" "$(<"$TEMP/up")"
    fi
}

check_consume() {
    local side
    for side in east west; do
        if "$ROOT/scripts/consume.sh" --once "$TEMP/$side/spool" test -s &&
            [[ -z $(ls -A "$TEMP/$side/spool/new") ]]; then
            pass "consume.sh takes the messages of $side"
        else
            fail "consume.sh left messages of $side in new/"
        fi
    done
}

main "$@"
