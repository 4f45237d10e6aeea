#!/usr/bin/env bash
# Builds the Debian package of mm4d and mm4spool, with man pages, completions, a
# default configuration and systemd units.
#
#   scripts/package.sh [DIR]      DIR receives mm4d_VERSION_ARCH.deb, default target/package
#
# Uses the release build of this machine: the package needs the same release of
# Debian or a later one. Files below scripts/package/debian are debhelper's.
# MM4_PACKAGE_VERSION is the version, by default that of Cargo.toml. Needs Rust, a C
# compiler and debhelper; as root on Debian it installs what is missing.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    local dir source version
    [[ ${1:-} != -* ]] || die "usage: scripts/package.sh [DIR]"
    dir=$(realpath -m "${1:-${CARGO_TARGET_DIR:-$ROOT/target}/package}")
    build
    ensure dh debhelper || die "debhelper is needed to build a package"
    make_temp
    source=$TEMP/mm4d
    version=${MM4_PACKAGE_VERSION:-$(sed -n 's/^version = "\(.*\)"$/\1/p' "$ROOT/Cargo.toml")}
    mkdir -p "$source" "$dir"
    cp -r "$ROOT/scripts/package/debian" "$source/debian"
    "$ROOT/scripts/package/generate.sh" "$(dirname "$MM4D")" "$source/files"
    cp "$MM4D" "$(dirname "$MM4D")/mm4spool" "$ROOT/README.md" "$source/files"
    mv "$source/files/completions/mm4d.bash" "$source/files/completions/mm4d"
    unit "MM4 receiver" /etc/mm4d/accounts /etc/mm4d/mm4d.conf mm4d >"$source/debian/mm4d.service"
    unit "MM4 receiver %i" /etc/mm4d/%i.conf /etc/mm4d/%i.conf mm4d/%i >"$source/debian/mm4d@.service"
    changelog "$version" >"$source/debian/changelog"
    if ! (cd "$source" && dpkg-buildpackage -us -uc -b) >"$TEMP/log" 2>&1; then
        die "dpkg-buildpackage failed:" "$(tail -n 20 "$TEMP/log")"
    fi
    cp "$TEMP"/mm4d_*.deb "$dir"
    say "$dir/$(basename "$TEMP"/mm4d_*.deb)"
}

# unit DESCRIPTION CONDITION CONFIGURATION STATE: scripts/mm4d.service with these, and
# started only when the file CONDITION exists.
unit() {
    awk -v description="$1" -v condition="$2" -v configuration="$3" -v state="$4" '
        /^\[Unit\]/ { begun = 1 }
        !begun { next }
        /^Description=/ { $0 = "Description=" description }
        /^Documentation=/ { $0 = "Documentation=man:mm4d(8)" }
        /^Wants=/ { $0 = $0 "\nConditionPathExists=" condition }
        /^StateDirectory=/ { $0 = "StateDirectory=" state }
        /^ExecStart=/ { print "ExecStart=/usr/sbin/mm4d --config " configuration; skipping = 1 }
        skipping { skipping = /\\$/; next }
        { print }' "$ROOT/scripts/mm4d.service"
}

# changelog VERSION: the one entry that debhelper needs; the date is the commit's.
changelog() {
    local date
    date=$(git -C "$ROOT" log -1 --format=%cD 2>/dev/null) || date=$(date -R)
    printf 'mm4d (%s) unstable; urgency=medium\n\n' "$1"
    printf '  * Version %s; CHANGELOG.md lists the changes.\n\n' "$1"
    printf ' -- mm4d developers <mm4d@packages.debian.org>  %s\n' "$date"
}

main "$@"
