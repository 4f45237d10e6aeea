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
    unit "MM4 receiver" /etc/mm4d mm4d >"$source/debian/mm4d.service"
    unit "MM4 receiver %i" /etc/mm4d/%i mm4d/%i >"$source/debian/mm4d@.service"
    cp "$ROOT"/scripts/package/*.socket "$source/debian"
    mv "$source/debian/mm4d-tls.socket" "$source/debian/mm4d.mm4d-tls.socket"
    cp "$ROOT/scripts/package/README.md" "$source/files/operating.md"
    install -m 0755 "$ROOT/scripts/package/reload.sh" "$source/files/reload"
    install -m 0755 "$ROOT/scripts/package/certbot-hook.sh" "$source/files/certbot-hook"
    changelog "$version" >"$source/debian/changelog"
    if ! (cd "$source" && dpkg-buildpackage -us -uc -b) >"$TEMP/log" 2>&1; then
        die "dpkg-buildpackage failed:" "$(tail -n 20 "$TEMP/log")"
    fi
    cp "$TEMP"/mm4d_*.deb "$dir"
    say "$dir/$(basename "$TEMP"/mm4d_*.deb)"
}

# unit DESCRIPTION DIR STATE: scripts/mm4d.service with its files in DIR and its spool in
# STATE; it is started only when there is an accounts file.
unit() {
    sed -e '1,/^$/d' \
        -e "s|^Description=.*|Description=$1|" -e "s|^StateDirectory=.*|StateDirectory=$3|" \
        -e 's|^Documentation=.*|Documentation=man:mm4d(8)|' \
        -e "s|^Wants=.*|&\nConditionPathExists=/etc/mm4d/accounts|" \
        -e 's|/usr/local/bin/|/usr/sbin/|' -e 's|/usr/local/libexec/|/usr/libexec/|' \
        -e 's|--listen 127.0.0.1:2525 --tls-listen 0.0.0.0:2465|--config /etc/mm4d/mm4d.conf|' \
        -e 's| --spool /var/lib/mm4d/spool||' -e "s|/etc/mm4d|$2|g" "$ROOT/scripts/mm4d.service"
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
