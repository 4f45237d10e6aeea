#!/usr/bin/python3
"""Hands the messages of a spool to PostgreSQL: each once, and none lost.

usage: store.py [options] SPOOL CONNECTION

CONNECTION is libpq's, such as
"host=db1,db2 dbname=mm4 user=mm4 target_session_attrs=read-write", so that after a
failover the new primary is found. README.md says which rights the role needs.

A message is claimed as scripts/consume.sh does: by a lock on the file and its move from
new/ID.eml to cur/ID.eml:2, . A batch of messages is one transaction. Only after its
COMMIT the files are deleted, or renamed to ID.eml:2,S with --keep. Killed at any point,
the next run finds the claims that nobody holds and stores them; the id is the primary
key, so none is stored twice.

COMMIT waits until a synchronous standby has the transaction on its disk. Three things
could break that, and are handled here. Nothing is stored while the primary has fewer
synchronous standbys than --standbys. A COMMIT whose wait was cancelled reports success
with a warning: any warning at COMMIT counts as a failure. And the second try of such a
batch finds its rows there, writes nothing, and would have nothing to wait for: so each
batch writes a row of its own.

While the database or its standby is away this waits, and says so once. A message that
the database refuses on its own account, or whose id is there with another content, is
set aside as ID.eml:2,F. Ends at SIGTERM, within 5 seconds whatever the database does, or
with --once when nothing is left. Exit status: 0, 1 if a message was set aside or could
not be claimed, 2 for a usage error. Needs python3-psycopg (3.1 or later).
"""

import argparse
import os
import pathlib
import signal
import sys
import threading
import time

try:
    import psycopg
    import psycopg.conninfo
except ImportError:
    sys.exit("store.py: the module psycopg is missing; install python3-psycopg")

# Leave nothing beside the scripts.
sys.dont_write_bytecode = True
from messages import MAX_BYTES, Spool

# Limits of one transaction.
BATCH_MESSAGES = 256
BATCH_BYTES = 16 * 1024 * 1024
# Seconds between two looks into new/.
POLL = 0.2
# Pauses between two attempts, in seconds.
FIRST_PAUSE, MAX_PAUSE = 0.1, 5
# Seconds for one server to answer to a connection.
CONNECT_TIMEOUT = 5
# Seconds after which a COMMIT that waits is reported.
SLOW_COMMIT = 5
# After SIGTERM, seconds for the transaction that is under way.
STOP_WITHIN = 5
SIGNALS = {signal.SIGTERM, signal.SIGINT}

COLUMNS = {
    "id": "text", "received_at": "timestamptz", "spool": "text", "system_id": "text",
    "return_path": "text", "recipients": "text[]", "type": "text", "version": "text",
    "transaction_id": "text", "message_id": "text", "from_address": "text",
    "to_addresses": "text", "subject": "text", "request_status": "text",
    "mm_status": "text", "fields": "jsonb", "size": "int8", "sha256": "bytea", "raw": "bytea",
}
NAMES = ", ".join(COLUMNS)


class Unconfirmed(Exception):
    """There is no database, or no synchronous standby that has confirmed the transaction."""


