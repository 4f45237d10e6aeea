#!/usr/bin/env bash
# Measures mm4d beside what a disk allows, a stub and Postfix, over loopback.
#
# Builds the release binary and the bench program (tests/bench/), makes a
# certificate and an account of its own, sets up Postfix and two loop devices
# where root may, runs the scenarios, and removes what it made. All traffic is
# on 127.0.0.0/8; every round has a fixed length, so a run ends by itself. It
# fails when something could not be measured, never because a figure is low.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: scripts/bench.sh [OPTIONS] [SCENARIO ...]

  --spool DIR     the directory, and so the disk, to measure on (default: an
                  ext4 in RAM where root can mount one, else target/bench)
  --quick         under two minutes: one round, half a second each
  --seconds N     length of a round (default 2)
  --rounds N      rounds of each contender, in turn (default 3)
  --json FILE     write all figures as JSON, too; those of slow to FILE.slow
  --mm4d FILE     measure this build instead of the one from this tree
  --against FILE  measure another build of mm4d beside it
  --only PART     throughput, tls, disks: contenders with this in their name
  --bytes N, --connections N
                  throughput: this size and parallelism alone
  --no-postfix    leave Postfix out even where it is installed

Scenarios, all of them by default:

  cells       the project's marks: mm4d beside a stub that is as durable, and
              beside Postfix, plain and over TLS; five rounds
  throughput  sizes and parallelisms: the disk's limit by every sync strategy,
              stubs, mm4d plain, pipelined and over TLS, Postfix
  logins      one mail and one login per connection; handshakes of OpenSSL
  tls         TLS beside plain at 300 KiB
  idle        1,000 and 10,000 logged-in connections that do nothing
  million     a spool with 1,000,000 messages in new/
  memory      mails of 10 MiB in flight, one and a hundred
  tmpfs       content throughput beside a copy from sockets to files
  disks       the sync strategies on ext4 in RAM and on ext4 on a disk (root)
  slow        the sync strategies and mm4d on ext4 on a disk that takes 2.5 ms to empty
              its cache, so a sync takes 5 ms (root, cc, libfuse3-dev)
  syscalls    system calls per mail (strace)
TEXT
}

