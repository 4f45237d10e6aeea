#!/usr/bin/env bash
# Hands each message of a spool to a command.
#
#   scripts/consume.sh [--once|--follow] [--tries N] SPOOL COMMAND [ARG...]
#
#   --once      end when nothing is left to do
#   --follow    wait for more, until SIGTERM or SIGINT
#   --tries N   how often COMMAND may fail for a message; default 5
#
# Without --once and --follow it waits for more on a terminal or as a systemd service, and
# ends elsewhere. COMMAND is a program, and gets the path of the file as its last
# argument. It may move or delete the file.
#
# A message is claimed by its move from new/ID.eml to cur/ID.eml:2, and by a lock
# (flock) on the file; several workers may run side by side. When COMMAND succeeds, the
# file becomes ID.eml:2,S. When it has failed N times, with pauses of 1, 2, 4 ... 60
# seconds in which this worker does nothing else, the file becomes ID.eml:2,F, which is
# reported, and is left alone: rename it to ID.eml:2, to have it tried again.
#
# COMMAND inherits the lock. If a worker is killed, its message stays claimed until
# COMMAND, and what it started, has ended; then the next worker takes it over. So no two
# workers have one message at a time, but after a kill or a power cut a message may be
# handled again: COMMAND must recognise an ID that it has handled before. After SIGTERM
# or SIGINT a worker waits for COMMAND; if COMMAND fails then, the message stays claimed
# for the next worker.
#
# Exit status: 0, 1 if a message was set aside or cannot be claimed, 2 for a usage error.
# Needs bash, flock (util-linux) and a local file system; with inotifywait (inotify-tools)
# a new message is seen at once, otherwise within a second.

set -euo pipefail

# Seconds between two searches for claims whose worker is gone.
RECOVER_EVERY=60
# The longest pause between two tries, in seconds.
MAX_PAUSE=60

MODE='' TRIES=5 STOPPING='' LOCK='' ASIDE=0 DID=0 RECOVERED_AT=-$RECOVER_EVERY
# The messages that cannot be claimed, each reported once.
declare -A LEFT=()

main() {
    parse "$@"
    trap 'STOPPING=yes' TERM INT HUP
    while [[ -z $STOPPING ]]; do
        DID=0
        if [[ $MODE == once ]] || ((SECONDS >= RECOVERED_AT + RECOVER_EVERY)); then
            RECOVERED_AT=$SECONDS
            take_each "$SPOOL"/cur/*.eml:2,
        fi
        take_each "$SPOOL"/new/*.eml
        ((DID == 0)) || continue
        [[ $MODE == follow ]] || break
        wait_for_more
    done
    ((ASIDE + ${#LEFT[@]} == 0))
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
        --)
            shift
            break
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
    # Between two mounts mv copies, and another worker would see half a message.
    [[ $(stat -Lc '%d %m' -- "$SPOOL/new") == "$(stat -Lc '%d %m' -- "$SPOOL/cur")" ]] ||
        usage "$SPOOL/new and cur are not on one file system, so a claim cannot be a rename"
    shift
    # A program: a word of the shell would be run inside this script.
    COMMAND=("$(type -P -- "$1")" "${@:2}") || usage "$1 is not a program; give the command after SPOOL"
    command -v flock >/dev/null || usage "flock is missing; install util-linux"
    if [[ -z $MODE ]]; then
        if [[ -t 0 || -t 1 ]] || is_service; then MODE=follow; else MODE=once; fi
    fi
    shopt -s nullglob
}

# Whether systemd started this script itself. What a service starts inherits the
# INVOCATION_ID too: a job of a CI runner, for example.
is_service() { [[ -n ${INVOCATION_ID:-} && ${SYSTEMD_EXEC_PID:-$$} == "$$" ]]; }

warn() { printf 'consume.sh: %s\n' "$*" >&2; }
die() {
    warn "$*"
    exit 1
}

# leave FILE WHY: it cannot be claimed; the other messages can.
leave() {
    [[ -n ${LEFT[$1]:-} ]] || warn "$1 is left where it is: $2"
    LEFT[$1]=$2
}

# take_each FILE...: handles those that no other worker has.
take_each() {
    local file
    for file in "$@"; do
        [[ -z $STOPPING ]] || return 0
        # Another worker may have it already.
        [[ -f $file ]] || continue
        { exec {LOCK}<"$file"; } 2>/dev/null || {
            [[ ! -e $file ]] || leave "$file" "it cannot be opened"
            continue
        }
        # The lock is on what was opened; is it still the file of this name?
        if flock --nonblock "$LOCK" && [[ $file -ef /dev/fd/$LOCK ]]; then
            handle "$file"
        fi
        exec {LOCK}<&-
        LOCK=''
    done
}

# claim FILE CLAIMED: moves a locked file, never over another one.
claim() {
    local problem=''
    [[ $1 != "$2" ]] || return 0
    problem=$(mv -nT -- "$1" "$2" 2>&1) || true
    [[ $2 -ef /dev/fd/$LOCK ]] && return
    [[ -e $2 ]] || die "cannot move $1 to cur/: ${problem#mv: }"
    leave "$1" "there is $2; remove one of them"
    return 1
}

# handle FILE: claims a locked file and runs the command on it.
handle() {
    local file=$1 claimed=$1 try pause=1
    [[ $file == "$SPOOL"/cur/* ]] || claimed=$SPOOL/cur/${file##*/}:2,
    claim "$file" "$claimed" || return 0
    DID=$((DID + 1))
    for ((try = 1; ; try++)); do
        if "${COMMAND[@]}" "$claimed" </dev/null; then
            finish "$claimed" S
            return 0
        fi
        # The signal may have ended the command too. What is not done stays claimed for
        # the next worker.
        [[ -z $STOPPING ]] || return 0
        warn "the command failed for $claimed, try $try of $TRIES"
        ((try < TRIES)) || break
        sleep_interruptibly "$pause"
        [[ -z $STOPPING ]] || return 0
        pause=$((pause * 2 < MAX_PAUSE ? pause * 2 : MAX_PAUSE))
    done
    finish "$claimed" F
    ASIDE=$((ASIDE + 1))
    warn "set aside as ${claimed}F"
}

# finish CLAIMED FLAG: unless the command has moved or deleted the file.
finish() {
    local problem
    [[ -e $1 ]] || return 0
    problem=$(mv -T -- "$1" "$1$2" 2>&1) || [[ ! -e $1 ]] || die "cannot rename $1: ${problem#mv: }"
}

# sleep_interruptibly SECONDS: a signal ends it at once.
sleep_interruptibly() {
    local sleeper
    # Without the lock, which it would keep if this worker is killed.
    (
        [[ -z $LOCK ]] || exec {LOCK}<&-
        exec sleep "$1"
    ) &
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
    inotifywait -qq -t 2 -e moved_to -e create "$SPOOL/new" 2>/dev/null &
    watcher=$!
    # Without an inotify instance it ends at once.
    wait "$watcher" || { (($? != 1)) || sleep_interruptibly 1; }
    kill "$watcher" 2>/dev/null || true
}

main "$@"