class Store:
    def __init__(self, options):
        self.options = options
        self.spool = Spool(options.spool, options.once, self.leave)
        self.name = options.name or os.path.realpath(options.spool)
        self.connection = None
        self.host = None
        self.warning = None
        self.commit_begun = None
        self.stopping = threading.Event()
        self.complaints, self.left = set(), set()
        self.status = 0

    # ------------------------------------------------------------ words and signals

    def say(self, what):
        print(f"store.py: {what}", file=sys.stderr, flush=True)

    def complain(self, what):
        """Once, until something was stored again."""
        self.say_once(what, self.complaints)

    def leave(self, what):
        """Once: about a file that cannot be claimed; the others can."""
        self.status = 1
        self.say_once(what, self.left)

    def say_once(self, what, said):
        if what not in said and len(said) < 1000:
            said.add(what)
            self.say(what)

    def works(self):
        if self.complaints:
            self.complaints.clear()
            self.say("messages are stored again")

    def watch(self):
        """A thread of its own, since the main one may wait in COMMIT: takes the signals,
        and reports a COMMIT that waits."""
        while not signal.sigtimedwait(SIGNALS, 1):
            begun = self.commit_begun
            if begun is not None and time.monotonic() - begun > SLOW_COMMIT:
                self.complain("COMMIT waits: no synchronous standby confirms; waiting on")
        self.stopping.set()
        # Whatever is under way: a kill loses nothing. A second signal ends it at once.
        signal.sigtimedwait(SIGNALS, STOP_WITHIN)
        self.say("ended before the database answered; what was not stored stays claimed")
        os._exit(self.status)

    # ------------------------------------------------------------ database

    def notice(self, diagnostic):
        if diagnostic.severity_nonlocalized == "WARNING":
            self.warning = diagnostic.message_primary

    def connect(self):
        """A connection to a primary that has its synchronous standbys."""
        problems = []
        for parameters in servers(self.options.connection):
            try:
                connection = psycopg.connect(**parameters, autocommit=True)
            except psycopg.Error as error:
                problems.append(first_line(error))
                continue
            try:
                connection.add_notice_handler(self.notice)
                self.prepare(connection)
            except (psycopg.Error, Unconfirmed):
                connection.close()
                raise
            host = f"{connection.info.host}:{connection.info.port}"
            if host != self.host:
                self.say(f"connected to {host}")
            self.connection, self.host = connection, host
            return
        raise Unconfirmed("no database: " + "; ".join(dict.fromkeys(problems)))

    def disconnect(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def prepare(self, connection):
        self.check_standbys(connection)
        # This need not wait for a standby: the first batch does.
        connection.execute("SET synchronous_commit = local")
        if self.options.create and not has_schema(connection):
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(hashtext('mm4_messages'))")
                if not has_schema(connection):
                    connection.execute(pathlib.Path(__file__).with_name("schema.sql").read_text(encoding="utf-8"))
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        connection.execute(f"CREATE TEMPORARY TABLE batch ({columns}) ON COMMIT DELETE ROWS")
        # What a role or a database has set must not weaken the promise, nor hide a warning.
        connection.execute("SET client_min_messages = warning")
        connection.execute("SET synchronous_commit = on")

    def check_standbys(self, connection):
        if self.options.standbys == 0:
            return
        count, hidden = connection.execute(
            "SELECT count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')),"
            " count(*) FILTER (WHERE sync_state IS NULL) FROM pg_stat_replication"
        ).fetchone()
        if count < self.options.standbys:
            if hidden:
                raise Unconfirmed(f"the role {connection.info.user} may not see the standbys: GRANT pg_monitor TO it")
            raise Unconfirmed(
                f"the primary has {count} synchronous standbys, and {self.options.standbys} are wanted (--standbys)"
            )

    def insert(self, claims):
        """The ids of those that are there already with another content."""
        self.check_standbys(self.connection)
        different = set()
        with self.connection.transaction():
            with self.connection.cursor() as cursor:
                with cursor.copy(f"COPY batch ({NAMES}) FROM STDIN (FORMAT BINARY)") as copy:
                    copy.set_types(list(COLUMNS.values()))
                    for claim in claims:
                        copy.write_row(claim.row(self.name))
                cursor.execute(
                    f"INSERT INTO mm4_messages ({NAMES}) SELECT {NAMES} FROM batch ON CONFLICT (id) DO NOTHING"
                )
                if cursor.rowcount != len(claims):
                    cursor.execute("SELECT id FROM batch b JOIN mm4_messages m USING (id) WHERE b.sha256 <> m.sha256")
                    different = {ident for (ident,) in cursor}
                cursor.execute(
                    "INSERT INTO mm4_spools VALUES (%s, 1, now()) ON CONFLICT (spool)"
                    " DO UPDATE SET batches = mm4_spools.batches + 1, last_batch = now()",
                    (self.name,),
                )
            self.warning = None
            self.commit_begun = time.monotonic()
        if self.warning:
            raise Unconfirmed(f"COMMIT: {self.warning}")
        return different

    def store(self, claims):
        """Until the claims are stored or set aside, or this process is to end."""
        pause = FIRST_PAUSE
        while True:
            try:
                if self.connection is None:
                    self.connect()
                different = self.insert(claims)
                break
            except (psycopg.Error, Unconfirmed) as error:
                if self.connection is not None and is_about_a_message(error):
                    self.blame(claims, error)
                    return
                self.complain(f"waiting: {first_line(error)}")
                self.disconnect()
            finally:
                self.commit_begun = None
            if self.stopping.wait(pause):
                return
            pause = min(2 * pause, MAX_PAUSE)
        self.works()
        for claim in claims:
            if claim.name in different:
                self.set_aside(claim, "this id is stored with another content")
            else:
                claim.finish(self.options.keep)

    def blame(self, claims, error):
        """Stores each message alone, to find the one that the database refuses."""
        if len(claims) == 1:
            self.set_aside(claims[0], first_line(error))
            return
        for claim in claims:
            self.store([claim])

    def set_aside(self, claim, why):
        self.say(f"{claim.path!r} set aside with the flag F: {why}")
        claim.set_aside()
        self.status = 1

    def batches(self):
        batch, size = [], 0
        for folder, name in self.spool.candidates():
            if self.stopping.is_set():
                break
            claim = self.spool.claim(folder, name)
            if claim is None:
                continue
            if claim.raw is None:
                self.set_aside(claim, f"it has {claim.size} bytes, more than {MAX_BYTES}")
                continue
            batch.append(claim)
            size += claim.size
            if len(batch) == BATCH_MESSAGES or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def run(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        threading.Thread(target=self.watch, daemon=True).start()
        while not self.stopping.is_set():
            found, batch = 0, []
            try:
                for batch in self.batches():
                    found += len(batch)
                    self.store(batch)
            except OSError as error:
                self.complain(f"the spool does not work: {error}")
                self.status = 1 if self.options.once else self.status
                for claim in batch:
                    claim.release()
                self.spool.recovered_at = None
                found = 0
            if self.options.once and found == 0:
                break
            if found == 0:
                self.stopping.wait(MAX_PAUSE if self.complaints else POLL)
        return self.status


def servers(connection):
    """The parameters for each host, with a time limit each: libpq's is for all of them,
    so that one machine that says nothing would hide the others."""
    parameters = {
        # A machine that has stopped sends nothing: notice it within seconds.
        "connect_timeout": CONNECT_TIMEOUT, "tcp_user_timeout": 10_000, "keepalives_idle": 5,
        "keepalives_interval": 2, "keepalives_count": 3,
        **psycopg.conninfo.conninfo_to_dict(connection),
    }
    lists = {key: str(parameters[key]).split(",") for key in ("host", "hostaddr", "port") if parameters.get(key)}
    count = max((len(values) for values in lists.values()), default=1)
    for number in range(count):
        yield {**parameters, **{key: values[number % len(values)] for key, values in lists.items()}}


def has_schema(connection):
    # Its last table: all are made in one transaction.
    return connection.execute("SELECT to_regclass('mm4_spools')").fetchone()[0] is not None


def is_about_a_message(error):
    """Data exceptions, constraints, limits such as that of an index."""
    return isinstance(error, psycopg.DataError) or (getattr(error, "sqlstate", None) or "")[:2] in ("22", "23", "54")


def first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--once", action="store_true", help="end when nothing is left")
    parser.add_argument("--keep", action="store_true", help="rename stored files to :2,S instead of deleting them")
    parser.add_argument("--create", action="store_true", help="make the tables first, if need be (schema.sql)")
    parser.add_argument("--standbys", type=int, default=1, metavar="N", help="synchronous standbys wanted; default 1")
    parser.add_argument("--name", help="what the spool is called in the tables; default its path")
    parser.add_argument("spool", metavar="SPOOL")
    parser.add_argument("connection", metavar="CONNECTION")
    options = parser.parse_args()
    for folder in ("new", "cur"):
        if not os.path.isdir(os.path.join(options.spool, folder)):
            parser.error(f"{options.spool} is not a spool: it has no {folder}/")
    try:
        psycopg.conninfo.conninfo_to_dict(options.connection)
    except psycopg.Error as error:
        parser.error(f"CONNECTION: {first_line(error)}")
    return Store(options).run()


if __name__ == "__main__":
    sys.exit(main())
