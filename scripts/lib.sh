# shellcheck shell=bash
# What the scripts share: words, packages, the build, an account, a server on
# free ports, and the comparison of a spooled mail with what was sent.
#
# Sourced, never run. Needs bash 4.4 and coreutils. Every temporary directory
# and the server end with the script that asked for them.
#
#   MM4D            a server to use in the place of building one
#   MM4_NO_INSTALL  when set, no Debian package is ever installed

# shellcheck disable=SC2034 # what is set here is used by those who source it

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MESSAGES=$ROOT/tests/messages

# How long anything may take that should be immediate, in seconds.
DEADLINE=30
# The status of a script that could check nothing.
SKIPPED_STATUS=77

# The envelope of whatever the scripts send.
SENDER=+972500000001/TYPE=PLMN@mms.example.net
RECIPIENT=+972500000002/TYPE=PLMN@mm4d.example.net

# ---------------------------------------------------------------- words

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    warn "$@"
    exit 1
}

# ---------------------------------------------------------------- results

PASSED=0
FAILED=0
SKIPPED=0

pass() {
    PASSED=$((PASSED + 1))
    say "ok      $*"
}
fail() {
    FAILED=$((FAILED + 1))
    say "FAILED  $*"
}
skip() {
    SKIPPED=$((SKIPPED + 1))
    say "SKIPPED $*"
}

# tally: the plain last line; true unless something failed.
tally() {
    say "$PASSED passed, $FAILED failed, $SKIPPED skipped"
    ((FAILED == 0))
}

# add_up NAME STATUS OUTPUT: adds the tally that ends the file OUTPUT, or, when
# there is none, one check named NAME with that status.
add_up() {
    local name=$1 status=$2 last
    last=$(tail -n 1 "$3")
    if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
        PASSED=$((PASSED + BASH_REMATCH[1]))
        FAILED=$((FAILED + BASH_REMATCH[2]))
        SKIPPED=$((SKIPPED + BASH_REMATCH[3]))
        # A failure after the tally was printed is one more.
        ((status == 0 || BASH_REMATCH[2] > 0)) || fail "$name: ended with status $status"
    elif ((status == 0)); then
        pass "$name"
    elif ((status == SKIPPED_STATUS)); then
        skip "$name"
    else
        fail "$name: ended with status $status"
    fi
}

# ---------------------------------------------------------------- packages

