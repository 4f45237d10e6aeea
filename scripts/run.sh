#!/usr/bin/env bash
# Builds mm4d, makes what it needs and starts it in the foreground, on
# 127.0.0.1:2525 (plain) and 127.0.0.1:2465 (TLS) by default.
#
#   scripts/run.sh [OPTION...]      any option of mm4d (mm4d --help)
#
# Makes what is missing, here in the repository and ignored by git: a
# certificate (scripts/certs.sh), an account "demo" in `accounts` with a random
# password, which is printed once and kept in accounts.demo-password (mode 0600) for the
# two senders; the server itself makes the spool. An `accounts` file that is
# there is left alone. Needs cargo and openssl.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    cd "$ROOT"
    require rust compiler openssl
    build
    scripts/certs.sh
    [[ -e accounts ]] || make_demo_account
    exec "$MM4D" "$@"
}

make_demo_account() {
    make_account accounts demo
    (umask 077 && printf '%s\n' "$PASSWORD" >accounts.demo-password)
    say "accounts: made the system_id demo with the password $PASSWORD (also in accounts.demo-password)"
}

main "$@"
