#!/usr/bin/env bash
# Builds the Debian package and uses it under a real systemd.
#
#   scripts/check-package.sh [RELEASE...]     default: this machine's release of Debian
#
# lintian must find no error. Then, in a container of systemd-nspawn with a minimal
# Debian of each release: the package is installed, the service started, mail sent over
# TCP and TLS; a reload takes a new account; a broken accounts file makes reload and
# start fail; certbot's hook replaces the certificate; the watchdog replaces a server
# that hangs; a second instance is started; with systemd's sockets the package is
# upgraded while mail arrives, of which nothing acknowledged may be lost and no
# connection refused; and it is purged, after which no file of it may be left. Needs
# root, debootstrap, debhelper, lintian and systemd-nspawn, which it installs, access to a
# Debian mirror (MM4_MIRROR, by default this machine's), 1 GB in TMPDIR and about five
# minutes. What it cannot have is reported, and skipped with status 77. Leaves the build.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# How long the machine may take, from its start to its end.
MACHINE_DEADLINE=1200

main() {
    local release
    if ((EUID != 0)); then
        warn "only root can start a machine; nothing was checked"
        exit "$SKIPPED_STATUS"
    fi
    # shellcheck disable=SC1091 # Debian's
    (($#)) || set -- "$(. /etc/os-release && say "${VERSION_CODENAME:-bookworm}")"
    ensure debootstrap && ensure systemd-nspawn systemd-container && ensure dh debhelper ||
        { warn "nothing was checked" && exit "$SKIPPED_STATUS"; }
    build
    make_temp
    trap 'status=$?; stop_machine; clean_up "$status"' EXIT
    packages "$TEMP/packages"
    check_lintian
    check_completions
    for release in "$@"; do machine "$release" "$TEMP/$release"; done
    tally
}

# packages DIR: old.deb and a later new.deb.
packages() {
    local version
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$ROOT/Cargo.toml")
    MM4_PACKAGE_VERSION=$version "$ROOT/scripts/package.sh" "$1" >"$TEMP/log" 2>&1 || die "$(<"$TEMP/log")"
    mv "$1"/mm4d_*.deb "$1/old.deb"
    MM4_PACKAGE_VERSION=$version+1 "$ROOT/scripts/package.sh" "$1" >"$TEMP/log" 2>&1 || die "$(<"$TEMP/log")"
    mv "$1"/mm4d_*.deb "$1/new.deb"
}

check_lintian() {
    local said status=0
    if ! ensure lintian; then
        skip "lintian is missing"
        return
    fi
    said=$(lintian --allow-root --fail-on error "$TEMP/packages/old.deb" 2>&1) || status=$?
    if ((status == 0)); then
        pass "lintian finds no error"
    else
        fail "lintian:" "$said"
    fi
}

# check_completions: each shell that is here accepts its files.
check_completions() {
    local root=$TEMP/unpacked shell files
    dpkg-deb -x "$TEMP/packages/old.deb" "$root"
    for shell in bash zsh fish; do
        case $shell in
        bash) files=("$root"/usr/share/bash-completion/completions/*) ;;
        zsh) files=("$root"/usr/share/zsh/vendor-completions/*) ;;
        fish) files=("$root"/usr/share/fish/vendor_completions.d/*) ;;
        esac
        if ! has "$shell"; then
            skip "completions of $shell: $shell is not installed"
        elif for_each "$shell" "${files[@]}"; then
            pass "$shell accepts its completions"
        else
            fail "$shell does not accept its completions"
        fi
    done
}

for_each() {
    local file
    for file in "${@:2}"; do "$1" -n "$file" || return; done
}

# machine RELEASE ROOT: boots a minimal Debian, whose only work is in-machine.sh.
machine() {
    local release=$1 root=$2 line
    if ! debootstrap --variant=minbase --include=systemd,systemd-sysv,openssl,procps \
        "$release" "$root" "$(debian_mirror)" >"$TEMP/log" 2>&1; then
        skip "$release: debootstrap failed: $(tail -n 1 "$TEMP/log")"
        return
    fi
    mkdir -p "$root/check/tests"
    cp -r "$ROOT/scripts" "$ROOT/Cargo.toml" "$TEMP/packages" "$root/check"
    cp -r "$MESSAGES" "$root/check/tests"
    cat >"$root/etc/systemd/system/check.service" <<'END'
[Unit]
After=multi-user.target
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
StandardOutput=file:/check/result
StandardError=file:/check/errors
ExecStart=/check/scripts/package/in-machine.sh
[Install]
WantedBy=default.target
END
    chroot "$root" systemctl enable --quiet check.service 2>>"$TEMP/log"
    chroot "$root" systemctl mask --quiet systemd-resolved systemd-networkd getty.target console-getty \
        2>>"$TEMP/log" || true
    timeout --signal=KILL "$MACHINE_DEADLINE" systemd-nspawn --quiet --boot --register=no --keep-unit \
        --system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self" \
        --private-network --console=pipe --machine=mm4d-check --directory="$root" \
        >"$TEMP/console" 2>&1 </dev/null &
    SERVER_PID=$!
    wait "$SERVER_PID" || true
    SERVER_PID=''
    if ! [[ -s $root/check/result ]]; then
        skip "systemd-nspawn did not run the check: $(tail -n 5 "$TEMP/console")"
        return
    fi
    while IFS= read -r line; do
        case $line in
        'ok      '*) pass "$release: ${line#ok      }" ;;
        'FAILED  '*) fail "$release: ${line#FAILED  }" ;;
        *) say "$line" ;;
        esac
    done <"$root/check/result"
    [[ $(tail -n 1 "$root/check/result") == complete ]] ||
        fail "$release: the check in the machine ended early:" "$(tail -n 20 "$root/check/errors")"
    rm -rf --one-file-system "$root"
}

stop_machine() {
    if [[ -n ${SERVER_PID:-} ]]; then kill -KILL "$SERVER_PID" 2>/dev/null || true; fi
}

main "$@"
