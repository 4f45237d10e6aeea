#!/usr/bin/env bash
# Cuts the power of a virtual machine that receives mail, and checks that every
# acknowledged mail is in new/ exactly once, byte for byte, and nothing partial.
#
#   scripts/check-powercut.sh [--cuts N] [--fs LIST] [--seed N]
#
#   --cuts N     cuts for each file system, default 30, at most 1000
#   --fs LIST    file systems, comma-separated: ext4, xfs, btrfs; default all
#   --seed N     the random numbers of an earlier run; default random
#
# Debian's kernel runs in qemu, emulated (no KVM), on a disk with a volatile
# write cache: scripts/powercut/disk.py serves it over NBD and, at a cut, keeps,
# drops or tears at 512-byte boundaries each write that was not flushed. mm4d
# receives over TCP on loopback. Cuts come at random moments, right after a write,
# a flush or a 250, and each machine ends by SIGKILL. The real kernel then mounts
# what is left, and mm4d is started on it once more. Two controls, a server whose
# syncs do nothing and a disk that ignores flushes, must lose mail. ext4 without
# a journal, after e2fsck, is reported only. See scripts/powercut/run.py.
#
# Needs x86-64 Debian, a C compiler, python3, qemu-system-x86_64, the mkfs
# programs, 1 GiB of memory and 2 GiB of space in TMPDIR; 10 to 15 minutes on two
# idle cores. As root it installs what is missing; the kernel and busybox are
# only unpacked into a temporary directory. What it cannot have is reported, and
# the check is skipped with status 77. Leaves nothing but the build.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

POWERCUT=$ROOT/scripts/powercut

usage() {
    warn "$1; usage: scripts/check-powercut.sh [--cuts N] [--fs LIST] [--seed N]"
    exit 2
}

main() {
    local cuts=30 file_systems=ext4,xfs,btrfs seed='' value
    while (($# > 0)); do
        (($# > 1)) || usage "$1: expected a value"
        value=$2
        case $1 in
        --cuts) cuts=$value ;;
        --fs) file_systems=$value ;;
        --seed) seed=$value ;;
        *) usage "$1: unknown option" ;;
        esac
        shift 2
    done
    [[ $cuts =~ ^[1-9][0-9]{0,3}$ ]] && ((cuts <= 1000)) || usage "--cuts $cuts: expected 1 to 1000"
    [[ $file_systems =~ ^(ext4|xfs|btrfs)(,(ext4|xfs|btrfs))*$ ]] ||
        usage "--fs $file_systems: expected ext4, xfs, btrfs"
    [[ -z $seed || $seed =~ ^[0-9]{1,18}$ ]] || usage "--seed $seed: expected a number"

    PATH=$PATH:/usr/sbin:/sbin
    have_programs || skip_all "a program is missing"
    make_temp
    unpack_packages || skip_all "the kernel or busybox cannot be downloaded"
    (cd "$POWERCUT" && python3 -B -m unittest -q test_disk 2>"$TEMP/unittest") ||
        die "the virtual disk is broken:" "$(<"$TEMP/unittest")"
    build
    cc -O1 -o "$TEMP/no_sync" "$POWERCUT/no_sync.c" || die "cannot compile no_sync.c"
    make_account "$TEMP/accounts" demo
    (umask 077 && printf '%s\n' "$PASSWORD" >"$TEMP/password")
    mkdir "$TEMP/work"
    cut_power --cuts "$cuts" --fs "$file_systems" ${seed:+--seed "$seed"}
}

# have_programs: false, with a line for each, when one is missing.
have_programs() {
    local all=0
    [[ $(uname -m) == x86_64 ]] || {
        warn "needs an x86-64 machine, this is $(uname -m)"
        all=1
    }
    has cc || {
        warn "missing: cc, a C compiler"
        all=1
    }
    has apt-get && has dpkg || {
        warn "missing: apt-get and dpkg, which fetch and unpack the kernel"
        all=1
    }
    ensure python3 || all=1
    ensure openssl || all=1
    ensure qemu-system-x86_64 qemu-system-x86 || all=1
    ensure mkfs.ext4 e2fsprogs || all=1
    ensure mkfs.xfs xfsprogs || all=1
    ensure mkfs.btrfs btrfs-progs || all=1
    return "$all"
}

# unpack_packages: Debian's kernel and a static busybox, in TEMP/root alone.
unpack_packages() {
    local package kernel
    kernel=$(kernel_package)
    if [[ -z $kernel ]] && ((EUID == 0)) && [[ -z ${MM4_NO_INSTALL:-} ]]; then
        apt_update >/dev/null
        kernel=$(kernel_package)
    fi
    [[ -n $kernel ]] || {
        warn "apt knows no linux-image-cloud-amd64 (apt-get update)"
        return 1
    }
    mkdir "$TEMP/packages"
    # As root apt would download as a user who cannot write here.
    (cd "$TEMP/packages" &&
        apt-get -o APT::Sandbox::User=root download "$kernel" busybox-static) \
        >"$TEMP/apt" 2>&1 || {
        warn "apt-get download:" "$(tail -n 3 "$TEMP/apt")"
        return 1
    }
    for package in "$TEMP"/packages/*.deb; do
        dpkg -x "$package" "$TEMP/root" || return
    done
    rm -r "$TEMP/packages"
    KERNEL=$(find "$TEMP/root/boot" -name 'vmlinuz-*')
    MODULES=$(find "$TEMP/root" -path '*/lib/modules/*' -name modules.builtin -printf %h)
    BUSYBOX=$(find "$TEMP/root" -type f -path '*/bin/busybox')
    [[ -f $KERNEL && -d $MODULES && -f $BUSYBOX ]]
}

# kernel_package: the package that linux-image-cloud-amd64 depends on at present.
kernel_package() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[^ ]*\).*/\1/p' | head -n 1
}

# cut_power OPTION...: in the background, so that a signal ends it at once; its
# machines die with it.
cut_power() {
    local status=0
    TMPDIR=$TEMP/work python3 -B "$POWERCUT/run.py" --kernel "$KERNEL" --modules "$MODULES" \
        --busybox "$BUSYBOX" --accounts "$TEMP/accounts" --password-file "$TEMP/password" \
        --mm4d "$MM4D" --no-sync "$TEMP/no_sync" --work "$TEMP/work" "$@" &
    SERVER_PID=$!
    wait "$SERVER_PID" || status=$?
    SERVER_PID=''
    return "$status"
}

skip_all() {
    skip "power cuts: $1"
    say "0 passed, 0 failed, 1 skipped"
    exit "$SKIPPED_STATUS"
}

main "$@"
