#!/usr/bin/env bash
# Builds the static files and runs them in an empty root directory.
#
#   scripts/check-static.sh
#
# Each file must need no other, and with musl mm4d must have at most 3 MiB. As root both then
# run in a root directory that holds only them, an accounts file, a certificate and a
# spool, mm4d as process 1 as in a container: it must receive a mail over TCP and
# one over TLS, reload on SIGHUP, and end with status 0 on SIGTERM; mm4spool must
# show a mail. Where podman is installed, the image of the Containerfile is built and
# started, too. Needs what scripts/static.sh needs, and openssl. Leaves the build.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MAX_BYTES=$((3 << 20))

main() {
    local file bytes
    require rust compiler openssl
    make_temp
    "$ROOT/scripts/static.sh" "$TEMP/static" >"$TEMP/said" || die "scripts/static.sh failed"
    cat "$TEMP/said"
    for file in mm4d mm4spool; do check_static "$TEMP/static/$file"; done
    bytes=$(stat -c %s "$TEMP/static/mm4d")
    if ! grep -q '^building for .*-musl ' "$TEMP/said"; then
        skip "the size of mm4d, $bytes bytes: it is glibc's, and Rust has no musl target here"
    elif ((bytes <= MAX_BYTES)); then
        pass "mm4d has $bytes bytes, at most $MAX_BYTES"
    else
        fail "mm4d has $bytes bytes, more than $MAX_BYTES"
    fi
    if ((EUID == 0)) && unshare --fork --pid true 2>/dev/null; then
        run_in_empty_root
    else
        skip "the run in an empty root directory: needs root and a PID namespace"
    fi
    if has podman; then run_image; else skip "the image: podman is not installed"; fi
    tally
}

# check_static FILE: an ELF file without an interpreter and without libraries.
check_static() {
    local said
    said=$(LC_ALL=C ldd "$1" 2>&1) || true
    if [[ $said == *"statically linked"* || $said == *"not a dynamic executable"* ]]; then
        pass "${1##*/} is static"
    else
        fail "${1##*/} needs libraries: $said"
    fi
}

run_in_empty_root() {
    local root=$TEMP/root server mail
    furnish "$root"
    cp "$TEMP"/static/* "$root"
    mkfifo "$TEMP/stdout"
    unshare --fork --pid --kill-child chroot "$root" /mm4d \
        --listen 127.0.0.1:0 --tls-listen 127.0.0.1:0 --hostname localhost \
        --cert /etc/mm4d/server.pem --key /etc/mm4d/server.key \
        --accounts /etc/mm4d/accounts --spool /spool >"$TEMP/stdout" 2>"$TEMP/log" &
    SERVER_PID=$! SERVER_LOG=$TEMP/log
    exec {SERVER_OUTPUT}<"$TEMP/stdout"
    read_listener plain PLAIN_PORT
    read_listener tls TLS_PORT
    server=$(tr -d ' ' <"/proc/$SERVER_PID/task/$SERVER_PID/children")
    kill -HUP "$server"
    expect_reload
    expect_mails "in an empty root directory" "$root" "$PLAIN_PORT" "$TLS_PORT"
    mail=$(printf '%s\n' "$root"/spool/new/*.eml | tail -n 1)
    if chroot "$root" /mm4spool show "/spool/new/${mail##*/}" | grep -q MM4_forward.REQ; then
        pass "in an empty root directory mm4spool shows a mail"
    else
        fail "in an empty root directory mm4spool does not show ${mail##*/}"
    fi
    stop_server "$server"
    pass "as process 1 mm4d ends with status 0 on SIGTERM"
}

# run_image: the same with podman, as the head of the Containerfile says. Where podman
# itself cannot start a container (status 125 to 127), the image is only built.
run_image() {
    local root=$TEMP/volumes name="mm4d-check-$$" try status=0
    furnish "$root"
    chmod 0777 "$root/spool"
    if podman build --quiet --tag "$name" --file "$ROOT/scripts/container/Containerfile" \
        "$TEMP/static" >"$TEMP/podman" 2>&1; then
        pass "podman builds the image"
    else
        fail "podman build: $(tail -n 3 "$TEMP/podman")"
        return
    fi
    podman run --detach --name "$name" --publish 127.0.0.1::2525 --publish 127.0.0.1::2465 \
        --volume "$root/etc/mm4d:/etc/mm4d:ro" --volume "$root/spool:/spool" \
        "$name" --hostname localhost >"$TEMP/podman" 2>&1 || status=$?
    if ((status > 0)); then
        podman rm --force "$name" >/dev/null 2>&1 || true
        podman rmi --force "$name" >/dev/null 2>&1 || true
        skip "the image: podman cannot start a container here: $(tail -n 1 "$TEMP/podman")"
        return
    fi
    for ((try = 0; try < DEADLINE; try++)); do
        [[ $(podman logs "$name" 2>&1) != *'listening tls'* ]] || break
        sleep 1
    done
    expect_mails "in a container" "$root" \
        "$(podman port "$name" 2525 | sed 's/.*://')" "$(podman port "$name" 2465 | sed 's/.*://')"
    podman stop --time "$DEADLINE" "$name" >/dev/null
    status=$(podman inspect --format '{{.State.ExitCode}}' "$name")
    if [[ $status == 0 ]]; then
        pass "a container ends with status 0 on podman stop"
    else
        fail "a container ended with status $status"
    fi
    podman rm --force "$name" >/dev/null
    podman rmi --force "$name" >/dev/null
}

# expect_reload: the log says that both were read again.
expect_reload() {
    local try
    for ((try = 0; try < 10 * DEADLINE; try++)); do
        if grep -q 'reloaded accounts' "$SERVER_LOG" && grep -q 'reloaded certificate' "$SERVER_LOG"; then
            pass "in an empty root directory SIGHUP reads accounts, certificate and key again"
            return
        fi
        sleep 0.1
    done
    fail "no reload in the log: $(tail -n 3 "$SERVER_LOG")"
}

# furnish ROOT: a spool, and in etc/mm4d an account and a certificate.
furnish() {
    mkdir -p "$1/spool" "$1/etc/mm4d"
    "$ROOT/scripts/certs.sh" "$1/etc/mm4d" >"$TEMP/certs" 2>&1 || die "no certificate:" "$(<"$TEMP/certs")"
    make_account "$1/etc/mm4d/accounts" demo
}

# expect_mails WHERE ROOT PLAIN_PORT TLS_PORT: both are received, and spooled as sent.
expect_mails() {
    if MM4_PORT=$3 MM4_TLS_PORT=$4 MM4_CA=$2/etc/mm4d/ca.pem MM4_PASSWORD=$PASSWORD \
        MM4_SPOOL=$2/spool "$ROOT/scripts/send-openssl.sh" >"$TEMP/sent" 2>&1; then
        pass "$1 mm4d receives a mail over TCP and one over TLS"
    else
        fail "$1 mm4d does not receive mail:" "$(<"$TEMP/sent")"
    fi
}

main "$@"
