#!/usr/bin/python3
"""Hands the messages of a spool to PostgreSQL: each once, and none lost.

usage: store.py [options] SPOOL CONNECTION

CONNECTION is libpq's, such as
"host=db1,db2 dbname=mm4 user=mm4 target_session_attrs=read-write", so that after a
failover the new primary is found.

A message is claimed as scripts/consume.sh does: by a lock on the file and its move from
new/ID.eml to cur/ID.eml:2, . A batch of messages is one transaction. Only after its
COMMIT the files are deleted, or renamed to ID.eml:2,S with --keep. Killed at any point,
the next run finds the claims that nobody holds and stores them; the id is the primary
key, so none is stored twice.

COMMIT waits until a synchronous standby has the transaction on its disk. Three things
could break that, and are handled here. Nothing is stored while the primary has fewer
synchronous standbys than --standbys. A COMMIT whose wait was cancelled reports success
with a warning: it counts as a failure. And the second try of such a batch finds its
rows there, writes nothing, and would have nothing to wait for: so each batch writes a
row of its own.

A message that the database refuses on its own account is set aside as ID.eml:2,F.
Ends at SIGTERM, or with --once when nothing is left. Exit status: 0, 1 if a message was
set aside, 2 for a usage error. Needs python3-psycopg (3.1 or later).
"""

import argparse
import email.errors
import email.header
import email.parser
import fcntl
import hashlib
import json
import os
import pathlib
import re
import signal
import sys
import time

try:
    import psycopg
    import psycopg.conninfo
except ImportError:
    sys.exit("store.py: the module psycopg is missing; install python3-psycopg")

# Limits of one transaction.
BATCH_MESSAGES = 256
BATCH_BYTES = 16 * 1024 * 1024
# Seconds between two looks into new/, and between two for claims whose holder is gone.
POLL = 0.2
RECOVER_EVERY = 60
# The longest pause between two attempts to connect, in seconds.
MAX_PAUSE = 5

COLUMNS = {
    "id": "text", "received_at": "timestamptz", "spool": "text", "system_id": "text",
    "return_path": "text", "recipients": "text[]", "type": "text", "version": "text",
    "transaction_id": "text", "message_id": "text", "from_address": "text",
    "to_addresses": "text", "subject": "text", "request_status": "text",
    "mm_status": "text", "fields": "jsonb", "size": "int8", "sha256": "bytea", "raw": "bytea",
}
ID = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\.\d+)?Z-")


class Unconfirmed(Exception):
    """No synchronous standby has confirmed the transaction."""


class Claim:
    """A message that this process alone has: its path in cur/ and its locked file."""

    def __init__(self, path, file, ident, raw):
        self.path, self.file, self.ident, self.raw = path, file, ident, raw

    def finish(self, keep):
        if keep:
            os.rename(self.path, f"{self.path}S")
        else:
            os.unlink(self.path)
        self.file.close()

    def set_aside(self):
        os.rename(self.path, f"{self.path}F")
        self.file.close()

    def row(self, spool):
        fields = Fields(self.raw)
        return (
            text(self.ident), received_at(self.ident), spool, fields.one("x-mm4-system-id"),
            fields.one("return-path"), fields.each("x-envelope-to"), fields.mms("message-type"),
            fields.mms("3gpp-mms-version"), fields.mms("transaction-id"), fields.mms("message-id"),
            fields.one("from"), fields.one("to"), fields.one("subject"),
            fields.mms("request-status-code"), fields.mms("mm-status-code"), fields.json(),
            len(self.raw), hashlib.sha256(self.raw).digest(), self.raw,
        )


