# shellcheck shell=bash
# What check-store.sh and cluster.sh share: PostgreSQL with a synchronous standby, set up
# with scripts/cluster/postgresql.conf.
#
# Sourced after scripts/lib.sh. The one who sources it has set ADDRESS and PORT, maps from
# a machine's name, and `on MACHINE COMMAND...`, which runs a command there.

# shellcheck disable=SC2154,SC2034 # set or used by those who source it

STORE=$ROOT/scripts/store/store.py

# has_database: PostgreSQL and psycopg are there, or were installed, and can be used.
has_database() {
    unshare --ipc --mount true 2>/dev/null && ensure_switched_off postgres postgresql &&
        ensure_works python3-psycopg /usr/bin/python3 -c 'import psycopg'
}

# as_postgres MACHINE COMMAND...: however it ends, it leaves no shared memory.
as_postgres() {
    local machine=$1
    shift
    on "$machine" unshare --ipc --mount --propagation slave \
        sh -c 'mount -t tmpfs tmpfs /dev/shm && exec setpriv --reuid postgres --regid postgres --init-groups "$@"' sh "$@"
}

# start_database MACHINE: a new primary with the database mm4, and the role mm4, which has
# what scripts/store/README.md says and no more.
start_database() {
    install -d -o postgres -g postgres -m 0700 "$TEMP/$1"
    as_postgres "$1" "$POSTGRES/initdb" -A trust -U postgres -D "$TEMP/$1" >"$TEMP/initdb.log" 2>&1 ||
        die "initdb:" "$(tail -n 5 "$TEMP/initdb.log")"
    cat "$ROOT/scripts/cluster/postgresql.conf" >>"$TEMP/$1/postgresql.conf"
    printf 'host all all samenet trust\nhost replication all samenet trust\n' >>"$TEMP/$1/pg_hba.conf"
    run_postgres "$1"
    # No standby is there yet that could confirm this.
    sql "$1" postgres "SET synchronous_commit = local" "CREATE ROLE mm4 LOGIN" "GRANT pg_monitor TO mm4" \
        "CREATE DATABASE mm4 OWNER mm4"
}

# run_postgres MACHINE: sets DATABASE_PID.
run_postgres() {
    as_postgres "$1" "$POSTGRES/postgres" -D "$TEMP/$1" -c listen_addresses="${ADDRESS[$1]}" \
        -c port="${PORT[$1]}" -c unix_socket_directories= >>"$TEMP/$1.log" 2>&1 &
    wait_until "the database on $1" on "$1" "$POSTGRES/pg_isready" -q -h "${ADDRESS[$1]}" -p "${PORT[$1]}" ||
        die "$(tail -n 20 "$TEMP/$1.log")"
    DATABASE_PID=$(head -n 1 "$TEMP/$1/postmaster.pid")
}

# start_standby MACHINE PRIMARY
start_standby() {
    rm -rf --one-file-system "${TEMP:?}/$1"
    install -d -o postgres -g postgres -m 0700 "$TEMP/$1"
    as_postgres "$1" "$POSTGRES/pg_basebackup" -h "${ADDRESS[$2]}" -p "${PORT[$2]}" -U postgres -D "$TEMP/$1" \
        -R -c fast >"$TEMP/basebackup.log" 2>&1 || die "pg_basebackup:" "$(<"$TEMP/basebackup.log")"
    run_postgres "$1"
    wait_until "a synchronous standby of $2" has_standby "$2"
}

# sql MACHINE DATABASE COMMAND...: on the server of that machine.
sql() {
    local machine=$1 database=$2 command options=()
    shift 2
    for command in "$@"; do options+=(-c "$command"); done
    as_postgres "$machine" "$POSTGRES/psql" -h "${ADDRESS[$machine]}" -p "${PORT[$machine]}" -U postgres \
        -d "$database" -qAtX -v ON_ERROR_STOP=1 "${options[@]}"
}

has_standby() {
    [[ $(sql "$1" postgres "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')") == 1 ]]
}
