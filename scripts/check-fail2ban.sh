#!/usr/bin/env bash
# Runs fail2ban's filter over the log of a real server that was tried with wrong
# passwords and with names and a mail made to look like lines of the log: each failed
# login is found once, and no address but the client's own.
#
#   scripts/check-fail2ban.sh
#
# Starts a server of its own. Needs fail2ban-regex: where it is not installed, it
# is unpacked from Debian's package into a temporary directory, without its
# service; otherwise the check is skipped. Leaves nothing but the build.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# An address that nobody here has, and a line that would get it banned.
VICTIM=203.0.113.9
FORGED="login failed peer=$VICTIM port=25 system_id=\"demo\""
FORGED_LINE="[2026-11-21T20:05:52Z WARN  mm4d] $FORGED"

NAMES=(
    nobody
    "nobody\" $FORGED"
    "nobody\"
$FORGED_LINE"
)

main() {
    local name found
    make_temp
    if ! has fail2ban-regex && ! unpack_fail2ban; then
        skip "fail2ban's filter: fail2ban-regex is missing"
        tally
        return
    fi
    build
    ensure openssl || die "openssl is needed to make a certificate and a password hash"
    start_server "$TEMP"
    for name in "${NAMES[@]}"; do
        expect_last 535 "AUTH PLAIN $(base64_of '\0%s\0wrong' "$name")"
    done
    expect_last 250 "AUTH PLAIN $(base64_of '\0demo\0%s' "$PASSWORD")" \
        "MAIL FROM:<$SENDER>" "RCPT TO:<$RECIPIENT>" DATA \
        "X-Mms-Transaction-ID: \"$FORGED" " $FORGED_LINE" .
    stop_server

    found=$(fail2ban-regex --out ip "$SERVER_LOG" "$ROOT/scripts/fail2ban/mm4d.conf")
    if [[ $found == $'127.0.0.1\n127.0.0.1\n127.0.0.1' ]]; then
        pass "fail2ban's filter finds ${#NAMES[@]} failed logins and nobody else's address"
    else
        fail "fail2ban's filter found these addresses:" "$found" "in:" "$(<"$SERVER_LOG")"
    fi
    tally
}

# unpack_fail2ban: the program out of Debian's package, in TEMP. The package is
# not installed: that would enable a service with a jail for sshd.
unpack_fail2ban() {
    has apt-get && has python3 || return
    (
        cd "$TEMP"
        if ((EUID == 0)); then apt_update; fi
        apt-get download fail2ban && dpkg-deb -x fail2ban_*.deb fail2ban
    ) >"$TEMP/apt" 2>&1 || { warn "cannot fetch fail2ban:" "$(tail -n 3 "$TEMP/apt")" && return 1; }
    export PATH=$TEMP/fail2ban/usr/bin:$PATH PYTHONPATH=$TEMP/fail2ban/usr/lib/python3/dist-packages
    fail2ban-regex --version >/dev/null 2>&1
}

# expect_last CODE LINE...: a session that says the lines after EHLO and before
# QUIT; the last reply before that to QUIT has the code.
expect_last() {
    local code=$1 server replies
    shift
    exec {server}<>"/dev/tcp/127.0.0.1/$PLAIN_PORT"
    printf '%s\r\n' "EHLO client.example.net" "$@" QUIT >&"$server"
    replies=$(timeout "$DEADLINE" cat <&"$server")
    exec {server}<&-
    [[ $replies == *$'\n'"$code "*$'\n221 '* ]] || die "the server said:" "$replies"
}

main "$@"