# require NEED...: what a script cannot do without, checked before anything is
# compiled. NEED is rust, compiler, openssl or swaks. As root on Debian it
# installs all that is missing at once; otherwise it ends with the one command
# that root has to run.
require() {
    local need packages=() reasons=() name
    for need in "$@"; do
        "have_$need" && continue
        mapfile -t -O "${#packages[@]}" packages < <("packages_of_$need")
        reasons+=("$("reason_of_$need")")
    done
    ((${#packages[@]})) || return 0
    for name in "${reasons[@]}"; do say "missing: $name" >&2; done
    if [[ -n ${MM4_NO_INSTALL:-} ]] || ! has apt-get || ((EUID != 0)); then
        die "run this as root first: apt-get update && apt-get install -y --no-install-recommends ${packages[*]}"
    fi
    install_packages "${packages[@]}" || die "without these nothing can be built or tested"
    for need in "$@"; do
        "have_$need" || die "still missing after the installation: $("reason_of_$need")"
    done
}

# The oldest Rust that builds this tree.
RUST_VERSION=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$ROOT/Cargo.toml")

have_rust() {
    local version
    has cargo && version=$(cargo --version 2>/dev/null) && at_least "${version#cargo }"
}
reason_of_rust() { say "a Rust toolchain, $RUST_VERSION or later, to build with"; }
# Debian's own: the first whose version is new enough. Debian 12 has it as
# cargo-web, beside a cargo that is too old.
packages_of_rust() {
    local package version
    if [[ -z ${MM4_NO_INSTALL:-} ]] && has apt-get && ((EUID == 0)); then apt_update >/dev/null; fi
    for package in cargo cargo-web; do
        version=$(apt-cache policy "$package" 2>/dev/null | sed -n 's/^ *Candidate: //p')
        if [[ $version == [0-9]* ]] && at_least "$version"; then
            printf '%s\n' "$package" ca-certificates
            return
        fi
    done
    # No package lists are here to ask.
    if grep -q '^VERSION_ID="12"' /etc/os-release 2>/dev/null; then say cargo-web; else say cargo; fi
    say ca-certificates
}
# at_least VERSION: it is RUST_VERSION or later.
at_least() {
    [[ $(printf '%s\n' "$RUST_VERSION" "$1" | sort -V | head -n 1) == "$RUST_VERSION" ]]
}

have_compiler() { has cc && has ld && [[ -e /usr/include/stdio.h ]]; }
reason_of_compiler() { say "a C compiler and linker, for the TLS library"; }
packages_of_compiler() { printf '%s\n' gcc libc6-dev; }

have_openssl() { has openssl; }
reason_of_openssl() { say "openssl, to make certificates and password hashes, and as a client"; }
packages_of_openssl() { say openssl; }

have_swaks() { swaks_with_tls; }
reason_of_swaks() { say "swaks with TLS, as a client"; }
packages_of_swaks() { printf '%s\n' swaks libnet-ssleay-perl; }

# ensure COMMAND [PACKAGE...]: true when COMMAND is there, if need be after its
# Debian packages (COMMAND, unless given) were installed.
ensure() {
    local command=$1
    shift
    has "$command" && return
    install_packages "${@:-$command}" && has "$command"
}

# ensure_works PACKAGE COMMAND...: the same for what only a try can tell, such as
# a module of perl or python3.
ensure_works() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 && return
    install_packages "$package" && "$@" >/dev/null 2>&1
}

# ensure_switched_off COMMAND PACKAGE: the same for a package with a service, which nobody
# asked for here: it is switched off if this script has installed it. Sets POSTGRES, the
# directory with the programs of PostgreSQL's newest version, which are not in PATH.
ensure_switched_off() {
    has_program "$1" && return
    install_packages "$2" || return
    if has systemctl; then systemctl disable --now "$2" >/dev/null 2>&1 || true; fi
    has_program "$1"
}

has_program() {
    POSTGRES=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
    has "$1" || [[ -n $POSTGRES && -x $POSTGRES/$1 ]]
}

# ensure_swaks: swaks, and with it the module that it needs for TLS.
ensure_swaks() {
    swaks_with_tls && return
    install_packages swaks libnet-ssleay-perl && swaks_with_tls
}

swaks_with_tls() {
    has swaks && [[ $(swaks --support 2>/dev/null) == *'TLS supported'* ]]
}

has() { command -v "$1" >/dev/null; }

# install_packages PACKAGE...: false, with the reason, when it may not or cannot.
install_packages() {
    local log
    if [[ -n ${MM4_NO_INSTALL:-} ]]; then
        warn "missing: $* (MM4_NO_INSTALL is set)"
        return 1
    elif ! has apt-get || ((EUID != 0)); then
        warn "missing: $* (only root on Debian can have them installed: apt-get install $*)"
        return 1
    fi
    say "installing the Debian packages that are missing: $*" >&2
    log=$(apt_update && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "$@" 2>&1 </dev/null) && return
    warn "could not install $*:" "$(tail -n 5 <<<"$log")"
    return 1
}

# apt_update: once for a script and all that it calls.
apt_update() {
    [[ -n ${MM4_APT_UPDATED:-} ]] || apt-get update 2>&1 </dev/null
    export MM4_APT_UPDATED=1
}

# debian_mirror: MM4_MIRROR, or the first mirror in this machine's sources.
debian_mirror() {
    say "${MM4_MIRROR:-$(sed -n -e 's/^URIs: *\([^ ]*\).*/\1/p' -e 's/^deb \(\[[^]]*\] \)\?\([^ ]*\).*/\2/p' \
        /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null | head -n 1)}"
}

# ---------------------------------------------------------------- temporaries

# make_temp: a directory of the script's own in TEMP, removed when the script
# ends.
make_temp() {
    TEMP=$(mktemp -d "${TMPDIR:-/tmp}/mm4d.XXXXXXXX")
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# clean_up [STATUS]: what a script does at its end; STATUS is that of the script.
clean_up() {
    local status=${1:-$?}
    if [[ -n ${SERVER_PID:-} ]]; then
        kill -KILL "$SERVER_PID" 2>/dev/null || true
        wait "$SERVER_PID" 2>/dev/null || true
    fi
    rm -rf --one-file-system "$TEMP"
    exit "$status"
}

# ---------------------------------------------------------------- the build

# build: a release build, which takes about a minute the first time; sets MM4D.
build() {
    if [[ -n ${MM4D:-} ]]; then
        [[ -x $MM4D ]] || die "MM4D: $MM4D is not a program"
        return
    fi
    require rust compiler
    (cd "$ROOT" && cargo build --release --locked --quiet) || die "the build failed"
    MM4D=$(cd "$ROOT" && realpath "${CARGO_TARGET_DIR:-target}")/release/mm4d
    export MM4D
}

# ---------------------------------------------------------------- accounts

# make_account FILE SYSTEM_ID: a new accounts file with one account; sets PASSWORD.
# The password itself is in nobody's argument list and in no file.
make_account() {
    local file=$1 system_id=$2 hash draft
    PASSWORD=$(openssl rand -hex 16)
    hash=$(openssl passwd -6 -stdin <<<"$PASSWORD")
    draft=$(mktemp "$file.XXXXXX") # made with mode 0600
    printf '%s:%s\n' "$system_id" "$hash" >"$draft"
    mv "$draft" "$file"
}

# make_credentials: what several servers of one check share: TEMP/certs, TEMP/accounts
# with the system id "demo", and TEMP/password.
make_credentials() {
    "$ROOT/scripts/certs.sh" "$TEMP/certs" >"$TEMP/certs.log" 2>&1 ||
        die "no certificate:" "$(<"$TEMP/certs.log")"
    make_account "$TEMP/accounts" demo
    (umask 077 && printf '%s\n' "$PASSWORD" >"$TEMP/password")
}

# ---------------------------------------------------------------- the server

# wait_until WHAT COMMAND...: false, with a line, after twice the deadline: a check may
# load the machine.
wait_until() {
    local what=$1 end=$((SECONDS + 2 * DEADLINE))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then
            fail "waited $((2 * DEADLINE)) seconds for $what"
            return 1
        fi
        sleep 0.2
    done
}

# start_server DIR [OPTION...]: a server on free loopback ports that keeps all
# it has in DIR: certs/, accounts, spool/ and its log in DIR/log. Sets
# SERVER_PID, PLAIN_PORT, TLS_PORT and PASSWORD (of the system id "demo"). LOG_LEVEL is
# info unless set.
start_server() {
    local dir=$1 pipe=$1/stdout
    shift
    "$ROOT/scripts/certs.sh" "$dir/certs" >"$dir/certs.log" 2>&1 ||
        die "no certificate:" "$(<"$dir/certs.log")"
    make_account "$dir/accounts" demo
    mkfifo "$pipe"
    RUST_LOG=${LOG_LEVEL:-info} "$MM4D" --listen 127.0.0.1:0 --tls-listen 127.0.0.1:0 --hostname localhost \
        --cert "$dir/certs/server.pem" --key "$dir/certs/server.key" \
        --accounts "$dir/accounts" --spool "$dir/spool" "$@" \
        >"$pipe" 2>"$dir/log" &
    SERVER_PID=$!
    SERVER_LOG=$dir/log
    exec {SERVER_OUTPUT}<"$pipe"
    read_listener plain PLAIN_PORT
    read_listener tls TLS_PORT
}

# read_listener KIND VARIABLE: waits for the server's line, keeps the port.
read_listener() {
    local line=''
    IFS= read -r -t "$DEADLINE" -u "$SERVER_OUTPUT" line || true
    [[ $line =~ ^listening\ $1\ .*:([0-9]+)$ ]] ||
        die "the server did not say 'listening $1' but '$line':" "$(tail -n 5 "$SERVER_LOG")"
    printf -v "$2" %s "${BASH_REMATCH[1]}"
}

# stop_server [PID]: SIGTERM to the server, or to PID where SERVER_PID is a program
# around it; the end of its output within the deadline, status 0.
stop_server() {
    local ended=0 status=0
    kill -TERM "${1:-$SERVER_PID}"
    # 1 is the end of the output, more than 128 the deadline.
    IFS= read -r -t "$DEADLINE" -u "$SERVER_OUTPUT" _ || ended=$?
    ((ended == 1)) || die "the server did not end on SIGTERM:" "$(tail -n 5 "$SERVER_LOG")"
    wait "$SERVER_PID" || status=$?
    SERVER_PID=''
    exec {SERVER_OUTPUT}<&-
    ((status == 0)) || die "the server ended with status $status:" "$(tail -n 5 "$SERVER_LOG")"
}

# ---------------------------------------------------------------- mails

# sender_settings: where the two senders send, from the environment or as
# run.sh has it.
sender_settings() {
    HOST=${MM4_HOST:-127.0.0.1}
    PLAIN_PORT=${MM4_PORT:-2525}
    TLS_PORT=${MM4_TLS_PORT:-2465}
    TLS_NAME=${MM4_TLS_NAME:-localhost}
    CA=${MM4_CA:-$ROOT/certs/ca.pem}
    SYSTEM_ID=${MM4_SYSTEM_ID:-demo}
    SPOOL=${MM4_SPOOL:-$ROOT/spool}
    MESSAGE=${MM4_MESSAGE:-$MESSAGES/forward_req.eml}
    PASSWORD=${MM4_PASSWORD:-}
    if [[ -z $PASSWORD ]]; then
        local file=${MM4_PASSWORD_FILE:-$ROOT/accounts.demo-password}
        [[ -r $file ]] || die "no password: set MM4_PASSWORD, or start scripts/run.sh, which makes $file"
        PASSWORD=$(<"$file")
    fi
    [[ -r $MESSAGE ]] || die "no message: $MESSAGE"
    [[ -r $CA ]] || die "no CA certificate: $CA (scripts/certs.sh makes one)"
    [[ -d $SPOOL/new ]] || die "no spool: $SPOOL (set MM4_SPOOL)"
}

# stuffed FILE: its lines as they follow DATA (RFC 5321 4.5.2).
stuffed() { sed 's/^\./../' "$1"; }

# base64_of FORMAT ARGUMENT...: what printf makes of them, on one line.
base64_of() {
    # shellcheck disable=SC2059 # the format is ours and may hold NULs
    printf "$@" | base64 -w 0
}

# spooled SYSTEM_ID PROTOCOL SENT FILE: FILE begins with the trace of a mail in
# our envelope and goes on with SENT, byte for byte; says what is wrong.
spooled() {
    local system_id=$1 protocol=$2 sent=$3 file=$4 id trace
    [[ -f $file ]] || {
        warn "not in the spool: $file"
        return 1
    }
    id=$(basename "$file" .eml)
    mapfile -t -n 5 trace < <(tr -d '\r' <"$file")
    if [[ ${trace[0]} != "Return-Path: <$SENDER>" ||
        ${trace[1]} != "X-Envelope-To: <$RECIPIENT>" ||
        ${trace[2]} != "X-MM4-System-ID: $system_id" ||
        ${trace[3]} != "Received: from "*" by "*" (mm4d) with $protocol" ||
        ${trace[4]} != "  id $id; "* ]]; then
        warn "not the trace of this mail:" "$(head -n 5 "$file")"
        return 1
    fi
    tail -n +6 "$file" | cmp - "$sent"
}
