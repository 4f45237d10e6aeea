#!/usr/bin/env bash
# Sends a picture message with swaks, over plain SMTP with AUTH LOGIN and over
# TLS with AUTH PLAIN, and looks for both in the spool, byte for byte.
#
#   scripts/send-swaks.sh
#
# Without more it talks to the server that scripts/run.sh started. Environment:
# MM4_HOST, MM4_PORT, MM4_TLS_PORT, MM4_TLS_NAME (the name in the certificate),
# MM4_CA, MM4_SYSTEM_ID, MM4_PASSWORD or MM4_PASSWORD_FILE, MM4_SPOOL, MM4_MESSAGE.
# Needs swaks and installs it as root on Debian; status 77 without it. Leaves
# the two mails in the spool.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    if ! ensure_swaks; then
        warn "swaks is missing, nothing sent"
        exit "$SKIPPED_STATUS"
    fi
    sender_settings
    make_temp
    send "plain, AUTH LOGIN" ESMTPA --port "$PLAIN_PORT" --auth LOGIN
    send "TLS, AUTH PLAIN" ESMTPSA --port "$TLS_PORT" --auth PLAIN \
        --tls-on-connect --tls-verify --tls-ca-path "$CA"
    tally
}

# send NAME PROTOCOL OPTION...: one mail; the password goes by the environment, where
# other users of the machine do not see it. swaks sends the lines as they are and
# ends the last, the dot. POSIXLY_CORRECT keeps it from taking the + of a number
# for an option.
send() {
    local name="swaks, $1" protocol=$2 transcript=$TEMP/transcript
    shift 2
    if ! { stuffed "$MESSAGE" && printf .; } | POSIXLY_CORRECT=1 SWAKS_OPT_auth_password=$PASSWORD swaks \
        --server "$HOST" --timeout "$DEADLINE" --ehlo client.example.net \
        --from "$SENDER" --to "$RECIPIENT" --auth-user "$SYSTEM_ID" \
        --auth-hide-password --data - --no-data-fixup "$@" >"$transcript" 2>&1; then
        fail "$name:" "$(<"$transcript")"
    elif ! [[ $(<"$transcript") =~ '250 queued as <'([^>]+)'>' ]]; then
        fail "$name: no id in the reply:" "$(<"$transcript")"
    elif spooled "$SYSTEM_ID" "$protocol" "$MESSAGE" "$SPOOL/new/${BASH_REMATCH[1]}.eml"; then
        pass "$name: ${BASH_REMATCH[1]}"
    else
        fail "$name: what is spooled is not what was sent"
    fi
}

main "$@"
