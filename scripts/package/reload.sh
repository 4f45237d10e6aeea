#!/bin/sh
# ExecReload= of mm4d.service, run as root: checks the files, gives the service new
# copies of them, and has it read them.
#
#   reload.sh FROM TO PROGRAM OPTION...
#
# FROM is the directory with accounts, server.pem and server.key, TO the credentials
# of the service, and PROGRAM with its options a check. When that fails nothing is
# changed, and `systemctl reload` fails with its message in the journal.
#
# systemd copies credentials when a service starts and not again (RefreshOnReload= is
# newer than Debian 13), hides them from this script, and mounts them read-only. So it
# enters the mount namespace of process 1 and makes them writable in a copy of that.
# Where this is not possible the reload fails; `systemctl restart` works everywhere.

set -eu

from=$1
to=$2
shift 2

if [ "${MM4D_RELOAD:-}" != inside ]; then
    "$@" --check --accounts "$from/accounts" --cert "$from/server.pem" --key "$from/server.key" >/dev/null
    MM4D_RELOAD=inside nsenter --target 1 --mount unshare --mount "$0" "$from" "$to" "$@"
    kill -HUP "$MAINPID"
    # If RELOADING=1 is received by the time that this ends, systemd waits for the
    # READY=1 that follows it.
    exec sleep 0.5
fi

mount -o remount,bind,rw "$to" 2>/dev/null || mount -o remount,rw "$to" 2>/dev/null || true
for name in accounts server.pem server.key; do
    [ -e "$from/$name" ] || continue
    # A copy of the old file has the owner and the access list that the service needs.
    cp -a "$to/$name" "$to/.new"
    chmod u+w "$to/.new"
    cat "$from/$name" >"$to/.new"
    chmod u-w "$to/.new"
    mv -f "$to/.new" "$to/$name"
done
