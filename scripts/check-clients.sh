#!/usr/bin/env bash
# Delivers with the mail clients that people have: swaks, openssl s_client,
# curl, Python's smtplib, msmtp and Perl's Net::SMTP, each over plain SMTP, TLS
# 1.2 and TLS 1.3, with AUTH PLAIN and AUTH LOGIN, each a picture message and a
# mail of dots, and looks at each spooled file byte for byte.
#
#   scripts/check-clients.sh
#
# Then the log must name each message with its TLS version, hold no password and
# no content even at level trace, and the spool must hold nothing more.
#
# Starts a server of its own. Clients that are missing are installed as root on
# Debian, or skipped. The last line counts; status 0 unless one failed. Leaves
# nothing but the build.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CLIENTS=(swaks openssl curl smtplib msmtp net_smtp)
CHANNELS=(plain tls1.2 tls1.3)
MECHANISMS=(PLAIN LOGIN)
MAILS=(forward_req.eml forward_req_dots.eml)

main() {
    local client
    build
    ensure openssl || die "openssl is needed to make a certificate and a password hash"
    make_temp
    # At no level may the log show what is secret.
    LOG_LEVEL=trace start_server "$TEMP"
    SPOOL=$TEMP/spool
    export MM4_PASSWORD=$PASSWORD MM4_CA=$TEMP/certs/ca.pem
    for client in "${CLIENTS[@]}"; do
        if "have_$client"; then
            deliver_all "$client"
        else
            skip "$client: it is missing"
        fi
    done
    stop_server
    check_leftovers
    check_mail_lines
    check_secrets
    tally
}

deliver_all() {
    local client=$1 channel mechanism mail
    for channel in "${CHANNELS[@]}"; do
        [[ $client != openssl || $channel != plain ]] || continue
        for mechanism in "${MECHANISMS[@]}"; do
            for mail in "${MAILS[@]}"; do
                deliver "$client" "$channel" "$mechanism" "$mail"
            done
        done
    done
}

# deliver CLIENT CHANNEL MECHANISM MAIL: one mail, which must be the only one in
# new/ when the client is content.
deliver() {
    local client=$1 channel=$2 mechanism=$3 mail=$4 name="$*" protocol port files id
    if [[ $channel == plain ]]; then
        protocol=ESMTPA port=$PLAIN_PORT
    else
        protocol=ESMTPSA port=$TLS_PORT
    fi
    if ! "with_$client" "$channel" "$port" "$mechanism" "$MESSAGES/$mail" >"$TEMP/said" 2>&1; then
        fail "$name:" "$(tail -n 20 "$TEMP/said")"
    else
        files=("$SPOOL"/new/*)
        if ((${#files[@]} > 1)); then
            fail "$name: ${#files[@]} files in new/"
        elif spooled demo "$protocol" "$MESSAGES/$mail" "${files[0]}"; then
            id=$(basename "${files[0]}" .eml)
            say "$id tls=${channel/tls/TLSv}" >>"$TEMP/delivered"
            pass "$name"
        else
            fail "$name: what is spooled is not what was sent"
        fi
    fi
    rm -f "$SPOOL"/new/*
}

check_leftovers() {
    local left
    left=$(find "$SPOOL" -type f ! -name '.*')
    if [[ -z $left ]]; then
        pass "nothing is left in tmp/, new/ and cur/"
    else
        fail "left in the spool:" "$left"
    fi
}

# check_mail_lines: the log has one line for each mail, with the TLS version that
# the client was made to use.
check_mail_lines() {
    local difference
    if difference=$(sed -En 's/.*INFO +mm4d\] mail id=(\S+) .* (tls=\S+).*/\1 \2/p' "$SERVER_LOG" | sort |
        diff "$TEMP/delivered" -); then
        pass "the log tells of each mail and its TLS version"
    else
        fail "the log and the deliveries differ:" "$difference"
    fi
}

check_secrets() {
    local secret
    for secret in "$PASSWORD" "$(base64_of %s "$PASSWORD")" "$(base64_of '\0demo\0%s' "$PASSWORD")" 'Sun and sea'; do
        if grep -qF -- "$secret" "$SERVER_LOG"; then
            fail "the log, at level trace, holds a password or a message's content"
            return
        fi
    done
    pass "the log, at level trace, holds neither a key nor a mail's content"
}

