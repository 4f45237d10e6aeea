#!/usr/bin/env bash
# Uses the page of `mm4spool serve` in headless Chromium as a person does: wide and on a
# phone, light and dark; keys, search, filters; mails that arrive, one of them by swaks
# through mm4d; hostile mails; accessibility by axe-core. Keeps pictures of what was seen.
#
#   scripts/check-serve.sh [DIR]      keeps the pictures in DIR
#   MM4SPOOL_BIN=FILE MM4D=FILE       binaries in the place of a release build
#
# Needs Chromium, its driver, python3 with selenium, and swaks; as root on Debian it
# installs them. Without the browser it says so and checks nothing.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/browser/lib.sh
source "$ROOT/scripts/browser/lib.sh"

# Ends the page's server with this script, besides what lib.sh ends.
end() {
    local status=$?
    if [[ -n ${PAGE_PID:-} ]]; then kill "$PAGE_PID" 2>/dev/null || true; fi
    clean_up "$status"
}

cd "$ROOT"
make_temp
trap end EXIT
need_browser
require openssl
ensure_swaks || warn "without swaks no mail is sent through mm4d"
out=${1:-$TEMP/shots}
mkdir -p "$out" "$TEMP/server"
build_mm4spool
build

sample_spool "$TEMP/server/spool" tests/messages/inspect/*.eml
start_server "$TEMP/server"
mkfifo "$TEMP/page"
"$MM4SPOOL_BIN" serve --listen 127.0.0.1:0 "$TEMP/server/spool" >"$TEMP/page" &
PAGE_PID=$!
exec {page}<"$TEMP/page"
IFS= read -r -t "$DEADLINE" -u "$page" line || die "mm4spool serve did not say where it listens"
address=${line#listening }

send=()
if has swaks; then
    export SWAKS_OPT_auth_password=$PASSWORD POSIXLY_CORRECT=1
    send=("swaks --server 127.0.0.1 --port $PLAIN_PORT --auth PLAIN --auth-user demo --from $SENDER --to $RECIPIENT \
--header 'Subject: Sent by swaks' --header 'X-Mms-Message-Type: MM4_forward.REQ' --body hello")
fi
"$PYTHON" scripts/browser/serve.py "$address" "$out" "$TEMP/server/spool" "${send[@]}"
