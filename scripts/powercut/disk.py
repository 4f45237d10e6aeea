"""A virtual disk with a volatile write cache, served over NBD.

Two files of the same size: `current` is what the machine reads back, `durable`
is what would be there after a power cut that lost the whole cache. A write goes
to `current` and to the cache; a flush moves the cache to `durable` before it is
answered. `cut` makes the image that a power cut leaves behind: the durable
bytes and, for each write in the cache, all of it, a part of it at 512-byte
boundaries, or nothing.

A lying disk answers a flush and does nothing. Either disk makes its oldest
writes durable when the cache holds more than `cache_limit` bytes.

Only what qemu needs of the NBD protocol is here: the fixed newstyle handshake,
READ, WRITE with FUA, FLUSH and DISC, one request at a time.
https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
"""

import asyncio
import collections
import os
import struct
import subprocess

SECTOR = 512
# The longest request that is served; qemu sends at most 32 MiB.
MAX_REQUEST = 32 << 20
# The cache of a disk that does as it says: as large as real ones are.
CACHE_LIMIT = 64 << 20


class Disk:
    def __init__(self, image, durable, lying=False, cache_limit=CACHE_LIMIT):
        """`image` holds the file system and becomes `current`."""
        copy_sparse(image, durable)
        self.size = os.path.getsize(image)
        self.lying = lying
        self.cache_limit = cache_limit
        self.cache = collections.deque()
        self.cached_bytes = 0
        self.writes = 0
        self.flushes = 0
        # Called with "write" or "flush": after a write, before a flush is done.
        self.observer = lambda event: None
        self.durable_path = durable
        self.current = os.open(image, os.O_RDWR)
        self.durable = os.open(durable, os.O_RDWR)

    def close(self):
        os.close(self.current)
        os.close(self.durable)

    def read(self, offset, length):
        return os.pread(self.current, length, offset)

    def write(self, offset, data, durable=False):
        write_all(self.current, data, offset)
        self.cache.append((offset, data))
        self.cached_bytes += len(data)
        self.writes += 1
        while self.cached_bytes > self.cache_limit:
            self._write_back()
        if durable:
            # FUA promises this write alone. Those before it are allowed to
            # become durable with it, and that keeps overlapping ones in order.
            self.flush()
        self.observer("write")

    def flush(self):
        self.observer("flush")
        self.flushes += 1
        if self.lying:
            return
        while self.cache:
            self._write_back()

    def _write_back(self):
        offset, data = self.cache.popleft()
        self.cached_bytes -= len(data)
        write_all(self.durable, data, offset)

    def cut(self, image, rng):
        """Writes to `image` what a power cut at this moment leaves. Returns how
        many writes of the cache were kept, torn and dropped."""
        copy_sparse(self.durable_path, image)
        # Some cuts lose nearly everything, some nearly nothing.
        keep = rng.random()
        counts = {"kept": 0, "torn": 0, "dropped": 0}
        target = os.open(image, os.O_WRONLY)
        try:
            for offset, data in self.cache:
                sectors = len(data) // SECTOR
                if sectors > 1 and rng.random() < 0.2:
                    counts["torn"] += 1
                    for sector in surviving_sectors(sectors, rng):
                        start = sector * SECTOR
                        write_all(target, data[start : start + SECTOR], offset + start)
                elif rng.random() < keep:
                    counts["kept"] += 1
                    write_all(target, data, offset)
                else:
                    counts["dropped"] += 1
        finally:
            os.close(target)
        return counts


def surviving_sectors(sectors, rng):
    """The sectors of a torn write that reached the disk: the first ones, the
    last ones, or any."""
    at = rng.randrange(1, sectors)
    kind = rng.randrange(3)
    if kind == 0:
        return range(at)
    if kind == 1:
        return range(at, sectors)
    return sorted(rng.sample(range(sectors), at))


def copy_sparse(source, target):
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, target], check=True)


def write_all(fd, data, offset):
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view = view[done:]
        offset += done


# ---------------------------------------------------------------- NBD

MAGIC = 0x4E42444D41474943
OPTION_MAGIC = 0x49484156454F5054
OPTION_REPLY_MAGIC = 0x3E889045565A9
REQUEST_MAGIC = 0x25609513
REPLY_MAGIC = 0x67446698

FLAG_FIXED_NEWSTYLE, FLAG_NO_ZEROES = 1, 2
# HAS_FLAGS, SEND_FLUSH, SEND_FUA
TRANSMISSION_FLAGS = 1 | 4 | 8
OPTION_EXPORT_NAME, OPTION_ABORT, OPTION_INFO, OPTION_GO = 1, 2, 6, 7
REPLY_ACK, REPLY_INFO, REPLY_UNSUPPORTED = 1, 3, (1 << 31) + 1
INFO_EXPORT = 0
READ, WRITE, DISCONNECT, FLUSH = 0, 1, 2, 3
COMMAND_FLAG_FUA = 1
EIO, EINVAL = 5, 22


async def serve(disk, path):
    """Serves `disk` at the Unix socket `path`. Returns the server and an event
    that is set when the client has left and all it sent was served."""
    left = asyncio.Event()

    async def client(reader, writer):
        try:
            if await handshake(disk, reader, writer):
                await transmission(disk, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the machine was killed
        finally:
            writer.close()
            left.set()

    return await asyncio.start_unix_server(client, path, limit=MAX_REQUEST), left


async def handshake(disk, reader, writer):
    """True when the transmission begins, false when the client gave up."""
    writer.write(struct.pack(">QQH", MAGIC, OPTION_MAGIC, FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES))
    (client_flags,) = struct.unpack(">I", await reader.readexactly(4))
    while True:
        magic, option, length = struct.unpack(">QII", await reader.readexactly(16))
        if magic != OPTION_MAGIC or length > 4096:
            return False
        await reader.readexactly(length)

        def reply(kind, data=b""):
            writer.write(struct.pack(">QIII", OPTION_REPLY_MAGIC, option, kind, len(data)) + data)

        if option == OPTION_EXPORT_NAME:
            writer.write(struct.pack(">QH", disk.size, TRANSMISSION_FLAGS))
            if not client_flags & FLAG_NO_ZEROES:
                writer.write(bytes(124))
            return True
        if option in (OPTION_INFO, OPTION_GO):
            reply(REPLY_INFO, struct.pack(">HQH", INFO_EXPORT, disk.size, TRANSMISSION_FLAGS))
            reply(REPLY_ACK)
            if option == OPTION_GO:
                return True
        elif option == OPTION_ABORT:
            reply(REPLY_ACK)
            return False
        else:
            reply(REPLY_UNSUPPORTED)


async def transmission(disk, reader, writer):
    while True:
        header = await reader.readexactly(28)
        magic, flags, command, handle, offset, length = struct.unpack(">IHHQQI", header)
        if magic != REQUEST_MAGIC or command == DISCONNECT or length > MAX_REQUEST:
            return
        payload = await reader.readexactly(length) if command == WRITE else b""
        error, data = 0, b""
        try:
            if command not in (READ, WRITE, FLUSH) or offset + length > disk.size:
                error = EINVAL
            elif command == READ:
                data = disk.read(offset, length)
            elif command == WRITE:
                disk.write(offset, payload, durable=bool(flags & COMMAND_FLAG_FUA))
            else:
                disk.flush()
        except OSError:
            error = EIO
        writer.write(struct.pack(">IIQ", REPLY_MAGIC, error, handle) + data)
        await writer.drain()
