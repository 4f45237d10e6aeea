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
    check "the sockets are not" sockets_are_disabled
    check "without accounts it does not run, and has not failed" idle
    make_account "$ACCOUNTS" demo
    check "it starts without a certificate where no listener needs one" systemctl start mm4d
    "$ROOT/scripts/certs.sh" /etc/mm4d >/dev/null
    sed -i 's/^#tls-listen .*/tls-listen 0.0.0.0:2465/' /etc/mm4d/mm4d.conf
    check "it restarts with one" systemctl restart mm4d
    # Type=notify: whoever waited for systemctl can connect.
    check "it receives mail over TCP and TLS" send 2525 2465 /var/lib/mm4d/spool
    check "mm4spool shows the mail at /var/spool/mm4d" shows
    check "it runs as mm4d, and root alone can read the key" runs_as_mm4d
    check "systemctl status shows connections and messages" shows_status
    check "it is confined to its files" eval "journalctl -u mm4d -o cat | grep 'sandbox of files landlock='"
    check_security
    reload
    broken_accounts
    certbot
    watchdog
    low_port
    instance
    backup
    sockets
    upgrade
    check "it is purged" dpkg --purge mm4d
    check "nothing runs or listens" nothing_runs
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
        fail "$name: $(tail -n 5 "$TEMP/said" | tr '\n' '|') $(journalctl -u 'mm4d*' -n 30 -o short-precise 2>&1 | tr '\n' '|')"
    fi
}

idle() { ! systemctl is-active --quiet mm4d && ! systemctl is-failed --quiet mm4d; }

send() {
    MM4_PORT=$1 MM4_TLS_PORT=$2 MM4_SPOOL=$3 MM4_CA=/etc/mm4d/ca.pem MM4_PASSWORD=$PASSWORD \
        "$ROOT/scripts/send-openssl.sh"
}

shows() { mm4spool list /var/spool/mm4d | grep -q forward; }

runs_as_mm4d() {
    [[ $(ps -o user= -C mm4d) == mm4d && $(stat -c %U:%a /etc/mm4d/server.key) == root:600 ]]
}

sockets_are_disabled() {
    [[ $(systemctl is-enabled mm4d.socket mm4d-tls.socket) == disabled$'\n'disabled ]]
}

shows_status() { until_true eval "systemctl show -P StatusText mm4d | grep 'connections .* messages 2$'"; }

check_security() {
    local said
    said=$(systemd-analyze security --no-pager mm4d | tail -n 1)
    # → Overall exposure level for mm4d.service: 1.2 OK :-)
    said=$(sed 's/.*: \([0-9.]*\) .*/\1/' <<<"$said")
    check "systemd-analyze security is $said, below 1.5" awk -v said="$said" 'BEGIN { exit !(said > 0 && said < 1.5) }'
}

# until_true COMMAND...: repeated until it succeeds, for DEADLINE seconds.
until_true() {
    local try
    for ((try = 0; try < 10 * DEADLINE; try++)); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    return 1
}

reload() {
    local first=$PASSWORD
    PASSWORD=$(openssl rand -hex 16)
    check "an account is added, and read at a reload" typed Accounts <<<"$PASSWORD"
    MM4_SYSTEM_ID=carrier check "after a reload an account that was added can log in" \
        send 2525 2465 /var/lib/mm4d/spool
    PASSWORD=$first
}

broken_accounts() {
    cp -p "$ACCOUNTS" "$TEMP/accounts"
    say "no account" >"$ACCOUNTS"
    check "a broken accounts file makes systemctl reload fail" fails systemctl reload mm4d
    check "the journal names its line as an error" reported
    check "mail is still received" send 2525 2465 /var/lib/mm4d/spool
    check "a broken accounts file makes systemctl start fail" fails systemctl restart mm4d
    cp "$TEMP/accounts" "$ACCOUNTS"
    systemctl reset-failed mm4d
    check "it starts again" systemctl restart mm4d
}

fails() { ! "$@"; }