# ---------------------------------------------------------------- clients
#
# have_CLIENT says whether it is there; with_CLIENT CHANNEL PORT MECHANISM FILE
# sends FILE. The password stays out of argument lists.

have_swaks() { ensure_swaks; }

# swaks ends the last line, the dot, and takes a + for an option unless
# POSIXLY_CORRECT is set.
with_swaks() {
    local version=${1/tls1./tlsv1_} options=()
    [[ $1 == plain ]] || options=(--tls-on-connect --tls-verify --tls-ca-path "$MM4_CA"
        --tls-protocol "$version")
    { stuffed "$4" && printf .; } | POSIXLY_CORRECT=1 SWAKS_OPT_auth_password=$PASSWORD within_deadline swaks \
        --server 127.0.0.1 --port "$2" --ehlo client.example.net --auth "$3" --auth-user demo \
        --from "$SENDER" --to "$RECIPIENT" --data - --no-data-fixup "${options[@]}"
}

have_openssl() { ensure openssl; }

# A whole session in one segment, as pipelining allows; send-openssl.sh waits for
# each reply. -quiet keeps lines with Q and R from being commands to s_client.
with_openssl() {
    local version=${1/tls1./-tls1_} transcript
    transcript=$(
        {
            say "EHLO client.example.net"
            if [[ $3 == PLAIN ]]; then
                say "AUTH PLAIN $(base64_of '\0demo\0%s' "$PASSWORD")"
            else
                say "AUTH LOGIN $(base64_of demo)"
                say "$(base64_of %s "$PASSWORD")"
            fi
            say "MAIL FROM:<$SENDER>"
            say "RCPT TO:<$RECIPIENT>"
            say DATA
            stuffed "$4" | tr -d '\r'
            say .
            say QUIT
        } | within_deadline openssl s_client -quiet -crlf "$version" \
            -connect "127.0.0.1:$2" -servername localhost -verify_hostname localhost \
            -CAfile "$MM4_CA" -verify_return_error 2>&1
    ) || true
    say "$transcript"
    [[ $transcript == *"250 queued as <"*"221 BYE"* ]]
}

have_curl() { ensure curl; }

with_curl() {
    local scheme=smtp options=()
    [[ $1 == plain ]] || scheme=smtps options=(--cacert "$MM4_CA" "--tlsv${1#tls}" --tls-max "${1#tls}")
    within_deadline curl --silent --show-error --config <(printf 'user = "demo:%s"\n' "$PASSWORD") \
        --login-options "AUTH=$3" --mail-from "$SENDER" --mail-rcpt "$RECIPIENT" \
        --upload-file "$4" "${options[@]}" "$scheme://127.0.0.1:$2/client.example.net"
}

have_smtplib() { ensure_works python3 python3 -c 'import smtplib, ssl'; }

with_smtplib() {
    within_deadline python3 "$ROOT/scripts/clients/smtplib_client.py" \
        "$2" "$1" "$3" "$SENDER" "$RECIPIENT" "$4"
}

have_msmtp() { ensure msmtp; }

with_msmtp() {
    local options=()
    [[ $1 == plain ]] || options=(--tls=on --tls-starttls=off --tls-trust-file="$MM4_CA"
        --tls-priorities="NORMAL:-VERS-ALL:+VERS-TLS${1#tls}")
    # shellcheck disable=SC2016 # msmtp's shell expands it
    within_deadline msmtp --host=127.0.0.1 --port="$2" --domain=client.example.net \
        --auth="${3,,}" --user=demo --passwordeval='printf %s "$MM4_PASSWORD"' \
        --from="$SENDER" "${options[@]}" -- "$RECIPIENT" <"$4"
}

have_net_smtp() {
    ensure_works perl perl -MNet::SMTP -e 1 &&
        ensure_works libauthen-sasl-perl perl -MAuthen::SASL -e 1 &&
        ensure_works libio-socket-ssl-perl perl -MIO::Socket::SSL -e 1
}

with_net_smtp() {
    within_deadline perl "$ROOT/scripts/clients/net_smtp_client.pl" \
        "$2" "$1" "$3" "$SENDER" "$RECIPIENT" "$4"
}

within_deadline() { timeout "$DEADLINE" "$@"; }

main "$@"
