#!/bin/sh
# shellcheck disable=SC3043 # busybox has local
# The first process of the machine; see machine.py for what it is started with.
#
# mm4.job=serve: mounts the disk, says what kind of cache it has, and runs the
# server until the machine is killed.
# mm4.job=inspect: for each disk, one after the other: mounts it, writes new/ as
# a tar to the results disk, runs the server once and writes a list of new/.

export PATH=/bin LD_LIBRARY_PATH=/lib
value() { sed -n "s/.*mm4\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

# disk SERIAL: its device.
disk() {
    local device
    for device in /sys/block/vd*; do
        [ "$(cat "$device/serial")" != "$1" ] || echo "/dev/${device##*/}"
    done
}

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
    insmod "$module" || echo "mm4: cannot load $module"
done
echo "mm4: booted $(uname -r)"

FS=$(value fs)
WRAPPER=$(value wrapper)

# server [OPTION...]: in the place of this shell, so that its process can be
# signalled.
server() {
    exec env RUST_LOG=warn $WRAPPER /bin/mm4d --accounts /accounts --hostname powercut "$@"
}

serve() {
    local device
    device=$(disk cut0)
    ip link set lo up
    ip addr add 10.0.2.15/24 dev eth0
    ip link set eth0 up
    echo "mm4: cache $(cat "/sys/block/${device##*/}/queue/write_cache")"
    mount -t "$FS" "$device" /m || exit
    (server --listen 0.0.0.0:2525 --spool /m/spool)
}

# inspect_one N: two tars on stdout, all else goes to the console.
inspect_one() {
    local device
    device=$(disk "cut$1")
    if ! mount -t "$FS" "$device" /m >&2; then
        echo "mm4: unmountable $1" >&2
        return
    fi
    mkdir -p "/t/$1"
    if [ -d /m/spool/new ]; then
        ln -s /m/spool "/t/$1/spool"
        tar -C /t -cf - "$1/spool/new"
        start_once "$1"
        (cd /m/spool && find new tmp -type f -exec stat -c '%s %n' {} +) >"/t/$1/after"
    else
        : >"/t/$1/after"
    fi
    tar -C /t -cf - "$1/after"
    umount /m >&2 || echo "mm4: cannot unmount $1" >&2
    # Every image is a copy of the same file system, and btrfs remembers the
    # devices of those it has seen.
    [ "$FS" != btrfs ] || { rmmod btrfs && insmod /modules/*-btrfs.ko; } >&2
}

# start_once N: the server starts on this spool, cleans up and ends.
start_once() {
    local pid tries=0
    (server --listen 127.0.0.1:0 --spool /m/spool) >/listening &
    pid=$!
    until grep -q listening /listening; do
        tries=$((tries + 1))
        if [ "$tries" -gt 600 ] || ! kill -0 "$pid"; then
            echo "mm4: no server $1" >&2
            break
        fi
        usleep 100000
    done
    kill -TERM "$pid"
    wait "$pid"
    : >/listening
}

inspect() {
    local n=0 count
    count=$(value count)
    ip link set lo up
    : >/listening
    : >/t/end
    {
        while [ "$n" -lt "$count" ]; do
            inspect_one "$n"
            n=$((n + 1))
        done
        tar -C /t -cf - end
    } >"$(disk results)"
    sync
    echo "mm4: inspected"
}

"$(value job)"
sync
poweroff -f
