#!/usr/bin/env bash
# Runs a whole cluster on this machine and breaks its parts under load: HAProxy, three
# mm4d with a volume of their own, a consumer for each that stores in PostgreSQL, a
# primary and a synchronous standby; each machine is a network namespace.
#
#   scripts/cluster.sh
#
# Under load it kills a receiver with -9 and starts it again, drains another, kills a
# consumer five times, cuts the primary off and fails over to the standby, fills the disk of
# a spool and frees it, makes another one read-only for a while, and at the end moves the
# volume of a killed receiver to another machine. Clients cut some connections after the
# last dot, and send again. Then every acknowledged message must be in the store once and
# byte for byte, nothing be left in a spool, and the view show each transaction once.
#
# Needs root, network namespaces, loop devices with ext4, haproxy, postgresql and
# python3-psycopg; installs what is missing on Debian, and switches off the services that
# came with it. Skips with a line if the machine does not allow it. Takes about two
# minutes. Removes everything but the build and the packages, also what an earlier run left
# that was killed.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/scripts/store/lib.sh"

CLUSTER=$ROOT/scripts/cluster
PREFIX=mm4-$$
declare -A ADDRESS=([client]=10.97.0.1 [balancer]=10.97.0.2 [db1]=10.97.0.11 [db2]=10.97.0.12
    [a]=10.97.0.21 [b]=10.97.0.22 [c]=10.97.0.23 [d]=10.97.0.24)
declare -A PORT=([db1]=5432 [db2]=5432) INTERFACE=()
DATABASE='host=10.97.0.11,10.97.0.12 dbname=mm4 user=mm4 target_session_attrs=read-write'
# More than the load sends until everything was broken once.
MAX_MESSAGES=20000

main() {
    if ! can_run; then
        tally
        return
    fi
    require rust compiler openssl
    build
    remove_leftovers
    make_temp
    trap end_all EXIT
    printf '%s\n' "$$" >"$TEMP/cluster"
    chmod 711 "$TEMP"
    make_network
    make_credentials
    start_database db1
    start_standby db2 db1
    local name
    for name in a b c; do
        make_volume "$name"
        start_receiver "$name" "$name"
        start_store "$name" "$name"
    done
    start_balancer
    pass "HAProxy, three receivers, three consumers, a primary and a synchronous standby"
    measure_store
    break_things
    move_volume
    check_store
    tally
}

# ---------------------------------------------------------------- what it needs

can_run() {
    ((EUID == 0)) || { skip "cluster: only root can make namespaces and mount volumes" && return 1; }
    ensure_switched_off haproxy haproxy && has_database && ensure ip iproute2 && ensure mkfs.ext4 e2fsprogs ||
        { skip "cluster: haproxy, postgresql, iproute2, e2fsprogs or python3-psycopg is missing" && return 1; }
    ip netns add "$PREFIX-try" 2>/dev/null && ip netns del "$PREFIX-try" ||
        { skip "cluster: this machine allows no network namespaces" && return 1; }
}

