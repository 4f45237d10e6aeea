#!/usr/bin/env bash
# Runs scripts/demo.sh and scripts/test.sh as a newcomer would: on a minimal
# Debian with nothing but git and this repository, as root and then as a user.
#
#   scripts/check-newcomer.sh [RELEASE...]     default: bookworm trixie
#
# For each release: debootstrap into a temporary directory; a user without root
# must get one line with the command to run as root; root's demo.sh installs what
# is missing; then test.sh as root and both commands as the user. The user gets the
# dependencies that root has downloaded and compiled, and compiles mm4d again. Needs
# root, debootstrap and access to Debian's and Rust's registries; the package sources,
# proxies, hosts and CA certificates of this machine are used inside, too. Exits
# 77 without root. Takes about 20 minutes for each release and 9 GB in TMPDIR.
# MM4_MIRROR is the mirror, by default the first in this machine's sources.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MOUNTS=()
# cargo's directory of root and of the user: it compiles again what is in another one.
CARGO=/usr/local/cargo

main() {
    local release
    [[ ${1:-} != -* ]] || die "usage: scripts/check-newcomer.sh [RELEASE...]"
    if ((EUID != 0)); then
        warn "only root can make a root directory; nothing was checked"
        exit "$SKIPPED_STATUS"
    fi
    ensure debootstrap || { warn "debootstrap is missing; nothing was checked" && exit "$SKIPPED_STATUS"; }
    make_temp
    trap 'status=$?; unmount; clean_up "$status"' EXIT
    (($#)) || set -- bookworm trixie
    for release in "$@"; do check "$release"; done
    tally
}

# check RELEASE: all of it in one root directory, which is removed afterwards.
check() {
    local release=$1 root=$TEMP/$1
    if ! debootstrap --variant=minbase --include=git,ca-certificates \
        "$release" "$root" "$(debian_mirror)" >"$TEMP/log" 2>&1; then
        skip "$release: debootstrap failed: $(tail -n 1 "$TEMP/log")"
        return
    fi
    furnish "$root"
    git clone --quiet --no-hardlinks "$ROOT" "$root/root/mm4d"
    expect_command "$release" "$root"
    attempt "$release, root: scripts/demo.sh" "$root" root scripts/demo.sh
    attempt "$release, root: scripts/test.sh" "$root" root scripts/test.sh
    hand_over "$root"
    attempt "$release, user: scripts/demo.sh" "$root" newcomer scripts/demo.sh
    attempt "$release, user: scripts/test.sh" "$root" newcomer scripts/test.sh
    if [[ -n $(find "$root/etc/systemd/system" -name '*fail2ban*') ]]; then
        fail "$release: a service was enabled"
    else
        pass "$release: no service was enabled"
    fi
    unmount
    rm -rf --one-file-system "$root"
}

# furnish ROOT: /proc, terminals (debootstrap has made the other devices), a user, and this
# machine's way to the network.
furnish() {
    local root=$1 file
    mount -t proc proc "$root/proc" && MOUNTS+=("$root/proc")
    mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts "$root/dev/pts" && MOUNTS+=("$root/dev/pts")
    for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
        if [[ -e $file ]]; then cat "$file" >"$root$file"; fi
    done
    # Certificates of this machine's own, which update-ca-certificates keeps.
    mkdir -p "$root/usr/local/share/ca-certificates"
    find /usr/local/share/ca-certificates -name '*.crt' -exec cp {} "$root/usr/local/share/ca-certificates" \;
    find /etc/apt/apt.conf.d -name '*proxy*' -exec cp {} "$root/etc/apt/apt.conf.d" \;
    chroot "$root" update-ca-certificates >"$TEMP/log" 2>&1 ||
        warn "update-ca-certificates failed:" "$(tail -n 3 "$TEMP/log")"
    chroot "$root" useradd --create-home newcomer
    mkdir -p "$root$CARGO"
    if [[ -e ${CARGO_HOME:-$HOME/.cargo}/config.toml ]]; then
        cp "${CARGO_HOME:-$HOME/.cargo}/config.toml" "$root$CARGO"
    fi
    chroot "$root" chown -R newcomer: /home/newcomer
}

# expect_command RELEASE ROOT: without root and Rust, one line says what to run.
expect_command() {
    local said
    chroot "$2" git clone --quiet /root/mm4d /tmp/mm4d 2>/dev/null || cp -r "$2/root/mm4d" "$2/tmp/mm4d"
    mv "$2/tmp/mm4d" "$2/home/newcomer/mm4d"
    chroot "$2" chown -R newcomer: /home/newcomer
    said=$(as newcomer "$2" scripts/demo.sh 2>&1) || true
    if [[ ${said##*$'\n'} == *'run this as root first: apt-get update && apt-get install '* ]]; then
        pass "$1, user, nothing installed: the last line is the command to run"
    else
        fail "$1, user, nothing installed: $said"
    fi
}

# as USER ROOT COMMAND...: runs it in USER's clone, with this machine's proxies.
as() {
    local variable environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
        CARGO_HOME="$CARGO")
    for variable in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        if [[ -n ${!variable:-} ]]; then environment+=("$variable=${!variable}"); fi
    done
    # shellcheck disable=SC2016 # it is the inner shell's HOME
    chroot --userspec="$1" "$2" env -i "${environment[@]}" HOME="$(home "$1")" \
        bash -c 'cd "$HOME/mm4d" && exec "$@"' - "${@:3}" </dev/null
}

home() { if [[ $1 == root ]]; then say /root; else say "/home/$1"; fi; }

# attempt NAME ROOT USER SCRIPT: it ends with status 0; what it skipped is shown.
attempt() {
    local name=$1 root=$2 user=$3 script=$4 start=$SECONDS
    say "running $name ..."
    if as "$user" "$root" "$script" >"$TEMP/log" 2>&1; then
        sed -n 's/^SKIPPED/        &/p' "$TEMP/log"
        pass "$name: $(tail -n 1 "$TEMP/log") ($((SECONDS - start)) s)"
    else
        tail -n 400 "$TEMP/log"
        fail "$name"
    fi
}

# hand_over ROOT: root's dependencies become the user's, without anything of mm4d itself.
hand_over() {
    local profile
    for profile in dev release; do as root "$1" cargo clean --quiet --package mm4d --profile "$profile"; done
    mv "$1/root/mm4d/target" "$1/home/newcomer/mm4d/target"
    chroot "$1" chown -R newcomer: /home/newcomer "$CARGO"
}

unmount() {
    local mount
    for mount in "${MOUNTS[@]}"; do umount --lazy "$mount" || true; done
    MOUNTS=()
}

main "$@"
