"""The load: clients that log in and send mails of random, known content."""

import asyncio
import base64
import hashlib
import random
import re
import time

# Bytes of content in one run. Half of them may be sent in the first HALF_SECONDS,
# then it slows down, so that a run of any length stays below the limit.
MAX_BYTES = 48 << 20
HALF_SECONDS = 20
# Mails of one connection, before it ends with QUIT and is opened again.
MAILS_PER_CONNECTION = 25
# How long a reply may take; the machine is slow and its disk stops for a cut.
REPLY_SECONDS = 60


class LoadError(Exception):
    """The server answered something else than expected."""


class Load:
    def __init__(self, port, password, seed):
        self.port = port
        self.password = password
        self.rng = random.Random(seed)
        # The digest of each mail whose first byte may have been sent.
        self.sent = set()
        # (id, digest) in the order in which the 250s were read.
        self.acknowledged = []
        self.bytes = 0
        self.began = time.monotonic()
        self.observer = lambda event: None
        self.stopped = False

    async def run(self, connections):
        """Until `stop`, or until the machine is killed."""
        self.began = time.monotonic()
        await asyncio.gather(*(self._client() for _ in range(connections)))

    def stop(self):
        self.stopped = True

    async def _client(self):
        while not self.stopped:
            try:
                await self._connection()
            except (ConnectionError, asyncio.IncompleteReadError):
                if not self.stopped:
                    raise LoadError("the server closed a connection") from None

    async def _connection(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)

        async def expect(code, *parts):
            writer.write(b"".join(parts))
            line = b"   -"
            while line[3:4] == b"-":
                try:
                    line = await asyncio.wait_for(reader.readuntil(b"\n"), REPLY_SECONDS)
                except asyncio.TimeoutError:
                    raise LoadError(f"no {code.decode()} within {REPLY_SECONDS} s") from None
            if not line.startswith(code):
                raise LoadError(f"expected {code.decode()}, the server said {line!r}")
            return line

        try:
            await expect(b"220")
            await expect(b"250", b"EHLO powercut.example.net\r\n")
            response = base64.b64encode(b"\0demo\0" + self.password.encode())
            await expect(b"235", b"AUTH PLAIN ", response, b"\r\n")
            for _ in range(MAILS_PER_CONNECTION):
                await self._pace()
                if self.stopped:
                    break
                await self._mail(expect)
            await expect(b"221", b"QUIT\r\n")
            await asyncio.wait_for(reader.read(), REPLY_SECONDS)
        finally:
            writer.close()

    async def _pace(self):
        while not self.stopped:
            elapsed = time.monotonic() - self.began
            if self.bytes <= MAX_BYTES * elapsed / (elapsed + HALF_SECONDS):
                return
            await asyncio.sleep(0.05)

    async def _mail(self, expect):
        content = make_mail(self.rng)
        digest = hashlib.sha256(content).digest()
        await expect(b"250", b"MAIL FROM:<+972500000001/TYPE=PLMN@mms.example.net>\r\n")
        await expect(b"250", b"RCPT TO:<+972500000002/TYPE=PLMN@mm4d.example.net>\r\n")
        await expect(b"354", b"DATA\r\n")
        self.sent.add(digest)
        self.bytes += len(content)
        reply = await expect(b"250", re.sub(rb"(?m)^\.", b"..", content), b".\r\n")
        found = re.fullmatch(rb"250 queued as <([^>]+)>\r\n", reply)
        if not found:
            raise LoadError(f"no id in {reply!r}")
        self.acknowledged.append((found.group(1).decode(), digest))
        self.observer("ack")


def make_mail(rng):
    """Unlike every other, most of a few kilobytes, some of several hundred."""
    size = rng.choice([200, 1500, 1500, 4000, 4096, 9000, 20000, rng.randrange(300000)])
    body = base64.encodebytes(rng.randbytes(size * 3 // 4)).replace(b"\n", b"\r\n")
    head = (
        b"X-Mms-3GPP-MMS-Version: 6.10.0\r\n"
        b"X-Mms-Message-Type: MM4_forward.REQ\r\n"
        b'X-Mms-Transaction-ID: "%032x"\r\n'
        b"Subject: power cut\r\n"
        b"\r\n"
        b".a line with a dot\r\n" % rng.getrandbits(128)
    )
    return head + body