main() {
    parse "$@"
    cd "$(dirname "$0")/.."
    need cargo "https://rustup.rs"
    need openssl "apt-get install openssl"
    stage
    build
    local arguments=(--work "$work" --key "$key" "${passed[@]}")
    if wants tmpfs; then arguments+=("${tmpfs_arguments[@]}"); fi
    if wants disks; then add_disks; fi
    if wants cells || wants throughput || wants logins; then add_postfix; fi
    if wants syscalls && ! command -v strace >/dev/null; then
        skip syscalls "strace is not installed"
    fi
    if wants slow && ! add_slow_disk; then
        skip slow "it needs root, a loop device, /dev/shm, and apt-get install gcc fuse3 libfuse3-dev pkg-config"
    fi
    keep_memory
    machine
    if wants slow; then
        strip slow
        if [ ${#scenarios[@]} -gt 0 ]; then
            "$program" "${arguments[@]}" --spool "$spool" "${json_arguments[@]}" "${scenarios[@]}"
        fi
        if [ -n "$json" ]; then arguments+=(--json "$json.slow"); fi
        "$program" "${arguments[@]}" --spool "$work/sleepy/spool" slow
    else
        "$program" "${arguments[@]}" --spool "$spool" "${json_arguments[@]}" "${scenarios[@]}"
    fi
}

parse() {
    spool='' with_postfix=true json=''
    passed=() scenarios=() json_arguments=()
    local all=(cells throughput logins tls idle million memory tmpfs disks slow syscalls)
    while [ $# -gt 0 ]; do
        case $1 in
            --spool) spool=${2:?"--spool needs a directory"}; shift 2 ;;
            --quick) passed+=(--quick); shift ;;
            --seconds | --rounds | --only | --bytes | --connections)
                passed+=("$1" "${2:?"$1 needs a value"}"); shift 2 ;;
            --json)
                json=$(realpath -m "${2:?"$1 needs a file"}")
                json_arguments=(--json "$json"); shift 2 ;;
            --mm4d | --against)
                passed+=("$1" "$(realpath -m "${2:?"$1 needs a file"}")"); shift 2 ;;
            --no-postfix) with_postfix=false; shift ;;
            -h | --help) usage; exit 0 ;;
            -*) echo "bench.sh: no option $1" >&2; usage >&2; exit 2 ;;
            all) scenarios+=("${all[@]}"); shift ;;
            *)
                if [[ " ${all[*]} " != *" $1 "* ]]; then
                    echo "bench.sh: no scenario $1" >&2
                    usage >&2
                    exit 2
                fi
                scenarios+=("$1"); shift ;;
        esac
    done
    if [ ${#scenarios[@]} -eq 0 ]; then scenarios=("${all[@]}"); fi
}

need() {
    command -v "$1" >/dev/null && return
    echo "bench.sh: $1 is needed: $2" >&2
    exit 1
}

wants() {
    [[ " ${scenarios[*]} " == *" $1 "* ]]
}

# Leaves a scenario out, and says so.
skip() {
    echo "bench.sh: SKIPPED $1: $2" >&2
    strip "$1"
    if [ ${#scenarios[@]} -eq 0 ]; then exit 0; fi
}

strip() {
    local kept=() name
    for name in "${scenarios[@]}"; do
        if [ "$name" != "$1" ]; then kept+=("$name"); fi
    done
    scenarios=("${kept[@]}")
}

# Directories, a certificate and an account, all removed at the end.
stage() {
    work=$(mktemp -d)
    spool_made='' shm='' slow_image='' mounted=() slow_disk='' postfix_started=false reporting=''
    trap clean EXIT
    if [ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] && [ -w /dev/shm ]; then
        shm=$(mktemp -d /dev/shm/mm4d-bench.XXXXXX)
    fi
    if [ -z "$spool" ] && [ -n "$shm" ] && mount_image spool "$shm/spool.img"; then
        spool=$work/spool
    fi
    spool=${spool:-target/bench}
    mkdir -p "$spool"
    spool_made=$(mktemp -d "$(realpath "$spool")/run.XXXXXX")
    spool=$spool_made
    chmod 755 "$spool" "$work"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
        -subj /CN=localhost -addext 'subjectAltName=IP:127.0.0.1,DNS:localhost' \
        -addext 'basicConstraints=critical,CA:FALSE' \
        -keyout "$work/server.key" -out "$work/server.pem" 2>/dev/null
    key=$(openssl rand -hex 16)
    (umask 077 && printf 'bench:%s\n' "$(openssl passwd -6 "$key")" >"$work/accounts")
    tmpfs_arguments=()
    if [ -n "$shm" ]; then
        tmpfs_arguments=(--tmpfs "$shm/spool")
    elif wants tmpfs; then
        skip tmpfs "/dev/shm is no tmpfs"
    fi
}

clean() {
    local status=$? mount
    trap - EXIT
    # Each step is taken, whatever became of the one before.
    set +e
    if [ -n "$reporting" ]; then echo "$reporting" >"$page_reporting"; fi
    if $postfix_started; then postfix -c "$work/postfix" stop >/dev/null 2>&1; fi
    if [ "$status" -ne 0 ]; then
        tail -n 5 "$work"/*.log >&2 2>/dev/null
    fi
    # What lies on a mounted image goes with the image.
    if [ -n "$spool_made" ] && [[ $spool_made != "$work"/* ]]; then rm -rf "$spool_made"; fi
    for mount in "${mounted[@]}"; do unmount "$mount"; done
    if [ -n "$slow_disk" ]; then kill "$slow_disk" 2>/dev/null; fi
    if [ -n "$slow_image" ]; then rm -f "$slow_image"; fi
    rm -rf --one-file-system "$work"
    if [ -n "$shm" ]; then rm -rf "$shm"; fi
    exit "$status"
}

# Servers that have just been told to end may use it for a moment longer.
unmount() {
    mountpoint -q "$1" || return
    for _ in {1..50}; do
        if umount "$1" 2>/dev/null; then return; fi
        sleep 0.1
    done
    umount -l "$1"
}

# A virtual machine that gives its free memory back to the host gets it again at a fault of
# some microseconds for each page, in the middle of somebody's write. So that all contenders
# have the same memory, none is given back while this runs, and what is free is touched
# once.
page_reporting=/sys/module/page_reporting/parameters/page_reporting_order
keep_memory() {
    [ -n "$shm" ] && [ -w "$page_reporting" ] || return 0
    local order free
    order=$(cat "$page_reporting")
    # Above the largest blocks that there are, or only these.
    { echo 11 >"$page_reporting" || echo 10 >"$page_reporting"; } 2>/dev/null || return 0
    reporting=$order
    free=$(awk '/MemAvailable/ {print int($2 / 1024) - 2048}' /proc/meminfo)
    if [ "$free" -gt 0 ]; then
        head -c "${free}M" /dev/zero >"$shm/touched" 2>/dev/null || true
        rm -f "$shm/touched"
    fi
}

build() {
    echo "building …" >&2
    cargo build --release --quiet
    program=$(cargo bench --bench bench --no-run --message-format=json 2>/dev/null |
        sed -n 's/.*"name":"bench".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
    if [ ! -x "$program" ]; then
        echo "bench.sh: cargo bench built no program" >&2
        exit 1
    fi
}

# Two ext4 file systems: one in memory, one in a file on the checkout's disk.
add_disks() {
    local slow=target/bench
    mkdir -p "$slow"
    slow_image=$(mktemp "$(realpath "$slow")/slow.XXXXXX.img")
    if [ -n "$shm" ] && mount_image ram "$shm/ram.img" && mount_image slow "$slow_image"; then
        arguments+=(--disk "ram=$work/ram" --disk "slow=$work/slow")
    else
        skip disks "needs root, mkfs.ext4, a loop device and /dev/shm"
    fi
}

# Mounts a new ext4 on an image file, where this system allows that.
mount_image() {
    [ "$(id -u)" -eq 0 ] && command -v mkfs.ext4 >/dev/null || return 1
    # Small files in great number: more inodes than mkfs would give.
    truncate -s 10G "$2" && mkfs.ext4 -q -F -N 3000000 "$2" || return 1
    mkdir "$work/$1"
    mounted+=("$work/$1")
    mount -o loop "$2" "$work/$1" 2>/dev/null
}

# ext4 on a disk that is slow to sync, as far as this system allows that. The file system
# has it empty its cache twice for each commit.
add_slow_disk() {
    [ "$(id -u)" -eq 0 ] && [ -n "$shm" ] && command -v mkfs.ext4 cc pkg-config >/dev/null || return 1
    local flags disk=$work/slow-disk
    flags=$(pkg-config --cflags --libs fuse3 2>/dev/null) || return 1
    # shellcheck disable=SC2086
    cc -O2 -o "$work/slow_disk" scripts/bench/slow_disk.c $flags || return 1
    mkdir "$disk" "$work/sleepy"
    mounted=("$work/sleepy" "$disk" "${mounted[@]}")
    "$work/slow_disk" "$shm/slow.img" 8192 2500 "$disk" 2>"$work/slow_disk.log" &
    slow_disk=$!
    while [ ! -e "$disk/disk" ]; do
        kill -0 "$slow_disk" 2>/dev/null || { cat "$work/slow_disk.log" >&2; return 1; }
        sleep 0.1
    done
    mkfs.ext4 -q -F -N 800000 -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$disk/disk" &&
        mount -o loop "$disk/disk" "$work/sleepy" || return 1
    mkdir "$work/sleepy/spool"
}

# Postfix with a queue on the measured disk: every mail is accepted, synced and
# held, which is what a durable receiver does. No login, which spares it one.
add_postfix() {
    if ! $with_postfix; then return; fi
    if ! command -v postfix >/dev/null || [ "$(id -u)" -ne 0 ]; then
        echo "bench.sh: Postfix is left out: it needs root and apt-get install postfix" >&2
        return
    fi
    local conf=$work/postfix queue=$spool/postfix port daemons
    daemons=$(postconf -d -h daemon_directory)
    if [ -d /usr/lib/postfix/sbin ]; then daemons=/usr/lib/postfix/sbin; fi
    port=$((20000 + RANDOM % 10000))
    mkdir -p "$conf" "$queue" "$work/postfix-data"
    chown postfix "$work/postfix-data"
    echo "127.0.0.1:$port" >"$conf/address"
    echo "$queue" >"$conf/queue"
    cat >"$conf/main.cf" <<CF
compatibility_level = 3.6
queue_directory = $queue
data_directory = $work/postfix-data
daemon_directory = $daemons
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = bench.example.net
mydestination =
local_recipient_maps =
local_transport = error:no local mail
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = check_client_access static:HOLD, permit_mynetworks, reject
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_timeout = 60s
default_process_limit = 300
message_size_limit = 20971520
maillog_file = $work/postfix-data/mail.log
maillog_file_prefixes = $work
import_environment = MAIL_CONFIG
CF
    cat >"$conf/master.cf" <<CF
127.0.0.1:$port inet n - n - 300 smtpd
pickup unix n - n 3600 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 3600 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
CF
    postfix_started=true
    arguments+=(--postfix "$conf")
}

machine() {
    echo "$(nproc) cores, $(awk '/MemTotal/ {print int($2 / 1048576)}' /proc/meminfo) GiB," \
        "Linux $(uname -r), spool on $(findmnt -n -o FSTYPE,SOURCE -T "$spool"), load $(cut -d' ' -f1-3 /proc/loadavg)"
}

main "$@"