reported() { journalctl -u mm4d -p err -o cat | grep "$ACCOUNTS, line 1"; }

# certbot: its deploy hook, without certbot.
certbot() {
    local old new
    old=$(served)
    "$ROOT/scripts/certs.sh" "$TEMP/live" >/dev/null
    cp "$TEMP/live/server.pem" "$TEMP/live/fullchain.pem"
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$TEMP/live/privkey.pem" 2>/dev/null
    check "certbot's hook fails with a key of another certificate" \
        fails env RENEWED_LINEAGE="$TEMP/live" /usr/libexec/mm4d/certbot-hook
    check "the old certificate is still served" test "$(served)" = "$old"
    cp "$TEMP/live/server.key" "$TEMP/live/privkey.pem"
    check "certbot's hook" env RENEWED_LINEAGE="$TEMP/live" /usr/libexec/mm4d/certbot-hook
    new=$(openssl x509 -in "$TEMP/live/server.pem" -noout -fingerprint)
    check "the new certificate is served" test "$(served)" = "$new"
    cp "$TEMP/live/ca.pem" /etc/mm4d/ca.pem
    check "mail is received over TLS" send 2525 2465 /var/lib/mm4d/spool
}

served() {
    openssl s_client -connect 127.0.0.1:2465 </dev/null 2>/dev/null | openssl x509 -noout -fingerprint
}

# watchdog: a process that is stopped cannot report, and is replaced.
watchdog() {
    local pid
    mkdir -p /run/systemd/system/mm4d.service.d
    printf '[Service]\nWatchdogSec=2\n' >/run/systemd/system/mm4d.service.d/watchdog.conf
    systemctl daemon-reload && systemctl restart mm4d
    pid=$(systemctl show -P MainPID mm4d)
    sleep 5
    check "a server that works is left alone by the watchdog" test "$(systemctl show -P MainPID mm4d)" = "$pid"
    kill -STOP "$pid"
    check "a server that hangs is replaced" until_true replaced "$pid"
    rm -r /run/systemd/system/mm4d.service.d
    systemctl daemon-reload && systemctl restart mm4d
    check "mail is received again" send 2525 2465 /var/lib/mm4d/spool
}

# replaced PID [UNIT]: another process runs now.
replaced() {
    local unit=${2:-mm4d}
    [[ $(systemctl show -P MainPID "$unit") != "$1" ]] && systemctl is-active --quiet "$unit"
}

low_port() {
    mkdir -p /run/systemd/system/mm4d.service.d
    printf '[Service]\nAmbientCapabilities=%s\nCapabilityBoundingSet=%s\n' CAP_NET_BIND_SERVICE \
        CAP_NET_BIND_SERVICE >/run/systemd/system/mm4d.service.d/port.conf
    systemctl daemon-reload
    say "listen 127.0.0.1:25" >>/etc/mm4d/mm4d.conf
    systemctl reset-failed mm4d
    systemctl restart mm4d
    check "with a capability a port below 1024 receives mail" send 25 2465 /var/lib/mm4d/spool
    rm -r /run/systemd/system/mm4d.service.d
    sed -i '$d' /etc/mm4d/mm4d.conf
    systemctl daemon-reload && systemctl restart mm4d
}

backup() {
    local before
    before=$(mm4spool list --last 1000 /var/lib/mm4d/spool)
    cp -a /var/lib/mm4d/spool/new "$TEMP/new" && rm /var/lib/mm4d/spool/new/*.eml
    cp -a "$TEMP"/new/*.eml /var/lib/mm4d/spool/new
    check "a spool that was copied back is as before" \
        test "$(mm4spool list --last 1000 /var/lib/mm4d/spool)" = "$before"
    mv /var/lib/mm4d/spool/new/*.eml /var/lib/mm4d/spool/cur
    touch -d '31 days ago' "$(find /var/lib/mm4d/spool/cur -name '*.eml' | head -n 1)"
    before=$(find /var/lib/mm4d/spool/cur -name '*.eml' | wc -l)
    check "old messages are removed" typed "Back up the spool"
    check "newer messages are kept" test "$(find /var/lib/mm4d/spool/cur -name '*.eml' | wc -l)" -eq "$((before - 1))"
}

# how_to TITLE: the commands below the paragraph of README.md that begins with TITLE.
how_to() {
    awk -v title="**$1" '
        /^\*\*/ { inside = index($0, title) == 1 }
        inside && /^    / { print substr($0, 5) }
    ' "$ROOT/scripts/package/README.md"
}

