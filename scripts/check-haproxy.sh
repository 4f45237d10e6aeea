#!/usr/bin/env bash
# Runs a real HAProxy with scripts/cluster/haproxy.cfg in front of three mm4d: plain and
# TLS pass-through with PROXY v2, health checks by SMTP, a server that drains under load,
# and one that is killed. Before that, health checks of every form (haproxy/checks.cfg) of
# a server with --proxy-from and of one without.
#
#   scripts/check-haproxy.sh
#
# Needs haproxy, python3 and openssl, which it installs as root on Debian; the service
# that comes with the package haproxy is switched off if this script installed it.
# Uses free ports of 127.0.0.1. Leaves nothing but the build and the packages.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CLUSTER=$ROOT/scripts/cluster
BALANCER_PID=''
declare -A PIDS=() PLAIN=() TLS=()

main() {
    if ! ensure_switched_off haproxy haproxy || ! ensure python3; then
        skip "HAProxy: haproxy or python3 is missing"
        tally
        return
    fi
    require rust compiler openssl
    build
    make_temp
    trap end_all EXIT
    make_credentials
    local name
    check_forms
    for name in a b c; do start_one "$name" --proxy-from 127.0.0.1/32; done
    start_balancer
    check_quiet
    check_messages plain "$BALANCER_PLAIN"
    check_messages tls "$BALANCER_TLS" --ca "$TEMP/certs/ca.pem"
    check_drain
    check_kill
    tally
}

end_all() {
    local status=$? pid
    for pid in "${PIDS[@]}" "$BALANCER_PID"; do
        [[ -z $pid ]] || kill -KILL "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    clean_up "$status"
}

