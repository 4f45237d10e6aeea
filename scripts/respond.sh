#!/usr/bin/env bash
# Sends the RES that each MM4_forward.REQ in a spool asked for.
#
#   scripts/respond.sh [--once|--follow] RELAYS STATE SPOOL
#
#   --once      answer what is in the spool, and end (default)
#   --follow    answer also what arrives, until SIGTERM or SIGINT
#   RELAYS      a file that says how each peer is reached, see below
#   STATE       a directory, made if need be, that remembers what was answered
#
# A REQ is answered once for its account and X-Mms-Transaction-ID, also if the client
# sent it twice. If this script is killed between the peer's 250 and its note in
# STATE, the next run sends that one RES again, and no other: the peer recognises it by
# the Transaction-ID. A RES that the peer does not accept is sent again every 10 seconds
# while this runs, and by the next run. A REQ that asks for an answer and cannot get one,
# such as one without a Transaction-ID, is reported. Notes of REQs that have left the
# spool are of no more use: find STATE -type f -mtime +30 -delete
#
# RELAYS has a line for each account that sends REQs; `*` is any other:
#
#   ACCOUNT  HOST:PORT  plain|tls  SYSTEM_ID  PASSWORD_FILE  [CA_FILE]
#   ACCOUNT  sendmail
#
# SYSTEM_ID and PASSWORD_FILE are what this side logs in with at the peer. With tls the
# peer's certificate is verified with CA_FILE, or with the system's certificates.
#
# Exit status: 0, 1 if an answer could not be sent or the spool not be read, 2 for a usage error. Needs mm4spool
# ($MM4SPOOL_PROGRAM, or from PATH), flock, and swaks or sendmail.

set -euo pipefail

MM4SPOOL_PROGRAM=${MM4SPOOL_PROGRAM:-mm4spool}
RETRY_EVERY=10

MODE=once STOPPING='' FOLLOWER='' RETRIED_AT=0
# The REQs whose answer was not accepted: id and account.
declare -A PENDING=()

