#!/usr/bin/env bash
# What scripts/check-package.sh runs in a machine of its own, as root and under
# systemd. Prints a line for each check, and `complete` at its end.

source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

ACCOUNTS=/etc/mm4d/accounts
NEW=/var/lib/mm4d/spool/new

main() {
    make_temp
    check "it installs" dpkg -i /check/packages/old.deb
    check "the service is enabled" systemctl is-enabled --quiet mm4d
    check "without accounts it does not run, and has not failed" idle
    make_account "$ACCOUNTS" demo
    chgrp mm4d "$ACCOUNTS" && chmod 0640 "$ACCOUNTS"
    "$ROOT/scripts/certs.sh" /etc/mm4d >/dev/null
    chgrp mm4d /etc/mm4d/server.key && chmod 0640 /etc/mm4d/server.key
    sed -i 's/^#tls-listen .*/tls-listen 127.0.0.1:2465/' /etc/mm4d/mm4d.conf
    check "it starts" systemctl start mm4d
    wait_for_port 2525
    check "it receives mail over TCP and TLS" send 2525 2465 /var/lib/mm4d/spool
    check "mm4spool shows the mail at /var/spool/mm4d" shows
    check "it runs as mm4d" runs_as_mm4d
    say "systemd-analyze security: $(systemd-analyze security mm4d | tail -n 1)"
    check "systemctl reload" systemctl reload mm4d
    broken_accounts
    instance
    upgrade
    check "it is purged" dpkg --purge mm4d
    check "nothing is left" nothing_left
    say complete
}

# check NAME COMMAND...: with what the command said if it failed.
check() {
    local name=$1
    shift
    if "$@" >"$TEMP/said" 2>&1; then
        pass "$name"
    else
        fail "$name: $(tail -n 5 "$TEMP/said" | tr '\n' '|') $(journalctl -u mm4d -n 5 -o cat 2>&1 | tr '\n' '|')"
    fi
}

idle() { ! systemctl is-active --quiet mm4d && ! systemctl is-failed --quiet mm4d; }

wait_for_port() {
    local try
    for ((try = 0; try < 10 * DEADLINE; try++)); do
        (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        sleep 0.1
    done
    return 1
}

send() {
    MM4_PORT=$1 MM4_TLS_PORT=$2 MM4_SPOOL=$3 MM4_CA=/etc/mm4d/ca.pem MM4_PASSWORD=$PASSWORD \
        "$ROOT/scripts/send-openssl.sh"
}

shows() { mm4spool list /var/spool/mm4d | grep -q forward; }

runs_as_mm4d() { [[ $(ps -o user= -C mm4d) == mm4d ]]; }

broken_accounts() {
    cp -p "$ACCOUNTS" "$TEMP/accounts"
    say "no account" >"$ACCOUNTS"
    systemctl reload mm4d || true
    check "a broken accounts file is logged at a reload, and mail is still received" reload_reported
    check "a broken accounts file makes a start fail" start_fails
    cp "$TEMP/accounts" "$ACCOUNTS"
    systemctl reset-failed mm4d
    check "it starts again" systemctl restart mm4d
    wait_for_port 2525
}

reload_reported() {
    local try
    for ((try = 0; try < 10 * DEADLINE; try++)); do
        journalctl -u mm4d -o cat | grep -q "ERROR.*$ACCOUNTS" && break
        sleep 0.1
    done
    journalctl -u mm4d -o cat | grep "ERROR.*$ACCOUNTS" && send 2525 2465 /var/lib/mm4d/spool
}

# The process has ended by the time systemctl restart returns, or soon after.
start_fails() {
    local try
    systemctl restart mm4d || return 0
    for ((try = 0; try < 10 * DEADLINE; try++)); do
        [[ $(systemctl show -P Result mm4d) == exit-code ]] && return
        sleep 0.1
    done
    return 1
}

instance() {
    sed -e 's/127.0.0.1:2525/127.0.0.1:3525/' -e 's/127.0.0.1:2465/127.0.0.1:3465/' \
        -e 's|/var/lib/mm4d/spool|/var/lib/mm4d/second/spool|' /etc/mm4d/mm4d.conf >/etc/mm4d/second.conf
    check "an instance starts" systemctl start mm4d@second
    wait_for_port 3525
    check "the instance receives mail" send 3525 3465 /var/lib/mm4d/second/spool
    systemctl stop mm4d@second
}

# upgrade: a client sends all the while, and writes down each ID that it was given.
upgrade() {
    local client id lost=0 sent=0
    until_stopped &
    client=$!
    sleep 2
    check "it is upgraded while mail arrives" dpkg -i /check/packages/new.deb
    wait_for_port 2525
    sleep 2
    : >"$TEMP/stop"
    wait "$client" || true
    while read -r id; do
        sent=$((sent + 1))
        [[ -f $NEW/$id.eml ]] || lost=$((lost + 1))
    done <"$TEMP/ids"
    check "of $sent mails that were acknowledged around the upgrade $lost are lost" \
        test "$lost" -eq 0 -a "$sent" -gt 4
    check "after the upgrade it runs" systemctl is-active --quiet mm4d
}

until_stopped() {
    while ! [[ -e $TEMP/stop ]]; do
        MM4_PORT=2525 MM4_TLS_PORT=2465 MM4_SPOOL=/var/lib/mm4d/spool MM4_CA=/etc/mm4d/ca.pem \
            MM4_PASSWORD=$PASSWORD "$ROOT/scripts/send-openssl.sh" 2>/dev/null |
            sed -n 's/^ok .*: //p' >>"$TEMP/ids" || true
    done
}

nothing_left() {
    ! find / -xdev \( -path /check -o -path /proc -o -path /tmp -o -path /var/log/journal \) -prune \
        -o -name '*mm4*' -print | grep .
}

main "$@"
