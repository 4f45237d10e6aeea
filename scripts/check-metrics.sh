#!/usr/bin/env bash
# Checks the metrics of a real server with promtool, the alert rules and their
# tests, and the dashboard; has a real Prometheus scrape the metrics through
# node_exporter, load the rules, answer every query of the dashboard and show it as a
# page of its own; then kills the server several times under load and compares the
# metrics with the spool (monitoring/check_kills.py says what may differ).
#
#   scripts/check-metrics.sh
#
# Starts everything on free ports of 127.0.0.1. Needs promtool, prometheus and
# prometheus-node-exporter; Debian's packages are installed as root, or what needs
# them is skipped. Leaves nothing but the build and the packages.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MONITORING=$ROOT/scripts/monitoring
# Of Debian's package.
LIBRARIES=/usr/share/doc/prometheus/examples/console_libraries
MESSAGES_SENT=3
# How often the server is killed: each takes 16 to 20 seconds.
KILLS=3
STARTED=()

main() {
    if ! ensure promtool prometheus; then
        skip "the metrics: promtool is missing"
        tally
        return
    fi
    check "promtool accepts the alert rules" promtool check rules "$MONITORING/alerts.yml"
    check "the alert rules pass their tests" promtool test rules "$MONITORING/alerts_test.yml"
    build
    ensure openssl || die "openssl is needed to make a certificate and a password"
    ensure python3 || die "python3 is needed to read the dashboard"
    make_temp
    trap stop_started EXIT
    mkdir "$TEMP/textfile"
    start_server "$TEMP" --metrics-file "$TEMP/textfile/mm4d.prom"
    send_messages
    stop_server
    check "promtool accepts the metrics" promtool check metrics <"$TEMP/textfile/mm4d.prom"
    check "the metrics count $MESSAGES_SENT messages" grep -qx \
        "mm4d_accepted_messages_total{account=\"demo\"} $MESSAGES_SENT" "$TEMP/textfile/mm4d.prom"
    check "the directory holds nothing else" test "$(ls -A "$TEMP/textfile")" = mm4d.prom
    check_scrape
    check_kills
    tally
}

# check NAME COMMAND...: passes if the command does.
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        pass "$name"
    else
        fail "$name:" "$output"
    fi
}

send_messages() {
    local server replies number
    exec {server}<>"/dev/tcp/127.0.0.1/$PLAIN_PORT"
    {
        printf 'EHLO client.example.net\r\nAUTH PLAIN %s\r\n' \
            "$(printf '\0demo\0%s' "$PASSWORD" | base64 -w 0)"
        for ((number = 0; number < MESSAGES_SENT; number++)); do
            printf '%s\r\n' "MAIL FROM:<$SENDER>" "RCPT TO:<$RECIPIENT>" DATA "message $number" .
        done
        printf 'QUIT\r\n'
    } >&"$server"
    replies=$(timeout "$DEADLINE" cat <&"$server")
    exec {server}>&-
    [[ $(grep -c '^250 queued as ' <<<"$replies") == "$MESSAGES_SENT" ]] ||
        die "the messages were not accepted:" "$replies"
}

# check_scrape: node_exporter and Prometheus, started here, see the metrics.
check_scrape() {
    local exporter prometheus page=''
    if ! ensure prometheus || ! ensure prometheus-node-exporter; then
        skip "scraping: prometheus or prometheus-node-exporter is missing"
        return
    fi
    exporter=$(free_port)
    prometheus=$(free_port)
    prometheus-node-exporter --collector.disable-defaults --collector.textfile \
        --collector.textfile.directory "$TEMP/textfile" \
        --web.listen-address "127.0.0.1:$exporter" >"$TEMP/exporter.log" 2>&1 &
    STARTED+=($!)
    cat >"$TEMP/prometheus.yml" <<EOF
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [$MONITORING/alerts.yml]
scrape_configs:
  - job_name: node
    static_configs: [{targets: ["127.0.0.1:$exporter"]}]
EOF
    mkdir "$TEMP/consoles"
    if [[ -d $LIBRARIES ]]; then
        "$MONITORING/console.py" >"$TEMP/consoles/mm4d.html"
        page=mm4d.html
    else
        skip "the page of console.py: $LIBRARIES is missing"
    fi
    prometheus --config.file "$TEMP/prometheus.yml" --storage.tsdb.path "$TEMP/tsdb" \
        --web.console.templates "$TEMP/consoles" --web.console.libraries "$LIBRARIES" \
        --web.listen-address "127.0.0.1:$prometheus" >"$TEMP/prometheus.log" 2>&1 &
    STARTED+=($!)
    check "a real Prometheus scrapes, and answers the dashboard and the rules" \
        python3 "$MONITORING/check_prometheus.py" "http://127.0.0.1:$prometheus" \
        "$MONITORING/dashboard.json" "$MESSAGES_SENT" "$DEADLINE" "$page"
}

# check_kills: of three lives that were killed and one that ended in order.
check_kills() {
    local output
    mkdir "$TEMP/metrics"
    (umask 077 && printf '%s\n' "$PASSWORD" >"$TEMP/password")
    if output=$("$MONITORING/check_kills.py" --dir "$TEMP" --kills "$KILLS" --load "$ROOT/scripts/cluster/load.py" \
        -- "$MM4D" --accounts "$TEMP/accounts" --spool "$TEMP/spool-killed" --hostname localhost \
        --metrics-file "$TEMP/metrics/mm4d.prom" 2>&1); then
        pass "metrics and spool agree after a load with $KILLS kills"
    else
        fail "metrics and spool after a load with $KILLS kills:"
    fi
    say "$output"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# stop_started: ends what check_scrape started, then what lib.sh did; keeps the
# status.
stop_started() {
    local status=$?
    set +e
    if ((${#STARTED[@]})); then
        kill "${STARTED[@]}" 2>/dev/null
        wait "${STARTED[@]}" 2>/dev/null
    fi
    (exit "$status")
    clean_up
}

main "$@"