# remove_leftovers: what runs left that were killed with -9, so that they could not.
remove_leftovers() {
    local name pid file
    for name in $(ip netns list | awk '$1 ~ /^mm4-[0-9]+-switch$/ { sub(/-switch$/, "", $1); print $1 }'); do
        pid=${name#mm4-}
        is_running "$pid" || remove_machines "$name"
    done
    for file in "${TMPDIR:-/tmp}"/mm4d.*/cluster; do
        [[ -f $file ]] || continue
        is_running "$(<"$file")" || {
            remove_volumes "${file%/cluster}"
            rm -rf --one-file-system "${file%/cluster}"
        }
    done
}

# is_running PID: a run of this script.
is_running() { [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline") == *cluster.sh* ]]; }

# remove_machines PREFIX
remove_machines() {
    local name pids
    for name in $(ip netns list | awk -v prefix="$1-" 'index($1, prefix) == 1 { print $1 }'); do
        pids=$(ip netns pids "$name" 2>/dev/null) || true
        [[ -z $pids ]] || xargs kill -KILL <<<"$pids" 2>/dev/null || true
        ip netns del "$name" 2>/dev/null || true
    done
}

# remove_volumes DIR
remove_volumes() {
    local volume
    for volume in "$1"/volume-*; do
        if mountpoint -q "$volume"; then umount "$volume" 2>/dev/null || umount -l "$volume"; fi
    done
}

end_all() {
    local status=$?
    remove_machines "$PREFIX"
    remove_volumes "$TEMP"
    wait 2>/dev/null || true
    clean_up "$status"
}

# ---------------------------------------------------------------- machines

# on MACHINE COMMAND...
on() {
    local machine=$1
    shift
    ip netns exec "$PREFIX-$machine" "$@"
}

make_network() {
    local number=0 name
    ip netns add "$PREFIX-switch"
    ip -n "$PREFIX-switch" link add br0 type bridge
    ip -n "$PREFIX-switch" link set br0 up
    for name in "${!ADDRESS[@]}"; do
        number=$((number + 1))
        ip netns add "$PREFIX-$name"
        INTERFACE[$name]=v$number
        ip link add "v$number" netns "$PREFIX-$name" type veth peer name "p$number" netns "$PREFIX-switch"
        ip -n "$PREFIX-switch" link set "p$number" master br0 up
        ip -n "$PREFIX-$name" addr add "${ADDRESS[$name]}/24" dev "v$number"
        ip -n "$PREFIX-$name" link set "v$number" up
        ip -n "$PREFIX-$name" link set lo up
    done
}

# kill_machine NAME: -9 to all that runs there.
kill_machine() {
    local pids
    pids=$(ip netns pids "$PREFIX-$1" 2>/dev/null) || return 0
    [[ -z $pids ]] || xargs kill -KILL <<<"$pids" 2>/dev/null || true
}

# ---------------------------------------------------------------- receivers

# make_volume NAME: an ext4 of its own, which outlives the machine that uses it.
make_volume() {
    truncate -s 96M "$TEMP/$1.img"
    mkfs.ext4 -q "$TEMP/$1.img"
    mount_volume "$1"
}

mount_volume() {
    mkdir -p "$TEMP/volume-$1"
    mount -o loop "$TEMP/$1.img" "$TEMP/volume-$1" || die "cannot mount a volume: loop devices are needed"
}

# start_receiver MACHINE VOLUME
start_receiver() {
    local address=${ADDRESS[$1]} output=$TEMP/$1.listening
    : >"$output"
    RUST_LOG=info on "$1" "$MM4D" --listen "$address:2525" --tls-listen "$address:2465" --hostname "$2" \
        --cert "$TEMP/certs/server.pem" --key "$TEMP/certs/server.key" --accounts "$TEMP/accounts" \
        --spool "$TEMP/volume-$2/spool" --proxy-from "${ADDRESS[balancer]}/32" --drain 3 \
        --min-free 8388608 >"$output" 2>>"$TEMP/$1.receiver.log" &
    wait_until "the receiver $1" grep -q '^listening tls' "$output" || die "$(tail -n 5 "$TEMP/$1.receiver.log")"
}

# start_store MACHINE VOLUME
start_store() {
    on "$1" /usr/bin/python3 "$STORE" --create --name "$2" "$TEMP/volume-$2/spool" "$DATABASE" 2>>"$TEMP/$1.store.log" &
}

start_balancer() {
    local own=${ADDRESS[balancer]}
    BALANCER_PLAIN=$own:2525 BALANCER_TLS=$own:2465 BALANCER_STATISTICS=$own:8404 \
        A_PLAIN=${ADDRESS[a]}:2525 B_PLAIN=${ADDRESS[b]}:2525 C_PLAIN=${ADDRESS[c]}:2525 \
        A_TLS=${ADDRESS[a]}:2465 B_TLS=${ADDRESS[b]}:2465 C_TLS=${ADDRESS[c]}:2465 \
        on balancer haproxy -db -f "$CLUSTER/haproxy.cfg" >"$TEMP/haproxy.log" 2>&1 &
    local name
    for name in a b c; do
        wait_until "HAProxy to use $name" is_state "$name" UP || die "$(tail -n 5 "$TEMP/haproxy.log")"
    done
}

# is_state NAME UP|DOWN: as HAProxy sees the server.
is_state() {
    on balancer python3 -c '
import csv, sys, urllib.request
text = urllib.request.urlopen("http://10.97.0.2:8404/;csv", timeout=5).read().decode().lstrip("# ")
states = {row["svname"]: row["status"] for row in csv.DictReader(text.splitlines()) if row["pxname"] == "plain"}
sys.exit(not states[sys.argv[1]].startswith(sys.argv[2]))' "$1" "$2"
}

# ---------------------------------------------------------------- the load

# load NAME SERVER COUNT OPTION...
load() {
    local name=$1 server=$2 count=$3
    shift 3
    on client "$CLUSTER/load.py" --server "$server" --password-file "$TEMP/password" --count "$count" \
        --name "$name" --retry-for 120 --out "$TEMP/$name.tsv" "$@" 2>"$TEMP/$name.err"
}

# measure_store: 10,000 messages that wait in a spool. A figure, not a test.
measure_store() {
    local begin seconds
    mkdir -p "$TEMP/waiting/new" "$TEMP/waiting/cur"
    python3 - "$TEMP/waiting/new" <<'PYTHON'
import os, sys
body = b"Content-Type: image/jpeg\r\n\r\n" + b"QUJD" * 2400 + b"\r\n"
for number in range(10_000):
    head = (f"Return-Path: <+1@x>\r\nX-Envelope-To: <+2@y>\r\nX-MM4-System-ID: demo\r\n"
            f"X-Mms-Message-Type: MM4_forward.REQ\r\nX-Mms-Transaction-ID: \"rate-{number}\"\r\n").encode()
    with open(f"{sys.argv[1]}/20260101T000000.000000Z-1-{number}@rate.eml", "wb") as file:
        file.write(head + body)
PYTHON
    begin=$(date +%s%N)
    if on client /usr/bin/python3 "$STORE" --create --once --name rate "$TEMP/waiting" "$DATABASE" \
        2>"$TEMP/rate.log" && [[ -z $(ls -A "$TEMP/waiting/new") ]]; then
        seconds=$(($(date +%s%N) - begin))
        pass "the store takes 10,000 waiting messages of 10 KB: $((10000 * 1000000000 / seconds)) a second"
    else
        fail "10,000 waiting messages:" "$(tail -n 5 "$TEMP/rate.log")"
    fi
}

break_things() {
    local plain tls number pid
    load plain 10.97.0.2:2525 "$MAX_MESSAGES" --pause 0.1 --cut 7 --until "$TEMP/broken" &
    plain=$!
    load tls 10.97.0.2:2465 "$MAX_MESSAGES" --pause 0.1 --cut 7 --until "$TEMP/broken" --ca "$TEMP/certs/ca.pem" &
    tls=$!
    sleep 1
    # The receiver a, and with it its machine.
    kill_machine a
    wait_until "HAProxy to leave a out" is_state a DOWN && pass "a is killed, and HAProxy leaves it out"
    start_receiver a a
    start_store a a
    wait_until "HAProxy to use a again" is_state a UP && pass "a is started again and used"

    pid=$(pids_on b "$MM4D")
    kill -TERM "$pid"
    wait_until "HAProxy to leave b out" is_state b DOWN && pass "b drains, and HAProxy leaves it out"
    wait_until "b to end" not_running "$pid"
    start_receiver b b
    wait_until "HAProxy to use b again" is_state b UP

    for number in 1 2 3 4 5; do
        wait_until "a consumer on c" has_store c
        sleep "0.$number"
        kill_store c
        start_store c c
    done
    pass "the consumer of c is killed five times"

    # Its machine says nothing any more: no reset tells the consumers.
    ip -n "$PREFIX-db1" link set "${INTERFACE[db1]}" down
    as_postgres db2 "$POSTGRES/pg_ctl" promote -D "$TEMP/db2" >/dev/null
    wait_until "db2 to be the primary" is_primary db2
    kill_machine db1
    ip -n "$PREFIX-db1" link set "${INTERFACE[db1]}" up
    start_standby db1 db2
    pass "the primary is cut off, the standby takes its place and gets one of its own"

    fallocate -l "$(($(stat -f -c '%a * %S' "$TEMP/volume-b") - 4194304))" "$TEMP/volume-b/filler"
    wait_until "HAProxy to leave b out" is_state b DOWN && pass "the disk of b is full, and HAProxy leaves it out"
    rm "$TEMP/volume-b/filler"
    wait_until "HAProxy to use b again" is_state b UP && pass "there is space, and b is used again"

    wait_until "the volume of c to be read-only" mount -o remount,ro "$TEMP/volume-c"
    wait_until "HAProxy to leave c out" is_state c DOWN && pass "the disk of c is read-only, and HAProxy leaves it out"
    mount -o remount,rw "$TEMP/volume-c"
    wait_until "HAProxy to use c again" is_state c UP && pass "it can be written, and c is used again"

    : >"$TEMP/broken"
    if wait "$plain" && wait "$tls"; then
        pass "every message was acknowledged, at last by another try"
    else
        fail "messages that were not acknowledged:" "$(tail -n 3 "$TEMP/plain.err" "$TEMP/tls.err")"
    fi
}

# pids_on MACHINE WORD...: the processes there that have one of these in their command.
pids_on() {
    local machine=$1 pid word
    shift
    for pid in $(ip netns pids "$PREFIX-$machine"); do
        for word in "$@"; do
            if [[ $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) == *"$word "* ]]; then say "$pid"; fi
        done
    done
}
has_store() { [[ -n $(pids_on "$1" store.py) ]]; }
kill_store() { pids_on "$1" store.py | xargs -r kill -KILL; }
not_running() { [[ ! -d /proc/$1 ]]; }
is_primary() { [[ $(sql "$1" postgres 'SELECT pg_is_in_recovery()') == f ]]; }

# The volume of a machine that is gone is mounted by another one.
move_volume() {
    kill_store a
    load moved "${ADDRESS[a]}:2525" 20 || fail "no messages to a"
    kill_machine a
    sleep 0.5
    umount "$TEMP/volume-a"
    mount_volume a
    start_receiver d a
    start_store d a
    pass "the volume of a, killed with messages in its spool, is used by another machine"
}

# ---------------------------------------------------------------- the proof

all_stored() {
    local name
    for name in a b c; do
        [[ -z $(find "$TEMP/volume-$name/spool/new" "$TEMP/volume-$name/spool/cur" -name '*.eml*') ]] || return 1
    done
}

check_store() {
    wait_until "the spools to be empty" all_stored && pass "nothing is left in a spool, nothing is claimed"
    if on client /usr/bin/python3 "$CLUSTER/verify.py" "$DATABASE" "$TEMP"/{plain,tls,moved}.tsv >"$TEMP/verified" 2>&1; then
        pass "every acknowledged message is in the store once, byte for byte"
    else
        fail "the store:" "$(tail -n 10 "$TEMP/verified")"
    fi
    sed 's/^/        /' "$TEMP/verified"
}

main "$@"
