#!/usr/bin/env bash
# Lets two mm4d exchange REQ and RES by scripts/respond.sh: a REQ is answered once, also
# when it came twice, when the peer was down, and when respond.sh was killed; REQs that
# try to inject something do not; scripts/consume.sh takes both.
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
    check_killed
    check_two_peers
    check_hostile
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

# send_req TRANSACTION [ACCOUNT PASSWORD]: a picture message to east.
send_req() { send_edited "s/^X-Mms-Transaction-ID: .*\r/X-Mms-Transaction-ID: \"$1\"\r/I" "${@:2}"; }

# send_edited SED [ACCOUNT PASSWORD]: that message, changed by a script for sed.
send_edited() {
    sed "$1" "$MESSAGES/forward_req.eml" >"$TEMP/req"
    { stuffed "$TEMP/req" && printf .; } | POSIXLY_CORRECT=1 SWAKS_OPT_auth_password=${3:-$EAST_PASSWORD} swaks \
        --silent 2 --server "127.0.0.1:$EAST_PORT" --from "$SENDER" --to "$RECIPIENT" --auth LOGIN \
        --auth-user "${2:-demo}" --data - --no-data-fixup >"$TEMP/swaks" 2>&1 || die "swaks:" "$(<"$TEMP/swaks")"
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

# The peer has accepted the RES, and respond.sh is killed before it can note that.
check_killed() {
    local pid
    send_req killed
    mkdir "$TEMP/bin"
    cat >"$TEMP/bin/swaks" <<SH
#!/bin/sh
"$(command -v swaks)" "\$@"
kill -KILL \$(cat "$TEMP/pid")
SH
    chmod 755 "$TEMP/bin/swaks"
    (
        # The process that becomes respond.sh.
        printf '%s\n' "$BASHPID" >"$TEMP/pid"
        PATH=$TEMP/bin:$PATH exec "$ROOT/scripts/respond.sh" --once "$TEMP/relays" "$TEMP/state" "$TEMP/east/spool"
    ) >"$TEMP/killed" 2>&1 &
    pid=$!
    wait "$pid" 2>/dev/null || true
    if [[ $(responses killed) == 1 ]] && respond --once >"$TEMP/again" 2>&1 && [[ $(responses killed) == 2 ]] &&
        respond --once >"$TEMP/again" 2>&1 && [[ $(responses killed) == 2 && $(responses down) == 1 ]]; then
        pass "killed between the 250 and its note, it sends that RES once more, and no other"
    else
        fail "killed between the 250 and its note: $(responses killed) answers:" "$(cat "$TEMP/killed" "$TEMP/again")"
    fi
}

check_two_peers() {
    local password
    password=$("$MM4D" --add-account other --generate --accounts "$TEMP/east/accounts" 2>"$TEMP/added") ||
        die "no second account:" "$(<"$TEMP/added")"
    kill -HUP "$EAST"
    wait_until "the second account" grep -q 'reloaded accounts' "$TEMP/east/log"
    printf 'other 127.0.0.1:%s tls demo %s %s\n' \
        "$WEST_TLS_PORT" "$TEMP/west.password" "$TEMP/west/certs/ca.pem" >>"$TEMP/relays"
    send_req common
    send_req common other "$password"
    if respond --once >"$TEMP/common" 2>&1 && [[ $(responses common) == 2 ]]; then
        pass "two peers with one Transaction-ID are both answered"
    else
        fail "two peers with one Transaction-ID: $(responses common) answers:" "$(<"$TEMP/common")"
    fi
}

count_at_west() { find "$TEMP/west/spool/new" -name '*.eml' | wc -l; }

# A shell would run these, a header would be split by them, and no answer may be sent.
check_hostile() {
    local before after name="\$(touch pwned)" field='X-Mms-Transaction-ID:'
    before=$(count_at_west)
    send_edited "/^$field/Id"
    send_edited "s/^X-Mms-Ack-Request: .*\r/X-Mms-Ack-Request: No\r/I; s/^$field .*\r/$field unasked\r/I"
    send_edited "s/^$field .*\r/$field many\r\nX-Mms-Originator-System: a@west.example, b@west.example\r/I"
    send_edited 's/^'"$field"' .*\r/'"$field"' lf\\nTo: x@west.example\r/I'
    if (cd "$TEMP" && respond --once >"$TEMP/hostile" 2>&1) && ! grep -q unasked "$TEMP/hostile" &&
        [[ $(grep -c '^mm4spool: ' "$TEMP/hostile") == 3 && $(count_at_west) == "$before" ]]; then
        pass "REQs that cannot be answered are reported, and one that does not ask is not"
    else
        fail "REQs that cannot be answered:" "$(<"$TEMP/hostile")"
    fi
    # shellcheck disable=SC2016 # nobody is to expand this
    send_edited 's/^'"$field"' .*\r/'"$field"' "$(touch pwned)`touch pwned`;touch pwned"\r/I'
    cp "$TEMP/req" "$TEMP/east/spool/new/$name.eml"
    (cd "$TEMP" && respond --once >"$TEMP/hostile" 2>&1) || true
    rm "$TEMP/east/spool/new/$name.eml"
    after=$(count_at_west)
    if [[ ! -e $TEMP/pwned && $after == $((before + 1)) ]]; then
        pass "what a shell would run is text, in fields and in file names"
    else
        fail "what a shell would run: $((after - before)) answers, not 1:" "$(<"$TEMP/hostile")"
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
