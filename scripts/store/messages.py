"""What store.py stores: the messages of a spool, claimed, and their fields.

Nothing that is in a message raises an error here: what cannot be read as a field is
left out, and the whole message is in the column raw.
"""

import datetime
import email.header
import email.parser
import fcntl
import hashlib
import itertools
import os
import re
import stat
import time

from psycopg.types.json import Jsonb

# A larger file is set aside: PostgreSQL and this process hold it in memory several times.
MAX_BYTES = 256 * 1024 * 1024
# Files of a directory that are looked at in one pass.
PASS_FILES = 10_000
# What is read of a header, and of one field that is decoded.
HEADER_BYTES = 64 * 1024
ENCODED_CHARACTERS = 2048
# Seconds between two searches for claims without a holder.
RECOVER_EVERY = 60

ID = re.compile(r"([0-9]{8}T[0-9]{6}\.[0-9]{6})Z-")


class Claim:
    """A message that this process alone has: its path in cur/ and its locked file."""

    def __init__(self, path, file):
        self.path, self.file = path, file
        self.name = text(os.path.basename(path).removesuffix(":2,").removesuffix(".eml"))
        self.size = os.fstat(file.fileno()).st_size
        self.raw = file.read() if self.size <= MAX_BYTES else None

    def finish(self, keep):
        try:
            if keep:
                os.rename(self.path, f"{self.path}S")
            else:
                os.unlink(self.path)
        except FileNotFoundError:
            pass
        self.file.close()

    def set_aside(self):
        os.rename(self.path, f"{self.path}F")
        self.file.close()

    def release(self):
        """Gives the lock back, so that the claim can be taken over, by this process too."""
        self.file.close()

    def row(self, spool):
        fields = Fields(self.raw)
        return (
            self.name, received_at(self.name), spool, fields.trace("x-mm4-system-id"),
            fields.trace("return-path"), fields.recipients(), fields.mms("message-type"),
            fields.mms("3gpp-mms-version"), fields.mms("transaction-id"), fields.mms("message-id"),
            fields.one("from"), fields.one("to"), fields.one("subject"),
            fields.mms("request-status-code"), fields.mms("mm-status-code"), Jsonb(fields.each_mms()),
            len(self.raw), hashlib.sha256(self.raw).digest(), self.raw,
        )


class Fields:
    """The header of a message, as text that PostgreSQL takes. The trace, which ends with
    the first Received, is the server's; the client may have fields of the same names."""

    def __init__(self, raw):
        end = raw.find(b"\r\n\r\n", 0, HEADER_BYTES)
        head = raw[: end if end >= 0 else HEADER_BYTES]
        try:
            # Without the modifications of items(), which loses bytes that are not ASCII.
            parsed = email.parser.BytesHeaderParser().parsebytes(head).raw_items()
            self.items = [(name.lower(), text(value)) for name, value in parsed]
        except Exception:  # pylint: disable=broad-except # raw is stored in any case
            self.items = []
        names = [name for name, _ in self.items]
        self.trace_end = names.index("received") if "received" in names else 0

    def one(self, name):
        return next((value for key, value in self.items if key == name), None)

    def trace(self, name):
        return next((value for key, value in self.items[: self.trace_end] if key == name), None)

    def recipients(self):
        return [value for key, value in self.items[: self.trace_end] if key == "x-envelope-to"]

    def mms(self, name):
        """Quotation marks around a value are not part of it."""
        value = self.one(f"x-mms-{name}")
        return value.strip('"') if value else value

    def each_mms(self):
        return {key: value for key, value in reversed(self.items) if key.startswith("x-mms-")}


def text(value):
    """Decoded, unfolded, and without what PostgreSQL's text cannot hold."""
    if "=?" in value and len(value) <= ENCODED_CHARACTERS:
        try:
            value = str(email.header.make_header(email.header.decode_header(value)))
        except Exception:  # pylint: disable=broad-except # a codec may raise what it likes
            pass
    # What is not UTF-8 stays distinct: it may be part of a Transaction-ID.
    value = value.encode("utf-8", "surrogateescape" if is_escaped(value) else "replace")
    value = value.decode("utf-8", "backslashreplace")
    return re.sub(r"\r?\n[ \t]*", " ", value).replace("\0", "\N{REPLACEMENT CHARACTER}").strip()


def is_escaped(value):
    """Whether each surrogate stands for a byte."""
    return not re.search("[\ud800-\udc7f\udd00-\udfff]", value)


def received_at(ident):
    """By the id, if it is one of mm4d's."""
    match = ID.match(ident)
    try:
        return datetime.datetime.strptime(match[1] + "+0000", "%Y%m%dT%H%M%S.%f%z") if match else None
    except ValueError:
        return None


class Spool:
    """Claims the messages of a spool."""

    def __init__(self, path, once, leave):
        self.path, self.once, self.leave = path, once, leave
        self.recovered_at = None

    def claim(self, folder, name):
        """Takes a file of new/ or cur/, unless another process has it."""
        source = os.path.join(self.path, folder, name)
        try:
            # Never waits, if it is no file by now.
            file = open(source, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW))
        except FileNotFoundError:
            return None
        except OSError as error:
            self.leave(f"cannot read {source}: {error.strerror}; it is left there")
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The lock is on what was opened: it must still be the file of this name.
            if not os.path.samestat(os.lstat(source), os.fstat(file.fileno())):
                raise FileNotFoundError
            target = source
            if folder == "new":
                target = os.path.join(self.path, "cur", name + ":2,")
                if os.path.lexists(target):
                    self.leave(f"cannot claim {source}: there is {target}; remove one of them")
                    file.close()
                    return None
                os.rename(source, target)
            return Claim(target, file)
        except (BlockingIOError, FileNotFoundError):
            file.close()
            return None

    def candidates(self):
        now = time.monotonic()
        if self.once or self.recovered_at is None or now - self.recovered_at > RECOVER_EVERY:
            self.recovered_at = now
            yield from (("cur", name) for name in self.entries("cur", ".eml:2,"))
        yield from (("new", name) for name in self.entries("new", ".eml"))

    def entries(self, folder, ending):
        with os.scandir(os.path.join(self.path, folder)) as entries:
            names = (
                entry.name
                for entry in entries
                if entry.name.endswith(ending) and not entry.name.startswith(".") and is_file(entry)
            )
            return sorted(itertools.islice(names, PASS_FILES))


def is_file(entry):
    try:
        return stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