class Fields:
    """The header of a message, as text that PostgreSQL takes."""

    def __init__(self, raw):
        end = raw.find(b"\r\n\r\n")
        head = raw[: end if end >= 0 else 65536][:65536]
        try:
            parsed = email.parser.BytesHeaderParser().parsebytes(head)
            self.items = [(name.lower(), text(value)) for name, value in parsed.items()]
        except (email.errors.MessageError, ValueError, LookupError):
            self.items = []

    def each(self, name):
        return [value for key, value in self.items if key == name]

    def one(self, name):
        return next(iter(self.each(name)), None)

    def mms(self, name):
        """Quotation marks around a value are not part of it."""
        value = self.one(f"x-mms-{name}")
        return value.strip('"') if value else value

    def json(self):
        return json.dumps({key: value for key, value in reversed(self.items) if key.startswith("x-mms-")})


def text(value):
    """Decoded, unfolded, and without what PostgreSQL's text cannot hold."""
    if not isinstance(value, str):
        value = str(value)
    if "=?" in value and len(value) < 2048:
        try:
            value = str(email.header.make_header(email.header.decode_header(value)))
        except (email.errors.HeaderParseError, ValueError, LookupError):
            pass
    value = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return re.sub(r"\r?\n[ \t]*", " ", value).replace("\0", "\N{REPLACEMENT CHARACTER}").strip()


def received_at(ident):
    match = ID.match(ident)
    if not match:
        return None
    year, month, day, hour, minute, second, fraction = match.groups()
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}{fraction or ''}Z"


