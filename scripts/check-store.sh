#!/usr/bin/env bash
# Lets scripts/store/store.py store what it should not choke on, and takes from it what it
# needs: the standby, the connection in the middle of a COMMIT, its rights, its life.
#
#   scripts/check-store.sh
#
# Needs root, postgresql and python3-psycopg, which it installs on Debian, with the service
# switched off. Uses free ports of 127.0.0.1. Leaves nothing but the packages.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/scripts/store/lib.sh"

declare -A ADDRESS=([db1]=127.0.0.1 [db2]=127.0.0.1) PORT=()
STANDBY='' STARTED=() STORE_PID='' NUMBER=0

on() {
    shift
    "$@"
}

main() {
    if ((EUID != 0)) || ! has_database; then
        skip "the store: it needs root, postgresql and python3-psycopg"
        tally
        return
    fi
    make_temp
    trap end_all EXIT
    chmod 711 "$TEMP"
    mapfile -t FREE < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
for one in sockets: print(one.getsockname()[1])')
    PORT=([db1]=${FREE[0]} [db2]=${FREE[1]})
    CONNECTION="host=127.0.0.1 port=${PORT[db1]} dbname=mm4 user=mm4"
    start_database db1 && STARTED+=("$DATABASE_PID")
    start_standby db2 db1 && STANDBY=$DATABASE_PID STARTED+=("$DATABASE_PID")
    check_hostile
    check_copies
    check_rights
    check_spool
    check_claims
    check_lost_replies
    check_kills
    check_standby_away
    check_cancelled
    tally
}

end_all() {
    local status=$?
    # The children of postgres end with it.
    kill -KILL "${STARTED[@]}" $STORE_PID 2>/dev/null || true
    wait 2>/dev/null || true
    clean_up "$status"
}

# new_spool: sets SPOOL. A copy of each message is in copies/.
new_spool() {
    NUMBER=$((NUMBER + 1))
    SPOOL=$TEMP/spool-$NUMBER
    mkdir -p "$SPOOL"/{new,cur,copies}
}

mails() { python3 "$ROOT/scripts/store/check.py" mails "$SPOOL" "$@"; }
run_store() { timeout 120 /usr/bin/python3 "$STORE" "$@"; }
left() { find "$SPOOL/new" "$SPOOL/cur" -type f | wc -l; }
stored() { /usr/bin/python3 "$ROOT/scripts/store/check.py" stored "$CONNECTION" "$SPOOL/copies"; }
query() { sql db1 mm4 "$@"; }

# start_store CONNECTION: one that follows SPOOL, its words in SPOOL.log.
start_store() {
    /usr/bin/python3 "$STORE" "$SPOOL" "$1" 2>"$SPOOL.log" &
    STORE_PID=$!
}

has_line() { grep -q "$1" "$SPOOL.log"; }
ended() { [[ ! -d /proc/$1 || $(sed 's/.*) //' "/proc/$1/stat") == Z* ]]; }

# stop_store SECONDS: whether it ends by then.
stop_store() {
    local begin=$SECONDS
    kill -TERM "$STORE_PID"
    wait_until "the store to end" ended "$STORE_PID" || return
    wait "$STORE_PID" || return
    STORE_PID=''
    ((SECONDS - begin <= $1))
}

check_hostile() {
    local forged
    new_spool
    python3 "$ROOT/scripts/store/check.py" hostile "$SPOOL"
    # Ten times what the largest message has.
    if (ulimit -v 500000 && run_store --create --once "$SPOOL" "$CONNECTION") >"$SPOOL.log" 2>&1 && [[ $(left) == 0 ]] &&
        stored >>"$SPOOL.log" 2>&1; then
        pass "messages of every bad shape, and one of 50 MB, are stored byte for byte"
    else
        fail "messages of every bad shape:" "$(tail -n 5 "$SPOOL.log")" "$(ls -b "$SPOOL/new" "$SPOOL/cur")"
    fi
    forged=$(query "SELECT system_id, return_path, recipients FROM mm4_messages WHERE transaction_id = 'forged'")
    if [[ $forged == 'demo|<+1@x.example>|{<+2@y.example>}' ]]; then
        pass "the envelope is that of the trace, whatever the client wrote"
    else
        fail "the envelope: $forged"
    fi
    if [[ $(query "SELECT count(*) FROM mm4_transactions WHERE system_id = 'demo' AND copies = 1") == 20 ]]; then
        pass "messages without a Transaction-ID, or with another one, are not taken for copies"
    else
        fail "not each message is shown:" "$(query "SELECT id, transaction_id, copies FROM mm4_transactions")"
    fi
}

