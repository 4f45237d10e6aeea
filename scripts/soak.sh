#!/usr/bin/env bash
# Good and bad clients against a real server for a while: scripts/soak.sh [MINUTES]
#
# Ten minutes by default; loopback only; ends by itself. Shows every
# ten seconds what the server takes, and fails when an acknowledged mail is
# missing or there twice, or when threads or memory grow.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-10}
case $minutes in
'' | *[!0-9]* | 0) echo "usage: scripts/soak.sh [MINUTES], a whole number" >&2 && exit 2 ;;
esac
exec env MM4D_SOAK_MINUTES="$minutes" cargo test --release --test soak -- --nocapture
