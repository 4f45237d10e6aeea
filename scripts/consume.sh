#!/usr/bin/env bash
# Hands each message of a spool to a command.
#
#   scripts/consume.sh [--once|--follow] [--tries N] SPOOL COMMAND [ARG...]
#
#   --once      end when nothing is left to do
#   --follow    wait for more, until SIGTERM or SIGINT
#   --tries N   how often COMMAND may fail for a message; default 5
#
# Without --once and --follow it waits for more on a terminal or under systemd, and
# ends elsewhere. COMMAND gets the path of the file as its last argument. It may move
# or delete the file.
#
# A message is claimed by its move from new/ID.eml to cur/ID.eml:2, and by a lock
# (flock) on the file; several workers may run side by side. When COMMAND succeeds, the
# file becomes ID.eml:2,S. When it has failed N times, with pauses of 1, 2, 4 ... 60
# seconds, the file becomes ID.eml:2,F, which is reported, and is left alone: rename
# it to ID.eml:2, to have it tried again.
#
# COMMAND inherits the lock. If a worker is killed, its message stays claimed until
# COMMAND has ended; then the next worker takes it over. So no two COMMANDs have one
# message at a time, but after a kill or a power cut a message may be handled again:
# COMMAND must recognise an ID that it has handled before.
#
# Exit status: 0, 1 if a message was set aside, 2 for a usage error. Needs bash, flock
# (util-linux) and a local file system; with inotifywait (inotify-tools) a new message
# is seen at once, otherwise within a second.

set -euo pipefail

# Seconds between two searches for claims whose worker is gone.
RECOVER_EVERY=60
# The longest pause between two tries, in seconds.
MAX_PAUSE=60

MODE='' TRIES=5 STOPPING='' ASIDE=0 DID=0 RECOVERED_AT=-$RECOVER_EVERY

main() {
    parse "$@"
    trap 'STOPPING=yes' TERM INT HUP
    while [[ -z $STOPPING ]]; do
        DID=0
        if [[ $MODE == once ]] || ((SECONDS >= RECOVERED_AT + RECOVER_EVERY)); then
            RECOVERED_AT=$SECONDS
            take_each cur/*.eml:2,
        fi
        take_each new/*.eml
        ((DID == 0)) || continue
        [[ $MODE == follow ]] || break
        wait_for_more
    done
    ((ASIDE == 0))
}

usage() {
    printf 'consume.sh: %s\n' "$1" >&2
    printf 'usage: consume.sh [--once|--follow] [--tries N] SPOOL COMMAND [ARG...]\n' >&2
    exit 2
}

parse() {
    while (($#)); do
        case $1 in
        --once | --follow) MODE=${1#--} ;;
        --tries)
            [[ ${2:-} =~ ^[1-9][0-9]{0,3}$ ]] || usage "--tries needs a number from 1 to 9999"
            TRIES=$2
            shift
            ;;
        -*) usage "unknown option $1" ;;
        *) break ;;
        esac
        shift
    done
    (($# >= 2)) || usage "SPOOL and COMMAND are needed"
    SPOOL=$1
    [[ -d $SPOOL/new && -d $SPOOL/cur ]] || usage "$SPOOL is not a spool: it has no new/ and cur/"
    SPOOL=$(realpath -- "$SPOOL")
    shift
    COMMAND=("$@")
    command -v -- "$1" >/dev/null || usage "$1 is not a command; give the command after SPOOL"
    command -v flock >/dev/null || usage "flock is missing; install util-linux"
    if [[ -z $MODE ]]; then
        if [[ -t 0 || -t 1 || -n ${INVOCATION_ID:-} ]]; then MODE=follow; else MODE=once; fi
    fi
    cd -- "$SPOOL"
    shopt -s nullglob
}

warn() { printf 'consume.sh: %s\n' "$*" >&2; }

# take_each FILE...: handles those that no other worker has.
take_each() {
    local file lock
    for file in "$@"; do
        [[ -z $STOPPING ]] || return 0
        # Another worker may have it already.
        { exec {lock}<"$file"; } 2>/dev/null || continue
        # The lock is on what was opened; is it still the file of this name?
        if flock --nonblock "$lock" && [[ $file -ef /dev/fd/$lock ]]; then
            handle "$file" "$lock"
        fi
        exec {lock}<&-
    done
}

# handle FILE LOCK: claims a locked file and runs the command on it.
handle() {
    local file=$1 lock=$2 claimed=cur/${1#*/} try pause=1
    [[ $file == cur/* ]] || {
        claimed=$claimed:2,
        mv -nT -- "$file" "$claimed"
        [[ $claimed -ef /dev/fd/$lock ]] || {
            warn "cannot move $SPOOL/$file to $claimed: there is such a file; remove one of them"
            return 0
        }
    }
    DID=$((DID + 1))
    for ((try = 1; ; try++)); do
        if "${COMMAND[@]}" "$SPOOL/$claimed" </dev/null; then
            finish "$claimed" S
            return 0
        fi
        warn "the command failed for $SPOOL/$claimed, try $try of $TRIES"
        ((try < TRIES)) || break
        # What is not done stays claimed for the next worker.
        sleep_interruptibly "$pause"
        [[ -z $STOPPING ]] || return 0
        pause=$((pause * 2 < MAX_PAUSE ? pause * 2 : MAX_PAUSE))
    done
    finish "$claimed" F
    ASIDE=$((ASIDE + 1))
    warn "set aside as $SPOOL/${claimed}F"
}

# finish CLAIMED FLAG: unless the command has moved or deleted the file.
finish() {
    [[ ! -e $1 ]] || mv -T -- "$1" "$1$2"
}

# sleep_interruptibly SECONDS: a signal ends it at once.
sleep_interruptibly() {
    local sleeper
    sleep "$1" &
    sleeper=$!
    wait "$sleeper" || true
    kill "$sleeper" 2>/dev/null || true
}

wait_for_more() {
    local watcher
    if ! command -v inotifywait >/dev/null; then
        sleep_interruptibly 1
        return
    fi
    # The limit is for file systems that do not notify, and for what arrived just now.
    inotifywait -qq -t 2 -e moved_to -e create new 2>/dev/null &
    watcher=$!
    # Without an inotify instance it ends at once.
    wait "$watcher" || { (($? != 1)) || sleep_interruptibly 1; }
    kill "$watcher" 2>/dev/null || true
}

main "$@"