# A client that sends a message again, and a file that has the id of another.
check_copies() {
    local status=0 seen
    new_spool
    mails first 3
    cp "$SPOOL"/new/*000001Z* "$SPOOL/new/20260102T000000.000000Z-1-000001@again.eml"
    cp "$SPOOL"/new/*000001Z* "$SPOOL/new/20260102T000000.000001Z-1-000001@again.eml"
    run_store --once "$SPOOL" "$CONNECTION" 2>"$SPOOL.log"
    seen=$(query "SELECT string_agg(id || copies, ' ' ORDER BY id) FROM mm4_transactions WHERE transaction_id LIKE 'first-%'")
    if [[ $seen == 20260101T000000.000000Z-1-000001@first1\ 20260101T000000.000001Z-1-000001@first3\ 20260101T000000.000002Z-1-000001@first1 ]]; then
        pass "a message that came three times is one transaction in the view, the first copy"
    else
        fail "the view shows $seen"
    fi
    cp "$SPOOL"/copies/*000000Z* "$SPOOL/new/"
    printf other >"$SPOOL/new/20260101T000000.000002Z-1-000001@first.eml"
    run_store --once "$SPOOL" "$CONNECTION" 2>"$SPOOL.log" || status=$?
    if [[ $status == 1 && $(left) == 1 && $(cat "$SPOOL"/cur/*000002Z*:2,F) == other ]]; then
        pass "another content with an id that is stored is set aside, and not lost"
    else
        fail "another content with an id that is stored: status $status, $(left) files:" "$(<"$SPOOL.log")"
    fi
}

# A role that may not see whether a standby is there.
check_rights() {
    local status=0
    new_spool
    mails rights 1
    query "REVOKE pg_monitor FROM mm4"
    start_store "$CONNECTION"
    wait_until "the store to say what it lacks" has_line 'GRANT pg_monitor' || status=1
    query "GRANT pg_monitor TO mm4"
    if wait_until "the message to be stored" stored && ((status == 0)) && [[ $(wc -l <"$SPOOL.log") == 3 ]]; then
        pass "a role that may not see the standbys gets one line that says what it needs"
    else
        fail "a role without rights:" "$(<"$SPOOL.log")"
    fi
    stop_store 5 || fail "the store did not end"
}

# A file that cannot be claimed, and new/ gone for a while.
check_spool() {
    new_spool
    mkdir "$SPOOL/cur/blocked.eml:2,"
    printf x >"$SPOOL/new/blocked.eml"
    start_store "$CONNECTION"
    mails before 1
    wait_until "the first message to be stored" stored
    mv "$SPOOL/new" "$SPOOL/away"
    wait_until "the store to say that it cannot read new/" has_line 'does not work'
    mv "$SPOOL/away" "$SPOOL/new"
    mails after 1
    # What cannot be claimed, connected, what does not work, and that it works again.
    if wait_until "the next message to be stored" stored && wait_until "four lines" has_line again &&
        [[ $(wc -l <"$SPOOL.log") == 4 && $(left) == 1 ]]; then
        pass "a file that cannot be claimed holds up no other, and a spool that fails is waited for"
    else
        fail "a spool that fails for a while: $(left) files left:" "$(<"$SPOOL.log")"
    fi
    kill -KILL "$STORE_PID"
    STORE_PID=''
}

# The connection is cut after COMMIT was sent; and the first of two hosts says nothing.
# The spool fails while a batch is removed: the consumer's own locks must not keep it from
# the rest.
check_claims() {
    local counts
    mkdir -p "$TEMP/claims/new" "$TEMP/claims/cur"
    touch "$TEMP"/claims/new/{1,2,3}.eml
    counts=$(/usr/bin/python3 - "$ROOT/scripts/store" "$TEMP/claims" 2>/dev/null <<'PYTHON'
import sys, threading, types
sys.path.insert(0, sys.argv[1])
import store
consumer = store.Store(types.SimpleNamespace(spool=sys.argv[2], once=False, name=None, keep=False))
counts = []
def fail_once(claims):
    counts.append(len(claims))
    if len(counts) == 1:
        raise OSError("read-only file system")
    consumer.stopping.set()
consumer.store = fail_once
threading.Timer(20, consumer.stopping.set).start()
consumer.watch = lambda: None
consumer.run()
print(*counts, flush=True)
store.os._exit(0)
PYTHON
    )
    if [[ $counts == "3 3" ]]; then
        pass "claims are given back when the spool fails"
    else
        fail "claims after a spool that failed once: '$counts', not '3 3'"
    fi
}

check_lost_replies() {
    local batches
    new_spool
    mails cut 1500
    python3 "$ROOT/scripts/store/check.py" cut "${FREE[2]}" "${PORT[db1]}" 5 &
    STARTED+=($!)
    python3 "$ROOT/scripts/store/check.py" silent "${FREE[3]}" &
    STARTED+=($!)
    run_store --once --name cut "$SPOOL" "host=127.0.0.1,127.0.0.1 port=${FREE[3]},${FREE[2]} dbname=mm4 user=mm4" \
        2>"$SPOOL.log" || true
    batches=$(query "SELECT batches FROM mm4_spools WHERE spool = 'cut'")
    # Six batches of 256 at most, five of them twice.
    if [[ $(left) == 0 && $batches == 11 ]] && stored 2>>"$SPOOL.log"; then
        pass "five COMMITs whose reply is lost, behind a host that says nothing: each message is stored once"
    else
        fail "COMMITs whose reply is lost: $batches batches, not 11:" "$(tail -n 5 "$SPOOL.log")"
    fi
}

# Two stores on one spool, killed at any point.
check_kills() {
    local pids=() kills=0
    new_spool
    mails kills 3000
    while (($(left) > 0 && kills < 100)); do
        pids=()
        for _ in 1 2; do
            /usr/bin/python3 "$STORE" --once "$SPOOL" "$CONNECTION" 2>>"$SPOOL.log" &
            pids+=($!)
        done
        # From the moment when one has begun to store.
        wait_until "a store to begin" grown "$(wc -l <"$SPOOL.log")"
        sleep "0.$((RANDOM % 4))$((RANDOM % 10))"
        kill -KILL "${pids[@]}" 2>/dev/null || true
        wait "${pids[@]}" 2>/dev/null || true
        kills=$((kills + 2))
    done
    if [[ $(left) == 0 ]] && stored 2>>"$SPOOL.log" && [[ $(query "SELECT count(*) FROM mm4_messages WHERE id LIKE '%@kills'") == 3000 ]]; then
        pass "$kills stores, two at a time on one spool and killed at any point, store each message once"
    else
        fail "killed $kills times: $(left) files left:" "$(tail -n 5 "$SPOOL.log")"
    fi
}

grown() { (($(wc -l <"$SPOOL.log") > $1)) || nothing_left; }

stop_standby() {
    kill -INT "$STANDBY"
    wait_until "the standby to end" ended "$STANDBY"
    wait_until "the primary to be alone" no_standby
}
start_again() {
    run_postgres db2
    STANDBY=$DATABASE_PID STARTED+=("$DATABASE_PID")
}
no_standby() { ! has_standby db1; }
commit_waits() { [[ $(query "SELECT count(*) FROM pg_stat_activity WHERE usename = 'mm4' AND wait_event = 'SyncRep'") == 1 ]]; }

check_standby_away() {
    new_spool
    stop_standby
    mails away 300
    start_store "$CONNECTION"
    wait_until "the store to say that no standby is there" has_line '0 synchronous standbys'
    # It tries again and again, and says no more.
    sleep 8
    if [[ $(wc -l <"$SPOOL.log") == 1 && $(left) == 300 ]] && stop_store 8; then
        pass "without a standby it stores nothing, says so once, and ends at SIGTERM"
    else
        fail "without a standby: $(left) files left:" "$(<"$SPOOL.log")"
    fi
    start_again
    wait_until "the standby" has_standby db1
    run_store --once "$SPOOL" "$CONNECTION" 2>"$SPOOL.log"
    if [[ $(left) == 0 ]] && stored; then pass "with the standby again it stores all"; else fail "$(left) files left"; fi
}

# The standby goes while COMMIT waits for it; then somebody cancels the wait.
check_cancelled() {
    local ended=''
    new_spool
    # The primary is to take the standby, which is stopped here, for slow and not for gone.
    sql db1 postgres "ALTER SYSTEM SET wal_sender_timeout = 0"
    sql db1 postgres "SELECT pg_reload_conf()" >/dev/null
    mails connected 1
    start_store "$CONNECTION"
    wait_until "the store to be connected" nothing_left
    kill -STOP "$STANDBY" $(pgrep -P "$STANDBY")
    mails cancelled 10
    wait_until "COMMIT to wait" commit_waits
    wait_until "the store to say so" has_line 'COMMIT waits'
    if stop_store 8 && [[ $(left) == 10 ]]; then ended=yes; fi
    start_store "$CONNECTION"
    # First the transaction of the store that has ended, then that of the new one.
    wait_until "the store to see the warning" cancel_and_see
    if [[ -n $ended && $(left) == 10 ]]; then
        pass "a COMMIT that waits is reported once, ends at SIGTERM, and deletes nothing when it is cancelled"
    else
        fail "a COMMIT that waits: $(left) files left:" "$(<"$SPOOL.log")"
    fi
    kill -CONT "$STANDBY" $(pgrep -P "$STANDBY")
    if wait_until "the messages to be stored" nothing_left && stored && stop_store 8; then
        pass "when the standby is there again they are stored"
    else
        fail "when the standby is there again: $(left) files left:" "$(<"$SPOOL.log")"
    fi
}
cancel_and_see() {
    query "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'" && has_line 'COMMIT: '
}
nothing_left() { [[ $(left) == 0 ]]; }

main "$@"
