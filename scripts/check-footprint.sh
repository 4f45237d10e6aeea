#!/usr/bin/env bash
# Measures what mm4d takes: private memory at rest and with 1,000 idle connections
# that have logged in, and the time from exec to listening.
#
#   scripts/check-footprint.sh
#
# Limits: 4 MiB at rest, 24 MiB with the connections (plain TCP; over TLS it is
# measured only), 20 ms, the least of 21 starts. Private memory is Private_Clean and
# Private_Dirty of /proc/PID/smaps_rollup. Needs python3 and openssl, which it
# installs as root on Debian, and 2,100 descriptors. Leaves nothing but the build.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    ensure python3 && ensure openssl || { warn "nothing was measured" && exit "$SKIPPED_STATUS"; }
    build
    make_temp
    "$ROOT/scripts/certs.sh" "$TEMP/certs" >"$TEMP/log" 2>&1 || die "no certificate:" "$(<"$TEMP/log")"
    make_account "$TEMP/accounts" demo
    MM4_PASSWORD=$PASSWORD python3 -B "$ROOT/scripts/footprint/measure.py" "$MM4D" "$TEMP" >"$TEMP/figures" ||
        die "scripts/footprint/measure.py failed"
    judge "private memory at rest" KiB rest 4096
    judge "private memory with 1,000 idle connections, plain TCP" KiB plain 24576
    say "        private memory with 1,000 idle connections, TLS: $(figure tls) KiB"
    judge "from exec to listening" us start 20000
    tally
}

figure() { sed -n "s/^$1 //p" "$TEMP/figures"; }

# judge NAME UNIT FIGURE LIMIT
judge() {
    local value
    value=$(figure "$3")
    if ((value <= $4)); then
        pass "$1: $value $2, at most $4"
    else
        fail "$1: $value $2, more than $4"
    fi
}

main "$@"