# start_one NAME OPTION...: a server with its own spool, on the ports it had before, or on
# free ones. LOG_LEVEL is info unless set.
start_one() {
    local name=$1 pipe=$TEMP/$1.pipe line kind output
    shift
    rm -f "$pipe" && mkfifo "$pipe"
    RUST_LOG=${LOG_LEVEL:-info} "$MM4D" --listen "${PLAIN[$name]:-127.0.0.1:0}" --tls-listen "${TLS[$name]:-127.0.0.1:0}" \
        --hostname "$name" --cert "$TEMP/certs/server.pem" --key "$TEMP/certs/server.key" \
        --accounts "$TEMP/accounts" --spool "$TEMP/spool-$name" \
        --drain 4 "$@" >"$pipe" 2>>"$TEMP/$name.log" &
    PIDS[$name]=$!
    exec {output}<"$pipe"
    for kind in plain tls; do
        IFS= read -r -t "$DEADLINE" -u "$output" line || die "$name does not start:" "$(tail -n 5 "$TEMP/$name.log")"
        if [[ $kind == plain ]]; then PLAIN[$name]=${line##* }; else TLS[$name]=${line##* }; fi
    done
    exec {output}<&-
}

# free_ports COUNT: a line for each.
free_ports() {
    python3 -c '
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
for one in sockets: print(one.getsockname()[1])' "$1"
}

# Every form of check succeeds, and none causes a line above debug.
check_forms() {
    local name lines count statistics
    LOG_LEVEL=debug start_one proxied --proxy-from 127.0.0.1/32
    LOG_LEVEL=debug start_one direct
    statistics=127.0.0.1:$(free_ports 1)
    CHECKS_STATISTICS=$statistics PROXIED_PLAIN=${PLAIN[proxied]} PROXIED_TLS=${TLS[proxied]} \
        DIRECT_PLAIN=${PLAIN[direct]} DIRECT_TLS=${TLS[direct]} \
        haproxy -db -f "$ROOT/scripts/haproxy/checks.cfg" >"$TEMP/checks.log" 2>&1 &
    BALANCER_PID=$!
    # Several of each, and then until all have succeeded.
    sleep 3
    if wait_until "every form of check to succeed" all_up "$statistics"; then
        pass "$(statistics_of "$statistics" | wc -l) forms of check succeed, on both ports, with --proxy-from and without"
    else
        say "$(statistics_of "$statistics" | grep -v ' UP$')"
    fi
    kill -KILL "$BALANCER_PID"
    wait "$BALANCER_PID" 2>/dev/null || true
    for name in proxied direct; do
        kill -TERM "${PIDS[$name]}"
        wait "${PIDS[$name]}" || fail "$name: ended with status $?"
        unset "PIDS[$name]"
        count=$(grep -c 'DEBUG mm4d\] connected' "$TEMP/$name.log")
        lines=$(grep -v ' DEBUG ' "$TEMP/$name.log" | grep -E ' peer=| suppressed ' || true)
        if [[ -z $lines ]] && ((count >= 100)); then
            pass "$name: $count connections of checks leave no line above debug"
        else
            fail "$name: $count connections of checks left these lines:" "$(head -n 5 <<<"$lines")"
        fi
    done
}

# all_up STATISTICS: no server is down, or not checked yet.
all_up() {
    local states
    states=$(statistics_of "$1") && [[ -n $states ]] && ! grep -qv ' UP$' <<<"$states"
}

start_balancer() {
    local port=(0 0 0)
    mapfile -t port < <(free_ports 3)
    BALANCER_PLAIN=127.0.0.1:${port[0]} BALANCER_TLS=127.0.0.1:${port[1]} BALANCER_STATISTICS=127.0.0.1:${port[2]}
    BALANCER_PLAIN=$BALANCER_PLAIN BALANCER_TLS=$BALANCER_TLS BALANCER_STATISTICS=$BALANCER_STATISTICS \
        A_PLAIN=${PLAIN[a]} B_PLAIN=${PLAIN[b]} C_PLAIN=${PLAIN[c]} A_TLS=${TLS[a]} B_TLS=${TLS[b]} C_TLS=${TLS[c]} \
        haproxy -db -f "$CLUSTER/haproxy.cfg" >"$TEMP/haproxy.log" 2>&1 &
    BALANCER_PID=$!
    wait_until "the balancer to see three servers" servers_up 3 || die "$(tail -n 20 "$TEMP/haproxy.log")"
    pass "HAProxy takes its configuration, and its SMTP check finds three servers"
}

# statistics_of ADDRESS: a line for each server of a balancer: backend/name, state.
statistics_of() {
    python3 - "$1" <<'PYTHON'
import csv, sys, urllib.request
with urllib.request.urlopen(f"http://{sys.argv[1]}/;csv", timeout=5) as page:
    text = page.read().decode().lstrip("# ")
for row in csv.DictReader(text.splitlines()):
    if row["svname"] not in ("FRONTEND", "BACKEND"):
        print(f'{row["pxname"]}/{row["svname"]}', row["status"])
PYTHON
}

# statistics: the same of the plain backend: name, state.
statistics() { statistics_of "$BALANCER_STATISTICS" | sed -n 's#^plain/\([^ ]*\) \([^ ]*\).*#\1 \2#p'; }

servers_up() { [[ $(statistics 2>/dev/null | grep -c ' UP$') == "$1" ]]; }
state_of() { [[ $(statistics 2>/dev/null) == *"$1 $2"* ]]; }

# The balancer has checked each server a few times by now.
check_quiet() {
    sleep 3
    local lines
    lines=$(cat "$TEMP"/[abc].log | grep -cE 'connected|handshake|PROXY|command|421' || true)
    if ((lines == 0)); then
        pass "health checks leave no line in the log"
    else
        fail "health checks left $lines lines in the log:" "$(head -n 5 "$TEMP/a.log")"
    fi
}

# check_messages KIND SERVER OPTION...: all arrive, on more than one server, whole.
check_messages() {
    local kind=$1 server=$2
    shift 2
    if load "$kind" "$server" 60 "$@" && all_spooled "$kind"; then
        pass "60 messages over $kind arrive, each once and byte for byte"
    else
        fail "messages over $kind:" "$(tail -n 5 "$TEMP/$kind.err")"
    fi
    local used=0 name
    for name in a b c; do
        ! grep -q "@$name"$'\t' "$TEMP/$kind.tsv" || used=$((used + 1))
    done
    if ((used == 3)); then pass "$kind: on each of the three servers"; else fail "$kind: on $used servers only"; fi
}

# load NAME SERVER COUNT OPTION...
load() {
    local name=$1 server=$2 count=$3
    shift 3
    "$CLUSTER/load.py" --server "$server" --password-file "$TEMP/password" --count "$count" \
        --name "$name" --out "$TEMP/$name.tsv" "$@" 2>"$TEMP/$name.err"
}

# all_spooled NAME: each acknowledged message is in a spool, with the content that was sent.
all_spooled() {
    python3 - "$TEMP" "$1" <<'PYTHON'
import hashlib, pathlib, sys
temp, name = pathlib.Path(sys.argv[1]), sys.argv[2]
for line in open(temp / f"{name}.tsv"):
    number, ident, digest, *_ = line.split("\t")
    files = list(temp.glob(f"spool-*/new/{ident}.eml"))
    assert len(files) == 1, f"{ident}: {len(files)} files"
    data = files[0].read_bytes()
    # The trace is five lines; from then on it is the client's.
    content = data.split(b"\r\n", 5)[5]
    assert hashlib.sha256(content).hexdigest() == digest, f"{ident} differs"
    assert b"127.0.0.1" in data.split(b"\r\n", 5)[3], f"{ident}: not the client's address"
PYTHON
}

# What clients see: tries above one, and the longest wait.
report() {
    awk -F '\t' -v name="$1" '$4 > 1 { again++ } $5 > longest { longest = $5 }
        END { printf "        %s: %d messages, %d sent again, longest %.2f s\n", name, NR, again, longest }' "$TEMP/$1.tsv"
}

# A rolling restart: each server in turn drains, ends and starts again, under one load.
check_drain() {
    local loader name status failed=''
    load drain "$BALANCER_PLAIN" 5000 --pause 0.1 --until "$TEMP/rolled" &
    loader=$!
    for name in a b c; do
        sleep 1
        status=0
        kill -TERM "${PIDS[$name]}"
        wait_until "the balancer to see that $name drains" state_of "$name" DOWN || failed=yes
        wait "${PIDS[$name]}" || status=$?
        ((status == 0)) || failed=yes
        start_one "$name" --proxy-from 127.0.0.1/32
        wait_until "$name to be up again" servers_up 3 || failed=yes
    done
    : >"$TEMP/rolled"
    if wait "$loader" && all_spooled drain && [[ -z $failed ]]; then
        pass "a rolling restart of three servers under load: every message is acknowledged and there"
    else
        fail "the rolling restart:" "$(tail -n 5 "$TEMP/drain.err")"
    fi
    report drain
}

check_kill() {
    local loader
    load kill "$BALANCER_TLS" 200 --pause 0.1 --ca "$TEMP/certs/ca.pem" &
    loader=$!
    sleep 1
    kill -KILL "${PIDS[b]}"
    wait "${PIDS[b]}" 2>/dev/null || true
    if wait "$loader" && all_spooled kill; then
        pass "kill -9 of a server under load: every acknowledged message is there"
    else
        fail "kill -9:" "$(tail -n 5 "$TEMP/kill.err")"
    fi
    report kill
    PIDS[b]=''
}

main "$@"
