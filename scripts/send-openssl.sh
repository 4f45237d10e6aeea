#!/usr/bin/env bash
# Sends a picture message by hand: over plain SMTP with nothing but bash, and
# over TLS through openssl s_client, one command at a time, each reply read
# before the next. Looks for both in the spool, byte for byte.
#
#   scripts/send-openssl.sh
#
# Without more it talks to the server that scripts/run.sh started. Environment:
# MM4_HOST, MM4_PORT, MM4_TLS_PORT, MM4_TLS_NAME (the name in the certificate),
# MM4_CA, MM4_SYSTEM_ID, MM4_PASSWORD or MM4_PASSWORD_FILE, MM4_SPOOL, MM4_MESSAGE.
# Needs openssl for TLS and installs it as root on Debian; without it only plain
# is tried. Leaves the mails in the spool.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    sender_settings
    make_temp
    send "bash, plain, AUTH LOGIN" plain login ESMTPA
    if ensure openssl; then
        send "openssl s_client, TLS, AUTH PLAIN" tls plain ESMTPSA
    else
        skip "openssl s_client: openssl is missing"
    fi
    tally
}

# send NAME CHANNEL MECHANISM PROTOCOL: one session in a process of its own,
# which ends with the first reply that is not the expected one.
send() {
    local name=$1 id
    if ! id=$(session "$2" "$3"); then
        fail "$name"
    elif spooled "$SYSTEM_ID" "$4" "$MESSAGE" "$SPOOL/new/$id.eml"; then
        pass "$name: $id"
    else
        fail "$name: what is spooled is not what was sent"
    fi
}

# session CHANNEL MECHANISM: the dialogue; prints the id of the mail.
session() {
    local id
    "open_$1"
    expect "220 * MM4 ready"
    ask "EHLO client.example.net" "250 AUTH PLAIN LOGIN"
    "auth_$2"
    ask "MAIL FROM:<$SENDER>" "250 Sender OK"
    ask "RCPT TO:<$RECIPIENT>" "250 Recipient OK"
    ask DATA "354 enter mail, end with line containing only '.'"
    content >&"$TO"
    ask . "250 queued as <?*>"
    id=${REPLY#*<}
    ask QUIT "221 BYE"
    expect_close
    say "${id%>}"
}

auth_login() {
    ask "AUTH LOGIN" "334 VXNlcm5hbWU6"
    ask "$(base64_of %s "$SYSTEM_ID")" "334 UGFzc3dvcmQ6"
    ask "$(base64_of %s "$PASSWORD")" "235 Authentication successful"
}

auth_plain() {
    ask "AUTH PLAIN $(base64_of '\0%s\0%s' "$SYSTEM_ID" "$PASSWORD")" "235 Authentication successful"
}

# content: the message with the line ends that the channel wants.
content() { stuffed "$MESSAGE" | tr -d '\r' | sed "s/\$/$CR/"; }

# ---------------------------------------------------------------- channels
#
# Each sets FROM and TO, the descriptors to read and write, and CR, what a line
# that is written needs before its LF.

open_plain() {
    exec {TO}<>"/dev/tcp/$HOST/$PLAIN_PORT" || die "cannot connect to $HOST:$PLAIN_PORT"
    FROM=$TO
    CR=$'\r'
}

# Without -quiet, s_client takes a line that begins with Q or R as an order to
# itself. -crlf makes CRLF of each LF that it is given.
open_tls() {
    local host=$HOST
    [[ $host != *:* ]] || host="[$host]"
    coproc openssl s_client -quiet -crlf -connect "$host:$TLS_PORT" \
        -servername "$TLS_NAME" -verify_hostname "$TLS_NAME" \
        -CAfile "$CA" -verify_return_error 2>"$TEMP/openssl"
    # Copies, since bash closes its own when the process ends.
    exec {FROM}<&"${COPROC[0]}" {TO}>&"${COPROC[1]}"
    CR=''
}

# ask LINE PATTERN: says LINE and expects PATTERN.
ask() {
    printf '%s%s\n' "$1" "$CR" >&"$TO" || true # the missing reply says more
    expect "$2"
}

# expect PATTERN: the last line of the next reply matches; leaves it in REPLY.
expect() {
    local line=''
    while IFS= read -r -t "$DEADLINE" -u "$FROM" line; do
        REPLY=${line%$'\r'}
        [[ $REPLY == [0-9][0-9][0-9]-* ]] && continue
        # shellcheck disable=SC2053 # it is a pattern
        [[ $REPLY == $1 ]] && return
        break
    done
    hang_up "expected '$1', got '${line%$'\r'}'"
}

# expect_close: nothing more comes, and the end does.
expect_close() {
    local line='' status=0
    IFS= read -r -t "$DEADLINE" -u "$FROM" line || status=$?
    [[ $status -eq 1 && -z $line ]] || hang_up "expected the end, got '${line%$'\r'}'"
}

hang_up() {
    warn "$1"
    if [[ -s $TEMP/openssl ]]; then
        cat "$TEMP/openssl" >&2
    fi
    exit 1
}

main "$@"
