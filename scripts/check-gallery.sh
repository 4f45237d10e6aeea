#!/usr/bin/env bash
# Opens the page of `mm4spool gallery` in headless Chromium and uses it as a person
# does: wide and on a phone, light and dark; filters, links, keyboard, saving, printing;
# hostile mails; 1,000 messages with pictures of 8 and of 100 kB, and 5,000;
# accessibility by axe-core. Keeps pictures of what was seen. Times are printed, and only
# ten times the mark fails.
#
#   scripts/check-gallery.sh [DIR]    keeps the pages and the pictures in DIR
#   MANY=N                            N messages in the place of 1,000, and 5 N
#   MM4SPOOL_BIN=FILE                 a binary in the place of a release build
#
# Needs Chromium, its driver and python3 with selenium; as root on Debian it installs
# them. Without them it says so and checks nothing. axe-core is taken from npm, if
# that is here.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/browser/lib.sh
source "$ROOT/scripts/browser/lib.sh"

cd "$ROOT"
make_temp
need_browser
out=${1:-$TEMP/shots}
mkdir -p "$out"
build_mm4spool

sample_spool "$TEMP/samples" tests/messages/inspect/*.eml
joined_spool "$TEMP/samples"
sample_spool "$TEMP/hostile" tests/messages/inspect/*.eml
"$PYTHON" scripts/browser/mails.py hostile "$TEMP/hostile"
many=${MANY:-1000}
"$PYTHON" scripts/browser/mails.py many "$many" "$TEMP/many-small" 45
"$PYTHON" scripts/browser/mails.py many "$many" "$TEMP/many-big" 158
"$PYTHON" scripts/browser/mails.py many $((5 * many)) "$TEMP/many-more" 45
mkdir -p "$TEMP"/empty/{tmp,new,cur}

"$MM4SPOOL_BIN" gallery --output "$out/page.html" --last 1000 "$TEMP/samples"
"$MM4SPOOL_BIN" gallery --output "$out/hostile.html" --last 1000 "$TEMP/hostile"
for name in small big more; do
    "$MM4SPOOL_BIN" gallery --output "$out/many-$name.html" --last $((5 * many)) "$TEMP/many-$name"
done
"$MM4SPOOL_BIN" gallery --output "$out/empty.html" "$TEMP/empty"

MESSAGES=$(find "$TEMP/samples/new" -type f | wc -l) \
    "$PYTHON" scripts/browser/gallery.py "$out"