# typed TITLE: runs them as they are written.
typed() { bash -exc "$(how_to "$1")"; }

# instance: it goes on to run, for the upgrade and the removal.
instance() {
    local first=$PASSWORD
    check "an instance starts" typed "Several instances"
    check "the instance receives mail" send 3525 3465 /var/lib/mm4d/second/spool
    PASSWORD=$(mm4d --config /etc/mm4d/second/mm4d.conf --add-account other --generate 2>"$TEMP/added" |
        tail -n 1)
    check "the instance is reloaded" systemctl reload mm4d@second
    MM4_SYSTEM_ID=other check "an account that was added to the instance can log in" \
        send 3525 3465 /var/lib/mm4d/second/spool
    PASSWORD=$first
}

# sockets: from here on systemd has the listeners.
sockets() {
    check "the sockets start" typed Upgrade
    systemctl stop mm4d
    check "the first client starts the server" send 2525 2465 /var/lib/mm4d/spool
    check "it has both sockets" test "$(journalctl -u mm4d -o cat -n 20 | grep -c '^listening ')" -ge 2
}

# upgrade: a client sends all the while, and writes down each ID that it was given;
# another one only connects.
upgrade() {
    local clients id lost=0 sent=0 tries instance
    until_stopped &
    clients=$!
    connect_until_stopped &
    sleep 2
    # Nobody starts a service five times in ten seconds but a test.
    systemctl reset-failed mm4d
    check "it is restarted while mail arrives" systemctl restart mm4d
    instance=$(systemctl show -P MainPID mm4d@second)
    check "it is upgraded while mail arrives" dpkg -i /check/packages/new.deb
    check "the instance is restarted by the upgrade" replaced "$instance" mm4d@second
    systemctl reset-failed mm4d
    check "it is restarted once more" systemctl restart mm4d
    sleep 2
    : >"$TEMP/stop"
    wait "$clients" || true
    wait
    tries=$(grep -c connected "$TEMP/tries")
    check "of $tries connections meanwhile none was refused" \
        test "$tries" -gt 100 -a "$(grep -c refused "$TEMP/tries")" -eq 0
    while read -r id; do
        sent=$((sent + 1))
        [[ -f $NEW/$id.eml ]] || lost=$((lost + 1))
    done <"$TEMP/ids"
    check "of $sent mails that were acknowledged around the upgrade $lost are lost" \
        test "$lost" -eq 0 -a "$sent" -gt 4
    check "after the upgrade it runs" systemctl is-active --quiet mm4d
}

connect_until_stopped() {
    while ! [[ -e $TEMP/stop ]]; do
        if (: <>/dev/tcp/127.0.0.1/2525) 2>/dev/null; then say connected; else say refused; fi
    done >"$TEMP/tries"
}

until_stopped() {
    while ! [[ -e $TEMP/stop ]]; do
        MM4_PORT=2525 MM4_TLS_PORT=2465 MM4_SPOOL=/var/lib/mm4d/spool MM4_CA=/etc/mm4d/ca.pem \
            MM4_PASSWORD=$PASSWORD "$ROOT/scripts/send-openssl.sh" 2>/dev/null |
            sed -n 's/^ok .*: //p' >>"$TEMP/ids" || true
    done
}

nothing_runs() {
    ! pgrep -x mm4d && ! systemctl list-units --no-legend --state=active 'mm4d*' | grep .
}

nothing_left() {
    ! find / -xdev \( -path /check -o -path /proc -o -path /tmp -o -path /var/log/journal \) -prune \
        -o -name '*mm4*' -print | grep .
}

main "$@"