main() {
    local line lister
    parse "$@"
    trap 'STOPPING=yes' TERM INT HUP
    trap '[[ -z $FOLLOWER ]] || kill "$FOLLOWER" 2>/dev/null || true' EXIT
    if [[ $MODE == follow ]]; then
        # Begun before the list, so that nothing falls between the two.
        exec {ARRIVED}< <(exec "$MM4SPOOL_PROGRAM" follow --json --type forward.REQ -- "$SPOOL")
        FOLLOWER=$!
    fi
    exec {LISTED}< <(exec "$MM4SPOOL_PROGRAM" list --json --type forward.REQ -- "$SPOOL")
    lister=$!
    while [[ -z $STOPPING ]] && IFS= read -r -u "$LISTED" line; do answer_line "$line"; done
    exec {LISTED}<&-
    [[ -n $STOPPING ]] || wait "$lister" || die "mm4spool cannot list $SPOOL"
    [[ $MODE != follow ]] || follow
    ((${#PENDING[@]} == 0))
}

usage() {
    printf 'respond.sh: %s\n' "$1" >&2
    printf 'usage: respond.sh [--once|--follow] RELAYS STATE SPOOL\n' >&2
    exit 2
}

parse() {
    while (($#)); do
        case $1 in
        --once | --follow) MODE=${1#--} ;;
        -*) usage "unknown option $1" ;;
        *) break ;;
        esac
        shift
    done
    (($# == 3)) || usage "RELAYS, STATE and SPOOL are needed"
    RELAYS=$1 STATE=$2 SPOOL=$3
    [[ -f $RELAYS && -r $RELAYS ]] || usage "cannot read $RELAYS; it has a line for each peer"
    [[ -d $SPOOL/new ]] || usage "$SPOOL is not a spool: it has no new/"
    command -v -- "$MM4SPOOL_PROGRAM" >/dev/null ||
        usage "$MM4SPOOL_PROGRAM is missing; set MM4SPOOL_PROGRAM to its path"
    (umask 077 && mkdir -p -- "$STATE") || usage "cannot make the directory $STATE"
}

warn() { printf 'respond.sh: %s\n' "$*" >&2; }
die() {
    warn "$*"
    exit 1
}

follow() {
    local line='' part status
    while [[ -z $STOPPING ]]; do
        status=0
        IFS= read -r -t "$RETRY_EVERY" -u "$ARRIVED" part || status=$?
        # At the end of the time this may be the beginning of a line.
        line+=$part
        if ((status == 0)); then
            answer_line "$line"
            line=''
        elif ((status <= 128)); then
            [[ -n $STOPPING ]] || die "mm4spool follow has ended"
        fi
        ((SECONDS < RETRIED_AT + RETRY_EVERY)) || answer_pending
    done
}

answer_pending() {
    local id
    for id in "${!PENDING[@]}"; do
        [[ -n $STOPPING ]] || answer "$id" "${PENDING[$id]}"
    done
    RETRIED_AT=$SECONDS
}

# answer_line LINE: LINE is the JSON object of a message, which begins with its id, its
# path, its time and its account.
answer_line() {
    local string='"(([^"\\]|\\.)*)"'
    # A string has no quotation marks that are not escaped: this is the key.
    [[ $1 == *',"ack_request":true,'* ]] || return 0
    if [[ $1 =~ ^\{\"id\":$string,\"path\":$string,\"time\":[^,]*,\"account\":($string|null), ]]; then
        answer "${BASH_REMATCH[1]}" "${BASH_REMATCH[6]:--}"
    else
        warn "not the JSON of a message: ${1:0:80}"
    fi
}

# answer ID ACCOUNT: sends the RES of a REQ unless that was done before.
answer() {
    local id=$1 account=$2 response transaction note lock
    # In single quotes: the shell would run what looks like a command in an id.
    unset 'PENDING[$id]'
    # If it fails it says why: the message cannot be answered, or has left the spool.
    response=$("$MM4SPOOL_PROGRAM" respond -- "$SPOOL" "$id") || return 0
    transaction=$(field X-Mms-Transaction-ID "$response")
    note=$STATE/$(printf '%s\n%s' "$account" "$transaction" | sha256sum | cut -d ' ' -f 1)
    exec {lock}>>"$note"
    flock "$lock"
    if [[ ! -s $note ]]; then
        if send "$account" "$response"; then
            printf '%s\n' "$id" >&"$lock"
            printf 'answered %q account=%q transaction=%q\n' "$id" "$account" "$transaction"
        else
            PENDING[$id]=$account
        fi
    fi
    exec {lock}>&-
}

# field NAME HEADER: the value of the first field of that name.
field() {
    sed -n "/^\$/q; s/^$1: *//Ip" <<<"$2" | sed -n 1p
}

# send ACCOUNT RESPONSE: by the relay of the account.
send() {
    local relay output
    if ! relay=$(relay_of "$1"); then
        warn "$RELAYS has no line for the account $1; add one"
        return 1
    fi
    # shellcheck disable=SC2086 # the fields of the line
    if output=$(deliver "$2" $relay 2>&1); then
        return 0
    fi
    warn "the peer of $1 did not accept the answer: $(tail -n 1 <<<"$output")"
    return 1
}

# relay_of ACCOUNT: what its line says after the account.
relay_of() {
    ACCOUNT=$1 awk '
        BEGIN { account = ENVIRON["ACCOUNT"] }
        $1 ~ /^#/ || NF < 2 { next }
        $1 == account || ($1 == "*" && any == "") {
            line = $0
            sub(/^[ \t]*[^ \t]+[ \t]+/, "", line)
            if ($1 == account) { found = line; exit }
            any = line
        }
        END { if (found == "") found = any; if (found == "") exit 1; print found }
    ' "$RELAYS"
}

# deliver RESPONSE sendmail
# deliver RESPONSE HOST:PORT plain|tls SYSTEM_ID PASSWORD_FILE [CA_FILE]
deliver() {
    local response=$1 server=$2 kind=${3:-} system_id=${4:-} password=${5:-} ca=${6:-}
    local sender options=()
    sender=$(field Sender "$response")
    if [[ $server == sendmail ]]; then
        sendmail -t -f "$sender" <<<"$response"
        return
    fi
    case $kind in
    plain) ;;
    tls)
        options=(--tls-on-connect --tls-verify)
        [[ -z $ca ]] || options+=(--tls-ca-path "$ca")
        ;;
    *)
        printf 'the relay needs plain or tls after %s\n' "$server"
        return 1
        ;;
    esac
    [[ -r $password ]] || {
        printf 'cannot read the password file %s\n' "$password"
        return 1
    }
    # The password goes by the environment, where other users do not see it, and
    # POSIXLY_CORRECT keeps swaks from taking the + of a number for an option.
    POSIXLY_CORRECT=1 SWAKS_OPT_auth_password=$(<"$password") swaks --silent 2 --timeout 60 \
        --server "${server%:*}" --port "${server##*:}" --auth PLAIN --auth-user "$system_id" \
        --from "$sender" --to "$(field To "$response")" "${options[@]}" --data - <<<"$response"
}

main "$@"