class Store:
    def __init__(self, options):
        self.options = options
        self.spool = pathlib.Path(options.spool)
        self.name = options.name or str(self.spool.resolve())
        # A machine that is gone says nothing: notice it within seconds.
        self.parameters = {
            "connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 5,
            "keepalives_interval": 2, "keepalives_count": 3,
            **psycopg.conninfo.conninfo_to_dict(options.connection),
        }
        self.connection = None
        self.cancelled = False
        self.stopping = False
        self.aside = 0
        self.stored = 0
        self.recovered_at = None

    def stop(self, *_):
        self.stopping = True

    # ------------------------------------------------------------ claims

    def claim(self, source):
        """Takes a file of new/ or cur/, unless another process has it."""
        try:
            file = open(source, "rb")
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The lock is on what was opened: it must still be the file of this name.
            if not os.path.samestat(os.stat(source), os.fstat(file.fileno())):
                raise FileNotFoundError
            target = self.spool / "cur" / (source.name.partition(":2,")[0] + ":2,")
            if source != target:
                os.rename(source, target)
            return Claim(target, file, target.name[: -len(".eml:2,")], file.read())
        except (BlockingIOError, FileNotFoundError):
            file.close()
            return None

    def candidates(self):
        now = time.monotonic()
        if self.options.once or self.recovered_at is None or now - self.recovered_at > RECOVER_EVERY:
            self.recovered_at = now
            yield from sorted(self.entries("cur", ".eml:2,"))
        yield from sorted(self.entries("new", ".eml"))

    def entries(self, folder, ending):
        with os.scandir(self.spool / folder) as entries:
            return [
                self.spool / folder / entry.name
                for entry in entries
                if entry.name.endswith(ending) and not entry.name.startswith(".")
            ]

    def batches(self):
        batch, size = [], 0
        for source in self.candidates():
            if self.stopping:
                break
            claim = self.claim(source)
            if claim is None:
                continue
            batch.append(claim)
            size += len(claim.raw)
            if len(batch) == BATCH_MESSAGES or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    # ------------------------------------------------------------ database

    def notice(self, diagnostic):
        if "synchronous replication" in (diagnostic.message_primary or ""):
            self.cancelled = True

    def connect(self):
        """A connection to a primary that has its synchronous standbys."""
        pause = 0.1
        while not self.stopping:
            try:
                connection = psycopg.connect(**self.parameters)
                connection.add_notice_handler(self.notice)
                self.prepare(connection)
                print(f"store.py: connected to {connection.info.host}:{connection.info.port}", file=sys.stderr)
                return connection
            except (psycopg.Error, Unconfirmed) as error:
                print(f"store.py: no database: {first_line(error)}; trying again", file=sys.stderr)
                time.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE)
        return None

    def prepare(self, connection):
        with connection.transaction():
            # What a role or a database has set must not weaken the promise.
            connection.execute("SET synchronous_commit = on")
            if self.options.create:
                schema = pathlib.Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
                connection.execute("SELECT pg_advisory_xact_lock(hashtext('mm4_messages'))")
                connection.execute(schema)
            columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
            connection.execute(f"CREATE TEMPORARY TABLE batch ({columns}) ON COMMIT DELETE ROWS")
        self.check_standbys(connection)

    def check_standbys(self, connection):
        if self.options.standbys == 0:
            return
        with connection.transaction():
            (count,) = connection.execute(
                "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
            ).fetchone()
        if count < self.options.standbys:
            raise Unconfirmed(
                f"the primary has {count} synchronous standbys, and {self.options.standbys} are wanted (--standbys)"
            )

    def insert(self, claims):
        names = ", ".join(COLUMNS)
        self.cancelled = False
        self.check_standbys(self.connection)
        with self.connection.transaction():
            with self.connection.cursor() as cursor:
                with cursor.copy(f"COPY batch ({names}) FROM STDIN") as copy:
                    for claim in claims:
                        copy.write_row(claim.row(self.name))
                cursor.execute(f"INSERT INTO mm4_messages ({names}) SELECT {names} FROM batch ON CONFLICT (id) DO NOTHING")
                cursor.execute(
                    "INSERT INTO mm4_spools VALUES (%s, 1, now()) ON CONFLICT (spool)"
                    " DO UPDATE SET batches = mm4_spools.batches + 1, last_batch = now()",
                    (self.name,),
                )
        if self.cancelled:
            raise Unconfirmed("the wait for a standby was cancelled")

    def store(self, claims):
        """Until the claims are stored, or until this process is to end."""
        while not self.stopping or self.connection:
            if self.connection is None or self.connection.closed:
                self.connection = self.connect()
                if self.connection is None:
                    return
            try:
                self.insert(claims)
            except psycopg.DataError as error:
                self.blame(claims, error)
                return
            except (psycopg.Error, Unconfirmed) as error:
                print(f"store.py: {len(claims)} messages not stored: {first_line(error)}", file=sys.stderr)
                self.connection.close()
                self.connection = None
                time.sleep(0.1)
                continue
            for claim in claims:
                claim.finish(self.options.keep)
            self.stored += len(claims)
            return

    def blame(self, claims, error):
        """Stores each message alone, to find the one that the database refuses."""
        if len(claims) > 1:
            for claim in claims:
                self.store([claim])
            return
        print(f"store.py: {claims[0].ident} set aside: {first_line(error)}", file=sys.stderr)
        claims[0].set_aside()
        self.aside += 1

    def run(self):
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        while not self.stopping:
            found = 0
            for batch in self.batches():
                found += len(batch)
                self.store(batch)
            if self.options.once and found == 0:
                break
            if found == 0:
                time.sleep(POLL)
        return 1 if self.aside else 0


def first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--once", action="store_true", help="end when nothing is left")
    parser.add_argument("--keep", action="store_true", help="rename stored files to :2,S instead of deleting them")
    parser.add_argument("--create", action="store_true", help="make the tables first, if need be (schema.sql)")
    parser.add_argument("--standbys", type=int, default=1, metavar="N", help="synchronous standbys to wait for; default 1")
    parser.add_argument("--name", help="what the spool is called in the tables; default its path")
    parser.add_argument("spool", metavar="SPOOL")
    parser.add_argument("connection", metavar="CONNECTION")
    options = parser.parse_args()
    for folder in ("new", "cur"):
        if not os.path.isdir(os.path.join(options.spool, folder)):
            parser.error(f"{options.spool} is not a spool: it has no {folder}/")
    return Store(options).run()


if __name__ == "__main__":
    sys.exit(main())
