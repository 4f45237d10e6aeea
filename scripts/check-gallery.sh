#!/usr/bin/env bash
# Takes pictures of the gallery of the sample messages in headless Chromium, wide
# and narrow, in light and in dark, and checks that what a reader must see is
# there: the pictures of the messages, by colours that nothing else on the page
# has. Fails when they are not.
#
#   scripts/check-gallery.sh [DIR]    keeps the page and the pictures in DIR
#
# Needs python3 (to read the pixels) and Chromium; as root on Debian it installs
# the latter. Without either it says so and checks nothing.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

find_chromium() {
    local name
    for name in "${CHROMIUM:-chromium}" chromium-browser google-chrome; do
        if command -v "$name"; then return 0; fi
    done
    return 1
}

cd "$ROOT"
has python3 || { warn "python3 is missing; nothing was checked" && exit "$SKIPPED_STATUS"; }
browser=$(find_chromium) \
    || { install_packages chromium fonts-dejavu && browser=$(find_chromium); } \
    || { warn "without Chromium nothing was checked" && exit "$SKIPPED_STATUS"; }

make_temp
work=$TEMP
out=${1:-$work/shots}
mkdir -p "$out" "$work"/spool/{tmp,new,cur}

for mail in tests/messages/inspect/*.eml; do
    id=$(grep -aom1 '[0-9]\{8\}T[0-9.]*Z-[0-9-]*@[a-z0-9.]*' "$mail")
    cp "$mail" "$work/spool/new/$id.eml"
done
cargo build --quiet --bin mm4spool
"${CARGO_TARGET_DIR:-target}/debug/mm4spool" gallery --output "$out/gallery.html" "$work/spool"

# NAME WIDTH HEIGHT SCHEME: 1 is light, 0 is dark.
shot() {
    timeout 120 "$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync \
        --hide-scrollbars --force-device-scale-factor=1 --user-data-dir="$work/profile-$1" \
        --blink-settings=preferredColorScheme="$4" --window-size="$2,$3" \
        --screenshot="$out/$1.png" "file://$(realpath "$out/gallery.html")" \
        > "$work/$1.log" 2>&1 || { cat "$work/$1.log" >&2; return 1; }
}

shot wide 1400 2600 1
shot wide-dark 1400 2600 0
shot narrow 390 7600 1
shot narrow-dark 390 7600 0

python3 - "$out" << 'PYTHON'
import collections, struct, sys, zlib

def pixels(path):
    """How often each colour is in an RGB or RGBA picture, by PNG's own rules."""
    data = open(path, 'rb').read()
    at, packed = 8, b''
    while at < len(data):
        length, kind = struct.unpack('>I4s', data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b'IHDR':
            width, height, depth, colour = struct.unpack('>IIBB', body[:10])
            assert depth == 8 and colour in (2, 6), 'an unusual PNG'
        elif kind == b'IDAT':
            packed += body
        at += 12 + length
    size = 3 if colour == 2 else 4
    raw, before = zlib.decompress(packed), bytearray(width * size)
    counts = collections.Counter()
    for row in range(height):
        start = row * (width * size + 1)
        kind, line = raw[start], bytearray(raw[start + 1:start + 1 + width * size])
        for i in range(len(line)):
            left = line[i - size] if i >= size else 0
            up, corner = before[i], before[i - size] if i >= size else 0
            if kind == 1: line[i] = (line[i] + left) & 255
            elif kind == 2: line[i] = (line[i] + up) & 255
            elif kind == 3: line[i] = (line[i] + (left + up) // 2) & 255
            elif kind == 4:
                p = left + up - corner
                a, b, c = abs(p - left), abs(p - up), abs(p - corner)
                line[i] = (line[i] + (left if a <= b and a <= c else up if b <= c else corner)) & 255
        for i in range(0, len(line), size):
            counts[bytes(line[i:i + 3])] += 1
        before = line
    return counts

# One colour that only that picture has, and the least of it that must be seen.
PICTURES = {
    'the sun over the lake': ((255, 236, 170), 2000),
    'the sun over the mountains': ((255, 240, 180), 500),
    'the hull of the boat': ((60, 34, 44), 100),
    'the icing of the cake': ((250, 170, 186), 500),
}
PAGES = {'wide': (238, 241, 245), 'narrow': (238, 241, 245),
         'wide-dark': (14, 19, 25), 'narrow-dark': (14, 19, 25)}
wrong = 0
for name, background in PAGES.items():
    counts = pixels(f'{sys.argv[1]}/{name}.png')
    for what, (colour, least) in {**PICTURES, 'the page itself': (background, 20000)}.items():
        seen = counts[bytes(colour)]
        if seen < least:
            print(f'{name}: of {what} there are {seen} pixels, fewer than {least}', file=sys.stderr)
            wrong += 1
sys.exit(wrong > 0)
PYTHON

printf 'The gallery shows its pictures, wide and narrow, in light and in dark: %s\n' "$out"
